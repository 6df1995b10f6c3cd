//! The gate between the log and PostgreSQL: shutting it, probing, opening it at the first unwritten record.

use std::collections::BTreeMap;

use chat_process::emit;
use futures_util::FutureExt;
use futures_util::future::LocalBoxFuture;
use metrics::{counter, gauge};
use rdkafka::Offset;
use rdkafka::consumer::Consumer;
use sqlx::postgres::{PgConnectOptions, PgConnection};
use tokio::time::{Instant, sleep_until};

use super::{Trouble, Writer};
use crate::bugs::{Bug, wronged_range};
use crate::config::{Config, KAFKA_CALL_TIMEOUT, WAKE_TIMEOUT};
use crate::consumer;
use crate::positions::listed;
use crate::store::{self, StoreError};

/// Whether records flow.
pub(super) enum Gate {
    /// They do, since then.
    Open {
        /// For telling a database that flaps from one that failed anew.
        since: Instant,
    },
    /// They do not; a probe is under way or waits for its time.
    Shut(Shut),
}

/// A pause.
pub(super) struct Shut {
    since: Instant,
    /// The log has been told. Not at the start of the process, until the first probe fails: a writer that finds
    /// everything in order was never paused.
    announced: bool,
    attempt: u32,
    /// The disk was full, so a probe has to show that there is room.
    disk_full: bool,
    probe: LocalBoxFuture<'static, Result<PgConnection, StoreError>>,
}

impl Gate {
    /// Shut, with a probe at once.
    pub(super) fn starting(config: &Config) -> Self {
        let probe = probe_at(Instant::now(), config.postgres(), true, false);
        Self::Shut(Shut { since: Instant::now(), announced: false, attempt: 1, disk_full: false, probe })
    }

    pub(super) fn is_open(&self) -> bool {
        matches!(self, Self::Open { .. })
    }

    /// The outcome of the next probe; never, while the gate is open. May be dropped and asked for again: the probe
    /// goes on where it was.
    pub(super) async fn probed(&mut self) -> Result<PgConnection, StoreError> {
        match self {
            Self::Open { .. } => std::future::pending().await,
            Self::Shut(shut) => (&mut shut.probe).await,
        }
    }
}

impl std::fmt::Debug for Gate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(if self.is_open() { "Open" } else { "Shut" })
    }
}

fn probe_at(
    at: Instant,
    options: PgConnectOptions,
    migrate: bool,
    disk_full: bool,
) -> LocalBoxFuture<'static, Result<PgConnection, StoreError>> {
    async move {
        sleep_until(at).await;
        let mut connection = store::probe(options.clone()).await?;
        if migrate {
            store::migrate(options).await?;
        }
        store::rehearse(&mut connection).await?;
        if disk_full {
            store::rehearse_with_rows(&mut connection).await?;
        }
        Ok(connection)
    }
    .boxed_local()
}

impl Writer {
    /// Shuts the gate: nothing is written from here on, and what was read and not written is forgotten.
    pub(super) fn shut(&mut self, trouble: &Trouble) {
        let flowed = match &self.gate {
            Gate::Open { since } => Some(since.elapsed()),
            // A rebalance found out while the gate was shut already.
            Gate::Shut(_) => return,
        };
        self.store.disconnect();
        let partitions = self.positions.partitions();
        self.batch.forget(&partitions);
        self.hold(&partitions);
        self.backoff.begin(flowed);
        let disk_full = matches!(trouble, Trouble::Store(error) if error.is_disk_full());
        let at = Instant::now() + self.backoff.delay();
        let probe = probe_at(at, self.config.postgres(), !self.migrated, disk_full);
        self.gate = Gate::Shut(Shut { since: Instant::now(), announced: true, attempt: 1, disk_full, probe });
        emit!(WriterPaused, partitions = listed(&partitions), error = %trouble);
        gauge!("chat_writer_paused").set(1.0);
        if matches!(trouble, Trouble::Store(_)) {
            self.status.set_postgres(false);
        }
    }

    /// Pauses partitions. librdkafka forgets what it has fetched of them.
    pub(super) fn hold(&self, partitions: &[i32]) {
        if let Err(error) = self.consumer.pause(&consumer::named(&self.config.topic, partitions)) {
            // Records that still arrive are dropped at the gate; this costs traffic and nothing else.
            tracing::warn!(%error, "pausing");
        }
    }

