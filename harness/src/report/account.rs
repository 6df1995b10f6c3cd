//! What a run cost, part by part: so that a reader knows whose processor time a figure is about. On a machine that all
//! share, a cluster is slow where its generator, or Kafka, takes what it needs.

use serde::{Deserialize, Serialize};

use crate::checkers::Case;

/// Longest account: a day. What came later is left out.
const SECONDS_MAX: usize = 86_400;
/// From the name of a process to the part that it counts for: all nodes are one, and so are all writers.
const TIERS: [(&str, &str); 2] = [("node-", "nodes"), ("writer-", "writers")];
/// Us.
const GENERATOR: &str = "generator";

/// What one part cost.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cost {
    /// generator, nodes, writers, or a service.
    pub part: String,
    /// Processor time of each second since the start of the load, in milliseconds; none where nobody looked.
    pub cpu_ms: Vec<Option<u64>>,
    /// Most resident memory at any moment of the load, in KiB. What processes share is counted in each.
    pub rss_max_kib: u64,
}

impl Cost {
    /// Cores in use: on average, and in the dearest second.
    pub fn cores(&self) -> (f64, f64) {
        let known: Vec<u64> = self.cpu_ms.iter().flatten().copied().collect();
        let cores = |ms: u64| ms as f64 / 1_000.0;
        let mean = cores(known.iter().sum()) / known.len().max(1) as f64;
        (mean, cores(known.iter().copied().max().unwrap_or(0)))
    }
}

/// The account of the load's seconds; parts in the order in which they are first heard of, the generator first.
pub fn of(case: &Case<'_>) -> Vec<Cost> {
    let length = usize::try_from((case.load_end_us() - case.load_us().min(case.load_end_us())) / 1_000_000);
    let length = length.unwrap_or(SECONDS_MAX).min(SECONDS_MAX);
    let second = |at_us: u64| {
        let second = usize::try_from(at_us.checked_sub(case.load_us())? / 1_000_000).ok()?;
        (second < length).then_some(second)
    };
    let mut costs: Vec<Cost> = Vec::new();
    let mut add = |part: &str, at_us: u64, cpu_ms: Option<u64>| {
        let Some(second) = second(at_us) else { return };
        let at = costs.iter().position(|it| it.part == part).unwrap_or_else(|| {
            costs.push(Cost { part: part.to_owned(), cpu_ms: vec![None; length], rss_max_kib: 0 });
            costs.len() - 1
        });
        if let (Some(cost), Some(cpu_ms)) = (costs.get_mut(at), cpu_ms) {
            *cost.cpu_ms[second].get_or_insert(0) += cpu_ms;
        }
    };
    for of_second in case.history.generator() {
        add(GENERATOR, of_second.at_us, Some(of_second.cpu_ms));
    }
    let name = |process: u16| {
        let name = case.history.process_name(process);
        TIERS.iter().find(|(prefix, _)| name.starts_with(prefix)).map_or(name, |(_, tier)| *tier)
    };
    // Of each process the sample before: a life that ended took its count with it.
    let mut before: Vec<Option<u64>> = vec![None; case.history.processes().len()];
    for sample in case.history.samples() {
        let Some(before) = before.get_mut(usize::from(sample.process)) else { continue };
        let spent = before.and_then(|before| sample.cpu_ms.checked_sub(before));
        *before = Some(sample.cpu_ms);
        add(name(sample.process), sample.at_us, spent);
    }
    for cost in &mut costs {
        cost.rss_max_kib = most_memory(case, &cost.part, &name);
    }
    costs
}

/// Of all processes of a part together, each with the most it held.
fn most_memory<'a>(case: &'a Case<'_>, part: &str, name: &impl Fn(u16) -> &'a str) -> u64 {
    if part == GENERATOR {
        return case.history.generator().iter().map(|second| second.rss_kib).max().unwrap_or(0);
    }
    let mut most: Vec<u64> = vec![0; case.history.processes().len()];
    for sample in case.history.samples().iter().filter(|sample| name(sample.process) == part) {
        if let Some(most) = most.get_mut(usize::from(sample.process)) {
            *most = sample.rss_kib.max(*most);
        }
    }
    most.iter().sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{checkers::fixture::Run, history::EventKind};

    #[test]
    fn each_second_costs_what_its_counter_grew_by_and_a_new_life_begins_anew() {
        let sample = |cpu_ms| EventKind::Sample {
            process: "kafka".into(),
            rss_kib: 500 + cpu_ms,
            open_files: 0,
            threads: 9,
            cpu_ms,
        };
        let mut run = Run::clean(60);
        for (at_ms, cpu_ms) in [(100, 1_000), (1_100, 1_600), (2_100, 1_900), (3_100, 20), (4_100, 70)] {
            run = run.at_ms(at_ms, sample(cpu_ms));
        }
        let history = run.history();
        let account = of(&run.case(&history));
        let kafka = account.iter().find(|it| it.part == "kafka").unwrap();
        assert_eq!(kafka.cpu_ms[..5], [None, Some(600), Some(300), None, Some(50)]);
        assert_eq!(kafka.rss_max_kib, 2_400);
        assert_eq!(kafka.cores().1, 0.6);
        // All nodes are one part.
        assert!(account.iter().all(|it| !it.part.starts_with("node-")), "{account:?}");
        assert!(account.iter().any(|it| it.part == "nodes"), "{account:?}");
    }
}
