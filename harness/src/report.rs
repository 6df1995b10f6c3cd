//! Reports: everything worth saying about a run, as one value ([`Report`], which is `result.json`), and the forms in
//! which people and tools read it. [`Report::of`] is pure; only [`store`] and [`facts`] touch the machine.

pub mod account;
pub mod chart;
pub mod comparison;
pub mod contrast;
pub mod facts;
pub mod figures;
pub mod html;
pub mod junit;
pub mod markdown;
pub mod series;
pub mod store;
pub mod terminal;
pub mod trend;

#[cfg(test)]
mod demo;

use serde::{Deserialize, Serialize};

pub use account::Cost;
pub use facts::{Machine, RunFacts};
pub use figures::{FaultReport, GeneratorReport, LatencyRow, Ledgers, Rates};
pub use series::Second;

use crate::{
    checkers::{
        Case, Judgement, Verdict,
        story::{self, Story},
        timelines::{ProcessTimeline, WriterPause},
    },
    plan::{Plan, ProcessName, Topology},
};

/// Version of `result.json`. A reader refuses what it does not know.
pub const REPORT_FORMAT: u32 = 1;
/// Messages whose whole story a report tells.
const STORIES_MAX: usize = 30;

/// Everything worth saying about a run. Times ending in `_ms` count from the start of the load.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Report {
    /// [`REPORT_FORMAT`].
    pub format: u32,
    /// Where and with what it ran.
    pub facts: RunFacts,
    /// Name of the scenario.
    pub scenario: String,
    /// What was done to the cluster, in one line.
    pub title: String,
    /// The seed everything random came from.
    pub seed: u64,
    /// The cluster and the load, in one line.
    pub setting: String,
    /// Start of the load on the run's clock; stories and findings tell times on it.
    pub load_us: u64,
    /// Length of the load.
    pub load_ms: u64,
    /// Every verdict.
    pub judgement: Judgement,
    /// Offered and achieved.
    pub rates: Rates,
    /// Latency tables: acks and receipts; overall, outside and inside faults.
    pub latency: Vec<LatencyRow>,
    /// Second by second.
    pub series: Vec<Second>,
    /// What each fault did.
    pub faults: Vec<FaultReport>,
    /// What each writer did about PostgreSQL being away.
    pub pauses: Vec<PauseReport>,
    /// The three ledgers in numbers.
    pub ledgers: Ledgers,
    /// The load generator about itself.
    pub generator: GeneratorReport,
    /// What every part cost, second by second; empty in reports of before.
    #[serde(default)]
    pub account: Vec<Cost>,
    /// Whole lives of the messages that findings name.
    pub stories: Vec<Story>,
    /// What the harness wanted a reader to know.
    pub notes: Vec<String>,
}

/// One pause of a writer, measured against the fault that caused it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PauseReport {
    /// The pause.
    pub pause: WriterPause,
    /// When it paused.
    pub paused_ms: i64,
    /// When it resumed.
    pub resumed_ms: Option<i64>,
    /// How long after the last fault began, if one had.
    pub after_fault_ms: Option<i64>,
    /// How long after that fault was shown healed it resumed; negative when it was quicker than the proof.
    pub after_heal_ms: Option<i64>,
}

impl Report {
    /// Puts a report together. Pure.
    pub fn of(case: &Case<'_>, judgement: &Judgement, facts: RunFacts) -> Self {
        let (plan, history) = (case.plan, case.history);
        let mut named: Vec<u32> = Vec::new();
        let from_findings =
            judgement.findings.iter().flat_map(|finding| &finding.details).filter_map(|d| d.message);
        for message in from_findings.chain(judgement.gaps.iter().flat_map(|gap| gap.messages.iter().copied()))
        {
            if named.len() < STORIES_MAX && !named.contains(&message) {
                named.push(message);
            }
        }
        Self {
            format: REPORT_FORMAT,
            facts,
            scenario: plan.scenario.clone(),
            title: plan.title.clone(),
            seed: plan.seed,
            setting: setting(plan),
            load_us: case.load_us(),
            load_ms: plan.load.duration_ms,
            judgement: judgement.clone(),
            rates: Rates::of(case),
            latency: figures::latency_rows(case),
            series: series::seconds(case),
            faults: figures::faults(case),
            pauses: pauses(case),
            ledgers: Ledgers::of(case, judgement),
            generator: GeneratorReport::of(case),
            account: account::of(case),
            stories: named.into_iter().map(|message| story::story(case, message)).collect(),
            notes: history
                .notes()
                .iter()
                .map(|(at_us, text)| format!("{}: {text}", case.at(*at_us)))
                .collect(),
        }
    }

    /// The final verdict in a few words.
    pub fn headline(&self) -> String {
        let of = |verdict| {
            let names = self.judgement.findings.iter().filter(|finding| finding.verdict == verdict);
            names.map(|finding| finding.checker.as_str()).collect::<Vec<_>>().join(", ")
        };
        match self.judgement.verdict {
            Verdict::Violated => format!("broken: {}", of(Verdict::Violated)),
            Verdict::Unknown => format!("the run cannot tell: {}", of(Verdict::Unknown)),
            Verdict::Holds if self.judgement.objective_missed => {
                "every claim holds, an objective was missed".to_owned()
            }
            Verdict::Holds => "every claim holds".to_owned(),
        }
    }
}

fn setting(plan: &Plan) -> String {
    let (cluster, load) = (&plan.cluster, &plan.load);
    let bugs: String = [("node", &cluster.node_bug), ("writer", &cluster.writer_bug)]
        .into_iter()
        .filter_map(|(tier, bug)| Some(format!(", planted {tier} bug {}", bug.as_ref()?)))
        .collect();
    let topology = match cluster.topology {
        Topology::DurableFirst => String::new(),
        other => format!("topology {other}, "),
    };
    format!(
        "{topology}{}, {}, {}; {} in {}, {:.0} messages/s for {} s{bugs}",
        counted(cluster.nodes, "node"),
        counted(cluster.writers, "writer"),
        counted(cluster.partitions, "partition"),
        counted(load.users, "user"),
        counted(load.rooms, "room"),
        load.rate_per_s,
        load.duration_ms / 1_000
    )
}

/// A number with its noun.
/// "1 node", "2 nodes".
pub(crate) fn counted(number: impl Into<i64>, noun: &str) -> String {
    let number = number.into();
    format!("{number} {noun}{}", if number == 1 { "" } else { "s" })
}

fn pauses(case: &Case<'_>) -> Vec<PauseReport> {
    let ms = |us: u64| figures::load_ms(case, us);
    let writers = (1..=case.plan.cluster.writers).map(ProcessName::Writer);
    let pauses = writers.flat_map(|name| ProcessTimeline::of(case.history, name).pauses());
    pauses
        .map(|pause| {
            // The fault that is nearest before the pause is the likeliest cause; its evidence stands beside it.
            let began = |window: &&crate::checkers::windows::Window| {
                window.began_us().is_some_and(|began_us| began_us <= pause.paused_us)
            };
            let cause = case.windows.iter().filter(began).max_by_key(|window| window.began_us());
            let difference = |later: u64, earlier: u64| ms(later) - ms(earlier);
            PauseReport {
                paused_ms: ms(pause.paused_us),
                resumed_ms: pause.resumed_us.map(ms),
                after_fault_ms: cause
                    .and_then(|window| Some(difference(pause.paused_us, window.began_us()?))),
                after_heal_ms: cause
                    .and_then(|window| Some(difference(pause.resumed_us?, window.ended_us()?))),
                pause,
            }
        })
        .collect()
}
