//! How long to wait before trying again: doubling, with jitter from the seed, so that a thousand users thrown off a node do
//! not all come back in the same millisecond, and so that they come back alike in every run.

use std::time::Duration;

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// First wait: a person whose page reconnects does not notice.
const FIRST: Duration = Duration::from_millis(200);
/// Longest wait: bounds what a recovered node waits for its users, and so what the `recovery` checker measures of us.
const LONGEST: Duration = Duration::from_secs(2);

/// Waits between attempts.
#[derive(Debug)]
pub(super) struct Backoff {
    failures: u32,
    jitter: ChaCha8Rng,
}

impl Backoff {
    pub(super) fn new(seed: u64, user: u32) -> Self {
        let jitter = ChaCha8Rng::seed_from_u64(seed.rotate_left(29) ^ u64::from(user));
        Self { failures: 0, jitter }
    }

    /// The wait after one more failure: between half and all of the doubled one.
    pub(super) fn next(&mut self) -> Duration {
        let whole = FIRST.saturating_mul(1 << self.failures.min(16)).min(LONGEST);
        self.failures += 1;
        whole.mul_f64(self.jitter.random_range(0.5..=1.0))
    }

    /// It worked: the next wait is the first again.
    pub(super) fn reset(&mut self) {
        self.failures = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_the_limit_and_are_the_same_for_the_same_seed() {
        let draw = |seed| {
            let mut backoff = Backoff::new(seed, 7);
            (0..40).map(|_| backoff.next()).collect::<Vec<_>>()
        };
        let waits = draw(1);
        assert!(waits.iter().all(|wait| (FIRST / 2..=LONGEST).contains(wait)), "{waits:?}");
        assert!(waits.iter().skip(4).all(|wait| *wait >= LONGEST / 2), "{waits:?}");
        assert_eq!(waits, draw(1));
        assert_ne!(waits, draw(2));
    }
}
