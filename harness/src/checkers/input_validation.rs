//! **Claim: nobody can make a node take what breaks the protocol.** Every malformed or oversize frame that a client sent
//! was refused, ignored, or cost the client its connection; a body above the limit was answered `invalid`. Nor does one let in
//! whoever has forged a token: its client had no session.
//!
//! Another fault that is in force while they are at it excuses what it does to these clients as to everybody: a cut
//! connection; `draining`, from a node that is being stopped; silence, from a node that is frozen.
//!
//! That no user noticed is what the other checkers claim; that no node died of it is [`super::survival`]'s.
//!
//! **Evidence**: what these clients saw of each frame they sent. **Cannot see** frames nobody thought of, nor when each was
//! sent: the other fault need only touch their time.
//!
//! **Cost**: linear in kinds of frames.

use chat_protocol::events::Code;

use crate::{
    checkers::{Case, Checker, Finding},
    history::{Reaction, index::BadFrames},
    plan::{Effects, ProcessName, clients::OVERSIZE_BODY},
};

/// See the [module](self).
#[derive(Debug)]
pub struct InputValidation;

impl Checker for InputValidation {
    fn name(&self) -> &'static str {
        "input-validation"
    }

    fn claim(&self) -> &'static str {
        "no node takes a frame that breaks the protocol or its limits, or a forged token"
    }

    fn when_unknown(&self) -> &'static str {
        "let the fault last longer (for_s), so that the bad clients have time to connect"
    }

    fn judge(&self, case: &Case<'_>, finding: &mut Finding) {
        if !case.windows.iter().any(|window| window.effects.abuses()) {
            finding.not_applicable("no bad clients were planned");
            return;
        }
        let (mut sent, mut cut, mut refused, mut ignored, mut taken) = (0, 0, 0, 0, 0);
        for bad in case.history.bad_frames() {
            let must_be_refused = bad.frame == OVERSIZE_BODY;
            match bad.treated {
                Reaction::Unreached => continue,
                Reaction::Cut => cut += bad.times,
                Reaction::Refused(_) => refused += bad.times,
                Reaction::Ignored => ignored += bad.times,
                Reaction::Taken => taken += bad.times,
            }
            sent += bad.times;
            if bad.treated == Reaction::Taken {
                finding.violated(|| format!("{} was taken for good {} times", bad.frame, bad.times));
            } else if must_be_refused && bad.treated != Reaction::Refused(Code::Invalid) {
                let text = || {
                    let BadFrames { frame, treated, times, .. } = bad;
                    format!("{frame} was not refused as invalid but {treated:?}, {times} times")
                };
                match excuse(case, bad) {
                    Some(other) => finding.note(|| format!("{}, with {other} meanwhile", text())),
                    None => finding.violated(text),
                }
            }
        }
        for (number, window) in (0_u32..).zip(&case.windows) {
            let reached = |fault: u32| {
                case.history
                    .bad_frames()
                    .iter()
                    .any(|bad| bad.fault == fault && bad.treated != Reaction::Unreached)
            };
            if window.effects.abuses() && !reached(number) {
                finding.unknown(|| format!("{}: no frame of theirs reached a node", window.name));
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

/// The name of another fault that explains how a frame was treated, if there was one while its clients were at it.
fn excuse<'a>(case: &'a Case<'_>, bad: &BadFrames) -> Option<&'a str> {
    let planned = case.plan.faults.get(bad.fault as usize)?;
    // They keep to the plan.
    let from_us = case.load_us().saturating_add(planned.at_ms.saturating_mul(1_000));
    let to_us = from_us.saturating_add(planned.for_ms.saturating_mul(1_000));
    let excuses = |other: &Effects| {
        let is_node = |process: ProcessName| matches!(process, ProcessName::Node(_));
        match bad.treated {
            Reaction::Cut => !other.abuses(),
            Reaction::Refused(Code::Draining) => other.drains && other.broken().any(is_node),
            Reaction::Ignored => other.frozen.iter().copied().any(is_node),
            _ => false,
        }
    };
    let mut others = case.windows.iter();
    let other = others.find(|other| excuses(&other.effects) && other.touches(from_us, to_us))?;
    Some(&other.name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        checkers::{Verdict, fixture::Run},
        history::EventKind,
        plan::{FaultKind, PlannedFault},
    };

    #[test]
    fn every_way_to_be_wrong() {
        use Verdict::{Holds, Unknown, Violated};
        let sent = |frame: &str, treated| {
            let mut run = Run::clean(40);
            run.plan.faults.push(PlannedFault {
                at_ms: 1_000,
                for_ms: 1_000,
                fault: FaultKind::ClientOversize { clients: 1 },
            });
            run.with(EventKind::BadFrame { fault: 0, frame: frame.into(), treated })
        };
        for (name, run, expected) in [
            ("no bad clients", Run::clean(40), Holds),
            ("cut", sent("binary", Reaction::Cut), Holds),
            ("ignored", sent("binary", Reaction::Ignored), Holds),
            ("taken", sent("binary", Reaction::Taken), Violated),
            ("a long body refused", sent(OVERSIZE_BODY, Reaction::Refused(Code::Invalid)), Holds),
            ("a long body refused as busy", sent(OVERSIZE_BODY, Reaction::Refused(Code::Busy)), Violated),
            ("a long body ignored", sent(OVERSIZE_BODY, Reaction::Ignored), Violated),
            ("nobody reached", sent("binary", Reaction::Unreached), Unknown),
        ] {
            let finding = run.judged(&InputValidation);
            assert_eq!(finding.verdict, expected, "{name}: {finding:#?}");
        }
    }

    #[test]
    fn another_fault_excuses_only_what_it_does_and_only_in_its_time() {
        use Verdict::{Holds, Violated};
        let node = || vec![ProcessName::Node(1)];
        let killed = || FaultKind::ProcessKill { processes: node() };
        let stopped = || FaultKind::ProcessTerminate { processes: node() };
        let frozen = || FaultKind::ProcessPause { processes: node() };
        // The clients are at it from 1 s to 2 s.
        let sent = |treated, other: FaultKind, [from_ms, to_ms]: [u64; 2]| {
            Run::clean(40)
                .with_fault(FaultKind::ClientOversize { clients: 1 }, [1_000, 1_000, 2_000, 2_100])
                .with_fault(other, [from_ms, from_ms, to_ms, to_ms])
                .with(EventKind::BadFrame { fault: 0, frame: OVERSIZE_BODY.into(), treated })
        };
        let (busy, draining) = (Reaction::Refused(Code::Busy), Reaction::Refused(Code::Draining));
        for (name, run, expected) in [
            ("cut by a kill", sent(Reaction::Cut, killed(), [1_200, 1_500]), Holds),
            ("cut long before a kill", sent(Reaction::Cut, killed(), [3_000, 3_500]), Violated),
            ("cut long after a kill", sent(Reaction::Cut, killed(), [200, 500]), Violated),
            (
                "cut in a kill that never healed",
                sent(Reaction::Cut, killed(), [200, 500]).never_healed(1),
                Holds,
            ),
            ("busy", sent(busy, killed(), [1_200, 1_500]), Violated),
            ("draining", sent(draining, stopped(), [1_200, 1_500]), Holds),
            ("draining, and nobody asked", sent(draining, killed(), [1_200, 1_500]), Violated),
            ("silent while frozen", sent(Reaction::Ignored, frozen(), [1_200, 1_500]), Holds),
            ("silent while killed", sent(Reaction::Ignored, killed(), [1_200, 1_500]), Violated),
        ] {
            let finding = run.judged(&InputValidation);
            assert_eq!(finding.verdict, expected, "{name}: {finding:#?}");
        }
    }
}
