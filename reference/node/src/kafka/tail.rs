//! Follows the log where the live path has a hole.
//!
//! One consumer for the whole node. Partitions are added when [`Hub::wants_tail`] says so, from the first offset that
//! was not delivered, and removed when the live path is whole again.

use std::{
    collections::BTreeSet,
    sync::Arc,
    time::{Duration, Instant},
};

use chat_process::emit;
use chat_protocol::{ChatRecord, Position};
use rdkafka::{
    Message, Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer},
    error::KafkaResult,
};
use tracing::warn;

use crate::{bugs::Bug, config::Config, health::Health, hub::Hub};

use super::{BadSettings, IDLE_POLL, consumer, is_timeout};

/// Records handled before looking again at which partitions are wanted.
const AT_A_TIME: usize = 500;

/// Starts the thread.
///
/// # Errors
///
/// When librdkafka does not take the settings.
pub fn follow(config: &Config, hub: Arc<Hub>, health: Arc<Health>) -> Result<(), BadSettings> {
    let consumer: BaseConsumer = consumer(config, "tail").create()?;
    let never = config.bugs().has(Bug::NoResubscribe);
    let mut tail =
        Tail { consumer, hub, health, topic: config.topic.clone(), assigned: BTreeSet::new(), delivered: 0 };
    std::thread::spawn(move || {
        loop {
            if never {
                tail.hub.give_up_gaps();
            } else {
                tail.choose();
            }
            tail.read();
        }
    });
    Ok(())
}

struct Tail {
    consumer: BaseConsumer,
    hub: Arc<Hub>,
    health: Arc<Health>,
    topic: String,
    assigned: BTreeSet<i32>,
    /// Messages delivered since the last `catch_up_started`.
    delivered: u64,
}

impl Tail {
    /// Makes the assignment what the hub wants.
    fn choose(&mut self) {
        let dead = self.health.subscription_dead();
        let wanted = self.hub.wants_tail(dead);
        let was_idle = self.assigned.is_empty();

        let (mut added, mut removed) = (TopicPartitionList::new(), TopicPartitionList::new());
        let mut failed: KafkaResult<()> = Ok(());
        for position in &wanted {
            if !self.assigned.contains(&position.partition) {
                let at = Offset::Offset(position.offset);
                failed = failed.and(added.add_partition_offset(&self.topic, position.partition, at));
            }
        }
        for partition in &self.assigned {
            if !wanted.iter().any(|position| position.partition == *partition) {
                removed.add_partition(&self.topic, *partition);
            }
        }
        if removed.count() > 0 {
            failed = failed.and(self.consumer.incremental_unassign(&removed));
        }
        if added.count() > 0 {
            failed = failed.and(self.consumer.incremental_assign(&added));
        }
        if let Err(error) = failed {
            // Begin anew: the next round assigns everything that is wanted.
            warn!(%error, "cannot follow the log");
            drop(self.consumer.unassign());
            self.assigned.clear();
            return;
        }
        self.assigned = wanted.iter().map(|position| position.partition).collect();

        if was_idle && !self.assigned.is_empty() {
            self.delivered = 0;
            let reason = if dead { "redis subscription" } else { "missing offsets" };
            emit!(CatchUpStarted, reason, partitions = self.assigned.len());
        } else if !was_idle && self.assigned.is_empty() {
            emit!(CatchUpEnded, delivered = self.delivered);
        }
    }

    fn read(&mut self) {
        let began = Instant::now();
        let mut wait = IDLE_POLL;
        for _ in 0..AT_A_TIME {
            match self.consumer.poll(wait) {
                None => return,
                Some(Err(error)) if is_timeout(&error) => {}
                // librdkafka goes on by itself; readiness hears of Kafka from elsewhere.
                Some(Err(error)) => {
                    tracing::debug!(%error, "following the log");
                    return;
                }
                Some(Ok(message)) => {
                    // Poison (not a record, or one that no ledger can hold) is passed over, as the writers do.
                    let record = message.payload().and_then(|payload| ChatRecord::read(payload).ok());
                    let position = Position { partition: message.partition(), offset: message.offset() };
                    self.delivered += self.hub.tail(position, record.map(Arc::new));
                }
            }
            if began.elapsed() > IDLE_POLL * 4 {
                return;
            }
            wait = Duration::ZERO;
        }
    }
}
