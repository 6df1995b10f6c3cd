//! Expectations where nobody knows a position (topology `relay`): what is owed follows from times alone.
//!
//! A message is owed to whoever had entered the room (and knew it) before it was handed to its sender's socket, and has
//! not left. One clock saw both, so there is no doubt. Sessions do not matter: a member whose connection broke is still
//! a member, and the promise is that they see it, live or after they come back.
//!
//! Not owed, as it cannot be decided: what was sent while somebody was entering; and what was acked shortly before
//! somebody left or went for good. Of that only what order proves is owed: a message that was acked before another one
//! was sent, which the user did receive.

use std::collections::BTreeMap;

use super::Due;
use crate::{
    history::{
        History,
        index::{NOWHERE, UserEvent, UserStep},
    },
    plan::Arrivals,
};

/// Every message of a room that was sent after one time, owed to one user.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimedExpectation {
    /// To whom.
    pub user: u32,
    /// When the user knew that they are in the room.
    pub joined_us: u64,
    /// How it ended.
    pub end: TimedEnd,
}

/// How an expectation ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TimedEnd {
    /// It did not: the user was there when the ledgers came to rest.
    Stands,
    /// The user left the room; owed is what was acked before this time.
    Left(u64),
    /// The user's session ended, and they never came back; the same.
    Gone(u64),
}

impl TimedExpectation {
    /// Whether a message that was sent and acked at these times is owed.
    pub fn at(&self, sent_us: u64, acked_us: u64) -> Due {
        if sent_us <= self.joined_us {
            return Due::Nothing;
        }
        match self.end {
            TimedEnd::Stands => Due::Owed,
            TimedEnd::Left(proved_us) | TimedEnd::Gone(proved_us) if acked_us < proved_us => Due::Owed,
            TimedEnd::Left(_) => Due::Nothing,
            TimedEnd::Gone(_) => Due::Gone,
        }
    }
}

/// A membership while a user's steps are read.
#[derive(Debug, Clone, Copy)]
struct Member {
    joined_us: u64,
    away_since_us: Option<u64>,
}

/// The expectations of one user, with their rooms.
pub(super) fn of_user(
    user: u32,
    history: &History,
    arrivals: &Arrivals,
    at_rest_us: u64,
) -> Vec<(u32, TimedExpectation)> {
    let mut members: BTreeMap<u32, Member> = BTreeMap::new();
    let mut expected = Vec::new();
    let mut in_session = false;
    let proved_us = |room: u32, ended_us: u64| {
        let received = history.received_by(user).filter(|receipt| receipt.at_us <= ended_us);
        let of_room = received.filter(|receipt| {
            arrivals.list.get(receipt.message as usize).is_some_and(|arrival| arrival.room == room)
        });
        of_room.filter_map(|receipt| history.outcome(receipt.message).sent_us()).max().unwrap_or(0)
    };
    for UserStep { at_us, what, .. } in history.steps_of(user) {
        match *what {
            UserEvent::Connected { .. } => in_session = true,
            UserEvent::Disconnected { .. } if *at_us < at_rest_us => {
                in_session = false;
                members.values_mut().for_each(|member| _ = member.away_since_us.get_or_insert(*at_us));
            }
            UserEvent::Joined { room, partition, offset, .. } if (partition, offset) == NOWHERE => {
                let member = members.entry(room).or_insert(Member { joined_us: *at_us, away_since_us: None });
                member.away_since_us = None;
            }
            UserEvent::Left { room } if *at_us < at_rest_us => {
                if let Some(Member { joined_us, .. }) = members.remove(&room) {
                    let end = TimedEnd::Left(proved_us(room, *at_us));
                    expected.push((room, TimedExpectation { user, joined_us, end }));
                }
            }
            _ => {}
        }
    }
    expected.extend(members.into_iter().map(|(room, Member { joined_us, away_since_us })| {
        let end = match away_since_us {
            Some(since_us) if !in_session => TimedEnd::Gone(proved_us(room, since_us)),
            _ => TimedEnd::Stands,
        };
        (room, TimedExpectation { user, joined_us, end })
    }));
    expected
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        checkers::fixture::{Run, at},
        history::EventKind,
    };

    /// The expectations of user 0 in room 0, of steps at 10, 20, … with message 1 sent at 25.
    fn expected(steps: Vec<EventKind>) -> Vec<TimedExpectation> {
        let run = Run::clean(4);
        let mut events = vec![at(25, EventKind::Sent { message: 1 })];
        events.extend((1_u64..).zip(steps).map(|(n, what)| at(n * 10, what)));
        let history = History::from_events(&run.plan, events);
        of_user(0, &history, &run.arrivals, 1_000).into_iter().map(|(_, expectation)| expectation).collect()
    }

    const JOINED: EventKind = EventKind::JoinedUnplaced { user: 0, room: 0 };
    const GOT: EventKind = EventKind::ReceivedUnplaced { user: 0, message: 1 };

    fn away() -> EventKind {
        EventKind::Disconnected { user: 0, node: 0, why: "reset".into() }
    }

    #[test]
    fn what_was_sent_after_the_join_is_owed_across_sessions() {
        let [expectation] = expected(vec![JOINED, away(), JOINED])[..] else { panic!("one expectation") };
        assert_eq!(expectation, TimedExpectation { user: 0, joined_us: 10, end: TimedEnd::Stands });
        assert_eq!(expectation.at(10, 12), Due::Nothing, "perhaps before the node knew of the member");
        assert_eq!(expectation.at(11, 12), Due::Owed);
        assert_eq!(expectation.at(25, 28), Due::Owed, "said while they were away: they came back");
    }

    #[test]
    fn who_never_came_back_or_left_is_owed_what_order_proves() {
        let left = EventKind::Left { user: 0, room: 0 };
        for (end, otherwise) in [(away(), Due::Gone), (left, Due::Nothing)] {
            let [expectation] = expected(vec![JOINED, JOINED, GOT, end])[..] else {
                panic!("one expectation")
            };
            assert_eq!(expectation.at(11, 24), Due::Owed, "acked before what was received was sent");
            assert_eq!(expectation.at(11, 26), otherwise, "it may have been on its way");
        }
    }

    #[test]
    fn a_place_makes_no_timed_expectation() {
        let joined = EventKind::Joined { user: 0, room: 0, partition: 0, offset: 0, resumed: false };
        assert!(expected(vec![joined]).is_empty());
    }
}
