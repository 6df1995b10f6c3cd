//! Minimising: smaller plans that may still fail. Pure: a plan in, plans out; whoever calls runs them.
//!
//! Greedy delta debugging (Zeller and Hildebrandt's ddmin over the faults, bisection over the numbers): of a failing plan,
//! try the boldest cuts first; as soon as one still fails, start again from it. Every candidate weighs less than the plan
//! it came from, so the search ends.
//!
//! [`search`] decides which of them to run, and what the runs told.

mod demand;
pub mod search;

use self::demand::Demand;
use crate::plan::{FaultKind, Plan};

/// A load shorter than this has hardly begun.
const DURATION_MIN_MS: u64 = 3_000;
/// After the last fault, as much load as it takes to see whether the cluster recovered.
const TAIL_MS: u64 = 3_000;
/// A fault shorter than this cannot be proved before it is healed.
const FAULT_MIN_MS: u64 = 1_000;
/// Fewer users than this, and rooms have no members to miss a message.
const USERS_MIN: u32 = 4;

/// Plans that are smaller than this one, the boldest cut first.
pub fn candidates(plan: &Plan) -> Vec<Plan> {
    let mut found: Vec<Plan> = Vec::new();
    let demand = Demand::of(plan);
    let mut offer = |change: &dyn Fn(&mut Plan)| {
        let mut smaller = plan.clone();
        change(&mut smaller);
        if weight(&smaller) >= weight(plan) {
            return;
        }
        if let Some(demand) = demand {
            demand.adapt(&mut smaller);
        }
        if !found.contains(&smaller) {
            found.push(smaller);
        }
    };
    for part in parts(plan.faults.len()) {
        offer(&|smaller| {
            let kept = plan.faults.iter().enumerate().filter(|(at, _)| !part.contains(at));
            smaller.faults = kept.map(|(_, fault)| fault.clone()).collect();
        });
    }
    let last_end = plan.faults.iter().map(|fault| fault.at_ms + fault.for_ms).max().unwrap_or(0);
    let first_start = plan.faults.iter().map(|fault| fault.at_ms).min().unwrap_or(0);
    offer(&|smaller| {
        smaller.load.duration_ms = (last_end + TAIL_MS).max(DURATION_MIN_MS).min(plan.load.duration_ms);
    });
    // Begin earlier: what happens before the first fault is seldom part of the failure.
    let warm = plan.load.warm_up_ms + 1_000;
    if first_start > warm {
        offer(&|smaller| {
            let earlier = first_start - warm;
            smaller.faults.iter_mut().for_each(|fault| fault.at_ms -= earlier);
            smaller.load.duration_ms = plan.load.duration_ms.saturating_sub(earlier).max(DURATION_MIN_MS);
        });
    }
    if plan.faults.is_empty() {
        offer(&|smaller| smaller.load.duration_ms = (plan.load.duration_ms / 2).max(DURATION_MIN_MS));
    }
    offer(&|smaller| {
        smaller.load.users = (plan.load.users / 2).max(USERS_MIN);
        smaller.load.rate_per_s = plan.load.rate_per_s / 2.0;
    });
    offer(&|smaller| smaller.load.users = (plan.load.users / 2).max(USERS_MIN));
    for (at, fault) in plan.faults.iter().enumerate() {
        offer(&|smaller| {
            let shorter = &mut smaller.faults[at];
            shorter.for_ms = (fault.for_ms / 2).max(FAULT_MIN_MS);
            // A ramp must leave time to prove what it has grown to.
            if let FaultKind::LinkToxic { ramp_ms, .. } = &mut shorter.fault {
                *ramp_ms /= 2;
            }
        });
        for half in fault.fault.halves() {
            offer(&|smaller| smaller.faults[at].fault = half.clone());
        }
    }
    found
}

/// How much a plan does: what the search makes smaller. Faults first, then links and processes they hurt, then seconds
/// of fault and of load, then users, then messages.
pub fn weight(plan: &Plan) -> (usize, usize, u64, u64, u32, u64) {
    let hurt = plan.faults.iter().map(|fault| fault.fault.aimed_at()).sum();
    let faulty_ms = plan.faults.iter().map(|fault| fault.for_ms).sum();
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a rate is positive and far below 2^53"
    )]
    let rate = (plan.load.rate_per_s * 1_000.0) as u64;
    (plan.faults.len(), hurt, faulty_ms, plan.load.duration_ms, plan.load.users, rate)
}

/// Index sets to leave out: everything, halves, quarters, …, single faults.
fn parts(faults: usize) -> Vec<std::ops::Range<usize>> {
    let mut found = Vec::new();
    let mut size = faults;
    while size > 0 {
        let mut at = 0;
        while at < faults {
            found.push(at..(at + size).min(faults));
            at += size;
        }
        size /= 2;
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        plan::Service,
        scenario::{Choices, Scenario},
    };

    fn stormy() -> Plan {
        let text = "title = \"t\"\n[load]\nusers = 60\nrooms = 4\nrate_per_s = 100\nduration_s = 60\n\
                    [storm]\nfrom_s = 5\nuntil_s = 55\ngap_s = [1.0, 3.0]\nlength_s = [2.0, 4.0]\n\
                    kinds = [\"redis-stop\", \"node-kill\", \"writer-kill\", \"kafka-latency\"]\n";
        Scenario::plan("t", "t", text, &Choices { seed: 3, ..Choices::default() }).unwrap()
    }

    /// The search as the command line does it, with a cluster that fails by rule.
    fn minimise(mut plan: Plan, fails: impl Fn(&Plan) -> bool) -> (Plan, usize) {
        let mut tried = 0;
        'again: loop {
            for smaller in candidates(&plan) {
                tried += 1;
                if fails(&smaller) {
                    plan = smaller;
                    continue 'again;
                }
            }
            return (plan, tried);
        }
    }

    #[test]
    fn the_one_guilty_fault_is_found_among_many() {
        let guilty = |plan: &Plan| {
            plan.faults
                .iter()
                .any(|fault| matches!(fault.fault, FaultKind::ServiceStop { service: Service::Redis }))
        };
        let plan = stormy();
        assert!(plan.faults.len() > 5 && guilty(&plan), "{:?}", plan.faults);
        let (small, tried) = minimise(plan, guilty);
        assert_eq!(small.faults.len(), 1);
        assert_eq!(small.faults[0].for_ms, FAULT_MIN_MS);
        assert!(small.load.users == USERS_MIN && small.load.duration_ms < 10_000, "{:?}", small.load);
        assert!(tried < 100, "{tried} candidates were tried");
    }

    #[test]
    fn a_failure_without_any_fault_loses_all_of_them_at_once() {
        let (small, _) = minimise(stormy(), |_| true);
        assert!(small.faults.is_empty());
        assert_eq!(small.load.duration_ms, DURATION_MIN_MS);
    }

    #[test]
    fn every_candidate_weighs_less() {
        let plan = stormy();
        assert!(candidates(&plan).iter().all(|smaller| weight(smaller) < weight(&plan)));
    }
}
