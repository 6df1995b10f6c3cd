//! What each member of a room is owed, worked out from joins, leaves and sessions alone.
//!
//! An expectation begins at the offset of a `Joined` and runs, across disconnects, for as long as the user resumes. It ends
//! - never, for a user who is in a session when the ledgers have come to rest, be it that they are kept out of the room:
//!   they came back, and it is the cluster that owes them the way in;
//! - when the user leaves, or goes and does not come back, or comes back and joins afresh. What was in flight just then
//!   cannot be told from what was never sent, so such an expectation is only held to what order already proves: every message
//!   below the highest offset the user did receive.
//!
//! Everybody leaves and disconnects when the run is taken down, after the ledgers came to rest: that ends no expectation.
//!
//! Where the expectation begins is what the node said. It is not taken at its word: what was sent after the user knew of the join
//! stands behind its offset, in the same partition, or the join's answer was wrong ([`Due::Contradicted`]).
//!
//! A user who asked to resume and was told that the log no longer has what was missed joins afresh by necessity, and the
//! expectation runs on: what the log lost, the user lost.
//!
//! Where nobody knows offsets (topology `relay`), [`timed`] works with times instead.

pub mod timed;

use std::collections::BTreeMap;

use timed::TimedExpectation;

use crate::{
    history::{
        History,
        index::{NOWHERE, UserEvent, UserStep},
    },
    plan::Arrivals,
};

/// Every message of a room from one offset to another, owed to one user.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Expectation {
    /// To whom.
    pub user: u32,
    /// When the user knew that they are in the room.
    pub joined_us: u64,
    /// Partition of the room.
    pub partition: i32,
    /// First offset owed.
    pub from: i64,
    /// Last offset owed.
    pub through: i64,
    /// How it ended.
    pub end: End,
}

/// How an expectation ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// It did not: the user was there when the ledgers came to rest.
    Stands,
    /// The user left the room.
    Left,
    /// The user's session ended, and they never came back to the room.
    Gone,
    /// The user came back, and joined afresh from this offset instead of resuming.
    FreshJoin {
        /// First offset owed anew.
        at: i64,
    },
}

/// What an expectation says about a position.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Due {
    /// Nothing: before the join, another partition, after leaving.
    Nothing,
    /// The user was away for good: no promise.
    Gone,
    /// The user was away and joined afresh: no promise.
    FreshJoin,
    /// It must have been received.
    Owed,
    /// It was sent after the user had joined, and stands where the join's answer says nothing is owed.
    Contradicted,
}

impl Expectation {
    /// Whether the message at a position, handed to its sender's socket at a time, is owed.
    pub fn at(&self, partition: i32, offset: i64, sent_us: u64) -> Due {
        if partition != self.partition || offset < self.from {
            let standing = self.end == End::Stands && sent_us > self.joined_us;
            return if standing { Due::Contradicted } else { Due::Nothing };
        }
        match self.end {
            _ if offset <= self.through => Due::Owed,
            End::Gone => Due::Gone,
            End::FreshJoin { at } if offset < at => Due::FreshJoin,
            _ => Due::Nothing,
        }
    }
}

/// What a message is held against expectations by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Placement {
    /// Where it stands.
    At {
        /// Partition.
        partition: i32,
        /// Offset.
        offset: i64,
        /// When it was handed to the sender's socket; zero when nobody knows.
        sent_us: u64,
    },
    /// When it was said, where no position is known.
    Between {
        /// When it was handed to the sender's socket.
        sent_us: u64,
        /// When its sender had the ack; never for a message without one.
        acked_us: u64,
    },
}

/// All expectations of a run.
#[derive(Debug, Clone, Default)]
pub struct ExpectedDeliveries {
    /// By room; within a room, the expectations of one user lie side by side.
    rooms: BTreeMap<u32, Vec<Expectation>>,
    /// The same for expectations by time.
    timed: BTreeMap<u32, Vec<TimedExpectation>>,
    /// Users and rooms that were joined afresh after an earlier session.
    pub fresh_joins: u64,
    /// Users and rooms that could not resume, as the log no longer had what they missed.
    pub resumes_refused: u64,
    /// Users and rooms whose session ended for good before the ledgers came to rest.
    pub gone: u64,
}

/// An expectation that is still running while a user's steps are read.
#[derive(Debug, Clone, Copy)]
struct Running {
    expectation: Expectation,
    /// Since when the user has had no session.
    away_since_us: Option<u64>,
    /// A resume was refused, as the log no longer has what is owed.
    refused: bool,
}

impl ExpectedDeliveries {
    /// Works the expectations out.
    pub fn of(arrivals: &Arrivals, history: &History) -> Self {
        let mut expected = Self::default();
        // Sessions are closed when the run is taken down; that is nobody's going away.
        let at_rest_us = history.at_rest_us();
        for user in 0..history.users() {
            expected.add_user(user, history, arrivals, at_rest_us);
        }
        expected
    }

