//! Step 7: waiting until users and ledgers have come to rest, for as long as the plan allows.
//!
//! At rest: every user is in all their rooms, PostgreSQL has got as far as Kafka, and neither of these nor what members
//! receive has changed for [`QUIET`]. Without the first, members who are about to come back would be taken for gone.
//!
//! When the time runs out first, it depends. If something moved within the last [`STILL`], what is missing may be on its
//! way: [`EventKind::Unsettled`], and its absence proves nothing. If not, nothing more is to come, and what is missing is
//! missing: a note says what, and the checkers say what it means.

use std::{
    sync::atomic::Ordering::Relaxed,
    time::{Duration, Instant},
};

use tokio_util::sync::CancellationToken;

use crate::{
    history::{EventKind, Recorder},
    load::LiveStats,
    plan::Plan,
    progress::Progress,
    verifier::{Backlog, Verifier},
    wait,
};

/// At rest when nothing changed for this long: a resume, a catch-up or a batch takes well under it.
const QUIET: Duration = Duration::from_millis(1_500);
/// What has not moved for this long at the end of the time to settle will not move any more: longer than a user takes over
/// a dial (5 s) or until the next (2 s), and than Kafka takes to give a dead writer's partitions to another (6 s). The
/// answer to a resume may take longer (15 s): who still waits for one when the time runs out was kept out of the room.
const STILL: Duration = Duration::from_secs(10);

/// How things stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// All is where it should be, and has been for a while.
    Resting,
    /// Something is still to come, or may be.
    Moving,
    /// Something is missing, and nothing has moved for so long that nothing more will.
    Stuck,
}

/// What is seen of users and ledgers at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Seen {
    /// Messages that reached a member so far.
    received: u64,
    /// Users in all their rooms.
    joined: u64,
    /// How far the ledgers are; `None` while they do not say.
    backlog: Option<Backlog>,
}

impl Seen {
    fn now(stats: &LiveStats, backlog: Option<Backlog>) -> Self {
        Self { received: stats.received.load(Relaxed), joined: stats.joined.load(Relaxed), backlog }
    }
}

/// Tells rest from movement. Times are counted from the beginning of the settling.
#[derive(Debug)]
struct Settling {
    /// All of them are to be in their rooms.
    users: u64,
    /// The latest of everything: a ledger that says nothing for a while has not moved.
    last: Option<Seen>,
    /// When something was last seen to have moved. The first look is a movement: who knows since when it is so.
    moved_at: Duration,
}

impl Settling {
    fn new(users: u32) -> Self {
        Self { users: users.into(), last: None, moved_at: Duration::ZERO }
    }

    /// Takes a look.
    fn see(&mut self, at: Duration, seen: Seen) -> State {
        let known = self.last.and_then(|last| last.backlog);
        let now = Some(Seen { backlog: seen.backlog.or(known), ..seen });
        if self.last != now {
            (self.last, self.moved_at) = (now, at);
        }
        let in_place = seen.joined >= self.users && seen.backlog.is_some_and(|backlog| backlog.is_empty());
        match self.still_for(at) {
            still if in_place && still >= QUIET => State::Resting,
            still if still >= STILL => State::Stuck,
            _ => State::Moving,
        }
    }

    fn still_for(&self, at: Duration) -> Duration {
        at.saturating_sub(self.moved_at)
    }

    /// What is the case, for people.
    fn describe(&self, at: Duration) -> String {
        let Some(Seen { joined, backlog, .. }) = self.last else { return "nothing is known".to_owned() };
        let backlog = backlog
            .map_or_else(|| "the ledgers do not say how far they are".to_owned(), |known| known.to_string());
        let seconds = self.still_for(at).as_secs_f64();
        format!(
            "{joined} of {} users in their rooms; {backlog}; last movement {seconds:.1} s ago",
            self.users
        )
    }
}

/// Waits until users and ledgers are at rest, or the plan's limit is reached; says which in the history.
pub(super) async fn settle(
    plan: &Plan,
    verifier: &Verifier,
    stats: &LiveStats,
    recorder: &Recorder,
    progress: &Progress,
    cancel: &CancellationToken,
) {
    progress.now("waiting for users and ledgers to come to rest");
    let limit = Duration::from_millis(plan.settle_limit_ms);
    let began = Instant::now();
    let mut settling = Settling::new(plan.load.users);
    let mut trouble = None;
    let resting = wait::until("users and ledgers at rest", limit, async || {
        let backlog = verifier.backlog().await;
        let (seen, at) = (Seen::now(stats, backlog.as_ref().ok().copied()), began.elapsed());
        trouble = backlog.err();
        match settling.see(at, seen) {
            State::Resting => Ok(()),
            State::Moving | State::Stuck => Err(settling.describe(at)),
        }
    });
    let Some(rested) = cancel.run_until_cancelled(resting).await else { return };
    let at = began.elapsed();
    if rested.is_ok() {
        progress.say(format!("at rest: {}", settling.describe(at)));
        return;
    }
    // The last look may have hung on a ledger for long: users may have moved since.
    let state = settling.see(at, Seen::now(stats, None));
    let trouble = trouble.map_or_else(String::new, |trouble| format!(" ({trouble})"));
    let why = format!("after {:.0} s {}{trouble}", at.as_secs_f64(), settling.describe(at));
    recorder.record(verdict(state, why));
}

