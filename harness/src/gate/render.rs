//! What a gate has found, for a terminal, for a pull request, and for programs.

use std::fmt::Write;

use serde::Serialize;

use super::{
    judgement::{Finding, Judgement, Look, Outcome},
    metric::Metric,
};
use crate::report::{chart::escape, junit::legal};

/// A judgement and what it is about.
#[derive(Debug, Clone, PartialEq)]
pub struct GateReport {
    /// Name of the scenario whose load was used.
    pub scenario: String,
    /// The build that is known: a git reference or a folder.
    pub baseline: String,
    /// The build that is judged.
    pub candidate: String,
    /// What was found.
    pub judgement: Judgement,
}

/// One entry of github-action-benchmark's `customSmallerIsBetter`.
#[derive(Debug, Serialize)]
struct BenchmarkEntry {
    name: String,
    unit: &'static str,
    value: f64,
    range: String,
    extra: String,
}

impl GateReport {
    /// The verdict in one line, with its reason.
    pub fn headline(&self) -> String {
        let judgement = &self.judgement;
        let named = |outcome| {
            let with = judgement.gating.iter().filter(|finding| finding.outcome == outcome);
            with.map(|finding| format!("{} {}", finding.metric.name(), change(finding))).collect::<Vec<_>>()
        };
        match judgement.outcome {
            Outcome::Slower => format!("slower: {}", named(Outcome::Slower).join("; ")),
            Outcome::NotSlower => format!(
                "not slower: an increase of {} is excluded",
                Metric::GATING
                    .map(|it| format!("{:.0} % in {}", it.to_exclude() * 100.0, it.name()))
                    .join(", ")
            ),
            Outcome::Unknown if judgement.void_share() > super::judgement::VOID_MAX => {
                format!("unknown: {}", self.counted())
            }
            Outcome::Unknown => {
                let doubtful = judgement.gating.iter().filter(|it| it.outcome == Outcome::Unknown);
                let doubts = doubtful.map(|it| {
                    let name = it.metric.name();
                    if it.pairs < super::statistics::SMALLEST_SAMPLE as usize {
                        return format!("{name} has only {} pairs", it.pairs);
                    }
                    format!(
                        "{name} {}: slices vary by {:.1} %, and it would take {} pairs",
                        change(it),
                        it.variation * 100.0,
                        it.pairs_needed
                    )
                });
                format!("unknown: an increase cannot be excluded; {}", doubts.collect::<Vec<_>>().join("; "))
            }
        }
    }

    /// What was measured and what was left out.
    fn counted(&self) -> String {
        let Judgement { slices, void, look, .. } = &self.judgement;
        let look = if *look == Look::First { "one look" } else { "two looks" };
        let void: Vec<String> = void.iter().map(|(why, count)| format!("{count} ({})", why.word())).collect();
        let void = if void.is_empty() { "none".to_owned() } else { void.join(", ") };
        format!("{slices} slices in {look}, void: {void}")
    }

    fn missed(&self) -> impl Iterator<Item = String> {
        self.judgement.missed.iter().map(|missed| {
            let (name, limit) = (missed.metric.name(), missed.limit_ms);
            format!("objective missed: {name} is {:.1} ms, the objective is {limit} ms", missed.median_ms)
        })
    }

    fn findings(&self) -> impl Iterator<Item = &Finding> {
        self.judgement.gating.iter().chain(&self.judgement.shown)
    }

    /// For a terminal.
    pub fn terminal(&self) -> String {
        let mut text = format!("{}\n", self.headline());
        self.missed().for_each(|line| text.push_str(&format!("{line}\n")));
        let _ = writeln!(
            text,
            "{} against {} · {} · {}\n",
            self.candidate,
            self.baseline,
            self.scenario,
            self.counted()
        );
        let _ = writeln!(
            text,
            "{:<22} {:>12} {:>12}  {:<28} {:>8} {:>6} {:>6}  verdict",
            "", "baseline", "candidate", "change [95 %]", "p", "CV", "pairs"
        );
        for it in self.findings() {
            let unit = it.metric.unit();
            let _ = writeln!(
                text,
                "{:<22} {:>9.3} {unit} {:>9.3} {unit}  {:<28} {:>8.4} {:>4.1} % {:>6}  {}",
                it.metric.name(),
                it.baseline,
                it.candidate,
                change(it),
                it.p,
                it.variation * 100.0,
                it.pairs,
                self.word(it)
            );
        }
        text
    }

