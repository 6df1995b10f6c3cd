//! JSON logs on stdout, the lifecycle events among them, and the panic hook.

use std::sync::OnceLock;

use chat_protocol::lifecycle::{EXIT_PANIC, LOG_TARGET, LifecycleEvent};
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use tracing_subscriber::EnvFilter;

static PROCESS: OnceLock<String> = OnceLock::new();

/// Starts logging and installs the panic hook. Later calls change nothing.
pub fn start(process: &str) {
    if PROCESS.set(process.to_owned()).is_err() {
        return;
    }
    let mut filter = EnvFilter::try_from_default_env()
        // sqlx says at `info` that the migrations table exists already; librdkafka says everything twice.
        .unwrap_or_else(|_| EnvFilter::new("info,sqlx=warn,librdkafka=warn"));
    if let Ok(contract) = format!("{LOG_TARGET}=info").parse() {
        filter = filter.add_directive(contract);
    }
    let subscriber =
        tracing_subscriber::fmt().json().flatten_event(true).with_env_filter(filter).with_ansi(false);
    // Fails only if the embedding program (a test) has a subscriber already; then that one is meant.
    let _ = subscriber.try_init();
    std::panic::set_hook(Box::new(|panic| {
        let at = panic.location().map(ToString::to_string).unwrap_or_default();
        let message = panic.payload_as_str().unwrap_or("(no message)");
        tracing::error!(
            target: LOG_TARGET,
            event = name(LifecycleEvent::Panicked),
            process = self::process(),
            message = format!("{message} at {at}"),
        );
        // A writer with one dead task is worse than a dead writer: Kafka gives the partitions of a dead one away.
        std::process::exit(i32::from(EXIT_PANIC));
    }));
}

/// The name of this process, as in `--name`.
pub fn process() -> &'static str {
    PROCESS.get().map_or("writer", String::as_str)
}

/// The name of an event as it stands in the log.
pub fn name(event: LifecycleEvent) -> &'static str {
    match event {
        LifecycleEvent::Listening => "listening",
        LifecycleEvent::Draining => "draining",
        LifecycleEvent::Stopped => "stopped",
        LifecycleEvent::Panicked => "panicked",
        LifecycleEvent::Readiness => "readiness",
        LifecycleEvent::CatchUpStarted => "catch_up_started",
        LifecycleEvent::CatchUpEnded => "catch_up_ended",
        LifecycleEvent::WriterAssigned => "writer_assigned",
        LifecycleEvent::WriterRevoked => "writer_revoked",
        LifecycleEvent::WriterPaused => "writer_paused",
        LifecycleEvent::WriterProbed => "writer_probed",
        LifecycleEvent::WriterResumed => "writer_resumed",
        LifecycleEvent::WriterWrote => "writer_wrote",
        LifecycleEvent::WriterFailed => "writer_failed",
        LifecycleEvent::WriterDeadLettered => "writer_dead_lettered",
        LifecycleEvent::RelayStarted => "relay_started",
        LifecycleEvent::RelayEnded => "relay_ended",
    }
}

/// Writes a lifecycle event: `emit!(WriterPaused, partitions = …, error = …)`.
macro_rules! emit {
    ($event:ident $(, $($field:tt)+)?) => {
        tracing::info!(
            target: chat_protocol::lifecycle::LOG_TARGET,
            event = $crate::telemetry::name(chat_protocol::lifecycle::LifecycleEvent::$event),
            process = $crate::telemetry::process(),
            $($($field)+)?
        )
    };
}
pub(crate) use emit;

/// Passes a line of librdkafka's own log on.
pub fn librdkafka(level: RDKafkaLogLevel, facility: &str, line: &str) {
    match level {
        // One for each connection attempt, and one for each partition of a refused commit. The process tells both in its
        // own words: `readiness` says that Kafka is away, and the commit callback says why a commit was refused.
        _ if facility == "FAIL" || facility == "COMMITFAIL" => tracing::debug!(facility, line, "librdkafka"),
        RDKafkaLogLevel::Emerg
        | RDKafkaLogLevel::Alert
        | RDKafkaLogLevel::Critical
        | RDKafkaLogLevel::Error => tracing::error!(facility, line, "librdkafka"),
        RDKafkaLogLevel::Warning => tracing::warn!(facility, line, "librdkafka"),
        RDKafkaLogLevel::Notice => tracing::info!(facility, line, "librdkafka"),
        RDKafkaLogLevel::Info | RDKafkaLogLevel::Debug => tracing::debug!(facility, line, "librdkafka"),
    }
}

/// Tells of an error that librdkafka deals with by itself.
pub fn kafka_error(error: &KafkaError, reason: &str) {
    if is_outage(error) {
        tracing::debug!(%error, reason, "kafka");
    } else {
        tracing::warn!(%error, reason, "kafka");
    }
}

/// True for what is said many times a second while the brokers are away. `readiness` says it once.
pub fn is_outage(error: &KafkaError) -> bool {
    matches!(
        error.rdkafka_error_code(),
        Some(
            RDKafkaErrorCode::AllBrokersDown
                | RDKafkaErrorCode::BrokerTransportFailure
                | RDKafkaErrorCode::OperationTimedOut
                | RDKafkaErrorCode::Resolve
        )
    )
}

/// `[1, 2, 5]` as the contract writes it: `1,2,5`.
pub fn listed(partitions: &[i32]) -> String {
    partitions.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_named_as_the_contract_spells_them() {
        for event in [
            LifecycleEvent::Listening,
            LifecycleEvent::Draining,
            LifecycleEvent::Stopped,
            LifecycleEvent::Panicked,
            LifecycleEvent::Readiness,
            LifecycleEvent::CatchUpStarted,
            LifecycleEvent::CatchUpEnded,
            LifecycleEvent::WriterAssigned,
            LifecycleEvent::WriterRevoked,
            LifecycleEvent::WriterPaused,
            LifecycleEvent::WriterProbed,
            LifecycleEvent::WriterResumed,
            LifecycleEvent::WriterWrote,
            LifecycleEvent::WriterFailed,
            LifecycleEvent::WriterDeadLettered,
        ] {
            assert_eq!(serde_json::to_value(event).unwrap(), name(event));
        }
        assert_eq!(chat_protocol::lifecycle::EVENT_FIELD, "event");
    }
}
