//! The summary on a terminal: the run's story in one screen, at most 100 columns wide.

use std::fmt::Write;

use crate::{
    checkers::{Finding, Verdict, latency::millis, story::Story},
    exit::Exit,
    report::{Ledgers, Report},
};

/// Columns a line may have; a longer one is cut with an ellipsis.
const COLUMNS: usize = 100;
/// Lines of evidence shown for a claim that does not hold; the page has more.
const DETAILS_SHOWN: usize = 3;
/// Lines one text may take.
const LINES_MAX: usize = 3;

/// Colours of a terminal, or none.
#[derive(Debug, Clone, Copy)]
struct Paint(bool);

impl Paint {
    fn with(self, code: &str, text: &str) -> String {
        if self.0 { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }

    fn bold(self, text: &str) -> String {
        self.with("1", text)
    }

    fn faint(self, text: &str) -> String {
        self.with("2", text)
    }

    fn verdict(self, verdict: Verdict, text: &str) -> String {
        self.with(
            match verdict {
                Verdict::Holds => "32",
                Verdict::Unknown => "33",
                Verdict::Violated => "1;31",
            },
            text,
        )
    }
}

/// Renders the summary; `at` is where the page is, `colour` is for terminals.
pub fn render(report: &Report, at: &str, colour: bool) -> String {
    let paint = Paint(colour);
    let mut out = String::new();
    let _ = writeln!(out, "\n{}  {}", paint.bold(&report.scenario), fit(&report.title, COLUMNS - 30));
    let _ = writeln!(out, "{}", paint.faint(&fit(&report.setting, COLUMNS)));
    let about = format!(
        "seed {} · run {} · {} · {} cores · {} build",
        report.seed,
        report.facts.run_id,
        report.facts.provider,
        report.facts.machine.cores,
        report.facts.profile
    );
    let _ = writeln!(out, "{}", paint.faint(&fit(&about, COLUMNS)));

    section(&mut out, paint, "load");
    let rates = report.rates;
    let _ = writeln!(
        out,
        "  offered {:.1}/s   sent {:.1}/s   acked {:.1}/s   received {:.1}/s   generator p99 {} late",
        rates.offered_per_s,
        rates.sent_per_s,
        rates.acked_per_s,
        rates.received_per_s,
        millis(report.generator.lateness_p99_us)
    );

    section(&mut out, paint, "latency, from the intended time");
    let head = ["p50", "p90", "p99", "p99.9", "max"].map(|name| format!("{name:>10}")).join("");
    let _ = writeln!(out, "  {}", paint.faint(&format!("{:24}{head}{:>12}", "", "count")));
    for row in &report.latency {
        let cells = [row.p50_us, row.p90_us, row.p99_us, row.p999_us, row.max_us];
        let cells = cells.map(|us| format!("{:>10}", millis(us))).join("");
        let _ = writeln!(out, "  {:24}{cells}{:>12}", format!("{:8} {}", row.what, row.span), row.count);
    }
    render_faults(&mut out, paint, report);

    section(&mut out, paint, "ledgers");
    for line in ledger_lines(&report.ledgers) {
        let _ = writeln!(out, "  {line}");
    }
    for gap in &report.judgement.gaps {
        let line = format!("{}: {} × {}", gap.tier.name(), gap.count, gap.what);
        let _ = writeln!(out, "  {}", paint.verdict(Verdict::Violated, &fit(&line, COLUMNS - 2)));
    }

    section(&mut out, paint, "claims");
    for finding in &report.judgement.findings {
        render_finding(&mut out, paint, finding);
    }
    let exit = report.judgement.exit();
    let verdict = if exit == Exit::ObjectiveMissed { Verdict::Unknown } else { report.judgement.verdict };
    let word = match exit {
        Exit::ObjectiveMissed => "OBJECTIVE MISSED".to_owned(),
        _ => report.judgement.verdict.word().to_uppercase(),
    };
    let headline = fit(&report.headline(), COLUMNS - 30);
    let _ = writeln!(out, "\n{}  {headline} (exit {})", paint.verdict(verdict, &word), exit.code());
    let _ = writeln!(out, "{}", paint.faint(at));
    out
}

fn section(out: &mut String, paint: Paint, name: &str) {
    let _ = writeln!(out, "\n{}", paint.bold(name));
}

fn render_faults(out: &mut String, paint: Paint, report: &Report) {
    if report.faults.is_empty() {
        return;
    }
    section(out, paint, "faults");
    for fault in &report.faults {
        let span = format!("{} – {}", seconds(fault.began_ms), seconds(fault.healed_ms));
        let _ = writeln!(out, "  {span:22}{}", paint.bold(&fit(&fault.name, COLUMNS - 24)));
        let mut lines = Vec::new();
        match (&fault.trouble, &fault.evidence) {
            (Some(trouble), _) => lines.push(format!("does not count: {trouble}")),
            (None, Some(evidence)) => lines.push(format!("proved: {evidence}")),
            (None, None) => lines.push("does not count: never proved".to_owned()),
        }
        if let Some(evidence) = &fault.heal_evidence {
            lines.push(format!("healed: {evidence}"));
        }
        let normal = fault
            .normal_after_ms
            .map_or_else(|| "not seen to be over".to_owned(), |ms| format!("normal {ms} ms after the heal"));
        lines.push(format!(
            "users: {normal}; {} ms without an ack; {} refused, {} open, {} not sent",
            fault.outage_ms, fault.refused, fault.open, fault.not_sent
        ));
        for line in lines {
            for line in wrap(&line, COLUMNS - 24) {
                let _ = writeln!(out, "  {:22}{line}", "");
            }
        }
    }
    if report.pauses.is_empty() {
        return;
    }
    section(out, paint, "writers");
    for pause in &report.pauses {
        let after = pause.after_fault_ms.map_or_else(String::new, |ms| format!(", {ms} ms after the fault"));
        let resumed = match (pause.resumed_ms, pause.after_heal_ms) {
            (Some(_), Some(ms)) if ms < 0 => format!("resumed {} ms before the heal was proved", -ms),
            (Some(_), Some(ms)) => format!("resumed {ms} ms after the heal"),
            (Some(resumed_ms), None) => format!("resumed at {}", seconds(Some(resumed_ms))),
            (None, _) => "never resumed".to_owned(),
        };
        let line = format!(
            "{:12}paused at {}{after}; {} probes; {resumed}",
            pause.pause.writer,
            seconds(Some(pause.paused_ms)),
            pause.pause.probes
        );
        let _ = writeln!(out, "  {}", fit(&line, COLUMNS - 2));
    }
}

fn render_finding(out: &mut String, paint: Paint, finding: &Finding) {
    let mark = match (finding.verdict, finding.applicable, finding.objective_missed) {
        (Verdict::Violated, _, _) => "✗",
        (Verdict::Unknown, _, _) => "?",
        (Verdict::Holds, _, true) => "!",
        (Verdict::Holds, false, _) => "–",
        (Verdict::Holds, true, _) => "✓",
    };
    let shown =
        if finding.objective_missed { finding.verdict.merge(Verdict::Unknown) } else { finding.verdict };
    let name = format!("{mark} {:13}", finding.checker);
    let name = if finding.applicable { paint.verdict(shown, &name) } else { paint.faint(&name) };
    for (index, line) in wrap(&finding.summary, COLUMNS - 17).iter().enumerate() {
        let first = if index == 0 { name.as_str() } else { "               " };
        let _ = writeln!(out, "  {first}{line}");
    }
    let grave = finding.details.iter().filter(|detail| detail.verdict != Verdict::Holds);
    for detail in grave.clone().take(DETAILS_SHOWN) {
        for (index, line) in wrap(&detail.text, COLUMNS - 21).iter().enumerate() {
            let _ = writeln!(out, "{:17}{} {line}", "", if index == 0 { "·" } else { " " });
        }
    }
    let more = grave.count().saturating_sub(DETAILS_SHOWN) as u64 + finding.details_left_out;
    if more > 0 {
        let _ = writeln!(out, "{:19}{}", "", paint.faint(&format!("and {more} more")));
    }
}

/// A message's story for `squall explain`; `load_us` is the start of the load on the run's clock.
pub fn render_story(story: &Story, load_us: u64) -> String {
    let mut out = format!("{}\n", story.name);
    for line in &story.lines {
        #[expect(clippy::cast_precision_loss, reason = "times of a run are far below 2^52")]
        let at = line.at_us.map_or_else(
            || "final reads".to_owned(),
            |at_us| format!("{:.3} s", (at_us as f64 - load_us as f64) / 1e6),
        );
        let _ = writeln!(out, "  {at:>12}  {}", line.text);
    }
    out
}

/// The ledgers in two lines.
pub(crate) fn ledger_lines(ledgers: &Ledgers) -> [String; 2] {
    let l = ledgers;
    [
        format!(
            "{} sent = {} acked + {} refused + {} open → {} in Kafka → {} rows, {} dead letters",
            l.sent, l.acked, l.refused, l.open, l.in_kafka, l.rows, l.dead_letters
        ),
        format!(
            "{} deliveries owed; {} received ({} live, {} by catch-up), {} lost, {} repeated",
            l.owed,
            l.received,
            l.received.saturating_sub(l.replayed),
            l.replayed,
            l.lost,
            l.repeated
        ),
    ]
}

/// A verdict's word; `n/a` where the run holds nothing the claim is about.
pub(crate) fn word(finding: &Finding) -> &'static str {
    match (finding.verdict, finding.applicable, finding.objective_missed) {
        (Verdict::Holds, _, true) => "missed",
        (Verdict::Holds, false, _) => "n/a",
        (verdict, _, _) => verdict.word(),
    }
}

/// A time of the load, in seconds.
pub(crate) fn seconds(ms: Option<i64>) -> String {
    ms.map_or_else(
        || "?".to_owned(),
        |ms| format!("{}{}.{} s", if ms < 0 { "-" } else { "" }, ms.abs() / 1_000, ms.abs() % 1_000 / 100),
    )
}

/// Breaks a text at spaces into at most [`LINES_MAX`] lines of a width; what does not fit is cut.
fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = vec![String::new()];
    for word in text.split_whitespace() {
        let full = lines.len() >= LINES_MAX;
        let Some(line) = lines.last_mut() else { break };
        let fits = line.chars().count() + 1 + word.chars().count() <= width;
        if !line.is_empty() && !fits && !full {
            lines.push(word.to_owned());
            continue;
        }
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(word);
    }
    lines.iter().map(|line| fit(line, width)).collect()
}

/// Cuts a text to a width, counted in characters; one line.
fn fit(text: &str, width: usize) -> String {
    let text: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    if text.chars().count() <= width {
        return text;
    }
    text.chars().take(width.saturating_sub(1)).chain(['…']).collect()
}
