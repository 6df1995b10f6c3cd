//! **Claim: processes give back what they took.** At the end of the run, when the ledgers have come to rest, each process
//! uses about the memory and the descriptors it used when it was warm.
//!
//! - *Baseline*: the median of the samples from the end of the warm-up to the first fault (or to the middle of the load,
//!   without one). *End*: the median of the last [`END_SAMPLES`] samples while the process still ran.
//! - Grown: by more than half **and** by more than [`RSS_SLACK_KIB`]; descriptors by more than [`FILES_SLACK`]. The
//!   slacks are what allocators keep and pools hold open; a leak under load passes them within a minute.
//! - No samples of a process: `unknown`.
//!
//! **Evidence**: `/proc`, once a second. **Cannot see** a slow leak in a short run, nor tasks inside a process.
//!
//! **Cost**: linear in samples.

use crate::{
    checkers::{Case, Checker, Finding, windows::Window},
    history::index::Sample,
};

/// Samples whose median is the end: enough to outvote one outlier.
const END_SAMPLES: usize = 5;
/// Growth of memory that proves nothing: allocators keep what a burst needed.
const RSS_SLACK_KIB: u64 = 64 * 1024;
/// Growth of descriptors that proves nothing: pools and reconnecting clients.
const FILES_SLACK: u32 = 200;

/// See the [module](self).
#[derive(Debug)]
pub struct Resources;

impl Checker for Resources {
    fn name(&self) -> &'static str {
        "resources"
    }

    fn claim(&self) -> &'static str {
        "memory and descriptors of every process return to what they were when it was warm"
    }

    fn judge(&self, case: &Case<'_>, finding: &mut Finding) {
        let (mut worst_kib, mut worst_files) = (0_u64, 0_u32);
        let first_fault_us = case.windows.iter().filter_map(Window::began_us).min();
        let middle_us = case.warm_us().midpoint(case.load_end_us().max(case.warm_us()));
        let to_us = first_fault_us.unwrap_or(middle_us).max(case.warm_us());
        for planned in case.plan.processes() {
            let name = planned.to_string();
            let samples: Vec<&Sample> = case
                .history
                .samples()
                .iter()
                .filter(|sample| case.history.process_name(sample.process) == name)
                .collect();
            let warm =
                samples.iter().filter(|sample| (case.warm_us()..=to_us).contains(&sample.at_us)).copied();
            // A fault right after the warm-up leaves no sample between: the last one before it will do.
            let before = samples.iter().rfind(|sample| sample.at_us <= to_us).copied();
            let baseline: Vec<&Sample> = warm.collect();
            let baseline = if baseline.is_empty() { before.into_iter().collect() } else { baseline };
            let end = &samples[samples.len().saturating_sub(END_SAMPLES)..];
            let (Some(was), Some(is)) = (middle(&baseline), middle(end)) else {
                finding.unknown(|| format!("{name} has no samples to compare"));
                continue;
            };
            worst_kib = worst_kib.max(is.0.saturating_sub(was.0));
            worst_files = worst_files.max(is.1.saturating_sub(was.1));
            if is.0 > was.0 + was.0 / 2 && is.0 > was.0 + RSS_SLACK_KIB {
                finding.violated(|| format!("{name} grew from {} to {} MiB", was.0 / 1024, is.0 / 1024));
            }
            if is.1 > was.1.saturating_add(FILES_SLACK) {
                finding.violated(|| format!("{name} went from {} to {} open files", was.1, is.1));
            }
        }
        finding.count("worst_growth_kib", worst_kib);
        finding.count("worst_growth_open_files", u64::from(worst_files));
        finding.summary = format!("largest growth {} MiB and {worst_files} open files", worst_kib / 1024);
    }
}

/// Median memory and median descriptors.
fn middle(samples: &[&Sample]) -> Option<(u64, u32)> {
    let mut rss: Vec<u64> = samples.iter().map(|sample| sample.rss_kib).collect();
    let mut files: Vec<u32> = samples.iter().map(|sample| sample.open_files).collect();
    rss.sort_unstable();
    files.sort_unstable();
    Some((*rss.get(rss.len() / 2)?, *files.get(files.len() / 2)?))
}

#[cfg(test)]
mod tests {
    use super::Resources;
    use crate::{
        checkers::{Verdict, fixture::Run},
        history::EventKind,
    };

    #[test]
    fn every_way_to_be_wrong() {
        use Verdict::{Holds, Unknown, Violated};
        let grown = |kib: u64, files: u32| {
            Run::clean(40).mapped_late(|what| match what {
                EventKind::Sample { process, rss_kib, open_files, threads, cpu_ms }
                    if process == "node-1" =>
                {
                    EventKind::Sample {
                        process,
                        rss_kib: rss_kib + kib,
                        open_files: open_files + files,
                        threads,
                        cpu_ms,
                    }
                }
                other => other,
            })
        };
        for (name, run, expected) in [
            ("clean", Run::clean(40), Holds),
            ("a little more memory", grown(30 * 1024, 10), Holds),
            ("much more memory", grown(100 * 1024, 0), Violated),
            ("many more files", grown(0, 300), Violated),
            ("no samples", Run::clean(40).without(|m| matches!(m, EventKind::Sample { .. })), Unknown),
        ] {
            let finding = run.judged(&Resources);
            assert_eq!(finding.verdict, expected, "{name}: {finding:#?}");
        }
    }
}
