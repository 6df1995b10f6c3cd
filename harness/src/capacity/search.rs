//! Which load to try next, and what the trials so far say: MLRsearch (RFC 9971).
//!
//! A load is a lower bound, an upper bound or undecided, by the summed lengths of its good and bad trials, so that a bad
//! moment of the machine is outvoted. Three goals, each narrower and with longer trials than the one before, make most of the
//! trials short: the far ends are told apart in seconds, and only the last two loads cost a minute.

/// What a search has to reach before it may go on to the next goal.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Goal {
    /// Length of a trial.
    pub trial_ms: u64,
    /// A load is decided once no more trials, up to this sum of lengths, could change it.
    pub sum_ms: u64,
    /// Upper over lower bound, less one.
    pub width: f64,
}

/// The goals, in order; the last is what the answer means. For two cores: RFC 9971's own take an hour here.
pub const GOALS: [Goal; 3] = [
    Goal { trial_ms: 4_000, sum_ms: 12_000, width: 0.20 },
    Goal { trial_ms: 8_000, sum_ms: 16_000, width: 0.10 },
    Goal { trial_ms: 12_000, sum_ms: 36_000, width: 0.05 },
];
/// Share of the summed lengths that may be bad at a lower bound.
const EXCEED_RATIO: f64 = 0.5;
/// So much longer must the sum be for an upper bound. A search goes on below it and never comes back, while a lower bound
/// that chance made is found out by the loads above it.
const UPPER_SUM: f64 = 1.5;
/// Void trials of one load before it is given up: whatever disturbs there will go on disturbing.
const VOID_MAX: usize = 3;
/// Trials of a search; it needs 19 where nothing disturbs, and 24 where every fifth is disturbed.
const TRIALS_MAX: usize = 60;
/// From a good trial to the next load at most: processors that were nearly idle tell little.
const STEP_MAX: f64 = 20.0;
/// From this share on the processors are near their end.
const BUSY: f64 = 0.9;

/// What a trial says of its load.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Every objective was met.
    Met,
    /// One was not.
    Missed,
    /// It measured something else.
    Void,
}

/// What is to be done next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Another trial.
    Trial {
        /// Its load.
        load: u32,
        /// Its length.
        length_ms: u64,
    },
    /// Nothing more to learn.
    Done,
}

/// What the trials say.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bounds {
    /// The highest load that met the objectives.
    pub lower: Option<u32>,
    /// The lowest above it that did not.
    pub upper: Option<u32>,
    /// The upper bound missed no objective: its trials were void, again and again.
    pub given_up: bool,
}

#[derive(Debug, Clone, Copy)]
struct Tried {
    load: u32,
    length_ms: u64,
    verdict: Verdict,
    busy: f64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Class {
    Lower,
    Upper,
    Undecided,
}

/// One search, from its first guess to its bounds.
#[derive(Debug, Clone)]
pub struct Search {
    start: u32,
    ceiling: u32,
    tried: Vec<Tried>,
}

impl Search {
    /// One that begins at `start` and never tries more than `ceiling`.
    pub fn new(start: u32, ceiling: u32) -> Self {
        Self { start: start.clamp(1, ceiling.max(1)), ceiling: ceiling.max(1), tried: Vec::new() }
    }

    /// Takes what a trial said. `busy` is the share of all processor time that was used meanwhile: where that is a tenth, ten
    /// times the load is the next guess.
    pub fn take(&mut self, load: u32, length_ms: u64, verdict: Verdict, busy: f64) {
        self.tried.push(Tried { load, length_ms, verdict, busy });
    }

    /// What to do next.
    pub fn next(&self) -> Step {
        if self.tried.len() >= TRIALS_MAX {
            return Step::Done;
        }
        let mut before = Bounds::default();
        for goal in &GOALS {
            let bounds = self.bounds_for(goal);
            match self.candidate(goal, bounds, before) {
                Some(load) => return Step::Trial { load, length_ms: goal.trial_ms },
                None => before = bounds,
            }
        }
        Step::Done
    }

    /// What is known by the last goal.
    pub fn bounds(&self) -> Bounds {
        let [.., last] = &GOALS;
        self.bounds_for(last)
    }

