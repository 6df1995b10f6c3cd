//! The three ledgers side by side: what clients were told and saw, what Kafka holds, what PostgreSQL holds. Each gap is
//! put down to the tier that must have lost the message, by where its trail ends.
//!
//! This judges nothing by itself ([`super::durability`] and [`super::delivery`] do); it tells where to look.

use serde::{Deserialize, Serialize};

use crate::checkers::{Case, story};

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
    /// Nodes and Redis: delivery to a member who was in a session.
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
    for message in 0..history.messages() {
        let acked = history.life(message).is_acked();
        let heard = history.receipts_of(message).next().is_some();
        let (in_kafka, rows) = (history.in_kafka(message).len(), history.in_postgres(message).len());
        let dead = history.in_dead_letters(message).len() > 0;
        match (acked, in_kafka > 0, rows > 0) {
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
        if acked && (in_kafka > 0 || relayed) {
            for (_, was_there) in story::missing(case, message) {
                match (was_there, relayed) {
                    (true, false) => {
                        add(Tier::Live, "in Kafka, not delivered to a member in a session", message)
                    }
                    (false, false) => {
                        add(Tier::CatchUp, "in Kafka, not delivered to a member who came back", message);
                    }
                    (true, true) => add(Tier::Live, "acked, not delivered to a member in a session", message),
                    (false, true) => add(Tier::CatchUp, "acked, missed by a member while away", message),
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
    use crate::{checkers::fixture::Run, history::What};

    #[test]
    fn each_gap_is_put_down_to_the_tier_where_the_trail_ends() {
        let kafka = |m: &What| matches!(m, What::InKafka { message: 3, .. });
        let row = |m: &What| matches!(m, What::InPostgres { message: 3, .. });
        let receipt = |m: &What| matches!(m, What::Received { user: 1, message: 3, .. });
        let unplaced = |m: &What| matches!(m, What::ReceivedUnplaced { user: 1, message: 3 });
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
}
