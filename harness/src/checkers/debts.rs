//! What each member of a room is owed, worked out from joins, leaves and sessions alone.
//!
//! A debt begins at the offset of a `Joined` and runs, across disconnects, for as long as the user resumes. It ends
//! - never, for a user who is in a session when the ledgers have come to rest, be it that they are kept out of the room:
//!   they came back, and it is the cluster that owes them the way in;
//! - when the user leaves, or goes and does not come back, or comes back and joins afresh. What was in flight just then
//!   cannot be told from what was never sent, so such a debt is only held to what order already proves: every message
//!   below the highest offset the user did receive.
//!
//! Everybody leaves and disconnects when the run is taken down, after the ledgers came to rest: that ends no debt.
//!
//! Where the debt begins is what the node said. It is not taken at its word: what was sent after the user knew of the join
//! stands behind its offset, in the same partition, or the join's answer was wrong ([`Owing::Contradicted`]).
//!
//! A user who asked to resume and was told that the log no longer has what was missed joins afresh by necessity, and the
//! debt runs on: what the log lost, the user lost.
//!
//! Where nobody knows offsets (topology `relay`), [`timed`] works with times instead.

pub mod timed;

use std::collections::BTreeMap;

use timed::TimedDebt;

use crate::{
    history::{
        History,
        index::{NOWHERE, UserDid, UserStep},
    },
    plan::Arrivals,
};

/// Every message of a room from one offset to another, owed to one user.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Debt {
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

/// How a debt ended.
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

/// What a debt says about a position.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Owing {
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

impl Debt {
    /// Whether the message at a position, handed to its sender's socket at a time, is owed.
    pub fn at(&self, partition: i32, offset: i64, sent_us: u64) -> Owing {
        if partition != self.partition || offset < self.from {
            let standing = self.end == End::Stands && sent_us > self.joined_us;
            return if standing { Owing::Contradicted } else { Owing::Nothing };
        }
        match self.end {
            _ if offset <= self.through => Owing::Owed,
            End::Gone => Owing::Gone,
            End::FreshJoin { at } if offset < at => Owing::FreshJoin,
            _ => Owing::Nothing,
        }
    }
}

/// What a message is held against debts by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Said {
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

/// All debts of a run.
#[derive(Debug, Clone, Default)]
pub struct Debts {
    /// By room; within a room, the debts of one user lie side by side.
    rooms: BTreeMap<u32, Vec<Debt>>,
    /// The same for debts by time.
    timed: BTreeMap<u32, Vec<TimedDebt>>,
    /// Users and rooms that were joined afresh after an earlier session.
    pub fresh_joins: u64,
    /// Users and rooms that could not resume, as the log no longer had what they missed.
    pub resumes_refused: u64,
    /// Users and rooms whose session ended for good before the ledgers came to rest.
    pub gone: u64,
}

/// A debt that is still running while a user's steps are read.
#[derive(Debug, Clone, Copy)]
struct Running {
    debt: Debt,
    /// Since when the user has had no session.
    away_since_us: Option<u64>,
    /// A resume was refused, as the log no longer has what is owed.
    refused: bool,
}

impl Debts {
    /// Works the debts out.
    pub fn of(arrivals: &Arrivals, history: &History) -> Self {
        let mut debts = Self::default();
        // Sessions are closed when the run is taken down; that is nobody's going away.
        let at_rest_us = history.at_rest_us();
        for user in 0..history.users() {
            debts.add_user(user, history, arrivals, at_rest_us);
        }
        debts
    }

    /// What the members of a room are owed, by position.
    pub fn of_room(&self, room: u32) -> &[Debt] {
        self.rooms.get(&room).map_or(&[], Vec::as_slice)
    }

    /// Asks every member of a room, once each, whether a message is owed to them.
    pub fn each(&self, room: u32, said: Said, mut take: impl FnMut(u32, Owing)) {
        match said {
            Said::At { partition, offset, sent_us } => {
                for debts in self.of_room(room).chunk_by(|a, b| a.user == b.user) {
                    let owing = debts.iter().map(|debt| debt.at(partition, offset, sent_us)).max();
                    take(debts[0].user, owing.unwrap_or(Owing::Nothing));
                }
            }
            Said::Between { sent_us, acked_us } => {
                let debts = self.timed.get(&room).map_or(&[][..], Vec::as_slice);
                for debts in debts.chunk_by(|a, b| a.user == b.user) {
                    let owing = debts.iter().map(|debt| debt.at(sent_us, acked_us)).max();
                    take(debts[0].user, owing.unwrap_or(Owing::Nothing));
                }
            }
        }
    }

