//! The three ledgers side by side: what clients were told and saw, what Kafka holds, what PostgreSQL holds. Each gap is
//! put down to the tier that must have lost the message, by where its trail ends.
//!
//! A ledger that was not read has no gaps to show, nor has a history with holes: only what is there counts then.
//!
//! This judges nothing by itself ([`super::durability`] and [`super::delivery`] do); it tells where to look.

use serde::{Deserialize, Serialize};

use crate::{
    checkers::{
        Case,
        story::{self, Missed},
    },
    history::Ledger,
};

/// Messages of a gap that are named.
const NAMED_MAX: usize = 20;

/// The part of the cluster where a trail ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Tier {
    /// The chat node that gave the promise.
    Node,
    /// From Redis to Kafka (topology `relay`): nobody who relays heard it, or got it into the log.
    Relay,
    /// Kafka, or whoever reads it past the proxies.
    Log,
    /// The writer between Kafka and PostgreSQL.
    Writer,
    /// Nodes and Redis: delivery to a member who was in the room.
    Live,
    /// Resume: delivery to a member who was away.
    CatchUp,
}

impl Tier {
    /// As in reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Node => "node",
            Self::Relay => "relay to Kafka",
            Self::Log => "log",
            Self::Writer => "writer",
            Self::Live => "live delivery",
            Self::CatchUp => "catch-up",
        }
    }
}

/// Messages whose trail ends in the same place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Gap {
    /// Where.
    pub tier: Tier,
    /// What is missing.
    pub what: String,
    /// How many messages (for deliveries: how many deliveries).
    pub count: u64,
    /// The first of them.
    pub messages: Vec<u32>,
}

/// What is missing between the ledgers. Empty when they agree.
pub fn gaps(case: &Case<'_>) -> Vec<Gap> {
    let mut gaps: Vec<Gap> = Vec::new();
    let mut add = |tier, what: &str, message: u32| {
        let known = gaps.iter_mut().find(|gap| gap.tier == tier && gap.what == what);
        match known {
            Some(gap) => {
                gap.count += 1;
                if gap.messages.len() < NAMED_MAX && gap.messages.last() != Some(&message) {
                    gap.messages.push(message);
                }
            }
            None => gaps.push(Gap { tier, what: what.to_owned(), count: 1, messages: vec![message] }),
        }
    };
    let history = case.history;
    let relayed = !case.plan.cluster.topology.gives_positions();
    // Who brings messages into Kafka.
    let appender = if relayed { Tier::Relay } else { Tier::Node };
    let read = |ledger| case.unread(ledger).is_none();
    let (kafka_read, letters_read) = (read(Ledger::Kafka), read(Ledger::DeadLetters));
    let rows_read = read(Ledger::Postgres) && letters_read;
    let whole = case.incomplete().is_none();
    for message in 0..history.messages() {
        let acked = history.outcome(message).is_acked();
        let heard = history.receipts_of(message).next().is_some();
        let (in_kafka, rows) = (history.in_kafka(message).len(), history.in_postgres(message).len());
        let dead = history.in_dead_letters(message).len() > 0;
        match (acked, in_kafka > 0, rows > 0) {
            // Not there, for all that is known: a ledger that was not read says nothing.
            (_, false, _) if !kafka_read => {}
            (_, true, false) if !rows_read => {}
            (true, false, false) if relayed && heard => {
                add(Tier::Relay, "acked by Redis and delivered, never written to Kafka", message);
            }
            (true, false, false) if relayed => {
                add(Tier::Relay, "acked by Redis, heard by nobody", message);
            }
            (true, false, false) => add(Tier::Node, "acked, in neither Kafka nor PostgreSQL", message),
            (_, false, true) => add(Tier::Log, "in PostgreSQL, no longer in Kafka", message),
            (_, true, false) if dead => add(Tier::Writer, "in Kafka, given up as a dead letter", message),
            (true, true, false) => add(Tier::Writer, "acked and in Kafka, never written", message),
            (false, true, false) => add(Tier::Writer, "in Kafka without an ack, never written", message),
            (false, false, false) if heard => {
                add(appender, "delivered without being acked or logged", message);
            }
            _ => {}
        }
        if in_kafka > 1 {
            add(appender, "several records of one message", message);
        }
        if rows > 1 {
            add(Tier::Writer, "several rows of one message", message);
        }
        // In `durable-first` what is not in Kafka is the node's fault alone; in `relay` delivery does not rest on Kafka.
        if whole && acked && (in_kafka > 0 || relayed) {
            for (_, missed) in story::missing(case, message) {
                match (missed, relayed) {
                    (Missed::Live, false) => {
                        add(Tier::Live, "in Kafka, not delivered to a member in the room", message)
                    }
                    (Missed::Resume, false) => {
                        add(Tier::CatchUp, "in Kafka, not delivered to a member who came back", message);
                    }
                    (Missed::Live, true) => {
                        add(Tier::Live, "acked, not delivered to a member in the room", message)
                    }
                    (Missed::Resume, true) => {
                        add(Tier::CatchUp, "acked, missed by a member while away", message);
                    }
                }
            }
        }
    }
    gaps.sort_by(|a, b| a.tier.cmp(&b.tier).then(b.count.cmp(&a.count)));
    gaps
}

