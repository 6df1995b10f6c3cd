//! The numbers of a report: rates, latency tables, ledgers, what each fault did, the generator's account.

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

use crate::{
    checkers::{Case, Judgement, latency, validity::Offered},
    history::{Fate, Ledger},
};

/// Milliseconds after the start of the load.
pub(crate) fn load_ms(case: &Case<'_>, us: u64) -> i64 {
    let ms = |us: u64| i64::try_from(us / 1_000).unwrap_or(i64::MAX);
    ms(us) - ms(case.load_us())
}

/// Offered and achieved, in messages per second over the whole load.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rates {
    /// By the schedule.
    pub offered_per_s: f64,
    /// Handed to sockets.
    pub sent_per_s: f64,
    /// Acked.
    pub acked_per_s: f64,
    /// Received by members.
    pub received_per_s: f64,
}

impl Rates {
    /// Counts messages of the schedule over the length of the load.
    pub fn of(case: &Case<'_>) -> Self {
        #[expect(clippy::cast_precision_loss, reason = "counts and lengths are far below 2^52")]
        let per_s = |count: usize| count as f64 * 1_000.0 / case.plan.load.duration_ms.max(1) as f64;
        let history = case.history;
        let sent =
            (0..history.messages()).filter(|message| history.outcome(*message).sent_us().is_some()).count();
        Self {
            offered_per_s: per_s(case.arrivals.list.len()),
            sent_per_s: per_s(sent),
            acked_per_s: per_s(usize::try_from(case.acked()).unwrap_or(usize::MAX)),
            received_per_s: per_s(history.receipts().len()),
        }
    }
}

/// One row of the latency table, in microseconds from the intended time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LatencyRow {
    /// `ack` or `receipt`.
    pub what: String,
    /// `overall`, `outside faults` or `inside faults`.
    pub span: String,
    /// How many.
    pub count: u64,
    /// Median.
    pub p50_us: u64,
    /// Ninth decile.
    pub p90_us: u64,
    /// One in a hundred is slower.
    pub p99_us: u64,
    /// One in a thousand is slower.
    pub p999_us: u64,
    /// Slowest.
    pub max_us: u64,
}

/// The latency table. Spans without a sample are left out.
pub fn latency_rows(case: &Case<'_>) -> Vec<LatencyRow> {
    let Some((acks, receipts)) = latency::latencies(case) else { return Vec::new() };
    let mut rows = Vec::new();
    for (what, latencies) in [("ack", acks), ("receipt", receipts)] {
        rows.push(row(what, "overall", &latencies.overall()));
        if !case.windows.is_empty() {
            rows.push(row(what, "outside faults", &latencies.outside));
            rows.push(row(what, "inside faults", &latencies.inside));
        }
    }
    rows.retain(|row| row.count > 0);
    rows
}

fn row(what: &str, span: &str, histogram: &Histogram<u64>) -> LatencyRow {
    LatencyRow {
        what: what.to_owned(),
        span: span.to_owned(),
        count: histogram.len(),
        p50_us: histogram.value_at_quantile(0.5),
        p90_us: histogram.value_at_quantile(0.9),
        p99_us: histogram.value_at_quantile(0.99),
        p999_us: histogram.value_at_quantile(0.999),
        max_us: histogram.max(),
    }
}

/// The three ledgers in numbers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ledgers {
    /// Messages of the schedule.
    pub scheduled: u64,
    /// Handed to sockets.
    pub sent: u64,
    /// Due, and never sent: no session, not in the room, or a socket or a generator that stood still.
    pub not_sent: u64,
    /// Promised.
    pub acked: u64,
    /// Refused.
    pub refused: u64,
    /// Sent without a fate: they may or may not be in the log.
    pub open: u64,
    /// Records in Kafka.
    pub in_kafka: u64,
    /// Rows in PostgreSQL.
    pub rows: u64,
    /// Records in the dead-letter topic.
    pub dead_letters: u64,
    /// Deliveries of acked messages owed to members.
    pub owed: u64,
    /// Receipts.
    pub received: u64,
    /// Receipts by catch-up.
    pub replayed: u64,
    /// Deliveries owed and not made.
    pub lost: u64,
    /// Receipts of a message the same user had already.
    pub repeated: u64,
}

