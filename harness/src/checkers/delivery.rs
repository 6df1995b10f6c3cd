//! **Claim: what was acked is seen.** Every acked message is received by every member of its room to whom it is owed,
//! live or by catch-up.
//!
//! - *Owed*: the position in its ack lies in a member's expectation ([`super::expected_deliveries`]): at or after the offset of the member's
//!   join, until they leave. A member who was away and resumed is owed what was said meanwhile. One who never came back
//!   is owed only what lies below their last receipt; what came after is *gone*, and if that is more than one delivery
//!   in a hundred the claim is `unknown`: too few were watching.
//!   Where nobody knows positions (topology `relay`) times decide: owed is what was sent after the member had entered
//!   and before they left, whatever became of their sessions meanwhile.
//! - What was acked only after the ledgers had come to rest is not held against members, who leave then.
//! - *Lost*: owed, and not received by the time the ledgers came to rest.
//! - *Recovered*: received by catch-up (`replayed`).
//! - *Unexpected*: received, although its sender was told that it is nowhere (refused, or it never left); or received
//!   with a position at which Kafka does not hold it, acked or not.
//! - *Contradicted*: sent after a member had joined, yet standing where the answer to the join says that nothing is owed:
//!   before its offset, or in another partition. A node could else owe nothing by saying so.
//! - *Resume refused*: the user asked for what was missed and the log no longer had it. It stays owed, and so it is lost.
//! - *Missed by a fresh join*: said between a member's last session and a join that did not resume. Nobody promised it.
//! - *Unpromised*: in Kafka without an ack, and not received by somebody. Counted only: the sender was told nothing.
//!
//! **Evidence**: acks and receipts as recorded by the load at both ends, by one clock. In a history with holes a missing
//! receipt is `unknown`.
//!
//! **Cannot see**: whether a person's screen showed it. Repeated deliveries are counted here, judged by
//! [`super::exactly_once`].
//!
//! **Cost**: one step for each receipt and each delivery owed.

use crate::{
    checkers::{Case, Checker, Finding, expected_deliveries::Due, story},
    history::{Fate, Ledger, index::Receipt},
};

/// More than one delivery in this many given up with their reader makes the claim `unknown`.
const GONE_ONE_IN: u64 = 100;

/// See the [module](self).
#[derive(Debug)]
pub struct Delivery;

/// What was found, in numbers.
#[derive(Debug, Clone, Copy, Default)]
struct Tally {
    acked: u64,
    owed: u64,
    lost: u64,
    messages_lost: u64,
    duplicated: u64,
    recovered: u64,
    unexpected: u64,
    contradicted: u64,
    gone: u64,
    fresh_join: u64,
    unpromised: u64,
}

impl Checker for Delivery {
    fn name(&self) -> &'static str {
        "delivery"
    }

    fn claim(&self) -> &'static str {
        "every acked message is received by every member of its room who stayed or came back"
    }

    fn judge(&self, case: &Case<'_>, finding: &mut Finding) {
        let whole = match case.incomplete() {
            Some(why) => {
                finding.unknown(|| why);
                false
            }
            None => true,
        };
        let sure = Sure { whole, kafka_read: case.unread(Ledger::Kafka).is_none() };
        let mut tally = Tally::default();
        let mut seen = Seen { last: vec![u32::MAX; case.history.users() as usize] };
        for message in 0..case.history.messages() {
            judge_message(case, message, sure, &mut seen, &mut tally, finding);
        }
        if tally.owed == 0 {
            finding.unknown(|| "nothing was owed to anybody: there is nothing the claim is about".to_owned());
        }
        if tally.gone > 0 && tally.gone > tally.owed / GONE_ONE_IN {
            finding.unknown(|| {
                format!(
                    "{} deliveries have no reader: {} memberships never came back",
                    tally.gone, case.expected.gone
                )
            });
        }
        if tally.fresh_join > 0 {
            finding.note(|| {
                format!(
                    "{} deliveries fell between a session and a fresh join ({} joins): not promised, yet missed",
                    tally.fresh_join, case.expected.fresh_joins
                )
            });
        }
        for (name, number) in [
            ("acked", tally.acked),
            ("owed", tally.owed),
            ("lost", tally.lost),
            ("messages_lost", tally.messages_lost),
            ("duplicated", tally.duplicated),
            ("recovered", tally.recovered),
            ("unexpected", tally.unexpected),
            ("contradicted", tally.contradicted),
            ("gone", tally.gone),
            ("missed_by_fresh_join", tally.fresh_join),
            ("unpromised", tally.unpromised),
            ("resumes_refused", case.expected.resumes_refused),
        ] {
            finding.count(name, number);
        }
        finding.summary = format!(
            "{} deliveries owed; {} lost ({} messages), {} recovered by catch-up, {} unexpected",
            tally.owed, tally.lost, tally.messages_lost, tally.recovered, tally.unexpected
        );
    }
}

