//! The Kafka consumer.
//!
//! librdkafka announces a rebalance in a callback and waits until the application answers it with an (un)assign. Here
//! the callback only passes the announcement on, and the writer's loop answers it: so it can first ask PostgreSQL where
//! to start, or first write what it holds, without blocking a callback and without sharing its state with one.
//!
//! The strategy is `cooperative-sticky`: partitions that stay with a writer are not touched by a rebalance, so they keep
//! their pause, their position and what was fetched ahead; only those that move are flushed and started anew. With
//! `range` every join or leave would stop all writers and throw away every prefetched record.

use std::sync::atomic::{AtomicBool, Ordering};

use chat_process::kafka;
use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext, RebalanceProtocol, StreamConsumer};
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::types::RDKafkaRespErr;
use rdkafka::{Offset, TopicPartitionList};
use tokio::sync::mpsc;

use crate::config::Config;

/// Rebalances that may wait for the loop. librdkafka announces none before the last is answered, so one would do.
const CHANGES_MAX: usize = 4;

/// A rebalance that waits for its answer.
#[derive(Debug)]
pub enum Change {
    /// Partitions to be taken; answer with [`assign`].
    Assign(Vec<i32>),
    /// Partitions to be given up; answer with [`unassign`].
    Revoke {
        /// Which.
        partitions: Vec<i32>,
        /// They belong to somebody else already (this process was frozen, or cut off, for too long).
        lost: bool,
    },
}

/// Passes rebalances on to the loop.
#[derive(Debug)]
pub struct Context {
    topic: String,
    changes: mpsc::Sender<Change>,
    closing: AtomicBool,
}

/// The consumer as the writer uses it.
pub type LogConsumer = StreamConsumer<Context>;

/// Creates the consumer and joins the group. Kafka need not be there yet.
///
/// # Errors
///
/// An option is unknown or wrong.
pub fn create(config: &Config) -> KafkaResult<(LogConsumer, mpsc::Receiver<Change>)> {
    let (sender, changes) = mpsc::channel(CHANGES_MAX);
    let context = Context { topic: config.topic.clone(), changes: sender, closing: AtomicBool::new(false) };
    let millis = |duration: std::time::Duration| duration.as_millis().to_string();
    // librdkafka refuses a poll interval below the session time-out.
    let poll = config.max_poll_interval_ms.max(config.session_timeout_ms);
    let consumer: LogConsumer = config
        .kafka_client()
        .set("group.id", &config.group)
        // Both default to true, and each alone would let Kafka believe that a record was handled when it was merely
        // handed over.
        .set("enable.auto.commit", "false")
        .set("enable.auto.offset.store", "false")
        // The default, `largest`, skips what was sent before the first writer came.
        .set("auto.offset.reset", "earliest")
        .set("partition.assignment.strategy", "cooperative-sticky")
        .set("session.timeout.ms", millis(config.session_timeout_ms))
        .set(
            "heartbeat.interval.ms",
            millis((config.session_timeout_ms / 3).min(std::time::Duration::from_secs(2))),
        )
        .set("max.poll.interval.ms", millis(poll))
        // A quiet topic costs at most this much delay; a busy one none.
        .set("fetch.wait.max.ms", "50")
        // Fetched ahead and not yet read, per process: enough for seconds of writing, little enough to lose in a pause.
        .set("queued.max.messages.kbytes", "16384")
        .set("queued.min.messages", "10000")
        // When that much is there, look again soon. The default, a second, is a hole in every long drain.
        .set("fetch.queue.backoff.ms", "20")
        // After an error on one partition (a leader moved), try again soon; the default is 500 ms.
        .set("fetch.error.backoff.ms", "100")
        .set("enable.partition.eof", "false")
        .create_with_context(context)?;
    consumer.subscribe(&[&config.topic])?;
    Ok((consumer, changes))
}

impl Context {
    /// From now on rebalances are answered on the spot: nobody listens any more, and closing waits for the answer.
    pub fn close(&self) {
        self.closing.store(true, Ordering::SeqCst);
    }

