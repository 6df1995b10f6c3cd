//! The log.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use chat_protocol::ChatRecord;
use rdkafka::{
    Message, Offset, TopicPartitionList,
    admin::{AdminClient, AdminOptions, NewTopic, TopicReplication},
    client::DefaultClientContext,
    consumer::{BaseConsumer, Consumer},
    error::{KafkaError as RdError, RDKafkaErrorCode},
    message::Headers,
};

use crate::{
    cluster::Names,
    environment::Endpoints,
    history::{Ledger, Recorder, What},
    plan::{Arrivals, Plan, poison::is_poison},
};

/// One question to the broker is answered within this.
const QUESTION_LIMIT: Duration = Duration::from_secs(5);
/// Reading goes on as long as a record comes within this; far above a healthy fetch.
const SILENCE_LIMIT: Duration = Duration::from_secs(10);

/// Why the log cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum KafkaError {
    /// The client says so.
    #[error("cannot read Kafka topic {topic}: {source}")]
    Client {
        /// Topic.
        topic: String,
        /// What the client says.
        #[source]
        source: RdError,
    },
    /// The broker stopped sending before the end.
    #[error(
        "Kafka stopped answering before the end of {topic}: partition {partition} stands at {at} of {end}"
    )]
    Silent {
        /// Topic.
        topic: String,
        /// Partition.
        partition: i32,
        /// Read so far.
        at: i64,
        /// End of the log.
        end: i64,
    },
}

fn consumer(endpoints: &Endpoints, topic: &str) -> Result<BaseConsumer, KafkaError> {
    let mut config = endpoints.kafka_client();
    // Assigned by hand and never committed: the name only satisfies the client.
    config
        .set("group.id", "squall-verifier")
        .set("enable.auto.commit", "false")
        .set("fetch.wait.max.ms", "50");
    config.create().map_err(|source| KafkaError::Client { topic: topic.to_owned(), source })
}

/// Creates the topics of a run; existing ones are left alone.
///
/// # Errors
///
/// [`KafkaError::Client`].
pub async fn create_topics(endpoints: &Endpoints, names: &Names, partitions: i32) -> Result<(), KafkaError> {
    let fail = |topic: &str, source| KafkaError::Client { topic: topic.to_owned(), source };
    let admin: AdminClient<DefaultClientContext> =
        endpoints.kafka_client().create().map_err(|source| fail(&names.topic, source))?;
    // -1: the broker's default replication, which a managed cluster sets to what it can promise.
    let topics = [
        NewTopic::new(&names.topic, partitions, TopicReplication::Fixed(-1)),
        NewTopic::new(&names.dead_letters, 1, TopicReplication::Fixed(-1)),
    ];
    let options =
        AdminOptions::new().operation_timeout(Some(QUESTION_LIMIT)).request_timeout(Some(QUESTION_LIMIT));
    let created =
        admin.create_topics(&topics, &options).await.map_err(|source| fail(&names.topic, source))?;
    for result in created {
        match result {
            Ok(_) | Err((_, RDKafkaErrorCode::TopicAlreadyExists)) => {}
            Err((topic, code)) => return Err(fail(&topic, RdError::AdminOp(code))),
        }
    }
    Ok(())
}

/// End of every partition.
pub(super) fn heads(endpoints: &Endpoints, topic: &str) -> Result<BTreeMap<i32, i64>, KafkaError> {
    let consumer = consumer(endpoints, topic)?;
    heads_of(&consumer, topic)
}

fn heads_of(consumer: &BaseConsumer, topic: &str) -> Result<BTreeMap<i32, i64>, KafkaError> {
    let fail = |source| KafkaError::Client { topic: topic.to_owned(), source };
    let metadata = consumer.fetch_metadata(Some(topic), QUESTION_LIMIT).map_err(fail)?;
    let partitions =
        metadata.topics().iter().flat_map(|topic| topic.partitions()).map(|partition| partition.id());
    partitions
        .map(|partition| {
            let (_, high) = consumer.fetch_watermarks(topic, partition, QUESTION_LIMIT).map_err(fail)?;
            Ok((partition, high))
        })
        .collect()
}

