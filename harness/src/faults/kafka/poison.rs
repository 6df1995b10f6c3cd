//! Somebody else produces records into the messages topic that no table can hold.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering::Relaxed},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use async_trait::async_trait;
use chat_protocol::position::partition_of;
use rdkafka::{
    Message, Offset, TopicPartitionList,
    consumer::Consumer,
    error::{KafkaError, KafkaResult},
    message::BorrowedMessage,
    producer::{FutureProducer, FutureRecord},
};

use crate::{
    cluster::Cluster,
    environment::{
        Endpoints,
        groups::{QUESTION_LIMIT, blocking, consumer, partitions},
    },
    faults::{
        Fault, FaultError, Seen, SystemUnderTest, YOUNG,
        repeat::{self, Repeating, repeat},
    },
    plan::poison::{Poison, is_poison},
    target::DeadLetter,
};

/// Records of one sort in a round of poison: one is luck, and a few land in different partitions.
const EACH: u32 = 3;
/// Records in a round of poison.
#[expect(clippy::cast_possible_truncation, reason = "there are four sorts of poison")]
pub(super) const ROUND: u32 = EACH * Poison::ALL.len() as u32;

/// Poison older than this was seen to be set aside by an earlier look, or will be missed by the checkers.
const RECENT: Duration = Duration::from_secs(60);

/// A round of poison a second.
#[derive(Debug, Default)]
pub(in crate::faults) struct PoisonRecords {
    striking: Option<Repeating>,
}

#[async_trait(?Send)]
impl Fault for PoisonRecords {
    async fn begin(&mut self, sut: &SystemUnderTest) -> Result<(), FaultError> {
        let producer = producer(&sut.environment.verifier())?;
        poison(&producer, &sut.cluster, 0).await?;
        let (cluster, rounds) = (Arc::clone(&sut.cluster), Arc::new(AtomicU32::new(1)));
        self.striking = Some(repeat(move || {
            let (producer, cluster) = (producer.clone(), Arc::clone(&cluster));
            let round = rounds.fetch_add(1, Relaxed);
            async move { poison(&producer, &cluster, round).await }
        }));
        Ok(())
    }

    /// A round of poison stands in the log, young, and as much of it is among the dead letters.
    async fn prove(&self, sut: &SystemUnderTest) -> Seen {
        let seen = poisoned(&sut.environment.verifier(), &sut.cluster, YOUNG).await?;
        let (in_log, set_aside) = (seen.in_log.len(), seen.set_aside.len());
        let text =
            format!("{in_log} young poison records in the log, {set_aside} of them among the dead letters");
        let round = ROUND as usize;
        if in_log >= round && set_aside >= round { Ok(text) } else { Err(text) }
    }

    async fn end(&mut self, _: &SystemUnderTest) -> Result<Option<String>, FaultError> {
        Ok(repeat::end(&mut self.striking).await)
    }

    /// Whatever poison is in the log is among the dead letters.
    async fn gone(&self, sut: &SystemUnderTest) -> Seen {
        let seen = poisoned(&sut.environment.verifier(), &sut.cluster, RECENT).await?;
        match seen.in_log.difference(&seen.set_aside).next() {
            None => Ok(format!("{} poison records, all among the dead letters", seen.in_log.len())),
            Some((partition, offset)) => {
                Err(format!("the poison at {partition}@{offset} is not among the dead letters"))
            }
        }
    }
}

/// Produces poison.
fn producer(endpoints: &Endpoints) -> KafkaResult<FutureProducer> {
    let limit = QUESTION_LIMIT.as_millis().to_string();
    endpoints.kafka_client().set("message.timeout.ms", limit).set("acks", "all").create()
}

/// Produces one round of poison: a few records of each sort, spread over the rooms of the plan, each where the room's own
/// messages go. Returns how many.
async fn poison(producer: &FutureProducer, cluster: &Cluster, round: u32) -> Result<u64, KafkaError> {
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
struct Poisoned {
    in_log: BTreeSet<(i32, i64)>,
    set_aside: BTreeSet<(i32, i64)>,
}

/// Looks for poison in the log and among the dead letters.
async fn poisoned(endpoints: &Endpoints, cluster: &Cluster, since: Duration) -> Result<Poisoned, String> {
    let (endpoints, names) = (endpoints.clone(), cluster.names().clone());
    let look = move || {
        let own = |record: &BorrowedMessage<'_>| Some((record.partition(), record.offset()));
        // The log first: what is in it by now may become a dead letter meanwhile, and not the other way round.
        let in_log = marked(&endpoints, &names.topic, since, own)?;
        let set_aside =
            marked(&endpoints, &names.dead_letters, since, |letter| DeadLetter::of(letter).place)?;
        Ok::<_, KafkaError>(Poisoned {
            set_aside: set_aside.intersection(&in_log).copied().collect(),
            in_log,
        })
    };
    blocking(look).await
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
