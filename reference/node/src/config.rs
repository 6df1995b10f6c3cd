//! What a node is told when it starts: flags, or environment variables of the same meaning.

use std::{fmt, net::SocketAddr, path::PathBuf, time::Duration};

use axum::http::HeaderValue;
use chat_process::{kafka::Options, postgres};
use chat_protocol::{Topology, token::Key};
use clap::Parser;
use sqlx::postgres::PgConnectOptions;

use crate::bugs::Bugs;

/// A node of the reference chat cluster.
#[derive(Clone, Parser)]
#[command(name = "chat-node", version, about, long_about = None)]
pub struct Config {
    /// Name of this node in logs, metrics and beats; unique in its cluster
    #[arg(long, env = "CHAT_NODE_NAME", default_value = "node-1")]
    pub name: String,

    /// Way of a message: durable-first (Kafka, then Redis, then the ack) or relay (Redis, then the ack; one node writes
    /// to Kafka what it hears); every node of a cluster must be told the same
    #[arg(long, env = "CHAT_NODE_TOPOLOGY", default_value_t)]
    pub topology: Topology,

    /// Address for Socket.IO, health and metrics; port 0 lets the system choose (see the `listening` event)
    #[arg(long, env = "CHAT_NODE_LISTEN", default_value = "127.0.0.1:0")]
    pub listen: SocketAddr,

    /// Redis that carries the bus between nodes: redis://[user:password@]host:port or rediss://
    #[arg(long, env = "CHAT_NODE_REDIS_URL", hide_env_values = true, default_value = "redis://127.0.0.1:6379",
          value_parser = redis_url)]
    pub redis_url: String,

    /// Authorities that may have signed Redis's certificate, as a PEM file; without it the system's
    #[arg(long, env = "CHAT_NODE_REDIS_CA", value_name = "FILE")]
    pub redis_ca: Option<PathBuf>,

    /// Redis Pub/Sub channel of this cluster
    #[arg(long, env = "CHAT_NODE_REDIS_CHANNEL", default_value = chat_protocol::bus::DEFAULT_CHANNEL)]
    pub redis_channel: String,

    /// Kafka bootstrap servers, comma separated
    #[arg(long, env = "CHAT_NODE_KAFKA_BROKERS", default_value = "127.0.0.1:9092")]
    pub kafka_brokers: String,

    /// A librdkafka setting as key=value (TLS and SASL come this way); repeatable, one a line in the
    /// environment
    #[arg(long = "kafka-option", env = "CHAT_NODE_KAFKA_OPTIONS", value_parser = chat_process::kafka::option,
          value_delimiter = '\n', hide_env_values = true)]
    pub kafka_options: Vec<(String, String)>,

    /// A file of librdkafka settings, one key=value a line; lines that begin with # are passed over, and --kafka-option wins
    #[arg(long, env = "CHAT_NODE_KAFKA_OPTIONS_FILE", value_name = "FILE", value_parser = Options::read)]
    pub kafka_options_file: Option<Options>,

    /// Kafka topic that is the log of all messages; created when absent
    #[arg(long, env = "CHAT_NODE_TOPIC", default_value = "chat.messages")]
    pub topic: String,

    /// Partitions the cluster started with: every node of a cluster must be told the same number
    #[arg(long, env = "CHAT_NODE_PARTITIONS", default_value_t = 12,
          value_parser = clap::value_parser!(i32).range(1..=1024))]
    pub partitions: i32,

    /// Replicas of the topic when this node creates it; without it as many as the Kafka cluster has set for new topics
    #[arg(long, env = "CHAT_NODE_REPLICAS", value_parser = clap::value_parser!(i32).range(1..=9))]
    pub replicas: Option<i32>,

    /// PostgreSQL for `history`; without it the verb answers `unavailable` and nothing else changes. TLS by
    /// ?sslmode=verify-full, with &sslrootcert=FILE where the system's authorities have not signed its certificate
    #[arg(long, env = "CHAT_NODE_POSTGRES_URL", hide_env_values = true, value_parser = postgres::url)]
    pub postgres_url: Option<PgConnectOptions>,

    /// A key that tokens may be signed with (HS256, at least 32 bytes); two while keys are changed, comma separated. Flags can
    /// be read by others: use the environment. Without a key the node is in development mode and believes any name
    #[arg(long = "token-key", env = "CHAT_NODE_TOKEN_KEYS", hide_env_values = true, value_delimiter = ',',
          value_parser = |text: &str| Key::new(text.as_bytes()))]
    pub token_keys: Vec<Key>,

    /// What tokens must name as their issuer
    #[arg(long, env = "CHAT_NODE_TOKEN_ISSUER", default_value = "chat")]
    pub token_issuer: String,

    /// Run in development mode also where others than this machine can connect
    #[arg(long, env = "CHAT_NODE_DEVELOPMENT_ANYWHERE")]
    pub development_anywhere: bool,

    /// Messages a second that one client may send, over time; beyond it a `send` is answered `rate_limited`. Far above what
    /// people type
    #[arg(long, env = "CHAT_NODE_SENDS_PER_S", default_value_t = 2_000,
          value_parser = clap::value_parser!(u32).range(1..))]
    pub sends_per_s: u32,

    /// Bytes of messages a second that one client may send, over time; beyond it a `send` is answered `rate_limited`
    #[arg(long, env = "CHAT_NODE_SEND_BYTES_PER_S", default_value_t = 16 * 1024 * 1024,
          value_parser = clap::value_parser!(u32).range(32 * 1024..))]
    pub send_bytes_per_s: u32,

    /// Connections that one address may have; beyond it they are answered 429. 0 for no limit: people behind one router, or
    /// a proxy in front of this node, share an address
    #[arg(long, env = "CHAT_NODE_CONNECTIONS_PER_ADDRESS", default_value_t = 0)]
    pub connections_per_address: usize,

    /// An origin whose pages may connect, with their cookies, as https://chat.example.org; repeatable, comma separated in
    /// the environment. Without it any page may, without cookies. Pages of this node's own address always may
    #[arg(long = "origin", env = "CHAT_NODE_ORIGINS", value_delimiter = ',', value_parser = origin)]
    pub origins: Vec<HeaderValue>,

    /// How long a client waits for Kafka before it is told `unavailable`, in milliseconds
    #[arg(long, env = "CHAT_NODE_ACK_TIMEOUT_MS", default_value_t = 5_000,
          value_parser = clap::value_parser!(u64).range(50..=25_000))]
    pub ack_timeout_ms: u64,

    /// Longest graceful shutdown, in milliseconds; the process ends then, whatever hangs
    #[arg(long, env = "CHAT_NODE_DRAIN_MS", default_value_t = 5_000,
          value_parser = clap::value_parser!(u64).range(100..=600_000))]
    pub drain_ms: u64,

    /// Be wrong on purpose, in a known way, so that the checkers can be tested
    #[cfg(feature = "planted-bugs")]
    #[arg(long, env = "CHAT_NODE_BUG")]
    pub bug: Option<crate::bugs::Bug>,

    /// Spend so many per cent more processor time than the work takes, so that a gate on performance can be tested
    #[cfg(feature = "planted-bugs")]
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u32).range(..=1_000))]
    pub burn_cpu_percent: u32,
}

