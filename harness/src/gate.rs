//! The regression gate: is one build slower than another? Pure: measurements go in as values, a judgement comes out.
//!
//! ```text
//!  run::gate (live) ──Slice──→ judgement::judge ──→ Judgement ──→ render: terminal, Markdown, JSON, JUnit
//!                                   └ statistics: Hodges-Lehmann, sign-flip, Holm
//! ```
//!
//! Both builds run side by side on the same services, and the load goes to one of them at a time, for one [`Slice`]. Two
//! neighbouring slices, one of each build under the same schedule, are a pair, and only the ratio within a pair counts:
//! what the machine does to both cancels out. After three pairs, a round, both clusters are started anew, because what
//! differs from process to process (hash seeds, where threads and memory come to lie) must not pass for a difference
//! between builds.
//!
//! A stored measurement is never a baseline: two runs of one build on shared machines differ by more than a regression.

pub mod calibration;
pub mod characteristic;
pub mod judgement;
pub mod metric;
pub mod render;
pub mod slice;
pub mod statistics;
pub mod tally;
#[cfg(test)]
mod tests;

pub use judgement::{Finding, Judgement, Look, Outcome, judge};
pub use metric::Metric;
pub use slice::{Arm, Quantiles, Slice, Void};

/// Pairs between two restarts of both clusters.
pub const PAIRS_PER_ROUND: u32 = 3;
/// Rounds until the first look: twelve pairs.
pub const ROUNDS_PER_LOOK: u32 = 4;
/// Pairs of a whole gate, both looks.
pub const PAIRS_MAX: usize = 2 * (ROUNDS_PER_LOOK * PAIRS_PER_ROUND) as usize;

/// Who gets the load, slice by slice: A B, B A, A B; the next round begins with B. Alternating cancels a drift of the
/// machine within a round, and mirroring what is left of it over two rounds. Yields the number of the pair and the build.
pub fn order(round: u32, pairs: u32) -> impl Iterator<Item = (u32, Arm)> {
    (0..pairs).flat_map(move |pair| {
        let first = if (round + pair).is_multiple_of(2) { Arm::Baseline } else { Arm::Candidate };
        [(pair, first), (pair, first.other())]
    })
}
