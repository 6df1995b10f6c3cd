//! **Claim: nobody can make a node take what breaks the protocol.** Every malformed or oversize frame that a stranger sent
//! was refused, ignored, or cost the stranger its connection; a body above the limit was answered `invalid`.
//!
//! That no user noticed is what the other checkers claim; that no node died of it is [`super::survival`]'s.
//!
//! **Evidence**: what the strangers saw of each frame they sent. **Cannot see** frames nobody thought of.
//!
//! **Cost**: linear in kinds of frames.

use chat_protocol::events::Code;

use crate::{
    checkers::{Case, Checker, Finding},
    history::Treated,
    plan::{FaultKind, clients::OVERSIZE_BODY},
};

/// See the [module](self).
#[derive(Debug)]
pub struct Strangers;

impl Checker for Strangers {
    fn name(&self) -> &'static str {
        "strangers"
    }

    fn claim(&self) -> &'static str {
        "no node takes a frame that breaks the protocol or its limits"
    }

    fn judge(&self, case: &Case<'_>, finding: &mut Finding) {
        let is_strange = |kind: &FaultKind| {
            matches!(kind, FaultKind::ClientMalformed { .. } | FaultKind::ClientOversize { .. })
        };
        if !case.plan.faults.iter().any(|planned| is_strange(&planned.fault)) {
            finding.not_applicable("no strangers were planned");
            return;
        }
        let (mut sent, mut cut, mut refused, mut ignored, mut taken) = (0, 0, 0, 0, 0);
        for bad in case.history.bad_frames() {
            let must_be_refused = bad.frame == OVERSIZE_BODY;
            match bad.treated {
                Treated::Unreached => continue,
                Treated::Cut => cut += bad.times,
                Treated::Refused(_) => refused += bad.times,
                Treated::Ignored => ignored += bad.times,
                Treated::Taken => taken += bad.times,
            }
            sent += bad.times;
            if bad.treated == Treated::Taken {
                finding.violated(|| format!("{} was taken for good {} times", bad.frame, bad.times));
            } else if must_be_refused && bad.treated != Treated::Refused(Code::Invalid) {
                // A node that dies or drains meanwhile cuts everybody; the planned faults tell whether one did.
                let alone = case.plan.faults.iter().all(|planned| is_strange(&planned.fault));
                if alone {
                    finding.violated(|| {
                        format!(
                            "{} was not refused as invalid but {:?}, {} times",
                            bad.frame, bad.treated, bad.times
                        )
                    });
                }
            }
        }
        for (number, planned) in (0_u32..).zip(&case.plan.faults) {
            let reached = |fault: u32| {
                case.history
                    .bad_frames()
                    .iter()
                    .any(|bad| bad.fault == fault && bad.treated != Treated::Unreached)
            };
            if is_strange(&planned.fault) && !reached(number) {
                finding.unknown(|| format!("{}: no frame of theirs reached a node", planned.fault));
            }
        }
        for (name, number) in
            [("sent", sent), ("cut", cut), ("refused", refused), ("ignored", ignored), ("taken", taken)]
        {
            finding.count(name, number);
        }
        finding.summary =
            format!("{sent} bad frames: {cut} cost the connection, {refused} refused, {ignored} ignored");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        checkers::{Verdict, fixture::Run},
        history::What,
        plan::PlannedFault,
    };

    #[test]
    fn every_way_to_be_wrong() {
        use Verdict::{Holds, Unknown, Violated};
        let sent = |frame: &str, treated| {
            let mut run = Run::clean(40);
            run.plan.faults.push(PlannedFault {
                at_ms: 1_000,
                for_ms: 1_000,
                fault: FaultKind::ClientOversize { strangers: 1 },
            });
            run.with(What::Stranger { fault: 0, frame: frame.into(), treated })
        };
        for (name, run, expected) in [
            ("no strangers", Run::clean(40), Holds),
            ("cut", sent("binary", Treated::Cut), Holds),
            ("ignored", sent("binary", Treated::Ignored), Holds),
            ("taken", sent("binary", Treated::Taken), Violated),
            ("a long body refused", sent(OVERSIZE_BODY, Treated::Refused(Code::Invalid)), Holds),
            ("a long body refused as busy", sent(OVERSIZE_BODY, Treated::Refused(Code::Busy)), Violated),
            ("a long body ignored", sent(OVERSIZE_BODY, Treated::Ignored), Violated),
            ("nobody reached", sent("binary", Treated::Unreached), Unknown),
        ] {
            let finding = run.judged(&Strangers);
            assert_eq!(finding.verdict, expected, "{name}: {finding:#?}");
        }
    }
}
