//! Two runs of one plan side by side, one a topology: what `relay` loses and `durable-first` does not.

use std::fmt::Write;

use serde::{Deserialize, Serialize};

use crate::{
    checkers::{Tier, Verdict, latency::millis},
    plan::Topology,
    report::Report,
};

/// Version of `contrast.json`.
pub const CONTRAST_FORMAT: u32 = 1;
/// Name of the table for programs, in both runs' folders.
pub const JSON: &str = "contrast.json";
/// Name of the table for people.
pub const PAGE: &str = "contrast.md";
/// Messages named for each topology.
const NAMED_MAX: usize = 5;

/// The table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Contrast {
    /// [`CONTRAST_FORMAT`].
    pub format: u32,
    /// Name of the scenario.
    pub scenario: String,
    /// What was done to the cluster, in one line.
    pub title: String,
    /// The seed of both runs.
    pub seed: u64,
    /// How nodes and writers were built.
    pub profile: String,
    /// The run in which Kafka comes first.
    pub durable_first: Side,
    /// The run in which Redis comes first.
    pub relay: Side,
}

/// One run's column.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Side {
    /// Its topology.
    pub topology: Topology,
    /// Its id.
    pub run_id: String,
    /// Its verdict.
    pub verdict: Verdict,
    /// The claims that do not hold.
    pub broken: Vec<String>,
    /// Messages acked.
    pub acked: u64,
    /// Messages refused, or left without an answer.
    pub not_acked: u64,
    /// Messages that were due and never sent.
    pub not_sent: u64,
    /// Records in Kafka.
    pub in_kafka: u64,
    /// Rows in PostgreSQL.
    pub rows: u64,
    /// Acked, and not in Kafka.
    pub acked_not_in_kafka: u64,
    /// Acked, and no row.
    pub acked_without_row: u64,
    /// Of those lost after the ack, by the tier that lost them.
    pub lost_by_tier: Vec<LostBy>,
    /// Messages with several records in Kafka, acked or not.
    pub doubled_records: u64,
    /// Messages delivered to somebody again.
    pub doubled_deliveries: u64,
    /// Deliveries of acked messages owed to members.
    pub owed: u64,
    /// Of those, never made.
    pub missed: u64,
    /// Deliveries made by resume or from Kafka.
    pub recovered: u64,
    /// Median ack latency from the intended time, faults included, in microseconds.
    pub ack_p50_us: u64,
    /// 99th percentile of it.
    pub ack_p99_us: u64,
    /// 99th percentile of the latency of receipts.
    pub receipt_p99_us: u64,
    /// The first messages that were lost after their ack, by id.
    pub lost_messages: Vec<String>,
}

/// What one tier lost.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LostBy {
    /// Which.
    pub tier: Tier,
    /// What is missing.
    pub what: String,
    /// How much of it: messages, or deliveries.
    pub count: u64,
}

impl Side {
    fn of(topology: Topology, report: &Report) -> Self {
        let counted = |checker: &str, name: &str| {
            let finding = report.judgement.finding(checker);
            finding.and_then(|finding| finding.counts.get(name)).copied().unwrap_or(0)
        };
        let latency =
            |what: &str| report.latency.iter().find(|row| row.what == what && row.span == "overall");
        let (ledgers, findings) = (&report.ledgers, &report.judgement.findings);
        let broken = findings.iter().filter(|finding| finding.verdict != Verdict::Holds);
        let lost = report.judgement.gaps.iter().flat_map(|gap| &gap.messages);
        Self {
            topology,
            run_id: report.facts.run_id.clone(),
            verdict: report.judgement.verdict,
            broken: broken.map(|finding| format!("{} {}", finding.checker, finding.verdict.word())).collect(),
            acked: ledgers.acked,
            not_acked: ledgers.refused + ledgers.open,
            not_sent: ledgers.not_sent,
            in_kafka: ledgers.in_kafka,
            rows: ledgers.rows,
            acked_not_in_kafka: counted("durability", "acked_not_in_kafka"),
            acked_without_row: counted("durability", "acked_without_row"),
            lost_by_tier: report
                .judgement
                .gaps
                .iter()
                .map(|gap| LostBy { tier: gap.tier, what: gap.what.clone(), count: gap.count })
                .collect(),
            doubled_records: counted("exactly-once", "messages_with_several_records")
                + counted("exactly-once", "open_messages_with_several_records"),
            doubled_deliveries: ledgers.repeated,
            owed: ledgers.owed,
            missed: ledgers.lost,
            recovered: ledgers.replayed,
            ack_p50_us: latency("ack").map_or(0, |row| row.p50_us),
            ack_p99_us: latency("ack").map_or(0, |row| row.p99_us),
            receipt_p99_us: latency("receipt").map_or(0, |row| row.p99_us),
            lost_messages: lost.take(NAMED_MAX).map(|message| format!("m{message}")).collect(),
        }
    }

