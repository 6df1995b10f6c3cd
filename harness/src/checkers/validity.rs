//! **Claims: the run tested what it set out to test** ([`Validity`]), **and every fault bit** ([`FaultsBit`]). They are
//! never violated: a run that tested nothing is `unknown`, however green the rest.
//!
//! [`Validity`]:
//! - every phase was reached, and the history is whole;
//! - something was acked, and something received;
//! - outside fault windows, at least [`OFFERED_OF_HUNDRED`] of a hundred messages of the schedule left. Inside them users
//!   may have no session, which is the cluster's doing and counted elsewhere;
//! - outside fault windows, at least [`ACKED_OF_HUNDRED`] of a hundred messages sent were acked, however late: a cluster
//!   that promises nothing breaks no promise, and everything else would hold;
//! - outside fault windows, sends left on time: the p99 of (sent - due) is below the plan's `lateness_p99_max_ms`. A later
//!   generator measures itself.
//!
//! *Outside fault windows*: neither in a fault nor in the time users needed to get over it; if they never did, only the
//! first [`WATCHED_ENOUGH_US`](super::recovery::WATCHED_ENOUGH_US) after the heal are that time.
//!
//! [`FaultsBit`]: every planned fault was proved by an independent probe and shown healed; none failed.
//!
//! **Cost**: linear in messages.

use std::collections::HashSet;

use crate::{
    checkers::{Case, Checker, Finding, latency::millis},
    history::{History, Lifecycle, Phase, index::ProcessEvent},
};

/// Messages of every hundred due outside faults that must leave: fewer, and the offered rate is not what the plan says.
pub const OFFERED_OF_HUNDRED: u64 = 95;
/// Messages of every hundred sent outside faults that must be acked: fewer, and the cluster was not at work. As many as
/// must leave, as a message that is refused is as good as one that was never sent.
pub const ACKED_OF_HUNDRED: u64 = 95;

const PHASES: [Phase; 8] = [
    Phase::Environment,
    Phase::Cluster,
    Phase::Gather,
    Phase::Load,
    Phase::LoadEnded,
    Phase::Healed,
    Phase::Settled,
    Phase::Read,
];

/// See the [module](self).
#[derive(Debug)]
pub struct Validity;

impl Checker for Validity {
    fn name(&self) -> &'static str {
        "validity"
    }

    fn claim(&self) -> &'static str {
        "the run tested what it set out to test, and the generator kept its schedule"
    }

    fn when_unknown(&self) -> &'static str {
        "run it again on an idle machine; if the details stay the same, plan a lighter load (rate_per_s, users), and look \
         into logs/ of what did not answer"
    }

    fn judge(&self, case: &Case<'_>, finding: &mut Finding) {
        let history = case.history;
        for phase in PHASES {
            if history.phase(phase).is_none() {
                finding.unknown(|| format!("the run never reached the phase {phase:?}"));
            }
        }
        for doubt in history.doubts() {
            finding.unknown(|| doubt.clone());
        }
        for process in silent(history) {
            finding.unknown(|| {
                format!(
                    "{process} never said in its log that it listens: what else it did not say is no evidence"
                )
            });
        }
        let acked = case.acked();
        if acked == 0 {
            finding.unknown(|| "nothing was acked".to_owned());
        }
        if history.receipts().is_empty() {
            finding.unknown(|| "nothing was received".to_owned());
        }

        let offered = Offered::of(case);
        if offered.due > 0 && offered.left * 100 < offered.due * OFFERED_OF_HUNDRED {
            finding.unknown(|| {
                format!("outside faults, only {} of {} messages due were sent", offered.left, offered.due)
            });
        }
        if offered.acked * 100 < offered.left * ACKED_OF_HUNDRED {
            finding.unknown(|| {
                format!("outside faults, only {} of {} messages sent were acked", offered.acked, offered.left)
            });
        }
        if offered.lateness_p99_us >= case.plan.load.lateness_p99_max_ms * 1_000 {
            finding.unknown(|| {
                format!("the generator was late: p99 {} outside faults", millis(offered.lateness_p99_us))
            });
        }
        finding.count("acked", acked);
        finding.count("due_outside_faults", offered.due);
        finding.count("sent_outside_faults", offered.left);
        finding.count("acked_outside_faults", offered.acked);
        finding.count("not_sent", offered.not_sent);
        finding.count("lateness_p99_us", offered.lateness_p99_us);
        finding.summary = format!(
            "outside faults {} of {} due were sent and {} acked, p99 {} late; {} had no session",
            offered.left,
            offered.due,
            offered.acked,
            millis(offered.lateness_p99_us),
            offered.not_sent
        );
    }
}

