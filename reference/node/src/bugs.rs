//! Planted bugs: known defects that the harness must catch.
//!
//! They exist so that the checkers are tested against a live system that is wrong in a known way. Without the feature
//! `planted-bugs` there is no flag to choose one, and every question here is answered `false` at compile time.

use chat_protocol::{ChatRecord, record::Identity};

/// The defects a node can be given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "planted-bugs", derive(clap::ValueEnum))]
pub enum Bug {
    /// Acks with a guessed position, and produces later from a small buffer that overflows: acked messages are lost.
    AckBeforeProduce,
    /// After the first disconnection from Redis never subscribes again, nor tails Kafka, and stays "ready".
    NoResubscribe,
    /// Delivers whatever comes from its own sends, from the bus and from Kafka, without looking at offsets.
    NoDedupe,
    /// Has a tiny buffer per socket and ignores that it is full: members silently miss messages.
    DropWhenFull,
    /// `resume` ignores the position and behaves like `join`.
    NoResume,
    /// Every node appends a copy of each message it hears on the bus to Kafka.
    EveryNodeRelays,
    /// Takes whatever comes under an id that was used in the room for the retry of that message, whoever sent it: acked,
    /// logged, and delivered to nobody.
    IdsWithoutSender,
}

/// The bug this process was given, if any.
#[derive(Debug, Clone, Copy, Default)]
pub struct Bugs {
    bug: Option<Bug>,
    #[cfg(feature = "planted-bugs")]
    burn_cpu_percent: u32,
}

/// Messages that [`Bug::AckBeforeProduce`] keeps back; what does not fit is lost.
pub const LATE_PRODUCE_BUFFER: usize = 64;
/// How late [`Bug::AckBeforeProduce`] produces, in milliseconds.
pub const LATE_PRODUCE_MS: u64 = 2_000;
/// [`Bug::AckBeforeProduce`] forgets one message in this many, so that even a slow and calm run shows it.
pub const LATE_PRODUCE_FORGETS_EVERY: u64 = 50;
/// Packets buffered per socket with [`Bug::DropWhenFull`].
pub const TINY_SOCKET_BUFFER: usize = 4;

/// Says in the log which message a planted bug has just wronged. A test compares what the checkers found with what was
/// planted, so that none is caught by accident.
pub fn wronged(bug: Bug, record: &ChatRecord) {
    let Identity { room, sender, id } = record.identity();
    tracing::warn!(planted = ?bug, room, sender, id, "planted bug at work");
}

/// As [`wronged`], for messages known only by where they stand: offsets `from` (inclusive) to `to` (exclusive).
pub fn wronged_range(bug: Bug, partition: i32, from: i64, to: i64) {
    if from < to {
        tracing::warn!(planted = ?bug, partition, from, to, "planted bug at work");
    }
}

impl Bugs {
    /// Of the command line.
    #[cfg(feature = "planted-bugs")]
    pub fn new(bug: Option<Bug>, burn_cpu_percent: u32) -> Self {
        Self { bug, burn_cpu_percent }
    }

    /// Whether to be wrong in this way.
    #[inline]
    pub fn has(self, bug: Bug) -> bool {
        cfg!(feature = "planted-bugs") && self.bug == Some(bug)
    }

    /// Planted slowness: spends processor time until so many per cent of what this process has spent on its work have been
    /// spent on nothing. Called once a message, by whoever has just delivered it.
    #[inline]
    pub fn burn_cpu(self) {
        #[cfg(feature = "planted-bugs")]
        if self.burn_cpu_percent > 0 {
            burn::until_percent(self.burn_cpu_percent);
        }
    }
}

#[cfg(feature = "planted-bugs")]
mod burn {
    use std::sync::{Mutex, PoisonError};

    use rustix::time::{ClockId, clock_gettime};

    /// Nanoseconds of this process that were spent on nothing.
    static BURNT_NS: Mutex<i64> = Mutex::new(0);

    pub(super) fn until_percent(percent: u32) {
        let mut burnt_ns = BURNT_NS.lock().unwrap_or_else(PoisonError::into_inner);
        let worked_ns = spent_ns(ClockId::ProcessCPUTime) - *burnt_ns;
        let owed_ns = worked_ns * i64::from(percent) / 100 - *burnt_ns;
        let from_ns = spent_ns(ClockId::ThreadCPUTime);
        while spent_ns(ClockId::ThreadCPUTime) - from_ns < owed_ns {}
        *burnt_ns += owed_ns.max(0);
    }

    fn spent_ns(clock: ClockId) -> i64 {
        let spent = clock_gettime(clock);
        spent.tv_sec * 1_000_000_000 + spent.tv_nsec
    }
}
