//! One trial: some seconds of one load, and whether they met the objectives.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::Verdict;
use crate::gate::{
    Quantiles,
    slice::{LATENESS_P99_MAX_US, STEAL_MAX},
};

/// Share of the messages due that may stay unsent.
const NOT_SENT_MAX: f64 = 0.001;
/// Share of the messages sent by which the writers may fall behind during a trial: more, and the table would never catch up.
const BEHIND_MAX: f64 = 0.05;
/// Records that a writer may have in hand at any moment, whatever the load: a few batches.
const IN_HAND_MAX: i64 = 1_000;

/// What is to be met, in milliseconds, each by the 99th percentile counted from when a message was due.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Objectives {
    /// Until the ack; a message without one counts as the ack timeout.
    pub ack_p99_ms: u64,
    /// Until the receipt by each member.
    pub receipt_p99_ms: u64,
}

/// What is taken where neither the scenario nor the caller says: a chat feels immediate up to about this.
pub const DEFAULT_P99_MS: u64 = 100;

/// What was measured in one trial, settling time left out.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Trial {
    /// How much of what the search varies.
    pub load: u32,
    /// Measured length.
    pub length_ms: u64,
    /// Messages that were due.
    pub due: u64,
    /// Of those, handed to a socket.
    pub sent: u64,
    /// Messages that reached a member.
    pub receipts: u64,
    /// From due to acked.
    pub ack: Quantiles,
    /// From due to each receipt.
    pub receipt: Quantiles,
    /// 99th percentile of how late the generator sent, in microseconds.
    pub lateness_p99_us: u64,
    /// Records by which the writers fell behind the log; negative where they caught up.
    pub behind: i64,
    /// Sessions that ended although nothing was broken on purpose.
    pub disconnects: u64,
    /// Processor time of all nodes, in nanoseconds.
    #[serde(default)]
    pub node_cpu_ns: u64,
    /// Processor time of all writers, in nanoseconds.
    #[serde(default)]
    pub writer_cpu_ns: u64,
    /// Share of all processor time that was used, by whomever.
    pub busy: f64,
    /// Share of processor time taken by other machines on the host.
    pub steal: f64,
    /// What no probe could show of the fault that was to be in force.
    pub unproved: Option<String>,
    /// Why there was no such load: its users never gathered, or the generator stood still.
    pub no_load: Option<String>,
}

/// An objective that was missed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Miss {
    /// Acks took too long: their p99 in microseconds.
    Ack(u64),
    /// Receipts did.
    Receipt(u64),
    /// So many messages stayed unsent.
    NotSent(u64),
    /// The writers fell behind by so many records.
    Behind(i64),
    /// So many sessions ended.
    Disconnects(u64),
    /// The load never came to be.
    NoLoad(String),
}

/// Why a trial measured something else.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Void {
    /// Other machines took processor time.
    Steal,
    /// The generator was so late that it may have missed the objective by itself.
    LateGenerator,
    /// The fault was not seen in force.
    Unproved(String),
}

/// What a trial says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Outcome {
    /// Every objective was met.
    Met,
    /// These were not.
    Missed(Vec<Miss>),
    /// Nothing.
    Void(Void),
}

impl Trial {
    /// What it says of its load.
    pub fn outcome(&self, objectives: Objectives) -> Outcome {
        if let Some(why) = &self.unproved {
            return Outcome::Void(Void::Unproved(why.clone()));
        }
        if self.steal > STEAL_MAX {
            return Outcome::Void(Void::Steal);
        }
        let Objectives { ack_p99_ms, receipt_p99_ms } = objectives;
        let mut misses: Vec<Miss> = self.no_load.iter().cloned().map(Miss::NoLoad).collect();
        let not_sent = self.due.saturating_sub(self.sent);
        if not_sent as f64 > NOT_SENT_MAX * self.due as f64 {
            misses.push(Miss::NotSent(not_sent));
        }
        if self.behind > IN_HAND_MAX.max(whole(BEHIND_MAX * self.sent as f64)) {
            misses.push(Miss::Behind(self.behind));
        }
        if self.disconnects > 0 {
            misses.push(Miss::Disconnects(self.disconnects));
        }
        let certain = !misses.is_empty();
        let too_long = [
            (self.ack.p99_us, ack_p99_ms, Miss::Ack as fn(u64) -> Miss),
            (self.receipt.p99_us, receipt_p99_ms, Miss::Receipt),
        ];
        let mut without_lateness = false;
        for (p99_us, limit_ms, miss) in too_long {
            let limit_us = limit_ms.saturating_mul(1_000);
            if p99_us > limit_us {
                misses.push(miss(p99_us));
                without_lateness |= p99_us.saturating_sub(self.lateness_p99_us) > limit_us;
            }
        }
        if misses.is_empty() {
            return Outcome::Met;
        }
        // On time or not, the cluster alone took longer than it may.
        if certain || without_lateness || self.lateness_p99_us <= LATENESS_P99_MAX_US {
            return Outcome::Missed(misses);
        }
        Outcome::Void(Void::LateGenerator)
    }

