//! What nodes tell each other through Redis Pub/Sub.
//!
//! Redis is the fast path, never the only one. Every message travels with its [`Position`], so a receiver can see that
//! it missed one; and every node publishes a [`BusFrame::Beat`] on a fixed beat, so a receiver notices within a few
//! beats that its own subscription is dead, or that the last message before a pause never came.
//!
//! In the topology `relay` Redis is the only path: messages travel as [`BusFrame::Said`], and nobody sees a gap.

use serde::{Deserialize, Serialize};

use crate::{ChatRecord, Position};

/// Default prefix of the Redis channels of one cluster.
pub const DEFAULT_CHANNEL: &str = "chat.bus";

/// One message on the channel (JSON).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum BusFrame {
    /// A chat message that is in the log at `position`.
    Message {
        /// Where it stands.
        position: Position,
        /// The message.
        record: ChatRecord,
    },
    /// "I am here, and this is how far the log had got when I last appended to it."
    Beat {
        /// Name of the node that beats.
        node: String,
        /// Counts up by one; a node that hears its own beats knows its subscription lives.
        beat: u64,
        /// The highest offset this node has had acknowledged, per partition.
        high: Vec<Position>,
    },
    /// Somebody is typing. Lost without harm.
    Typing {
        /// Room.
        room: String,
        /// User.
        user: String,
    },
    /// A user joined or left on some node. Lost without harm: the next presence query tells.
    Presence {
        /// Room.
        room: String,
        /// User.
        user: String,
        /// True for joined.
        online: bool,
    },
    /// Topology `relay`: a chat message that is in no log yet. Whoever hears it hands it to its members; the node that
    /// holds the lease appends it to the log. Lost for whoever does not hear it.
    Said {
        /// The message.
        record: ChatRecord,
    },
}
