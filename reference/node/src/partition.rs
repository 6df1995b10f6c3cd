//! One partition of the log on this node: its order, its recent messages, and the rooms that live in it.
//!
//! A room lives in exactly one partition. So everything that must happen together (a message takes its place in the
//! order and goes to the members; a member enters at a position) happens under the one lock of the partition, and
//! that is why there is neither a hole nor a repetition between "joined at" and "delivered from".

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use chat_protocol::{ChatRecord, Position};
use serde::Serialize;
use socketioxide::{extract::SocketRef, socket::Sid};

use crate::{
    bugs::{Bug, Bugs, wronged, wronged_range},
    limits,
    recent::{Known, RecentIds},
    ring::{Entry, Ring},
    room::{Behind, Room, Straggler},
    sequencer::{Delivery, Offered, Sequencer, Via},
};

/// A partition.
#[derive(Debug)]
pub struct Partition {
    id: i32,
    bugs: Bugs,
    /// A `std::sync::Mutex`, not a Tokio one: nothing is awaited while it is held, and Kafka's threads take it too.
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// `None` until the end of the log is known.
    order: Option<(Sequencer, Ring)>,
    rooms: HashMap<String, Room>,
    /// What was said, in either topology.
    recent: RecentIds,
    /// While Kafka is tailed: until when, at least.
    tail_until: Option<Instant>,
}

/// What a call delivered.
#[derive(Debug, Default)]
pub struct Effect {
    /// Messages that took their place in the order.
    pub messages: u64,
    /// How many of them are an earlier one, sent again, and went no further.
    pub repeated: u64,
    /// How many of them are another message under an identity that is taken, and went no further.
    pub conflicts: u64,
    /// How many of them came from Kafka.
    pub from_log: u64,
    /// Messages handed to sockets.
    pub receipts: u64,
    /// Members that could not take one, and have to be caught up.
    pub stragglers: Vec<Straggler>,
}

/// What a member that is behind gets next.
#[derive(Debug)]
pub enum Missed {
    /// These, and then ask again from this offset.
    Messages(Vec<Entry>, i64),
    /// They are no longer in memory: read the log up to this offset.
    InLog(i64),
    /// Nothing: the node itself has not got that far.
    NotYet,
    /// Nothing: from now on the member gets messages as they come.
    CaughtUp,
    /// It is no longer a member.
    Left,
}

impl Partition {
    /// A partition of which nothing is known yet.
    pub fn new(id: i32, bugs: Bugs) -> Self {
        let recent = RecentIds::default();
        let recent = if bugs.has(Bug::IdsWithoutSender) { recent.blind() } else { recent };
        Self { id, bugs, state: Mutex::new(State { recent, ..State::default() }) }
    }

    /// A panic ends the process, so a poisoned lock can only be met on the way out.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts the order at the end of the log; later calls only say how far the log reaches.
    pub fn log_ends_at(&self, end: i64, since: Instant) {
        let mut state = self.state();
        match &mut state.order {
            Some((sequencer, _)) => sequencer.exists_until(end, since),
            None => {
                let sequencer = Sequencer::new(end);
                let no_checks = self.bugs.has(Bug::NoDedupe);
                let sequencer = if no_checks { sequencer.without_checks() } else { sequencer };
                state.order = Some((sequencer, Ring::new(end)));
            }
        }
    }

    /// Puts what was in the log before this process started into memory.
    pub fn warm(&self, from: i64, to: i64, older: Vec<Entry>) {
        let State { order: Some((_, ring)), recent, .. } = &mut *self.state() else { return };
        for (_, record) in &older {
            recent.insert(record);
        }
        ring.warm(from, to, older);
    }

    /// Takes the identity of a message that is about to be sent, until it is released; not if it is another message's.
    pub fn claim(&self, record: &ChatRecord) -> Known {
        self.state().recent.claim(record)
    }

    /// A message that was claimed is said, or will not be. Returns what is known of it now.
    pub fn release(&self, record: &ChatRecord) -> Known {
        self.state().recent.release(record)
    }