/// Processes that were started and whose contractual lines nobody heard.
fn silent(history: &History) -> Vec<&str> {
    let steps = history.process_steps().iter();
    let heard: HashSet<_> = steps
        .filter(|step| matches!(step.what, ProcessEvent::Said(Lifecycle::Listening)))
        .map(|step| step.process)
        .collect();
    let mut silent = Vec::new();
    for step in history.process_steps() {
        let name = history.process_name(step.process);
        let started = matches!(step.what, ProcessEvent::Started { .. });
        if started && !heard.contains(&step.process) && !silent.contains(&name) {
            silent.push(name);
        }
    }
    silent
}

/// What the generator made of the schedule.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Offered {
    /// Messages due outside faults.
    pub due: u64,
    /// Of these, how many were sent.
    pub left: u64,
    /// Of these, how many were acked, however late.
    pub acked: u64,
    /// Messages of the whole schedule whose user had no session.
    pub not_sent: u64,
    /// p99 of their lateness.
    pub lateness_p99_us: u64,
    /// Worst lateness outside faults.
    pub lateness_max_us: u64,
}

impl Offered {
    /// Counts.
    pub fn of(case: &Case<'_>) -> Self {
        let mut offered = Self::default();
        let mut lateness: Vec<u64> = Vec::new();
        for message in 0..case.messages() {
            let Some(due_us) = case.due_us(message) else { continue };
            let outcome = case.history.outcome(message);
            offered.not_sent += u64::from(outcome.fate() == crate::history::Fate::NotSent);
            if case.disturbed(due_us, due_us) {
                continue;
            }
            offered.due += 1;
            if let Some(sent_us) = outcome.sent_us() {
                offered.left += 1;
                offered.acked += u64::from(outcome.is_acked());
                lateness.push(sent_us.saturating_sub(due_us));
            }
        }
        if !lateness.is_empty() {
            let index = (lateness.len() - 1) * 99 / 100;
            offered.lateness_p99_us = *lateness.select_nth_unstable(index).1;
            offered.lateness_max_us = lateness.iter().copied().max().unwrap_or(0);
        }
        offered
    }
}

/// See the [module](self).
#[derive(Debug)]
pub struct FaultsBit;

impl Checker for FaultsBit {
    fn name(&self) -> &'static str {
        "faults"
    }

    fn claim(&self) -> &'static str {
        "every planned fault is proved to have been in force, and to be gone"
    }

    fn when_unknown(&self) -> &'static str {
        "read in the fault's evidence what its probe saw; where it never bites on this machine, choose other values or \
         another --provider"
    }

    fn judge(&self, case: &Case<'_>, finding: &mut Finding) {
        if case.windows.is_empty() {
            finding.not_applicable("no fault was planned");
            return;
        }
        let (mut proved, mut healed) = (0_u64, 0_u64);
        for window in &case.windows {
            proved += u64::from(window.proved.is_some());
            healed += u64::from(window.healed.is_some());
            let name = &window.name;
            if let Some(trouble) = &window.trouble {
                finding.unknown(|| format!("{name}: {trouble}"));
            } else if window.asked_us.is_none() {
                finding.unknown(|| format!("{name}: never begun"));
            } else if window.proved.is_none() {
                finding.unknown(|| format!("{name}: no probe showed it in force"));
            } else if window.healed.is_none() {
                finding.unknown(|| format!("{name}: no probe showed it gone"));
            }
        }
        finding.count("planned", case.windows.len() as u64);
        finding.count("proved", proved);
        finding.count("healed", healed);
        finding.summary = format!("{} planned, {proved} proved, {healed} shown healed", case.windows.len());
    }
}

#[cfg(test)]
mod tests {
    use chat_protocol::events::Code;

