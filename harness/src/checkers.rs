//! Checkers: values in, a judgement out. No I/O, no clock, no runtime, so a run can be judged again, anywhere, and a
//! checker is tested with a history of six lines.
//!
//! Each checker's file opens with its claim: the property, its terms, what counts as evidence, what it cannot see, and
//! what it costs. Verdicts have three values, as a run that saw nothing proves nothing.

pub mod case;
pub mod dead_letters;
pub mod delivery;
pub mod detection;
pub mod durability;
pub mod exactly_once;
pub mod expected_deliveries;
pub mod finding;
pub mod input_validation;
pub mod isolation;
pub mod latency;
pub mod liveness;
pub mod order;
pub mod pause;
pub mod reconcile;
pub mod recovery;
pub mod resources;
pub mod story;
pub mod survival;
pub mod timelines;
pub mod validity;
pub mod windows;

#[cfg(test)]
pub(crate) mod fixture;
#[cfg(test)]
mod mutations;

use std::{
    any::Any,
    panic::{AssertUnwindSafe, catch_unwind},
};

use serde::{Deserialize, Serialize};

pub use case::Case;
pub use finding::{Detail, Finding};
pub use reconcile::{Gap, Tier};

use crate::{
    exit::Exit,
    history::History,
    plan::{Arrivals, Plan},
};

/// Whether a claim is true of a run. Ordered by weight: the heavier wins when verdicts are merged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// Everything that was looked for is as claimed.
    Holds,
    /// The evidence does not allow an answer.
    Unknown,
    /// There is a counter-example.
    Violated,
}

impl Verdict {
    /// Violated over unknown over holds.
    #[must_use]
    pub fn merge(self, other: Self) -> Self {
        self.max(other)
    }

    /// The word, as in reports.
    pub fn word(self) -> &'static str {
        match self {
            Self::Holds => "holds",
            Self::Unknown => "unknown",
            Self::Violated => "violated",
        }
    }
}

/// A claim, and how to find out whether it is true of a run.
pub trait Checker: Sync {
    /// Its name: one word, as in reports.
    fn name(&self) -> &'static str;
    /// What it claims, in one line.
    fn claim(&self) -> &'static str;
    /// What to do where this checker cannot tell.
    fn when_unknown(&self) -> &'static str {
        "run it again; if it stays unknown, the details of this claim name what could not be seen, and the logs in the \
         run's folder say why"
    }
    /// Looks for counter-examples, and for evidence that there would have been some.
    fn judge(&self, case: &Case<'_>, finding: &mut Finding);
}

/// Every checker, in the order of reports: first what users lose, then how it felt, then whether to believe it.
pub const ALL: [&dyn Checker; 15] = [
    &durability::Durability,
    &exactly_once::ExactlyOnce,
    &delivery::Delivery,
    &order::Order,
    &isolation::Isolation,
    &dead_letters::DeadLetters,
    &pause::Pause,
    &survival::Survival,
    &input_validation::InputValidation,
    &recovery::Recovery,
    &liveness::Liveness,
    &latency::Latency,
    &resources::Resources,
    &validity::Validity,
    &validity::FaultsBit,
];

/// All that was found out about a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Judgement {
    /// The verdicts of all findings, merged.
    pub verdict: Verdict,
    /// A stated objective was missed, though the claims may hold.
    pub objective_missed: bool,
    /// One a checker, in the order of [`ALL`].
    pub findings: Vec<Finding>,
    /// What is missing between the ledgers, by the tier that lost it.
    pub gaps: Vec<Gap>,
}

impl Judgement {
    /// How `squall` ends: violated over unknown over a missed objective.
    pub fn exit(&self) -> Exit {
        match self.verdict {
            Verdict::Violated => Exit::Violated,
            Verdict::Unknown => Exit::Unknown,
            Verdict::Holds if self.objective_missed => Exit::ObjectiveMissed,
            Verdict::Holds => Exit::Holds,
        }
    }

    /// Of a run that cannot tell: the one thing to do next. What makes the whole run doubtful comes before what makes
    /// one claim so.
    pub fn next_step(&self) -> Option<&str> {
        if self.verdict != Verdict::Unknown {
            return None;
        }
        let of = |finding: &&Finding| finding.next_step.is_some();
        let whole = ["validity", "faults"].into_iter().filter_map(|checker| self.finding(checker));
        whole.chain(&self.findings).find(of)?.next_step.as_deref()
    }

