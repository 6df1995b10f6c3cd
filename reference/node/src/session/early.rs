//! Sends that came before their room was joined.
//!
//! A stock client that was offline emits what it kept the moment it is connected again, before its application can ask for
//! the rooms it was in. Such a `send` waits for the `join` or `resume` of its room, for a stated time from the beginning of
//! the session, and is then carried out in the order of its arrival, before whatever came after the `join`.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use chat_protocol::{
    ChatRecord,
    events::Code,
    limits::{EARLY_SENDS_MAX, EARLY_SENDS_WAIT_MS},
};

use super::{Session, answer::Answer};

/// For people.
const NOT_MEMBER: &str = "join the room first";

/// A send that waits.
#[derive(Debug)]
struct Early {
    record: Arc<ChatRecord>,
    answer: Answer,
    at: Instant,
}

/// The sends of one session that wait for their rooms.
#[derive(Debug)]
pub(super) struct EarlySends {
    waiting: Vec<Early>,
    until: Instant,
}

impl EarlySends {
    /// None yet, of a session that begins now.
    pub(super) fn of_session() -> Self {
        Self { waiting: Vec::new(), until: Instant::now() + Duration::from_millis(EARLY_SENDS_WAIT_MS) }
    }

    /// When those that wait have waited long enough; `None` if none waits.
    pub(super) fn overdue_at(&self) -> Option<Instant> {
        (!self.waiting.is_empty()).then_some(self.until)
    }
}

impl Session {
    /// A send to a room that was not joined: waits for that, if the session is young.
    pub(super) fn send_early(&mut self, record: Arc<ChatRecord>, answer: Answer, at: Instant) {
        if Instant::now() >= self.early.until {
            return self.refuse(answer, Code::NotMember, NOT_MEMBER);
        }
        if self.early.waiting.len() >= EARLY_SENDS_MAX {
            return self.refuse(answer, Code::Busy, "too many messages wait for their rooms to be joined");
        }
        self.early.waiting.push(Early { record, answer, at });
    }

    /// A room was asked for: if it is joined now, what waited for it goes on its way.
    pub(super) fn send_what_waited(&mut self, room: &str) {
        if !self.rooms.contains(room) {
            return;
        }
        let waited = self.early.waiting.extract_if(.., |early| early.record.room == room);
        for Early { record, answer, at } in waited.collect::<Vec<_>>() {
            self.append(record, answer, at);
        }
    }

    /// Nobody asked for the rooms in time.
    pub(super) fn give_up_early(&mut self) {
        for early in std::mem::take(&mut self.early.waiting) {
            self.refuse(early.answer, Code::NotMember, NOT_MEMBER);
        }
    }
}