/// What the history is told when the time has run out.
fn verdict(state: State, why: String) -> EventKind {
    match state {
        State::Stuck => EventKind::Note {
            text: format!("not everything came to rest, and nothing moves any more: {why}"),
        },
        State::Moving | State::Resting => EventKind::Unsettled { why },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const USERS: u64 = 4;

    /// Looks every half second, as `look` says, until all is at rest or the limit is reached.
    fn settled(limit_s: u64, look: impl Fn(u64) -> Seen) -> (State, u64) {
        let mut settling = Settling::new(4);
        let mut last = (State::Moving, 0);
        for at_ms in (0..=limit_s * 1_000).step_by(500) {
            last = (settling.see(Duration::from_millis(at_ms), look(at_ms)), at_ms);
            if last.0 == State::Resting {
                break;
            }
        }
        last
    }

    fn seen(received: u64, joined: u64, logged: i64, stored: i64) -> Seen {
        Seen { received, joined, backlog: Some(Backlog::new(logged, stored)) }
    }

    #[test]
    fn all_in_place_is_at_rest_once_it_was_so_for_a_while() {
        assert_eq!(settled(60, |_| seen(9, USERS, 5, 5)), (State::Resting, 1_500));
        // The last receipt comes at 3 s; the row of the last record at 4 s.
        let late = |at_ms: u64| seen(at_ms.min(3_000), USERS, 5, if at_ms < 4_000 { 4 } else { 5 });
        assert_eq!(settled(60, late), (State::Resting, 5_500));
        // The log grows under a writer that keeps up.
        let grows = |at_ms: u64| seen(9, USERS, at_ms.min(6_000) as i64, at_ms.min(6_000) as i64);
        assert_eq!(settled(60, grows), (State::Resting, 7_500));
    }

    #[test]
    fn a_user_on_the_way_back_is_waited_for() {
        let back_at_s = |back_s: u64| {
            move |at_ms: u64| seen(9, if at_ms < back_s * 1_000 { USERS - 1 } else { USERS }, 5, 5)
        };
        // Long after nothing else moves any more.
        assert_eq!(settled(60, back_at_s(20)), (State::Resting, 21_500));
        // Back just before the time runs out, and what was missed is only now on its way.
        assert_eq!(settled(60, back_at_s(59)).0, State::Moving);
    }

    #[test]
    fn a_user_who_cannot_get_in_is_no_movement() {
        assert_eq!(settled(60, |_| seen(9, USERS - 1, 5, 5)), (State::Stuck, 60_000));
        // One who gets in and is thrown out, over and over, is.
        let comes_and_goes = |at_ms: u64| seen(9, USERS - at_ms / 5_000 % 2, 5, 4);
        assert_eq!(settled(60, comes_and_goes).0, State::Moving);
    }

    #[test]
    fn a_slow_drain_still_moves_at_the_limit_and_a_stuck_one_does_not() {
        let drains_until_s = |end_s: u64| {
            move |at_ms: u64| seen(9, USERS, 1_000, 100 + at_ms.min(end_s * 1_000) as i64 / 1_000)
        };
        assert_eq!(settled(60, drains_until_s(60)).0, State::Moving);
        assert_eq!(settled(60, drains_until_s(51)).0, State::Moving);
        assert_eq!(settled(60, drains_until_s(50)).0, State::Stuck);
        assert_eq!(settled(60, drains_until_s(0)).0, State::Stuck);
        // Too short a time to tell.
        assert_eq!(settled(9, drains_until_s(0)).0, State::Moving);
    }

    #[test]
    fn ledgers_that_say_nothing_are_neither_at_rest_nor_moving() {
        let silent = Seen { backlog: None, ..seen(9, USERS, 0, 0) };
        assert_eq!(settled(60, |_| silent), (State::Stuck, 60_000));
        // Silent for a while, and then no further than before.
        let pauses = |at_ms: u64| if (500..30_000).contains(&at_ms) { silent } else { seen(9, USERS, 5, 5) };
        assert_eq!(settled(60, pauses), (State::Resting, 30_000));
        // The first answer may be news from just now.
        let late = |at_ms: u64| if at_ms < 30_000 { silent } else { seen(9, USERS, 5, 5) };
        assert_eq!(settled(60, late), (State::Resting, 31_500));
    }

    #[test]
    fn only_what_still_moved_is_a_doubt() {
        let why = || "after 60 s 3 of 4 users in their rooms".to_owned();
        assert_eq!(verdict(State::Moving, why()), EventKind::Unsettled { why: why() });
        assert!(matches!(verdict(State::Stuck, why()), EventKind::Note { text } if text.contains(&why())));
        let mut settling = Settling::new(4);
        settling.see(Duration::ZERO, seen(9, 3, 7, 4));
        assert_eq!(
            settling.describe(Duration::from_secs(12)),
            "3 of 4 users in their rooms; 3 of 7 records are not stored; last movement 12.0 s ago"
        );
    }
}
