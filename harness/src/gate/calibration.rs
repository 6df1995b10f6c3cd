//! How often the gate would be wrong, from a recording of one build against itself. Whole rounds are drawn from it, with
//! replacement, so that whatever the slices between two restarts have in common stays together.

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::{
    ROUNDS_PER_LOOK,
    judgement::{Look, Objectives, Outcome, judge},
    slice::{Arm, Slice},
};

/// How gates that were put together from a recording ended, as shares.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Rates {
    /// Said slower.
    pub slower: f64,
    /// Said not slower.
    pub not_slower: f64,
    /// Said unknown.
    pub unknown: f64,
    /// Took a second look.
    pub second_look: f64,
}

/// What is done to the slices of a drawn round.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Draw {
    /// The recording is of one build: which of its two clusters is called the candidate is left to chance, and the
    /// candidate's nodes cost this share more.
    OneBuild {
        /// 0.1 for 10 % more; zero counts false alarms.
        node_cost: f64,
    },
    /// The recording is of two builds, taken as it is.
    TwoBuilds,
}

/// Puts `gates` gates together. `None` when the recording has no rounds.
pub fn resample(recording: &[Slice], draw: Draw, gates: u32, seed: u64) -> Option<Rates> {
    let mut numbers: Vec<u32> = recording.iter().map(|slice| slice.round).collect();
    numbers.sort_unstable();
    numbers.dedup();
    let of = |number: &u32| recording.iter().filter(|slice| slice.round == *number).collect();
    let rounds: Vec<Vec<&Slice>> = numbers.iter().map(of).collect();
    if rounds.is_empty() || gates == 0 {
        return None;
    }
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut counts = Rates::default();
    for _ in 0..gates {
        let mut slices = Vec::new();
        let mut outcome = Outcome::Unknown;
        for look in [Look::First, Look::Second] {
            for nth in 0..ROUNDS_PER_LOOK {
                let number = nth + if look == Look::Second { ROUNDS_PER_LOOK } else { 0 };
                let round = &rounds[rng.random_range(0..rounds.len())];
                let swap = draw != Draw::TwoBuilds && rng.random::<bool>();
                slices.extend(round.iter().map(|slice| drawn(slice, number, swap, draw)));
            }
            let judgement = judge(&slices, look, Objectives::default());
            outcome = judgement.outcome;
            if !judgement.is_open() {
                break;
            }
            counts.second_look += 1.0;
        }
        match outcome {
            Outcome::Slower => counts.slower += 1.0,
            Outcome::NotSlower => counts.not_slower += 1.0,
            Outcome::Unknown => counts.unknown += 1.0,
        }
    }
    let share = |count: f64| count / f64::from(gates);
    Some(Rates {
        slower: share(counts.slower),
        not_slower: share(counts.not_slower),
        unknown: share(counts.unknown),
        second_look: share(counts.second_look),
    })
}

fn drawn(slice: &Slice, round: u32, swap: bool, draw: Draw) -> Slice {
    let arm = if swap { slice.arm.other() } else { slice.arm };
    let mut drawn = Slice { round, arm, ..slice.clone() };
    if let Draw::OneBuild { node_cost } = draw
        && arm == Arm::Candidate
    {
        let cost = drawn.node_cpu_ns as f64 * (1.0 + node_cost);
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "nanoseconds of seconds")]
        let cost = cost as u64;
        drawn.node_cpu_ns = cost;
    }
    drawn
}
