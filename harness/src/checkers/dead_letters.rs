//! **Claim: poison is set aside, and harms nobody.** A record that cannot become a row (a fault put it into the log) goes
//! to the dead-letter topic with the reason, where it stood named; its neighbours are stored and delivered as ever.
//!
//! - Each poison record of the log is in the dead-letter topic at least once. Twice is no violation: a writer that dies
//!   between the letter and the offset sends it again, and the place tells that it is the same.
//! - It has a reason.
//! - A dead letter of a place where no poison stood is a violation: nobody else put it there.
//! - That no *row* came of it is [`super::isolation`]'s to say (nothing explains such a row), that nobody *received* it
//!   too; that the neighbours were stored and that no message of the load was set aside, with poison or without, is
//!   [`super::durability`]'s.
//!
//! **Evidence**: the final reads of the log and of the dead-letter topic, past every proxy.
//!
//! **Cost**: linear in poison records.

use std::collections::BTreeMap;

use crate::{
    checkers::{Case, Checker, Finding},
    history::Ledger,
    plan::FaultKind,
};

/// See the [module](self).
#[derive(Debug)]
pub struct DeadLetters;

impl Checker for DeadLetters {
    fn name(&self) -> &'static str {
        "dead-letters"
    }

    fn claim(&self) -> &'static str {
        "every record that no table can hold is set aside with the reason, and nothing else is"
    }

    fn judge(&self, case: &Case<'_>, finding: &mut Finding) {
        if !case.plan.faults.iter().any(|fault| fault.fault == FaultKind::KafkaPoison) {
            finding.not_applicable("no planned fault puts poison into the log");
            return;
        }
        let log_unread = case.unread(Ledger::Kafka);
        let letters_unread = case.unread(Ledger::DeadLetters);
        for why in log_unread.iter().chain(&letters_unread) {
            finding.unknown(|| why.clone());
        }
        // Letters for each place in the log.
        let mut places: BTreeMap<(i32, i64), u64> =
            case.history.poison(Ledger::Kafka).map(|poison| ((poison.partition, poison.offset), 0)).collect();
        let (mut letters, mut strays) = (0_u64, 0_u64);
        for letter in case.history.poison(Ledger::DeadLetters) {
            letters += 1;
            let place = format!("{}@{}", letter.partition, letter.offset);
            match places.get_mut(&(letter.partition, letter.offset)) {
                Some(count) => *count += 1,
                None if log_unread.is_some() => {}
                None => {
                    strays += 1;
                    finding.violated(|| {
                        format!("a dead letter says it stood at {place}, where no poison stood")
                    });
                }
            }
            if letter.reason.is_empty() {
                finding.violated(|| format!("the dead letter of {place} gives no reason"));
            }
        }
        let forgotten: Vec<_> = places.iter().filter(|(_, letters)| **letters == 0).collect();
        if letters_unread.is_none() {
            for ((partition, offset), _) in &forgotten {
                finding.violated(|| format!("poison at {partition}@{offset} is not among the dead letters"));
            }
        }
        let repeated = places.values().filter(|letters| **letters > 1).count() as u64;
        if repeated > 0 {
            finding
                .note(|| format!("{repeated} records were set aside more than once (a writer began again)"));
        }
        if places.is_empty() && log_unread.is_none() {
            finding
                .unknown(|| "there is no poison in the log: there is nothing the claim is about".to_owned());
        }
        finding.count("poison", places.len() as u64);
        finding.count("dead_letters", letters);
        finding.count("not_set_aside", forgotten.len() as u64);
        finding.count("strays", strays);
        finding.summary = format!(
            "{} poison records, {} not set aside, {repeated} more than once",
            places.len(),
            forgotten.len()
        );
    }
}

#[cfg(test)]
mod tests {
    use super::DeadLetters;
    use crate::{
        checkers::{Verdict, durability::Durability, fixture::Run, isolation::Isolation},
        history::{EventKind, Ledger},
        plan::{FaultKind, PlannedFault},
    };

    fn poison(ledger: Ledger, offset: i64, reason: &str) -> EventKind {
        EventKind::Poison { ledger, partition: 0, offset, reason: reason.into() }
    }

    fn in_log(offset: i64) -> EventKind {
        poison(Ledger::Kafka, offset, "")
    }

    fn letter(offset: i64) -> EventKind {
        poison(Ledger::DeadLetters, offset, "U+0000")
    }

    /// Two poison records, counted by the verifier like any other.
    fn poisoned(letters: Vec<EventKind>) -> Run {
        let mut run = Run::clean(6);
        run.plan.faults.push(PlannedFault { at_ms: 100, for_ms: 100, fault: FaultKind::KafkaPoison });
        let count = letters.len() as u64;
        run = run.with(in_log(90)).with(in_log(91)).mapped(|what| match what {
            EventKind::LedgerRead { ledger: Ledger::Kafka, entries } => {
                EventKind::LedgerRead { ledger: Ledger::Kafka, entries: entries + 2 }
            }
            EventKind::LedgerRead { ledger: Ledger::DeadLetters, .. } => {
                EventKind::LedgerRead { ledger: Ledger::DeadLetters, entries: count }
            }
            other => other,
        });
        letters.into_iter().fold(run, Run::with)
    }

    #[test]
    fn every_way_to_be_wrong() {
        use Verdict::{Holds, Unknown, Violated};
        let both = || vec![letter(90), letter(91)];
        let unread = |m: &EventKind| matches!(m, EventKind::LedgerRead { ledger: Ledger::DeadLetters, .. });
        let none = |m: &EventKind| matches!(m, EventKind::Poison { .. });
        for (name, run, expected) in [
            ("nothing planned", Run::clean(6), Holds),
            ("both set aside", poisoned(both()), Holds),
            ("one twice", poisoned(vec![letter(90), letter(91), letter(91)]), Holds),
            ("one forgotten", poisoned(vec![letter(90)]), Violated),
            ("a stray", poisoned(vec![letter(90), letter(91), letter(7)]), Violated),
            ("no reason", poisoned(vec![letter(90), poison(Ledger::DeadLetters, 91, "")]), Violated),
            ("letters unread", poisoned(vec![letter(90)]).without(unread), Unknown),
            ("no poison in the log", poisoned(both()).without(none), Unknown),
        ] {
            let finding = run.judged(&DeadLetters);
            assert_eq!(finding.verdict, expected, "{name}: {finding:#?}");
        }
    }

    #[test]
    fn poison_is_no_foreign_record_and_no_lost_message_but_a_row_of_it_is_a_finding() {
        let run = || poisoned(vec![letter(90), letter(91)]);
        assert_eq!(run().judged(&Isolation).verdict, Verdict::Holds);
        assert_eq!(run().judged(&Durability).verdict, Verdict::Holds);
        let row =
            EventKind::Foreign { ledger: Ledger::Postgres, detail: "row room-0/squall-poison-1".into() };
        assert_eq!(run().with(row).judged(&Isolation).verdict, Verdict::Violated);
    }
}
