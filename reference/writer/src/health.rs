//! `/healthz` (the process runs), `/readyz` (it can do its work), `/metrics` (Prometheus).

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use chat_process::{alive, emit};
use metrics::{counter, describe_counter, describe_gauge, describe_histogram, gauge};
use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// What the process knows about itself; written by the loop and by the watcher, read by whoever asks.
#[derive(Debug, Default)]
pub struct Status {
    kafka: AtomicBool,
    postgres: AtomicBool,
    draining: AtomicBool,
    // A std mutex: held for a few instructions, never across an await.
    next: Mutex<BTreeMap<i32, i64>>,
}

impl Status {
    /// Kafka answers, or does not.
    pub fn set_kafka(&self, up: bool) {
        if self.kafka.swap(up, Ordering::SeqCst) != up {
            self.announce();
        }
    }

    /// PostgreSQL takes writes, or does not.
    pub fn set_postgres(&self, up: bool) {
        if self.postgres.swap(up, Ordering::SeqCst) != up {
            self.announce();
        }
    }

    /// The process is about to stop.
    pub fn set_draining(&self) {
        self.draining.store(true, Ordering::SeqCst);
    }

    /// What is missing for this process to do its work.
    pub fn missing(&self) -> Vec<&'static str> {
        let mut missing = Vec::new();
        if !self.kafka.load(Ordering::SeqCst) {
            missing.push("kafka");
        }
        if !self.postgres.load(Ordering::SeqCst) {
            missing.push("postgres");
        }
        if self.draining.load(Ordering::SeqCst) {
            missing.push("draining");
        }
        missing
    }

    /// The first offset of a partition that is not dealt with.
    pub fn moved(&self, partition: i32, next: i64) {
        self.next.lock().unwrap_or_else(PoisonError::into_inner).insert(partition, next);
    }

    /// A partition went to somebody else, who reports its lag from now on.
    pub fn gone(&self, partition: i32) {
        self.next.lock().unwrap_or_else(PoisonError::into_inner).remove(&partition);
        gauge!("chat_writer_lag_records", "partition" => partition.to_string()).set(0.0);
    }

    /// All partitions whose place is known.
    pub fn places(&self) -> BTreeMap<i32, i64> {
        self.next.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn announce(&self) {
        let missing = self.missing();
        emit!(Readiness, ready = missing.is_empty(), missing = missing.join(","));
    }
}

/// Starts collecting metrics.
///
/// # Errors
///
/// Another recorder is installed in this process.
pub fn record() -> Result<PrometheusHandle, BuildError> {
    let handle = PrometheusBuilder::new()
        .set_buckets_for_metric(
            Matcher::Full("chat_writer_write_seconds".to_owned()),
            &[0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 3.0],
        )?
        .install_recorder()?;
    describe_counter!("chat_writer_batches_total", "Batches written and committed");
    describe_counter!("chat_writer_records_total", "Records of the log dealt with");
    describe_counter!("chat_writer_rows_total", "Rows that were new");
    describe_counter!("chat_writer_write_failures_total", "Writes that failed, by whose fault it was");
    describe_counter!("chat_writer_dead_letters_total", "Records sent to the dead-letter topic");
    describe_counter!("chat_writer_probes_total", "Probes of PostgreSQL while paused, by outcome");
    describe_counter!("chat_writer_holes_total", "Runs of offsets that the log no longer held");
    describe_gauge!("chat_writer_paused", "1 while partitions are paused because PostgreSQL is away");
    describe_gauge!("chat_writer_lag_records", "Records in the log and not yet dealt with, by partition");
    describe_histogram!("chat_writer_write_seconds", "Time to write and commit one batch");
    // Present from the start: a counter that appears with its first event cannot be alarmed on.
    for name in ["batches", "records", "rows", "dead_letters", "holes"] {
        counter!(format!("chat_writer_{name}_total")).absolute(0);
    }
    gauge!("chat_writer_paused").set(0.0);
    Ok(handle)
}

/// Serves the three pages until told to stop.
pub async fn serve(
    listener: TcpListener,
    status: Arc<Status>,
    metrics: PrometheusHandle,
    stop: CancellationToken,
) {
    let pages =
        Router::new().route("/healthz", get(alive)).route("/readyz", get(ready)).with_state(status).route(
            "/metrics",
            get(async move || {
                metrics.run_upkeep();
                metrics.render()
            }),
        );
    let served = axum::serve(listener, pages).with_graceful_shutdown(stop.cancelled_owned()).await;
    if let Err(error) = served {
        tracing::error!(%error, "health server");
    }
}

async fn ready(State(status): State<Arc<Status>>) -> Response {
    let missing = status.missing();
    let code = if missing.is_empty() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (code, Json(serde_json::json!({ "ready": missing.is_empty(), "missing": missing }))).into_response()
}

/// Binds the address of the health pages.
///
/// # Errors
///
/// It is taken, or not ours.
pub async fn bind(address: SocketAddr) -> std::io::Result<(TcpListener, SocketAddr)> {
    let listener = TcpListener::bind(address).await?;
    let bound = listener.local_addr()?;
    Ok((listener, bound))
}
