//! Faults on clients, as each user will act them out. The load carries them out by itself, from the plan and at their time
//! on the schedule; whether they were really there is looked at from outside, by somebody who does not know the load.

use std::{
    collections::{BTreeSet, VecDeque},
    time::{Duration, Instant},
};

use crate::plan::{ClientFault, Plan};

/// Bytes the kernel takes for a user who will stop reading (it doubles them for its own books). Left to itself it grows to
/// megabytes: minutes of chat, and nobody would notice the fault while it lasts.
const SLOW_RECEIVE_BYTES: u32 = 16 * 1024;

/// What a user does on purpose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Act {
    /// Loses the connection and redials the same node at once.
    Redial,
    /// Vanishes without a goodbye, until a time on the schedule.
    Vanish {
        /// By RST; otherwise by FIN.
        reset: bool,
        until: Duration,
    },
    /// Reads nothing, until a time on the schedule.
    StopReading { until: Duration },
}

/// All that one user does on purpose, by its time on the schedule.
#[derive(Debug, Default)]
pub(super) struct Script {
    acts: VecDeque<(Duration, Act)>,
    slow: bool,
}

/// Whom each fault on users strikes: drawn once for all of them.
#[derive(Debug, Default)]
pub(super) struct Strokes(Vec<Stroke>);

#[derive(Debug)]
struct Stroke {
    fault: ClientFault,
    begins: Duration,
    until: Duration,
    struck: BTreeSet<u32>,
}

impl Strokes {
    pub(super) fn of(plan: &Plan) -> Self {
        let on_users = plan.faults.iter().filter_map(|planned| {
            let fault = plan.effects(&planned.fault).clients?;
            fault.struck_percent()?;
            let begins = Duration::from_millis(planned.at_ms);
            let until = begins + Duration::from_millis(planned.for_ms);
            Some(Stroke { fault, begins, until, struck: plan.struck_users(planned) })
        });
        Self(on_users.collect())
    }
}

impl Script {
    pub(super) fn of(strokes: &Strokes, user: u32) -> Self {
        let mut script = Self::default();
        let mut acts = Vec::new();
        for &Stroke { fault, begins, until, .. } in
            strokes.0.iter().filter(|stroke| stroke.struck.contains(&user))
        {
            match fault {
                ClientFault::ReconnectStorm { redial_every_ms, .. } => {
                    let every = Duration::from_millis(u64::from(redial_every_ms.max(1)));
                    let blows = (0..).map(|blow| begins + every * blow).take_while(|at| *at < until);
                    acts.extend(blows.map(|at| (at, Act::Redial)));
                }
                ClientFault::Crash { .. } => {
                    acts.push((begins, Act::Vanish { reset: user.is_multiple_of(2), until }));
                }
                ClientFault::Slow { .. } => {
                    script.slow = true;
                    acts.push((begins, Act::StopReading { until }));
                }
                // Other clients' doing, and none of the users'.
                ClientFault::Malformed { .. } | ClientFault::Oversize { .. } => {}
            }
        }
        acts.sort_by_key(|(at, _)| *at);
        script.acts = acts.into();
        script
    }

    /// The size of this user's receive buffer, where it is not the system's own.
    pub(super) fn receive_bytes(&self) -> Option<u32> {
        self.slow.then_some(SLOW_RECEIVE_BYTES)
    }

    /// When the next act is to be carried out.
    pub(super) fn next_at(&self, zero: Instant) -> Option<Instant> {
        self.acts.front().map(|(at, _)| zero + *at)
    }

    /// Takes an act whose time has come.
    pub(super) fn take_due(&mut self, zero: Instant, now: Instant) -> Option<Act> {
        self.acts.pop_front_if(|(at, _)| zero + *at <= now).map(|(_, act)| act)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        load::tests::plan,
        plan::{FaultKind, PlannedFault},
    };

    fn planned(at_ms: u64, fault: FaultKind) -> PlannedFault {
        PlannedFault { at_ms, for_ms: 1_000, fault }
    }

    #[test]
    fn the_share_is_struck_and_equal_seeds_strike_equal_users() {
        let plan = plan(50, 4, 1.0, 1_000);
        let crash = |at_ms, share_percent| planned(at_ms, FaultKind::ClientCrash { share_percent });
        let struck = plan.struck_users(&crash(5_000, 30));
        assert_eq!(struck.len(), 15);
        assert!(struck.iter().all(|user| *user < 50));
        assert_eq!(struck, plan.struck_users(&crash(5_000, 30)));
        assert_ne!(struck, plan.struck_users(&crash(6_000, 30)), "the next time it strikes others");
        assert_eq!(plan.struck_users(&crash(0, 1)).len(), 1);
        assert_eq!(plan.struck_users(&crash(0, 100)).len(), 50);
        assert!(plan.struck_users(&planned(0, FaultKind::RedisClientKill)).is_empty());
    }

    #[test]
    fn acts_come_in_the_order_of_their_times_and_only_to_those_who_are_struck() {
        let mut plan = plan(10, 4, 1.0, 9_000);
        let storm = FaultKind::ClientReconnectStorm { share_percent: 100, redial_every_ms: 400 };
        plan.faults =
            vec![planned(5_000, storm), planned(2_000, FaultKind::ClientSlow { share_percent: 50 })];
        let slow = plan.struck_users(&plan.faults[1]);
        let strokes = Strokes::of(&plan);
        let zero = Instant::now();
        for user in 0..10 {
            let mut script = Script::of(&strokes, user);
            assert_eq!(script.receive_bytes().is_some(), slow.contains(&user));
            assert_eq!(script.take_due(zero, zero + Duration::from_millis(1_999)), None);
            let mut acts = Vec::new();
            while let Some(act) = script.take_due(zero, zero + Duration::from_secs(60)) {
                acts.push(act);
            }
            let mut expected = vec![Act::Redial; 3];
            if slow.contains(&user) {
                expected.insert(0, Act::StopReading { until: Duration::from_secs(3) });
            }
            assert_eq!(acts, expected, "user {user}");
        }
    }

    /// Each fault draws once, and not once for every user: 20,000 users and ten faults begin in no time.
    #[test]
    fn whom_a_fault_strikes_is_drawn_once() {
        let mut plan = plan(20_000, 4, 1.0, 60_000);
        plan.faults =
            (0..10).map(|n| planned(n * 2_000, FaultKind::ClientCrash { share_percent: 50 })).collect();
        let strokes = Strokes::of(&plan);
        assert_eq!(strokes.0.len(), 10);
        let acts: usize = (0..20_000).map(|user| Script::of(&strokes, user).acts.len()).sum();
        assert_eq!(acts, 10 * 10_000);
    }
}
