//! How a message gets to the log and to the members, and so what an ack is worth: the promise of each topology.
//!
//! | | an ack means | an ack, `join` and a message carry a position | `resume` |
//! |---|---|---|---|
//! | [`Topology::DurableFirst`] | the message is in the Kafka log | yes | brings what was missed |
//! | [`Topology::Relay`] | Redis has taken the message | no: nobody knows it yet | is a `join` |
//!
//! In `relay` an acked message is in the log only if the one node that relays heard it on its subscription, and a member
//! sees it only if its node did: Redis Pub/Sub forgets what nobody hears. This is how many chats are built, and it is
//! here so that what it loses can be measured beside what `durable-first` does not.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// A topology; every node of a cluster has the same.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Topology {
    /// Kafka first: the node that received a message appends it to the log, tells the others through Redis where it
    /// stands, and acks. Whoever misses it on Redis reads the log.
    #[default]
    DurableFirst,
    /// Redis first: the node that received a message publishes it to Redis and acks. A Redis subscriber, one of the
    /// nodes, appends to the log what it hears.
    Relay,
}

impl Topology {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::DurableFirst, Self::Relay];

    /// As in flags, scenarios and plans.
    pub fn name(self) -> &'static str {
        match self {
            Self::DurableFirst => "durable-first",
            Self::Relay => "relay",
        }
    }

    /// Whether acks, joins and messages carry a [`crate::Position`].
    pub fn gives_positions(self) -> bool {
        self == Self::DurableFirst
    }
}

impl fmt::Display for Topology {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A name that is not a topology's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a topology; there are durable-first and relay")]
pub struct NoTopology(String);

impl FromStr for Topology {
    type Err = NoTopology;

    fn from_str(text: &str) -> Result<Self, NoTopology> {
        let found = Self::ALL.into_iter().find(|topology| topology.name() == text);
        found.ok_or_else(|| NoTopology(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_topology_has_one_name_everywhere() {
        for topology in Topology::ALL {
            assert_eq!(topology.to_string().parse(), Ok(topology));
            assert_eq!(serde_json::to_string(&topology).unwrap(), format!("\"{topology}\""));
        }
        assert!("replay".parse::<Topology>().is_err());
    }
}
