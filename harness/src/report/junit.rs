//! `junit.xml`: one test case a checker, for CI. Violated is a failure, unknown an error, not applicable skipped.

use std::fmt::Write;

use crate::{
    checkers::Verdict,
    report::{Report, html::escape},
};

/// Renders the file.
pub fn render(report: &Report) -> String {
    let findings = &report.judgement.findings;
    let count = |verdict| findings.iter().filter(|finding| finding.verdict == verdict).count();
    let skipped =
        findings.iter().filter(|finding| !finding.applicable && finding.verdict == Verdict::Holds).count();
    let mut xml = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
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
        let details: Vec<String> = finding.details.iter().map(|detail| legal(&detail.text)).collect();
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
fn legal(text: &str) -> String {
    text.chars().map(|c| if c.is_control() && !matches!(c, '\n' | '\t') { '\u{fffd}' } else { c }).collect()
}