#[cfg(test)]
mod tests {
    use super::{Tier, gaps};
    use crate::{
        checkers::fixture::Run,
        history::{EventKind, Ledger, Phase},
    };

    #[test]
    fn each_gap_is_put_down_to_the_tier_where_the_trail_ends() {
        let kafka = |m: &EventKind| matches!(m, EventKind::InKafka { message: 3, .. });
        let row = |m: &EventKind| matches!(m, EventKind::InPostgres { message: 3, .. });
        let receipt = |m: &EventKind| matches!(m, EventKind::Received { user: 1, message: 3, .. });
        let unplaced = |m: &EventKind| matches!(m, EventKind::ReceivedUnplaced { user: 1, message: 3 });
        for (run, expected) in [
            (Run::clean(6), None),
            (Run::clean(6).without(kafka).without(row), Some(Tier::Node)),
            (Run::clean(6).without(kafka), Some(Tier::Log)),
            (Run::clean(6).without(row), Some(Tier::Writer)),
            (Run::clean(6).without(receipt), Some(Tier::Live)),
            (Run::clean(6).relayed(), None),
            (Run::clean(6).relayed().without(kafka).without(row), Some(Tier::Relay)),
            (Run::clean(6).relayed().without(unplaced), Some(Tier::Live)),
        ] {
            let history = run.history();
            let gaps = gaps(&run.case(&history));
            assert_eq!(gaps.first().map(|gap| gap.tier), expected, "{gaps:?}");
        }
    }

    #[test]
    fn what_was_not_read_is_no_gap() {
        let read = |l: Ledger| move |m: &EventKind| matches!(m, EventKind::LedgerRead { ledger, .. } if *ledger == l);
        let kafka = |m: &EventKind| matches!(m, EventKind::InKafka { .. });
        let row = |m: &EventKind| matches!(m, EventKind::InPostgres { .. });
        for (name, run) in [
            ("Kafka unread", Run::clean(6).without(kafka).without(read(Ledger::Kafka))),
            ("PostgreSQL unread", Run::clean(6).without(row).without(read(Ledger::Postgres))),
            (
                "ended early",
                Run::clean(6)
                    .without(kafka)
                    .without(row)
                    .without(|m| matches!(m, EventKind::LedgerRead { .. } | EventKind::Phase(Phase::Settled)))
                    .without(|m| matches!(m, EventKind::Received { user: 1, message: 3, .. })),
            ),
        ] {
            let history = run.history();
            let gaps = gaps(&run.case(&history));
            assert!(gaps.is_empty(), "{name}: {gaps:?}");
        }
    }

    #[test]
    fn who_was_to_bring_it_is_told_by_what_came_after() {
        let receipt = |m: &EventKind| matches!(m, EventKind::Received { user: 1, message: 3, .. });
        let away = EventKind::Disconnected { user: 1, node: 1, why: "reset".into() };
        let back = EventKind::Connected { user: 1, node: 0 };
        let resumed = EventKind::Joined { user: 1, room: 0, partition: 0, offset: 4, resumed: true };
        let returned = |run: Run, from: u64| {
            run.at_ms(from, away.clone()).at_ms(from + 20, back.clone()).at_ms(from + 40, resumed.clone())
        };
        // Message 3 is sent at 300 ms and acked at 302; 4 is received at 403.
        let run = || Run::clean(8).without(receipt);
        for (name, run, expected) in [
            ("passed over, and left later", returned(run(), 450), Tier::Live),
            ("cut before anything later came", returned(run(), 310), Tier::CatchUp),
            ("away", returned(run(), 290), Tier::CatchUp),
        ] {
            let history = run.history();
            let gaps = gaps(&run.case(&history));
            assert_eq!(gaps.first().map(|gap| gap.tier), Some(expected), "{name}: {gaps:?}");
        }
    }
}
