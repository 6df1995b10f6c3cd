//! The log events by which an outside observer (the harness, an SRE) follows a process.
//!
//! Every process writes one JSON object a line on stdout, flattened:
//! `{"timestamp":"…","level":"INFO","event":"writer_paused","process":"writer-1",…}`. A line with an `event` field is
//! part of this contract; the others are for people. Names are `snake_case`; fields are named here.

use serde::{Deserialize, Serialize};

/// Values of the `event` field.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LifecycleEvent {
    /// The process listens. Field `addr`: `127.0.0.1:PORT` (for a writer: health and metrics only).
    Listening,
    /// The process begins its graceful shutdown.
    Draining,
    /// The last line of a graceful shutdown.
    Stopped,
    /// A panic, by the panic hook. Field `message`. The process then exits with [`EXIT_PANIC`].
    Panicked,
    /// A node's readiness changed. Fields `ready` (bool), `missing` (names of dependencies, comma separated).
    Readiness,
    /// A node found its live path broken and tails Kafka. Field `reason`.
    CatchUpStarted,
    /// A node is back on the live path. Field `delivered` (messages delivered from Kafka since).
    CatchUpEnded,
    /// A writer was given partitions. Field `partitions` (comma separated).
    WriterAssigned,
    /// A writer lost partitions. Field `partitions`.
    WriterRevoked,
    /// A writer paused its partitions as PostgreSQL failed. Fields `partitions`, `error`.
    WriterPaused,
    /// A paused writer asked PostgreSQL whether it is back. Fields `ok` (bool), `attempt`.
    WriterProbed,
    /// A writer resumed at its first unwritten record. Fields `partitions`, `paused_ms`.
    WriterResumed,
    /// A batch was written and committed. Fields `records`, `rows` (new ones), `took_us`.
    WriterWrote,
    /// A write attempt failed. Field `error`. Always followed by [`LifecycleEvent::WriterPaused`] or a retry by rows.
    WriterFailed,
    /// A record went to the dead-letter topic. Fields `partition`, `offset`, `reason`.
    WriterDeadLettered,
    /// Topology `relay`: this node holds the lease, and appends to the log what it hears from now on.
    RelayStarted,
    /// Topology `relay`: this node no longer relays. Field `reason`.
    RelayEnded,
}

impl LifecycleEvent {
    /// Its name in the log.
    pub fn name(self) -> &'static str {
        match self {
            Self::Listening => "listening",
            Self::Draining => "draining",
            Self::Stopped => "stopped",
            Self::Panicked => "panicked",
            Self::Readiness => "readiness",
            Self::CatchUpStarted => "catch_up_started",
            Self::CatchUpEnded => "catch_up_ended",
            Self::WriterAssigned => "writer_assigned",
            Self::WriterRevoked => "writer_revoked",
            Self::WriterPaused => "writer_paused",
            Self::WriterProbed => "writer_probed",
            Self::WriterResumed => "writer_resumed",
            Self::WriterWrote => "writer_wrote",
            Self::WriterFailed => "writer_failed",
            Self::WriterDeadLettered => "writer_dead_lettered",
            Self::RelayStarted => "relay_started",
            Self::RelayEnded => "relay_ended",
        }
    }
}

/// The field that carries the event's name.
pub const EVENT_FIELD: &str = "event";

/// Where these lines come from, as log filters say it. They are a contract, so no filter leaves them out: a process whose
/// log is made quiet for people is followed all the same.
pub const LOG_TARGET: &str = "lifecycle";

/// Exit code of a graceful end.
pub const EXIT_OK: u8 = 0;
/// Exit code when the configuration is wrong.
pub const EXIT_USAGE: u8 = 64;
/// Exit code when a dependency is missing at start and the process was told not to wait for it.
pub const EXIT_UNAVAILABLE: u8 = 69;
/// Exit code after a panic.
pub const EXIT_PANIC: u8 = 70;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_named_as_the_contract_spells_them() {
        use LifecycleEvent as E;
        for event in [
            E::Listening,
            E::Draining,
            E::Stopped,
            E::Panicked,
            E::Readiness,
            E::CatchUpStarted,
            E::CatchUpEnded,
            E::WriterAssigned,
            E::WriterRevoked,
            E::WriterPaused,
            E::WriterProbed,
            E::WriterResumed,
            E::WriterWrote,
            E::WriterFailed,
            E::WriterDeadLettered,
            E::RelayStarted,
            E::RelayEnded,
        ] {
            assert_eq!(serde_json::to_value(event).unwrap(), event.name());
        }
        assert_eq!(EVENT_FIELD, "event");
    }
}
