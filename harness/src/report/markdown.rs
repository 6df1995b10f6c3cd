//! `report.md`: one page for a pull request.

use std::fmt::Write;

use crate::{
    checkers::{Verdict, latency::millis},
    report::{Report, terminal},
};

/// Renders the page.
pub fn render(report: &Report) -> String {
    let mut page = String::new();
    let verdict = report.judgement.verdict.word().to_uppercase();
    let _ = writeln!(page, "# {}: {verdict}\n", cell(&report.scenario));
    let _ = writeln!(page, "{}. {}\n", cell(&report.title), cell(&report.headline()));
    if let Some(next) = report.judgement.next_step() {
        let _ = writeln!(page, "**Next:** {}.\n", cell(next));
    }
    let _ = writeln!(page, "{} · seed {} · run `{}`\n", report.setting, report.seed, report.facts.run_id);

    page.push_str("| claim | verdict | found |\n|---|---|---|\n");
    for finding in &report.judgement.findings {
        let word = terminal::word(finding);
        let strong = if finding.verdict == Verdict::Holds { word.to_owned() } else { format!("**{word}**") };
        let _ = writeln!(page, "| {} | {strong} | {} |", finding.checker, cell(&finding.summary));
    }

    page.push_str("\n| latency | p50 | p90 | p99 | p99.9 | max | count |\n|---|--:|--:|--:|--:|--:|--:|\n");
    for row in &report.latency {
        let cells = [row.p50_us, row.p90_us, row.p99_us, row.p999_us, row.max_us].map(millis).join(" | ");
        let _ = writeln!(page, "| {} {} | {cells} | {} |", row.what, row.span, row.count);
    }

    if !report.faults.is_empty() {
        page.push_str("\n| fault | from | to | evidence | normal after | longest time without an ack |\n");
        page.push_str("|---|--:|--:|---|--:|--:|\n");
        for fault in &report.faults {
            let evidence = fault.trouble.as_deref().or(fault.evidence.as_deref()).unwrap_or("none");
            let _ = writeln!(
                page,
                "| {} | {} | {} | {} | {} | {} ms |",
                cell(&fault.name),
                terminal::seconds(fault.began_ms),
                terminal::seconds(fault.healed_ms),
                cell(evidence),
                fault.normal_after_ms.map_or_else(|| "not seen".to_owned(), |ms| format!("{ms} ms")),
                fault.outage_ms
            );
        }
    }

    page.push('\n');
    for line in terminal::ledger_lines(&report.ledgers) {
        let _ = writeln!(page, "- {line}");
    }
    let worst = report.judgement.findings.iter().filter(|finding| finding.verdict != Verdict::Holds);
    for finding in worst {
        let _ = writeln!(
            page,
            "\n## {}: {}\n\nClaim: {}.\n",
            finding.checker,
            terminal::word(finding),
            finding.claim
        );
        for detail in finding.details.iter().filter(|detail| detail.verdict != Verdict::Holds) {
            let _ = writeln!(page, "- {}", cell(&detail.text));
        }
        if finding.details_left_out > 0 {
            let _ = writeln!(page, "- and {} more", finding.details_left_out);
        }
    }
    page
}

/// Text that breaks neither a table nor a page.
fn cell(text: &str) -> String {
    let text = text.replace(['\n', '\r'], " ");
    text.replace('|', "\\|").replace('<', "&lt;")
}
