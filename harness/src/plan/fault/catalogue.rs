//! The catalogue of faults: what a scenario may write, what proves that it bit, and where it cannot be done. The parser,
//! the refusals of the external provider, `squall list --faults` and the table in `scenarios/README.md` are made of it.

use std::fmt::Write;

use super::{FaultKind, Toxic};

/// Whether a fault can be done to services that somebody else runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Managed {
    /// As everywhere: what it strikes is the run's own.
    Yes,
    /// Where the link goes through a proxy.
    Proxied,
    /// No, and why.
    No(&'static str),
}
use Managed::{No, Proxied, Yes};

/// Why a service that somebody else runs stays up.
const TAKEN_AWAY: Managed =
    No("it is managed by somebody else, and cannot be stopped, killed or frozen from here");

/// One kind of fault, as authors know it.
#[derive(Debug, Clone, Copy)]
pub struct Row {
    /// What `kind =` names.
    pub kind: &'static str,
    /// The fields it takes beside `kind`, `at_s`, `for_s`, `repeat` and `every_s`, each with its bounds or its default.
    pub fields: &'static [(&'static str, &'static str)],
    /// Whether the external provider can do it.
    pub managed: Managed,
    /// What an independent probe must see before the fault counts.
    pub evidence: &'static str,
}

impl Row {
    /// Whether it takes a field of this name.
    pub fn takes(&self, field: &str) -> bool {
        self.fields.iter().any(|(name, _)| *name == field)
    }

    /// Whether the external provider can do it, for people.
    pub fn on_managed_services(&self) -> String {
        match self.managed {
            Yes => "yes".to_owned(),
            Proxied => "where the link is proxied".to_owned(),
            No(why) => format!("no: {why}"),
        }
    }

    /// Its fields, for people.
    pub fn described(&self) -> String {
        let described = self.fields.iter().map(|(name, bounds)| match *bounds {
            "" => format!("`{name}`"),
            bounds => format!("`{name}` ({bounds})"),
        });
        described.collect::<Vec<_>>().join(", ")
    }
}

const fn row(
    kind: &'static str,
    fields: &'static [(&'static str, &'static str)],
    managed: Managed,
    evidence: &'static str,
) -> Row {
    Row { kind, fields, managed, evidence }
}

/// Every kind of fault.
pub const CATALOGUE: [Row; 33] = [
    row(
        "service-stop",
        &[("service", "")],
        TAKEN_AWAY,
        "a protocol-level probe past every proxy gets no answer",
    ),
    row(
        "service-kill",
        &[("service", "")],
        TAKEN_AWAY,
        "a protocol-level probe past every proxy gets no answer",
    ),
    row(
        "service-pause",
        &[("service", "")],
        TAKEN_AWAY,
        "a protocol-level probe past every proxy gets no answer",
    ),
    row("link-down", &[("link", "")], Proxied, "a probe through the proxy is refused"),
    row(
        "link-black-hole",
        &[("link", ""), ("direction", "")],
        Proxied,
        "the link accepts a probe's connection and then stays silent",
    ),
    row(
        "link-reset",
        &[("link", ""), ("direction", ""), ("after_ms", "at most 1000")],
        Proxied,
        "the link accepts a probe's connection and then cuts it",
    ),
    row(
        "link-latency",
        &[("link", ""), ("direction", ""), ("latency_ms", ""), ("jitter_ms", ""), ("ramp_s", "")],
        Proxied,
        "a round trip through the proxy takes that long",
    ),
    row(
        "link-bandwidth",
        &[
            ("link", ""),
            ("direction", ""),
            ("kbytes_per_s", "1 to 1000; what Kafka sends: to 200"),
            ("ramp_s", ""),
        ],
        Proxied,
        "600 ms worth of bytes, sent through the proxy in that direction, take as long, and less past it",
    ),
    row(
        "link-slicer",
        &[
            ("link", ""),
            ("direction", ""),
            ("average_bytes", ""),
            ("variation_bytes", ""),
            ("delay_us", "2 to 1000 kB/s in all; what Kafka sends: to 200"),
        ],
        Proxied,
        "600 ms worth of bytes, in pieces, take as long as their number says, and less past it",
    ),
    row(
        "link-limit-data",
        &[("link", ""), ("direction", ""), ("bytes", "at most 1000000")],
        Proxied,
        "one byte more than that is cut",
    ),
    row(
        "link-slow-close",
        &[("link", ""), ("direction", ""), ("delay_ms", "200 to 2500")],
        Proxied,
        "the service hangs up (downstream), or the probe does (upstream), and the close arrives that much later",
    ),
    row(
        "link-loss",
        &[("link", ""), ("direction", ""), ("loss_percent", "1 to 50")],
        Proxied,
        "the kernel counts what TCP sends again on the link's connections (`ss -ti`), on the side that loses",
    ),
    row(
        "link-half-close",
        &[("link", "")],
        Proxied,
        "of the process's connections from before, each is gone from `/proc/net/tcp` or says end of stream when looked at",
    ),
    row("process-kill", &[("process", "")], Yes, "the pid is gone and its address refuses"),
    row("process-terminate", &[("process", "")], Yes, "the pid is gone and its address refuses"),
    row("process-pause", &[("process", "")], Yes, "state T in /proc"),
    row(
        "rolling-restart",
        &[("process", ""), ("gap_s", "")],
        Yes,
        "while it rolls, a process that is gone or has another pid or start time in /proc than before; at the end, for each: seen gone, another pid or start time, ready",
    ),
    row(
        "process-clock-skew",
        &[("process", ""), ("offset_s", "5 s or more, or less than -5")],
        Yes,
        "the `Date` of its answer to a health check",
    ),
    row(
        "redis-client-kill",
        &[],
        No("it would disconnect every user of the Redis"),
        "the ages of the subscriptions in `CLIENT LIST`",
    ),
    row(
        "postgres-terminate",
        &[],
        No("it needs a superuser"),
        "the ages of the sessions in `pg_stat_activity`",
    ),
    row("postgres-read-only", &[], No("it needs a superuser"), "a new session's `transaction_read_only`"),
    row("postgres-lock", &[], Yes, "`pg_locks`"),
    row(
        "postgres-connection-limit",
        &[],
        No("it would lock out everybody who shares the PostgreSQL, the harness among them"),
        "a fresh session through each link is refused with 53300",
    ),
    row(
        "postgres-disk-full",
        &[],
        No("it would fill the disk of everybody who shares the PostgreSQL"),
        "a new table beside the messages gets 53100",
    ),
    row(
        "redis-output-buffer",
        &[("link", "")],
        No("it would change a limit for every user of the Redis"),
        "Redis counts (or, before 7.2, logs) clients closed for their output buffers",
    ),
    row(
        "kafka-poison",
        &[],
        Yes,
        "a consumer finds the records in the log, and as many among the dead letters",
    ),
    row(
        "kafka-rebalance",
        &[],
        Yes,
        "the broker names the extra consumer among the group's members, with partitions",
    ),
    row("kafka-partitions-added", &[("partitions", "")], Yes, "the broker's metadata"),
    row(
        "client-reconnect-storm",
        &[("share_percent", ""), ("redial_every_ms", "1000")],
        Yes,
        "`/proc/net/tcp`: connections from before are gone, as many new ones are there",
    ),
    row(
        "client-slow",
        &[("share_percent", "")],
        Yes,
        "`/proc/net/tcp`: bytes wait on the nodes' side of the connections, and go on waiting",
    ),
    row(
        "client-crash",
        &[("share_percent", "")],
        Yes,
        "`/proc/net/tcp`: connections are gone and stay so; nodes count sessions that ended without a goodbye",
    ),
    row("client-malformed", &[("clients", "6")], Yes, "nodes count malformed frames"),
    row(
        "client-oversize",
        &[("clients", "6")],
        Yes,
        "nodes count verbs refused as invalid, and connections ended by error",
    ),
];

