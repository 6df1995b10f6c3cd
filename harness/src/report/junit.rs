//! `junit.xml`: one test suite a run, one test case a checker, for CI. Violated is a failure, unknown an error, not applicable skipped.

use std::fmt::Write;

use crate::{
    checkers::Verdict,
    report::{Report, chart::escape},
};

const HEAD: &str = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n";

/// Renders the file of one run.
pub fn render(report: &Report) -> String {
    format!("{HEAD}{}", suite(report))
}

/// Renders the file of many runs, each a [`suite`] or a [`without_verdict`].
pub fn render_all(suites: &[String]) -> String {
    format!("{HEAD}<testsuites name=\"squall\">\n{}</testsuites>\n", suites.concat())
}

/// A run that came to no verdict: one case, an error.
pub fn without_verdict(scenario: &str, why: &str) -> String {
    let (class, why) = (escape(scenario), escape(&legal(why)));
    format!(
        "<testsuite name=\"squall.{class}\" tests=\"1\" failures=\"0\" errors=\"1\" skipped=\"0\">\n  \
         <testcase classname=\"squall.{class}\" name=\"run\"><error type=\"no verdict\" message=\"{why}\"/></testcase>\n\
         </testsuite>\n"
    )
}

/// A run: one case a checker.
pub fn suite(report: &Report) -> String {
    let findings = &report.judgement.findings;
    let count = |verdict| findings.iter().filter(|finding| finding.verdict == verdict).count();
    let skipped =
        findings.iter().filter(|finding| !finding.applicable && finding.verdict == Verdict::Holds).count();
    let mut xml = String::new();
    let _ = writeln!(
        xml,
        "<testsuite name=\"squall.{}\" tests=\"{}\" failures=\"{}\" errors=\"{}\" skipped=\"{skipped}\" id=\"{}\">",
        escape(&report.scenario),
        findings.len(),
        count(Verdict::Violated),
        count(Verdict::Unknown),
        escape(&report.facts.run_id),
    );
    for finding in findings {
        let (class, name) = (escape(&report.scenario), escape(&finding.checker));
        let _ = write!(xml, "  <testcase classname=\"squall.{class}\" name=\"{name}\">");
        let next = finding.next_step.iter().map(|next| format!("next: {next}"));
        let details = finding.details.iter().map(|detail| legal(&detail.text)).chain(next);
        let details: Vec<String> = details.collect();
        let (summary, details) = (escape(&legal(&finding.summary)), escape(&details.join("\n")));
        let _ = match finding.verdict {
            Verdict::Violated => {
                write!(xml, "<failure type=\"violated\" message=\"{summary}\">{details}</failure>")
            }
            Verdict::Unknown => {
                write!(xml, "<error type=\"unknown\" message=\"{summary}\">{details}</error>")
            }
            Verdict::Holds if !finding.applicable => write!(xml, "<skipped message=\"{summary}\"/>"),
            Verdict::Holds => write!(xml, "<system-out>{summary}</system-out>"),
        };
        xml.push_str("</testcase>\n");
    }
    xml.push_str("</testsuite>\n");
    xml
}

/// XML 1.0 has no way to write most control characters; an error text of a database may hold some.
pub fn legal(text: &str) -> String {
    text.chars().map(|c| if c.is_control() && !matches!(c, '\n' | '\t') { '\u{fffd}' } else { c }).collect()
}