/// What the absence of something proves.
#[derive(Debug, Clone, Copy)]
struct Sure {
    /// The history has no holes and reaches the ledgers' rest.
    whole: bool,
    /// And Kafka was read to its end.
    kafka_read: bool,
}

/// Who received the message that is being looked at, without a set to fill and clear for each.
struct Seen {
    last: Vec<u32>,
}

impl Seen {
    /// Notes a receipt; false when the user had the message already.
    fn add(&mut self, receipt: &Receipt) -> bool {
        let last = &mut self.last[receipt.user as usize];
        std::mem::replace(last, receipt.message) != receipt.message
    }

    fn by(&self, user: u32, message: u32) -> bool {
        self.last.get(user as usize) == Some(&message)
    }
}

fn judge_message(
    case: &Case<'_>,
    message: u32,
    sure: Sure,
    seen: &mut Seen,
    tally: &mut Tally,
    finding: &mut Finding,
) {
    let history = case.history;
    let outcome = history.outcome(message);
    let acked = case.owed_to_members(message);
    for receipt in history.receipts_of(message) {
        if !seen.add(receipt) {
            tally.duplicated += 1;
            continue;
        }
        tally.recovered += u64::from(receipt.replayed);
        let nowhere = matches!(outcome.fate(), Fate::Refused(_) | Fate::NotSent);
        let misplaced = receipt.place().is_some_and(|here| {
            !history.in_kafka(message).any(|entry| (entry.partition, entry.offset) == here)
        });
        if nowhere || misplaced {
            tally.unexpected += 1;
            finding.absent(nowhere || sure.kafka_read, message, || {
                let user = case.plan.user_name(receipt.user);
                let place = receipt.place().map(|(partition, offset)| format!(" at {partition}/{offset}"));
                format!("{user} received it{}: {}", place.unwrap_or_default(), story::line(case, message))
            });
        }
    }

    let Some(room) = case.arrival(message).map(|arrival| arrival.room) else { return };
    let Some(placement) = case.placement(message) else { return };
    tally.acked += u64::from(acked);
    let (mut lost, mut contradicted) = (0, 0);
    case.expected.each(room, placement, |user, due| {
        let received = seen.by(user, message);
        match due {
            Due::Owed if acked => {
                tally.owed += 1;
                if !received {
                    lost += 1;
                }
            }
            Due::Owed if !received => tally.unpromised += 1,
            Due::Contradicted if acked => contradicted += 1,
            Due::Gone if acked && !received => tally.gone += 1,
            Due::FreshJoin if acked && !received => tally.fresh_join += 1,
            _ => {}
        }
    });
    if lost > 0 {
        tally.lost += lost;
        tally.messages_lost += 1;
        finding.absent(sure.whole, message, || format!("not seen by {lost}: {}", story::line(case, message)));
    }
    if contradicted > 0 {
        tally.contradicted += contradicted;
        finding.violated_by(message, || {
            format!(
                "{contradicted} members had joined before it was sent, and were told that their room begins after it: {}",
                story::line(case, message)
            )
        });
    }
}

#[cfg(test)]
mod tests {
    use super::Delivery;
    use crate::{
        checkers::{Checker, Verdict, durability::Durability, fixture::Run},
        history::{EventKind, Ledger, Phase, Reason},
    };