    /// A probe has come back.
    pub(super) async fn probed(&mut self, outcome: Result<PgConnection, StoreError>) {
        let opened = match outcome {
            Ok(connection) => {
                self.migrated = true;
                self.store.adopt(connection);
                self.open().await
            }
            Err(error) => Err(error.into()),
        };
        let Gate::Shut(shut) = &mut self.gate else { return };
        let (attempt, paused) = (shut.attempt, shut.since.elapsed());
        counter!("chat_writer_probes_total", "ok" => if opened.is_ok() { "true" } else { "false" })
            .increment(1);
        let partitions = self.positions.partitions();
        match opened {
            Ok(()) => {
                if shut.announced {
                    emit!(WriterProbed, ok = true, attempt);
                    let paused_ms = u64::try_from(paused.as_millis()).unwrap_or(u64::MAX);
                    emit!(WriterResumed, partitions = listed(&partitions), paused_ms);
                }
                self.gate = Gate::Open { since: Instant::now() };
                self.heard = Instant::now();
                gauge!("chat_writer_paused").set(0.0);
                self.status.set_postgres(true);
            }
            Err(trouble) => {
                if !shut.announced {
                    emit!(WriterPaused, partitions = listed(&partitions), error = %trouble);
                    gauge!("chat_writer_paused").set(1.0);
                    shut.announced = true;
                }
                emit!(WriterProbed, ok = false, attempt, error = %trouble);
                shut.attempt += 1;
                let at = Instant::now() + self.backoff.delay();
                shut.probe = probe_at(at, self.config.postgres(), !self.migrated, shut.disk_full);
                self.store.disconnect();
            }
        }
    }

    /// Makes every assigned partition go on at its first unwritten record.
    async fn open(&mut self) -> Result<(), Trouble> {
        let partitions = self.positions.partitions();
        let places = self.first_unwritten(&partitions).await?;
        // While they are paused, so that nothing arrives from the wrong place in between.
        self.seek(places.iter().map(|(partition, offset)| (*partition, *offset)))?;
        for (partition, offset) in &places {
            self.place(*partition, *offset);
        }
        self.consumer
            .resume(&consumer::named(&self.config.topic, &partitions))
            .map_err(|source| Trouble::Kafka { what: "resuming", source })?;
        self.wake();
        Ok(())
    }

    /// Has librdkafka look at once for what to fetch. The thread of a broker whose partitions were all paused sleeps up to a
    /// second, and a resume does not wake it; a question to that broker does, whatever it is. The answer is of no use.
    fn wake(&self) {
        let asked = tokio::task::block_in_place(|| self.consumer.offsets_for_timestamp(0, WAKE_TIMEOUT));
        if let Err(error) = asked {
            tracing::debug!(%error, "waking");
        }
    }

    /// Where each partition goes on: where PostgreSQL says, else at the beginning. Not where Kafka says: a PostgreSQL that was
    /// restored from a backup, or failed over to a standby that lagged, has neither the line nor the rows.
    async fn first_unwritten(&mut self, partitions: &[i32]) -> Result<BTreeMap<i32, Offset>, Trouble> {
        if partitions.is_empty() {
            return Ok(BTreeMap::new());
        }
        let known = self.store.next_offsets(partitions).await?;
        let mut places: BTreeMap<i32, Offset> =
            known.iter().map(|(partition, next)| (*partition, Offset::Offset(*next))).collect();
        let unknown: Vec<i32> = partitions.iter().copied().filter(|p| !known.contains_key(p)).collect();
        if !self.config.has(Bug::CommitBeforeInsert) {
            places.extend(unknown.into_iter().map(|partition| (partition, Offset::Beginning)));
        } else if !unknown.is_empty() {
            let list = consumer::named(&self.config.topic, &unknown);
            let committed =
                tokio::task::block_in_place(|| self.consumer.committed_offsets(list, KAFKA_CALL_TIMEOUT))
                    .map_err(|source| Trouble::Kafka { what: "reading committed offsets", source })?;
            for element in committed.elements() {
                let offset = match element.offset() {
                    offset @ Offset::Offset(_) => offset,
                    _ => Offset::Beginning,
                };
                places.insert(element.partition(), offset);
            }
        }
        if self.config.has(Bug::KeepPositionAfterReconnect) {
            for (partition, place) in &mut places {
                let kept = self.stored.get(partition).copied();
                if let (Offset::Offset(from), Some(kept)) = (*place, kept) {
                    wronged_range(Bug::KeepPositionAfterReconnect, *partition, from, kept);
                    *place = Offset::Offset(kept.max(from));
                }
            }
        }
        if self.config.has(Bug::SwallowOnDbError) {
            for (partition, next) in std::mem::take(&mut self.swallowed) {
                places.entry(partition).and_modify(|place| {
                    if let Offset::Offset(from) = *place {
                        wronged_range(Bug::SwallowOnDbError, partition, from, next);
                    }
                    *place = Offset::Offset(next);
                });
            }
        }
        Ok(places)
    }

    /// Remembers where a partition goes on.
    pub(super) fn place(&mut self, partition: i32, offset: Offset) {
        let next = match offset {
            Offset::Offset(next) => Some(next),
            _ => None,
        };
        self.positions.start(partition, next);
        if let Some(next) = next {
            self.status.moved(partition, next);
        }
    }
}
