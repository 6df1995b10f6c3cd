//! A demand that is a number: `expect.min_acked_during_faults`. A plan with half the load, or half the time under faults,
//! would miss it by arithmetic, and the search would walk to a plan that does nothing wrong. So the number shrinks with
//! what *can* be acked: the messages that are due while a fault is proved to be in force, from users who are there, with
//! a node left that can ack.
//!
//! The other numbers of `expect` are limits of time, of a node, a writer, or the median user: less load makes none of
//! them harder to keep. Fewer users alone change nothing here, too: the rate is over all of them.

use std::collections::BTreeSet;

use crate::plan::{
    Arrivals, ClientFault, Effects, FaultKind, Plan, PlannedFault, ProcessName, Service, Topology,
};

/// What of a fault's time is gone, as a rule, before a probe has shown it in force. Acks count from the proof on; of a
/// short fault this is much.
const PROOF_MS: u64 = 500;

/// What a plan demands, and of how much.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Demand {
    least: u64,
    chances: u64,
}

impl Demand {
    /// Of a plan; `None` when it demands nothing.
    pub(super) fn of(plan: &Plan) -> Option<Self> {
        let least = plan.expect.min_acked_during_faults?;
        Some(Self { least, chances: chances(plan) })
    }

    /// Demands of a smaller plan as much as is left of it, rounded down and never more than before; nothing of a plan
    /// without faults.
    pub(super) fn adapt(self, smaller: &mut Plan) {
        smaller.expect.min_acked_during_faults = (!smaller.faults.is_empty()).then(|| {
            let left = u128::from(self.least) * u128::from(chances(smaller).min(self.chances));
            // Of a plan in which nothing could be acked, no share can be said; then no candidate may fail for it.
            left.checked_div(u128::from(self.chances))
                .and_then(|least| u64::try_from(least).ok())
                .unwrap_or(0)
        });
    }
}

/// One fault's time, and whom it takes out of the count.
struct Span {
    from_us: u64,
    proved_us: u64,
    to_us: u64,
    /// Users who hear no answer.
    away: BTreeSet<u32>,
    /// Nodes that cannot ack.
    mute: Vec<u16>,
}

impl Span {
    fn of(plan: &Plan, planned: &PlannedFault) -> Self {
        // What grows is proved when it is grown.
        let ramp_ms = if let FaultKind::LinkToxic { ramp_ms, .. } = planned.fault { ramp_ms } else { 0 };
        let effects = plan.effects(&planned.fault);
        let deaf = effects.clients.is_some_and(ClientFault::deafens);
        let away = if deaf { plan.struck_users(planned) } else { BTreeSet::new() };
        Self {
            from_us: planned.at_ms * 1_000,
            proved_us: (planned.at_ms + ramp_ms + PROOF_MS) * 1_000,
            to_us: (planned.at_ms + planned.for_ms) * 1_000,
            away,
            mute: mute(plan.cluster.topology, &effects),
        }
    }
}

/// Messages of a plan that can be acked while a fault is proved to be in force.
fn chances(plan: &Plan) -> u64 {
    let spans: Vec<Span> = plan.faults.iter().map(|planned| Span::of(plan, planned)).collect();
    let arrivals = Arrivals::of(plan);
    let counts = arrivals.list.iter().filter(|arrival| {
        let due_us = arrival.due_us;
        let active: Vec<&Span> =
            spans.iter().filter(|span| span.from_us <= due_us && due_us < span.to_us).collect();
        active.iter().any(|span| span.proved_us <= due_us)
            && !active.iter().any(|span| span.away.contains(&arrival.user))
            && (1..=plan.cluster.nodes).any(|node| !active.iter().any(|span| span.mute.contains(&node)))
    });
    counts.count() as u64
}

