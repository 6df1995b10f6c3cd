//! The log: writing to it, following it, reading pieces of it, and asking how far it reaches.
//!
//! librdkafka's calls block, and dropping a client while the brokers are away can block for a minute. So each client
//! lives in a thread of its own that is never joined; the process ends without dropping them.

use std::time::Duration;

use chat_process::kafka::Options;
use rdkafka::{
    ClientConfig,
    error::{KafkaError, RDKafkaErrorCode},
};

use crate::config::Config;

pub mod ends;
pub mod producer;
pub mod reader;
pub mod tail;
pub mod topic;

/// Why a Kafka client could not be made: a setting it does not know, or a value it does not take.
#[derive(Debug, thiserror::Error)]
#[error("Kafka settings: {0}")]
pub struct BadSettings(#[from] KafkaError);

/// What every client of this node begins with.
pub fn client(config: &Config, purpose: &str) -> ClientConfig {
    let client_id = format!("{}-{purpose}", config.name);
    let options = Options::and(config.kafka_options_file.as_ref(), &config.kafka_options);
    chat_process::kafka::client(&config.kafka_brokers, &client_id, &options)
}

/// A consumer that is assigned by hand and belongs to no group.
pub fn consumer(config: &Config, purpose: &str) -> ClientConfig {
    let mut client = client(config, purpose);
    client
        // librdkafka wants a group before it lets anyone assign; none is ever joined, nor is an offset committed.
        .set("group.id", format!("squall-{}-{purpose}", config.name))
        .set("enable.auto.commit", "false")
        .set("enable.auto.offset.store", "false")
        .set("auto.offset.reset", "earliest")
        .set("fetch.wait.max.ms", "20")
        .set("fetch.error.backoff.ms", "100")
        .set("queued.max.messages.kbytes", "4096")
        .set("enable.partition.eof", "false");
    client
}

/// Whether an error is the passing of time rather than a fault.
fn is_timeout(error: &KafkaError) -> bool {
    matches!(
        error.rdkafka_error_code(),
        Some(RDKafkaErrorCode::OperationTimedOut | RDKafkaErrorCode::PartitionEOF)
    )
}

/// How long a poll waits while there is nothing to do.
const IDLE_POLL: Duration = Duration::from_millis(5);