    /// For a pull request.
    pub fn markdown(&self) -> String {
        let mut page = format!("## Performance: {}\n\n", self.judgement.outcome.word());
        let _ = writeln!(page, "{}.\n", self.headline());
        self.missed().for_each(|line| page.push_str(&format!("**{line}**\n\n")));
        page.push_str("| metric | baseline | candidate | change, 95 % interval | p | CV | verdict |\n");
        page.push_str("|---|--:|--:|--:|--:|--:|---|\n");
        for it in self.findings() {
            let unit = it.metric.unit();
            let _ = writeln!(
                page,
                "| {} | {:.3} {unit} | {:.3} {unit} | {} | {:.4} | {:.1} % | {} |",
                it.metric.name(),
                it.baseline,
                it.candidate,
                change(it),
                it.p,
                it.variation * 100.0,
                self.word(it)
            );
        }
        let (candidate, baseline) = (&self.candidate, &self.baseline);
        let _ = writeln!(
            page,
            "\n`{candidate}` against `{baseline}`, load of `{}`: {}. Both builds ran side by side on the same services; \
             figures are medians over slices, changes are paired.",
            self.scenario,
            self.counted()
        );
        page
    }

    /// For github-action-benchmark (`tool: customSmallerIsBetter`): the candidate's figures, half the interval's width as
    /// their range. For the trend page only; a verdict never rests on a stored figure.
    pub fn benchmark_json(&self) -> String {
        let entries: Vec<BenchmarkEntry> = self
            .findings()
            .filter(|it| it.pairs > 0)
            .map(|it| {
                let half = (it.change.high - it.change.low) / 2.0 * it.candidate;
                let known = half.is_finite();
                BenchmarkEntry {
                    name: it.metric.name().to_owned(),
                    unit: it.metric.unit(),
                    value: it.candidate,
                    range: if known { format!("± {half:.3}") } else { "unknown".to_owned() },
                    extra: format!(
                        "{} against {}: {}, {} pairs, CV {:.1} %",
                        self.candidate,
                        self.baseline,
                        change(it),
                        it.pairs,
                        it.variation * 100.0
                    ),
                }
            })
            .collect();
        serde_json::to_string_pretty(&entries).unwrap_or_else(|_| "[]".to_owned()) + "\n"
    }

    /// One test case a gating metric and objective: slower and missed are failures, unknown is an error.
    pub fn junit(&self) -> String {
        let class = format!("squall.gate.{}", escape(&self.scenario));
        let mut cases = Vec::new();
        for it in &self.judgement.gating {
            // Void slices take the word from every metric.
            let outcome =
                if self.judgement.outcome == Outcome::Unknown { Outcome::Unknown } else { it.outcome };
            let message = escape(&legal(&change(it)));
            let inner = match outcome {
                Outcome::NotSlower => format!("<system-out>{message}</system-out>"),
                Outcome::Slower => format!("<failure type=\"slower\" message=\"{message}\"/>"),
                Outcome::Unknown => {
                    format!("<error type=\"unknown\" message=\"{}\"/>", escape(&legal(&self.headline())))
                }
            };
            cases.push((it.metric.name(), inner, outcome));
        }
        let missed = self.judgement.missed.iter().zip(self.missed());
        cases.extend(missed.map(|(missed, line)| {
            let inner = format!("<failure type=\"objective missed\" message=\"{}\"/>", escape(&line));
            (missed.metric.name(), inner, Outcome::Slower)
        }));
        let count = |of| cases.iter().filter(|(_, _, outcome)| *outcome == of).count();
        let mut xml = format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuite name=\"{class}\" tests=\"{}\" failures=\"{}\" \
             errors=\"{}\" skipped=\"0\">\n",
            cases.len(),
            count(Outcome::Slower),
            count(Outcome::Unknown)
        );
        for (name, inner, _) in &cases {
            let _ = writeln!(xml, "  <testcase classname=\"{class}\" name=\"{name}\">{inner}</testcase>");
        }
        xml.push_str("</testsuite>\n");
        xml
    }

    fn word(&self, finding: &Finding) -> &'static str {
        if Metric::GATING.contains(&finding.metric) { finding.outcome.word() } else { "shown only" }
    }
}

