//! How the ledgers are read, one after the other, although they belong together.
//!
//! Kafka is read up to where it ended when the reading began; then the writers get the time to come as far; then dead
//! letters and rows are read. If the log has grown meanwhile (a producer tries again for half a minute), the rows may be
//! those of another log, and everything is read once more. A log that never stands still leaves ledgers that were not
//! read to their ends: what was found counts, what was not found proves nothing.

use std::time::Duration;

use super::{Backlog, Offsets, Reading};
use crate::{
    history::{EventKind, Ledger},
    wait,
};

/// How often everything is read at most. A message may come late, or two; a log that grows under three readings in a row is
/// in use.
const ROUNDS_MAX: u32 = 3;
/// How long writers may take to get as far as the log: a few records at this point, or they stand still.
pub(super) const DRAIN_LIMIT: Duration = Duration::from_secs(20);

/// What is asked of the ledgers.
pub(super) trait Ledgers {
    /// Where the log ends.
    async fn heads(&self) -> Result<Offsets, String>;
    /// How far writers have got in it.
    async fn stored(&self) -> Result<Offsets, String>;
    /// What is in a ledger; in Kafka, up to `heads`.
    async fn read(&self, ledger: Ledger, heads: &Offsets) -> Reading;
}

/// Reads all ledgers, and says what the history is told of them.
pub(super) async fn read(ledgers: &impl Ledgers, drain_limit: Duration) -> Vec<EventKind> {
    let mut round = 1;
    loop {
        let before = ledgers.heads().await;
        let mut readings = one_round(ledgers, &before, drain_limit).await;
        let after = ledgers.heads().await;
        let Some(why) = moved(before, after) else { return told(readings) };
        if round == ROUNDS_MAX {
            let why = format!("{why}, {ROUNDS_MAX} times over");
            for (_, reading) in &mut readings {
                // A ledger that could not be read at all has a better reason.
                reading.ended = std::mem::replace(&mut reading.ended, Ok(0)).and(Err(why.clone()));
            }
            return told(readings);
        }
        tracing::debug!(round, why, "the ledgers are read once more");
        round += 1;
    }
}

async fn one_round(
    ledgers: &impl Ledgers,
    heads: &Result<Offsets, String>,
    drain_limit: Duration,
) -> [(Ledger, Reading); 3] {
    let nowhere = Offsets::new();
    let (kafka, stuck) = match heads {
        Ok(heads) => {
            (ledgers.read(Ledger::Kafka, heads).await, drained(ledgers, heads, drain_limit).await.err())
        }
        Err(why) => (Reading::failed(why), None),
    };
    let heads = heads.as_ref().unwrap_or(&nowhere);
    let dead_letters = ledgers.read(Ledger::DeadLetters, heads).await;
    let mut rows = ledgers.read(Ledger::Postgres, heads).await;
    if let Some(stuck) = stuck {
        rows.found.push(EventKind::Note { text: format!("the rows were read all the same: {stuck}") });
    }
    [(Ledger::Kafka, kafka), (Ledger::DeadLetters, dead_letters), (Ledger::Postgres, rows)]
}

/// Waits until everything below `heads` is a row or a dead letter.
async fn drained(ledgers: &impl Ledgers, heads: &Offsets, limit: Duration) -> Result<(), wait::WaitError> {
    wait::until("the writers at the end of the log", limit, async || {
        let backlog = Backlog::of(heads, &ledgers.stored().await?);
        if backlog.is_empty() { Ok(()) } else { Err(backlog.to_string()) }
    })
    .await
}

/// Why the ledgers of a round may not belong together, if that is so.
fn moved(before: Result<Offsets, String>, after: Result<Offsets, String>) -> Option<String> {
    match (before, after) {
        (Ok(before), Ok(after)) if before == after => None,
        (Ok(before), Ok(after)) => {
            let [before, after] = [before, after].map(|heads| heads.values().sum::<i64>());
            Some(format!("the log went from {before} to {after} records while the ledgers were read"))
        }
        (Err(why), _) | (_, Err(why)) => {
            Some(format!("it cannot be told whether the log stood still while the ledgers were read: {why}"))
        }
    }
}

