//! Listens to the bus.
//!
//! A subscription can die without a word: the peer is gone and nothing is ever written to notice it. So the node listens
//! for its own beats. When it does not hear them, it gives the connection up and makes a new client, instead of trusting
//! one that says it is connected.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use chat_protocol::{
    bus::BusFrame,
    events::{self, PresenceChange, Typing},
};
use fred::{
    interfaces::{ClientLike, EventInterface, PubsubInterface},
    types::Message,
};
use tokio::{
    sync::broadcast::error::RecvError,
    time::{interval, timeout},
};
use tracing::{info, warn};

use crate::{
    bugs::{Bug, wronged},
    limits,
    node::Node,
    sequencer::{Offered, Via},
};

/// Pause before a new subscription.
const AGAIN: Duration = Duration::from_millis(200);

/// Why a subscription ended.
#[derive(Debug, thiserror::Error)]
enum Ended {
    #[error("redis: {0}")]
    Redis(#[from] fred::error::Error),
    #[error("redis did not answer in time")]
    TimedOut,
    #[error("own beats are not heard")]
    Silent,
    #[error("the connection ended")]
    Disconnected,
}

/// Subscribes again and again. Ends never, but for the planted bug.
pub async fn run(node: Arc<Node>) {
    let mut pace = interval(AGAIN);
    pace.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        pace.tick().await;
        let mut heard = false;
        let Err(ended) = listen(&node, &mut heard).await;
        node.health.subscription_lost();
        if let Ended::Redis(error) = &ended {
            super::tell(error, &node.config.redis_channel, &node.health);
        }
        if heard {
            warn!(reason = %ended, "lost the bus");
            if node.bugs.has(Bug::NoResubscribe) {
                node.health.look_away();
                return;
            }
        } else {
            // Readiness has said it once; an attempt every moment is for those who look closer.
            tracing::debug!(reason = %ended, "no bus");
        }
    }
}

/// One subscription with a client of its own, without a policy to reconnect: a new client starts from nothing.
async fn listen(node: &Arc<Node>, heard: &mut bool) -> Result<std::convert::Infallible, Ended> {
    let client = super::builder(&node.config, true)?.build_subscriber_client()?;
    let mut messages = client.message_rx();
    let mut connection = client.connect();
    let result = async {
        timeout(super::ANSWER * 2, client.wait_for_connect()).await.map_err(|_| Ended::TimedOut)??;
        timeout(super::ANSWER * 2, client.subscribe(node.config.redis_channel.as_str()))
            .await
            .map_err(|_| Ended::TimedOut)??;
        info!(channel = %node.config.redis_channel, "subscribed to the bus");
        let mut last_beat = Instant::now();
        let mut look = interval(limits::BEAT_EVERY);
        loop {
            tokio::select! {
                message = messages.recv() => match message {
                    Ok(message) => {
                        if handle(node, &message) {
                            last_beat = Instant::now();
                            *heard = true;
                            node.health.own_beat_heard();
                        }
                    }
                    // The gaps show what was lost.
                    Err(RecvError::Lagged(lost)) => node.meters.bus_lagged.increment(lost),
                    Err(RecvError::Closed) => return Err(Ended::Disconnected),
                },
                _ = &mut connection => return Err(Ended::Disconnected),
                _ = look.tick() => {
                    if last_beat.elapsed() > limits::RESUBSCRIBE_AFTER {
                        return Err(Ended::Silent);
                    }
                }
            }
        }
    }
    .await;
    connection.abort();
    // Closes the connection in the background; a peer that is gone makes it wait.
    tokio::spawn(async move { drop(timeout(super::ANSWER, client.quit()).await) });
    result
}

/// Handles a frame; true for a beat of this node.
fn handle(node: &Arc<Node>, message: &Message) -> bool {
    node.meters.bus_heard.increment(1);
    let Some(frame) =
        message.value.as_bytes().and_then(|bytes| serde_json::from_slice::<BusFrame>(bytes).ok())
    else {
        // A frame of a newer version, or somebody else's.
        return false;
    };
    match frame {
        BusFrame::Message { position, record } => {
            let record = Arc::new(record);
            let offered = node.hub.offer(position, Arc::clone(&record), Via::Bus);
            if node.bugs.has(Bug::EveryNodeRelays) && offered != Some(Offered::Stale) {
                wronged(Bug::EveryNodeRelays, &record);
                // The future is dropped: the copy is nobody's promise.
                drop(node.producer.enqueue(position.partition, &record));
            }
        }
        BusFrame::Beat { node: name, high, .. } => {
            if name == node.config.name {
                return true;
            }
            node.hub.exists(&high);
        }
        BusFrame::Typing { room, user } => {
            let typing = Typing { room, user };
            node.hub.home(&typing.room).1.send_volatile(&typing.room, events::TYPING, &typing, &typing.user);
        }
        BusFrame::Presence { room, user, online } => {
            let change = PresenceChange { room, user, online };
            if node.presence.hear(&change) {
                node.hub.home(&change.room).1.send_volatile(
                    &change.room,
                    events::PRESENCE,
                    &change,
                    &change.user,
                );
            } else if !online && node.presence.is_local(&change.room, &change.user) {
                // It left another node, and is still here.
                node.bus.publish(BusFrame::Presence { room: change.room, user: change.user, online: true });
            }
        }
        BusFrame::Said { record } => match &node.relay {
            Some(relay) => relay.hear(node, record),
            // Of a node that was told another topology: it is in no log, so it has no place here.
            None => tracing::debug!("a message of the topology relay"),
        },
    }
    false
}
