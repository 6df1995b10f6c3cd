//! **Claim: the cluster goes on working while a part of it is away** (`expect.min_acked_during_faults`, where stated).
//!
//! Counted are the acks whose time lies in a span in which a fault is *proved* to be in force: from the probe that showed
//! it until its healing began. Overlapping faults count an ack once. Without a proved span there is nothing to count in,
//! and the claim is `unknown`.
//!
//! **Cost**: linear in messages.

use crate::checkers::{Case, Checker, Finding};

/// See the [module](self).
#[derive(Debug)]
pub struct Liveness;

impl Checker for Liveness {
    fn name(&self) -> &'static str {
        "liveness"
    }

    fn claim(&self) -> &'static str {
        "messages are still acked while a fault is in force"
    }

    fn when_unknown(&self) -> &'static str {
        "let the fault last longer (for_s), or plan one that can be proved"
    }

    fn judge(&self, case: &Case<'_>, finding: &mut Finding) {
        let spans: Vec<(u64, u64)> = case.windows.iter().filter_map(|window| window.in_force()).collect();
        let during = (0..case.history.messages())
            .filter_map(|message| case.history.outcome(message).acked_us())
            .filter(|at_us| spans.iter().any(|(from, to)| from <= at_us && at_us < to))
            .count() as u64;
        finding.count("acked_during_faults", during);
        finding.summary = format!("{during} acks while a fault was in force");
        let Some(least) = case.plan.expect.min_acked_during_faults else {
            finding.applicable = false;
            if case.windows.is_empty() {
                finding.not_applicable("no fault was planned");
            }
            return;
        };
        if spans.is_empty() {
            finding.unknown(|| "no fault is proved to have been in force".to_owned());
        } else if during < least {
            // Acks that fell into a hole of the history may have been enough.
            match case.history.doubts().first() {
                Some(doubt) => finding.unknown(|| doubt.clone()),
                None => finding.violated(|| {
                    format!("{during} acks while a fault was in force; at least {least} expected")
                }),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Liveness;
    use crate::{
        checkers::{Verdict, fixture::Run},
        history::{EventKind, FaultStep},
    };

    #[test]
    fn every_way_to_be_wrong() {
        use Verdict::{Holds, Unknown, Violated};
        let outage = |least| {
            let mut run = Run::clean(200).with_postgres_outage(5_000, 8_000);
            run.plan.expect.min_acked_during_faults = least;
            run
        };
        let proof = |m: &EventKind| matches!(m, EventKind::Fault { step: FaultStep::Proved { .. }, .. });
        for (name, run, expected) in [
            ("enough", outage(Some(20)), Holds),
            ("too few", outage(Some(40)), Violated),
            ("nothing expected", outage(None), Holds),
            ("no proof", outage(Some(1)).without(proof), Unknown),
        ] {
            let finding = run.judged(&Liveness);
            assert_eq!(finding.verdict, expected, "{name}: {finding:#?}");
        }
    }
}
