//! `report.html`: one file, no script, no network; light and dark.

mod charts;

use std::fmt::Write;

use crate::{
    checkers::{Finding, Verdict, latency::millis},
    report::{Report, chart::escape, counted, terminal},
};

/// Renders the page.
pub fn render(report: &Report) -> String {
    let verdict = report.judgement.verdict;
    let missed = verdict == Verdict::Holds && report.judgement.objective_missed;
    let word = if missed { "objective missed" } else { verdict.word() };
    let class = if missed { "missed" } else { verdict.word() };
    let mut page = begin(&format!("{}: {word}", report.scenario));
    let _ = write!(
        page,
        "<header><p class=\"kicker\">squall · {}</p><h1>{}</h1><p class=\"setting\">{}</p>\
         <p class=\"verdict {class}\"><b>{word}</b> {}</p>",
        escape(&report.scenario),
        escape(&report.title),
        escape(&report.setting),
        escape(&report.headline())
    );
    if let Some(next) = report.judgement.next_step() {
        let _ = write!(page, "<p class=\"setting\"><b>Next:</b> {}</p>", escape(next));
    }
    page.push_str("</header>");
    tiles(&mut page, report);
    claims(&mut page, report);
    charts::charts(&mut page, report);
    latency(&mut page, report);
    faults(&mut page, report);
    ledgers(&mut page, report);
    stories(&mut page, report);
    facts(&mut page, report);
    page.push_str(END);
    page
}

fn tiles(page: &mut String, report: &Report) {
    let p99 = report.latency.iter().find(|row| row.what == "ack" && row.span != "overall");
    let p99 = p99.or(report.latency.first()).map_or_else(|| "–".to_owned(), |row| millis(row.p99_us));
    let outage = report.faults.iter().map(|fault| fault.outage_ms).max();
    let outage = outage.map_or_else(|| "–".to_owned(), |ms| millis(ms * 1_000));
    let tiles = [
        ("offered", format!("{:.0}/s", report.rates.offered_per_s)),
        ("acked", format!("{:.0}/s", report.rates.acked_per_s)),
        ("ack p99 outside faults", p99),
        ("longest time without an ack", outage),
        ("acked, not stored", lost_rows(report).to_string()),
        ("deliveries lost", report.ledgers.lost.to_string()),
    ];
    page.push_str("<section class=\"tiles\">");
    for (name, value) in tiles {
        let _ = write!(page, "<div><b>{}</b><span>{name}</span></div>", escape(&value));
    }
    page.push_str("</section>");
}

fn lost_rows(report: &Report) -> u64 {
    let counts = report.judgement.finding("durability").map(|finding| &finding.counts);
    counts.and_then(|counts| counts.get("acked_without_row")).copied().unwrap_or(0)
}

fn claims(page: &mut String, report: &Report) {
    page.push_str("<section><h2>Claims</h2><table class=\"claims\"><tbody>");
    for finding in &report.judgement.findings {
        let word = terminal::word(finding);
        let class = if word == "n/a" { "na" } else { word };
        let _ = write!(
            page,
            "<tr><td><span class=\"badge {class}\">{word}</span></td><th>{}</th><td><p class=\"claim\">{}</p><p>{}</p>",
            escape(&finding.checker),
            escape(&finding.claim),
            escape(&finding.summary)
        );
        details(page, finding);
        page.push_str("</td></tr>");
    }
    page.push_str("</tbody></table></section>");
}

fn details(page: &mut String, finding: &Finding) {
    if finding.details.is_empty() {
        return;
    }
    let open = if finding.verdict == Verdict::Holds { "" } else { " open" };
    let lines = counted(i64::try_from(finding.details.len()).unwrap_or(i64::MAX), "line");
    let _ = write!(page, "<details{open}><summary>{lines} of evidence</summary><ul>");
    for detail in &finding.details {
        let text = escape(&detail.text);
        let _ = match detail.message {
            Some(message) => write!(page, "<li><a href=\"#m{message}\">{text}</a></li>"),
            None => write!(page, "<li>{text}</li>"),
        };
    }
    page.push_str("</ul>");
    if finding.details_left_out > 0 {
        let _ = write!(page, "<p>and {} more</p>", finding.details_left_out);
    }
    page.push_str("</details>");
}

