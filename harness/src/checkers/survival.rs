//! **Claim: no process ends or panics by itself.** A chat node or a writer only ends when a fault or the end of the run
//! ends it.
//!
//! **Evidence**: exits as seen by the parent process, and the contractual `panicked` line of the log. An exit by
//! SIGKILL that the harness did not send may be the kernel short of memory: it is named in the detail and still a
//! violation, as users felt it.
//!
//! **Cannot see** a task inside a process that died quietly; what it did not do shows elsewhere.
//!
//! **Cost**: linear in steps of processes.

use crate::{
    checkers::{Case, Checker, Finding},
    history::{Lifecycle, index::ProcessEvent},
};

/// See the [module](self).
#[derive(Debug)]
pub struct Survival;

impl Checker for Survival {
    fn name(&self) -> &'static str {
        "survival"
    }

    fn claim(&self) -> &'static str {
        "no node or writer ends or panics by itself"
    }

    fn judge(&self, case: &Case<'_>, finding: &mut Finding) {
        let (mut starts, mut deaths, mut panics) = (0_u64, 0_u64, 0_u64);
        for step in case.history.process_steps() {
            let name = case.history.process_name(step.process);
            match &step.what {
                ProcessEvent::Started { .. } => starts += 1,
                ProcessEvent::Exited { status, asked: false } => {
                    deaths += 1;
                    finding.violated(|| {
                        // Signals are written by their names, by the parent process.
                        let memory = if status.contains("SIGKILL") {
                            " (not sent by squall: short of memory?)"
                        } else {
                            ""
                        };
                        format!("{name} died by itself at {}: {status}{memory}", case.at(step.at_us))
                    });
                }
                ProcessEvent::Said(Lifecycle::Panicked { message }) => {
                    panics += 1;
                    finding.violated(|| format!("{name} panicked at {}: {message}", case.at(step.at_us)));
                }
                _ => {}
            }
        }
        if starts == 0 {
            finding.unknown(|| "no process was seen to start".to_owned());
        }
        if let Some(doubt) = case.history.doubts().first() {
            finding.unknown(|| doubt.clone());
        }
        finding.count("starts", starts);
        finding.count("died_by_itself", deaths);
        finding.count("panics", panics);
        finding.summary = format!("{starts} starts, {deaths} deaths that nobody asked for, {panics} panics");
    }
}

#[cfg(test)]
mod tests {
    use super::Survival;
    use crate::{
        checkers::{Verdict, fixture::Run},
        history::{EventKind, Lifecycle},
    };

    #[test]
    fn every_way_to_be_wrong() {
        use Verdict::{Holds, Unknown, Violated};
        let exited =
            |asked| EventKind::Exited { process: "node-1".into(), status: "signal SIGKILL".into(), asked };
        let event = Lifecycle::Panicked { message: "index out of bounds".into() };
        for (name, run, expected) in [
            ("clean", Run::clean(6), Holds),
            ("killed by a fault", Run::clean(6).with(exited(true)), Holds),
            ("died by itself", Run::clean(6).with(exited(false)), Violated),
            (
                "panicked",
                Run::clean(6).with(EventKind::Lifecycle { process: "node-1".into(), event }),
                Violated,
            ),
            ("never started", Run::clean(6).without(|m| matches!(m, EventKind::Started { .. })), Unknown),
        ] {
            let finding = run.judged(&Survival);
            assert_eq!(finding.verdict, expected, "{name}: {finding:#?}");
        }
    }

    #[test]
    fn a_kill_that_nobody_sent_may_be_the_kernel_short_of_memory() {
        for (status, hinted) in [("signal SIGKILL", true), ("signal SIGSEGV", false), ("exit code 9", false)]
        {
            let exited = EventKind::Exited { process: "node-1".into(), status: status.into(), asked: false };
            let finding = Run::clean(6).with(exited).judged(&Survival);
            assert_eq!(finding.details[0].text.contains("short of memory?"), hinted, "{finding:#?}");
        }
    }
}
