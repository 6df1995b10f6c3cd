//! Kafka clients: what every one begins with, and what of librdkafka's own log is worth a line.

use std::{fmt, fs};

use rdkafka::{
    ClientConfig,
    client::ClientContext,
    config::RDKafkaLogLevel,
    consumer::ConsumerContext,
    error::{KafkaError, RDKafkaErrorCode},
    types::RDKafkaConfRes,
};

/// What every client begins with: where, how eager to come back, and how secured. `options` win.
pub fn client(brokers: &str, client_id: &str, options: &[(String, String)]) -> ClientConfig {
    let mut client = ClientConfig::new();
    client
        .set("bootstrap.servers", brokers)
        .set("client.id", client_id)
        .set("ssl.ca.location", authorities())
        // After an outage the defaults wait up to ten seconds before they try again.
        .set("reconnect.backoff.ms", "50")
        .set("reconnect.backoff.max.ms", "1000")
        .set("retry.backoff.max.ms", "1000")
        // A connection that was black-holed without a reset is noticed by this; the default is a minute.
        .set("socket.timeout.ms", "6000")
        .set("socket.connection.setup.timeout.ms", "3000")
        .set("socket.keepalive.enable", "true")
        // A topic or partition that appears is seen within this; the default is five minutes.
        .set("topic.metadata.refresh.interval.ms", "5000")
        .set("log.connection.close", "false");
    for (key, value) in options {
        client.set(key, value);
    }
    client
}

/// Where librdkafka is to look for authorities, as everything else here does: in the file that the caller names, or in what
/// the system has. By itself it looks where the OpenSSL that is built into it would have been installed.
pub fn authorities() -> String {
    let named = std::env::var("SSL_CERT_FILE").ok().filter(|named| !named.is_empty());
    named.unwrap_or_else(|| "probe".to_owned())
}

/// Reads `KEY=VALUE`, a setting that librdkafka takes. A value may hold commas, and a password may end in a space.
///
/// # Errors
///
/// There is no `=`, no such setting, or it cannot have this value; in words that never repeat the value.
pub fn option(text: &str) -> Result<(String, String), String> {
    let (key, value) = text
        .split_once('=')
        .ok_or("it must be KEY=VALUE, one setting of librdkafka, as sasl.username=app")?;
    let key = key.trim();
    match ClientConfig::new().set(key, value).create_native_config() {
        Ok(_) => Ok((key.to_owned(), value.to_owned())),
        Err(KafkaError::ClientConfig(RDKafkaConfRes::RD_KAFKA_CONF_UNKNOWN, ..)) => {
            Err(format!("librdkafka has no setting `{key}`: see its CONFIGURATION.md for the name"))
        }
        Err(_) => Err(format!(
            "librdkafka does not take this value for `{key}`: see its CONFIGURATION.md, and give each setting by itself"
        )),
    }
}

/// The settings in a file.
#[derive(Clone, Default)]
pub struct Options(Vec<(String, String)>);

impl fmt::Debug for Options {
    /// Without the values, as some are passwords.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.iter().map(|(key, _)| key)).finish()
    }
}

impl Options {
    /// Reads a file of settings, each as [`option`] reads it and on a line of its own. Empty lines are passed over, and those
    /// that begin with `#`.
    ///
    /// # Errors
    ///
    /// The file cannot be read, or which line is wrong, and why; in words that never repeat the line.
    pub fn read(path: &str) -> Result<Self, String> {
        let text = fs::read_to_string(path).map_err(|error| format!("it cannot be read: {error}"))?;
        let lines = (1..).zip(text.lines());
        let lines = lines.filter(|(_, line)| !line.trim().is_empty() && !line.trim_start().starts_with('#'));
        lines
            .map(|(number, line)| option(line).map_err(|why| format!("line {number}: {why}")))
            .collect::<Result<_, _>>()
            .map(Self)
    }

    /// These settings, and after them those that win over them.
    pub fn and(file: Option<&Self>, winning: &[(String, String)]) -> Vec<(String, String)> {
        file.iter().flat_map(|file| &file.0).chain(winning).cloned().collect()
    }
}

/// Logs as [`log`] and [`log_error`] do, for clients that need nothing else of a context.
#[derive(Debug)]
pub struct Quiet;

impl ClientContext for Quiet {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, line: &str) {
        log(level, facility, line);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        log_error(&error, reason);
    }
}

impl ConsumerContext for Quiet {}

/// Passes a line of librdkafka's own log on.
pub fn log(level: RDKafkaLogLevel, facility: &str, line: &str) {
    match level {
        // One for each connection attempt, and one for each partition of a refused commit. The process tells both in its
        // own words: `readiness` says that Kafka is away, and the commit callback says why a commit was refused.
        _ if facility == "FAIL" || facility == "COMMITFAIL" => tracing::debug!(facility, line, "librdkafka"),
        RDKafkaLogLevel::Emerg
        | RDKafkaLogLevel::Alert
        | RDKafkaLogLevel::Critical
        | RDKafkaLogLevel::Error => tracing::error!(facility, line, "librdkafka"),
        RDKafkaLogLevel::Warning => tracing::warn!(facility, line, "librdkafka"),
        RDKafkaLogLevel::Notice => tracing::info!(facility, line, "librdkafka"),
        RDKafkaLogLevel::Info | RDKafkaLogLevel::Debug => tracing::debug!(facility, line, "librdkafka"),
    }
}

/// Tells of an error that librdkafka deals with by itself.
pub fn log_error(error: &KafkaError, reason: &str) {
    if is_outage(error) {
        tracing::debug!(%error, reason, "kafka");
    } else {
        tracing::warn!(%error, reason, "kafka");
    }
}

/// True for what is said many times a second while the brokers are away. `readiness` says it once.
pub fn is_outage(error: &KafkaError) -> bool {
    matches!(
        error.rdkafka_error_code(),
        Some(
            RDKafkaErrorCode::AllBrokersDown
                | RDKafkaErrorCode::BrokerTransportFailure
                | RDKafkaErrorCode::OperationTimedOut
                | RDKafkaErrorCode::Resolve
        )
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair(key: &str, value: &str) -> (String, String) {
        (key.to_owned(), value.to_owned())
    }

    #[test]
    fn one_option_is_one_option_commas_and_all() {
        assert_eq!(option("debug=broker,security").unwrap(), pair("debug", "broker,security"));
        assert_eq!(option("sasl.password=a=b ").unwrap(), pair("sasl.password", "a=b "));
        assert!(option("sasl.password").is_err() && option("=x").is_err());
    }

    #[test]
    fn a_file_has_one_option_a_line_and_is_named_by_its_line_where_it_is_wrong() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("kafka.properties");
        let read = |text: &str| {
            fs::write(&file, text).unwrap();
            Options::read(&file.display().to_string())
        };
        let options = read("# who we are\nsasl.username=app\n\n  # and\nsasl.password=a,#b=c \r\n").unwrap();
        let after = Options::and(Some(&options), &[pair("sasl.username", "bob")]);
        assert_eq!(
            after,
            [pair("sasl.username", "app"), pair("sasl.password", "a,#b=c "), pair("sasl.username", "bob")]
        );
        assert!(!format!("{options:?}").contains("a,#b"), "{options:?}");
        let wrong = read("sasl.username=app\n\nsecret\n").unwrap_err();
        assert!(wrong.starts_with("line 3: it must be KEY=VALUE") && !wrong.contains("secret"), "{wrong}");
        assert!(Options::read("/nowhere/at/all").unwrap_err().contains("cannot be read"));
    }
}
