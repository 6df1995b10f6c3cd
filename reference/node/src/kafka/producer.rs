//! Appends messages to the log.

use std::{sync::Arc, time::Duration};

use chat_protocol::ChatRecord;
use rdkafka::{
    ClientContext,
    error::{KafkaError, RDKafkaErrorCode},
    producer::{DeliveryFuture, FutureProducer, FutureRecord, Producer as _},
    util::DefaultRuntime,
};
use tracing::warn;

use crate::{config::Config, health::Health, limits};

use super::{BadSettings, client};

/// Hears what librdkafka complains about.
#[derive(Debug, Clone)]
pub struct DeliveryContext(Arc<Health>);

impl ClientContext for DeliveryContext {
    fn error(&self, error: KafkaError, reason: &str) {
        if error.rdkafka_error_code() == Some(RDKafkaErrorCode::AllBrokersDown) {
            self.0.kafka_failed();
        }
        warn!(%error, reason, "kafka producer");
    }
}

/// The producer of a node.
#[derive(Clone)]
pub struct Producer {
    inner: FutureProducer<DeliveryContext, DefaultRuntime>,
    topic: Arc<str>,
}

impl std::fmt::Debug for Producer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Producer").field("topic", &self.topic).finish_non_exhaustive()
    }
}

/// Why a message was not taken. Nothing was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotTaken {
    /// The local queue is full.
    #[error("too many messages wait for Kafka")]
    Full,
    /// librdkafka refused it.
    #[error("Kafka's client refused the message")]
    Refused,
}

impl Producer {
    /// A producer that connects when it can.
    ///
    /// # Errors
    ///
    /// When librdkafka does not take the settings.
    pub fn new(config: &Config, health: Arc<Health>) -> Result<Self, BadSettings> {
        let inner = client(config, "producer")
            // The promise of an ack: written by all in-sync replicas, once, in the order of sending.
            .set("enable.idempotence", "true")
            .set("acks", "all")
            .set("linger.ms", "1")
            .set("message.timeout.ms", limits::MESSAGE_TIMEOUT.as_millis().to_string())
            .set("request.timeout.ms", "5000")
            .set("queue.buffering.max.messages", (limits::SENDS_IN_FLIGHT * 2).to_string())
            .create_with_context(DeliveryContext(health))?;
        Ok(Self { inner, topic: Arc::from(config.topic.as_str()) })
    }

    /// Puts a message into the queue of its partition; calls are written in the order they are made. The future is
    /// ready when Kafka has confirmed it or given it up.
    ///
    /// # Errors
    ///
    /// When the message was not taken.
    pub fn enqueue(&self, partition: i32, record: &ChatRecord) -> Result<DeliveryFuture, NotTaken> {
        let payload = serde_json::to_vec(record).map_err(|_| NotTaken::Refused)?;
        let message =
            FutureRecord::to(&self.topic).partition(partition).key(record.room.as_str()).payload(&payload);
        self.inner.send_result(message).map_err(|(error, _)| match error.rdkafka_error_code() {
            Some(RDKafkaErrorCode::QueueFull) => NotTaken::Full,
            _ => {
                warn!(%error, "kafka refused a message");
                NotTaken::Refused
            }
        })
    }

    /// Waits until the queue is empty. Blocks.
    pub fn flush(&self, at_most: Duration) -> bool {
        self.inner.flush(at_most).is_ok()
    }
}