    /// The next offset to be delivered, if the end of the log is known.
    pub fn next(&self) -> Option<i64> {
        self.state().order.as_ref().map(|(sequencer, _)| sequencer.next())
    }

    /// The first offset in memory.
    pub fn starts_at(&self) -> Option<i64> {
        self.state().order.as_ref().map(|(_, ring)| ring.start())
    }

    /// Whether memory reaches back to an offset.
    pub fn remembers(&self, offset: i64) -> bool {
        self.state().order.as_ref().is_some_and(|(_, ring)| ring.start() <= offset)
    }

    /// A message of this node or from the bus.
    pub fn offer(
        &self,
        offset: i64,
        record: Arc<ChatRecord>,
        via: Via,
        now: Instant,
    ) -> (Option<Offered>, Effect) {
        let mut state = self.state();
        let Some((sequencer, _)) = &mut state.order else { return (None, Effect::default()) };
        let mut out = Vec::new();
        if self.bugs.has(Bug::NoDedupe) && offset < sequencer.next() {
            wronged(Bug::NoDedupe, &record);
        }
        let offered = sequencer.offer(offset, record, via, now, &mut out);
        (Some(offered), self.deliver(&mut state, out, now))
    }

    /// A record of the log, read in order.
    pub fn tail(&self, offset: i64, record: Option<Arc<ChatRecord>>, now: Instant) -> Effect {
        let mut state = self.state();
        let Some((sequencer, _)) = &mut state.order else { return Effect::default() };
        let mut out = Vec::new();
        if self.bugs.has(Bug::NoDedupe) && offset < sequencer.next() {
            wronged_range(Bug::NoDedupe, self.id, offset, offset + 1);
        }
        sequencer.tail(offset, record, now, &mut out);
        self.deliver(&mut state, out, now)
    }

    /// Where Kafka has to be read from, if it has to be: because the subscription is dead, because something known to
    /// exist did not come, or because one of these was so a moment ago.
    pub fn wants_tail(&self, subscription_dead: bool, now: Instant) -> Option<i64> {
        let mut state = self.state();
        let State { order: Some((sequencer, _)), tail_until, .. } = &mut *state else { return None };
        if subscription_dead || sequencer.behind(now) {
            *tail_until = Some(now + limits::TAIL_OVERLAP);
        } else if tail_until.is_some_and(|until| until <= now) {
            *tail_until = None;
        }
        tail_until.map(|_| sequencer.next())
    }

    /// Planted bug `no-resubscribe`: what is missing is jumped over.
    pub fn give_up_gap(&self, now: Instant) -> Effect {
        let mut state = self.state();
        let Some((sequencer, _)) = &mut state.order else { return Effect::default() };
        let mut out = Vec::new();
        if sequencer.behind(now) {
            let from = sequencer.next();
            sequencer.give_up(now, &mut out);
            let to = out.first().map_or(sequencer.next(), |delivery| delivery.offset);
            wronged_range(Bug::NoResubscribe, self.id, from, to);
        }
        self.deliver(&mut state, out, now)
    }

    /// Adds a member that gets every message from the returned position on; `None` while the log's end is unknown.
    pub fn join(&self, room: &str, socket: SocketRef, user: Arc<str>, ticket: u64) -> Option<Position> {
        let mut state = self.state();
        let offset = state.order.as_ref()?.0.next();
        state.rooms.entry(room.to_owned()).or_default().enter(socket, user, None, ticket);
        Some(Position { partition: self.id, offset })
    }

    /// Adds a member that is behind: its catch-up task asks for [`Partition::missed`] until it is not.
    pub fn resume(&self, room: &str, socket: SocketRef, user: Arc<str>, ticket: u64) {
        let behind = Some(Behind::Resuming);
        self.state().rooms.entry(room.to_owned()).or_default().enter(socket, user, behind, ticket);
    }

    /// Topology `relay`: adds a member that gets every message this node hears from now on.
    pub fn enter(&self, room: &str, socket: SocketRef, user: Arc<str>, ticket: u64) {
        self.state().rooms.entry(room.to_owned()).or_default().enter(socket, user, None, ticket);
    }