    /// What the members of a room are owed, by position.
    pub fn of_room(&self, room: u32) -> &[Expectation] {
        self.rooms.get(&room).map_or(&[], Vec::as_slice)
    }

    /// Asks every member of a room, once each, whether a message is owed to them.
    pub fn each(&self, room: u32, placement: Placement, mut take: impl FnMut(u32, Due)) {
        match placement {
            Placement::At { partition, offset, sent_us } => {
                for expected in self.of_room(room).chunk_by(|a, b| a.user == b.user) {
                    let due =
                        expected.iter().map(|expectation| expectation.at(partition, offset, sent_us)).max();
                    take(expected[0].user, due.unwrap_or(Due::Nothing));
                }
            }
            Placement::Between { sent_us, acked_us } => {
                let expected = self.timed.get(&room).map_or(&[][..], Vec::as_slice);
                for expected in expected.chunk_by(|a, b| a.user == b.user) {
                    let due = expected.iter().map(|expectation| expectation.at(sent_us, acked_us)).max();
                    take(expected[0].user, due.unwrap_or(Due::Nothing));
                }
            }
        }
    }

    fn add_user(&mut self, user: u32, history: &History, arrivals: &Arrivals, at_rest_us: u64) {
        for (room, expectation) in timed::of_user(user, history, arrivals, at_rest_us) {
            self.gone += u64::from(matches!(expectation.end, timed::TimedEnd::Gone(_)));
            self.timed.entry(room).or_default().push(expectation);
        }
        let mut running: BTreeMap<u32, Running> = BTreeMap::new();
        // Ended expectations by room, with the time they ended at.
        let mut ended: BTreeMap<u32, Vec<(u64, Expectation)>> = BTreeMap::new();
        let mut end = |room: u32, at_us: u64, expectation: Expectation| {
            ended.entry(room).or_default().push((at_us, expectation))
        };
        let mut in_session = false;
        for UserStep { at_us, what, .. } in history.steps_of(user) {
            match *what {
                UserEvent::Connected { .. } => in_session = true,
                UserEvent::Disconnected { .. } if *at_us < at_rest_us => {
                    in_session = false;
                    for room in running.values_mut() {
                        room.away_since_us.get_or_insert(*at_us);
                    }
                }
                UserEvent::Joined { room, partition, offset, resumed } if (partition, offset) != NOWHERE => {
                    let fresh = Expectation {
                        user,
                        joined_us: *at_us,
                        partition,
                        from: offset,
                        through: i64::MAX,
                        end: End::Stands,
                    };
                    match running.get_mut(&room) {
                        Some(before) if resumed || before.refused || before.away_since_us.is_none() => {
                            (before.away_since_us, before.refused) = (None, false);
                        }
                        Some(before) => {
                            self.fresh_joins += 1;
                            let since_us = before.away_since_us.unwrap_or(*at_us);
                            end(
                                room,
                                since_us,
                                Expectation { end: End::FreshJoin { at: offset }, ..before.expectation },
                            );
                            *before = Running { expectation: fresh, away_since_us: None, refused: false };
                        }
                        None => {
                            running.insert(
                                room,
                                Running { expectation: fresh, away_since_us: None, refused: false },
                            );
                        }
                    }
                }
                UserEvent::ResumeRefused { room, .. } => {
                    if let Some(before) = running.get_mut(&room) {
                        before.refused = true;
                        self.resumes_refused += 1;
                    }
                }
                UserEvent::Left { room } if *at_us < at_rest_us => {
                    if let Some(before) = running.remove(&room) {
                        end(room, *at_us, Expectation { end: End::Left, ..before.expectation });
                    }
                }
                _ => {}
            }
        }
        for (room, last) in running {
            match last.away_since_us {
                Some(since_us) if !in_session => {
                    self.gone += 1;
                    end(room, since_us, Expectation { end: End::Gone, ..last.expectation });
                }
                _ => self.rooms.entry(room).or_default().push(last.expectation),
            }
        }
        if ended.is_empty() {
            return;
        }
        for (_, expectation) in ended.values_mut().flatten() {
            expectation.through = expectation.from - 1;
        }
        for receipt in history.received_by(user) {
            let Some(arrival) = arrivals.list.get(receipt.message as usize) else { continue };
            for (ended_us, expectation) in ended.get_mut(&arrival.room).into_iter().flatten() {
                if receipt.partition == expectation.partition && receipt.at_us <= *ended_us {
                    expectation.through = expectation.through.max(receipt.offset);
                }
            }
        }
        for (room, expected) in ended {
            // Expectations of one user must lie side by side: this user's are the last of every room so far.
            self.rooms
                .entry(room)
                .or_default()
                .extend(expected.into_iter().map(|(_, expectation)| expectation));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        checkers::fixture::{Run, at},
        history::{EventKind, Phase},
    };

    const JOIN: fn(i64, bool) -> EventKind =
        |offset, resumed| EventKind::Joined { user: 0, room: 0, partition: 0, offset, resumed };

    fn expected(steps: Vec<EventKind>) -> ExpectedDeliveries {
        let run = Run::clean(4);
        let mut events =
            vec![at(0, EventKind::Phase(Phase::Load)), at(1_000, EventKind::Phase(Phase::Settled))];
        events.extend((10_u64..).zip(steps).map(|(at_us, what)| at(at_us, what)));
        ExpectedDeliveries::of(&run.arrivals, &History::from_events(&run.plan, events))
    }

    fn away() -> EventKind {
        EventKind::Disconnected { user: 0, node: 0, why: "reset".into() }
    }

    fn got(message: u32) -> EventKind {
        EventKind::Received { user: 0, message, partition: 0, offset: i64::from(message), replayed: false }
    }

    #[test]
    fn a_debt_runs_on_across_a_resume() {
        let expected = expected(vec![JOIN(2, false), away(), JOIN(3, true)]);
        assert_eq!(expected.of_room(0).len(), 1);
        let expectation = expected.of_room(0)[0];
        assert_eq!((expectation.from, expectation.through, expectation.end), (2, i64::MAX, End::Stands));
        assert_eq!(expectation.at(0, 1, 0), Due::Nothing);
        assert_eq!(expectation.at(1, 9, 0), Due::Nothing);
        assert_eq!(expectation.at(0, 9, 0), Due::Owed);
    }

    #[test]
    fn who_never_came_back_is_owed_what_lies_below_their_last_receipt() {
        let expected = expected(vec![JOIN(0, false), got(2), away()]);
        let expectation = expected.of_room(0)[0];
        assert_eq!(expected.gone, 1);
        assert_eq!(
            [expectation.at(0, 1, 0), expectation.at(0, 2, 0), expectation.at(0, 3, 0)],
            [Due::Owed, Due::Owed, Due::Gone]
        );
    }

    #[test]
    fn a_fresh_join_leaves_a_hole_that_nobody_promised() {
        let expected = expected(vec![JOIN(0, false), got(0), away(), JOIN(3, false)]);
        let [old, new] = expected.of_room(0) else { panic!("two expected") };
        assert_eq!(expected.fresh_joins, 1);
        let due = |offset| old.at(0, offset, 0).max(new.at(0, offset, 0));
        assert_eq!([due(0), due(1), due(3)], [Due::Owed, Due::FreshJoin, Due::Owed]);
    }

    #[test]
    fn a_resume_that_the_log_cannot_serve_ends_no_expectation() {
        let refused = EventKind::ResumeRefused { user: 0, room: 0, partition: 0, offset: 1 };
        let expected = expected(vec![JOIN(0, false), got(0), away(), refused, JOIN(3, false)]);
        assert_eq!((expected.resumes_refused, expected.fresh_joins), (1, 0));
        let [expectation] = expected.of_room(0) else { panic!("one expectation") };
        assert_eq!(
            [expectation.at(0, 1, 0), expectation.at(0, 2, 0), expectation.at(0, 9, 0)],
            [Due::Owed; 3]
        );
    }

    #[test]
    fn who_left_is_owed_nothing_more() {
        let expected = expected(vec![JOIN(0, false), got(1), EventKind::Left { user: 0, room: 0 }]);
        let expectation = expected.of_room(0)[0];
        assert_eq!([expectation.at(0, 0, 0), expectation.at(0, 2, 0)], [Due::Owed, Due::Nothing]);
    }
    #[test]
    fn the_end_of_the_run_ends_no_expectation() {
        let run = Run::clean(4);
        let events = [
            at(10, JOIN(0, false)),
            at(1_000, EventKind::Phase(Phase::Settled)),
            at(1_001, EventKind::Left { user: 0, room: 0 }),
            at(1_002, away()),
        ];
        let expected = ExpectedDeliveries::of(&run.arrivals, &History::from_events(&run.plan, events));
        assert_eq!(expected.of_room(0)[0].at(0, 9, 0), Due::Owed);
    }

    #[test]
    fn who_is_back_and_kept_out_is_owed_all_the_same() {
        let back = EventKind::Connected { user: 0, node: 0 };
        let refused = EventKind::JoinFailed { user: 0, room: 0, why: "busy".into() };
        let expected = expected(vec![JOIN(0, false), got(0), away(), back, refused]);
        assert_eq!(expected.gone, 0);
        assert_eq!(expected.of_room(0)[0].at(0, 9, 0), Due::Owed);
    }

    #[test]
    fn a_join_that_says_too_late_a_start_is_contradicted_by_what_was_sent_after_it() {
        let expected = expected(vec![JOIN(1_000, false)]);
        let expectation = expected.of_room(0)[0];
        assert_eq!(expectation.at(0, 5, expectation.joined_us), Due::Nothing, "sent before the answer");
        assert_eq!(expectation.at(0, 5, expectation.joined_us + 1), Due::Contradicted);
        assert_eq!(
            expectation.at(7, 1_005, expectation.joined_us + 1),
            Due::Contradicted,
            "another partition"
        );
        assert_eq!(expectation.at(0, 1_000, expectation.joined_us + 1), Due::Owed);
    }
}
