//! Flags and environment variables. A flag wins over its variable; `--help` is the reference.

use std::net::SocketAddr;
use std::time::Duration;

use chat_process::kafka::Options;
use clap::Parser;
use rdkafka::ClientConfig;
use sqlx::postgres::PgConnectOptions;

use crate::bugs::Bug;

/// A setting that nobody else makes: where it does not arrive, neither do the others.
pub const SESSION_MARK: (&str, &str) = ("chat_writer.session", "own");

/// Writes the Kafka log of chat messages to PostgreSQL in batches; pauses while the database is away.
#[derive(Parser, Clone)]
#[command(name = "chat-writer", version)]
pub struct Config {
    /// Name of this process in logs, in Kafka (client.id) and in PostgreSQL (application_name).
    #[arg(long, env = "CHAT_WRITER_NAME", default_value = "writer")]
    pub name: String,

    /// Address of /healthz, /readyz and /metrics. Port 0 takes a free one; the log says which.
    #[arg(long, env = "CHAT_WRITER_LISTEN", default_value = "127.0.0.1:0")]
    pub listen: SocketAddr,

    /// Kafka bootstrap servers, comma separated.
    #[arg(long, env = "CHAT_WRITER_KAFKA_BROKERS", default_value = "127.0.0.1:9092")]
    pub kafka_brokers: String,

    /// Any librdkafka property, for TLS and SASL: `security.protocol=SASL_SSL`. May be given several times; one a
    /// line in the variable. Settings that the promises rest on (offset handling, acks) cannot be overridden.
    #[arg(long = "kafka-option", env = "CHAT_WRITER_KAFKA_OPTIONS", value_parser = chat_process::kafka::option, value_delimiter = '\n', hide_env_values = true)]
    pub kafka_options: Vec<(String, String)>,

    /// A file of librdkafka properties, one `KEY=VALUE` a line; lines that begin with `#` are passed over, and
    /// `--kafka-option` wins.
    #[arg(long, env = "CHAT_WRITER_KAFKA_OPTIONS_FILE", value_name = "FILE", value_parser = Options::read)]
    pub kafka_options_file: Option<Options>,

    /// Topic of chat messages; created if absent.
    #[arg(long, env = "CHAT_WRITER_TOPIC", default_value = "chat.messages")]
    pub topic: String,

    /// Partitions the topic is created with, if it is this process that creates it.
    #[arg(long, env = "CHAT_WRITER_PARTITIONS", default_value_t = 12, value_parser = clap::value_parser!(i32).range(1..=1024))]
    pub partitions: i32,

    /// Topic of records that cannot be stored; created if absent, with one partition.
    #[arg(long, env = "CHAT_WRITER_DEAD_LETTER_TOPIC", default_value = "chat.messages.dead")]
    pub dead_letter_topic: String,

    /// Consumer group. All writers of one database share it.
    #[arg(long, env = "CHAT_WRITER_GROUP", default_value = "chat-writer")]
    pub group: String,

    /// PostgreSQL URL; TLS by `?sslmode=verify-full`, with `&sslrootcert=/path/ca.pem` where the system's authorities have
    /// not signed its certificate.
    #[arg(long, env = "CHAT_WRITER_POSTGRES_URL", hide_env_values = true, value_parser = chat_process::postgres::url)]
    pub postgres_url: PgConnectOptions,

    /// Records in one insert at most. More does not make the insert cheaper per row, only later.
    #[arg(long, env = "CHAT_WRITER_BATCH_MAX_RECORDS", default_value_t = 500, value_parser = positive)]
    pub batch_max_records: usize,

    /// Bytes of payload in one insert at most: 500 messages of the largest size would be 8 MB, held twice.
    #[arg(long, env = "CHAT_WRITER_BATCH_MAX_BYTES", default_value_t = 1024 * 1024, value_parser = positive)]
    pub batch_max_bytes: usize,

    /// Milliseconds a record waits for company at most; the delay of a history page behind a quiet room.
    #[arg(long, env = "CHAT_WRITER_BATCH_MAX_AGE_MS", default_value = "50", value_parser = millis)]
    pub batch_max_age_ms: Duration,

