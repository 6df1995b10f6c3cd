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
    consumer::{BaseConsumer, Consumer},
    error::{KafkaError, KafkaResult},
    message::{BorrowedMessage, Headers},
    producer::{FutureProducer, FutureRecord},
};

use crate::{
    cluster::Cluster,
    environment::Endpoints,
    faults::FaultError,
    plan::poison::{Poison, is_poison},
};

/// One question to the broker is answered within this.
const QUESTION_LIMIT: Duration = Duration::from_secs(3);
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

/// A consumer group, described by the broker to a client that is no member.
#[derive(Debug)]
pub(super) struct Group {
    /// `Stable` when nobody is coming or going.
    pub(super) state: String,
    /// Names of the clients and the partitions they were given.
    pub(super) members: Vec<(String, Vec<i32>)>,
}

impl Group {
    /// Every partition that somebody was given.
    pub(super) fn assigned(&self) -> BTreeSet<i32> {
        self.members.iter().flat_map(|(_, partitions)| partitions).copied().collect()
    }
}

/// Asks for the writers' group, and which partitions the topic has.
pub(super) async fn group(
    endpoints: &Endpoints,
    cluster: &Cluster,
) -> Result<(Group, BTreeSet<i32>), String> {
    let (endpoints, names) = (endpoints.clone(), cluster.names().clone());
    let ask = move || {
        let consumer = consumer(&endpoints)?;
        let all = partitions(&consumer, &names.topic)?;
        let list = consumer.fetch_group_list(Some(&names.group), QUESTION_LIMIT)?;
        let described = list.groups().iter().find(|group| group.name() == names.group).map(|group| {
            let members = group.members().iter().map(|member| {
                let partitions = member.assignment().and_then(assignment).unwrap_or_default();
                (member.client_id().to_owned(), partitions)
            });
            Group { state: group.state().to_owned(), members: members.collect() }
        });
        let nobody = || Group { state: "unknown".to_owned(), members: Vec::new() };
        Ok::<_, KafkaError>((described.unwrap_or_else(nobody), all))
    };
    blocking(ask).await
}

/// The partitions in a member's assignment, as the consumer protocol writes them: a version, then topics, each with its
/// partitions.
fn assignment(bytes: &[u8]) -> Option<Vec<i32>> {
    fn take<'a>(bytes: &mut &'a [u8], count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = bytes.split_at_checked(count)?;
        *bytes = rest;
        Some(taken)
    }
    fn number(bytes: &mut &[u8]) -> Option<i32> {
        Some(i32::from_be_bytes(take(bytes, 4)?.try_into().ok()?))
    }
    let mut rest = bytes;
    take(&mut rest, 2)?;
    let mut partitions = Vec::new();
    for _ in 0..number(&mut rest)? {
        let length = i16::from_be_bytes(take(&mut rest, 2)?.try_into().ok()?);
        take(&mut rest, usize::try_from(length).ok()?)?;
        for _ in 0..number(&mut rest)? {
            partitions.push(number(&mut rest)?);
        }
    }
    Some(partitions)
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

fn consumer(endpoints: &Endpoints) -> KafkaResult<BaseConsumer> {
    // Assigned by hand and never committed: the name only satisfies the client.
    let mut config = endpoints.kafka_client();
    config.set("group.id", "squall-probe").set("client.id", "squall-probe");
    config.set("enable.auto.commit", "false").set("fetch.wait.max.ms", "50").create()
}

fn partitions(consumer: &BaseConsumer, topic: &str) -> KafkaResult<BTreeSet<i32>> {
    let metadata = consumer.fetch_metadata(Some(topic), QUESTION_LIMIT)?;
    let partitions = metadata.topics().iter().flat_map(|topic| topic.partitions());
    Ok(partitions.map(|partition| partition.id()).collect())
}

async fn blocking<T: Send + 'static>(
    ask: impl FnOnce() -> Result<T, KafkaError> + Send + 'static,
) -> Result<T, String> {
    let asked = tokio::task::spawn_blocking(ask).await.map_err(|error| error.to_string())?;
    asked.map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::assignment;

    #[test]
    fn an_assignment_is_read_as_the_protocol_writes_it() {
        let mut bytes = vec![0, 1, 0, 0, 0, 1, 0, 2, b'a', b'b', 0, 0, 0, 2, 0, 0, 0, 5, 0, 0, 0, 11];
        bytes.extend([0, 0, 0, 0]); // user data
        assert_eq!(assignment(&bytes), Some(vec![5, 11]));
        assert_eq!(assignment(&[0, 1, 0, 0, 0, 0]), Some(vec![]));
        assert_eq!(assignment(&[]), None);
    }
}
