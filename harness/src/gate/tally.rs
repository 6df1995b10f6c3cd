//! From the history of one cluster to what it did in each of its slices.

use crate::history::{Event, EventKind, Lifecycle};

use super::slice::Quantiles;

/// When a slice was measured, in microseconds on the history's clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// From.
    pub from_us: u64,
    /// To; not part of it.
    pub to_us: u64,
}

impl Window {
    fn holds(self, at_us: u64) -> bool {
        (self.from_us..self.to_us).contains(&at_us)
    }
}

/// What a history tells of one window; the rest of a slice comes from the kernel.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tally {
    /// Messages that reached a member within the window.
    pub receipts: u64,
    /// Rows committed within the window.
    pub rows: u64,
    /// Messages due within the window; latencies are theirs, whenever they ended.
    pub due: u64,
    /// Of those, sent.
    pub sent: u64,
    /// From due to acked.
    pub ack: Quantiles,
    /// From due to each receipt.
    pub receipt: Quantiles,
    /// 99th percentile of how late they were sent.
    pub lateness_p99_us: u64,
}

#[derive(Default)]
struct Open {
    receipts: u64,
    rows: u64,
    lateness_us: Vec<u64>,
    ack_us: Vec<u64>,
    receipt_us: Vec<u64>,
}

/// Counts. `due_us` holds when each message was due on the history's clock; windows do not overlap. A message that was
/// sent and never acked counts with `ack_timeout_us`.
pub fn tally(
    events: impl IntoIterator<Item = Event>,
    due_us: &[u64],
    ack_timeout_us: u64,
    windows: &[Window],
) -> Vec<Tally> {
    let window_at = |at_us| windows.iter().position(|window| window.holds(at_us));
    let due_in: Vec<Option<usize>> = due_us.iter().map(|at_us| window_at(*at_us)).collect();
    let mut open: Vec<Open> = windows.iter().map(|_| Open::default()).collect();
    for Event { at_us, what } in events {
        // The window in which a message was due, and how long after that this happened.
        let since_due = |message: u32| {
            let window = due_in.get(message as usize).copied().flatten()?;
            Some((window, at_us.saturating_sub(due_us[message as usize])))
        };
        match what {
            EventKind::Sent { message } => {
                if let Some((window, late_us)) = since_due(message) {
                    open[window].lateness_us.push(late_us);
                }
            }
            EventKind::Acked { message, .. } | EventKind::AckedUnplaced { message } => {
                if let Some((window, took_us)) = since_due(message) {
                    open[window].ack_us.push(took_us);
                }
            }
            EventKind::Received { message, .. } | EventKind::ReceivedUnplaced { message, .. } => {
                if let Some((window, took_us)) = since_due(message) {
                    open[window].receipt_us.push(took_us);
                }
                if let Some(window) = window_at(at_us) {
                    open[window].receipts += 1;
                }
            }
            EventKind::Lifecycle { event: Lifecycle::WriterWrote { rows, .. }, .. } => {
                if let Some(window) = window_at(at_us) {
                    open[window].rows += u64::from(rows);
                }
            }
            _ => {}
        }
    }
    let due = |window| due_in.iter().filter(|it| **it == Some(window)).count() as u64;
    let closed = open.into_iter().enumerate().map(|(window, mut it)| {
        let sent = it.lateness_us.len();
        it.ack_us.resize(sent.max(it.ack_us.len()), ack_timeout_us);
        Tally {
            receipts: it.receipts,
            rows: it.rows,
            due: due(window),
            sent: sent as u64,
            ack: Quantiles::of(it.ack_us),
            receipt: Quantiles::of(it.receipt_us),
            lateness_p99_us: Quantiles::of(it.lateness_us).p99_us,
        }
    });
    closed.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_counts_where_it_was_done_and_latency_where_it_was_due() {
        let windows = [Window { from_us: 100, to_us: 200 }, Window { from_us: 300, to_us: 400 }];
        // The first is due while the cluster settles.
        let due_us = [50, 150, 190, 310];
        let received =
            |user, message| EventKind::Received { user, message, partition: 0, offset: 0, replayed: false };
        let acked = |message| EventKind::Acked { message, partition: 0, offset: 0 };
        let event = Lifecycle::WriterWrote { records: 4, rows: 3, took_us: 9 };
        let wrote = EventKind::Lifecycle { process: "writer-1".into(), event };
        let events = [
            (51, EventKind::Sent { message: 0 }),
            (110, received(1, 0)),
            (120, acked(0)),
            (152, EventKind::Sent { message: 1 }),
            (160, acked(1)),
            (170, received(1, 1)),
            (180, received(2, 1)),
            (190, EventKind::Sent { message: 2 }),
            (199, wrote.clone()),
            (250, received(1, 2)),
            (315, EventKind::NotSent { message: 3 }),
            (400, wrote),
        ];
        let events = events.map(|(at_us, what)| Event { at_us, what });
        let [first, second] = tally(events, &due_us, 5_000, &windows).try_into().unwrap();
        let expected = Tally {
            receipts: 3,
            rows: 3,
            due: 2,
            sent: 2,
            ack: Quantiles { p50_us: 10, p99_us: 5_000, max_us: 5_000 },
            receipt: Quantiles { p50_us: 30, p99_us: 60, max_us: 60 },
            lateness_p99_us: 2,
        };
        assert_eq!(first, expected);
        assert_eq!(second, Tally { due: 1, ..Tally::default() });
    }
}