impl Ledgers {
    /// Counts; what is owed and lost comes from the findings, so that a report and its verdict cannot differ.
    pub fn of(case: &Case<'_>, judgement: &Judgement) -> Self {
        let history = case.history;
        let counted = |checker: &str, name: &str| {
            judgement.finding(checker).and_then(|finding| finding.counts.get(name)).copied().unwrap_or(0)
        };
        let mut ledgers = Self {
            scheduled: case.arrivals.list.len() as u64,
            in_kafka: history.entries(Ledger::Kafka),
            rows: history.entries(Ledger::Postgres),
            dead_letters: history.entries(Ledger::DeadLetters),
            owed: counted("delivery", "owed"),
            lost: counted("delivery", "lost"),
            repeated: counted("exactly-once", "repeated_deliveries"),
            received: history.receipts().len() as u64,
            replayed: history.receipts().iter().filter(|receipt| receipt.replayed).count() as u64,
            ..Self::default()
        };
        for message in 0..history.messages() {
            let life = history.outcome(message);
            ledgers.sent += u64::from(life.sent_us().is_some());
            match life.fate() {
                Fate::Acked => ledgers.acked += 1,
                Fate::Refused(_) => ledgers.refused += 1,
                Fate::NotSent => ledgers.not_sent += 1,
                Fate::Unanswered | Fate::Indeterminate(_) => ledgers.open += 1,
                Fate::Unseen => {}
            }
        }
        ledgers
    }
}

/// What one fault did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FaultReport {
    /// What broke.
    pub name: String,
    /// When it began.
    pub began_ms: Option<i64>,
    /// When it was over, by a probe.
    pub healed_ms: Option<i64>,
    /// What the probe saw that showed it in force.
    pub evidence: Option<String>,
    /// What the probe saw that showed it gone.
    pub heal_evidence: Option<String>,
    /// What went wrong with the fault itself.
    pub trouble: Option<String>,
    /// From quiet to the first ack.
    pub first_ack_after_ms: Option<i64>,
    /// From quiet to normal.
    pub normal_after_ms: Option<i64>,
    /// Longest time without an ack, from the fault until normal.
    pub outage_ms: u64,
    /// Messages due meanwhile that were refused.
    pub refused: u64,
    /// Messages due meanwhile whose fate is open.
    pub open: u64,
    /// Messages due meanwhile that were never sent.
    pub not_sent: u64,
}

/// What each planned fault did.
pub fn faults(case: &Case<'_>) -> Vec<FaultReport> {
    let both = case.windows.iter().zip(&case.recovered);
    both.map(|(window, after)| {
        let since_quiet = |us: Option<u64>| Some(load_ms(case, us?) - load_ms(case, after.quiet_us?));
        FaultReport {
            name: window.name.clone(),
            began_ms: window.began_us().map(|us| load_ms(case, us)),
            healed_ms: window.ended_us().map(|us| load_ms(case, us)),
            evidence: window.proved.as_ref().map(|(_, evidence)| evidence.clone()),
            heal_evidence: window.healed.as_ref().map(|(_, evidence)| evidence.clone()),
            trouble: window.trouble.clone(),
            first_ack_after_ms: since_quiet(after.first_ack_us),
            normal_after_ms: since_quiet(after.normal_us),
            outage_ms: after.outage_us / 1_000,
            refused: after.refused,
            open: after.open,
            not_sent: after.not_sent,
        }
    })
    .collect()
}

/// The load generator about itself.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GeneratorReport {
    /// p99 of (sent - due) outside faults.
    pub lateness_p99_us: u64,
    /// Worst of it.
    pub lateness_max_us: u64,
    /// CPU time of the generator over the run.
    pub cpu_ms: u64,
    /// Most memory it held.
    pub rss_max_kib: u64,
}

impl GeneratorReport {
    /// Reads the account.
    pub fn of(case: &Case<'_>) -> Self {
        let offered = Offered::of(case);
        let seconds = case.history.generator();
        Self {
            lateness_p99_us: offered.lateness_p99_us,
            lateness_max_us: offered.lateness_max_us,
            // Each second accounts for itself.
            cpu_ms: seconds.iter().map(|second| second.cpu_ms).sum(),
            rss_max_kib: seconds.iter().map(|second| second.rss_kib).max().unwrap_or(0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{checkers::fixture::Run, history::EventKind};

    #[test]
    fn the_generator_s_cpu_time_is_the_sum_of_its_seconds() {
        let second = |cpu_ms| EventKind::Generator { lateness_max_us: 0, sent: 1, cpu_ms, rss_kib: 9 };
        let run = Run::clean(10).with(second(40)).with(second(70)).with(second(40));
        let history = run.history();
        assert_eq!(GeneratorReport::of(&run.case(&history)).cpu_ms, 150);
    }
}
