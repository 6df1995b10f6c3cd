//! The search as a value: it says which plan to run next, is told how that run ended, and says in the end what was found.
//! Pure: whoever drives it runs the plans.
//!
//! First the original must fail again; then smaller plans are tried; what is left is run a few times more, to see how
//! often it fails. Only a run that was judged counts for or against a plan: one without a verdict says nothing about it,
//! and neither does one that could not tell.

use std::{collections::VecDeque, fmt};

use super::candidates;
use crate::plan::Plan;

/// Claims about the run itself. While one of them cannot be told, the run did not test what it set out to, and that the
/// others hold says nothing.
const PRECONDITIONS: [&str; 2] = ["validity", "faults"];

/// How a run of a plan ended, seen from the failure that is looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// A claim that the original violated is violated again.
    Violated,
    /// Only another claim is violated: another failure.
    Otherwise,
    /// The claims that the original violated hold.
    Held,
    /// The run could not tell.
    Unknown,
    /// The run could not be carried out.
    NoVerdict,
}

impl Ended {
    /// Of a run that has a verdict: by the claims that the original violated, and by those that this run violated or
    /// could not tell.
    pub fn of(culprits: &[String], violated: &[String], unknown: &[String]) -> Self {
        if violated.iter().any(|claim| culprits.contains(claim)) {
            Self::Violated
        } else if unknown
            .iter()
            .any(|claim| culprits.contains(claim) || PRECONDITIONS.contains(&claim.as_str()))
        {
            Self::Unknown
        } else if violated.is_empty() {
            Self::Held
        } else {
            Self::Otherwise
        }
    }
}

/// How the runs of one plan ended.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    /// See [`Ended::Violated`].
    pub violated: u32,
    /// See [`Ended::Otherwise`].
    pub otherwise: u32,
    /// See [`Ended::Held`].
    pub held: u32,
    /// See [`Ended::Unknown`].
    pub unknown: u32,
    /// See [`Ended::NoVerdict`].
    pub no_verdict: u32,
}

impl Tally {
    fn count(&mut self, ended: Ended) {
        match ended {
            Ended::Violated => self.violated += 1,
            Ended::Otherwise => self.otherwise += 1,
            Ended::Held => self.held += 1,
            Ended::Unknown => self.unknown += 1,
            Ended::NoVerdict => self.no_verdict += 1,
        }
    }

    /// All of them.
    pub fn runs(&self) -> u32 {
        self.judged() + self.unknown + self.no_verdict
    }

    /// Those that say whether the plan fails.
    pub fn judged(&self) -> u32 {
        self.violated + self.otherwise + self.held
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts = [
            (self.violated, "violated"),
            (self.otherwise, "violated something else"),
            (self.held, "held"),
            (self.unknown, "unknown"),
            (self.no_verdict, "without a verdict"),
        ];
        let parts = parts.iter().filter(|(count, _)| *count > 0);
        let parts: Vec<String> = parts.map(|(count, what)| format!("{count} {what}")).collect();
        f.write_str(if parts.is_empty() { "no run".to_owned() } else { parts.join(", ") }.as_str())
    }
}

/// How much may be run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// A plan is run this often before it counts as passing, and the last one to see how often it fails.
    pub times: u32,
    /// Runs in all.
    pub runs_max: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    /// Does the original fail again?
    Reproduce,
    /// Does a smaller plan fail?
    Try,
    /// How often does the smallest fail?
    Measure,
    Over,
}

/// See the [module](self).
#[derive(Debug)]
pub struct Search {
    limits: Limits,
    original: Plan,
    step: Step,
    /// What is to be run.
    running: Plan,
    /// How its runs ended so far.
    tally: Tally,
    runs: u32,
    /// The smallest plan that failed, or else the original.
    smallest: Plan,
    /// How its runs ended in the search.
    seen: Tally,
    measured: Tally,
    /// Smaller plans than the smallest, still to be tried.
    waiting: VecDeque<Plan>,
    /// Smaller plans than the smallest of which no run could be judged.
    undecided: u32,
    cut_short: bool,
}

impl Search {
    /// Begins with a plan that failed once.
    pub fn new(original: Plan, limits: Limits) -> Self {
        Self {
            limits,
            step: if limits.runs_max > 0 { Step::Reproduce } else { Step::Over },
            running: original.clone(),
            smallest: original.clone(),
            original,
            tally: Tally::default(),
            runs: 0,
            seen: Tally::default(),
            measured: Tally::default(),
            waiting: VecDeque::new(),
            undecided: 0,
            cut_short: false,
        }
    }

    /// The plan to run next; `None` when the search is over.
    pub fn next_run(&self) -> Option<&Plan> {
        (self.step != Step::Over).then_some(&self.running)
    }

    /// For people: what the next run is for, when that is something new.
    pub fn doing(&self) -> Option<String> {
        let what = match self.step {
            Step::Reproduce => "does it fail again",
            Step::Try => "trying",
            Step::Measure => "how often does it fail",
            Step::Over => return None,
        };
        (self.tally.runs() == 0).then(|| format!("{what}: {}", describe(&self.running)))
    }