impl FaultKind {
    /// What `kind =` names it.
    pub fn name(&self) -> &'static str {
        match self {
            Self::ServiceStop { .. } => "service-stop",
            Self::ServiceKill { .. } => "service-kill",
            Self::ServicePause { .. } => "service-pause",
            Self::LinkDown { .. } => "link-down",
            Self::LinkToxic { toxic, .. } => match toxic {
                Toxic::Latency { .. } => "link-latency",
                Toxic::Bandwidth { .. } => "link-bandwidth",
                Toxic::Slicer { .. } => "link-slicer",
                Toxic::BlackHole => "link-black-hole",
                Toxic::Reset { .. } => "link-reset",
                Toxic::LimitData { .. } => "link-limit-data",
                Toxic::SlowClose { .. } => "link-slow-close",
            },
            Self::LinkLoss { .. } => "link-loss",
            Self::LinkHalfClose { .. } => "link-half-close",
            Self::ProcessKill { .. } => "process-kill",
            Self::ProcessTerminate { .. } => "process-terminate",
            Self::ProcessPause { .. } => "process-pause",
            Self::RollingRestart { .. } => "rolling-restart",
            Self::ProcessClockSkew { .. } => "process-clock-skew",
            Self::RedisClientKill => "redis-client-kill",
            Self::RedisOutputBuffer { .. } => "redis-output-buffer",
            Self::PostgresTerminate => "postgres-terminate",
            Self::PostgresReadOnly => "postgres-read-only",
            Self::PostgresLock => "postgres-lock",
            Self::PostgresConnectionLimit => "postgres-connection-limit",
            Self::PostgresDiskFull => "postgres-disk-full",
            Self::KafkaPoison => "kafka-poison",
            Self::KafkaRebalance => "kafka-rebalance",
            Self::KafkaPartitionsAdded { .. } => "kafka-partitions-added",
            Self::ClientReconnectStorm { .. } => "client-reconnect-storm",
            Self::ClientSlow { .. } => "client-slow",
            Self::ClientCrash { .. } => "client-crash",
            Self::ClientMalformed { .. } => "client-malformed",
            Self::ClientOversize { .. } => "client-oversize",
        }
    }
}

/// The kind of this name.
pub fn find(kind: &str) -> Option<&'static Row> {
    CATALOGUE.iter().find(|row| row.kind == kind)
}

/// The table for people who write scenarios.
pub fn markdown() -> String {
    let mut table =
        "| kind | fields | managed services | what shows that it bit |\n|---|---|---|---|\n".to_owned();
    for row in &CATALOGUE {
        let (kind, fields, managed, evidence) =
            (row.kind, row.described(), row.on_managed_services(), row.evidence);
        let _ = writeln!(table, "| `{kind}` | {fields} | {managed} | {evidence} |");
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_in_the_readme_is_this_one() {
        let readme = concat!(env!("CARGO_MANIFEST_DIR"), "/../scenarios/README.md");
        let readme = std::fs::read_to_string(readme).unwrap();
        assert!(readme.contains(&markdown()), "put this table there:\n{}", markdown());
    }

    #[test]
    fn no_kind_is_there_twice() {
        let mut kinds: Vec<&str> = CATALOGUE.iter().map(|row| row.kind).collect();
        kinds.sort_unstable();
        kinds.dedup();
        assert_eq!(kinds.len(), CATALOGUE.len());
    }
}
