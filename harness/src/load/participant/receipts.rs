//! What reaches a user's socket: messages, each compared with what the plan says was sent. This is the hot path: a message
//! is parsed once for each member, so its strings are borrowed from the frame (none of ours has escapes) and nothing is allocated.

use std::{sync::atomic::Ordering::Relaxed, time::Instant};

use chat_protocol::{
    Position,
    borrowed::{Message, Record},
    events::Refusal,
};

use super::Participant;
use crate::{history::EventKind, plan::Plan};

/// What is wrong with an answer that has a position where none can be known, none where it is promised, or an impossible
/// one.
pub(super) const OTHER_TOPOLOGY: &str = "with or without a position, as no node of this topology says it";

impl Participant {
    /// Whether a position is there, or is not, as the topology promises.
    pub(super) fn fits_topology(&self, position: Option<Position>) -> bool {
        match position {
            // A log has no places below zero: to the checkers they would be no place at all.
            Some(Position { partition, offset }) if partition < 0 || offset < 0 => false,
            _ => position.is_some() == self.world.plan.cluster.topology.gives_positions(),
        }
    }

    /// A `message` event, as its JSON argument.
    pub(super) fn on_message(&mut self, at: Instant, json: &str) {
        match self.recognise(json) {
            Ok((message, receipt)) => {
                let user = self.user;
                let what = match receipt.position {
                    Some(Position { partition, offset }) => {
                        EventKind::Received { user, message, partition, offset, replayed: receipt.replayed }
                    }
                    None => EventKind::ReceivedUnplaced { user, message },
                };
                self.world.recorder.record_at(at, what);
                self.world.stats.received.fetch_add(1, Relaxed);
            }
            Err(detail) => self.unexplained(at, detail),
        }
    }

    /// Finds the message of the plan that was received. Moves the room's resume position past whatever it is: the server
    /// has delivered that position.
    fn recognise<'frame>(&mut self, json: &'frame str) -> Result<(u32, Message<'frame>), String> {
        let receipt: Message<'_> = serde_json::from_str(json)
            .map_err(|error| format!("a message event of another shape: {error}"))?;
        let record = &receipt.record;
        let Some(room) = self.rooms.by_name(&record.room) else {
            return Err(format!("message {} of room {}, where this user is not", record.id, record.room));
        };
        if let Some(position) = receipt.position {
            room.received(position);
        }
        let room = room.index;

        let world = &self.world;
        if !self.fits_topology(receipt.position) {
            return Err(format!("message {} in room {}: {}", record.id, record.room, OTHER_TOPOLOGY));
        }
        let sender = Plan::user_named(&record.sender);
        let planned = sender.and_then(|sender| world.arrivals.sent_by(sender, &record.id));
        let Some(message) = planned else {
            let Record { id, room, sender, .. } = record;
            return Err(format!("message {id} in room {room} by {sender}, who was to send no such message"));
        };
        if world.arrivals.list.get(message as usize).is_none_or(|arrival| arrival.room != room) {
            return Err(format!("message {} in room {}, sent to another", record.id, record.room));
        }
        if !world.bodies.matches(&world.arrivals, message, &record.body) {
            return Err(format!("message {} with another body ({} bytes)", record.id, record.body.len()));
        }
        Ok((message, receipt))
    }

    /// Any other event. An `error` says why the server is about to disconnect us: kept for that moment.
    pub(super) fn on_event(&mut self, name: &str, json: &str) {
        if name == chat_protocol::events::ERROR {
            let reason = serde_json::from_str::<(&str, Refusal)>(json).map_or_else(
                |_| json.to_owned(),
                |(_, refusal)| format!("{:?}: {}", refusal.code, refusal.message),
            );
            self.announced = Some(reason);
        }
        // Presence and typing are no part of any ledger.
    }

    /// Something no plan explains.
    pub(super) fn unexplained(&mut self, at: Instant, detail: String) {
        self.world.recorder.record_at(at, EventKind::Unexplained { user: self.user, detail });
        self.world.stats.unexplained.fetch_add(1, Relaxed);
    }
}
