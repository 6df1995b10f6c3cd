//! When to ask PostgreSQL again. Pure: told the time, never asks for it.

use std::time::Duration;

/// A pause that begins this soon after a resume means that the database flaps: the delay goes on growing from where it
/// was, instead of beginning anew. Longer than the slowest failing write, so that one good probe between two time-outs
/// does not count as recovery.
pub const FLAP_WINDOW: Duration = Duration::from_secs(5);

/// Doubling delays between probes.
#[derive(Debug, Clone)]
pub struct Backoff {
    min: Duration,
    max: Duration,
    next: Duration,
}

impl Backoff {
    /// Delays from `min` to `max`.
    pub fn new(min: Duration, max: Duration) -> Self {
        Self { min, max: max.max(min), next: min }
    }

    /// The delay before the next probe; the one after it is twice as long, up to the maximum.
    pub fn delay(&mut self) -> Duration {
        let delay = self.next;
        self.next = (delay * 2).min(self.max);
        delay
    }

    /// A pause begins; `flowed` is how long things went well before it (`None` for the first).
    pub fn begin(&mut self, flowed: Option<Duration>) {
        let flaps = flowed.is_some_and(|flowed| flowed < FLAP_WINDOW);
        if !flaps {
            self.next = self.min;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIN: Duration = Duration::from_millis(200);
    const MAX: Duration = Duration::from_millis(1000);

    #[test]
    fn delays_double_up_to_the_maximum() {
        let mut backoff = Backoff::new(MIN, MAX);
        backoff.begin(None);
        let delays: Vec<u128> = (0..5).map(|_| backoff.delay().as_millis()).collect();
        assert_eq!(delays, [200, 400, 800, 1000, 1000]);
    }

    #[test]
    fn a_flapping_database_is_asked_no_more_often_than_one_that_stays_away() {
        let mut backoff = Backoff::new(MIN, MAX);
        backoff.begin(None);
        assert_eq!(backoff.delay().as_millis(), 200);
        backoff.begin(Some(Duration::from_secs(1)));
        assert_eq!(backoff.delay().as_millis(), 400);
        backoff.begin(Some(Duration::from_secs(1)));
        assert_eq!(backoff.delay().as_millis(), 800);
        backoff.begin(Some(FLAP_WINDOW));
        assert_eq!(backoff.delay().as_millis(), 200);
    }
}
