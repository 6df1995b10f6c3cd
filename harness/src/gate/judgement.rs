//! From slices to a judgement with three values: slower, not slower, or unknown.
//!
//! | | first look, 12 pairs | second look, 24 pairs |
//! |---|---|---|
//! | slower | estimate ≥ floor, and p ≤ 0.005 by Holm | estimate ≥ floor, and p ≤ 0.0125 by Holm |
//! | not slower | estimate < floor, and an increase of twice the floor is excluded | the latter |
//! | unknown | anything else: a second look | anything else |
//!
//! The two levels sum to 1.75 %: so often at most is "slower" said of two builds that are alike, however the looks depend on
//! each other.

use serde::Serialize;

use super::{
    PAIRS_MAX,
    metric::Metric,
    slice::{Arm, Slice, Void},
    statistics::{CONFIDENCE, Estimate, deviation, hodges_lehmann, holm, sign_flip_p, values_needed},
};
use crate::exit::Exit;

/// With more of the slices void than this, nothing is said: what is left may have been chosen by what disturbed the rest.
pub const VOID_MAX: f64 = 0.20;

/// Level at which an increase is excluded: that of the upper end of the interval.
pub const EXCLUDING_ALPHA: f64 = (1.0 - CONFIDENCE) / 2.0;

/// How much has been seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Look {
    /// Twelve pairs; more may follow.
    First,
    /// All there will be.
    Second,
}

impl Look {
    /// How often "slower" may be wrong at this look.
    pub fn alpha(self) -> f64 {
        match self {
            Self::First => 0.005,
            Self::Second => 0.0125,
        }
    }
}

/// What is said of a metric, and of a build.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// An increase that matters is excluded.
    NotSlower,
    /// The measurements admit both.
    Unknown,
    /// It increased by the floor or more, and not by chance.
    Slower,
}

impl Outcome {
    /// For people.
    pub fn word(self) -> &'static str {
        match self {
            Self::NotSlower => "not slower",
            Self::Unknown => "unknown",
            Self::Slower => "slower",
        }
    }
}

/// One metric compared.
#[derive(Debug, Clone, PartialEq)]
pub struct Finding {
    /// Which.
    pub metric: Metric,
    /// Pairs that have it.
    pub pairs: usize,
    /// Median over the slices of the baseline, in the metric's unit.
    pub baseline: f64,
    /// Median over the slices of the candidate.
    pub candidate: f64,
    /// Change from baseline to candidate, as a share: 0.1 is 10 % more.
    pub change: Estimate,
    /// Chance of a change so large when there is none.
    pub p: f64,
    /// Chance of a change so small when it is in truth [`Metric::to_exclude`].
    pub p_excluding: f64,
    /// Coefficient of variation of one slice against its pair.
    pub variation: f64,
    /// Pairs that would exclude twice the floor, at this variation.
    pub pairs_needed: u32,
    /// For a metric that is only shown, always `Unknown`.
    pub outcome: Outcome,
}

/// An objective of the scenario that the candidate missed.
#[derive(Debug, Clone, PartialEq)]
pub struct Missed {
    /// Which.
    pub metric: Metric,
    /// The limit, in milliseconds.
    pub limit_ms: u64,
    /// Median over the candidate's slices, in milliseconds.
    pub median_ms: f64,
}

/// Objectives for the candidate, in milliseconds; none where nothing is stated.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Objectives {
    /// For the p99 of acks.
    pub ack_p99_ms: Option<u64>,
    /// For the p99 of receipts.
    pub receipt_p99_ms: Option<u64>,
}

/// What is said of a build.
#[derive(Debug, Clone, PartialEq)]
pub struct Judgement {
    /// The word.
    pub outcome: Outcome,
    /// By how much had been seen.
    pub look: Look,
    /// Metrics that decide.
    pub gating: Vec<Finding>,
    /// Metrics that are shown.
    pub shown: Vec<Finding>,
    /// Objectives missed.
    pub missed: Vec<Missed>,
    /// Slices that were measured.
    pub slices: usize,
    /// Of those, void ones, by reason.
    pub void: Vec<(Void, usize)>,
}

impl Judgement {
    /// Whether a second look could say more.
    pub fn is_open(&self) -> bool {
        self.outcome == Outcome::Unknown && self.look == Look::First
    }

    /// Share of the slices that do not count.
    pub fn void_share(&self) -> f64 {
        let void: usize = self.void.iter().map(|(_, count)| count).sum();
        void as f64 / self.slices.max(1) as f64
    }

    /// How squall ends. A regression comes before a missed objective: it names the change that has to be looked at.
    pub fn exit(&self) -> Exit {
        match self.outcome {
            Outcome::Slower => Exit::Slower,
            _ if !self.missed.is_empty() => Exit::ObjectiveMissed,
            Outcome::NotSlower => Exit::Holds,
            Outcome::Unknown => Exit::Unknown,
        }
    }
}