fn latency(page: &mut String, report: &Report) {
    page.push_str(
        "<section><h2>Latency, from the intended time</h2><table class=\"numbers\"><thead><tr><th></th><th>p50</th>\
         <th>p90</th><th>p99</th><th>p99.9</th><th>max</th><th>count</th></tr></thead><tbody>",
    );
    for row in &report.latency {
        let _ = write!(page, "<tr><th>{} {}</th>", escape(&row.what), escape(&row.span));
        for us in [row.p50_us, row.p90_us, row.p99_us, row.p999_us, row.max_us] {
            let _ = write!(page, "<td>{}</td>", millis(us));
        }
        let _ = write!(page, "<td>{}</td></tr>", row.count);
    }
    page.push_str("</tbody></table></section>");
}

fn faults(page: &mut String, report: &Report) {
    if report.faults.is_empty() {
        return;
    }
    page.push_str("<section><h2>What each fault did</h2>");
    for fault in &report.faults {
        let (from, to) = (terminal::seconds(fault.began_ms), terminal::seconds(fault.healed_ms));
        let _ = write!(page, "<article><h3>{} <small>{from} – {to}</small></h3><dl>", escape(&fault.name));
        let after = |ms: Option<i64>| {
            ms.map_or_else(|| "not seen".to_owned(), |ms| format!("{ms} ms after the heal"))
        };
        let rows = [
            ("proved by", fault.evidence.clone().unwrap_or_else(|| "nothing: it does not count".to_owned())),
            ("healed, by", fault.heal_evidence.clone().unwrap_or_else(|| "nothing".to_owned())),
            ("trouble", fault.trouble.clone().unwrap_or_default()),
            ("first ack", after(fault.first_ack_after_ms)),
            ("back to normal", after(fault.normal_after_ms)),
            ("longest time without an ack", format!("{} ms", fault.outage_ms)),
            (
                "messages due meanwhile",
                format!("{} refused, {} open, {} not sent", fault.refused, fault.open, fault.not_sent),
            ),
        ];
        for (name, value) in rows.into_iter().filter(|(_, value)| !value.is_empty()) {
            let _ = write!(page, "<dt>{name}</dt><dd>{}</dd>", escape(&value));
        }
        page.push_str("</dl></article>");
    }
    if !report.pauses.is_empty() {
        page.push_str(
            "<table class=\"numbers\"><thead><tr><th>writer</th><th>paused</th><th>after the fault</th><th>probes</th>\
             <th>resumed</th><th>after the heal</th></tr></thead><tbody>",
        );
        let ms = |ms: Option<i64>| ms.map_or_else(|| "–".to_owned(), |ms| format!("{ms} ms"));
        for pause in &report.pauses {
            let _ = write!(
                page,
                "<tr><th>{}</th><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td></tr>",
                escape(&pause.pause.writer),
                terminal::seconds(Some(pause.paused_ms)),
                ms(pause.after_fault_ms),
                pause.pause.probes,
                terminal::seconds(pause.resumed_ms),
                ms(pause.after_heal_ms)
            );
        }
        page.push_str("</tbody></table>");
    }
    page.push_str("</section>");
}