    fn add_user(&mut self, user: u32, history: &History, arrivals: &Arrivals, at_rest_us: u64) {
        for (room, debt) in timed::of_user(user, history, arrivals, at_rest_us) {
            self.gone += u64::from(matches!(debt.end, timed::TimedEnd::Gone(_)));
            self.timed.entry(room).or_default().push(debt);
        }
        let mut running: BTreeMap<u32, Running> = BTreeMap::new();
        // Ended debts by room, with the time they ended at.
        let mut ended: BTreeMap<u32, Vec<(u64, Debt)>> = BTreeMap::new();
        let mut end = |room: u32, at_us: u64, debt: Debt| ended.entry(room).or_default().push((at_us, debt));
        let mut in_session = false;
        for UserStep { at_us, what, .. } in history.steps_of(user) {
            match *what {
                UserDid::Connected { .. } => in_session = true,
                UserDid::Disconnected { .. } if *at_us < at_rest_us => {
                    in_session = false;
                    for room in running.values_mut() {
                        room.away_since_us.get_or_insert(*at_us);
                    }
                }
                UserDid::Joined { room, partition, offset, resumed } if (partition, offset) != NOWHERE => {
                    let fresh = Debt {
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
                            end(room, since_us, Debt { end: End::FreshJoin { at: offset }, ..before.debt });
                            *before = Running { debt: fresh, away_since_us: None, refused: false };
                        }
                        None => {
                            running
                                .insert(room, Running { debt: fresh, away_since_us: None, refused: false });
                        }
                    }
                }
                UserDid::ResumeRefused { room, .. } => {
                    if let Some(before) = running.get_mut(&room) {
                        before.refused = true;
                        self.resumes_refused += 1;
                    }
                }
                UserDid::Left { room } if *at_us < at_rest_us => {
                    if let Some(before) = running.remove(&room) {
                        end(room, *at_us, Debt { end: End::Left, ..before.debt });
                    }
                }
                _ => {}
            }
        }
        for (room, last) in running {
            match last.away_since_us {
                Some(since_us) if !in_session => {
                    self.gone += 1;
                    end(room, since_us, Debt { end: End::Gone, ..last.debt });
                }
                _ => self.rooms.entry(room).or_default().push(last.debt),
            }
        }
        if ended.is_empty() {
            return;
        }
        for (_, debt) in ended.values_mut().flatten() {
            debt.through = debt.from - 1;
        }
        for receipt in history.received_by(user) {
            let Some(arrival) = arrivals.list.get(receipt.message as usize) else { continue };
            for (ended_us, debt) in ended.get_mut(&arrival.room).into_iter().flatten() {
                if receipt.partition == debt.partition && receipt.at_us <= *ended_us {
                    debt.through = debt.through.max(receipt.offset);
                }
            }
        }
        for (room, debts) in ended {
            // Debts of one user must lie side by side: this user's are the last of every room so far.
            self.rooms.entry(room).or_default().extend(debts.into_iter().map(|(_, debt)| debt));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        checkers::fixture::{Run, at},
        history::{Phase, What},
    };

    const JOIN: fn(i64, bool) -> What =
        |offset, resumed| What::Joined { user: 0, room: 0, partition: 0, offset, resumed };

    fn debts(steps: Vec<What>) -> Debts {
        let run = Run::clean(4);
        let mut events = vec![at(0, What::Phase(Phase::Load)), at(1_000, What::Phase(Phase::Settled))];
        events.extend((10_u64..).zip(steps).map(|(at_us, what)| at(at_us, what)));
        Debts::of(&run.arrivals, &History::from_events(&run.plan, events))
    }

    fn away() -> What {
        What::Disconnected { user: 0, node: 0, why: "reset".into() }
    }

    fn got(message: u32) -> What {
        What::Received { user: 0, message, partition: 0, offset: i64::from(message), replayed: false }
    }