    /// Milliseconds until the first probe of a PostgreSQL that failed.
    #[arg(long, env = "CHAT_WRITER_PROBE_MIN_MS", default_value = "100", value_parser = millis)]
    pub probe_min_ms: Duration,

    /// Milliseconds between probes at most: how long writing may still rest after PostgreSQL is back.
    #[arg(long, env = "CHAT_WRITER_PROBE_MAX_MS", default_value = "250", value_parser = millis)]
    pub probe_max_ms: Duration,

    /// Milliseconds PostgreSQL may work on one statement. The client waits a quarter longer before it gives the
    /// connection up.
    #[arg(long, env = "CHAT_WRITER_STATEMENT_TIMEOUT_MS", default_value = "2000", value_parser = millis)]
    pub statement_timeout_ms: Duration,

    /// PostgreSQL's setting for the writer's own transactions. `off` does not wait for the disk: a PostgreSQL that crashes
    /// forgets the newest of them, rows and position together, and the writer, which asks for the position after every
    /// reconnect, reads their records from Kafka again. `on` where somebody else acts on a row the moment it is there.
    #[arg(long, env = "CHAT_WRITER_SYNCHRONOUS_COMMIT", default_value = "off", value_parser = ["off", "local", "on"])]
    pub synchronous_commit: String,

    /// Milliseconds without a poll after which Kafka takes the partitions away. Paused writers poll, so this catches
    /// only a stuck process.
    #[arg(long, env = "CHAT_WRITER_MAX_POLL_INTERVAL_MS", default_value = "30000", value_parser = millis)]
    pub max_poll_interval_ms: Duration,

    /// Milliseconds without a heartbeat after which Kafka gives a dead writer's partitions to others.
    #[arg(long, env = "CHAT_WRITER_SESSION_TIMEOUT_MS", default_value = "6000", value_parser = millis)]
    pub session_timeout_ms: Duration,

    /// Milliseconds for the whole graceful shutdown: the last write, the commit, leaving the group.
    #[arg(long, env = "CHAT_WRITER_DRAIN_MS", default_value = "5000", value_parser = millis)]
    pub drain_ms: Duration,

    /// Plants a known defect.
    #[cfg(feature = "planted-bugs")]
    #[arg(long, value_enum)]
    pub bug: Option<Bug>,
}

/// A PostgreSQL that says nothing for this long while nothing is written is taken for dead: with the timeout of the
/// check itself, a silent death is noticed within two seconds.
pub const IDLE_CHECK_EVERY: Duration = Duration::from_secs(1);

/// How long the idle check, or one probe (connect, TLS, log in, ask), may take. Short, so that a connect that was
/// swallowed by a black hole does not outlive the black hole by a SYN retransmission.
pub const PROBE_TIMEOUT: Duration = Duration::from_secs(1);

/// How long all migrations may take together. Creating an index on a table of millions of rows takes minutes; such a
/// migration should be run by hand before the new binary.
pub const MIGRATION_TIMEOUT: Duration = Duration::from_secs(60);

/// How long one call to Kafka that the loop waits for (commit on revoke, committed offsets, seek) may take. Well below
/// any sane `max.poll.interval.ms`, as nothing is polled meanwhile.
pub const KAFKA_CALL_TIMEOUT: Duration = Duration::from_secs(2);

/// How long the question that wakes librdkafka's threads may wait for its answer: without one, they wake by themselves within
/// twice that.
pub const WAKE_TIMEOUT: Duration = Duration::from_millis(500);

/// How long a dead letter may take to be confirmed. Then the batch is given up and the writer pauses.
pub const DEAD_LETTER_TIMEOUT: Duration = Duration::from_secs(5);

impl Config {
    /// The planted defect, if any can be.
    pub fn bug(&self) -> Option<Bug> {
        #[cfg(feature = "planted-bugs")]
        return self.bug;
        #[cfg(not(feature = "planted-bugs"))]
        None
    }

    /// True if `bug` is planted.
    pub fn has(&self, bug: Bug) -> bool {
        self.bug() == Some(bug)
    }