fn ledgers(page: &mut String, report: &Report) {
    let l = &report.ledgers;
    page.push_str("<section><h2>Three ledgers</h2><div class=\"ledgers\">");
    let columns: [(&str, Vec<(&str, u64)>); 3] = [
        (
            "What senders were told",
            vec![
                ("scheduled", l.scheduled),
                ("sent", l.sent),
                ("acked", l.acked),
                ("refused", l.refused),
                ("open", l.open),
                ("not sent", l.not_sent),
            ],
        ),
        (
            "What is stored",
            vec![
                ("records in Kafka", l.in_kafka),
                ("rows in PostgreSQL", l.rows),
                ("dead letters", l.dead_letters),
            ],
        ),
        (
            "What members saw",
            vec![
                ("owed", l.owed),
                ("received live", l.received.saturating_sub(l.replayed)),
                ("received by catch-up", l.replayed),
                ("lost", l.lost),
                ("repeated", l.repeated),
            ],
        ),
    ];
    for (title, rows) in columns {
        let _ = write!(page, "<table class=\"numbers\"><caption>{title}</caption><tbody>");
        for (name, number) in rows {
            let _ = write!(page, "<tr><th>{name}</th><td>{number}</td></tr>");
        }
        page.push_str("</tbody></table>");
    }
    page.push_str("</div>");
    for gap in &report.judgement.gaps {
        let _ = write!(
            page,
            "<p class=\"gap\"><b>{}</b>: {} × {} (",
            gap.tier.name(),
            gap.count,
            escape(&gap.what)
        );
        for message in gap.messages.iter().take(10) {
            let _ = write!(page, "<a href=\"#m{message}\">m{message}</a> ");
        }
        page.push_str(")</p>");
    }
    page.push_str("</section>");
}

fn stories(page: &mut String, report: &Report) {
    if report.stories.is_empty() {
        return;
    }
    page.push_str("<section><h2>Stories of messages</h2>");
    for (index, story) in report.stories.iter().enumerate() {
        let open = if index == 0 { " open" } else { "" };
        let _ = write!(
            page,
            "<details id=\"m{}\"{open}><summary>{}</summary><table class=\"story\">",
            story.message,
            escape(&story.name)
        );
        for line in &story.lines {
            #[expect(clippy::cast_precision_loss, reason = "times of a run are far below 2^52")]
            let at = line.at_us.map_or_else(
                || "final reads".to_owned(),
                |at_us| format!("{:.3} s", (at_us as f64 - report.load_us as f64) / 1e6),
            );
            let _ = write!(page, "<tr><td>{at}</td><td>{}</td></tr>", escape(&line.text));
        }
        page.push_str("</table></details>");
    }
    page.push_str("</section>");
}

fn facts(page: &mut String, report: &Report) {
    let facts = &report.facts;
    let machine = &facts.machine;
    let services = facts
        .services
        .iter()
        .map(|(name, version)| format!("{name} {version}"))
        .collect::<Vec<_>>()
        .join(", ");
    let rows = [
        ("run", facts.run_id.clone()),
        ("seed", report.seed.to_string()),
        ("services", format!("{} ({})", services, facts.provider)),
        ("machine", format!("{} cores, {} MiB, {}", machine.cores, machine.memory_mib, machine.kernel)),
        ("build", format!("squall {}, {} build", facts.squall, facts.profile)),
        ("commit", facts.commit.clone().unwrap_or_else(|| "unknown".to_owned())),
        (
            "generator",
            format!(
                "p99 {} late, worst {}; {} ms CPU, {} MiB",
                millis(report.generator.lateness_p99_us),
                millis(report.generator.lateness_max_us),
                report.generator.cpu_ms,
                report.generator.rss_max_kib / 1_024
            ),
        ),
    ];
    page.push_str("<section><h2>Where and with what</h2><dl>");
    for (name, value) in rows {
        let _ = write!(page, "<dt>{name}</dt><dd>{}</dd>", escape(&value));
    }
    page.push_str("</dl>");
    if !report.notes.is_empty() {
        page.push_str("<details><summary>Notes of the harness</summary><ul>");
        for note in &report.notes {
            let _ = write!(page, "<li>{}</li>", escape(note));
        }
        page.push_str("</ul></details>");
    }
    page.push_str("</section>");
}

const STYLE: &str = include_str!("report.css");

/// How every page of this kind begins: one file, no script, no network.
pub fn begin(title: &str) -> String {
    format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" \
         content=\"width=device-width,initial-scale=1\"><title>{}</title><style>{STYLE}</style></head><body><main>",
        escape(title)
    )
}

/// How it ends.
pub const END: &str = "</main></body></html>\n";