/// Judges what was measured so far. Slices of a pair have the same round and number; a pair counts when both are there and
/// neither is void.
pub fn judge(slices: &[Slice], look: Look, objectives: Objectives) -> Judgement {
    let pairs = pairs(slices);
    let mut gating: Vec<Finding> = Metric::GATING.map(|metric| compare(metric, &pairs)).into();
    let p: Vec<f64> = gating.iter().map(|finding| finding.p).collect();
    for (finding, rejected) in gating.iter_mut().zip(holm(&p, look.alpha())) {
        let above_floor = finding.change.middle >= finding.metric.floor();
        // Both: where values come in two clusters, the interval of ranks may shrink to the gap between them.
        let excluded =
            finding.change.high < finding.metric.to_exclude() && finding.p_excluding <= EXCLUDING_ALPHA;
        finding.outcome = match look {
            _ if above_floor && rejected => Outcome::Slower,
            Look::First if above_floor => Outcome::Unknown,
            _ if excluded => Outcome::NotSlower,
            _ => Outcome::Unknown,
        };
    }
    let void: Vec<Void> = slices.iter().filter_map(Slice::void).collect();
    let count = |why: Void| (why, void.iter().filter(|it| **it == why).count());
    let mut judgement = Judgement {
        outcome: gating.iter().map(|finding| finding.outcome).max().unwrap_or(Outcome::Unknown),
        look,
        shown: Metric::SHOWN.map(|metric| compare(metric, &pairs)).into(),
        missed: missed(&pairs, objectives),
        gating,
        slices: slices.len(),
        void: [Void::Steal, Void::LateGenerator, Void::UnequalLoad].map(count).into(),
    };
    judgement.void.retain(|(_, count)| *count > 0);
    if judgement.void_share() > VOID_MAX {
        judgement.outcome = Outcome::Unknown;
    }
    judgement
}

/// A slice of the baseline and the one of the candidate beside it.
type Pair<'a> = (&'a Slice, &'a Slice);

/// How many pairs count so far.
pub fn valid_pairs(slices: &[Slice]) -> usize {
    pairs(slices).len()
}

/// The pairs that count, in the order they were measured; no more than the error budget is made for.
fn pairs(slices: &[Slice]) -> Vec<Pair<'_>> {
    let valid = |arm| slices.iter().filter(move |slice| slice.arm == arm && slice.void().is_none());
    let paired = valid(Arm::Baseline).filter_map(|baseline| {
        let same = |it: &&Slice| (it.round, it.pair) == (baseline.round, baseline.pair);
        Some((baseline, valid(Arm::Candidate).find(same)?))
    });
    paired.take(PAIRS_MAX).collect()
}

fn compare(metric: Metric, pairs: &[Pair<'_>]) -> Finding {
    let values: Vec<(f64, f64)> = pairs
        .iter()
        .filter_map(|(baseline, candidate)| Some((metric.of(baseline)?, metric.of(candidate)?)))
        .collect();
    let ratios: Vec<f64> = values.iter().map(|(baseline, candidate)| (candidate / baseline).ln()).collect();
    let Estimate { low, middle, high } = hodges_lehmann(&ratios);
    let spread = deviation(&ratios);
    let to_exclude = metric.to_exclude().ln_1p();
    let below: Vec<f64> = ratios.iter().map(|ratio| to_exclude - ratio).collect();
    Finding {
        metric,
        pairs: values.len(),
        baseline: median(values.iter().map(|(baseline, _)| *baseline)),
        candidate: median(values.iter().map(|(_, candidate)| *candidate)),
        change: Estimate { low: low.exp_m1(), middle: middle.exp_m1(), high: high.exp_m1() },
        p: sign_flip_p(&ratios),
        p_excluding: sign_flip_p(&below),
        // A difference of two varies as much as both together.
        variation: spread / std::f64::consts::SQRT_2,
        pairs_needed: values_needed(spread, to_exclude),
        outcome: Outcome::Unknown,
    }
}

fn missed(pairs: &[Pair<'_>], objectives: Objectives) -> Vec<Missed> {
    let stated = [(Metric::AckP99, objectives.ack_p99_ms), (Metric::ReceiptP99, objectives.receipt_p99_ms)];
    let missed = stated.into_iter().filter_map(|(metric, limit_ms)| {
        let limit_ms = limit_ms?;
        let median_ms = median(pairs.iter().filter_map(|(_, candidate)| metric.of(candidate)));
        (median_ms > limit_ms as f64).then_some(Missed { metric, limit_ms, median_ms })
    });
    missed.collect()
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_unstable_by(f64::total_cmp);
    let Some(last) = values.len().checked_sub(1) else { return 0.0 };
    f64::midpoint(values[last / 2], values[values.len() / 2])
}