    /// Messages or deliveries that were promised and are nowhere.
    pub fn loses(&self) -> bool {
        self.acked_not_in_kafka + self.acked_without_row + self.missed > 0
    }
}

impl Contrast {
    /// Puts two reports of the same plan side by side. Pure.
    pub fn of(durable_first: &Report, relay: &Report) -> Self {
        Self {
            format: CONTRAST_FORMAT,
            scenario: durable_first.scenario.clone(),
            title: durable_first.title.clone(),
            seed: durable_first.seed,
            profile: durable_first.facts.profile.clone(),
            durable_first: Side::of(Topology::DurableFirst, durable_first),
            relay: Side::of(Topology::Relay, relay),
        }
    }

    /// What the two runs show, in one line.
    pub fn headline(&self) -> String {
        let relay = &self.relay;
        if self.durable_first.verdict != Verdict::Holds {
            let verdict = self.durable_first.verdict.word();
            return format!(
                "durable-first does not hold ({verdict}): {}",
                self.durable_first.broken.join(", ")
            );
        }
        if relay.loses() {
            return format!(
                "relay lost {} of {} acked messages and {} of {} deliveries; durable-first lost none",
                relay.acked_not_in_kafka.max(relay.acked_without_row),
                relay.acked,
                relay.missed,
                relay.owed
            );
        }
        match relay.verdict {
            Verdict::Holds => format!(
                "both hold, and lost nothing that was acked: durable-first acked {} messages, relay {}",
                self.durable_first.acked, relay.acked
            ),
            _ => format!("relay lost nothing that was acked, and does not hold: {}", relay.broken.join(", ")),
        }
    }

    /// The rows of the table: what, durable-first, relay.
    pub fn rows(&self) -> Vec<[String; 3]> {
        let (a, b) = (&self.durable_first, &self.relay);
        let mut rows = Vec::new();
        let mut row = |what: &str, cell: &dyn Fn(&Side) -> String| {
            rows.push([what.to_owned(), cell(a), cell(b)]);
        };
        row("messages acked", &|side| side.acked.to_string());
        row("refused or unanswered", &|side| side.not_acked.to_string());
        row("due, and not sent", &|side| side.not_sent.to_string());
        row("records in Kafka", &|side| side.in_kafka.to_string());
        row("rows in PostgreSQL", &|side| side.rows.to_string());
        row("acked, not in Kafka", &|side| side.acked_not_in_kafka.to_string());
        row("acked, no row", &|side| side.acked_without_row.to_string());
        let mut tiers: Vec<(Tier, &str)> = Vec::new();
        for lost in a.lost_by_tier.iter().chain(&b.lost_by_tier) {
            if !tiers.contains(&(lost.tier, lost.what.as_str())) {
                tiers.push((lost.tier, lost.what.as_str()));
            }
        }
        tiers.sort_by_key(|(tier, _)| *tier);
        for (tier, what) in tiers {
            row(&format!("lost by {}: {what}", tier.name()), &|side| {
                let lost = side.lost_by_tier.iter().find(|lost| lost.tier == tier && lost.what == what);
                lost.map_or(0, |lost| lost.count).to_string()
            });
        }
        row("doubled in Kafka", &|side| side.doubled_records.to_string());
        row("delivered again", &|side| side.doubled_deliveries.to_string());
        row("deliveries owed", &|side| side.owed.to_string());
        row("deliveries missed", &|side| side.missed.to_string());
        row("recovered by catch-up", &|side| side.recovered.to_string());
        row("ack p50 / p99", &|side| format!("{} / {}", millis(side.ack_p50_us), millis(side.ack_p99_us)));
        row("receipt p99", &|side| millis(side.receipt_p99_us));
        row("verdict", &|side| side.verdict.word().to_owned());
        row("claims broken", &|side| or_none(&side.broken));
        row("lost, for example", &|side| or_none(&side.lost_messages));
        rows
    }

