//! What all parts of a running node share.

use std::sync::Arc;

use tokio::sync::Semaphore;

use crate::{
    bugs::Bugs, bus::publisher::Bus, config::Config, health::Health, history::Archive, hub::Hub,
    kafka::producer::Producer, meters::Meters, presence::Presence, relay::Relay, session::late::LateProducer,
};

/// A running node.
#[derive(Debug)]
pub struct Node {
    /// What it was told.
    pub config: Config,
    /// How it is wrong on purpose; nothing in a normal build.
    pub bugs: Bugs,
    /// Which dependencies answer.
    pub health: Arc<Health>,
    /// Order and delivery.
    pub hub: Arc<Hub>,
    /// The way into the log.
    pub producer: Producer,
    /// The way to the other nodes.
    pub bus: Bus,
    /// The way into the past.
    pub archive: Archive,
    /// Who is where.
    pub presence: Presence,
    /// Counters.
    pub meters: Meters,
    /// Room for messages that wait for Kafka.
    pub sends: Arc<Semaphore>,
    /// Room for `history` queries.
    pub histories: Arc<Semaphore>,
    /// Topology `relay`; `None` is `durable-first`.
    pub relay: Option<Relay>,
    /// Planted bug `ack-before-produce`.
    pub late: Option<LateProducer>,
}
