//! Who of this node is in a room, and the sending of events to them.

use std::{sync::Arc, time::Instant};

use chat_protocol::{
    ChatRecord, Position, borrowed,
    events::{self, Message},
};
use serde::Serialize;
use serde_json::value::RawValue;
use socketioxide::{SendError, SocketError, extract::SocketRef, socket::Sid};

use crate::{
    bugs::{Bug, wronged},
    limits,
    sequencer::Delivery,
};

/// Why a member is behind the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Behind {
    /// It came back and gets what it missed.
    Resuming,
    /// Its buffer was full.
    Slow,
}

/// One socket in one room.
#[derive(Debug)]
pub struct Member {
    /// The socket.
    pub socket: SocketRef,
    /// Its user.
    pub user: Arc<str>,
    /// `None` while it gets messages as they come; otherwise a catch-up task brings them, and owns this state.
    behind: Option<Behind>,
    /// Tells this membership from an earlier one of the same socket, whose catch-up task may still be running.
    ticket: u64,
}

/// A member that has to be caught up from `from` on.
#[derive(Debug)]
pub struct Straggler {
    /// The socket.
    pub socket: SocketRef,
    /// Room.
    pub room: String,
    /// The first message it has not got.
    pub from: Position,
    /// Why.
    pub why: Behind,
    /// Identifies the membership.
    pub ticket: u64,
    /// Since when.
    pub since: Instant,
}

/// The members of one room.
#[derive(Debug, Default)]
pub struct Room {
    members: Vec<Member>,
}

impl Room {
    /// Whether nobody is here.
    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// Adds a member, or replaces its former membership.
    pub fn enter(&mut self, socket: SocketRef, user: Arc<str>, behind: Option<Behind>, ticket: u64) {
        self.leave(socket.id);
        self.members.push(Member { socket, user, behind, ticket });
    }

    /// Removes a member. False if it was none.
    pub fn leave(&mut self, socket: Sid) -> bool {
        let Some(at) = self.members.iter().position(|member| member.socket.id == socket) else {
            return false;
        };
        self.members.swap_remove(at);
        true
    }

    /// The member as it was when `ticket` was given.
    pub fn member(&mut self, socket: Sid, ticket: u64) -> Option<&mut Member> {
        self.members.iter_mut().find(|member| member.socket.id == socket && member.ticket == ticket)
    }

    /// Sends a message to every member that is not behind, and returns those that fall behind now; how many got it is
    /// added to `receipts`.
    pub fn deliver(
        &mut self,
        partition: i32,
        delivery: &Delivery,
        replayed: bool,
        ignore_full: bool,
        now: Instant,
        receipts: &mut u64,
    ) -> Vec<Straggler> {
        let position = Position { partition, offset: delivery.offset };
        // Encoded once for everybody: a room of a thousand members would otherwise cost a thousand encodings.
        let Some(encoded) = encode(Some(position), &delivery.record, replayed) else { return Vec::new() };
        let mut stragglers = Vec::new();
        self.emit(&encoded, &delivery.record, ignore_full, receipts, |member| {
            stragglers.push(Straggler {
                socket: member.socket.clone(),
                room: delivery.record.room.clone(),
                from: position,
                why: Behind::Slow,
                ticket: member.ticket,
                since: now,
            });
        });
        stragglers
    }

    /// Topology `relay`: sends a message to every member. One whose buffer is full gets no more, and is returned: there is
    /// nothing to catch it up from. How many got it is added to `receipts`.
    pub fn deliver_relayed(
        &mut self,
        record: &ChatRecord,
        ignore_full: bool,
        receipts: &mut u64,
    ) -> Vec<SocketRef> {
        let Some(encoded) = encode(None, record, false) else { return Vec::new() };
        let mut too_slow = Vec::new();
        self.emit(&encoded, record, ignore_full, receipts, |member| too_slow.push(member.socket.clone()));
        too_slow
    }

    /// Sends a message to every member that is not behind; those whose buffer is full fall behind now.
    fn emit(
        &mut self,
        encoded: &RawValue,
        record: &ChatRecord,
        ignore_full: bool,
        receipts: &mut u64,
        mut fell_behind: impl FnMut(&Member),
    ) {
        for member in self.members.iter_mut().filter(|member| member.behind.is_none()) {
            match member.socket.emit(events::MESSAGE, encoded) {
                Ok(()) => *receipts += 1,
                Err(SendError::Socket(SocketError::InternalChannelFull)) if !ignore_full => {
                    member.behind = Some(Behind::Slow);
                    fell_behind(member);
                }
                Err(SendError::Socket(SocketError::InternalChannelFull)) => {
                    wronged(Bug::DropWhenFull, record)
                }
                // Closed: its session is about to remove it.
                Err(_) => {}
            }
        }
    }

    /// Sends something that may get lost to everybody but `except`, if the room is small.
    pub fn send_volatile(&self, event: &str, payload: &impl Serialize, except: &str) {
        if self.members.len() > limits::SMALL_ROOM {
            return;
        }
        for member in self.members.iter().filter(|member| &*member.user != except) {
            // Lost without harm, so a full or closed socket is no matter.
            drop(member.socket.emit(event, payload));
        }
    }
}

impl Member {
    /// From now on this member gets messages as they come.
    pub fn caught_up(&mut self) {
        self.behind = None;
    }
}

/// The event as every member gets it.
pub fn encode(position: Option<Position>, record: &ChatRecord, replayed: bool) -> Option<Box<RawValue>> {
    let message = borrowed::Message { position, record: record.into(), replayed };
    serde_json::value::to_raw_value(&message).ok()
}

/// The event for one member that is caught up.
pub fn replayed(position: Position, record: &ChatRecord) -> Message {
    Message { position: Some(position), record: record.clone(), replayed: true }
}