/// The change and its interval, in per cent.
fn change(finding: &Finding) -> String {
    let percent = |share: f64| {
        if share.is_finite() && share > -1.0 { format!("{:+.1} %", share * 100.0) } else { "?".to_owned() }
    };
    let change = &finding.change;
    format!("{} [{}, {}]", percent(change.middle), percent(change.low), percent(change.high))
}

#[cfg(test)]
mod tests {
    use super::{super::*, *};

    fn report(node_factor: u64) -> GateReport {
        let mut slices = Vec::new();
        for round in 0..ROUNDS_PER_LOOK {
            for (pair, arm) in order(round, PAIRS_PER_ROUND) {
                let quantiles = Quantiles { p50_us: 4_000, p99_us: 9_000, max_us: 20_000 };
                let cost = if arm == Arm::Candidate { node_factor } else { 100 };
                slices.push(Slice {
                    round,
                    pair,
                    arm,
                    node_cpu_ns: 9_000_000 * cost,
                    writer_cpu_ns: 90_000_000,
                    receipts: 45_000,
                    rows: 900,
                    due: 900,
                    sent: 900,
                    ack: quantiles,
                    receipt: quantiles,
                    lateness_p99_us: 500,
                    steal: 0.0,
                });
            }
        }
        let judgement =
            judge(&slices, Look::First, judgement::Objectives { ack_p99_ms: Some(5), receipt_p99_ms: None });
        GateReport { scenario: "a<b".into(), baseline: "main".into(), candidate: "here".into(), judgement }
    }

    #[test]
    fn every_form_says_what_was_found() {
        let slower = report(110);
        assert!(slower.headline().starts_with("slower: node CPU per receipt +10.0 % [+10.0 %, +10.0 %]"));
        assert!(slower.terminal().contains("objective missed: ack p99 is 9.0 ms, the objective is 5 ms"));
        assert!(slower.terminal().contains("24 slices in one look, void: none"));
        assert!(slower.markdown().starts_with("## Performance: slower\n"));
        let xml = slower.junit();
        assert!(
            xml.contains("tests=\"5\" failures=\"2\" errors=\"0\"") && xml.contains("squall.gate.a&lt;b"),
            "{xml}"
        );
        let json: serde_json::Value = serde_json::from_str(&slower.benchmark_json()).unwrap();
        assert_eq!(json.as_array().unwrap().len(), 8);
        assert_eq!(json[0]["name"], "node CPU per receipt");
        assert_eq!((json[0]["value"].as_f64(), json[0]["unit"].as_str()), (Some(22.0), Some("µs")));
        assert!(
            report(100).headline().starts_with("not slower: an increase of 10 % in node CPU per receipt")
        );
    }

    #[test]
    fn without_measurements_every_form_says_unknown() {
        let judgement = judge(&[], Look::Second, judgement::Objectives::default());
        let report = GateReport { judgement, ..report(100) };
        assert!(report.headline().contains("node CPU per receipt has only 0 pairs"));
        assert!(report.markdown().contains("0.0 % [?, ?]"), "{}", report.markdown());
        assert!(report.junit().contains("errors=\"4\""));
        assert_eq!(report.benchmark_json(), "[]\n");
    }
}