/// The nodes that cannot ack while a fault is in force: dead, frozen, or cut off from what an ack needs.
fn mute(topology: Topology, effects: &Effects) -> Vec<u16> {
    let needed = match topology {
        Topology::DurableFirst => Service::Kafka,
        Topology::Relay => Service::Redis,
    };
    let processes = effects.cut_off_from(needed).chain(effects.ended.iter().chain(&effects.frozen).copied());
    let node = |process| match process {
        ProcessName::Node(node) => Some(node),
        ProcessName::Writer(_) => None,
    };
    processes.filter_map(node).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        scenario::{Choices, Scenario},
        shrink::candidates,
    };

    const REDIS_STOPS: &str =
        "[[fault]]\nkind = \"service-stop\"\nservice = \"redis\"\nat_s = 5\nfor_s = 10.5\n";
    const NODE_FREEZES: &str =
        "[[fault]]\nkind = \"process-pause\"\nprocess = \"node-1\"\nat_s = 17\nfor_s = 5.5\n";
    const KAFKA_STOPS: &str =
        "[[fault]]\nkind = \"service-stop\"\nservice = \"kafka\"\nat_s = 23\nfor_s = 4\n";

    /// 100 messages a second for 30 s, at even times.
    fn plan(faults: &[&str], least: u64) -> Plan {
        let text = format!(
            "title = \"t\"\n[cluster]\nnodes = 2\n[load]\nusers = 60\nrooms = 4\nrate_per_s = 100\nduration_s = 30\n\
             arrivals = \"uniform\"\n{}[expect]\nmin_acked_during_faults = {least}\n",
            faults.concat()
        );
        Scenario::plan("t", "t", &text, &Choices { seed: 3, ..Choices::default() }).unwrap()
    }

    fn adapted(plan: &Plan, change: impl Fn(&mut Plan)) -> Option<u64> {
        let mut smaller = plan.clone();
        change(&mut smaller);
        Demand::of(plan).unwrap().adapt(&mut smaller);
        smaller.expect.min_acked_during_faults
    }

    #[test]
    fn what_is_demanded_shrinks_with_the_load_and_with_the_time_of_faults() {
        let plan = plan(&[REDIS_STOPS], 500);
        assert_eq!(Demand::of(&plan).unwrap().chances, 1_000);
        assert_eq!(adapted(&plan, |_| {}), Some(500));
        assert_eq!(adapted(&plan, |smaller| smaller.load.rate_per_s = 50.0), Some(250));
        assert_eq!(adapted(&plan, |smaller| smaller.load.rate_per_s = 33.0), Some(165), "rounded down");
        assert_eq!(adapted(&plan, |smaller| smaller.load.users = 4), Some(500), "the rate is over all users");
        assert_eq!(
            adapted(&plan, |smaller| smaller.load.duration_ms = 10_500),
            Some(250),
            "ends in the fault"
        );
        assert_eq!(adapted(&plan, |smaller| smaller.faults[0].for_ms = 5_500), Some(250));
        assert_eq!(
            adapted(&plan, |smaller| smaller.faults[0].for_ms = 1_000),
            Some(25),
            "half of it to prove it"
        );
        assert_eq!(adapted(&plan, |smaller| smaller.faults[0].for_ms = 20_000), Some(500), "never more");
        assert_eq!(adapted(&plan, |smaller| smaller.faults.clear()), None, "there is nothing to be acked in");
    }

    #[test]
    fn what_is_demanded_shrinks_with_the_faults_that_are_left() {
        let plan = plan(&[REDIS_STOPS, NODE_FREEZES, KAFKA_STOPS], 600);
        assert_eq!(Demand::of(&plan).unwrap().chances, 1_500, "without Kafka nothing can be acked");
        let only = |which: usize| adapted(&plan, |smaller| smaller.faults = vec![plan.faults[which].clone()]);
        assert_eq!((only(0), only(1), only(2)), (Some(400), Some(200), Some(0)));
        let both_nodes = |smaller: &mut Plan| {
            let processes = vec![ProcessName::Node(1), ProcessName::Node(2)];
            smaller.faults[1].fault = FaultKind::ProcessPause { processes };
        };
        assert_eq!(adapted(&plan, both_nodes), Some(400));
        assert_eq!(adapted(&plan, |smaller| smaller.cluster.topology = Topology::Relay), Some(340));
    }

    #[test]
    fn users_who_are_away_are_asked_for_nothing() {
        let gone = "[[fault]]\nkind = \"client-crash\"\nshare_percent = 10\nat_s = 5\nfor_s = 10.5\n";
        let plan = plan(&[gone], 500);
        let chances = Demand::of(&plan).unwrap().chances;
        assert!((850..950).contains(&chances), "{chances}");
        // A tenth of four users is one user, and a quarter of the messages.
        let least = adapted(&plan, |smaller| smaller.load.users = 4).unwrap();
        assert!((350..450).contains(&least), "{least}");
    }

    #[test]
    fn a_plan_in_which_nothing_can_be_acked_makes_no_candidate_guilty() {
        let plan = plan(&[KAFKA_STOPS], 10);
        assert_eq!(adapted(&plan, |smaller| smaller.load.rate_per_s = 50.0), Some(0));
    }

    /// The cluster acks all it can, but a third of that while node-1 is frozen. Halving the rate is not what it fails for.
    #[test]
    fn the_search_keeps_the_fault_for_which_too_little_is_acked() {
        let frozen = |plan: &Plan| {
            plan.faults.iter().any(|fault| matches!(fault.fault, FaultKind::ProcessPause { .. }))
        };
        let fails = |plan: &Plan| {
            let Some(least) = plan.expect.min_acked_during_faults else { return false };
            let acked = if frozen(plan) { chances(plan) / 3 } else { chances(plan) };
            acked < least
        };
        let mut smallest = plan(&[REDIS_STOPS, NODE_FREEZES], 750);
        assert!(fails(&smallest));
        while let Some(smaller) = candidates(&smallest).into_iter().find(fails) {
            smallest = smaller;
        }
        assert!(frozen(&smallest) && smallest.faults.len() == 1, "{:?}", smallest.faults);
        assert!(smallest.expect.min_acked_during_faults < Some(250), "{:?}", smallest.expect);
    }
}
