//! **Claim: nothing is there twice.** Kafka holds one record of a message, PostgreSQL one row, and each member's socket
//! is handed it once.
//!
//! - The load never sends a message again, so two records of one id were made by the cluster. For an acked or refused
//!   message that is a violation. For one without an answer it is counted only: a node that could not learn what became
//!   of its produce may have tried again, and promised nothing.
//! - Rows and deliveries have no such excuse: the id is unique, whatever Kafka holds.
//! - A replay after a resume that brings a message the same user already received is a second delivery, too: `resume`
//!   promises no repetition.
//!
//! **Evidence**: the final reads, and every receipt. What is there is there: a history with holes can still convict, but
//! not acquit; ledgers that were not read make the claim `unknown`.
//!
//! **Cannot see**: a second delivery that a client would have dropped by itself (ours records everything).
//!
//! **Cost**: linear in receipts.

use crate::{
    checkers::{Case, Checker, Finding, story},
    history::Ledger,
};

/// See the [module](self).
#[derive(Debug)]
pub struct ExactlyOnce;

impl Checker for ExactlyOnce {
    fn name(&self) -> &'static str {
        "exactly-once"
    }

    fn claim(&self) -> &'static str {
        "one record, one row, and one delivery to each member for every message"
    }

    fn judge(&self, case: &Case<'_>, finding: &mut Finding) {
        let history = case.history;
        for ledger in [Ledger::Kafka, Ledger::Postgres] {
            if let Some(why) = case.unread(ledger) {
                finding.unknown(|| why);
            }
        }
        let (mut records, mut open_records, mut rows, mut deliveries) = (0_u64, 0_u64, 0_u64, 0_u64);
        // Last message each user was seen to receive while walking the messages: no map, no clearing.
        let mut seen = vec![u32::MAX; history.users() as usize];
        for message in 0..history.messages() {
            let in_kafka = history.in_kafka(message).len();
            if in_kafka > 1 && history.outcome(message).is_open() {
                open_records += 1;
            } else if in_kafka > 1 {
                records += 1;
                finding
                    .violated_by(message, || format!("{in_kafka} records: {}", story::line(case, message)));
            }
            let in_postgres = history.in_postgres(message).len();
            if in_postgres > 1 {
                rows += 1;
                finding
                    .violated_by(message, || format!("{in_postgres} rows: {}", story::line(case, message)));
            }
            for receipt in history.receipts_of(message) {
                let last = &mut seen[receipt.user as usize];
                if *last == message {
                    deliveries += 1;
                    finding.violated_by(message, || {
                        let how = if receipt.replayed { "replayed" } else { "live" };
                        let (user, at) = (case.plan.user_name(receipt.user), case.at(receipt.at_us));
                        format!("{user} received {} again at {at} ({how})", case.name(message))
                    });
                }
                *last = message;
            }
        }
        if history.receipts().is_empty() {
            finding.unknown(|| "nothing was received: there is nothing the claim is about".to_owned());
        }
        if open_records > 0 {
            finding.note(|| {
                format!("{open_records} messages without an ack are in Kafka more than once (no promise)")
            });
        }
        finding.count("messages_with_several_records", records);
        finding.count("open_messages_with_several_records", open_records);
        finding.count("messages_with_several_rows", rows);
        finding.count("repeated_deliveries", deliveries);
        finding.summary = format!(
            "{records} messages doubled in Kafka, {rows} in PostgreSQL; {deliveries} of {} deliveries repeated",
            history.receipts().len()
        );
    }
}

#[cfg(test)]
mod tests {
    use super::ExactlyOnce;
    use crate::{
        checkers::{Verdict, fixture::Run},
        history::{EventKind, Ledger, Reason},
    };

    #[test]
    fn every_way_to_be_wrong() {
        use Verdict::{Holds, Unknown, Violated};
        let run = || Run::clean(6);
        let open = |m: &EventKind| matches!(m, EventKind::Acked { message: 3, .. });
        let left_open = EventKind::Indeterminate { message: 3, why: Reason::Timeout };
        let read = |m: &EventKind| matches!(m, EventKind::LedgerRead { ledger: Ledger::Postgres, .. });
        let again = |replayed| EventKind::Received { user: 1, message: 3, partition: 0, offset: 3, replayed };
        for (name, run, expected) in [
            ("clean", run(), Holds),
            ("two records", run().with(Run::record(3, 99)), Violated),
            (
                "two records of an open message",
                run().replaced(open, left_open).with(Run::record(3, 99)),
                Holds,
            ),
            ("two rows", run().with(Run::row(3, 3, true)), Violated),
            ("delivered again", run().with(again(false)), Violated),
            ("replayed though seen", run().with(again(true)), Violated),
            ("PostgreSQL unread", run().without(read), Unknown),
            ("nothing received", run().without(|m| matches!(m, EventKind::Received { .. })), Unknown),
        ] {
            let finding = run.judged(&ExactlyOnce);
            assert_eq!(finding.verdict, expected, "{name}: {finding:#?}");
        }
    }
}
