//! **Claim: nobody sees what is not theirs, and nothing appears that nobody sent.**
//!
//! - A receipt in a room that the plan does not put the user in is a leak.
//! - A receipt of a message that was handed to its sender's socket after the receiver had left the room, and before they
//!   joined again, is a leak; one that was on its way when they left is not.
//! - A receipt of a message before it was sent cannot be; one clock saw both.
//! - What the load could not explain (an unknown id, a wrong body) and what the final reads found without a plan (foreign
//!   records or rows) is *unexplained*: violated.
//!
//! **Evidence**: receipts, the schedule, joins and leaves. **Cannot see** what an eavesdropper without a session gets.
//!
//! **Cost**: linear in receipts.

use crate::{
    checkers::{Case, Checker, Finding, case::ledger_name},
    history::index::{Receipt, UserEvent},
};

/// A receipt may be stamped this much before its sender's socket was: two tasks, one machine, no lock between them.
const STAMP_SLACK_US: u64 = 50_000;

/// See the [module](self).
#[derive(Debug)]
pub struct Isolation;

impl Checker for Isolation {
    fn name(&self) -> &'static str {
        "isolation"
    }

    fn claim(&self) -> &'static str {
        "nobody receives a message of a room they are not in, and nothing appears that nobody sent"
    }

    fn judge(&self, case: &Case<'_>, finding: &mut Finding) {
        let history = case.history;
        let at_rest_us = history.at_rest_us();
        let (mut leaks, mut early) = (0_u64, 0_u64);
        for user in 0..history.users() {
            let rooms: Vec<u32> = case.plan.rooms_of(user).collect();
            // At the end of the run everybody does.
            let leaves = history
                .steps_of(user)
                .any(|step| step.at_us < at_rest_us && matches!(step.what, UserEvent::Left { .. }));
            for receipt in history.received_by(user) {
                let Some(arrival) = case.arrival(receipt.message) else {
                    leaks += 1;
                    finding.violated(|| {
                        format!("{} received {}", case.plan.user_name(user), case.name(receipt.message))
                    });
                    continue;
                };
                if user >= case.plan.load.users
                    || !rooms.contains(&arrival.room)
                    || leaves && left_before(case, receipt, arrival.room)
                {
                    leaks += 1;
                    finding.violated_by(receipt.message, || told(case, receipt, "is not in the room"));
                }
                let sent_us = history.outcome(receipt.message).sent_us();
                // In a history with holes, the sending may be what fell into one.
                let unsent = sent_us.is_none() && history.doubts().is_empty();
                if unsent || sent_us.is_some_and(|sent_us| receipt.at_us + STAMP_SLACK_US < sent_us) {
                    early += 1;
                    finding.violated_by(receipt.message, || told(case, receipt, "got it before it was sent"));
                }
            }
        }
        let (unexplained, unexplained_total) = history.unexplained();
        for (at_us, user, detail) in unexplained {
            finding.violated(|| format!("{} at {}: {detail}", case.plan.user_name(*user), case.at(*at_us)));
        }
        let (foreign, foreign_total) = history.foreign();
        for (ledger, detail) in foreign {
            finding.violated(|| format!("in {}: {detail}", ledger_name(*ledger)));
        }
        if let Some(doubt) = history.doubts().first() {
            finding.unknown(|| doubt.clone());
        }
        if history.receipts().is_empty() {
            finding.unknown(|| "nothing was received: there is nothing the claim is about".to_owned());
        }
        finding.count("leaks", leaks);
        finding.count("received_before_sent", early);
        finding.count("unexplained", unexplained_total);
        finding.count("foreign", foreign_total);
        finding.summary = format!(
            "{leaks} leaks, {} unexplained at sockets, {foreign_total} foreign in the ledgers",
            unexplained_total + early
        );
    }
}

/// True when the message was sent while the user was out of the room by their own will.
fn left_before(case: &Case<'_>, receipt: &Receipt, room: u32) -> bool {
    let Some(sent_us) = case.history.outcome(receipt.message).sent_us() else { return false };
    let before = case.history.steps_of(receipt.user).filter(|step| step.at_us < sent_us);
    let last = before
        .filter(|step| match step.what {
            UserEvent::Left { room: of } | UserEvent::Joined { room: of, .. } => of == room,
            _ => false,
        })
        .last();
    let rejoined = case.history.steps_of(receipt.user).any(|step| {
        step.at_us >= sent_us
            && step.at_us <= receipt.at_us
            && matches!(step.what, UserEvent::Joined { room: of, .. } if of == room)
    });
    last.is_some_and(|step| matches!(step.what, UserEvent::Left { .. })) && !rejoined
}

fn told(case: &Case<'_>, receipt: &Receipt, what: &str) -> String {
    let user = case.plan.user_name(receipt.user);
    format!("{user} received {} at {}: {what}", case.name(receipt.message), case.at(receipt.at_us))
}

#[cfg(test)]
mod tests {
    use super::Isolation;
    use crate::{
        checkers::{Verdict, fixture::Run},
        history::{EventKind, Ledger},
    };

    #[test]
    fn every_way_to_be_wrong() {
        use Verdict::{Holds, Unknown, Violated};
        let run = || Run::clean(6);
        let left = EventKind::Left { user: 1, room: 0 };
        let mut two_rooms = run();
        two_rooms.plan.load.rooms = 2;
        let foreign = EventKind::Foreign { ledger: Ledger::Kafka, detail: "id x".into() };
        for (name, run, expected) in [
            ("clean", run(), Holds),
            ("not in the room", two_rooms, Violated),
            (
                "left before",
                run().inserted_before(|m| matches!(m, EventKind::Sent { message: 2 }), left.clone()),
                Violated,
            ),
            ("left at the end", run().with(left), Holds),
            ("unexplained", run().with(EventKind::Unexplained { user: 0, detail: "id x".into() }), Violated),
            ("foreign", run().with(foreign), Violated),
            ("never sent", run().without(|m| matches!(m, EventKind::Sent { message: 2 })), Violated),
            ("nothing received", run().without(|m| matches!(m, EventKind::Received { .. })), Unknown),
        ] {
            let finding = run.judged(&Isolation);
            assert_eq!(finding.verdict, expected, "{name}: {finding:#?}");
        }
    }
}