    /// The load to try for a goal; `None` once it is reached, or cannot be.
    fn candidate(&self, goal: &Goal, bounds: Bounds, before: Bounds) -> Option<u32> {
        let inside = |it: Option<u32>| {
            let above = |load: &u32| bounds.lower.is_none_or(|lower| *load > lower);
            it.filter(above).filter(|load| bounds.upper.is_none_or(|upper| *load < upper))
        };
        // What the goal before has found is near: its bounds are looked at first.
        let known = inside(before.lower).or_else(|| inside(before.upper));
        let load = match (bounds.lower, bounds.upper) {
            (None, None) => known.unwrap_or(self.start),
            (Some(lower), None) => known.unwrap_or_else(|| self.higher(lower, goal)),
            (None, Some(upper)) => known.unwrap_or_else(|| self.lower(upper, goal)),
            (Some(lower), Some(upper)) => {
                if f64::from(upper) <= f64::from(lower) * (1.0 + goal.width) {
                    return None;
                }
                known.unwrap_or_else(|| rounded((f64::from(lower) * f64::from(upper)).sqrt()))
            }
        };
        let load = load.min(self.ceiling);
        let known = bounds.lower == Some(load) || bounds.upper == Some(load);
        (load >= 1 && !known).then_some(load)
    }

    /// Beyond the highest good load, as far as the processors promise; further each time while they have time left, as what
    /// grows may cost them little.
    fn higher(&self, lower: u32, goal: &Goal) -> u32 {
        let busy = self.tried.iter().filter(|it| it.load == lower).map(|it| it.busy).fold(0.0, f64::max);
        let good = self.loads().into_iter().filter(|load| self.class(*load, goal) == Class::Lower).count();
        let steps = if busy < BUSY { i32::try_from(good).unwrap_or(i32::MAX) } else { 1 };
        let least = (1.0 + 2.0 * goal.width).powi(steps).min(STEP_MAX);
        rounded(f64::from(lower) * (0.95 / busy.max(1e-3)).clamp(least, STEP_MAX))
    }

    /// Below the lowest bad load, further each time.
    fn lower(&self, upper: u32, goal: &Goal) -> u32 {
        let bad = self.loads().into_iter().filter(|load| self.class(*load, goal) == Class::Upper).count();
        let steps = 2_i32.saturating_pow(u32::try_from(bad).unwrap_or(u32::MAX)).min(64);
        rounded(f64::from(upper) / (1.0 + goal.width).powi(steps)).max(1)
    }

    fn bounds_for(&self, goal: &Goal) -> Bounds {
        let classes: Vec<(u32, Class)> =
            self.loads().into_iter().map(|load| (load, self.class(load, goal))).collect();
        let of = |class| classes.iter().filter(move |it| it.1 == class).map(|it| it.0);
        let upper = of(Class::Upper).min();
        let lower = of(Class::Lower).filter(|load| upper.is_none_or(|upper| *load < upper)).max();
        Bounds { lower, upper, given_up: upper.is_some_and(|upper| self.given_up(upper)) }
    }

    /// Every load that was tried, once.
    fn loads(&self) -> Vec<u32> {
        let mut loads: Vec<u32> = self.tried.iter().map(|it| it.load).collect();
        loads.sort_unstable();
        loads.dedup();
        loads
    }

    fn given_up(&self, load: u32) -> bool {
        let of = |verdict| self.tried.iter().filter(|it| it.load == load && it.verdict == verdict).count();
        of(Verdict::Void) >= VOID_MAX + of(Verdict::Met) + of(Verdict::Missed)
    }

