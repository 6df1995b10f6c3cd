//! The loop: reads the log, holds a batch, writes it; pauses and resumes; answers rebalances.
//!
//! One task owns everything here. It is never in two minds: at any moment the gate is open (records flow into
//! PostgreSQL) or shut (every assigned partition is paused and PostgreSQL is probed), and nothing is written while it is
//! shut. The log is polled in both states, since a consumer that does not poll loses its partitions.
//!
//! When the gate shuts, the batch is thrown away: PostgreSQL knows where writing stopped, Kafka still has the records,
//! and reading them again is simpler than keeping two truths in step.

mod pause;
mod rebalance;
mod write;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Instant as StdInstant;

use chat_process::kafka;
use chat_protocol::Position;
use futures_util::{FutureExt, StreamExt};
use metrics::counter;
use rdkafka::consumer::{Consumer, MessageStream};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::BorrowedMessage;
use rdkafka::{Message, Offset};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use crate::backoff::Backoff;
use crate::batch::{Batch, Entry, Limits};
use crate::config::{Config, IDLE_CHECK_EVERY, KAFKA_CALL_TIMEOUT};
use crate::consumer::{self, Change, Context, LogConsumer};
use crate::dead_letter::DeadLetters;
use crate::health::Status;
use crate::positions::{Admit, Positions};
use crate::store::{Store, StoreError};
use crate::writer::pause::Gate;

/// Why the gate shuts.
#[derive(Debug, thiserror::Error)]
pub enum Trouble {
    /// PostgreSQL.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Kafka did not do what the writer cannot go on without.
    #[error("kafka: {what}: {source}")]
    Kafka {
        /// What it was asked for.
        what: &'static str,
        /// What it said.
        source: KafkaError,
    },
}

/// What became of a record that was read.
#[derive(Debug, PartialEq, Eq)]
enum Taken {
    /// It is in the batch.
    Held,
    /// It is not this writer's to write, or not now.
    Dropped,
    /// Records before it have not been seen: its partition is read again from there.
    SoughtBack,
}

/// The writer.
pub struct Writer {
    config: Arc<Config>,
    consumer: Arc<LogConsumer>,
    changes: mpsc::Receiver<Change>,
    store: Store,
    dead_letters: DeadLetters,
    status: Arc<Status>,
    batch: Batch,
    positions: Positions,
    /// The offsets after what is in PostgreSQL, of partitions that are ours; to be committed to Kafka.
    stored: BTreeMap<i32, i64>,
    gate: Gate,
    backoff: Backoff,
    migrated: bool,
    /// When PostgreSQL last did what it was asked.
    heard: Instant,
    /// Planted bug `swallow-on-db-error`: where to go on instead of at the first unwritten record.
    swallowed: BTreeMap<i32, i64>,
}

impl std::fmt::Debug for Writer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Writer")
            .field("gate", &self.gate)
            .field("positions", &self.positions)
            .finish_non_exhaustive()
    }
}

impl Writer {
    /// A writer with its gate shut; the first good probe opens it.
    ///
    /// # Errors
    ///
    /// A Kafka option is unknown or wrong.
    pub fn new(
        config: Arc<Config>,
        consumer: LogConsumer,
        changes: mpsc::Receiver<Change>,
        status: Arc<Status>,
    ) -> Result<Self, KafkaError> {
        let limits = Limits {
            records: config.batch_max_records,
            bytes: config.batch_max_bytes,
            age: config.batch_max_age_ms,
        };
        Ok(Self {
            store: Store::new(&config),
            dead_letters: DeadLetters::new(&config)?,
            batch: Batch::new(limits),
            positions: Positions::default(),
            stored: BTreeMap::new(),
            gate: Gate::starting(&config),
            backoff: Backoff::new(config.probe_min_ms, config.probe_max_ms),
            migrated: false,
            heard: Instant::now(),
            swallowed: BTreeMap::new(),
            consumer: Arc::new(consumer),
            config,
            changes,
            status,
        })
    }

    /// Writes until told to stop. What is held then is left to [`Writer::drain`].
    pub async fn run(mut self, stop: CancellationToken) -> Self {
        let consumer = self.consumer.clone();
        let mut records = consumer.stream();
        loop {
            let open = self.gate.is_open();
            let due = self.batch.due().map(Instant::from_std);
            let check = self.heard + IDLE_CHECK_EVERY;
            tokio::select! {
                // In this order, so that a busy log cannot keep the rest waiting. All but the last happen rarely, and
                // those that would be ready again at once change what made them ready.
                biased;
                () = stop.cancelled() => break,
                Some(change) = self.changes.recv() => self.rebalance(change).await,
                outcome = self.gate.probed() => self.probed(outcome).await,
                () = sleep_until(due.unwrap_or(check)), if open && due.is_some() => {
                    self.write_and_read(&mut records).await;
                }
                () = sleep_until(check), if open => self.check().await,
                Some(record) = records.next() => self.read(record, &mut records),
            }
            // Here, as its timer fires only when nothing else is to be done, which in a drain is never.
            if self.batch.is_full() {
                self.write_and_read(&mut records).await;
            }
        }
        drop(records);
        self
    }

