//! Appends messages to the log.

use std::{sync::Arc, time::Duration};

use chat_protocol::{ChatRecord, Position};
use rdkafka::{
    ClientContext, Message,
    error::{KafkaError, KafkaResult, RDKafkaErrorCode},
    producer::{BaseProducer, BaseRecord, DeliveryResult, Producer as _, ProducerContext},
};
use tokio::sync::oneshot;
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

impl ProducerContext for DeliveryContext {
    type DeliveryOpaque = Box<oneshot::Sender<KafkaResult<Position>>>;

    fn delivery(&self, result: &DeliveryResult<'_>, answer: Self::DeliveryOpaque) {
        let outcome = match result {
            Ok(message) => Ok(Position { partition: message.partition(), offset: message.offset() }),
            Err((error, _)) => Err(error.clone()),
        };
        // Whoever no longer waits needs no answer.
        let _ = answer.send(outcome);
    }
}

/// Where a message stands in the log, once Kafka has confirmed it; a negative offset if it did not say.
pub type Confirmation = oneshot::Receiver<KafkaResult<Position>>;

/// How long the thread that brings confirmations waits for one at a time. librdkafka's binding spins through the last
/// millisecond of such a wait: its own thread, which waits for 100 ms, takes a hundredth of a core for nothing.
const WAIT: Duration = Duration::from_secs(10);

/// The producer of a node.
#[derive(Clone)]
pub struct Producer {
    inner: Arc<BaseProducer<DeliveryContext>>,
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
    /// A producer that connects when it can. Its thread lives as long as the process.
    ///
    /// # Errors
    ///
    /// When librdkafka does not take the settings.
    pub fn new(config: &Config, health: Arc<Health>) -> Result<Self, BadSettings> {
        let inner: BaseProducer<_> = client(config, "producer")
            // The promise of an ack: written by all in-sync replicas, once, in the order of sending.
            .set("enable.idempotence", "true")
            .set("acks", "all")
            .set("linger.ms", "1")
            // What the topic must take at least, as one message may be as large.
            .set("batch.size", limits::RECORD_BYTES.to_string())
            .set("message.timeout.ms", limits::MESSAGE_TIMEOUT.as_millis().to_string())
            .set("request.timeout.ms", "5000")
            .set("queue.buffering.max.messages", (limits::SENDS_IN_FLIGHT * 2).to_string())
            .create_with_context(DeliveryContext(Arc::clone(&health)))?;
        let inner = Arc::new(inner);
        let polled = Arc::clone(&inner);
        std::thread::spawn(move || {
            loop {
                polled.poll(WAIT);
                // From then on it refuses every message, so as not to write one twice or out of order. The error itself,
                // which ended the wait, has the code of its cause, and does not tell that it is for good.
                if health.broken().is_none()
                    && let Some((_, reason)) = polled.client().fatal_error()
                {
                    health.broke(format!("Kafka's client gave up writing for good: {reason}"));
                }
            }
        });
        Ok(Self { inner, topic: Arc::from(config.topic.as_str()) })
    }

    /// Puts a message into the queue of its partition; calls are written in the order they are made. The future is
    /// ready when Kafka has confirmed it or given it up.
    ///
    /// # Errors
    ///
    /// When the message was not taken.
    pub fn enqueue(&self, partition: i32, record: &ChatRecord) -> Result<Confirmation, NotTaken> {
        let payload = serde_json::to_vec(record).map_err(|_| NotTaken::Refused)?;
        let (answer, confirmation) = oneshot::channel();
        let message = BaseRecord::with_opaque_to(&self.topic, Box::new(answer))
            .partition(partition)
            .key(record.room.as_str())
            .payload(&payload);
        match self.inner.send(message) {
            Ok(()) => Ok(confirmation),
            Err((error, _)) if error.rdkafka_error_code() == Some(RDKafkaErrorCode::QueueFull) => {
                Err(NotTaken::Full)
            }
            Err((error, _)) => {
                warn!(%error, "kafka refused a message");
                Err(NotTaken::Refused)
            }
        }
    }

    /// Waits until the queue is empty. Blocks.
    pub fn flush(&self, at_most: Duration) -> bool {
        self.inner.flush(at_most).is_ok()
    }
}