    /// Takes the end of the run of [`Search::next_run`]. For people: what it decided, if anything.
    pub fn tell(&mut self, ended: Ended) -> Option<String> {
        self.runs += 1;
        self.tally.count(ended);
        // One failure is enough when only whether it fails is asked.
        let failed = self.tally.violated > 0;
        let again = self.tally.runs() < self.limits.times;
        match self.step {
            Step::Reproduce | Step::Try if failed => {
                self.go_on_from_here();
                Some("  fails; going on from here".to_owned())
            }
            Step::Reproduce if !again || self.left() == 0 => {
                self.seen = self.tally;
                self.step = Step::Over;
                None
            }
            Step::Try if !again => {
                let decided = if self.tally.judged() == 0 {
                    self.undecided += 1;
                    format!("  cannot tell ({})", self.tally)
                } else {
                    format!("  passes ({})", self.tally)
                };
                self.try_next();
                Some(decided)
            }
            Step::Try if !self.may_search() => {
                self.cut_short = true;
                let decided = format!("  not decided ({}): --runs-max", self.tally);
                self.measure();
                Some(decided)
            }
            Step::Measure if !again || self.left() == 0 => {
                self.measured = self.tally;
                self.step = Step::Over;
                None
            }
            Step::Reproduce | Step::Try | Step::Measure | Step::Over => None,
        }
    }

    /// What was found.
    pub fn found(self) -> Found {
        if self.seen.violated == 0 {
            return Found::Nothing { runs: self.seen };
        }
        Found::Smallest(Box::new(Smallest {
            unchanged: self.smallest == self.original,
            demanded: self.original.expect.min_acked_during_faults,
            plan: self.smallest,
            seen: self.seen,
            measured: self.measured,
            runs: self.runs,
            undecided: self.undecided,
            cut_short: self.cut_short,
        }))
    }

    fn left(&self) -> u32 {
        self.limits.runs_max.saturating_sub(self.runs)
    }

    /// Runs are kept back to see how often the smallest plan fails.
    fn may_search(&self) -> bool {
        self.left() > self.limits.times
    }

    fn go_on_from_here(&mut self) {
        self.smallest.clone_from(&self.running);
        self.seen = self.tally;
        self.undecided = 0;
        self.waiting = candidates(&self.smallest).into();
        self.try_next();
    }

    fn try_next(&mut self) {
        match self.waiting.pop_front() {
            Some(smaller) if self.may_search() => {
                self.running = smaller;
                self.tally = Tally::default();
                self.step = Step::Try;
            }
            smaller => {
                self.cut_short = smaller.is_some();
                self.measure();
            }
        }
    }

    fn measure(&mut self) {
        self.running.clone_from(&self.smallest);
        self.tally = Tally::default();
        self.step = if self.left() > 0 { Step::Measure } else { Step::Over };
    }
}

/// What a search found. Its text is for people.
#[derive(Debug, Clone, PartialEq)]
pub enum Found {
    /// The original did not fail again.
    Nothing {
        /// Its runs.
        runs: Tally,
    },
    /// A plan that failed, with none smaller known.
    Smallest(Box<Smallest>),
}

/// The smallest plan that failed.
#[derive(Debug, Clone, PartialEq)]
pub struct Smallest {
    /// It.
    pub plan: Plan,
    /// It is the original.
    pub unchanged: bool,
    /// `min_acked_during_faults` of the original.
    pub demanded: Option<u64>,
    /// Its runs in the search, which stop at the first failure.
    pub seen: Tally,
    /// Its runs afterwards.
    pub measured: Tally,
    /// Runs in all.
    pub runs: u32,
    /// Smaller plans of which no run could be judged.
    pub undecided: u32,
    /// Smaller plans were left untried, as there were no runs left.
    pub cut_short: bool,
}

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nothing { runs } if runs.judged() == 0 => write!(
                f,
                "none of {} runs of the original could be judged ({runs}): nobody can tell whether it fails again",
                runs.runs()
            ),
            Self::Nothing { runs } => write!(
                f,
                "the original did not fail again in {} runs ({runs}): nothing to shrink\n\
                 a failure that is a race may need more of them: --times, --runs-max",
                runs.runs()
            ),
            Self::Smallest(smallest) => smallest.fmt(f),
        }
    }
}

impl fmt::Display for Smallest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { seen, measured, undecided, .. } = self;
        let fails = if measured.violated > 0 { "still fails" } else { "failed in the search" };
        let original =
            if self.unchanged { " (the original; nothing smaller that was tried failed)" } else { "" };
        writeln!(f, "the smallest plan found that {fails}: {}{original}", describe(&self.plan))?;
        match (measured.violated, measured.judged(), measured.runs()) {
            (_, _, 0) => writeln!(f, "--runs-max left no run to see how often; in the search: {seen}")?,
            (_, 0, runs) => {
                writeln!(f, "none of {runs} more runs could be judged ({measured}); in the search: {seen}")?
            }
            (0, judged, _) => writeln!(
                f,
                "after the search it failed in none of {judged} judged runs ({measured}); in the search: {seen}"
            )?,
            (failed, judged, _) => writeln!(f, "it failed in {failed} of {judged} judged runs ({measured})")?,
        }
        let least = self.plan.expect.min_acked_during_faults;
        if let (Some(before), Some(least)) = (self.demanded, least)
            && before != least
        {
            writeln!(
                f,
                "min_acked_during_faults went from {before} to {least} with the load and the faults"
            )?;
        }
        if *undecided > 0 {
            writeln!(
                f,
                "smaller plans of which no run could be judged: {undecided}; any of them may fail, too"
            )?;
        }
        if self.cut_short {
            writeln!(f, "the search was ended by --runs-max: there may be a smaller plan that fails")?;
        }
        write!(f, "{} runs in all", self.runs)
    }
}

fn describe(plan: &Plan) -> String {
    let faults: Vec<String> = plan.faults.iter().map(|fault| fault.fault.to_string()).collect();
    format!(
        "{} faults ({}), {} users, {} messages/s, {:.0} s",
        plan.faults.len(),
        if faults.is_empty() { "none".to_owned() } else { faults.join("; ") },
        plan.load.users,
        plan.load.rate_per_s,
        plan.load.duration_ms as f64 / 1_000.0
    )
}

#[cfg(test)]
mod tests;