// By hand, because the URLs, the Kafka options and the keys are secrets.
impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Config").field("name", &self.name).field("topic", &self.topic).finish_non_exhaustive()
    }
}

impl Config {
    /// Whether any name is believed.
    pub fn development(&self) -> bool {
        self.token_keys.is_empty()
    }

    /// How long a client waits for the ack of a `send`.
    pub fn ack_timeout(&self) -> Duration {
        Duration::from_millis(self.ack_timeout_ms)
    }

    /// Longest graceful shutdown.
    pub fn drain(&self) -> Duration {
        Duration::from_millis(self.drain_ms)
    }

    /// The planted bug, if this build has any.
    pub fn bugs(&self) -> Bugs {
        #[cfg(feature = "planted-bugs")]
        return Bugs::new(self.bug, self.burn_cpu_percent);
        #[cfg(not(feature = "planted-bugs"))]
        Bugs::default()
    }
}

fn origin(text: &str) -> Result<HeaderValue, String> {
    let bare = text
        .split_once("://")
        .is_some_and(|(scheme, host)| !scheme.is_empty() && !host.is_empty() && !host.contains('/'));
    let value = HeaderValue::from_str(text).ok().filter(|_| bare);
    value.ok_or_else(|| "must be scheme://host or scheme://host:port, without a path".to_owned())
}

fn redis_url(text: &str) -> Result<String, String> {
    fred::types::config::Config::from_url(text).map(|_| text.to_owned()).map_err(|error| {
        format!(
            "{}; write redis://user:password@host:port, and what is special in a password by its code, as %40 for @",
            error.details()
        )
    })
}
