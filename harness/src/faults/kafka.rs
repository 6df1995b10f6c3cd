//! What is done to Kafka from inside, and what is seen of it, on clients of its own past every proxy.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use chat_protocol::position::partition_of;
use rdkafka::{
    Message, Offset, TopicPartitionList,
    admin::{AdminClient, AdminOptions, NewPartitions},
    client::DefaultClientContext,
    consumer::Consumer,
    error::{KafkaError, KafkaResult},
    message::{BorrowedMessage, Headers},
    producer::{FutureProducer, FutureRecord},
};

use crate::{
    cluster::Cluster,
    environment::{
        Endpoints,
        groups::{self, Group, QUESTION_LIMIT, blocking, consumer, partitions},
    },
    faults::FaultError,
    plan::poison::{Poison, is_poison},
};

/// Records of one sort in a round of poison: one is luck, and a few land in different partitions.
const EACH: u32 = 3;
/// Records in a round of poison.
#[expect(clippy::cast_possible_truncation, reason = "there are four sorts of poison")]
pub(super) const ROUND: u32 = EACH * Poison::ALL.len() as u32;

/// Produces poison.
pub(super) fn producer(endpoints: &Endpoints) -> KafkaResult<FutureProducer> {
    let limit = QUESTION_LIMIT.as_millis().to_string();
    endpoints.kafka_client().set("message.timeout.ms", limit).set("acks", "all").create()
}

/// Produces one round of poison: a few records of each sort, spread over the rooms of the plan, each where the room's own
/// messages go. Returns how many.
pub(super) async fn poison(
    producer: &FutureProducer,
    cluster: &Cluster,
    round: u32,
) -> Result<u64, KafkaError> {
    let plan = cluster.plan();
    let sending = (0..ROUND).map(|n| async move {
        let number = round * ROUND + n;
        let room = plan.room_name(number % plan.load.rooms.max(1));
        let value = Poison::ALL[n as usize % Poison::ALL.len()].value(&room, number);
        let record = FutureRecord::to(&cluster.names().topic)
            .partition(partition_of(&room, plan.cluster.partitions))
            .key(&room)
            .payload(&value);
        producer.send(record, QUESTION_LIMIT).await.map(drop).map_err(|(error, _)| error)
    });
    futures_util::future::try_join_all(sending).await.map(|sent| sent.len() as u64)
}

/// Where poison of the last while stands in the log, and which of those places are named by dead letters.
pub(super) struct Poisoned {
    pub(super) in_log: BTreeSet<(i32, i64)>,
    pub(super) set_aside: BTreeSet<(i32, i64)>,
}

/// Looks for poison in the log and among the dead letters.
pub(super) async fn poisoned(
    endpoints: &Endpoints,
    cluster: &Cluster,
    since: Duration,
) -> Result<Poisoned, String> {
    let (endpoints, names) = (endpoints.clone(), cluster.names().clone());
    let look = move || {
        let own = |record: &BorrowedMessage<'_>| Some((record.partition(), record.offset()));
        // The log first: what is in it by now may become a dead letter meanwhile, and not the other way round.
        let in_log = marked(&endpoints, &names.topic, since, own)?;
        let set_aside = marked(&endpoints, &names.dead_letters, since, place)?;
        Ok::<_, KafkaError>(Poisoned {
            set_aside: set_aside.intersection(&in_log).copied().collect(),
            in_log,
        })
    };
    blocking(look).await
}

/// The place in the log that a dead letter names.
fn place(letter: &BorrowedMessage<'_>) -> Option<(i32, i64)> {
    let header = |name: &str| {
        let mut headers = letter.headers()?.iter();
        std::str::from_utf8(headers.find(|header| header.key == name)?.value?).ok()
    };
    Some((header("partition")?.parse().ok()?, header("offset")?.parse().ok()?))
}

/// Reads what a topic got in the last while, and keeps what is known of its poison.
fn marked<T: Ord>(
    endpoints: &Endpoints,
    topic: &str,
    since: Duration,
    keep: impl Fn(&BorrowedMessage<'_>) -> Option<T>,
) -> KafkaResult<BTreeSet<T>> {
    let consumer = consumer(endpoints)?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let from_ms = i64::try_from(now.saturating_sub(since).as_millis()).unwrap_or(i64::MAX);
    let mut question = TopicPartitionList::new();
    for partition in partitions(&consumer, topic)? {
        question.add_partition_offset(topic, partition, Offset::Offset(from_ms))?;
    }
    let starts = consumer.offsets_for_times(question, QUESTION_LIMIT)?;
    let mut assignment = TopicPartitionList::new();
    let mut left = BTreeMap::new();
    for element in starts.elements() {
        let (_, end) = consumer.fetch_watermarks(topic, element.partition(), QUESTION_LIMIT)?;
        // Without a number, nothing is as young as that.
        if let Offset::Offset(start) = element.offset()
            && start < end
        {
            assignment.add_partition_offset(topic, element.partition(), element.offset())?;
            left.insert(element.partition(), end);
        }
    }
    consumer.assign(&assignment)?;
    let mut found = BTreeSet::new();
    while !left.is_empty() {
        let Some(record) = consumer.poll(QUESTION_LIMIT) else {
            return Err(KafkaError::MessageConsumption(rdkafka::error::RDKafkaErrorCode::OperationTimedOut));
        };
        let record = record?;
        if record.payload().is_some_and(is_poison) {
            found.extend(keep(&record));
        }
        if left.get(&record.partition()).is_some_and(|end| record.offset() + 1 >= *end) {
            left.remove(&record.partition());
        }
    }
    Ok(found)
}

/// The writers' group, and which partitions the topic has.
pub(super) async fn group(
    endpoints: &Endpoints,
    cluster: &Cluster,
) -> Result<(Group, BTreeSet<i32>), String> {
    groups::describe(endpoints, &cluster.names().group, &cluster.names().topic).await
}

/// Adds partitions to the messages topic.
pub(super) async fn add_partitions(
    endpoints: &Endpoints,
    cluster: &Cluster,
    more: u16,
) -> Result<(), FaultError> {
    let topic = &cluster.names().topic;
    let (_, before) = group(endpoints, cluster).await.map_err(FaultError::Missed)?;
    let admin: AdminClient<DefaultClientContext> = endpoints.kafka_client().create()?;
    let options =
        AdminOptions::new().request_timeout(Some(QUESTION_LIMIT)).operation_timeout(Some(QUESTION_LIMIT));
    let wanted = NewPartitions::new(topic, before.len() + usize::from(more));
    for result in admin.create_partitions([&wanted], &options).await? {
        result.map_err(|(_, code)| KafkaError::AdminOp(code))?;
    }
    Ok(())
}
