//! Charts as inline SVG, drawn here so that a report is one file that needs neither a network nor a script.

mod curve;

use std::fmt::Write;

pub use curve::{Curve, Series};

const WIDTH: f64 = 960.0;
const HEIGHT: f64 = 210.0;
const LEFT: f64 = 62.0;
const RIGHT: f64 = 16.0;
const TOP: f64 = 22.0;
const BOTTOM: f64 = 26.0;
/// Points a line is drawn with at most; more are invisible and make the file heavy.
const POINTS_MAX: usize = 1_200;

/// A line of a chart: one value a second, or none.
#[derive(Debug, Clone)]
pub struct Line<'a> {
    /// For the legend.
    pub label: &'a str,
    /// CSS class that gives its colour.
    pub class: &'static str,
    /// One a second, from the start of the load.
    pub values: Vec<Option<f64>>,
}

/// A span of time that is shaded, or drawn as a bar.
#[derive(Debug, Clone)]
pub struct Span {
    /// What it says when pointed at.
    pub label: String,
    /// In seconds.
    pub from_s: f64,
    /// In seconds.
    pub to_s: f64,
}

/// How values become heights.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scale {
    /// From zero.
    Linear,
    /// Each grid line is ten times the one below.
    Log,
}

/// Draws lines over time with shaded spans.
pub fn lines(
    title: &str,
    unit: &str,
    scale: Scale,
    length_s: f64,
    lines: &[Line<'_>],
    shades: &[Span],
) -> String {
    let values = || lines.iter().flat_map(|line| line.values.iter().flatten().copied());
    let highest = values().fold(0.0, f64::max).max(1e-9);
    let lowest = values().filter(|value| *value > 0.0).fold(highest, f64::min);
    let (ticks, part) = axis(scale, lowest, highest);
    let y = |value: f64| HEIGHT - BOTTOM - part(value) * (HEIGHT - BOTTOM - TOP);
    let mut svg = open(title, HEIGHT);
    shade(&mut svg, length_s, shades, HEIGHT - BOTTOM);
    for tick in &ticks {
        let (at, label) = (y(*tick), number(*tick));
        let _ = write!(
            svg,
            "<line class=\"grid\" x1=\"{LEFT}\" x2=\"{}\" y1=\"{at:.1}\" y2=\"{at:.1}\"/>",
            WIDTH - RIGHT
        );
        let _ =
            write!(svg, "<text class=\"tick end\" x=\"{}\" y=\"{:.1}\">{label}</text>", LEFT - 8.0, at + 3.5);
    }
    let _ = write!(svg, "<text class=\"tick\" x=\"{LEFT}\" y=\"12\">{}</text>", escape(unit));
    time_axis(&mut svg, length_s, HEIGHT);
    for line in lines {
        draw(&mut svg, line, length_s, y);
    }
    svg.push_str("</svg>");
    let legend: String = lines
        .iter()
        .map(|line| format!("<span><i class=\"{}\"></i>{}</span>", line.class, escape(line.label)))
        .collect();
    format!(
        "<figure><figcaption>{}<span class=\"legend\">{legend}</span></figcaption>{svg}</figure>",
        escape(title)
    )
}

/// Draws bars over time, one row a label: faults, pauses.
pub fn bars(title: &str, length_s: f64, rows: &[(String, &str, Vec<Span>)], shades: &[Span]) -> String {
    #[expect(clippy::cast_precision_loss, reason = "a chart has few rows")]
    let height = TOP + rows.len() as f64 * 26.0 + BOTTOM;
    let mut svg = open(title, height);
    shade(&mut svg, length_s, shades, height - BOTTOM);
    let mut at = TOP;
    for (_, class, spans) in rows {
        for span in spans {
            let (from, to) =
                (x(span.from_s, length_s), x(span.to_s, length_s).max(x(span.from_s, length_s) + 2.0));
            let label = escape(&span.label);
            let _ = write!(
                svg,
                "<rect class=\"bar {class}\" x=\"{from:.1}\" y=\"{:.1}\" width=\"{:.1}\" height=\"16\" rx=\"3\"><title>{label}</title></rect>",
                at + 2.0,
                to - from
            );
            // A label goes right of its bar, or left of it where there is no room.
            let (place, anchor) = if to < WIDTH * 0.62 { (to + 6.0, "") } else { (from - 6.0, " end") };
            let _ = write!(
                svg,
                "<text class=\"label{anchor}\" x=\"{place:.1}\" y=\"{:.1}\">{label}</text>",
                at + 14.0
            );
        }
        at += 26.0;
    }
    for (index, (name, _, _)) in rows.iter().enumerate() {
        #[expect(clippy::cast_precision_loss, reason = "a chart has few rows")]
        let at = TOP + index as f64 * 26.0 + 14.0;
        let _ = write!(
            svg,
            "<text class=\"tick end\" x=\"{}\" y=\"{at:.1}\">{}</text>",
            LEFT - 8.0,
            escape(name)
        );
    }
    time_axis(&mut svg, length_s, height);
    svg.push_str("</svg>");
    format!("<figure><figcaption>{}</figcaption>{svg}</figure>", escape(title))
}

fn open(title: &str, height: f64) -> String {
    format!("<svg viewBox=\"0 0 {WIDTH} {height}\" role=\"img\" aria-label=\"{}\">", escape(title))
}

fn x(at_s: f64, length_s: f64) -> f64 {
    LEFT + (at_s / length_s.max(1e-9)).clamp(0.0, 1.0) * (WIDTH - LEFT - RIGHT)
}

fn shade(svg: &mut String, length_s: f64, shades: &[Span], bottom: f64) {
    for span in shades {
        let (from, to) = (x(span.from_s, length_s), x(span.to_s, length_s));
        let label = escape(&span.label);
        let _ = write!(
            svg,
            "<rect class=\"fault\" x=\"{from:.1}\" y=\"{TOP}\" width=\"{:.1}\" height=\"{:.1}\"><title>{label}</title></rect>",
            (to - from).max(1.0),
            bottom - TOP
        );
    }
}

fn time_axis(svg: &mut String, length_s: f64, height: f64) {
    let bottom = height - BOTTOM;
    let _ = write!(
        svg,
        "<line class=\"axis\" x1=\"{LEFT}\" x2=\"{}\" y1=\"{bottom}\" y2=\"{bottom}\"/>",
        WIDTH - RIGHT
    );
    let step = nice(length_s / 9.0).max(1.0);
    let mut at_s = 0.0;
    while at_s <= length_s + 1e-9 {
        let at = x(at_s, length_s);
        let _ = write!(
            svg,
            "<text class=\"tick middle\" x=\"{at:.1}\" y=\"{:.1}\">{} s</text>",
            bottom + 16.0,
            number(at_s)
        );
        at_s += step;
    }
}

fn draw(svg: &mut String, line: &Line<'_>, length_s: f64, y: impl Fn(f64) -> f64) {
    let stride = line.values.len().div_ceil(POINTS_MAX).max(1);
    let mut path = String::new();
    let mut pen_down = false;
    for (index, chunk) in line.values.chunks(stride).enumerate() {
        // The worst of a stride: thinning out must not hide a spike.
        let Some(value) = chunk.iter().flatten().copied().reduce(f64::max) else {
            pen_down = false;
            continue;
        };
        #[expect(clippy::cast_precision_loss, reason = "a series has at most 86,400 seconds")]
        let at = x((index * stride) as f64 + 0.5, length_s);
        let _ = write!(path, "{}{at:.1} {:.1}", if pen_down { "L" } else { "M" }, y(value));
        if !pen_down {
            // A second on its own is a dot.
            let _ = write!(path, "h0.01");
        }
        pen_down = true;
    }
    let _ = write!(svg, "<path class=\"line {}\" d=\"{path}\"/>", line.class);
}

/// The ticks of an axis, and where on it a value is: from 0 at the lowest tick to 1 at the highest.
fn axis(scale: Scale, lowest: f64, highest: f64) -> (Vec<f64>, impl Fn(f64) -> f64) {
    let ticks = match scale {
        Scale::Linear => linear_ticks(highest),
        Scale::Log => log_ticks(lowest, highest),
    };
    let (from, to) = (ticks.first().copied().unwrap_or(0.0), ticks.last().copied().unwrap_or(1.0));
    let part = move |value: f64| {
        let part = match scale {
            Scale::Linear => (value - from) / (to - from),
            Scale::Log => (value.max(from) / from).log10() / (to / from).log10(),
        };
        part.clamp(0.0, 1.0)
    };
    (ticks, part)
}

fn linear_ticks(highest: f64) -> Vec<f64> {
    // Room above the highest value: a line along the edge looks cut off.
    let step = nice(highest / 4.0);
    let mut ticks = vec![0.0];
    while ticks.last().is_some_and(|last| *last < highest * 1.05) {
        ticks.push(ticks.last().copied().unwrap_or(0.0) + step);
    }
    ticks
}

fn log_ticks(lowest: f64, highest: f64) -> Vec<f64> {
    let (from, to) = (lowest.log10().floor(), highest.log10().ceil());
    let mut ticks = Vec::new();
    let mut exponent = from;
    while exponent <= to.max(from + 1.0) + 1e-9 {
        ticks.push(10.0_f64.powf(exponent));
        exponent += 1.0;
    }
    ticks
}

/// The next of 1, 2, 5, 10, 20, 50, … at or above a value.
fn nice(value: f64) -> f64 {
    let power = 10.0_f64.powf(value.max(1e-9).log10().floor());
    [1.0, 2.0, 5.0]
        .into_iter()
        .map(|step| step * power)
        .find(|step| *step >= value - 1e-12)
        .unwrap_or(10.0 * power)
}

fn number(value: f64) -> String {
    match value {
        v if v >= 1e6 => format!("{}M", trimmed(v / 1e6)),
        v if v >= 1e4 => format!("{}k", trimmed(v / 1e3)),
        v => trimmed(v),
    }
}

fn trimmed(value: f64) -> String {
    let text = format!("{value:.3}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// Text that is safe in HTML and XML, also within double quotes.
pub fn escape(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            other => safe.push(other),
        }
    }
    safe
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_and_hold_the_highest_value() {
        assert_eq!(linear_ticks(37.0), [0.0, 10.0, 20.0, 30.0, 40.0]);
        assert_eq!(log_ticks(2.0, 800.0), [1.0, 10.0, 100.0, 1_000.0]);
        assert_eq!([number(0.1), number(2_000.0), number(25_000.0)], ["0.1", "2000", "25k"]);
    }
}
