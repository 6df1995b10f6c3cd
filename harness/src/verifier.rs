//! The verifier: reads Kafka and PostgreSQL to their ends, past every proxy, and writes what it found into the history.
//! It also knows how far the ledgers are from being at rest.

mod kafka;
mod planned;
mod postgres;
mod rounds;

use std::{collections::BTreeMap, fmt, sync::Arc, time::Duration};

use crate::{
    environment::Endpoints,
    history::{EventKind, Ledger, Recorder},
    plan::{Arrivals, Plan},
    target::Names,
};

pub use kafka::{KafkaError, create_topics};

/// Reading a ledger to its end takes seconds; a service that hangs in the middle of it must not hang the run.
const READ_LIMIT: Duration = Duration::from_secs(180);
/// A ledger that answers at all answers within this.
const ANSWER_LIMIT: Duration = Duration::from_secs(10);

/// An offset for each partition.
type Offsets = BTreeMap<i32, i64>;

/// Reads the ledgers of one run.
#[derive(Debug, Clone)]
pub struct Verifier {
    endpoints: Endpoints,
    names: Names,
    /// Of the message topic, as planned; a fault may add some.
    partitions: i32,
}

/// Why the ledgers are not at rest, or cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum VerifierError {
    /// Kafka.
    #[error(transparent)]
    Kafka(#[from] KafkaError),
    /// PostgreSQL.
    #[error("cannot read PostgreSQL: {0}")]
    Postgres(#[from] sqlx::Error),
    /// No answer in time.
    #[error("{0} did not answer within 10 s")]
    Silent(&'static str),
}

/// How far PostgreSQL has got in Kafka.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backlog {
    logged: i64,
    stored: i64,
}

impl Backlog {
    fn of(heads: &Offsets, stored: &Offsets) -> Self {
        let reached =
            |(partition, head): (&i32, &i64)| stored.get(partition).copied().unwrap_or(0).min(*head);
        Self { logged: heads.values().sum(), stored: heads.iter().map(reached).sum() }
    }

    /// One with so many records in the log, and so many of them stored.
    #[cfg(test)]
    pub(crate) fn new(logged: i64, stored: i64) -> Self {
        Self { logged, stored }
    }

    /// Whether it has got as far in every partition.
    pub fn is_empty(&self) -> bool {
        self.logged == self.stored
    }

    /// Records that are still to be stored.
    pub fn records(&self) -> i64 {
        self.logged - self.stored
    }
}

impl fmt::Display for Backlog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_empty() {
            write!(f, "all {} records are stored", self.logged)
        } else {
            write!(f, "{} of {} records are not stored", self.records(), self.logged)
        }
    }
}

/// What reading a ledger gave.
#[derive(Debug)]
struct Reading {
    /// What is in it, as far as it was read.
    found: Vec<EventKind>,
    /// How many entries that is; or why there may be more.
    ended: Result<u64, String>,
}

impl Reading {
    fn failed(why: impl fmt::Display) -> Self {
        Self { found: Vec::new(), ended: Err(why.to_string()) }
    }
}

impl Verifier {
    /// A verifier for the given services, and a message topic of at least so many partitions.
    pub fn new(endpoints: Endpoints, names: Names, partitions: i32) -> Self {
        Self { endpoints, names, partitions }
    }

    /// How far PostgreSQL has got in Kafka.
    ///
    /// # Errors
    ///
    /// Why it cannot be told.
    pub async fn backlog(&self) -> Result<Backlog, VerifierError> {
        Ok(Backlog::of(&self.heads().await?, &self.stored().await?))
    }

    async fn heads(&self) -> Result<Offsets, VerifierError> {
        let (endpoints, topic, partitions) =
            (self.endpoints.clone(), self.names.topic.clone(), self.partitions);
        let heads = tokio::task::spawn_blocking(move || kafka::heads(&endpoints, &topic, partitions));
        let heads =
            tokio::time::timeout(ANSWER_LIMIT, heads).await.map_err(|_| VerifierError::Silent("Kafka"))?;
        Ok(heads.map_err(|_| VerifierError::Silent("Kafka"))??)
    }

    async fn stored(&self) -> Result<Offsets, VerifierError> {
        let stored = postgres::next_offsets(&self.endpoints, &self.names.topic);
        let stored = tokio::time::timeout(ANSWER_LIMIT, stored).await;
        Ok(stored.map_err(|_| VerifierError::Silent("PostgreSQL"))??)
    }

    /// Reads every ledger to its end into the history: as often as it takes for the log to stand still meanwhile, within
    /// reason ([`rounds`]). Nothing is recorded before that.
    pub async fn read_all(&self, plan: &Arc<Plan>, arrivals: &Arc<Arrivals>, recorder: &Recorder) {
        let ledgers = Live { verifier: self, plan, arrivals };
        let events = rounds::read(&ledgers, rounds::DRAIN_LIMIT).await;
        let recorder = recorder.clone();
        // More events than the queue holds may come at once here.
        let recorded = tokio::task::spawn_blocking(move || {
            events.into_iter().for_each(|event| recorder.record_waiting(event));
        });
        if let Err(error) = recorded.await {
            // Then `LedgerRead` is missing for some ledger, which the checkers make `unknown`.
            tracing::warn!(%error, "not everything that was read was recorded");
        }
    }
}

/// The ledgers of a run, as they are now.
struct Live<'a> {
    verifier: &'a Verifier,
    plan: &'a Arc<Plan>,
    arrivals: &'a Arc<Arrivals>,
}

impl rounds::Ledgers for Live<'_> {
    async fn heads(&self) -> Result<Offsets, String> {
        self.verifier.heads().await.map_err(|error| error.to_string())
    }

    async fn stored(&self) -> Result<Offsets, String> {
        self.verifier.stored().await.map_err(|error| error.to_string())
    }

    async fn read(&self, ledger: Ledger, heads: &Offsets) -> Reading {
        let reading = tokio::time::timeout(READ_LIMIT, self.read_to_its_end(ledger, heads)).await;
        reading.unwrap_or_else(|_| {
            Reading::failed(format!("it was not read to its end within {} s", READ_LIMIT.as_secs()))
        })
    }
}

impl Live<'_> {
    async fn read_to_its_end(&self, ledger: Ledger, heads: &Offsets) -> Reading {
        let Verifier { endpoints, names, .. } = self.verifier;
        if ledger == Ledger::Postgres {
            return postgres::read(endpoints, self.plan, self.arrivals).await;
        }
        let topic = kafka::Topic {
            endpoints: endpoints.clone(),
            name: if ledger == Ledger::Kafka { &names.topic } else { &names.dead_letters }.clone(),
            ledger,
            plan: Arc::clone(self.plan),
            arrivals: Arc::clone(self.arrivals),
        };
        let heads = (ledger == Ledger::Kafka).then(|| heads.clone());
        let read = tokio::task::spawn_blocking(move || topic.read(heads)).await;
        read.unwrap_or_else(Reading::failed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_backlog_counts_what_is_missing_in_each_partition() {
        let heads = Offsets::from([(0, 10), (1, 5), (2, 0)]);
        let backlog = |stored: &[(i32, i64)]| Backlog::of(&heads, &stored.iter().copied().collect());
        assert_eq!(backlog(&[(0, 10), (1, 5)]).to_string(), "all 15 records are stored");
        // Further on in one partition makes up for nothing in another.
        assert_eq!(backlog(&[(0, 12), (1, 3)]).to_string(), "2 of 15 records are not stored");
        assert!(backlog(&[(0, 12), (1, 5), (7, 9)]).is_empty());
        assert!(!backlog(&[]).is_empty());
    }
}
