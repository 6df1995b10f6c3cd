//! Answers to rebalances.

use std::collections::BTreeMap;

use chat_process::emit;
use rdkafka::Offset;
use rdkafka::consumer::Consumer;
use tokio::time::Instant;

use super::Writer;
use crate::bugs::{Bug, wronged_range};
use crate::config::KAFKA_CALL_TIMEOUT;
use crate::consumer::{self, Change};
use crate::positions::listed;

impl Writer {
    /// Answers an announced rebalance.
    pub(super) async fn rebalance(&mut self, change: Change) {
        match change {
            Change::Assign(partitions) => self.assigned(&partitions).await,
            Change::Revoke { partitions, lost } => self.revoked(&partitions, lost).await,
        }
    }

    /// Takes partitions, from where PostgreSQL says; of which it has no line, from the beginning. If it says nothing at all,
    /// they wait with the others.
    async fn assigned(&mut self, partitions: &[i32]) {
        let mut known = BTreeMap::new();
        if self.gate.is_open() && !partitions.is_empty() && !self.config.has(Bug::CommitBeforeInsert) {
            match self.store.next_offsets(partitions).await {
                Ok(offsets) => known = offsets,
                Err(error) => self.shut(&error.into()),
            }
        }
        if self.config.has(Bug::CommitBeforeInsert) && self.gate.is_open() {
            self.say_what_is_skipped(partitions).await;
        }
        // While they wait, it does not matter where: the gate opens with a seek.
        let told = self.gate.is_open() && !self.config.has(Bug::CommitBeforeInsert);
        let untold = if told { Offset::Beginning } else { Offset::Stored };
        let places: Vec<(i32, Offset)> = partitions
            .iter()
            .map(|partition| (*partition, known.get(partition).map_or(untold, |next| Offset::Offset(*next))))
            .collect();
        let list = consumer::placed(&self.config.topic, places.iter().copied());
        if let Err(error) = consumer::assign(&*self.consumer, &list) {
            // Overtaken by the next rebalance, which announces itself.
            tracing::warn!(%error, "assigning");
            return;
        }
        for (partition, offset) in places {
            self.place(partition, offset);
        }
        // librdkafka keeps a partition's pause from the last time it was ours, and pauses no new one by itself.
        if self.gate.is_open() {
            if let Err(error) = self.consumer.resume(&consumer::named(&self.config.topic, partitions)) {
                tracing::warn!(%error, "resuming new partitions");
            }
        } else {
            self.hold(partitions);
        }
        emit!(WriterAssigned, partitions = listed(partitions), paused = !self.gate.is_open());
    }

    /// Planted bug `commit-before-insert`: what was committed to Kafka and never reached PostgreSQL.
    async fn say_what_is_skipped(&mut self, partitions: &[i32]) {
        let Ok(known) = self.store.next_offsets(partitions).await else { return };
        let list = consumer::named(&self.config.topic, partitions);
        let committed =
            tokio::task::block_in_place(|| self.consumer.committed_offsets(list, KAFKA_CALL_TIMEOUT));
        for element in committed.iter().flat_map(|list| list.elements()) {
            if let (Some(from), Offset::Offset(to)) = (known.get(&element.partition()), element.offset()) {
                wronged_range(Bug::CommitBeforeInsert, element.partition(), *from, to);
            }
        }
    }

    /// Gives partitions up, after writing and committing what is held of them, so that the next owner reads nothing
    /// twice. (If it does all the same, the rows conflict and nothing happens.)
    async fn revoked(&mut self, partitions: &[i32], lost: bool) {
        if lost {
            // Somebody else writes them by now.
            self.batch.forget(partitions);
        } else if self.gate.is_open() {
            self.write().await;
            let ours = self.stored.iter().filter(|(partition, _)| partitions.contains(partition));
            let stored = ours.map(|(partition, next)| (*partition, *next)).collect();
            self.commit_and_wait(stored, Instant::now() + KAFKA_CALL_TIMEOUT).await;
        }
        for partition in partitions {
            self.positions.remove(*partition);
            self.stored.remove(partition);
            self.status.gone(*partition);
        }
        if let Err(error) =
            consumer::unassign(&*self.consumer, &consumer::named(&self.config.topic, partitions))
        {
            tracing::warn!(%error, "unassigning");
        }
        emit!(WriterRevoked, partitions = listed(partitions), lost);
    }

    /// Answers an announcement without taking or writing anything: the process is leaving.
    pub(super) fn answer_in_passing(&self, change: &Change) {
        let answered = match change {
            Change::Assign(partitions) => {
                let places = partitions.iter().map(|partition| (*partition, Offset::Stored));
                consumer::assign(&*self.consumer, &consumer::placed(&self.config.topic, places))
            }
            Change::Revoke { partitions, .. } => {
                consumer::unassign(&*self.consumer, &consumer::named(&self.config.topic, partitions))
            }
        };
        if let Err(error) = answered {
            tracing::warn!(%error, "answering a rebalance while leaving");
        }
    }
}
