//! The same faults with less calm around them: a verdict sooner, where many scenarios are run.

use super::{Expect, Plan};

/// Calm that is left before the first fault, after the warm-up: enough to show that the cluster worked.
const BEFORE_MS: u64 = 2_000;
/// Calm that is left after a heal at least; more where a limit under `[expect]` needs it to be judged.
const AFTER_MS: u64 = 8_000;

impl Plan {
    /// The plan with the calm between its faults cut short. Faults keep their lengths, their order and what overlaps:
    /// many show nothing when they are shorter than a time-out of the cluster. A plan without faults stays as it is.
    #[must_use]
    pub fn shortened(mut self) -> Self {
        let cuts = cuts(&self);
        let earlier = |at_ms: u64| at_ms - cuts.iter().map(|cut| cut.before(at_ms)).sum::<u64>();
        self.load.duration_ms = earlier(self.load.duration_ms);
        for fault in &mut self.faults {
            fault.at_ms = earlier(fault.at_ms);
        }
        self
    }
}

/// A stretch that is left out.
struct Cut {
    from_ms: u64,
    to_ms: u64,
}

impl Cut {
    /// How much of it lies before an instant.
    fn before(&self, at_ms: u64) -> u64 {
        at_ms.min(self.to_ms).saturating_sub(self.from_ms)
    }
}

fn cuts(plan: &Plan) -> Vec<Cut> {
    let after_ms = longest_limit_ms(&plan.expect).map_or(AFTER_MS, |limit_ms| limit_ms.max(AFTER_MS));
    let mut cuts = Vec::new();
    let (mut calm_from_ms, mut kept_ms) = (0, plan.load.warm_up_ms + BEFORE_MS);
    let mut calm_until = |to_ms: u64, calm_from_ms: u64, kept_ms: u64| {
        let from_ms = calm_from_ms + kept_ms;
        if from_ms < to_ms {
            cuts.push(Cut { from_ms, to_ms });
        }
    };
    for fault in &plan.faults {
        calm_until(fault.at_ms, calm_from_ms, kept_ms);
        calm_from_ms = calm_from_ms.max(fault.at_ms + fault.for_ms);
        kept_ms = after_ms;
    }
    if !plan.faults.is_empty() {
        calm_until(plan.load.duration_ms, calm_from_ms, kept_ms);
    }
    cuts
}

fn longest_limit_ms(expect: &Expect) -> Option<u64> {
    let Expect { writers_resume_within_ms, recover_within_ms, nodes_detect_within_ms, .. } = expect;
    [*writers_resume_within_ms, *recover_within_ms, *nodes_detect_within_ms].into_iter().flatten().max()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::plan::{ArrivalShape, FaultKind, LoadPlan, PlannedFault, fixture};

    /// Faults as pairs of start and length, in milliseconds.
    fn with(duration_ms: u64, faults: &[(u64, u64)]) -> Plan {
        let load = LoadPlan {
            users: 1,
            rooms: 1,
            rooms_per_user: 1,
            room_prefix: String::new(),
            rate_per_s: 1.0,
            arrivals: ArrivalShape::Uniform,
            body_min_bytes: 1,
            body_max_bytes: 1,
            warm_up_ms: 2_000,
            duration_ms,
            ack_timeout_ms: 1_000,
            lateness_p99_max_ms: 50,
            reused_ids_per_1000: 0,
        };
        let mut plan = fixture::plan(1, 1, load);
        let planned = |&(at_ms, for_ms)| PlannedFault { at_ms, for_ms, fault: FaultKind::RedisClientKill };
        plan.faults = faults.iter().map(planned).collect();
        plan
    }

    fn times(plan: &Plan) -> (u64, Vec<(u64, u64)>) {
        (plan.load.duration_ms, plan.faults.iter().map(|fault| (fault.at_ms, fault.for_ms)).collect())
    }

    #[test]
    fn calm_is_cut_and_faults_are_not() {
        assert_eq!(times(&with(40_000, &[(10_000, 15_000)]).shortened()), (27_000, vec![(4_000, 15_000)]));
        let two = with(60_000, &[(3_000, 5_000), (30_000, 5_000)]);
        assert_eq!(times(&two.shortened()), (29_000, vec![(3_000, 5_000), (16_000, 5_000)]));
        assert_eq!(times(&with(10_000, &[]).shortened()), (10_000, vec![]));
    }

    #[test]
    fn a_limit_that_is_to_be_judged_has_its_time() {
        let mut plan = with(60_000, &[(10_000, 5_000)]);
        plan.expect.recover_within_ms = Some(12_000);
        assert_eq!(times(&plan.shortened()), (21_000, vec![(4_000, 5_000)]));
    }

    proptest! {
        #[test]
        fn shortened_again_it_is_the_same_and_overlaps_stay(
            faults in proptest::collection::vec((0_u64..60_000, 1_u64..20_000), 0..6), rest in 0_u64..40_000,
        ) {
            let mut faults = faults;
            faults.sort_unstable();
            let last = faults.iter().map(|(at, length)| at + length).max().unwrap_or(0);
            let plan = with(last + rest, &faults);
            let once = plan.clone().shortened();
            prop_assert_eq!(&once.clone().shortened(), &once);
            prop_assert!(once.load.duration_ms <= plan.load.duration_ms);
            for (a, b) in plan.faults.iter().zip(&once.faults) {
                prop_assert_eq!(a.for_ms, b.for_ms);
                prop_assert!(b.at_ms <= a.at_ms);
                prop_assert!(b.at_ms + b.for_ms <= once.load.duration_ms);
            }
            for (pair, shortened) in plan.faults.windows(2).zip(once.faults.windows(2)) {
                let apart = |pair: &[PlannedFault]| pair[1].at_ms as i64 - (pair[0].at_ms + pair[0].for_ms) as i64;
                if apart(pair) <= 0 {
                    prop_assert_eq!(apart(pair), apart(shortened));
                }
            }
        }
    }
}
