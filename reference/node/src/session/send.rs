//! `send`: into the log, to this node's members, to the other nodes, and then the ack.
//!
//! That is `durable-first`; in the topology `relay` it goes another way from here ([`crate::relay`]).
//!
//! The session only puts the message into the producer's queue, so one client's messages stand in the log in the order
//! it sent them; then a task of its own waits for Kafka, so that they are many at once.

use std::{
    sync::Arc,
    time::{Instant, SystemTime, UNIX_EPOCH},
};

use chat_protocol::{
    ChatRecord,
    events::{Code, Send, Sent},
};
use tokio::time::timeout;
use tracing::warn;

use crate::{
    hub::Claim,
    kafka::{
        ends::made_anew,
        producer::{Confirmation, NotTaken},
    },
    node::Node,
    recent::Known,
    sequencer::{Offered, Via},
};

use super::{Session, answer::Answer};

/// For people.
pub(crate) const CONFLICT: &str =
    "this id was used in this room for another message of yours; take a new one";

impl Session {
    pub(super) fn send(&mut self, Send { room, id, body }: Send, answer: Answer, at: Instant) {
        if let Err(limit) = self.allowance.take(id.len() + room.len() + body.len(), Instant::now()) {
            return self.refuse(answer, Code::RateLimited, &limit);
        }
        let record = ChatRecord { id, room, sender: self.user.to_string(), body, sent_at_ms: now_ms() };
        if let Err(unacceptable) = record.check() {
            return self.refuse(answer, Code::Invalid, &unacceptable.to_string());
        }
        let record = Arc::new(record);
        if self.rooms.contains(&record.room) {
            self.append(record, answer, at)
        } else {
            self.send_early(record, answer, at)
        }
    }

    pub(super) fn refuse(&self, answer: Answer, code: Code, message: &str) {
        self.node.meters.refused.increment(1);
        answer.refuse(code, message);
    }

    /// Sends what was found acceptable, to a room that was joined.
    pub(super) fn append(&self, record: Arc<ChatRecord>, answer: Answer, at: Instant) {
        let node = &self.node;
        let refuse = |answer, code, message: &str| self.refuse(answer, code, message);
        if node.health.draining() {
            return refuse(answer, Code::Draining, "this node is draining; connect to another one");
        }
        if node.health.broken().is_some() {
            return refuse(
                answer,
                Code::Unavailable,
                "this node has to be restarted; connect to another one",
            );
        }
        let Some(claim) = node.hub.claim(&record) else {
            return refuse(answer, Code::Conflict, CONFLICT);
        };
        if let Some(relay) = &node.relay {
            return relay.send(node, &record, claim, answer, at);
        }
        let (partition, _) = node.hub.home(&record.room);
        if let Some(late) = &node.late {
            return late.send(node, partition, Arc::unwrap_or_clone(record), answer);
        }
        let Ok(permit) = Arc::clone(&node.sends).try_acquire_owned() else {
            return refuse(answer, Code::Busy, "too many messages wait for Kafka");
        };
        match node.producer.enqueue(partition, &record) {
            Ok(confirmation) => {
                let node = Arc::clone(node);
                tokio::spawn(async move {
                    confirm(&node, confirmation, record, claim, answer, at).await;
                    // Only now: what Kafka may still write takes memory, whether its client was answered or not.
                    drop(permit);
                });
            }
            Err(NotTaken::Full) => refuse(answer, Code::Busy, "too many messages wait for Kafka"),
            // Nothing was written, and the client may try again.
            Err(NotTaken::Refused) => refuse(answer, Code::Unavailable, "Kafka's client refused the message"),
        }
    }
}

async fn confirm(
    node: &Arc<Node>,
    mut report: Confirmation,
    record: Arc<ChatRecord>,
    claim: Claim,
    answer: Answer,
    at: Instant,
) {
    let mut answer = Some(answer);
    let outcome = match timeout(node.config.ack_timeout(), &mut report).await {
        Ok(outcome) => outcome,
        Err(_) => {
            give_up(node, answer.take(), "Kafka did not confirm in time; the message may be in the log");
            // It may still get there, and then the members have to see it.
            report.await
        }
    };
    match outcome {
        Ok(Ok(position)) if position.offset >= 0 => {
            let offered = node.hub.offer(position, Arc::clone(&record), Via::Own);
            let known = claim.release();
            if offered == Some(Offered::Stale) && known == Known::New {
                // Its place was taken, and not by itself: nobody would ever see it.
                node.health.broke(made_anew(&node.config.topic, position, "another message stood there"));
                return give_up(node, answer, "the log was made anew; connect to another node");
            }
            node.bus.message(position, &record);
            let conflict = known == Known::Conflict;
            if let Some(answer) = answer {
                // Sent at the same time as the one that stands, by way of another node.
                if conflict {
                    node.meters.refused.increment(1);
                    return answer.refuse(Code::Conflict, CONFLICT);
                }
                node.meters.acked.increment(1);
                node.meters.ack_seconds.record(at.elapsed().as_secs_f64());
                answer.ok(Sent { id: record.id.clone(), position: Some(position) });
            }
        }
        // A retry that Kafka recognised: it is in the log, and nobody knows where. The tail will find it.
        Ok(Ok(_)) => give_up(node, answer, "Kafka has the message and did not say where"),
        Ok(Err(error)) => {
            node.health.kafka_failed();
            warn!(%error, "kafka did not take a message");
            give_up(node, answer, &format!("Kafka did not confirm: {error}"));
        }
        Err(_) => give_up(node, answer, "the node stops"),
    }
}

fn give_up(node: &Node, answer: Option<Answer>, message: &str) {
    if let Some(answer) = answer {
        node.meters.refused.increment(1);
        answer.refuse(Code::Unavailable, message);
    }
}

pub(super) fn now_ms() -> i64 {
    // A clock before 1970 is a broken clock; the field is for people only.
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}