    /// Topology `relay`: a message was heard. Says whether it was heard before.
    pub fn hear(&self, record: &ChatRecord) -> Known {
        let known = self.state().recent.insert(record);
        if known != Known::New && self.bugs.has(Bug::IdsWithoutSender) {
            wronged(Bug::IdsWithoutSender, record);
        }
        known
    }

    /// Topology `relay`: sends a message that was heard to the members of its room. Returns how many got it, and the
    /// members that did not, as they read too slowly.
    pub fn deliver_relayed(&self, record: &ChatRecord) -> (u64, Vec<SocketRef>) {
        let (mut receipts, ignore_full) = (0, self.bugs.has(Bug::DropWhenFull));
        let mut state = self.state();
        let room = state.rooms.get_mut(&record.room);
        let too_slow = room.map(|room| room.deliver_relayed(record, ignore_full, &mut receipts));
        (receipts, too_slow.unwrap_or_default())
    }

    /// Removes a member.
    pub fn leave(&self, room: &str, socket: Sid) {
        let mut state = self.state();
        if let Some(members) = state.rooms.get_mut(room) {
            members.leave(socket);
            if members.is_empty() {
                state.rooms.remove(room);
            }
        }
    }

    /// What a member that is behind has not got from `from` on. When that is nothing, it stops being behind in the same
    /// moment, so the next message reaches it as it comes.
    pub fn missed(&self, room: &str, socket: Sid, ticket: u64, from: i64) -> Missed {
        let mut state = self.state();
        let State { order: Some((sequencer, ring)), rooms, .. } = &mut *state else { return Missed::NotYet };
        let Some(member) = rooms.get_mut(room).and_then(|room| room.member(socket, ticket)) else {
            return Missed::Left;
        };
        if from > sequencer.next() {
            return Missed::NotYet;
        }
        match ring.of_room(room, from, sequencer.next(), limits::CATCH_UP_BATCH) {
            None => Missed::InLog(ring.start()),
            Some((entries, _)) if entries.is_empty() => {
                member.caught_up();
                Missed::CaughtUp
            }
            Some((entries, next)) => Missed::Messages(entries, next),
        }
    }

    /// Acts for a member, as it was when `ticket` was given: nobody leaves, resumes or joins meanwhile. `None` when it is no
    /// longer that member.
    pub fn for_member<T>(&self, room: &str, socket: Sid, ticket: u64, act: impl FnOnce() -> T) -> Option<T> {
        let mut state = self.state();
        state.rooms.get_mut(room)?.member(socket, ticket)?;
        Some(act())
    }

    /// Sends something that may get lost to the members of a room.
    pub fn send_volatile(&self, room: &str, event: &str, payload: &impl Serialize, except: &str) {
        if let Some(room) = self.state().rooms.get(room) {
            room.send_volatile(event, payload, except);
        }
    }

    fn deliver(&self, state: &mut State, deliveries: Vec<Delivery>, now: Instant) -> Effect {
        let mut effect = Effect::default();
        let ignore_full = self.bugs.has(Bug::DropWhenFull);
        let State { order: Some((_, ring)), rooms, recent, .. } = state else { return effect };
        for delivery in deliveries {
            let from_log = delivery.via == Via::Tail;
            effect.messages += 1;
            effect.from_log += u64::from(from_log);
            let known = recent.insert(&delivery.record);
            if known != Known::New && !self.bugs.has(Bug::NoDedupe) {
                if self.bugs.has(Bug::IdsWithoutSender) {
                    wronged(Bug::IdsWithoutSender, &delivery.record);
                }
                effect.repeated += u64::from(known == Known::Again);
                effect.conflicts += u64::from(known == Known::Conflict);
                continue;
            }
            if let Some(room) = rooms.get_mut(&delivery.record.room) {
                let behind =
                    room.deliver(self.id, &delivery, from_log, ignore_full, now, &mut effect.receipts);
                effect.stragglers.extend(behind);
            }
            ring.push(delivery.offset, delivery.record);
            self.bugs.burn_cpu();
        }
        effect
    }
}
