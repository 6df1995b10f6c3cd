//! How much one client may send.

use std::time::Instant;

use crate::{config::Config, limits::RATE_BURST};

/// A token bucket: so much a second over time, and what [`RATE_BURST`] holds at once.
#[derive(Debug)]
struct Bucket {
    per_s: f64,
    left: f64,
    at: Instant,
}

impl Bucket {
    fn full(per_s: u32, now: Instant) -> Self {
        let per_s = f64::from(per_s);
        Self { per_s, left: per_s * RATE_BURST.as_secs_f64(), at: now }
    }

    /// What is in it now.
    fn fill(&mut self, now: Instant) -> f64 {
        let since = now.saturating_duration_since(self.at).min(RATE_BURST);
        self.left = (self.left + self.per_s * since.as_secs_f64()).min(self.per_s * RATE_BURST.as_secs_f64());
        self.at = now;
        self.left
    }
}

/// What one client may send: messages and bytes.
#[derive(Debug)]
pub(super) struct Allowance {
    sends: Bucket,
    bytes: Bucket,
}

impl Allowance {
    /// Of a session that begins.
    pub(super) fn new(config: &Config, now: Instant) -> Self {
        Self {
            sends: Bucket::full(config.sends_per_s, now),
            bytes: Bucket::full(config.send_bytes_per_s, now),
        }
    }

    /// Takes a message of so many bytes, or says which limit it breaks. What is refused costs nothing.
    pub(super) fn take(&mut self, bytes: usize, now: Instant) -> Result<(), String> {
        let bytes = f64::from(u32::try_from(bytes).unwrap_or(u32::MAX));
        if self.sends.fill(now) < 1.0 {
            return Err(format!("at most {} messages a second", self.sends.per_s));
        }
        if self.bytes.fill(now) < bytes {
            return Err(format!("at most {} bytes a second", self.bytes.per_s));
        }
        self.sends.left -= 1.0;
        self.bytes.left -= bytes;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn allowance(sends: u32, bytes: u32, now: Instant) -> Allowance {
        Allowance { sends: Bucket::full(sends, now), bytes: Bucket::full(bytes, now) }
    }

    #[test]
    fn a_burst_is_taken_and_then_what_comes_in_over_time() {
        let zero = Instant::now();
        let mut allowance = allowance(10, 1_000_000, zero);
        let mut taken = |now| (0..100).take_while(|_| allowance.take(1, now).is_ok()).count();
        assert_eq!(taken(zero), 20);
        assert_eq!(taken(zero + Duration::from_millis(500)), 5);
        assert_eq!(taken(zero + Duration::from_secs(60)), 20, "no more than a burst is saved up");
    }

    #[test]
    fn bytes_are_counted_too_and_what_is_refused_costs_nothing() {
        let zero = Instant::now();
        let mut allowance = allowance(10, 1_000, zero);
        assert!(allowance.take(1_500, zero).is_ok());
        let refused = allowance.take(600, zero).unwrap_err();
        assert_eq!(refused, "at most 1000 bytes a second");
        assert!(allowance.take(500, zero).is_ok());
    }
}
