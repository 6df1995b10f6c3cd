//! Writing a batch: all at once, or, if a record is at fault, in halves until it is found.

use std::collections::BTreeMap;
use std::ops::Range;

use chat_process::emit;
use metrics::{counter, histogram};
use rdkafka::Offset;
use rdkafka::consumer::{CommitMode, Consumer};
use tokio::time::Instant;

use super::{Trouble, Writer};
use crate::batch::{self, Entry};
use crate::blame::Blame;
use crate::bugs::Bug;
use crate::consumer;

impl Writer {
    /// Writes what is held. If PostgreSQL fails, the gate is shut afterwards.
    pub(super) async fn write(&mut self) {
        let entries = self.batch.take();
        if entries.is_empty() {
            return;
        }
        let ends = batch::ends(&entries);
        let started = Instant::now();
        if self.config.has(Bug::CommitBeforeInsert) {
            self.commit_and_wait(ends.clone(), started + crate::config::KAFKA_CALL_TIMEOUT).await;
        }
        match self.persist(&entries).await {
            Ok(rows) => {
                let took = started.elapsed();
                self.heard = Instant::now();
                self.dead_letters.settled();
                self.commit(&ends);
                for (partition, next) in ends {
                    self.stored.insert(partition, next);
                    self.status.moved(partition, next);
                }
                let records = entries.len() as u64;
                counter!("chat_writer_batches_total").increment(1);
                counter!("chat_writer_records_total").increment(records);
                counter!("chat_writer_rows_total").increment(rows);
                histogram!("chat_writer_write_seconds").record(took);
                let took_us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
                emit!(WriterWrote, records, rows, took_us);
            }
            Err(trouble) => {
                counter!("chat_writer_write_failures_total", "blame" => "database").increment(1);
                emit!(WriterFailed, error = %trouble);
                if self.config.has(Bug::SwallowOnDbError) {
                    self.swallowed.extend(ends);
                }
                self.shut(&trouble);
            }
        }
    }

    /// Deals with every entry: stored, or confirmed as a dead letter. Returns how many rows were new.
    async fn persist(&mut self, entries: &[Entry]) -> Result<u64, Trouble> {
        for entry in entries {
            if let Err(reason) = &entry.content {
                self.set_aside(entry, reason).await?;
            }
        }
        let mut rows = 0;
        // A stack of runs, the earliest on top: offsets move only past what has been dealt with, because the runs of
        // each partition are taken in the order of the log.
        let mut runs: Vec<Range<usize>> = std::iter::once(0..entries.len()).collect();
        while let Some(run) = runs.pop() {
            let part = &entries[run.clone()];
            match self.store.write(part, &batch::ends(part)).await {
                Ok(stored) => {
                    rows += stored.new;
                    for (room, sender, id) in stored.conflicts {
                        counter!("chat_writer_conflicts_total").increment(1);
                        tracing::warn!(
                            room,
                            sender,
                            id,
                            "an id used again for another message: the first one stands"
                        );
                    }
                }
                Err(error) if error.blame() == Blame::Database => return Err(error.into()),
                Err(error) if part.len() == 1 => {
                    self.set_aside(&part[0], &error.to_string()).await?;
                    // The offset alone.
                    self.store.write(&[], &batch::ends(part)).await?;
                }
                Err(error) => {
                    counter!("chat_writer_write_failures_total", "blame" => "record").increment(1);
                    emit!(WriterFailed, error = %error, records = part.len(), retry = "in halves");
                    let middle = run.start + part.len() / 2;
                    runs.push(middle..run.end);
                    runs.push(run.start..middle);
                }
            }
        }
        Ok(rows)
    }

    async fn set_aside(&mut self, entry: &Entry, reason: &str) -> Result<(), Trouble> {
        let sent = self.dead_letters.send(entry, reason).await;
        sent.map_err(|source| Trouble::Kafka { what: "sending a dead letter", source })
    }

    /// Tells Kafka, and does not wait: PostgreSQL has the offsets that count.
    fn commit(&self, ends: &BTreeMap<i32, i64>) {
        let list = consumer::placed(&self.config.topic, offsets(ends));
        if let Err(error) = self.consumer.commit(&list, CommitMode::Async) {
            tracing::warn!(%error, "committing to kafka");
        }
    }

    /// Tells Kafka and waits for its answer, until `deadline`.
    pub(super) async fn commit_and_wait(&self, ends: BTreeMap<i32, i64>, deadline: Instant) {
        if ends.is_empty() {
            return;
        }
        let list = consumer::placed(&self.config.topic, offsets(&ends));
        let consumer = self.consumer.clone();
        // librdkafka has no limit of its own for this call.
        let call = tokio::task::spawn_blocking(move || consumer.commit(&list, CommitMode::Sync));
        match tokio::time::timeout_at(deadline, call).await {
            Ok(Ok(Ok(()))) => {}
            Ok(Ok(Err(error))) => tracing::warn!(%error, "committing to kafka"),
            Ok(Err(error)) => tracing::warn!(%error, "committing to kafka"),
            Err(_) => tracing::warn!("committing to kafka: no answer in time"),
        }
    }
}

fn offsets(ends: &BTreeMap<i32, i64>) -> impl Iterator<Item = (i32, Offset)> + '_ {
    ends.iter().map(|(partition, next)| (*partition, Offset::Offset(*next)))
}