    #[test]
    fn every_way_to_be_wrong() {
        use Verdict::{Holds, Unknown, Violated};
        let run = || Run::clean(6);
        let receipt = |m: &EventKind| matches!(m, EventKind::Received { user: 1, message: 3, .. });
        let acked = |m: &EventKind| matches!(m, EventKind::Acked { message: 3, .. });
        let left_open = EventKind::Indeterminate { message: 3, why: Reason::Timeout };
        let refused = EventKind::Refused { message: 3, code: chat_protocol::events::Code::Busy };
        let replay = EventKind::Received { user: 1, message: 3, partition: 0, offset: 3, replayed: true };
        let elsewhere =
            EventKind::Received { user: 1, message: 3, partition: 0, offset: 77, replayed: false };
        let later = |m: &EventKind| matches!(m, EventKind::Received { user: 1, message: 3.., .. });
        // A message that nobody acked and no ledger holds, and that members saw all the same.
        let dirty = |run: Run| {
            run.replaced(acked, EventKind::Indeterminate { message: 3, why: Reason::Timeout }).without(|m| {
                matches!(m, EventKind::InKafka { message: 3, .. } | EventKind::InPostgres { message: 3, .. })
            })
        };
        // Back in a session, and never let into the room again.
        let kept_out = |run: Run| {
            let refused = EventKind::JoinFailed { user: 1, room: 0, why: "busy".into() };
            run.without(later)
                .at_ms(250, EventKind::Disconnected { user: 1, node: 1, why: "reset".into() })
                .at_ms(260, EventKind::Connected { user: 1, node: 0 })
                .at_ms(270, refused)
        };
        let late_ack = EventKind::Acked { message: 3, partition: 0, offset: 3 };
        for (name, run, expected) in [
            ("clean", run(), Holds),
            ("lost", run().without(receipt), Violated),
            ("recovered", run().replaced(receipt, replay), Holds),
            ("no ack, not seen", run().replaced(acked, left_open.clone()).without(receipt), Holds),
            (
                "late ack, not seen",
                run()
                    .replaced(acked, left_open.clone())
                    .inserted_before(|m| matches!(m, EventKind::Phase(Phase::Settled)), late_ack.clone())
                    .without(receipt),
                Violated,
            ),
            (
                "acked after everybody went",
                run().replaced(acked, left_open).with(late_ack).without(receipt),
                Holds,
            ),
            ("refused, seen", run().replaced(acked, refused), Violated),
            ("at another position", run().replaced(receipt, elsewhere), Violated),
            ("no ack, seen where Kafka has nothing", dirty(run()), Violated),
            (
                "the same, Kafka unread",
                dirty(run()).without(|m| matches!(m, EventKind::LedgerRead { ledger: Ledger::Kafka, .. })),
                Unknown,
            ),
            ("nothing more for one from a time on", run().without(later), Violated),
            ("kept out to the end", kept_out(run()), Violated),
            (
                "lost, not settled",
                run().without(receipt).without(|m| matches!(m, EventKind::Phase(Phase::Settled))),
                Unknown,
            ),
            ("nobody joined", run().without(|m| matches!(m, EventKind::Joined { .. })), Unknown),
        ] {
            let finding = run.judged(&Delivery);
            assert_eq!(finding.verdict, expected, "{name}: {finding:#?}");
        }
    }

    /// As clusters are that take an id for used whoever used it: acked, in the log, and passed over by nodes and writers.
    #[test]
    fn a_message_that_vanishes_under_the_id_of_another_is_lost_and_said_to_be_so() {
        let mut run = Run::clean(6);
        run.arrivals = run.arrivals.clone().with_reused_id(3, 2);
        assert_eq!(run.judged(&Delivery).verdict, Verdict::Holds);
        assert_eq!(run.judged(&Durability).verdict, Verdict::Holds);

        let run = run.without(|m| {
            matches!(m, EventKind::Received { message: 3, .. } | EventKind::InPostgres { message: 3, .. })
        });
        for checker in [&Delivery as &dyn Checker, &Durability] {
            let finding = run.judged(checker);
            assert_eq!(finding.verdict, Verdict::Violated, "{finding:#?}");
            assert_eq!(finding.details[0].message, Some(3));
            assert!(
                finding.details[0].text.contains("m3 (user-3 in room-0, with the id of m2)"),
                "{finding:#?}"
            );
        }
    }

    #[test]
    fn a_run_that_few_watched_to_the_end_is_unknown() {
        let gone = |m: &EventKind| matches!(m, EventKind::Disconnected { user: 1, .. });
        let early = EventKind::Disconnected { user: 1, node: 1, why: "reset".into() };
        let run = Run::clean(6)
            .without(gone)
            .without(|m| matches!(m, EventKind::Received { user: 1, message: 2.., .. }))
            .inserted_before(|m| matches!(m, EventKind::Sent { message: 4 }), early);
        let finding = run.judged(&Delivery);
        assert_eq!(finding.verdict, Verdict::Unknown, "{finding:#?}");
        assert_eq!(finding.counts["lost"], 0);
        assert_eq!(finding.counts["gone"], 4);
    }
}