    /// As in RFC 9971, section on load classification, but for [`UPPER_SUM`]. Good trials shorter than the goal's only weigh against short bad ones.
    fn class(&self, load: u32, goal: &Goal) -> Class {
        if self.given_up(load) {
            return Class::Upper;
        }
        let sum = |verdict, long: bool| -> f64 {
            let such = self.tried.iter().filter(|it| {
                it.load == load && it.verdict == verdict && (it.length_ms >= goal.trial_ms) == long
            });
            such.map(|it| it.length_ms as f64).sum()
        };
        let good = sum(Verdict::Met, true);
        let excused = sum(Verdict::Met, false) * EXCEED_RATIO / (1.0 - EXCEED_RATIO);
        let bad = sum(Verdict::Missed, true) + (sum(Verdict::Missed, false) - excused).max(0.0);
        let whole = (good + bad).max(goal.sum_ms as f64);
        let to_come = whole - good - bad;
        if bad > whole.max(goal.sum_ms as f64 * UPPER_SUM) * EXCEED_RATIO {
            Class::Upper
        } else if bad + to_come <= whole * EXCEED_RATIO {
            Class::Lower
        } else {
            Class::Undecided
        }
    }
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the cast saturates")]
fn rounded(load: f64) -> u32 {
    load.round() as u32
}

#[cfg(test)]
mod tests {
    use rand::{Rng, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    use super::*;

    /// A server that meets its objectives up to `cliff`, and of whose good trials this share is bad by chance.
    fn search(cliff: u32, start: u32, bad_by_chance: f64, rng: &mut ChaCha8Rng) -> Search {
        let mut search = Search::new(start, 1_000_000);
        while let Step::Trial { load, length_ms } = search.next() {
            let met = load <= cliff && !rng.random_bool(bad_by_chance);
            let verdict = if met { Verdict::Met } else { Verdict::Missed };
            search.take(load, length_ms, verdict, f64::from(load) / (1.1 * f64::from(cliff)));
        }
        search
    }

    fn near(lower: Option<u32>, cliff: u32) -> bool {
        let (lower, cliff) = (f64::from(lower.unwrap_or(0)), f64::from(cliff));
        (cliff * 0.95..=cliff * 1.05).contains(&lower)
    }

    #[test]
    fn a_cliff_is_found_within_5_percent_though_every_fifth_trial_is_bad() {
        let (mut found, mut by_one) = (0, 0);
        for seed in 0..100 {
            let mut rng = ChaCha8Rng::seed_from_u64(seed);
            let cliff = rng.random_range(200..20_000);
            let start = rng.random_range(cliff / 10..cliff * 2);
            let mut lowers: Vec<_> =
                (0..3).map(|_| search(cliff, start, 0.2, &mut rng).bounds().lower).collect();
            by_one += u32::from(near(lowers[0], cliff));
            lowers.sort_unstable();
            found += u32::from(near(lowers[1], cliff));
        }
        assert!(found >= 95 && by_one >= 90, "{found} of 100, and {by_one} by a single search");
    }

    #[test]
    fn without_disturbance_every_search_ends_at_the_cliff_after_few_short_trials() {
        for seed in 0..100 {
            let mut rng = ChaCha8Rng::seed_from_u64(seed);
            let cliff = rng.random_range(200..20_000);
            let search = search(cliff, cliff / 3, 0.0, &mut rng);
            let Bounds { lower, upper, given_up } = search.bounds();
            assert!(near(lower, cliff) && upper.unwrap() > cliff && !given_up, "{lower:?} {upper:?} {cliff}");
            assert!(f64::from(upper.unwrap()) <= 1.051 * f64::from(lower.unwrap()));
            let loaded_ms: u64 = search.tried.iter().map(|it| it.length_ms).sum();
            assert!(loaded_ms <= 180_000, "{loaded_ms} ms");
        }
    }

    #[test]
    fn a_server_that_meets_nothing_or_everything_has_one_bound() {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        assert_eq!(
            search(0, 500, 0.0, &mut rng).bounds(),
            Bounds { lower: None, upper: Some(1), given_up: false }
        );
        let mut idle = Search::new(100, 5_000);
        while let Step::Trial { load, length_ms } = idle.next() {
            idle.take(load, length_ms, Verdict::Met, 0.01);
        }
        assert_eq!(idle.bounds(), Bounds { lower: Some(5_000), upper: None, given_up: false });
    }

    #[test]
    fn what_costs_the_processors_little_is_found_in_few_steps_too() {
        let mut search = Search::new(150, 1_000_000);
        while let Step::Trial { load, length_ms } = search.next() {
            let verdict = if load <= 20_000 { Verdict::Met } else { Verdict::Missed };
            search.take(load, length_ms, verdict, 0.6);
        }
        assert!(near(search.bounds().lower, 20_000) && search.tried.len() <= 35, "{:?}", search.tried.len());
    }

    #[test]
    fn a_load_that_only_the_generator_fails_at_is_a_bound_that_says_so() {
        let mut search = Search::new(100, 1_000_000);
        while let Step::Trial { load, length_ms } = search.next() {
            let verdict = if load <= 3_000 { Verdict::Met } else { Verdict::Void };
            search.take(load, length_ms, verdict, f64::from(load) / 6_000.0);
        }
        let Bounds { lower, upper, given_up } = search.bounds();
        assert!(near(lower, 3_000) && given_up, "{lower:?} {upper:?}");
    }

    #[test]
    fn noise_alone_ends_a_search_too() {
        let mut rng = ChaCha8Rng::seed_from_u64(7);
        let mut search = Search::new(1_000, 1_000_000);
        while let Step::Trial { load, length_ms } = search.next() {
            let verdict = [Verdict::Met, Verdict::Missed, Verdict::Void][rng.random_range(0..3)];
            search.take(load, length_ms, verdict, rng.random());
        }
        assert!(search.tried.len() <= TRIALS_MAX);
    }
}
