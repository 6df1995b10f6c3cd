//! The log.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use chat_protocol::ChatRecord;
use rdkafka::{
    Message, Offset, TopicPartitionList,
    admin::{AdminClient, AdminOptions, NewTopic, TopicReplication},
    client::DefaultClientContext,
    consumer::{BaseConsumer, Consumer},
    error::{KafkaError as RdError, RDKafkaErrorCode},
    message::BorrowedMessage,
    metadata::{MetadataPartition, MetadataTopic},
};

use super::{Offsets, Reading, planned};
use crate::{
    environment::{Endpoints, groups::QUESTION_LIMIT},
    history::{EventKind, Ledger},
    plan::{Arrivals, FaultKind, Plan, poison::is_poison},
    target::{DeadLetter, Names},
};

/// Topics are made within this by a broker that has just started, on a busy machine.
const CREATE_LIMIT: Duration = Duration::from_secs(30);
/// Reading goes on as long as a record comes within this; far above a healthy fetch.
const SILENCE_LIMIT: Duration = Duration::from_secs(10);

/// Dead letters are few, and their order means nothing.
const DEAD_LETTER_PARTITIONS: i32 = 1;

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
    /// The user may not.
    #[error("this Kafka user may not create the topic {topic} ({code})")]
    NotAllowed {
        /// Topic.
        topic: String,
        /// What the broker said.
        code: RDKafkaErrorCode,
    },
    /// The broker does not tell of all partitions.
    #[error(
        "Kafka tells of {told} partitions of {topic}, planned are {planned}: there is no partition {missing}"
    )]
    Partitions {
        /// Topic.
        topic: String,
        /// Partitions it told of.
        told: usize,
        /// Partitions of the plan.
        planned: i32,
        /// The first that is missing.
        missing: i32,
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
        NewTopic::new(&names.dead_letters, DEAD_LETTER_PARTITIONS, TopicReplication::Fixed(-1)),
    ];
    let options =
        AdminOptions::new().operation_timeout(Some(CREATE_LIMIT)).request_timeout(Some(CREATE_LIMIT));
    let created =
        admin.create_topics(&topics, &options).await.map_err(|source| fail(&names.topic, source))?;
    for result in created {
        match result {
            Ok(_) | Err((_, RDKafkaErrorCode::TopicAlreadyExists)) => {}
            Err((
                topic,
                code @ (RDKafkaErrorCode::TopicAuthorizationFailed
                | RDKafkaErrorCode::ClusterAuthorizationFailed),
            )) => return Err(KafkaError::NotAllowed { topic, code }),
            Err((topic, code)) => return Err(fail(&topic, RdError::AdminOp(code))),
        }
    }
    Ok(())
}

/// End of every partition of a topic that has at least so many.
pub(super) fn heads(endpoints: &Endpoints, topic: &str, planned: i32) -> Result<Offsets, KafkaError> {
    let consumer = consumer(endpoints, topic)?;
    heads_of(&consumer, topic, planned)
}

fn heads_of(consumer: &BaseConsumer, topic: &str, planned: i32) -> Result<Offsets, KafkaError> {
    let fail = |source| KafkaError::Client { topic: topic.to_owned(), source };
    let metadata = consumer.fetch_metadata(Some(topic), QUESTION_LIMIT).map_err(fail)?;
    let told = metadata.topics().iter().find(|told| told.name() == topic);
    let error = told.and_then(MetadataTopic::error).map(RDKafkaErrorCode::from);
    let partitions = told.map(MetadataTopic::partitions).unwrap_or_default();
    let partitions = partitions.iter().map(MetadataPartition::id).collect();
    all_there(topic, planned, error, partitions)?
        .into_iter()
        .map(|partition| {
            let (_, high) = consumer.fetch_watermarks(topic, partition, QUESTION_LIMIT).map_err(fail)?;
            Ok((partition, high))
        })
        .collect()
}

/// The partitions that the broker told of, if it told of all. Otherwise a broker that has just forgotten a topic, or has not
/// found its leaders again, would look like an empty log, in which every acked message is lost.
fn all_there(
    topic: &str,
    planned: i32,
    error: Option<RDKafkaErrorCode>,
    told: BTreeSet<i32>,
) -> Result<BTreeSet<i32>, KafkaError> {
    if let Some(code) = error {
        return Err(KafkaError::Client { topic: topic.to_owned(), source: RdError::MetadataFetch(code) });
    }
    match (0..planned).find(|partition| !told.contains(partition)) {
        None => Ok(told),
        Some(missing) => {
            Err(KafkaError::Partitions { topic: topic.to_owned(), told: told.len(), planned, missing })
        }
    }
}

/// One topic, to be read from its beginning.
pub(super) struct Topic {
    pub(super) endpoints: Endpoints,
    pub(super) name: String,
    pub(super) ledger: Ledger,
    pub(super) plan: Arc<Plan>,
    pub(super) arrivals: Arc<Arrivals>,
}