    /// The end: writes what is held, commits, leaves the group. Takes no longer than until `deadline`.
    pub async fn drain(mut self, deadline: Instant) {
        if self.gate.is_open() && tokio::time::timeout_at(deadline, self.write()).await.is_err() {
            tracing::warn!("the last batch took too long; the next writer will write it");
        }
        let stored = std::mem::take(&mut self.stored);
        // Without an answer soon there will be none; the rest of the time belongs to leaving the group.
        self.commit_and_wait(stored, deadline.min(Instant::now() + KAFKA_CALL_TIMEOUT)).await;

        // Announcements that nobody answered would keep `close` waiting for ever.
        let context: &Context = self.consumer.context();
        context.close();
        while let Ok(change) = self.changes.try_recv() {
            self.answer_in_passing(&change);
        }
        // Dropping is what leaves the group, and it blocks while the brokers are away: on a thread that may be left
        // behind when the time is up.
        let (done, closed) = tokio::sync::oneshot::channel();
        let Self { consumer, dead_letters, .. } = self;
        let closing = std::thread::Builder::new().name("kafka-close".to_owned()).spawn(move || {
            drop(consumer);
            drop(dead_letters);
            let _ = done.send(());
        });
        if closing.is_err() || tokio::time::timeout_at(deadline, closed).await.is_err() {
            tracing::warn!("kafka did not answer; the group will notice by its session time-out");
        }
    }

    /// Takes a record, and whatever else has been fetched already, until the batch is full.
    fn read<'a>(
        &mut self,
        first: Result<BorrowedMessage<'a>, KafkaError>,
        records: &mut MessageStream<'a, Context>,
    ) {
        let mut record = Some(first);
        while let Some(result) = record {
            match result {
                Ok(message) => {
                    self.take(entry(&message));
                }
                Err(error) => log_reading(&error),
            }
            if self.batch.is_full() {
                return;
            }
            record = records.next().now_or_never().flatten();
        }
    }

    /// Writes the batch, and decodes meanwhile what comes, up to another one.
    async fn write_and_read(&mut self, records: &mut MessageStream<'_, Context>) {
        let mut ahead = self.batch.another();
        {
            let mut write = std::pin::pin!(self.write());
            loop {
                tokio::select! {
                    biased;
                    () = &mut write => break,
                    Some(result) = records.next(), if !ahead.is_full() => match result {
                        Ok(message) => ahead.push(entry(&message), StdInstant::now()),
                        Err(error) => log_reading(&error),
                    },
                }
            }
        }
        // Of a partition that was sought back, the rest was read before the seek, and comes again.
        let mut sought = BTreeSet::new();
        for entry in ahead.take() {
            let partition = entry.position.partition;
            if !sought.contains(&partition) && self.take(entry) == Taken::SoughtBack {
                sought.insert(partition);
            }
        }
    }

    fn take(&mut self, entry: Entry) -> Taken {
        if !self.gate.is_open() {
            // Fetched before the pause took hold. It will be read again.
            return Taken::Dropped;
        }
        let position = entry.position;
        match self.positions.admit(position.partition, position.offset) {
            Admit::Take => {}
            Admit::NotOurs => return Taken::Dropped,
            Admit::SeekTo(next) => {
                tracing::warn!(
                    partition = position.partition,
                    offset = position.offset,
                    next,
                    "gap; seeking back"
                );
                if let Err(trouble) = self.seek([(position.partition, Offset::Offset(next))]) {
                    self.shut(&trouble);
                }
                return Taken::SoughtBack;
            }
            Admit::TakeAfterHole(next) => {
                counter!("chat_writer_holes_total").increment(1);
                tracing::error!(
                    partition = position.partition,
                    from = next,
                    to = position.offset,
                    "the log no longer holds these offsets; they were never written"
                );
            }
        }
        self.batch.push(entry, StdInstant::now());
        Taken::Held
    }

    /// Asks PostgreSQL for a sign of life when nothing has been written for a while.
    async fn check(&mut self) {
        match self.store.check().await {
            Ok(()) => self.heard = Instant::now(),
            Err(error) => self.shut(&error.into()),
        }
    }

    /// Makes reading go on elsewhere.
    fn seek(&self, places: impl IntoIterator<Item = (i32, Offset)>) -> Result<(), Trouble> {
        let what = "seeking";
        let list = consumer::placed(&self.config.topic, places);
        if list.count() == 0 {
            return Ok(());
        }
        // Waits for librdkafka's own thread, not for the network.
        let list = tokio::task::block_in_place(|| self.consumer.seek_partitions(list, KAFKA_CALL_TIMEOUT))
            .map_err(|source| Trouble::Kafka { what, source })?;
        for element in list.elements() {
            element.error().map_err(|source| Trouble::Kafka { what, source })?;
        }
        Ok(())
    }
}

fn entry(message: &BorrowedMessage<'_>) -> Entry {
    let position = Position { partition: message.partition(), offset: message.offset() };
    Entry::read(position, message.key(), message.payload())
}

/// The consumer goes on by itself.
fn log_reading(error: &KafkaError) {
    // Before the topic exists there is nothing to go on with.
    if !matches!(error, KafkaError::MessageConsumption(RDKafkaErrorCode::UnknownTopicOrPartition)) {
        kafka::log_error(error, "reading");
    }
}