    #[test]
    fn a_debt_runs_on_across_a_resume() {
        let debts = debts(vec![JOIN(2, false), away(), JOIN(3, true)]);
        assert_eq!(debts.of_room(0).len(), 1);
        let debt = debts.of_room(0)[0];
        assert_eq!((debt.from, debt.through, debt.end), (2, i64::MAX, End::Stands));
        assert_eq!(debt.at(0, 1, 0), Owing::Nothing);
        assert_eq!(debt.at(1, 9, 0), Owing::Nothing);
        assert_eq!(debt.at(0, 9, 0), Owing::Owed);
    }

    #[test]
    fn who_never_came_back_is_owed_what_lies_below_their_last_receipt() {
        let debts = debts(vec![JOIN(0, false), got(2), away()]);
        let debt = debts.of_room(0)[0];
        assert_eq!(debts.gone, 1);
        assert_eq!(
            [debt.at(0, 1, 0), debt.at(0, 2, 0), debt.at(0, 3, 0)],
            [Owing::Owed, Owing::Owed, Owing::Gone]
        );
    }

    #[test]
    fn a_fresh_join_leaves_a_hole_that_nobody_promised() {
        let debts = debts(vec![JOIN(0, false), got(0), away(), JOIN(3, false)]);
        let [old, new] = debts.of_room(0) else { panic!("two debts") };
        assert_eq!(debts.fresh_joins, 1);
        let owing = |offset| old.at(0, offset, 0).max(new.at(0, offset, 0));
        assert_eq!([owing(0), owing(1), owing(3)], [Owing::Owed, Owing::FreshJoin, Owing::Owed]);
    }

    #[test]
    fn a_resume_that_the_log_cannot_serve_ends_no_debt() {
        let refused = What::ResumeRefused { user: 0, room: 0, partition: 0, offset: 1 };
        let debts = debts(vec![JOIN(0, false), got(0), away(), refused, JOIN(3, false)]);
        assert_eq!((debts.resumes_refused, debts.fresh_joins), (1, 0));
        let [debt] = debts.of_room(0) else { panic!("one debt") };
        assert_eq!([debt.at(0, 1, 0), debt.at(0, 2, 0), debt.at(0, 9, 0)], [Owing::Owed; 3]);
    }

    #[test]
    fn who_left_is_owed_nothing_more() {
        let debts = debts(vec![JOIN(0, false), got(1), What::Left { user: 0, room: 0 }]);
        let debt = debts.of_room(0)[0];
        assert_eq!([debt.at(0, 0, 0), debt.at(0, 2, 0)], [Owing::Owed, Owing::Nothing]);
    }
    #[test]
    fn the_end_of_the_run_ends_no_debt() {
        let run = Run::clean(4);
        let events = [
            at(10, JOIN(0, false)),
            at(1_000, What::Phase(Phase::Settled)),
            at(1_001, What::Left { user: 0, room: 0 }),
            at(1_002, away()),
        ];
        let debts = Debts::of(&run.arrivals, &History::from_events(&run.plan, events));
        assert_eq!(debts.of_room(0)[0].at(0, 9, 0), Owing::Owed);
    }

    #[test]
    fn who_is_back_and_kept_out_is_owed_all_the_same() {
        let back = What::Connected { user: 0, node: 0 };
        let refused = What::JoinFailed { user: 0, room: 0, why: "busy".into() };
        let debts = debts(vec![JOIN(0, false), got(0), away(), back, refused]);
        assert_eq!(debts.gone, 0);
        assert_eq!(debts.of_room(0)[0].at(0, 9, 0), Owing::Owed);
    }

    #[test]
    fn a_join_that_says_too_late_a_start_is_contradicted_by_what_was_sent_after_it() {
        let debts = debts(vec![JOIN(1_000, false)]);
        let debt = debts.of_room(0)[0];
        assert_eq!(debt.at(0, 5, debt.joined_us), Owing::Nothing, "sent before the answer");
        assert_eq!(debt.at(0, 5, debt.joined_us + 1), Owing::Contradicted);
        assert_eq!(debt.at(7, 1_005, debt.joined_us + 1), Owing::Contradicted, "another partition");
        assert_eq!(debt.at(0, 1_000, debt.joined_us + 1), Owing::Owed);
    }
}