    /// A checker's finding.
    pub fn finding(&self, checker: &str) -> Option<&Finding> {
        self.findings.iter().find(|finding| finding.checker == checker)
    }
}

/// Judges a run with every checker.
pub fn check(plan: &Plan, arrivals: &Arrivals, history: &History) -> Judgement {
    check_with(&ALL, &Case::new(plan, arrivals, history))
}

/// Judges a run with some checkers. One that panics becomes `unknown`, with its message, and does not hide the others.
pub fn check_with(checkers: &[&dyn Checker], case: &Case<'_>) -> Judgement {
    let findings: Vec<Finding> = checkers.iter().map(|checker| guarded(*checker, case)).collect();
    let gaps = catch_unwind(AssertUnwindSafe(|| reconcile::gaps(case))).unwrap_or_default();
    let verdict = findings.iter().map(|finding| finding.verdict).fold(Verdict::Holds, Verdict::merge);
    let objective_missed = findings.iter().any(|finding| finding.objective_missed);
    Judgement { verdict, objective_missed, findings, gaps }
}

/// What a panic said.
pub(crate) fn panic_message(panic: &(dyn Any + Send)) -> String {
    let message = panic.downcast_ref::<String>().map(String::as_str);
    message.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no message").to_owned()
}

fn guarded(checker: &dyn Checker, case: &Case<'_>) -> Finding {
    // A checker only reads, so nothing is left half changed when it panics.
    let judged = catch_unwind(AssertUnwindSafe(|| {
        let mut finding = Finding::about(checker.name(), checker.claim());
        checker.judge(case, &mut finding);
        finding
    }));
    let mut finding = judged.unwrap_or_else(|panic| {
        let message = panic_message(panic.as_ref());
        let mut finding = Finding::about(checker.name(), checker.claim());
        finding.unknown(|| format!("the checker itself failed: {message}"));
        finding.summary = "the checker itself failed; please report this".to_owned();
        finding.next_step = Some("report this as a bug of squall, with the run's folder".to_owned());
        finding
    });
    if finding.verdict == Verdict::Unknown {
        finding.next_step.get_or_insert_with(|| checker.when_unknown().to_owned());
    }
    finding.close();
    finding
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkers::fixture::Run;

    struct Clumsy;
    impl Checker for Clumsy {
        fn name(&self) -> &'static str {
            "clumsy"
        }
        fn claim(&self) -> &'static str {
            "falls over"
        }
        fn judge(&self, _: &Case<'_>, _: &mut Finding) {
            panic!("over {}", "a stone");
        }
    }

    #[test]
    fn a_checker_that_panics_is_unknown_with_its_message() {
        let run = Run::clean(10);
        let history = run.history();
        let judgement = check_with(&[&Clumsy, &durability::Durability], &run.case(&history));
        assert_eq!(judgement.verdict, Verdict::Unknown);
        assert!(judgement.findings[0].details[0].text.contains("over a stone"));
        assert!(judgement.next_step().unwrap().contains("bug of squall"));
        assert_eq!(judgement.findings[1].verdict, Verdict::Holds);
        assert_eq!(judgement.exit(), Exit::Unknown);
    }

    #[test]
    fn violated_wins_over_unknown_over_holds() {
        use Verdict::{Holds, Unknown, Violated};
        assert_eq!(Holds.merge(Unknown), Unknown);
        assert_eq!(Unknown.merge(Violated), Violated);
        assert_eq!(Violated.merge(Holds), Violated);
    }

    #[test]
    fn a_clean_run_holds_everywhere_and_an_empty_one_is_unknown() {
        let run = Run::clean(40);
        let history = run.history();
        let judgement = check(&run.plan, &run.arrivals, &history);
        assert_eq!(judgement.verdict, Verdict::Holds, "{judgement:#?}");
        assert_eq!(judgement.exit(), Exit::Holds);

        let empty = History::from_events(&run.plan, []);
        let judgement = check(&run.plan, &run.arrivals, &empty);
        assert_eq!(judgement.verdict, Verdict::Unknown, "{judgement:#?}");
        assert_eq!(judgement.finding("durability").unwrap().verdict, Verdict::Unknown);
        assert_eq!(judgement.finding("delivery").unwrap().verdict, Verdict::Unknown);
        for finding in &judgement.findings {
            assert_eq!(
                finding.next_step.is_some(),
                finding.verdict == Verdict::Unknown,
                "{}",
                finding.checker
            );
        }
        assert_eq!(judgement.next_step(), judgement.finding("validity").unwrap().next_step.as_deref());
    }
}
