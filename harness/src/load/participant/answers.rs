//! The answers a user gets, and what is made of them when they do not come: the fate of every message, and the rooms.

use std::{
    sync::atomic::Ordering::Relaxed,
    time::{Duration, Instant},
};

use chat_protocol::{
    Position,
    events::{Code, Joined, Refusal, Reply, Sent},
};
use serde::Deserialize;

use super::{
    Fate, Outcome, Participant,
    in_flight::{Asked, Overdue},
    receipts::OTHER_TOPOLOGY,
};
use crate::{
    history::{EventKind, Reason},
    load::socket_io::SessionError,
};

/// An ack's payload: an array with the answer as its one element.
fn answer<'a, T: Deserialize<'a>>(json: &'a str) -> Result<T, String> {
    let (reply,) = serde_json::from_str(json)
        .map_err(|error| format!("an answer of another shape ({error}): {json}"))?;
    Ok(reply)
}

impl Participant {
    /// An ack came.
    pub(super) fn on_ack(&mut self, at: Instant, id: i64, json: &str) {
        let handled = match self.in_flight.answer(id) {
            Some(Asked::Send { message, given_up }) => self.on_sent(at, message, given_up, json),
            Some(Asked::Enter { slot, resumed }) => self.on_entered(at, slot, resumed, json),
            Some(Asked::Leave { slot }) => self.on_left(at, slot, json),
            None => Err(format!("an ack nobody asked for: {id}{json}")),
        };
        if let Err(detail) = handled {
            self.unexplained(at, detail);
        }
    }

    fn on_sent(&mut self, at: Instant, message: u32, given_up: bool, json: &str) -> Result<(), String> {
        let reply: Reply<Sent> = match answer(json) {
            Ok(reply) => reply,
            Err(detail) => {
                // An answer that cannot be read leaves the message's fate as open as none.
                if !given_up {
                    self.open_fate(at, message, Reason::Unavailable);
                }
                return Err(detail);
            }
        };
        let mut fits = true;
        match reply {
            Reply::Ok(Sent { position, .. }) => {
                fits = self.fits_topology(position);
                // A promise is a promise, however late: the checkers hold the cluster to it.
                let what = match position {
                    Some(Position { partition, offset }) => EventKind::Acked { message, partition, offset },
                    None => EventKind::AckedUnplaced { message },
                };
                self.world.recorder.record_at(at, what);
                self.world.stats.count_acked(self.since_due(at, message));
                if given_up {
                    self.world.stats.acked_late.fetch_add(1, Relaxed);
                } else {
                    self.fate(at, message, Outcome::Acked);
                }
            }
            // Given up already, and still not promised: nothing new.
            Reply::Error(_) if given_up => {}
            Reply::Error(Refusal { code: Code::Unavailable, .. }) => {
                self.open_fate(at, message, Reason::Unavailable);
            }
            Reply::Error(Refusal { code, .. }) => {
                self.world.recorder.record_at(at, EventKind::Refused { message, code });
                self.world.stats.refused.fetch_add(1, Relaxed);
                self.fate(at, message, Outcome::Refused);
            }
        }
        if fits { Ok(()) } else { Err(format!("an ack {OTHER_TOPOLOGY}: {json}")) }
    }

    fn on_entered(&mut self, at: Instant, slot: usize, resumed: bool, json: &str) -> Result<(), String> {
        let reply: Result<Reply<Joined>, String> = answer(json);
        let user = self.user;
        let fits = match &reply {
            Ok(Reply::Ok(Joined { position, .. })) => self.fits_topology(*position),
            _ => true,
        };
        let Some(room) = self.rooms.slot(slot) else { return Ok(()) };
        match reply {
            Ok(Reply::Ok(Joined { position, .. })) if fits => {
                room.entered(position);
                let room = room.index;
                let what = match position {
                    Some(Position { partition, offset }) => {
                        EventKind::Joined { user, room, partition, offset, resumed }
                    }
                    None => EventKind::JoinedUnplaced { user, room },
                };
                self.world.recorder.record_at(at, what);
                if self.rooms.all_in() {
                    self.backoff.reset();
                    self.set_joined(true);
                }
                Ok(())
            }
            Ok(Reply::Ok(_)) => {
                let detail = format!("a join {OTHER_TOPOLOGY}: {json}");
                self.room_failed(at, slot, detail.clone());
                Err(detail)
            }
            // The log no longer has what was missed. Asking again would not bring it back: the hole is noted, and the
            // next question is a fresh join.
            Ok(Reply::Error(Refusal { code: Code::OutOfRange, .. }))
                if let Some(missed) = room.next.take() =>
            {
                let Position { partition, offset } = missed;
                let what = EventKind::ResumeRefused { user, room: room.index, partition, offset };
                self.world.recorder.record_at(at, what);
                self.room_failed(at, slot, format!("offset {offset} is no longer in the log"));
                Ok(())
            }
            Ok(Reply::Error(refusal)) => {
                self.room_failed(at, slot, format!("{:?}: {}", refusal.code, refusal.message));
                Ok(())
            }
            Err(detail) => {
                self.room_failed(at, slot, detail.clone());
                Err(detail)
            }
        }
    }

    fn room_failed(&mut self, at: Instant, slot: usize, why: String) {
        let again_in = self.backoff.next();
        let Some(room) = self.rooms.slot(slot) else { return };
        room.ask_again_at(at + again_in);
        self.world.stats.trouble(&format!("{}: {why}", room.name));
        self.world.recorder.record_at(at, EventKind::JoinFailed { user: self.user, room: room.index, why });
    }

    fn on_left(&mut self, at: Instant, slot: usize, json: &str) -> Result<(), String> {
        let reply: Reply<serde::de::IgnoredAny> = answer(json)?;
        if let (Reply::Ok(_), Some(room)) = (reply, self.rooms.slot(slot)) {
            self.world.recorder.record_at(at, EventKind::Left { user: self.user, room: room.index });
        }
        Ok(())
    }

    /// Gives up what has waited long enough. An unanswered room ends the session: asking twice could deliver twice.
    pub(super) fn give_up_overdue(&mut self, now: Instant) -> Result<(), SessionError> {
        while let Some(overdue) = self.in_flight.give_up(now) {
            match overdue {
                Overdue::Send { message } => self.open_fate(now, message, Reason::Timeout),
                Overdue::Room { slot } => {
                    self.room_failed(now, slot, "no answer".to_owned());
                    return Err(SessionError::Slow(super::ROOM_ANSWER_LIMIT.as_millis()));
                }
            }
        }
        Ok(())
    }

    /// The message may or may not be in the log.
    pub(super) fn open_fate(&mut self, at: Instant, message: u32, why: Reason) {
        self.world.recorder.record_at(at, EventKind::Indeterminate { message, why });
        self.world.stats.indeterminate.fetch_add(1, Relaxed);
        self.fate(at, message, Outcome::Indeterminate);
    }

    fn fate(&mut self, at: Instant, message: u32, outcome: Outcome) {
        let took = self.since_due(at, message);
        self.fates.push_back(Fate { took, outcome });
    }

    /// Time since the message was due: what its sender would have waited, had they typed it then.
    pub(super) fn since_due(&self, at: Instant, message: u32) -> Duration {
        let due = self.world.due(message);
        due.map_or(Duration::ZERO, |due| at.saturating_duration_since(due))
    }
}
