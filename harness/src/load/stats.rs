//! What the load has done so far: counters that anyone may look at while it runs, and the distributions of how late sends
//! left and how long acks took. The history is the evidence; these are for people, and for the load to know its own end.

use std::{
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

/// Counters of a running load, all since its beginning unless they say otherwise.
#[derive(Debug)]
pub struct LiveStats {
    /// Users with a session, now.
    pub connected: AtomicU64,
    /// Users in all their rooms, now.
    pub joined: AtomicU64,
    /// Messages handed to a socket.
    pub sent: AtomicU64,
    /// Messages that were due and never left: see `EventKind::NotSent`.
    pub not_sent: AtomicU64,
    /// Promises given, late ones included.
    pub acked: AtomicU64,
    /// Of those, given after the message had been counted as indeterminate.
    pub acked_late: AtomicU64,
    /// Messages refused.
    pub refused: AtomicU64,
    /// Messages whose fate was left open.
    pub indeterminate: AtomicU64,
    /// Messages that reached a member.
    pub received: AtomicU64,
    /// Things that reached a socket and that no plan explains.
    pub unexplained: AtomicU64,
    /// Sessions that ended before the run did.
    pub disconnects: AtomicU64,
    /// Median ack latency of the last whole second, from the due time, in microseconds; zero if there was no ack.
    pub ack_p50_us: AtomicU64,
    /// 99th percentile of the same.
    pub ack_p99_us: AtomicU64,
    second: Second,
    spread: Mutex<Spread>,
    last_trouble: Mutex<Option<String>>,
}

/// What the self-account empties once a second.
#[derive(Debug, Default)]
struct Second {
    sent: AtomicU64,
    lateness_max_us: AtomicU64,
}

#[derive(Debug)]
struct Spread {
    lateness: Histogram<u64>,
    ack: Histogram<u64>,
    ack_of_second: Histogram<u64>,
}

/// The sends of one second.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SecondAccount {
    /// How many.
    pub sent: u64,
    /// How late the latest left.
    pub lateness_max_us: u64,
}

/// A distribution in a few numbers, in microseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SpreadSummary {
    /// Values.
    pub count: u64,
    /// Median.
    pub p50_us: u64,
    /// 99th percentile.
    pub p99_us: u64,
    /// 99.9th percentile.
    pub p999_us: u64,
    /// The largest.
    pub max_us: u64,
}

impl SpreadSummary {
    fn of(histogram: &Histogram<u64>) -> Self {
        Self {
            count: histogram.len(),
            p50_us: histogram.value_at_quantile(0.5),
            p99_us: histogram.value_at_quantile(0.99),
            p999_us: histogram.value_at_quantile(0.999),
            max_us: histogram.max(),
        }
    }
}

impl Default for LiveStats {
    fn default() -> Self {
        let zero = || AtomicU64::new(0);
        Self {
            connected: zero(),
            joined: zero(),
            sent: zero(),
            not_sent: zero(),
            acked: zero(),
            acked_late: zero(),
            refused: zero(),
            indeterminate: zero(),
            received: zero(),
            unexplained: zero(),
            disconnects: zero(),
            ack_p50_us: zero(),
            ack_p99_us: zero(),
            second: Second::default(),
            spread: Mutex::new(Spread {
                lateness: histogram(),
                ack: histogram(),
                ack_of_second: histogram(),
            }),
            last_trouble: Mutex::new(None),
        }
    }
}

impl LiveStats {
    /// Messages of the schedule whose (first) fate is known.
    pub fn fates(&self) -> u64 {
        let decided = [&self.not_sent, &self.acked, &self.refused, &self.indeterminate];
        let decided: u64 = decided.iter().map(|counter| counter.load(Relaxed)).sum();
        decided.saturating_sub(self.acked_late.load(Relaxed))
    }

    /// How late sends left, over the whole load.
    pub fn lateness(&self) -> SpreadSummary {
        SpreadSummary::of(&self.spread().lateness)
    }

    /// How long acks took from the due time, over the whole load (warm-up included).
    pub fn ack_latency(&self) -> SpreadSummary {
        SpreadSummary::of(&self.spread().ack)
    }

    /// Why a session or a room was last not to be had.
    pub fn last_trouble(&self) -> Option<String> {
        self.last_trouble.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn trouble(&self, why: &str) {
        *self.last_trouble.lock().unwrap_or_else(PoisonError::into_inner) = Some(why.to_owned());
    }

    pub(super) fn count_sent(&self, lateness: Duration) {
        let lateness_us = us(lateness);
        self.sent.fetch_add(1, Relaxed);
        self.second.sent.fetch_add(1, Relaxed);
        self.second.lateness_max_us.fetch_max(lateness_us, Relaxed);
        self.spread().lateness.saturating_record(lateness_us);
    }

    pub(super) fn count_acked(&self, since_due: Duration) {
        self.acked.fetch_add(1, Relaxed);
        let mut spread = self.spread();
        spread.ack.saturating_record(us(since_due));
        spread.ack_of_second.saturating_record(us(since_due));
    }

    /// Closes a second: publishes its ack latency and hands out the account of its sends.
    pub(super) fn close_second(&self) -> SecondAccount {
        let mut spread = self.spread();
        self.ack_p50_us.store(spread.ack_of_second.value_at_quantile(0.5), Relaxed);
        self.ack_p99_us.store(spread.ack_of_second.value_at_quantile(0.99), Relaxed);
        spread.ack_of_second.reset();
        SecondAccount {
            sent: self.second.sent.swap(0, Relaxed),
            lateness_max_us: self.second.lateness_max_us.swap(0, Relaxed),
        }
    }

    /// A std mutex, held for some tens of nanoseconds and never across an await. A thread that panicked inside left whole
    /// numbers behind, so a poisoned lock is as good as any.
    fn spread(&self) -> MutexGuard<'_, Spread> {
        self.spread.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Longest latency told apart from longer ones. Bounds are given so that the histogram has its size from the start.
const LATENCY_MAX: Duration = Duration::from_secs(600);
/// Tells 1.00 ms from 1.01 ms, in some 20 KiB.
const SIGNIFICANT_DIGITS: u8 = 3;

fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, us(LATENCY_MAX), SIGNIFICANT_DIGITS)
        // Fails for a lower bound of zero, an upper one below two, or more than five digits.
        .unwrap_or_else(|error| unreachable!("constant bounds are in order: {error}"))
}

fn us(length: Duration) -> u64 {
    u64::try_from(length.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A late ack changes how many promises there are, never how many messages have met their fate.
    #[test]
    fn a_late_ack_is_no_second_fate() {
        let stats = LiveStats::default();
        stats.count_sent(Duration::from_micros(120));
        stats.indeterminate.fetch_add(1, Relaxed);
        assert_eq!(stats.fates(), 1);
        stats.count_acked(Duration::from_secs(6));
        stats.acked_late.fetch_add(1, Relaxed);
        assert_eq!(stats.fates(), 1);
        assert_eq!(stats.close_second(), SecondAccount { sent: 1, lateness_max_us: 120 });
        assert_eq!(stats.close_second(), SecondAccount { sent: 0, lateness_max_us: 0 });
        assert_eq!((stats.lateness().count, stats.lateness().max_us), (1, 120));
        assert!((5_990_000..6_010_000).contains(&stats.ack_latency().max_us), "{:?}", stats.ack_latency());
    }
}