    fn announce(&self, change: Change) -> Result<(), Change> {
        if self.closing.load(Ordering::SeqCst) {
            return Err(change);
        }
        self.changes.try_send(change).map_err(|error| match error {
            mpsc::error::TrySendError::Full(change) | mpsc::error::TrySendError::Closed(change) => change,
        })
    }
}

impl ClientContext for Context {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, line: &str) {
        kafka::log(level, facility, line);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        kafka::log_error(&error, reason);
    }
}

impl ConsumerContext for Context {
    fn rebalance(&self, consumer: &BaseConsumer<Self>, code: RDKafkaRespErr, list: &mut TopicPartitionList) {
        let partitions = list
            .elements()
            .iter()
            .filter(|element| element.topic() == self.topic)
            .map(|element| element.partition())
            .collect();
        let change = match code {
            RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS => Change::Assign(partitions),
            _ => Change::Revoke { partitions, lost: consumer.assignment_lost() },
        };
        let Err(unheard) = self.announce(change) else { return };
        let answered = match unheard {
            // Taken and never read: the group takes them back when the consumer has left.
            Change::Assign(partitions) => assign(consumer, &starts(&self.topic, &partitions, Offset::Stored)),
            Change::Revoke { partitions, .. } => unassign(consumer, &named(&self.topic, &partitions)),
        };
        if let Err(error) = answered {
            tracing::warn!(%error, "answering a rebalance while closing");
        }
    }

    fn commit_callback(&self, result: KafkaResult<()>, _: &TopicPartitionList) {
        // Harmless, and expected after a freeze: Kafka refuses commits for partitions that are not ours any more.
        // PostgreSQL has the offsets that count.
        if let Err(error) = result {
            tracing::warn!(%error, "committing to kafka");
        }
    }
}

/// Answers [`Change::Assign`]: the partitions of `list` are ours, from the offsets in it.
///
/// # Errors
///
/// librdkafka refused, as the rebalance was overtaken by another.
pub fn assign<C: ConsumerContext>(consumer: &impl Consumer<C>, list: &TopicPartitionList) -> KafkaResult<()> {
    match consumer.rebalance_protocol() {
        RebalanceProtocol::Cooperative => consumer.incremental_assign(list),
        RebalanceProtocol::Eager | RebalanceProtocol::None => consumer.assign(list),
    }
}

/// Answers [`Change::Revoke`].
///
/// # Errors
///
/// librdkafka refused, as the rebalance was overtaken by another.
pub fn unassign<C: ConsumerContext>(
    consumer: &impl Consumer<C>,
    list: &TopicPartitionList,
) -> KafkaResult<()> {
    match consumer.rebalance_protocol() {
        RebalanceProtocol::Cooperative => consumer.incremental_unassign(list),
        RebalanceProtocol::Eager | RebalanceProtocol::None => consumer.unassign(),
    }
}

/// Partitions of one topic, without offsets.
pub fn named(topic: &str, partitions: &[i32]) -> TopicPartitionList {
    let mut list = TopicPartitionList::with_capacity(partitions.len());
    for partition in partitions {
        list.add_partition(topic, *partition);
    }
    list
}

/// Partitions of one topic, all at the same logical offset.
fn starts(topic: &str, partitions: &[i32], offset: Offset) -> TopicPartitionList {
    placed(topic, partitions.iter().map(|partition| (*partition, offset)))
}

/// Partitions of one topic with their offsets.
pub fn placed(topic: &str, places: impl IntoIterator<Item = (i32, Offset)>) -> TopicPartitionList {
    let mut list = TopicPartitionList::new();
    for (partition, offset) in places {
        // Fails only for a negative numeric offset, which neither PostgreSQL nor Kafka ever gave us.
        if let Err(error) = list.add_partition_offset(topic, partition, offset) {
            tracing::error!(%error, partition, ?offset, "not an offset");
        }
    }
    list
}