    /// What every Kafka client of this process begins with.
    pub fn kafka_client(&self) -> ClientConfig {
        let options = Options::and(self.kafka_options_file.as_ref(), &self.kafka_options);
        chat_process::kafka::client(&self.kafka_brokers, &self.name, &options)
    }

    /// How to connect to PostgreSQL, with what the server must enforce for us even if we are gone.
    pub fn postgres(&self) -> PgConnectOptions {
        use sqlx::ConnectOptions;
        self.postgres_url.clone().application_name(&self.name).disable_statement_logging().options([
            (SESSION_MARK.0, SESSION_MARK.1.to_owned()),
            ("statement_timeout", self.statement_timeout_ms.as_millis().to_string()),
            // A transaction whose client vanished in the middle must not hold locks that its own retry waits for.
            ("idle_in_transaction_session_timeout", self.statement_timeout_ms.as_millis().to_string()),
            ("synchronous_commit", self.synchronous_commit.clone()),
            // The server's side of a half-open connection, so that slots are not eaten up by dead writers.
            ("tcp_keepalives_idle", "5".to_owned()),
            ("tcp_keepalives_interval", "2".to_owned()),
            ("tcp_keepalives_count", "3".to_owned()),
        ])
    }

    /// How long the client waits for an answer to one statement. Longer than the server's own limit, so that the
    /// server's word (which keeps the connection) usually comes first.
    pub fn answer_timeout(&self) -> Duration {
        self.statement_timeout_ms + self.statement_timeout_ms / 4
    }

    /// Where PostgreSQL is, without the password, for messages to people.
    pub fn postgres_address(&self) -> String {
        match self.postgres_url.get_socket() {
            Some(path) => path.display().to_string(),
            None => format!("{}:{}", self.postgres_url.get_host(), self.postgres_url.get_port()),
        }
    }
}

// By hand, because the URL and the Kafka options hold passwords.
impl std::fmt::Debug for Config {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Config")
            .field("name", &self.name)
            .field("topic", &self.topic)
            .field("group", &self.group)
            .finish_non_exhaustive()
    }
}

fn positive(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(0) => Err("must be at least 1".to_owned()),
        Ok(n) => Ok(n),
        Err(error) => Err(format!("{error}")),
    }
}

fn millis(text: &str) -> Result<Duration, String> {
    match text.parse() {
        Ok(0) => Err("must be at least 1 ms".to_owned()),
        Ok(n) => Ok(Duration::from_millis(n)),
        Err(error) => Err(format!("{error}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_are_not_in_the_debug_form() {
        let config = Config::try_parse_from([
            "chat-writer",
            "--postgres-url=postgres://ann:secret@127.0.0.1/chat",
            "--kafka-option=sasl.password=secret",
        ])
        .unwrap();
        assert!(!format!("{config:?}").contains("secret"));
        assert_eq!(config.kafka_options, [("sasl.password".to_owned(), "secret".to_owned())]);
    }

    #[test]
    fn kafka_options_come_from_a_file_too_and_those_of_the_command_line_win() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("kafka.properties");
        std::fs::write(&file, "# ours\nsasl.username=app\nsasl.password=a,b=c\n").unwrap();
        let config = Config::try_parse_from([
            "chat-writer",
            "--postgres-url=postgres://127.0.0.1/chat",
            "--kafka-option=sasl.username=bob",
            &format!("--kafka-options-file={}", file.display()),
        ])
        .unwrap();
        let client = config.kafka_client();
        assert_eq!(client.get("sasl.username"), Some("bob"));
        assert_eq!(client.get("sasl.password"), Some("a,b=c"));
    }

    #[test]
    fn the_client_gives_up_after_the_server_and_still_in_time_for_a_pause_within_three_seconds() {
        let config =
            Config::try_parse_from(["chat-writer", "--postgres-url=postgres://127.0.0.1/chat"]).unwrap();
        assert!(config.answer_timeout() > config.statement_timeout_ms);
        assert!(config.answer_timeout() < Duration::from_secs(3));
        assert!(IDLE_CHECK_EVERY + PROBE_TIMEOUT < Duration::from_secs(3));
    }
}