fn told(readings: [(Ledger, Reading); 3]) -> Vec<EventKind> {
    let mut events = Vec::new();
    for (ledger, Reading { found, ended }) in readings {
        events.extend(found);
        events.push(match ended {
            Ok(entries) => EventKind::LedgerRead { ledger, entries },
            Err(why) => EventKind::LedgerUnreadable { ledger, why },
        });
    }
    events
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;

    /// Writers do not wait long in tests.
    const SOON: Duration = Duration::from_millis(200);

    /// Ledgers of one partition. Each script yields its next value when asked, and its last one for ever.
    #[derive(Default)]
    struct Scripted {
        heads: RefCell<Vec<Result<i64, String>>>,
        stored: RefCell<Vec<i64>>,
        /// What was read, in order, and how far Kafka was.
        read: RefCell<Vec<(Ledger, i64)>>,
    }

    fn next<T: Clone>(script: &RefCell<Vec<T>>) -> T {
        let mut script = script.borrow_mut();
        if script.len() > 1 { script.remove(0) } else { script[0].clone() }
    }

    impl Ledgers for Scripted {
        async fn heads(&self) -> Result<Offsets, String> {
            next(&self.heads).map(|head| Offsets::from([(0, head)]))
        }

        async fn stored(&self) -> Result<Offsets, String> {
            Ok(Offsets::from([(0, next(&self.stored))]))
        }

        async fn read(&self, ledger: Ledger, heads: &Offsets) -> Reading {
            let head = heads.get(&0).copied().unwrap_or(-1);
            self.read.borrow_mut().push((ledger, head));
            // One entry that tells which reading it is of.
            let message = self.read.borrow().len() as u32;
            let found = match ledger {
                Ledger::Kafka => EventKind::InKafka { message, partition: 0, offset: 0, body_ok: true },
                Ledger::Postgres => EventKind::InPostgres { message, partition: 0, offset: 0, body_ok: true },
                Ledger::DeadLetters => EventKind::InDeadLetters { message, reason: String::new() },
            };
            Reading { found: vec![found], ended: Ok(1) }
        }
    }

    async fn told(heads: &[i64], stored: &[i64]) -> (Vec<EventKind>, Vec<(Ledger, i64)>) {
        let heads = heads.iter().map(|head| Ok(*head)).collect();
        let ledgers = Scripted {
            heads: RefCell::new(heads),
            stored: RefCell::new(stored.to_vec()),
            ..Scripted::default()
        };
        let events = read(&ledgers, SOON).await;
        (events, ledgers.read.into_inner())
    }

    fn messages(events: &[EventKind]) -> Vec<u32> {
        let message = |event: &EventKind| match event {
            EventKind::InKafka { message, .. }
            | EventKind::InPostgres { message, .. }
            | EventKind::InDeadLetters { message, .. } => Some(*message),
            _ => None,
        };
        events.iter().filter_map(message).collect()
    }

    fn unreadable(events: &[EventKind]) -> Vec<Ledger> {
        let ledger = |event: &EventKind| match event {
            EventKind::LedgerUnreadable { ledger, .. } => Some(*ledger),
            _ => None,
        };
        events.iter().filter_map(ledger).collect()
    }

    #[tokio::test]
    async fn a_log_that_stands_still_is_read_once_and_the_rows_after_the_writers_came_up_to_it() {
        let (events, read) = told(&[7], &[4, 6, 7]).await;
        assert_eq!(read, [(Ledger::Kafka, 7), (Ledger::DeadLetters, 7), (Ledger::Postgres, 7)]);
        assert_eq!(messages(&events), [1, 2, 3]);
        assert_eq!(events[1], EventKind::LedgerRead { ledger: Ledger::Kafka, entries: 1 });
        assert_eq!(events.len(), 6, "{events:?}");
    }

    #[tokio::test]
    async fn a_log_that_grew_is_read_again_and_the_first_reading_leaves_no_trace() {
        let (events, read) = told(&[7, 8, 8], &[8]).await;
        assert_eq!(read.len(), 6);
        assert_eq!(read[3], (Ledger::Kafka, 8));
        assert_eq!(messages(&events), [4, 5, 6], "of the second reading only");
        assert_eq!((events.len(), unreadable(&events).len()), (6, 0), "{events:?}");
    }

    #[tokio::test]
    async fn a_log_that_never_stands_still_leaves_unreadable_ledgers() {
        let (events, read) = told(&[1, 2, 3, 4, 5, 6], &[9]).await;
        assert_eq!(read.len(), 9);
        assert_eq!(messages(&events), [7, 8, 9], "what is there is there");
        assert_eq!(unreadable(&events), [Ledger::Kafka, Ledger::DeadLetters, Ledger::Postgres]);
        let why = "the log went from 5 to 6 records while the ledgers were read, 3 times over";
        assert!(
            events.contains(&EventKind::LedgerUnreadable { ledger: Ledger::Postgres, why: why.into() }),
            "{events:?}"
        );
    }

    #[tokio::test]
    async fn writers_that_stand_still_are_a_finding_and_not_an_excuse() {
        let (events, read) = told(&[7], &[4]).await;
        assert_eq!(read.len(), 3);
        assert!(unreadable(&events).is_empty());
        let noted = |event: &EventKind| matches!(event, EventKind::Note { text } if text.contains("3 of 7 records are not stored"));
        assert!(events.iter().any(noted), "{events:?}");
    }

    #[tokio::test]
    async fn a_log_that_does_not_say_how_far_it_goes_excuses_every_absence() {
        let silent = || Err("no answer".to_owned());
        let ledgers = Scripted {
            heads: RefCell::new(vec![silent()]),
            stored: RefCell::new(vec![0]),
            ..Scripted::default()
        };
        let events = read(&ledgers, SOON).await;
        assert_eq!(unreadable(&events), [Ledger::Kafka, Ledger::DeadLetters, Ledger::Postgres]);
        let read = ledgers.read.into_inner();
        assert!(read.iter().all(|(ledger, _)| *ledger != Ledger::Kafka), "{read:?}");
        assert!(
            events.contains(&EventKind::LedgerUnreadable { ledger: Ledger::Kafka, why: "no answer".into() })
        );

        // Once it does, all is well.
        let ledgers = Scripted {
            heads: RefCell::new(vec![Ok(7), silent(), Ok(7)]),
            stored: RefCell::new(vec![7]),
            ..Scripted::default()
        };
        let events = super::read(&ledgers, SOON).await;
        assert_eq!((messages(&events), unreadable(&events).len()), (vec![4, 5, 6], 0));
    }
}