    /// The table for a terminal.
    pub fn render(&self) -> String {
        let rows = self.rows();
        let width =
            |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0).max(13);
        let (first, second) = (width(0), width(1));
        let mut out = String::new();
        let _ = writeln!(
            out,
            "\n{}: {} (seed {}, {} build)\n",
            self.scenario, self.title, self.seed, self.profile
        );
        let _ = writeln!(out, "  {:first$}  {:second$}  relay", "", "durable-first");
        for [what, durable_first, relay] in &rows {
            let _ = writeln!(out, "  {what:first$}  {durable_first:second$}  {relay}");
        }
        let _ = writeln!(out, "\n{}", self.headline());
        out
    }

    /// The table as a page.
    pub fn markdown(&self) -> String {
        let mut page = String::new();
        let _ = writeln!(page, "# {}: two topologies\n", self.scenario);
        let _ = writeln!(page, "{}. {}.\n", self.title, self.headline());
        let _ = writeln!(
            page,
            "seed {} · {} build · runs `{}` and `{}`\n",
            self.seed, self.profile, self.durable_first.run_id, self.relay.run_id
        );
        page.push_str("| | durable-first | relay |\n|---|--:|--:|\n");
        for cells in self.rows() {
            let _ = writeln!(page, "| {} |", cells.map(|cell| cell.replace('|', "\\|")).join(" | "));
        }
        page
    }
}

fn or_none(list: &[String]) -> String {
    if list.is_empty() { "none".to_owned() } else { list.join(", ") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        checkers::{ALL, check_with, fixture::Run},
        history::EventKind,
        report::RunFacts,
    };

    fn report(run: &Run) -> Report {
        let history = run.history();
        let case = run.case(&history);
        Report::of(&case, &check_with(&ALL, &case), RunFacts::here("run", 0, "host"))
    }

    /// Message 3 was acked and seen, and is in no ledger; user 1 missed message 5.
    fn lossy() -> Run {
        Run::clean(40).relayed().without(|what| match what {
            EventKind::InKafka { message, .. } | EventKind::InPostgres { message, .. } => *message == 3,
            EventKind::ReceivedUnplaced { user, message } => (*user, *message) == (1, 5),
            _ => false,
        })
    }

    #[test]
    fn what_relay_loses_stands_beside_what_durable_first_keeps() {
        let contrast = Contrast::of(&report(&Run::clean(40)), &report(&lossy()));
        assert_eq!(contrast.durable_first.verdict, Verdict::Holds);
        assert!(!contrast.durable_first.loses() && contrast.relay.loses());
        let relay = &contrast.relay;
        assert_eq!((relay.acked, relay.acked_not_in_kafka, relay.missed), (40, 1, 1), "{contrast:#?}");
        assert_eq!(relay.lost_messages[0], "m3");
        assert!(relay.lost_by_tier.iter().any(|lost| lost.tier == Tier::Relay && lost.count == 1));
        let said = "relay lost 1 of 40 acked messages and 1 of 160 deliveries; durable-first lost none";
        assert_eq!(contrast.headline(), said);
        for shown in [contrast.render(), contrast.markdown()] {
            for needle in ["acked, not in Kafka", "lost by relay to Kafka", "durability violated", said] {
                assert!(shown.contains(needle), "{needle}: {shown}");
            }
        }
        let json = serde_json::to_string(&contrast).unwrap();
        assert_eq!(serde_json::from_str::<Contrast>(&json).unwrap(), contrast);
    }

    #[test]
    fn two_runs_that_hold_are_said_to_and_a_broken_durable_first_is_never_hidden() {
        let (good, same) = (report(&Run::clean(40)), report(&Run::clean(40).relayed()));
        assert!(Contrast::of(&good, &same).headline().starts_with("both hold"));
        let broken =
            report(&Run::clean(40).without(|what| matches!(what, EventKind::InPostgres { message: 7, .. })));
        assert!(Contrast::of(&broken, &same).headline().contains("durable-first does not hold (violated)"));
    }
}
