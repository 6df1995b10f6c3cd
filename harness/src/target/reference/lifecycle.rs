//! Reads the log events of `chat_protocol::lifecycle` and keeps what checkers use.

use chat_protocol::lifecycle::LifecycleEvent;
use serde_json::Value;

use crate::history::Lifecycle;

/// The event of a log line, if the line is part of the contract and of interest.
pub fn parse(line: &str) -> Option<Lifecycle> {
    // Most lines carry no event; do not parse them.
    if !line.contains("\"event\"") {
        return None;
    }
    let line: Value = serde_json::from_str(line).ok()?;
    let event: LifecycleEvent = serde_json::from_value(line.get("event")?.clone()).ok()?;
    let text = |field: &str| match line.get(field) {
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
        None => String::new(),
    };
    let number = |field: &str| line.get(field).and_then(Value::as_u64).unwrap_or(0);
    let flag = |field: &str| line.get(field).and_then(Value::as_bool).unwrap_or(false);
    let small = |field: &str| u32::try_from(number(field)).unwrap_or(u32::MAX);
    Some(match event {
        LifecycleEvent::Listening => Lifecycle::Listening,
        LifecycleEvent::Draining => Lifecycle::Draining,
        LifecycleEvent::Stopped => Lifecycle::Stopped,
        LifecycleEvent::Panicked => Lifecycle::Panicked { message: text("message") },
        LifecycleEvent::Readiness => Lifecycle::Readiness { ready: flag("ready"), missing: text("missing") },
        LifecycleEvent::CatchUpStarted => Lifecycle::CatchUpStarted { reason: text("reason") },
        LifecycleEvent::CatchUpEnded => Lifecycle::CatchUpEnded { delivered: number("delivered") },
        LifecycleEvent::WriterAssigned => Lifecycle::WriterAssigned { partitions: text("partitions") },
        LifecycleEvent::WriterRevoked => Lifecycle::WriterRevoked { partitions: text("partitions") },
        LifecycleEvent::WriterPaused => Lifecycle::WriterPaused { error: text("error") },
        LifecycleEvent::WriterProbed => Lifecycle::WriterProbed { ok: flag("ok") },
        LifecycleEvent::WriterResumed => Lifecycle::WriterResumed { paused_ms: number("paused_ms") },
        LifecycleEvent::WriterWrote => Lifecycle::WriterWrote {
            records: small("records"),
            rows: small("rows"),
            took_us: number("took_us"),
        },
        LifecycleEvent::WriterFailed => Lifecycle::WriterFailed { error: text("error") },
        LifecycleEvent::WriterDeadLettered => Lifecycle::WriterDeadLettered {
            partition: line
                .get("partition")
                .and_then(Value::as_i64)
                .and_then(|n| i32::try_from(n).ok())
                .unwrap_or(-1),
            offset: line.get("offset").and_then(Value::as_i64).unwrap_or(-1),
            reason: text("reason"),
        },
        LifecycleEvent::RelayStarted => Lifecycle::RelayStarted,
        LifecycleEvent::RelayEnded => Lifecycle::RelayEnded { reason: text("reason") },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_contract_lines_are_taken() {
        let line = r#"{"timestamp":"t","level":"INFO","event":"writer_resumed","process":"writer-1","paused_ms":15123}"#;
        assert_eq!(parse(line), Some(Lifecycle::WriterResumed { paused_ms: 15_123 }));
        assert_eq!(parse(r#"{"level":"INFO","message":"an \"event\" of no interest"}"#), None);
        assert_eq!(parse(r#"{"event":"something_new"}"#), None);
        assert_eq!(parse("panic at \"event\""), None);
    }
}
