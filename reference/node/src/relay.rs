//! Topology `relay`: Redis first, and the log from what a subscriber hears (`chat_protocol::topology` says what that
//! promises, and what not).
//!
//! ```text
//!  send ──→ Redis ──→ ack                        [`publisher`]
//!             └──→ every node ──→ its members    [`Relay::hear`]
//!                    └──→ Kafka, if it holds the lease: [`lease`] decides, [`keeper`] asks Redis
//! ```
//!
//! Nothing here reads the log: what a node does not hear, its members do not see, and what the holder of the lease does
//! not hear is in no log, acked or not.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use chat_protocol::{
    ChatRecord,
    bus::BusFrame,
    events::{Code, Sent},
};
use tokio::time::timeout;
use tracing::{debug, warn};

use crate::{
    bugs::{Bug, wronged},
    bus,
    config::Config,
    health::Health,
    hub::Claim,
    kafka::producer::NotTaken,
    meters::Meters,
    node::Node,
    recent::Known,
    session::answer::Answer,
};

pub mod keeper;
pub mod lease;
pub mod publisher;

use keeper::Keeper;
use lease::Tenure;
use publisher::{NotPublished, Publisher};

/// What a node of a `relay` cluster has beyond the others.
#[derive(Debug)]
pub struct Relay {
    publisher: Publisher,
    keeper: Keeper,
    tenure: Arc<Mutex<Tenure>>,
}

/// A panic ends the process, so a poisoned lock can only be met on the way out. Nothing is awaited while it is held.
fn locked(tenure: &Mutex<Tenure>) -> MutexGuard<'_, Tenure> {
    tenure.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Relay {
    /// Connects when it can, and asks for the lease from then on. Must be called inside the runtime.
    ///
    /// # Errors
    ///
    /// When the settings make no client.
    pub fn start(config: &Config, health: Arc<Health>) -> Result<Self, fred::error::Error> {
        let client = bus::sender(config)?;
        let tenure = Arc::new(Mutex::new(Tenure::default()));
        let keeper = Keeper::new(config, client.clone(), Arc::clone(&tenure), health);
        tokio::spawn(keeper.clone().run());
        let publisher = Publisher::start(client, &config.redis_channel);
        Ok(Self { publisher, keeper, tenure })
    }

    /// A `send` that was found acceptable: publishes it, and acks once Redis has taken it. Calls are published in the
    /// order they are made.
    pub(crate) fn send(
        &self,
        node: &Arc<Node>,
        record: &Arc<ChatRecord>,
        claim: Claim,
        answer: Answer,
        at: Instant,
    ) {
        let Ok(permit) = Arc::clone(&node.sends).try_acquire_owned() else {
            return refuse(node, answer, Code::Busy, "too many messages wait for Redis");
        };
        let id = record.id.clone();
        let taken = match self.publisher.publish(&BusFrame::Said { record: ChatRecord::clone(record) }) {
            Ok(taken) => taken,
            Err(full) => return refuse(node, answer, Code::Busy, &full.to_string()),
        };
        let node = Arc::clone(node);
        tokio::spawn(async move {
            match timeout(node.config.ack_timeout(), taken).await {
                Ok(Ok(Ok(()))) => {
                    node.meters.acked.increment(1);
                    node.meters.ack_seconds.record(at.elapsed().as_secs_f64());
                    answer.ok(Sent { id, position: None });
                }
                Ok(Ok(Err(error))) => refuse(&node, answer, Code::Unavailable, &error.to_string()),
                Ok(Err(_)) => refuse(&node, answer, Code::Unavailable, "the node stops"),
                Err(_) => refuse(&node, answer, Code::Unavailable, &NotPublished::TimedOut.to_string()),
            }
            drop(permit);
            drop(claim);
        });
    }

    /// A message was heard on the bus: into the log if this node relays, and to its members.
    pub fn hear(&self, node: &Arc<Node>, record: ChatRecord) {
        // Looked at for every message: a holder that was frozen finds out here that its time is up.
        let relays = locked(&self.tenure).holds(Instant::now());
        // One that was heard before is appended again, as the first may not have got into the log, and delivered once.
        // One whose identity is another message's goes nowhere: that one was acked.
        let known = node.hub.home(&record.room).1.hear(&record);
        if known == Known::Conflict {
            return node.meters.conflicts.increment(1);
        }
        // Planted bug: the naive form, in which whoever hears a message appends a copy.
        let naive = node.bugs.has(Bug::EveryNodeRelays);
        if naive {
            wronged(Bug::EveryNodeRelays, &record);
        }
        if relays || naive {
            append(node, &record);
        }
        match known {
            Known::New => node.hub.deliver_relayed(&record),
            _ => node.meters.repeated.increment(1),
        }
    }

    /// Stops relaying and lets another node begin, as far as Redis can be told.
    pub async fn resign(&self) {
        self.keeper.resign().await;
    }
}

fn refuse(node: &Node, answer: Answer, code: Code, message: &str) {
    node.meters.refused.increment(1);
    answer.refuse(code, message);
}

/// Appends a message to the log. Its sender has its ack already, so a failure here loses it.
fn append(node: &Arc<Node>, record: &ChatRecord) {
    let (partition, _) = node.hub.home(&record.room);
    match node.producer.enqueue(partition, record) {
        Ok(report) => {
            let node = Arc::clone(node);
            tokio::spawn(async move {
                match report.await {
                    Ok(Ok(_)) => node.meters.relayed.increment(1),
                    Ok(Err(error)) => {
                        node.health.kafka_failed();
                        lost(&node.meters, &error.to_string());
                    }
                    Err(_) => debug!("the node stops"),
                }
            });
        }
        Err(full @ NotTaken::Full) => lost(&node.meters, &full.to_string()),
        Err(refused @ NotTaken::Refused) => lost(&node.meters, &refused.to_string()),
    }
}

fn lost(meters: &Meters, why: &str) {
    meters.relay_lost.increment(1);
    warn!(why, "an acked message is in no log");
}
