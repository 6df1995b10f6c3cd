//! The charts of a report: what happened in each second, and who used the processors.

use std::fmt::Write;

use crate::report::{
    Cost, Report, Second,
    chart::{self, Line, Scale, Span, escape},
};

/// Colours of the parts of an account, in its order.
const PARTS: [&str; 7] = ["c-sent", "c-acked", "c-green", "c-open", "c-unsent", "c-refused", "c-ink"];

#[expect(clippy::cast_precision_loss, reason = "times of a run are far below 2^52")]
pub(super) fn charts(page: &mut String, report: &Report) {
    let length_s = report.series.len().max(1) as f64;
    let s = |ms: i64| ms as f64 / 1_000.0;
    let shades: Vec<Span> = report
        .faults
        .iter()
        .filter_map(|fault| {
            let to_s = fault.healed_ms.map_or(length_s, s);
            Some(Span { label: fault.name.clone(), from_s: s(fault.began_ms?), to_s })
        })
        .collect();
    let seconds = |ms: u64| usize::try_from(ms).unwrap_or(usize::MAX);
    let (load, begun) = (seconds(report.load_ms / 1_000), seconds(report.load_ms.div_ceil(1_000)));
    let last = report.series.len().saturating_sub(1);
    // What is counted in a part of a second would be drawn as a fall: the load's last one where its length is no whole
    // number, and the one in which the last straggler came.
    let whole = |second: &usize| *second < load || (begun..last).contains(second);
    let values = |of: fn(&Second) -> Option<f64>| -> Vec<Option<f64>> {
        let known = |(at, second)| if whole(&at) { of(second) } else { None };
        report.series.iter().enumerate().map(known).collect()
    };
    let sent = values(|second| Some(second.sent.into())).into_iter().take(load).collect();
    let mut rates = vec![
        Line { label: "sent", class: "c-sent", values: sent },
        Line { label: "acked", class: "c-acked", values: values(|second| Some(second.acked.into())) },
    ];
    type Value = fn(&Second) -> Option<f64>;
    let optional: [(&'static str, &'static str, Value); 3] = [
        ("open", "c-open", |second| Some(second.open.into())),
        ("refused", "c-refused", |second| Some(second.refused.into())),
        ("not sent", "c-unsent", |second| Some(second.not_sent.into())),
    ];
    for (label, class, of) in optional {
        let values = values(of);
        if values.iter().flatten().any(|value| *value > 0.0) {
            rates.push(Line { label, class, values });
        }
    }
    page.push_str("<section><h2>Second by second</h2>");
    page.push_str("<p class=\"hint\">Shaded: a fault, from its injection until it is shown healed.</p>");
    if !shades.is_empty() {
        let mut rows: Vec<(String, &str, Vec<Span>)> =
            shades.iter().map(|span| ("fault".to_owned(), "b-fault", vec![span.clone()])).collect();
        for pause in &report.pauses {
            let to_s = pause.resumed_ms.map_or(length_s, s);
            let label = format!("paused {:.1} s", to_s - s(pause.paused_ms));
            let span = Span { label, from_s: s(pause.paused_ms), to_s };
            match rows.iter_mut().find(|(name, _, _)| *name == pause.pause.writer) {
                Some((_, _, spans)) => spans.push(span),
                None => rows.push((pause.pause.writer.clone(), "b-pause", vec![span])),
            }
        }
        page.push_str(&chart::bars("Faults, and pauses of writers", length_s, &rows, &shades));
    }
    page.push_str(&chart::lines("Messages", "messages/s", Scale::Linear, length_s, &rates, &shades));
    let received = [Line {
        label: "received",
        class: "c-received",
        values: values(|second| Some(second.received.into())),
    }];
    page.push_str(&chart::lines(
        "Receipts at members",
        "receipts/s",
        Scale::Linear,
        length_s,
        &received,
        &shades,
    ));
    let milliseconds = |us: Option<u64>| Some(us? as f64 / 1_000.0).filter(|ms| *ms > 0.0);
    let of =
        |which: fn(&Second) -> Option<u64>| report.series.iter().map(|s| milliseconds(which(s))).collect();
    let latency = [
        Line { label: "p99", class: "c-p99", values: of(|second| second.ack_p99_us) },
        Line { label: "p50", class: "c-p50", values: of(|second| second.ack_p50_us) },
    ];
    let title = "Ack latency of messages due in each second";
    page.push_str(&chart::lines(title, "ms, log scale", Scale::Log, length_s, &latency, &shades));
    account(page, report, length_s, &shades);
    page.push_str("</section>");
}

/// Who took the processors, and how much memory.
fn account(page: &mut String, report: &Report, length_s: f64, shades: &[Span]) {
    if report.account.is_empty() {
        return;
    }
    let cores = |cost: &Cost| cost.cpu_ms.iter().map(|ms| ms.map(|ms| ms as f64 / 1_000.0)).collect();
    let lines: Vec<Line<'_>> = report
        .account
        .iter()
        .zip(PARTS.iter().cycle())
        .map(|(cost, class)| Line { label: &cost.part, class, values: cores(cost) })
        .collect();
    let title = "Processor time, by who used it";
    page.push_str(&chart::lines(title, "cores", Scale::Linear, length_s, &lines, shades));
    page.push_str(
        "<table class=\"numbers\"><thead><tr><th></th><th>cores, mean</th><th>cores, most</th><th>memory, most</th></tr>\
         </thead><tbody>",
    );
    for cost in &report.account {
        let (mean, most) = cost.cores();
        let _ = write!(
            page,
            "<tr><th>{}</th><td>{mean:.2}</td><td>{most:.2}</td><td>{} MiB</td></tr>",
            escape(&cost.part),
            cost.rss_max_kib / 1_024
        );
    }
    page.push_str("</tbody></table>");
}
