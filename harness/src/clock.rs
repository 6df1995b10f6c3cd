//! The run's one clock: monotonic microseconds since the run began. Wall-clock time is read once, for people.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// A monotonic clock with the run's beginning as its zero. Cheap to copy; all copies agree.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    zero: Instant,
    zero_unix_ms: u64,
}

impl Clock {
    /// Starts the clock: now is zero.
    pub fn start() -> Self {
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
        Self {
            zero: Instant::now(),
            zero_unix_ms: u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX),
        }
    }

    /// Microseconds since the run began.
    pub fn now_us(&self) -> u64 {
        self.us_at(Instant::now())
    }

    /// An instant on this clock; instants before zero are zero.
    pub fn us_at(&self, at: Instant) -> u64 {
        u64::try_from(at.saturating_duration_since(self.zero).as_micros()).unwrap_or(u64::MAX)
    }

    /// The instant `us` microseconds after zero.
    pub fn instant_at(&self, us: u64) -> Instant {
        self.zero + Duration::from_micros(us)
    }

    /// Wall-clock time of zero, in milliseconds since the Unix epoch.
    pub fn zero_unix_ms(&self) -> u64 {
        self.zero_unix_ms
    }
}
