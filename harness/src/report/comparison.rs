//! Two runs side by side, without a verdict.

use std::fmt::Write;

use crate::{checkers::latency::millis, report::Report};

/// The figures of both, and why there is no verdict.
pub fn table(a: &Report, b: &Report) -> String {
    let mut text = format!("A  {} {}\nB  {} {}\n\n", a.scenario, a.facts.run_id, b.scenario, b.facts.run_id);
    let _ = writeln!(text, "{:<32} {:>12} {:>12} {:>8}", "", "A", "B", "B / A");
    let mut row = |name: String, a: u64, b: u64, show: fn(u64) -> String| {
        let ratio = if a == 0 { "-".to_owned() } else { format!("{:.2}", b as f64 / a as f64) };
        let _ = writeln!(text, "{name:<32} {:>12} {:>12} {ratio:>8}", show(a), show(b));
    };
    for one in &a.latency {
        let same = b.latency.iter().find(|it| (&it.what, &it.span) == (&one.what, &one.span));
        let Some(other) = same else { continue };
        let name = |quantile: &str| format!("{} {} {quantile}, ms", one.what, one.span);
        row(name("p50"), one.p50_us, other.p50_us, millis);
        row(name("p99"), one.p99_us, other.p99_us, millis);
        row(name("max"), one.max_us, other.max_us, millis);
    }
    for (name, of) in [
        ("messages acked", (|it: &Report| it.ledgers.acked) as fn(&Report) -> u64),
        ("records in Kafka", |it| it.ledgers.in_kafka),
        ("rows in PostgreSQL", |it| it.ledgers.rows),
    ] {
        row(name.to_owned(), of(a), of(b), |count| count.to_string());
    }
    if a.setting != b.setting || a.scenario != b.scenario {
        let _ = writeln!(text, "\nnot the same load:\nA  {}\nB  {}", a.setting, b.setting);
    }
    text.push_str(
        "\nNo verdict: the runs were not measured in pairs, and two runs of one build differ by more than a regression.\n\
         `squall gate --baseline GIT_REF` measures both builds side by side and judges.\n",
    );
    text
}