/// One reading of one topic from its beginning to where it ended when the reading began.
pub(super) struct Reading {
    pub(super) endpoints: Endpoints,
    pub(super) topic: String,
    pub(super) ledger: Ledger,
    pub(super) room_prefix: String,
    /// Whether the plan has somebody put poison into the log.
    pub(super) poison: bool,
    pub(super) arrivals: Arc<Arrivals>,
    pub(super) recorder: Recorder,
}

impl Reading {
    pub(super) fn read(&self) -> Result<u64, KafkaError> {
        let fail = |source| KafkaError::Client { topic: self.topic.clone(), source };
        let consumer = consumer(&self.endpoints, &self.topic)?;
        let ends: BTreeMap<i32, i64> =
            heads_of(&consumer, &self.topic)?.into_iter().filter(|(_, end)| *end > 0).collect();
        let mut at: BTreeMap<i32, i64> = ends.keys().map(|partition| (*partition, 0)).collect();
        let mut assignment = TopicPartitionList::new();
        for partition in ends.keys() {
            assignment.add_partition_offset(&self.topic, *partition, Offset::Beginning).map_err(fail)?;
        }
        consumer.assign(&assignment).map_err(fail)?;
        let mut entries = 0;
        while let Some((&partition, &end)) = ends.iter().find(|(partition, end)| at[partition] < **end) {
            let Some(record) = consumer.poll(SILENCE_LIMIT) else {
                return Err(KafkaError::Silent {
                    topic: self.topic.clone(),
                    partition,
                    at: at[&partition],
                    end,
                });
            };
            let record = record.map_err(fail)?;
            at.insert(record.partition(), record.offset() + 1);
            if record.offset() < ends.get(&record.partition()).copied().unwrap_or(0) {
                entries += 1;
                self.note(&record);
            }
        }
        Ok(entries)
    }

    fn note(&self, record: &rdkafka::message::BorrowedMessage<'_>) {
        let (partition, offset) = (record.partition(), record.offset());
        let payload = record.payload().unwrap_or_default();
        let foreign = |detail: String| What::Foreign { ledger: self.ledger, detail };
        if self.poison && is_poison(payload) {
            self.recorder.record(self.poison(record));
            return;
        }
        let parsed = serde_json::from_slice::<ChatRecord>(payload);
        let event = match parsed {
            Ok(chat) => match self.explained(&chat) {
                Some(message) if self.ledger == Ledger::DeadLetters => {
                    What::InDeadLetters { message, reason: reason_of(record) }
                }
                Some(message) => {
                    let body_ok = chat.body == self.arrivals.body(message);
                    What::InKafka { message, partition, offset, body_ok }
                }
                None => foreign(format!("{partition}@{offset}: {}/{}", chat.room, chat.id)),
            },
            Err(error) => foreign(format!("{partition}@{offset}: {error}")),
        };
        self.recorder.record(event);
    }

    /// Dead letters say in their headers where they stood.
    fn poison(&self, record: &rdkafka::message::BorrowedMessage<'_>) -> What {
        let ledger = self.ledger;
        if ledger != Ledger::DeadLetters {
            let (partition, offset) = (record.partition(), record.offset());
            return What::Poison { ledger, partition, offset, reason: String::new() };
        }
        let partition = header(record, "partition").and_then(|text| text.parse().ok()).unwrap_or(-1);
        let offset = header(record, "offset").and_then(|text| text.parse().ok()).unwrap_or(-1);
        What::Poison { ledger, partition, offset, reason: header(record, "reason").unwrap_or_default() }
    }

    fn explained(&self, chat: &ChatRecord) -> Option<u32> {
        let message = Plan::message_of(&chat.id)?;
        let arrival = self.arrivals.list.get(message as usize)?;
        let room: u32 = chat.room.strip_prefix(&self.room_prefix)?.parse().ok()?;
        (room == arrival.room).then_some(message)
    }
}

fn reason_of(record: &rdkafka::message::BorrowedMessage<'_>) -> String {
    header(record, "reason").unwrap_or_else(|| "no reason given".to_owned())
}

fn header(record: &rdkafka::message::BorrowedMessage<'_>, name: &str) -> Option<String> {
    let mut headers = record.headers().into_iter().flat_map(Headers::iter);
    let value = headers.find(|header| header.key == name)?.value?;
    Some(String::from_utf8_lossy(value).into_owned())
}