    use super::{FaultsBit, Validity};
    use crate::{
        checkers::{Verdict, fixture::Run},
        history::{EventKind, FaultStep, Lifecycle, Phase, Reason},
    };

    #[test]
    fn every_way_to_have_tested_nothing() {
        use Verdict::{Holds, Unknown};
        let run = || Run::clean(100);
        let late = |lateness_us: u64| {
            run().mapped_at(|at_us, what| match what {
                EventKind::Sent { .. } => (at_us + lateness_us, what),
                _ => (at_us, what),
            })
        };
        let unsent = |below: u32| {
            run().mapped(|what| match what {
                EventKind::Sent { message } if message < below => EventKind::NotSent { message },
                other => other,
            })
        };
        let refused = |run: Run, which: std::ops::Range<u32>| {
            run.mapped(|what| match what {
                EventKind::Acked { message, .. } if which.contains(&message) => {
                    EventKind::Refused { message, code: Code::Busy }
                }
                other => other,
            })
        };
        let listening = |m: &EventKind| matches!(m, EventKind::Lifecycle { process, event: Lifecycle::Listening } if process == "writer-1");
        let outage = || Run::clean(250).with_postgres_outage(5_000, 8_000);
        for (name, run, expected) in [
            ("clean", run(), Holds),
            ("nothing acked", run().without(|m| matches!(m, EventKind::Acked { .. })), Unknown),
            ("nothing received", run().without(|m| matches!(m, EventKind::Received { .. })), Unknown),
            ("a log that nobody hears", run().without(listening), Unknown),
            (
                "a phase is missing",
                run().without(|m| matches!(m, EventKind::Phase(Phase::LoadEnded))),
                Unknown,
            ),
            ("a little late", late(20_000), Holds),
            ("too late", late(60_000), Unknown),
            ("a few not sent", unsent(4), Holds),
            ("many not sent", unsent(10), Unknown),
            ("a few not acked", refused(run(), 95..100), Holds),
            ("many not acked", refused(run(), 90..100), Unknown),
            ("only the first acked", refused(run(), 1..100), Unknown),
            ("many not acked in a fault", refused(outage(), 50..85), Holds),
            ("no ack ever again after a fault", refused(outage(), 50..250), Unknown),
        ] {
            let finding = run.judged(&Validity);
            assert_eq!(finding.verdict, expected, "{name}: {finding:#?}");
        }
        let run = run();
        let history = run.history().with_doubt("7 events did not fit");
        let finding = crate::checkers::check_with(&[&Validity], &run.case(&history));
        assert_eq!(finding.verdict, Unknown);
    }

    #[test]
    fn a_late_ack_is_an_ack() {
        let timed_out = |message| EventKind::Indeterminate { message, why: Reason::Timeout };
        let mut run = Run::clean(100);
        for message in 0..100 {
            run = run.inserted_before(
                |what| matches!(what, EventKind::Acked { message: acked, .. } if *acked == message),
                timed_out(message),
            );
        }
        let finding = run.judged(&Validity);
        assert_eq!((finding.verdict, finding.counts["acked_outside_faults"]), (Verdict::Holds, 100));
        assert!(finding.summary.contains("100 acked"), "{finding:#?}");
    }

    #[test]
    fn every_way_for_a_fault_not_to_count() {
        use Verdict::{Holds, Unknown};
        let run = || Run::clean(200).with_postgres_outage(5_000, 8_000);
        let step = |step: fn(&FaultStep) -> bool| move |m: &EventKind| matches!(m, EventKind::Fault { step: s, .. } if step(s));
        let failed = EventKind::Fault { fault: 0, step: FaultStep::HealFailed { error: "refused".into() } };
        for (name, run, expected) in [
            ("no fault", Run::clean(40), Holds),
            ("clean", run(), Holds),
            ("never begun", run().without(step(|_| true)), Unknown),
            ("not proved", run().without(step(|s| matches!(s, FaultStep::Proved { .. }))), Unknown),
            ("not healed", run().without(step(|s| matches!(s, FaultStep::Healed { .. }))), Unknown),
            ("failed", run().with(failed), Unknown),
        ] {
            let finding = run.judged(&FaultsBit);
            assert_eq!(finding.verdict, expected, "{name}: {finding:#?}");
        }
    }
}