    /// Messages a second that were sent.
    pub fn sent_per_s(&self) -> f64 {
        self.sent as f64 * 1_000.0 / self.length_ms.max(1) as f64
    }

    /// Messages a second that reached a member.
    pub fn receipts_per_s(&self) -> f64 {
        self.receipts as f64 * 1_000.0 / self.length_ms.max(1) as f64
    }
}

#[expect(clippy::cast_possible_truncation, reason = "the cast saturates")]
fn whole(value: f64) -> i64 {
    value as i64
}

impl Outcome {
    /// For the search.
    pub fn verdict(&self) -> Verdict {
        match self {
            Self::Met => Verdict::Met,
            Self::Missed(_) => Verdict::Missed,
            Self::Void(_) => Verdict::Void,
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Met => f.write_str("met"),
            Self::Missed(misses) => {
                let misses: Vec<String> = misses.iter().map(ToString::to_string).collect();
                write!(f, "missed: {}", misses.join(", "))
            }
            Self::Void(Void::Steal) => f.write_str("void: other machines took processor time"),
            Self::Void(Void::LateGenerator) => f.write_str("void: the generator was late"),
            Self::Void(Void::Unproved(why)) => write!(f, "void: the fault was not seen: {why}"),
        }
    }
}

impl fmt::Display for Miss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ack(p99_us) => write!(f, "ack p99 {} ms", p99_us / 1_000),
            Self::Receipt(p99_us) => write!(f, "receipt p99 {} ms", p99_us / 1_000),
            Self::NotSent(messages) => write!(f, "{messages} messages not sent"),
            Self::Behind(records) => write!(f, "the writers fell {records} records behind"),
            Self::Disconnects(sessions) => write!(f, "{sessions} sessions ended"),
            Self::NoLoad(why) => f.write_str(why),
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    const LIMITS: Objectives = Objectives { ack_p99_ms: 100, receipt_p99_ms: 200 };

    /// One that meets every objective, at so many messages a second.
    pub(in super::super) fn trial(load: u32, p99_ms: u64) -> Trial {
        let sent = u64::from(load) * 4;
        let quantiles = Quantiles { p50_us: p99_ms * 250, p99_us: p99_ms * 1_000, max_us: p99_ms * 2_000 };
        Trial {
            load,
            length_ms: 4_000,
            due: sent,
            sent,
            receipts: sent * 25,
            ack: quantiles,
            receipt: quantiles,
            lateness_p99_us: 900,
            behind: 40,
            disconnects: 0,
            node_cpu_ns: 0,
            writer_cpu_ns: 0,
            busy: 0.5,
            steal: 0.0,
            unproved: None,
            no_load: None,
        }
    }

    #[test]
    fn every_objective_can_be_missed_and_says_so() {
        let missed = |change: fn(&mut Trial)| {
            let mut trial = trial(1_000, 50);
            change(&mut trial);
            trial.outcome(LIMITS).to_string()
        };
        assert_eq!(missed(|_| ()), "met");
        assert_eq!(missed(|it| it.ack.p99_us = 100_001), "missed: ack p99 100 ms");
        assert_eq!(missed(|it| it.receipt.p99_us = 900_000), "missed: receipt p99 900 ms");
        assert_eq!(missed(|it| it.sent -= 5), "missed: 5 messages not sent");
        assert_eq!(missed(|it| it.behind = 1_001), "missed: the writers fell 1001 records behind");
        assert_eq!(missed(|it| it.disconnects = 2), "missed: 2 sessions ended");
        assert_eq!(missed(|it| it.no_load = Some("nobody came".into())), "missed: nobody came");
        assert_eq!(missed(|it| it.steal = 0.04), "void: other machines took processor time");
        assert_eq!(missed(|it| it.unproved = Some("no".into())), "void: the fault was not seen: no");
    }

    #[test]
    fn a_late_generator_makes_void_only_what_it_may_have_caused() {
        let outcome = |ack_ms: u64, late_ms: u64| {
            let mut trial = trial(1_000, ack_ms);
            trial.lateness_p99_us = late_ms * 1_000;
            trial.outcome(Objectives { ack_p99_ms: 100, receipt_p99_ms: 100 }).verdict()
        };
        assert_eq!(outcome(90, 60), Verdict::Met);
        assert_eq!(outcome(110, 60), Verdict::Void);
        assert_eq!(outcome(110, 5), Verdict::Missed);
        assert_eq!(outcome(300, 60), Verdict::Missed);
    }
}
