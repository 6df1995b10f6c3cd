//! The verifier: reads Kafka and PostgreSQL to their ends, past every proxy, and writes what it found into the history.
//! It also knows when the ledgers have come to rest.

mod kafka;
mod postgres;

use std::time::Duration;

use crate::{
    cluster::Names,
    environment::Endpoints,
    history::{Ledger, Recorder, What},
    plan::{Arrivals, FaultKind, Plan},
};

pub use kafka::{KafkaError, create_topics};

/// A ledger that answers at all answers within this.
const ANSWER_LIMIT: Duration = Duration::from_secs(10);

/// Reads the ledgers of one run.
#[derive(Debug, Clone)]
pub struct Verifier {
    endpoints: Endpoints,
    names: Names,
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

impl Verifier {
    /// A verifier for the given services.
    pub fn new(endpoints: Endpoints, names: Names) -> Self {
        Self { endpoints, names }
    }

    /// Whether PostgreSQL has got as far as Kafka in every partition. `Err` says how far it is.
    ///
    /// # Errors
    ///
    /// What is still missing, or why it cannot be told.
    pub async fn at_rest(&self) -> Result<String, String> {
        let heads = self.heads().await.map_err(|error| error.to_string())?;
        let written =
            tokio::time::timeout(ANSWER_LIMIT, postgres::next_offsets(&self.endpoints, &self.names.topic))
                .await
                .map_err(|_| "PostgreSQL does not answer".to_owned())?
                .map_err(|error| error.to_string())?;
        let behind: i64 = heads
            .iter()
            .map(|(partition, head)| (head - written.get(partition).copied().unwrap_or(0)).max(0))
            .sum();
        let total: i64 = heads.values().sum();
        if behind == 0 {
            Ok(format!("all {total} records are stored"))
        } else {
            Err(format!("{behind} of {total} records are not stored yet"))
        }
    }

    async fn heads(&self) -> Result<std::collections::BTreeMap<i32, i64>, VerifierError> {
        let (endpoints, topic) = (self.endpoints.clone(), self.names.topic.clone());
        let heads = tokio::task::spawn_blocking(move || kafka::heads(&endpoints, &topic));
        let heads =
            tokio::time::timeout(ANSWER_LIMIT, heads).await.map_err(|_| VerifierError::Silent("Kafka"))?;
        Ok(heads.map_err(|_| VerifierError::Silent("Kafka"))??)
    }

    /// Reads every ledger to its end into the history.
    pub async fn read_all(&self, plan: &Plan, arrivals: &std::sync::Arc<Arrivals>, recorder: &Recorder) {
        for (ledger, topic) in
            [(Ledger::Kafka, &self.names.topic), (Ledger::DeadLetters, &self.names.dead_letters)]
        {
            let reading = kafka::Reading {
                endpoints: self.endpoints.clone(),
                topic: topic.clone(),
                ledger,
                room_prefix: plan.load.room_prefix.clone(),
                poison: plan.faults.iter().any(|fault| fault.fault == FaultKind::KafkaPoison),
                arrivals: std::sync::Arc::clone(arrivals),
                recorder: recorder.clone(),
            };
            let read = tokio::task::spawn_blocking(move || reading.read()).await;
            close(
                recorder,
                ledger,
                read.map_err(|error| error.to_string()).and_then(|read| read.map_err(|e| e.to_string())),
            );
        }
        let read = postgres::read(&self.endpoints, plan, arrivals, recorder).await;
        close(recorder, Ledger::Postgres, read.map_err(|error| error.to_string()));
    }
}

fn close(recorder: &Recorder, ledger: Ledger, read: Result<u64, String>) {
    recorder.record(match read {
        Ok(entries) => What::LedgerRead { ledger, entries },
        Err(why) => What::LedgerUnreadable { ledger, why },
    });
}
