//! What chat clients, nodes and writers say to each other.
//!
//! # The promise of an acknowledgement
//!
//! **An acked message is in the Kafka log** (`acks=all`, idempotent producer), and the ack carries its
//! [`Position`]: partition and offset. Everything else follows from this one sentence:
//!
//! - every acked message becomes exactly one row in PostgreSQL, whatever dies later;
//! - every member of the room that stays, or comes back and resumes, sees it exactly once, in the order of offsets;
//! - a message without an ack may or may not be in the log. A client that sends it again with the same id gets one
//!   message, not two: room, sender and id are what a message is known by ([`record::Identity`]).
//!
//! # Ids
//!
//! An id belongs to its sender in one room. Others may use the same one for messages of their own, which are delivered and
//! stored like any. A sender who uses one again with *another body* is refused with
//! [`conflict`](events::Code::Conflict): as long as the node remembers the first (the last few thousand messages of a
//! partition, also those of other nodes and of its own former life). Beyond that the second enters the log and reaches
//! members, and is no row: the first one stands, and the writers count the other (`chat_writer_conflicts_total`). Ids that
//! never come again (UUIDs) avoid all of this; counters that begin anew with a page do not.
//!
//! This is the promise of the topology `durable-first`. [`topology`] says what the other one, `relay`, promises instead.
//!
//! # Layout
//!
//! - [`events`]: Socket.IO events, their payloads and their acks
//! - [`borrowed`]: those that are written and read most, without copies of their text
//! - [`position`]: where a message stands in the log, and which partition a room lives in
//! - [`topology`]: the two ways of a message to the log, and what an ack means in each
//! - [`record`]: the value of a Kafka record, and what makes one acceptable
//! - [`bus`]: what nodes tell each other through Redis
//! - [`lifecycle`]: the log events by which an outside observer follows a process
//! - [`dead_letter`]: headers of a record that was set aside
//! - [`metrics`]: names of the metrics that an outside observer counts by
//! - [`token`]: who somebody is, signed
//! - [`limits`]: every limit, its unit and its reason

pub mod borrowed;
pub mod bus;
pub mod dead_letter;
pub mod events;
pub mod lifecycle;
pub mod limits;
pub mod metrics;
pub mod position;
pub mod record;
pub mod token;
pub mod topology;

pub use position::Position;
pub use record::ChatRecord;
pub use topology::Topology;
