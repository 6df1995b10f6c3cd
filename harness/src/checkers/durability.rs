//! **Claim: what was acked is stored.** An acked message is in the Kafka log, at the position in its ack, and becomes
//! exactly one row in PostgreSQL with the body that was sent.
//!
//! - *Acked*: the sender was given the promise, be it late.
//! - A message that was dead-lettered was given up, acked or not: violated. The load sends nothing that a table cannot hold.
//! - A message without an answer may be in any ledger or in none; but what is in Kafka must be in PostgreSQL, as the
//!   writer knows nothing of acks.
//! - A *refused* message was promised to be nowhere.
//! - A row says where its record stood. That must be where Kafka holds a record of the message; it may differ from the
//!   position in the ack only when Kafka holds the message twice (which [`super::exactly_once`] judges).
//! - Where acks carry no position (topology `relay`), an acked message must be in Kafka, wherever that is: the promise is
//!   held to be the same, so that what that topology loses shows.
//!
//! **Evidence**: acks as recorded by the load; the final reads of all three ledgers, made past every proxy after the
//! cluster came to rest. A ledger that was not read to its end makes absences `unknown`; what *is* there still counts.
//!
//! **Cannot see**: whether Kafka and PostgreSQL themselves would lose data with their machine (one broker, one server),
//! nor a row that was there and vanished again before the final read.
//!
//! **Cost**: linear in messages and ledger entries.

use crate::{
    checkers::{Case, Checker, Finding, story},
    history::{Fate, Ledger},
};

/// See the [module](self).
#[derive(Debug)]
pub struct Durability;

impl Checker for Durability {
    fn name(&self) -> &'static str {
        "durability"
    }

    fn claim(&self) -> &'static str {
        "every acked message is in Kafka where its ack says, and is exactly one row with the same body"
    }

    fn judge(&self, case: &Case<'_>, finding: &mut Finding) {
        let unread = Unread::of(case, finding);
        let mut tally = Tally::default();
        for message in 0..case.history.messages() {
            judge_message(case, message, &unread, &mut tally, finding);
        }
        if tally.acked == 0 {
            finding.unknown(|| "no message was acked: there is nothing the claim is about".to_owned());
        }
        finding.count("acked", tally.acked);
        finding.count("acked_not_in_kafka", tally.not_in_kafka);
        finding.count("acked_without_row", tally.no_row);
        finding.count("open_without_row", tally.open_no_row);
        finding.count("dead_lettered", tally.dead_lettered);
        finding.count("wrong_body", tally.wrong_body);
        finding.count("misplaced", tally.misplaced);
        finding.count("refused_but_written", tally.refused_written);
        finding.summary = format!(
            "{} acked; missing in Kafka {}, in PostgreSQL {}; dead-lettered {}, wrong body {}",
            tally.acked,
            tally.not_in_kafka,
            tally.no_row + tally.open_no_row,
            tally.dead_lettered,
            tally.wrong_body
        );
    }
}

/// Ledgers whose silence proves nothing.
struct Unread {
    kafka: bool,
    postgres: bool,
}

impl Unread {
    fn of(case: &Case<'_>, finding: &mut Finding) -> Self {
        let mut unread = |ledger| match case.unread(ledger) {
            Some(why) => {
                finding.unknown(|| why);
                true
            }
            None => false,
        };
        // The dead letters explain a missing row; not having read them makes no row appear.
        let _ = unread(Ledger::DeadLetters);
        Self { kafka: unread(Ledger::Kafka), postgres: unread(Ledger::Postgres) }
    }
}

#[derive(Default)]
struct Tally {
    acked: u64,
    not_in_kafka: u64,
    no_row: u64,
    open_no_row: u64,
    dead_lettered: u64,
    wrong_body: u64,
    misplaced: u64,
    refused_written: u64,
}

