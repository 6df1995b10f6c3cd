//! **Claim: order is kept.** At each receiver, the messages of a room come in the order of their offsets, and so those
//! of one sender come in the order in which they were sent.
//!
//! - *By offset*: within one user and room, each first receipt has a higher offset than the one before, also across
//!   reconnects (a resume continues, it does not start over).
//! - *By sender*: within one user, room and sender, the numbers of the acked messages rise. The load sends a user's
//!   messages one session at a time, in the order of the schedule; a message without an ack may have overtaken others
//!   in a session that was given up, so it is left out.
//! - In a cluster that knows no positions (topology `relay`) receipts carry no offset: only order by sender is judged.
//! - Repeated deliveries are [`super::exactly_once`]'s; only first receipts are looked at.
//! - *Inversions across rooms* of one partition are counted, not judged: nobody promised a total order.
//!
//! **Evidence**: receipts in the order the user's one socket reader recorded them. **Cannot see** order between
//! receivers (offsets give it), nor below the clock's microsecond between users.
//!
//! **Cost**: linear in receipts, with one small map for the user at hand.

use std::collections::HashMap;

use crate::{
    checkers::{Case, Checker, Finding},
    history::{Fate, index::Receipt},
};

/// See the [module](self).
#[derive(Debug)]
pub struct Order;

impl Checker for Order {
    fn name(&self) -> &'static str {
        "order"
    }

    fn claim(&self) -> &'static str {
        "each receiver sees a room in the order of offsets, and each sender's messages in the order sent"
    }

    fn judge(&self, case: &Case<'_>, finding: &mut Finding) {
        let (mut looked_at, mut by_offset, mut by_sender, mut across) = (0_u64, 0_u64, 0_u64, 0_u64);
        for user in 0..case.history.users() {
            let mut rooms: HashMap<u32, (i64, u32)> = HashMap::new();
            let mut senders: HashMap<(u32, u32), u32> = HashMap::new();
            let mut partitions: HashMap<i32, i64> = HashMap::new();
            for receipt in case.history.received_by(user) {
                let Some(arrival) = case.arrival(receipt.message) else { continue };
                looked_at += 1;
                if let Some((partition, offset)) = receipt.place() {
                    let last = rooms.entry(arrival.room).or_insert((-1, u32::MAX));
                    if offset <= last.0 {
                        if is_repeated(case, receipt) {
                            continue;
                        }
                        by_offset += 1;
                        let before = last.1;
                        finding.violated_by(receipt.message, || inverted(case, receipt, before, "by offset"));
                    } else {
                        *last = (offset, receipt.message);
                        let highest = partitions.entry(partition).or_insert(-1);
                        across += u64::from(offset < *highest);
                        *highest = (*highest).max(offset);
                    }
                }
                if case.history.outcome(receipt.message).fate() != Fate::Acked {
                    continue;
                }
                match senders.entry((arrival.room, arrival.user)) {
                    std::collections::hash_map::Entry::Vacant(entry) => _ = entry.insert(receipt.message),
                    std::collections::hash_map::Entry::Occupied(mut entry) => {
                        let before = *entry.get();
                        if receipt.message > before {
                            entry.insert(receipt.message);
                        } else if !is_repeated(case, receipt) {
                            by_sender += 1;
                            finding.violated_by(receipt.message, || {
                                inverted(case, receipt, before, "by sender")
                            });
                        }
                    }
                }
            }
        }
        if looked_at == 0 {
            finding.unknown(|| "nothing was received: there is nothing the claim is about".to_owned());
        }
        if let Some(why) = case.history.doubts().first() {
            finding.unknown(|| why.clone());
        }
        finding.count("receipts", looked_at);
        finding.count("out_of_offset_order", by_offset);
        finding.count("out_of_sender_order", by_sender);
        finding.count("inversions_across_rooms", across);
        finding.summary =
            format!("{looked_at} receipts; {by_offset} out of offset order, {by_sender} out of sender order");
    }
}

/// True when the user received the same message before this receipt.
fn is_repeated(case: &Case<'_>, receipt: &Receipt) -> bool {
    let first = case.history.receipts_of(receipt.message).find(|other| other.user == receipt.user);
    first.is_some_and(|first| !std::ptr::eq(first, receipt))
}

fn inverted(case: &Case<'_>, receipt: &Receipt, before: u32, how: &str) -> String {
    let place = receipt.place().map(|(partition, offset)| format!(" ({partition}/{offset})"));
    format!(
        "{how}: {} received {}{} at {} after {}",
        case.plan.user_name(receipt.user),
        case.name(receipt.message),
        place.unwrap_or_default(),
        case.at(receipt.at_us),
        case.name(before),
    )
}

#[cfg(test)]
mod tests {
    use super::Order;
    use crate::{
        checkers::{Verdict, fixture::Run},
        history::{EventKind, Reason},
    };

    #[test]
    fn every_way_to_be_wrong() {
        use Verdict::{Holds, Unknown, Violated};
        let run = || Run::clean(8);
        let got = |user: u32, message: u32| move |m: &EventKind| matches!(m, EventKind::Received { user: u, message: n, .. } if (*u, *n) == (user, message));
        let again = EventKind::Received { user: 1, message: 3, partition: 0, offset: 3, replayed: false };
        for (name, run, expected) in [
            ("clean", run(), Holds),
            ("swapped", run().swapped(got(1, 2), got(1, 3)), Violated),
            ("a repeated delivery is not an inversion", run().with(again), Holds),
            ("nothing received", run().without(|m| matches!(m, EventKind::Received { .. })), Unknown),
        ] {
            let finding = run.judged(&Order);
            assert_eq!(finding.verdict, expected, "{name}: {finding:#?}");
        }
    }

    #[test]
    fn a_sender_overtaken_by_themselves_is_seen_even_when_offsets_rise() {
        // Messages 2 and 6 have one sender and one room; the log holds them the wrong way round.
        let swap = |offset: i64| match offset {
            2 => 6,
            6 => 2,
            other => other,
        };
        let run = Run::clean(8).mapped(|what| match what {
            EventKind::Received { user, message, partition, offset, replayed } => {
                EventKind::Received { user, message, partition, offset: swap(offset), replayed }
            }
            EventKind::Acked { message, partition, offset } => {
                EventKind::Acked { message, partition, offset: swap(offset) }
            }
            other => other,
        });
        let received = |user: u32, message: u32| move |m: &EventKind| matches!(m, EventKind::Received { user: u, message: n, .. } if (*u, *n) == (user, message));
        let run =
            (0..run.plan.load.users).fold(run, |run, user| run.swapped(received(user, 2), received(user, 6)));
        let finding = run.judged(&Order);
        assert_eq!(finding.counts["out_of_offset_order"], 0, "{finding:#?}");
        assert_eq!(finding.counts["out_of_sender_order"], u64::from(run.plan.load.users), "{finding:#?}");

        let open = EventKind::Indeterminate { message: 2, why: Reason::Timeout };
        let run = run.replaced(|m| matches!(m, EventKind::Acked { message: 2, .. }), open);
        assert_eq!(run.judged(&Order).verdict, Verdict::Holds);
    }
}
