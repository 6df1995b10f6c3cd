//! The Kafka topic of records that cannot be stored.
//!
//! What one looks like is said in [`chat_protocol::dead_letter`]. It is confirmed by Kafka before the offset moves past the record. So none is lost; a writer that dies in between
//! sends it twice, and `partition` and `offset` tell that it is the same.

use std::cell::OnceCell;
use std::collections::BTreeSet;

use chat_process::{emit, kafka::Quiet};
use chat_protocol::{Position, dead_letter as names};
use metrics::counter;
use rdkafka::ClientConfig;
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseProducer, FutureProducer, FutureRecord};

use crate::batch::Entry;
use crate::config::{Config, DEAD_LETTER_TIMEOUT};

/// Longest letter that librdkafka takes from us: far above what brokers allow by default (1 MiB).
const LETTER_MAX_BYTES: usize = 64 * 1024 * 1024;

/// Sends dead letters.
pub struct DeadLetters {
    settings: ClientConfig,
    /// Made with the first letter, as most writers send none and its thread takes a hundredth of a core.
    producer: OnceCell<FutureProducer<Quiet>>,
    topic: String,
    from: String,
    /// Sent, while their offsets have not moved yet: PostgreSQL may fail in between, and each retry would send again.
    sent: BTreeSet<Position>,
}

impl DeadLetters {
    /// None sent yet. Kafka need not be there.
    ///
    /// # Errors
    ///
    /// An option is unknown or wrong.
    pub fn new(config: &Config) -> KafkaResult<Self> {
        let mut settings = config.kafka_client();
        settings
            .set("enable.idempotence", "true")
            .set("message.timeout.ms", DEAD_LETTER_TIMEOUT.as_millis().to_string())
            // The broker decides what is too large, not the client: a letter is its record, and a little more.
            .set("message.max.bytes", LETTER_MAX_BYTES.to_string());
        // What only a producer refuses (`acks=1`) is refused now, and not with the first letter. This one has no thread.
        let _accepted: BaseProducer = settings.create()?;
        Ok(Self {
            settings,
            producer: OnceCell::new(),
            topic: config.dead_letter_topic.clone(),
            from: config.topic.clone(),
            sent: BTreeSet::new(),
        })
    }

    fn producer(&self) -> KafkaResult<&FutureProducer<Quiet>> {
        if let Some(producer) = self.producer.get() {
            return Ok(producer);
        }
        let made = self.settings.create_with_context(Quiet)?;
        Ok(self.producer.get_or_init(|| made))
    }

    /// Sends one and waits until Kafka has it.
    ///
    /// # Errors
    ///
    /// Kafka did not confirm it in time. It may be there all the same.
    pub async fn send(&mut self, entry: &Entry, reason: &str) -> Result<(), KafkaError> {
        let Position { partition, offset } = entry.position;
        if self.sent.contains(&entry.position) {
            return Ok(());
        }
        let (at_partition, at_offset) = (partition.to_string(), offset.to_string());
        let headers = OwnedHeaders::new()
            .insert(Header { key: names::REASON, value: Some(reason) })
            .insert(Header { key: names::TOPIC, value: Some(&self.from) })
            .insert(Header { key: names::PARTITION, value: Some(&at_partition) })
            .insert(Header { key: names::OFFSET, value: Some(&at_offset) });
        let mut letter = FutureRecord::<[u8], [u8]>::to(&self.topic).headers(headers.clone());
        letter.key = entry.key.as_deref();
        letter.payload = entry.payload.as_deref();
        let producer = self.producer()?;
        let sent = producer.send(letter, DEAD_LETTER_TIMEOUT).await.map_err(|(error, _)| error);
        match sent {
            Err(error) if error.rdkafka_error_code() == Some(RDKafkaErrorCode::MessageSizeTooLarge) => {
                // A record just below the broker's limit, and four headers. Waiting would not make it smaller, and the
                // record stays where its letter says.
                let bytes = entry.payload.as_ref().map_or(0, Vec::len).to_string();
                let headers = headers.insert(Header { key: names::LEFT_OUT_BYTES, value: Some(&bytes) });
                let letter = FutureRecord::<[u8], [u8]>::to(&self.topic).headers(headers);
                producer.send(letter, DEAD_LETTER_TIMEOUT).await.map_err(|(error, _)| error)?;
            }
            Err(error) => return Err(error),
            Ok(_) => {}
        }
        self.sent.insert(entry.position);
        counter!("chat_writer_dead_letters_total").increment(1);
        emit!(WriterDeadLettered, partition, offset, reason);
        Ok(())
    }

    /// The offsets have moved past everything that was sent.
    pub fn settled(&mut self) {
        self.sent.clear();
    }
}

impl std::fmt::Debug for DeadLetters {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DeadLetters").field("topic", &self.topic).finish_non_exhaustive()
    }
}
