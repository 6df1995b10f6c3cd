//! The run second by second, from the start of the load.

use serde::{Deserialize, Serialize};

use crate::{checkers::Case, history::Fate};

/// Longest series: a day. Beyond it the last second stands for the rest.
const SECONDS_MAX: usize = 86_400;

/// One second of the load.
///
/// What was sent, acked and received is counted when it happened. A message without an ack never happened, so it is
/// counted in the second in which it was due; so is ack latency: it says what somebody felt who spoke then.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Second {
    /// Handed to sockets.
    pub sent: u32,
    /// Acked.
    pub acked: u32,
    /// Due, and refused.
    pub refused: u32,
    /// Due, and left open.
    pub open: u32,
    /// Due, and never sent.
    pub not_sent: u32,
    /// Received by members.
    pub received: u32,
    /// Median ack latency of the messages due; none without acks.
    pub ack_p50_us: Option<u64>,
    /// p99 of it.
    pub ack_p99_us: Option<u64>,
}

/// The series, at least as long as the load.
pub fn seconds(case: &Case<'_>) -> Vec<Second> {
    let load_s = usize::try_from(case.plan.load.duration_ms.div_ceil(1_000)).unwrap_or(SECONDS_MAX);
    let mut seconds = vec![Second::default(); load_s.clamp(1, SECONDS_MAX)];
    let mut latencies: Vec<Vec<u64>> = vec![Vec::new(); seconds.len()];
    let index = |at_us: u64| {
        let second = at_us.checked_sub(case.load_us())? / 1_000_000;
        Some(usize::try_from(second).unwrap_or(SECONDS_MAX).min(SECONDS_MAX - 1))
    };
    let mut count = |at_us: Option<u64>, add: fn(&mut Second)| {
        let Some(index) = at_us.and_then(index) else { return };
        if seconds.len() <= index {
            seconds.resize(index + 1, Second::default());
        }
        add(&mut seconds[index]);
    };
    for message in 0..case.history.messages() {
        let life = case.history.outcome(message);
        let due_us = case.due_us(message);
        count(life.sent_us(), |second| second.sent += 1);
        match life.fate() {
            Fate::Acked => count(life.acked_us(), |second| second.acked += 1),
            Fate::Refused(_) => count(due_us, |second| second.refused += 1),
            Fate::NotSent => count(due_us, |second| second.not_sent += 1),
            Fate::Unanswered | Fate::Indeterminate(_) => count(due_us, |second| second.open += 1),
            Fate::Unseen => {}
        }
        if let (Some(due_us), Some(acked_us)) = (due_us, life.acked_us())
            && let Some(slot) = index(due_us).and_then(|index| latencies.get_mut(index))
        {
            slot.push(acked_us.saturating_sub(due_us));
        }
    }
    for receipt in case.history.receipts() {
        count(Some(receipt.at_us), |second| second.received += 1);
    }
    for (second, mut latencies) in seconds.iter_mut().zip(latencies) {
        latencies.sort_unstable();
        let at =
            |of_hundred: usize| latencies.get(latencies.len().saturating_sub(1) * of_hundred / 100).copied();
        second.ack_p50_us = at(50);
        second.ack_p99_us = at(99);
    }
    seconds
}
