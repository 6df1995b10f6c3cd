//! One slice: what one build did in a few seconds of load.

use serde::{Deserialize, Serialize};

/// Share of processor time that other machines on the same host may take from this one during a slice.
pub const STEAL_MAX: f64 = 0.03;
/// p99 of the generator's own lateness during a slice, in microseconds. Later than this it measures itself: an ack takes
/// a few milliseconds.
pub const LATENESS_P99_MAX_US: u64 = 20_000;
/// Share of the messages that were due which must have been sent.
pub const SENT_MIN: f64 = 0.99;

/// Which of the two builds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Arm {
    /// The one that is known.
    Baseline,
    /// The one that is judged.
    Candidate,
}

impl Arm {
    /// The other build.
    pub fn other(self) -> Self {
        match self {
            Self::Baseline => Self::Candidate,
            Self::Candidate => Self::Baseline,
        }
    }
}

/// A distribution of latencies in microseconds, each from the time the message was due.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Quantiles {
    /// Median.
    pub p50_us: u64,
    /// 99th percentile.
    pub p99_us: u64,
    /// The largest.
    pub max_us: u64,
}

impl Quantiles {
    /// Of values in any order; zeros when there are none. The smallest value that at least the stated share does not
    /// exceed (nearest rank).
    pub fn of(mut values_us: Vec<u64>) -> Self {
        values_us.sort_unstable();
        let rank = |percent: usize| {
            let at = (values_us.len() * percent).div_ceil(100).max(1) - 1;
            values_us.get(at).copied().unwrap_or(0)
        };
        Self { p50_us: rank(50), p99_us: rank(99), max_us: rank(100) }
    }
}

/// What was measured in one slice, settling time left out. One line of a recording.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Slice {
    /// Between which restarts.
    pub round: u32,
    /// Which pair of the round; a pair that was repeated has a new number.
    pub pair: u32,
    /// Which build had the load.
    pub arm: Arm,
    /// Processor time of all nodes, in nanoseconds.
    pub node_cpu_ns: u64,
    /// Processor time of all writers, in nanoseconds.
    pub writer_cpu_ns: u64,
    /// Messages that reached a member.
    pub receipts: u64,
    /// Rows committed.
    pub rows: u64,
    /// Messages that were due.
    pub due: u64,
    /// Of those, handed to a socket.
    pub sent: u64,
    /// From due to acked; a message without an ack counts as the ack timeout.
    pub ack: Quantiles,
    /// From due to the receipt of each member.
    pub receipt: Quantiles,
    /// 99th percentile of how late the generator sent, in microseconds.
    pub lateness_p99_us: u64,
    /// Share of processor time taken by other machines on the host.
    pub steal: f64,
}

/// Why a slice does not count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Void {
    /// The machine was not ours alone.
    Steal,
    /// The generator was late.
    LateGenerator,
    /// Not all that was due was sent, so the two builds had different loads.
    UnequalLoad,
}

impl Void {
    /// For people.
    pub fn word(self) -> &'static str {
        match self {
            Self::Steal => "steal",
            Self::LateGenerator => "late generator",
            Self::UnequalLoad => "unequal load",
        }
    }
}

impl Slice {
    /// Why it does not count, if it does not.
    pub fn void(&self) -> Option<Void> {
        if self.steal > STEAL_MAX {
            return Some(Void::Steal);
        }
        if self.lateness_p99_us > LATENESS_P99_MAX_US {
            return Some(Void::LateGenerator);
        }
        (self.due == 0 || (self.sent as f64) < SENT_MIN * self.due as f64).then_some(Void::UnequalLoad)
    }
}
