//! What one session has asked and has no answer to yet. Acks are never waited for; they are looked up here when they come,
//! and given up here when they do not.

use std::{
    collections::{BTreeMap, VecDeque},
    time::Instant,
};

/// Something asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Asked {
    /// A message was sent.
    Send {
        /// Its number.
        message: u32,
        /// It was already given up; kept, as the promise may still come.
        given_up: bool,
    },
    /// A room, by its slot, was asked for.
    Enter {
        slot: usize,
        /// By `resume`, and not by `join`.
        resumed: bool,
    },
    /// A room was left.
    Leave { slot: usize },
}

/// Something that took too long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Overdue {
    /// A message's ack.
    Send { message: u32 },
    /// A room's.
    Room { slot: usize },
}

/// Everything asked in one session. Bounded by the schedule: each message is asked about once.
#[derive(Debug, Default)]
pub(super) struct InFlight {
    asked: BTreeMap<i64, Asked>,
    // Each in the order of its deadlines, as each has one length. Answered ones are skipped when their turn comes.
    sends: VecDeque<(Instant, i64)>,
    others: VecDeque<(Instant, i64)>,
}

impl InFlight {
    pub(super) fn ask(&mut self, ack: i64, what: Asked, deadline: Instant) {
        self.asked.insert(ack, what);
        let queue = if matches!(what, Asked::Send { .. }) { &mut self.sends } else { &mut self.others };
        queue.push_back((deadline, ack));
    }

    /// The answer came: what was it to?
    pub(super) fn answer(&mut self, ack: i64) -> Option<Asked> {
        self.asked.remove(&ack)
    }

    /// The earliest instant at which something may be overdue.
    pub(super) fn next_deadline(&mut self) -> Option<Instant> {
        for queue in [&mut self.sends, &mut self.others] {
            while queue.front().is_some_and(|(_, ack)| !self.asked.contains_key(ack)) {
                queue.pop_front();
            }
        }
        let fronts = [self.sends.front(), self.others.front()];
        fronts.into_iter().flatten().map(|(deadline, _)| *deadline).min()
    }

    /// Gives up one thing whose time has come.
    pub(super) fn give_up(&mut self, now: Instant) -> Option<Overdue> {
        for queue in [&mut self.sends, &mut self.others] {
            while let Some((_, ack)) = queue.pop_front_if(|(deadline, _)| *deadline <= now) {
                match self.asked.get_mut(&ack) {
                    None => {}
                    Some(Asked::Send { message, given_up }) => {
                        *given_up = true;
                        return Some(Overdue::Send { message: *message });
                    }
                    Some(Asked::Enter { slot, .. } | Asked::Leave { slot }) => {
                        let slot = *slot;
                        self.asked.remove(&ack);
                        return Some(Overdue::Room { slot });
                    }
                }
            }
        }
        None
    }

    /// The session is over: messages whose fate was still open, in the order they were sent.
    pub(super) fn end(&mut self) -> impl Iterator<Item = u32> + use<> {
        let Self { asked, .. } = std::mem::take(self);
        asked.into_values().filter_map(|asked| match asked {
            Asked::Send { message, given_up: false } => Some(message),
            _ => None,
        })
    }

    /// True while a room's answer is awaited.
    pub(super) fn awaits_rooms(&self) -> bool {
        self.asked.values().any(|asked| !matches!(asked, Asked::Send { .. }))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_message_is_given_up_once_and_its_late_ack_is_still_known() {
        let zero = Instant::now();
        let later = |ms| zero + Duration::from_millis(ms);
        let mut in_flight = InFlight::default();
        in_flight.ask(0, Asked::Send { message: 7, given_up: false }, later(10));
        in_flight.ask(1, Asked::Send { message: 8, given_up: false }, later(20));
        assert_eq!(in_flight.answer(0), Some(Asked::Send { message: 7, given_up: false }));
        assert_eq!(in_flight.next_deadline(), Some(later(20)));
        assert_eq!(in_flight.give_up(later(19)), None);
        assert_eq!(in_flight.give_up(later(20)), Some(Overdue::Send { message: 8 }));
        assert_eq!(in_flight.give_up(later(99)), None);
        assert_eq!(in_flight.answer(1), Some(Asked::Send { message: 8, given_up: true }));
        assert_eq!(in_flight.answer(1), None);
    }

    #[test]
    fn the_end_of_a_session_leaves_open_only_what_was_not_given_up() {
        let now = Instant::now();
        let mut in_flight = InFlight::default();
        in_flight.ask(0, Asked::Send { message: 1, given_up: false }, now);
        in_flight.ask(1, Asked::Enter { slot: 0, resumed: false }, now + Duration::from_secs(9));
        in_flight.ask(2, Asked::Send { message: 2, given_up: false }, now + Duration::from_secs(9));
        assert!(in_flight.awaits_rooms());
        assert_eq!(in_flight.give_up(now), Some(Overdue::Send { message: 1 }));
        assert_eq!(in_flight.end().collect::<Vec<_>>(), [2]);
        assert_eq!(in_flight.next_deadline(), None);
        assert!(!in_flight.awaits_rooms());
    }
}
