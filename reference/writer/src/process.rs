//! A process's life: read the configuration, listen, write until told to stop, drain, leave.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use chat_process::{emit, telemetry};
use chat_protocol::lifecycle::{EXIT_OK, EXIT_USAGE};
use rdkafka::error::KafkaError;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::config::Config;
use crate::health::{self, Status};
use crate::writer::Writer;
use crate::{broker, consumer};

/// How long the runtime may take to end tasks that have nothing to lose (a scrape of `/metrics`).
const RUNTIME_GRACE: Duration = Duration::from_millis(100);

/// What people see of the log without `RUST_LOG`: sqlx says at `info` that the migrations table exists already; librdkafka
/// says everything twice.
const QUIET: &str = "info,sqlx=warn,librdkafka=warn";

/// Why the process could not begin its work. Nothing here is about Kafka or PostgreSQL being away: it waits for those.
#[derive(Debug, thiserror::Error)]
enum StartError {
    #[error("signals: {0}")]
    Signals(std::io::Error),
    #[error("--listen {address}: {source}")]
    Listen { address: std::net::SocketAddr, source: std::io::Error },
    #[error("metrics: {0}")]
    Metrics(#[from] metrics_exporter_prometheus::BuildError),
    #[error("kafka configuration: {0}")]
    Kafka(#[from] KafkaError),
    #[error("threads: {0}")]
    Threads(std::io::Error),
}

/// The program, from its arguments to its exit code.
pub fn run() -> ExitCode {
    let config: Config = match chat_process::start::parse() {
        Ok(config) => config,
        Err(code) => return ExitCode::from(code),
    };
    telemetry::start(&config.name, QUIET);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let outcome = match runtime {
        Ok(runtime) => {
            let outcome = runtime.block_on(Box::pin(live(Arc::new(config))));
            runtime.shutdown_timeout(RUNTIME_GRACE);
            outcome
        }
        Err(error) => Err(StartError::Threads(error)),
    };
    match outcome {
        Ok(()) => ExitCode::from(EXIT_OK),
        Err(error) => {
            tracing::error!(%error, "cannot start");
            ExitCode::from(EXIT_USAGE)
        }
    }
}

async fn live(config: Arc<Config>) -> Result<(), StartError> {
    // Before anything is announced: who reads `listening` may send SIGTERM at once.
    let mut terminate = signal(SignalKind::terminate()).map_err(StartError::Signals)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(StartError::Signals)?;

    let metrics = health::record()?;
    let (listener, addr) = health::bind(config.listen)
        .await
        .map_err(|source| StartError::Listen { address: config.listen, source })?;
    let status = Arc::new(Status::default());
    let (stop, gone) = (CancellationToken::new(), CancellationToken::new());
    // Health is served to the end of the drain, so that an orchestrator sees "draining" and not a refused connection.
    tokio::spawn(health::serve(listener, status.clone(), metrics, gone.clone()));

    let (consumer, changes) = consumer::create(&config)?;
    let writer = Writer::new(config.clone(), consumer, changes, status.clone())?;
    broker::watch(config.clone(), status.clone(), stop.clone()).map_err(StartError::Threads)?;
    emit!(Listening, addr = addr.to_string());
    tracing::info!(
        postgres = config.postgres_address(),
        kafka = config.kafka_brokers,
        topic = config.topic,
        group = config.group,
        bug = ?config.bug(),
        "started"
    );

    let told = async {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        emit!(Draining);
        status.set_draining();
        stop.cancel();
        // The clock runs from here, and not from when the loop has finished the write it is in.
        Instant::now() + config.drain_ms
    };
    let (writer, deadline) = tokio::join!(Box::pin(writer.run(stop.clone())), told);
    writer.drain(deadline).await;
    gone.cancel();
    emit!(Stopped);
    Ok(())
}
