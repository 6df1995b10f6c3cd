//! The summary on a terminal: the run's story in one screen, 60 to 100 columns wide.

use std::fmt::Write;

use crate::{
    checkers::{Finding, Verdict, latency::millis, story::Story},
    exit::Exit,
    report::{Ledgers, Report},
};

/// Columns of a line: as many as the terminal has, within these. Fewer hold no table, more are no easier to read.
const COLUMNS: std::ops::RangeInclusive<usize> = 60..=100;
/// Columns that the whole table of latencies takes.
const WIDE: usize = 90;
/// Lines of evidence shown for a claim that does not hold; the page has more.
const DETAILS_SHOWN: usize = 3;
/// Columns of a checker's name: the longest, `input-validation`, and a space.
const CHECKER: usize = 17;
/// Lines one text may take at full width.
const LINES_MAX: usize = 3;

/// What a summary is shown on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Screen {
    /// Whether it shows colours.
    pub colour: bool,
    /// Its width.
    pub columns: usize,
}

/// Colours of a terminal, or none.
#[derive(Debug, Clone, Copy)]
struct Paint(bool);

impl Paint {
    fn with(self, code: &str, text: &str) -> String {
        if self.0 { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }

    fn plain(self, text: &str) -> String {
        text.to_owned()
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

/// Renders the summary; `at` is where the page is.
pub fn render(report: &Report, at: &str, screen: Screen) -> String {
    let columns = screen.columns.clamp(*COLUMNS.start(), *COLUMNS.end());
    let mut page = Page { out: String::new(), paint: Paint(screen.colour), columns };
    page.head(report);
    page.load(report);
    page.latency(report);
    page.faults(report);
    page.writers(report);
    page.ledgers(report);
    page.section("claims");
    for finding in &report.judgement.findings {
        page.finding(finding);
    }
    page.verdict(report);
    page.line(0, &page.paint.faint(at));
    page.out
}

struct Page {
    out: String,
    paint: Paint,
    columns: usize,
}

impl Page {
    /// A line as it is.
    fn line(&mut self, indent: usize, text: &str) {
        let _ = writeln!(self.out, "{:indent$}{text}", "");
    }

    /// A text in as many lines as it takes, each dressed alike.
    fn text(&mut self, indent: usize, text: &str, dress: impl Fn(Paint, &str) -> String) {
        for line in self.wrap(text, indent) {
            let dressed = dress(self.paint, &line);
            self.line(indent, &dressed);
        }
    }

    /// A text behind something that stands in the first line, at `indent` columns.
    fn beside(&mut self, first: &str, indent: usize, text: &str) {
        for (index, line) in self.wrap(text, indent).iter().enumerate() {
            if index == 0 {
                let _ = writeln!(self.out, "{first}{line}");
            } else {
                self.line(indent, line);
            }
        }
    }

    fn section(&mut self, name: &str) {
        let _ = writeln!(self.out, "\n{}", self.paint.bold(name));
    }

    /// Breaks a text for what an indent leaves; narrow lines may be more.
    fn wrap(&self, text: &str, indent: usize) -> Vec<String> {
        let lines = if self.columns < WIDE { 2 * LINES_MAX } else { LINES_MAX };
        wrap(text, self.columns - indent, lines)
    }

    fn head(&mut self, report: &Report) {
        let name = self.paint.bold(&report.scenario);
        let indent = report.scenario.chars().count() + 2;
        let _ = writeln!(self.out);
        if indent + report.title.chars().count() <= self.columns {
            let _ = writeln!(self.out, "{name}  {}", fit(&report.title, self.columns - indent));
        } else {
            self.line(0, &name);
            self.text(2, &report.title, Paint::plain);
        }
        self.text(0, &report.setting, Paint::faint);
        let about = format!(
            "seed {} · run {} · {} · {} cores · {} build",
            report.seed,
            report.facts.run_id,
            report.facts.provider,
            report.facts.machine.cores,
            report.facts.profile
        );
        self.text(0, &about, Paint::faint);
    }

    fn load(&mut self, report: &Report) {
        self.section("load");
        let rates = report.rates;
        let text = format!(
            "offered {:.1}/s   sent {:.1}/s   acked {:.1}/s   received {:.1}/s   generator p99 {} late",
            rates.offered_per_s,
            rates.sent_per_s,
            rates.acked_per_s,
            rates.received_per_s,
            millis(report.generator.lateness_p99_us)
        );
        if text.chars().count() + 2 <= self.columns {
            self.line(2, &text);
        } else {
            self.text(2, &text.replace("   ", ", "), Paint::plain);
        }
    }

    /// Where there is no room for all of the table, its middle columns go.
    fn latency(&mut self, report: &Report) {
        self.section("latency, from the intended time");
        let wide = self.columns >= WIDE;
        let shown = |column: usize| wide || [0, 2, 4].contains(&column);
        let row = |cells: [String; 5], count: &str| {
            let kept = (0..).zip(cells).filter(|(column, _)| shown(*column));
            let cells: String = kept.map(|(_, cell)| format!("{cell:>10}")).collect();
            if wide { format!("{cells}{count:>12}") } else { cells }
        };
        let head = row(["p50", "p90", "p99", "p99.9", "max"].map(str::to_owned), "count");
        self.line(2, &self.paint.faint(&format!("{:24}{head}", "")));
        for latency in &report.latency {
            let cells =
                [latency.p50_us, latency.p90_us, latency.p99_us, latency.p999_us, latency.max_us].map(millis);
            let name = format!("{:8} {}", latency.what, latency.span);
            self.line(2, &format!("{name:24}{}", row(cells, &latency.count.to_string())));
        }
    }

    fn faults(&mut self, report: &Report) {
        if report.faults.is_empty() {
            return;
        }
        self.section("faults");
        for fault in &report.faults {
            let span = format!("{} – {}", seconds(fault.began_ms), seconds(fault.healed_ms));
            if fault.name.chars().count() + 24 <= self.columns {
                let name = self.paint.bold(&fit(&fault.name, self.columns - 24));
                self.line(2, &format!("{span:22}{name}"));
            } else {
                self.line(2, &span);
                self.text(4, &fault.name, Paint::bold);
            }
            let mut lines = Vec::new();
            match (&fault.trouble, &fault.evidence) {
                (Some(trouble), _) => lines.push(format!("does not count: {trouble}")),
                (None, Some(evidence)) => lines.push(format!("proved: {evidence}")),
                (None, None) => lines.push("does not count: never proved".to_owned()),
            }
            if let Some(evidence) = &fault.heal_evidence {
                lines.push(format!("healed: {evidence}"));
            }
            let normal = fault.normal_after_ms.map_or_else(
                || "not seen to be over".to_owned(),
                |ms| format!("normal {ms} ms after the heal"),
            );
            lines.push(format!(
                "users: {normal}; {} ms without an ack; {} refused, {} open, {} not sent",
                fault.outage_ms, fault.refused, fault.open, fault.not_sent
            ));
            let indent = if self.columns < WIDE { 4 } else { 24 };
            for line in lines {
                self.text(indent, &line, Paint::plain);
            }
        }
    }

    fn writers(&mut self, report: &Report) {
        if report.pauses.is_empty() {
            return;
        }
        self.section("writers");
        for pause in &report.pauses {
            let after =
                pause.after_fault_ms.map_or_else(String::new, |ms| format!(", {ms} ms after the fault"));
            let resumed = match (pause.resumed_ms, pause.after_heal_ms) {
                (Some(_), Some(ms)) if ms < 0 => format!("resumed {} ms before the heal was proved", -ms),
                (Some(_), Some(ms)) => format!("resumed {ms} ms after the heal"),
                (Some(resumed_ms), None) => format!("resumed at {}", seconds(Some(resumed_ms))),
                (None, _) => "never resumed".to_owned(),
            };
            let text = format!(
                "paused at {}{after}; {} probes; {resumed}",
                seconds(Some(pause.paused_ms)),
                pause.pause.probes
            );
            self.beside(&format!("  {:12}", pause.pause.writer.to_string()), 14, &text);
        }
    }

    fn ledgers(&mut self, report: &Report) {
        self.section("ledgers");
        for line in ledger_lines(&report.ledgers) {
            self.text(2, &line, Paint::plain);
        }
        for gap in &report.judgement.gaps {
            let line = format!("{}: {} × {}", gap.tier.name(), gap.count, gap.what);
            self.text(2, &line, |paint, text| paint.verdict(Verdict::Violated, text));
        }
    }

    fn finding(&mut self, finding: &Finding) {
        let mark = match (finding.verdict, finding.applicable, finding.objective_missed) {
            (Verdict::Violated, _, _) => "✗",
            (Verdict::Unknown, _, _) => "?",
            (Verdict::Holds, _, true) => "!",
            (Verdict::Holds, false, _) => "–",
            (Verdict::Holds, true, _) => "✓",
        };
        let shown =
            if finding.objective_missed { finding.verdict.merge(Verdict::Unknown) } else { finding.verdict };
        let name = format!("{mark} {:CHECKER$}", finding.checker);
        let name =
            if finding.applicable { self.paint.verdict(shown, &name) } else { self.paint.faint(&name) };
        let beside = CHECKER + 4;
        self.beside(&format!("  {name}"), beside, &finding.summary);
        let grave = finding.details.iter().filter(|detail| detail.verdict != Verdict::Holds);
        for detail in grave.clone().take(DETAILS_SHOWN) {
            self.beside(&format!("{:beside$}· ", ""), beside + 2, &detail.text);
        }
        let more = grave.count().saturating_sub(DETAILS_SHOWN) as u64 + finding.details_left_out;
        if more > 0 {
            self.line(beside + 2, &self.paint.faint(&format!("and {more} more")));
        }
    }

    fn verdict(&mut self, report: &Report) {
        let exit = report.judgement.exit();
        let missed = exit == Exit::ObjectiveMissed;
        let verdict = if missed { Verdict::Unknown } else { report.judgement.verdict };
        let word = if missed {
            "OBJECTIVE MISSED".to_owned()
        } else {
            report.judgement.verdict.word().to_uppercase()
        };
        let _ = writeln!(self.out);
        let indent = word.chars().count() + 2;
        let headline = format!("{} (exit {})", report.headline(), exit.code());
        self.beside(&format!("{}  ", self.paint.verdict(verdict, &word)), indent, &headline);
        if let Some(next) = report.judgement.next_step() {
            self.text(2, &format!("next: {next}"), Paint::plain);
        }
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

/// Breaks a text at spaces into at most so many lines of a width; what does not fit is cut.
fn wrap(text: &str, width: usize, lines_max: usize) -> Vec<String> {
    let mut lines: Vec<String> = vec![String::new()];
    for word in text.split_whitespace() {
        let full = lines.len() >= lines_max;
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
