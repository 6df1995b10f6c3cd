//! The reference cluster of this repository: chat-node and chat-writer.

pub mod dead_letter;
pub mod identity;
pub mod lifecycle;
pub mod metrics;

use std::net::SocketAddr;

use crate::{
    environment::Endpoints,
    plan::{ClusterPlan, ProcessName},
};

/// Where a process says whether it should be given work: 200 when it is ready, otherwise what is missing.
pub const READY_PATH: &str = "/readyz";
/// Where a process answers while it runs, with a `Date` by its own clock.
pub const ALIVE_PATH: &str = "/healthz";
/// Where a process serves its counters, in Prometheus' text format.
pub const METRICS_PATH: &str = "/metrics";

/// First offset not yet stored, per partition, as the writers keep it beside the rows; `$1` is the topic.
pub const NEXT_OFFSETS: &str = "select partition, next_offset from writer_offsets where topic = $1";
/// Every row of the rooms whose names begin with `$1`: room, id, sender, partition, offset, body, in the order of the log.
pub const ROWS: &str = "select room, id, sender, partition, kafka_offset, body from messages \
                        where starts_with(room, $1) order by partition, kafka_offset";

/// Names of the things that live in shared services.
#[derive(Debug, Clone)]
pub struct Names {
    /// Topic of messages.
    pub topic: String,
    /// Topic of dead letters.
    pub dead_letters: String,
    /// Consumer group of the writers.
    pub group: String,
    /// Prefix of the Redis channels.
    pub channel: String,
}

impl Names {
    /// The protocol's defaults when the services are ours alone; suffixed by the run otherwise.
    pub fn new(run_id: &str, shared: bool) -> Self {
        let suffix = if shared { format!(".{run_id}") } else { String::new() };
        Self {
            topic: format!("chat.messages{suffix}"),
            dead_letters: format!("chat.messages.dead{suffix}"),
            group: format!("chat-writer{suffix}"),
            channel: format!("{}{suffix}", chat_protocol::bus::DEFAULT_CHANNEL),
        }
    }
}

/// How the programs get beside an installed squall.
pub const HOW_TO_INSTALL: &str = "in the source of Squall: `cargo install --path reference/node` and `cargo install --path \
                                  reference/writer`, with the --root that squall was installed with; or set SQUALL_BIN_DIR \
                                  to the folder that has them";

/// The program of a process, without its folder.
pub fn program(process: ProcessName) -> &'static str {
    match process {
        ProcessName::Node(_) => "chat-node",
        ProcessName::Writer(_) => "chat-writer",
    }
}

/// Makes a node with planted bugs burn so many per cent more processor time than its work takes.
pub fn burn_cpu_flag(percent: u32) -> String {
    format!("--burn-cpu-percent={percent}")
}

/// What a process is told in its environment, as everybody may read its arguments: whatever can hold a password.
pub fn secrets(name: ProcessName, at: &Endpoints, plan: &ClusterPlan) -> Vec<(String, String)> {
    let options = at.kafka_options.iter().map(|(key, value)| format!("{key}={value}"));
    let options = options.collect::<Vec<_>>().join("\n");
    let (prefix, of_nodes) = match name {
        ProcessName::Node(_) => {
            let keys = identity::token_key(plan).map(|key| ("TOKEN_KEYS", key.to_owned()));
            ("CHAT_NODE", [Some(("REDIS_URL", at.redis_url.clone())), keys])
        }
        ProcessName::Writer(_) => ("CHAT_WRITER", [None, None]),
    };
    let options = (!options.is_empty()).then_some(("KAFKA_OPTIONS", options));
    let told = [("POSTGRES_URL", at.postgres_url.clone())]
        .into_iter()
        .chain(of_nodes.into_iter().flatten())
        .chain(options);
    told.map(|(what, value)| (format!("{prefix}_{what}"), value)).collect()
}

/// What a process is told in its arguments.
pub fn arguments(
    name: ProcessName,
    listen: SocketAddr,
    at: &Endpoints,
    names: &Names,
    plan: &ClusterPlan,
) -> Vec<String> {
    let mut args = vec![
        format!("--name={name}"),
        format!("--listen={listen}"),
        format!("--kafka-brokers={}", at.kafka_brokers),
        format!("--topic={}", names.topic),
    ];
    let (extra, bug) = match name {
        ProcessName::Node(_) => {
            args.extend(at.redis_ca.iter().map(|ca| format!("--redis-ca={}", ca.display())));
            args.push(format!("--redis-channel={}", names.channel));
            args.push(format!("--partitions={}", plan.partitions));
            args.push(format!("--topology={}", plan.topology));
            (&plan.node_flags, &plan.node_bug)
        }
        ProcessName::Writer(_) => {
            args.push(format!("--dead-letter-topic={}", names.dead_letters));
            args.push(format!("--group={}", names.group));
            (&plan.writer_flags, &plan.writer_bug)
        }
    };
    args.extend(extra.iter().cloned());
    args.extend(bug.iter().map(|bug| format!("--bug={bug}")));
    args
}