impl Topic {
    /// Reads up to the given ends, or else to where the topic ends now.
    pub(super) fn read(&self, ends: Option<Offsets>) -> Reading {
        let mut found = Vec::new();
        let ended = self.read_into(&mut found, ends);
        Reading { found, ended: ended.map_err(|error| error.to_string()) }
    }

    fn read_into(&self, found: &mut Vec<EventKind>, ends: Option<Offsets>) -> Result<u64, KafkaError> {
        let fail = |source| KafkaError::Client { topic: self.name.clone(), source };
        let consumer = consumer(&self.endpoints, &self.name)?;
        let mut ends = match ends {
            Some(ends) => ends,
            None => heads_of(&consumer, &self.name, DEAD_LETTER_PARTITIONS)?,
        };
        ends.retain(|_, end| *end > 0);
        let mut at: Offsets = ends.keys().map(|partition| (*partition, 0)).collect();
        let mut assignment = TopicPartitionList::new();
        for partition in ends.keys() {
            assignment.add_partition_offset(&self.name, *partition, Offset::Beginning).map_err(fail)?;
        }
        consumer.assign(&assignment).map_err(fail)?;
        // Whoever puts poison into the log does so by the plan.
        let poisoned = self.plan.faults.iter().any(|fault| fault.fault == FaultKind::KafkaPoison);
        let mut entries = 0;
        while let Some((&partition, &end)) = ends.iter().find(|(partition, end)| at[partition] < **end) {
            let Some(record) = consumer.poll(SILENCE_LIMIT) else {
                return Err(KafkaError::Silent {
                    topic: self.name.clone(),
                    partition,
                    at: at[&partition],
                    end,
                });
            };
            let record = match record {
                // One of several brokers or addresses is away: told, not fatal. When all are, the silence shows.
                Err(error) if away(&error) => continue,
                record => record.map_err(fail)?,
            };
            at.insert(record.partition(), record.offset() + 1);
            if record.offset() < ends.get(&record.partition()).copied().unwrap_or(0) {
                entries += 1;
                found.push(match record.payload().unwrap_or_default() {
                    payload if poisoned && is_poison(payload) => self.poison(&record),
                    payload => self.entry(&record, payload),
                });
            }
        }
        Ok(entries)
    }

    fn entry(&self, record: &BorrowedMessage<'_>, payload: &[u8]) -> EventKind {
        let (ledger, partition, offset) = (self.ledger, record.partition(), record.offset());
        let message = serde_json::from_slice::<ChatRecord>(payload).map_err(|error| error.to_string());
        let message = message.and_then(|ChatRecord { room, id, sender, body, .. }| {
            Ok((planned::message(&self.plan, &self.arrivals, &room, &id, &sender)?, body))
        });
        match message {
            Ok((message, _)) if ledger == Ledger::DeadLetters => {
                EventKind::InDeadLetters { message, reason: reason_of(record) }
            }
            Ok((message, body)) => EventKind::InKafka {
                message,
                partition,
                offset,
                body_ok: body == self.arrivals.body(message),
            },
            Err(why) => EventKind::Foreign { ledger, detail: format!("{partition}@{offset}: {why}") },
        }
    }

    /// Dead letters say in their headers where they stood.
    fn poison(&self, record: &BorrowedMessage<'_>) -> EventKind {
        let ledger = self.ledger;
        if ledger != Ledger::DeadLetters {
            let (partition, offset) = (record.partition(), record.offset());
            return EventKind::Poison { ledger, partition, offset, reason: String::new() };
        }
        let letter = DeadLetter::of(record);
        let (partition, offset) = letter.place.unwrap_or((-1, -1));
        EventKind::Poison { ledger, partition, offset, reason: letter.reason.unwrap_or_default() }
    }
}

/// Whether an error is of one connection only, which the client makes again by itself.
fn away(error: &RdError) -> bool {
    matches!(
        error.rdkafka_error_code(),
        Some(
            RDKafkaErrorCode::BrokerTransportFailure
                | RDKafkaErrorCode::AllBrokersDown
                | RDKafkaErrorCode::Resolve
        )
    )
}

fn reason_of(record: &BorrowedMessage<'_>) -> String {
    DeadLetter::of(record).reason.unwrap_or_else(|| "no reason given".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_topic_is_all_there_or_an_error_with_a_name() {
        let ask = |error, told: &[i32]| all_there("messages", 3, error, told.iter().copied().collect());
        assert_eq!(ask(None, &[2, 0, 1]).unwrap().len(), 3);
        // A fault may add some.
        assert_eq!(ask(None, &[0, 1, 2, 3]).unwrap().len(), 4);
        let error = ask(None, &[]).unwrap_err().to_string();
        assert_eq!(error, "Kafka tells of 0 partitions of messages, planned are 3: there is no partition 0");
        assert!(matches!(ask(None, &[0, 2, 3]), Err(KafkaError::Partitions { missing: 1, told: 3, .. })));
        let error = ask(Some(RDKafkaErrorCode::UnknownTopicOrPartition), &[0, 1, 2]).unwrap_err();
        assert!(
            error.to_string().contains("messages: Meta data fetch error: UnknownTopicOrPartition"),
            "{error}"
        );
    }
}