fn judge_message(case: &Case<'_>, message: u32, unread: &Unread, tally: &mut Tally, finding: &mut Finding) {
    let history = case.history;
    let outcome = history.outcome(message);
    let (acked, place) = (outcome.is_acked(), outcome.acked_at());
    let in_kafka = history.in_kafka(message).len();
    let rows = history.in_postgres(message).len();
    let dead = history.in_dead_letters(message).next();
    let mut say = |what: &str, absent_unless: Option<bool>| {
        let text = || format!("{what}: {}", story::line(case, message));
        match absent_unless {
            Some(unread) => finding.absent(!unread, message, text),
            None => finding.violated_by(message, text),
        }
    };

    if acked {
        tally.acked += 1;
        if in_kafka == 0 {
            tally.not_in_kafka += 1;
            say("acked, and not in Kafka", Some(unread.kafka));
        } else if place.is_some_and(|place| {
            !history.in_kafka(message).any(|entry| (entry.partition, entry.offset) == place)
        }) {
            tally.misplaced += 1;
            say("not in Kafka where its ack says", Some(unread.kafka));
        }
    }
    if let Some(reason) = dead {
        tally.dead_lettered += 1;
        say(&format!("given up as a dead letter ({reason})"), None);
    }
    if matches!(outcome.fate(), Fate::Refused(_) | Fate::NotSent) && in_kafka + rows > 0 {
        tally.refused_written += 1;
        say("refused or never sent, and yet written", None);
    }
    // What is in Kafka must be a row, whatever the sender was told; an acked one must be a row in any case.
    if rows == 0 && dead.is_none() && (acked || in_kafka > 0) {
        if acked {
            tally.no_row += 1;
        } else {
            tally.open_no_row += 1;
        }
        say(if in_kafka > 0 { "in Kafka, and no row" } else { "acked, and no row" }, Some(unread.postgres));
    }
    if history.in_kafka(message).chain(history.in_postgres(message)).any(|entry| !entry.body_ok) {
        tally.wrong_body += 1;
        say("stored with another body", None);
    }
    for row in history.in_postgres(message) {
        let stood = history.in_kafka(message).any(|e| (e.partition, e.offset) == (row.partition, row.offset));
        let elsewhere = place.is_some_and(|place| place != (row.partition, row.offset));
        if in_kafka > 0 && !stood || in_kafka == 1 && elsewhere {
            tally.misplaced += 1;
            say("its row names a place where Kafka does not hold it", Some(unread.kafka));
        } else if in_kafka == 0 && !acked {
            tally.misplaced += 1;
            say("a row of a message that Kafka does not hold", Some(unread.kafka));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Durability;
    use crate::{
        checkers::{Verdict, fixture::Run},
        history::{EventKind, Ledger, Reason},
    };

    #[test]
    fn every_way_to_be_wrong() {
        use Verdict::{Holds, Unknown, Violated};
        let run = || Run::clean(6);
        let kafka = |m: &EventKind| matches!(m, EventKind::InKafka { message: 3, .. });
        let row = |m: &EventKind| matches!(m, EventKind::InPostgres { message: 3, .. });
        let open = |m: &EventKind| matches!(m, EventKind::Acked { message: 3, .. });
        let left_open = EventKind::Indeterminate { message: 3, why: Reason::Timeout };
        let dead = EventKind::InDeadLetters { message: 3, reason: "U+0000".into() };
        let one_more = |what| match what {
            EventKind::LedgerRead { ledger, entries } => {
                EventKind::LedgerRead { ledger, entries: entries + 1 }
            }
            other => other,
        };
        let read = |l: Ledger| move |m: &EventKind| matches!(m, EventKind::LedgerRead { ledger, .. } if *ledger == l);
        for (name, run, expected) in [
            ("clean", run(), Holds),
            ("acked, not in Kafka", run().without(kafka), Violated),
            ("acked, no row", run().without(row), Violated),
            ("acked, dead-lettered", run().without(row).with(dead.clone()), Violated),
            ("open, nowhere", run().replaced(open, left_open.clone()).without(kafka).without(row), Holds),
            ("open, in Kafka only", run().replaced(open, left_open.clone()).without(row), Violated),
            ("open, dead-lettered", run().replaced(open, left_open).without(row).with(dead), Violated),
            ("another body", run().replaced(row, Run::row(3, 3, false)), Violated),
            ("another position", run().replaced(kafka, Run::record(3, 99)), Violated),
            ("the row says another position", run().replaced(row, Run::row(3, 99, true)), Violated),
            (
                "twice in Kafka, the row from the other",
                run().with(Run::record(3, 99)).replaced(row, Run::row(3, 99, true)),
                Holds,
            ),
            ("more read than recorded", run().mapped(one_more), Unknown),
            ("Kafka unread", run().without(read(Ledger::Kafka)), Unknown),
            ("PostgreSQL unread, row missing", run().without(read(Ledger::Postgres)).without(row), Unknown),
            ("dead letters unread", run().without(read(Ledger::DeadLetters)), Unknown),
            (
                "not settled",
                run().without(|m| matches!(m, EventKind::Phase(crate::history::Phase::Settled))),
                Unknown,
            ),
            (
                "nothing acked",
                run().without(|m| !matches!(m, EventKind::Phase(_) | EventKind::LedgerRead { .. })),
                Unknown,
            ),
        ] {
            let finding = run.judged(&Durability);
            assert_eq!(finding.verdict, expected, "{name}: {finding:#?}");
        }
    }

    #[test]
    fn a_refused_message_must_be_nowhere() {
        let refused = EventKind::Refused { message: 3, code: chat_protocol::events::Code::Busy };
        let run = Run::clean(6).replaced(|m| matches!(m, EventKind::Acked { message: 3, .. }), refused);
        assert_eq!(run.judged(&Durability).verdict, Verdict::Violated);
    }
}
