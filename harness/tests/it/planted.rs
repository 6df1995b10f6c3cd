//! Clusters that are wrong in a known way: each planted bug must be found by the checker that is there for it, in the
//! messages that it wronged.
//!
//! A bug says in its process's log which messages it wronged. What the checker names must be among them, so that no bug
//! is caught by accident; and the same plan on a clean build must hold, so that no checker cries wolf.
//!
//! Ignored unless asked for, as they build the cluster a second time, with its bugs:
//! `cargo test --release --workspace --test it -- --ignored planted`.

use std::{collections::HashSet, fs, path::Path};

use harness::{
    checkers::{Tier, Verdict},
    cluster::Binaries,
    exit::Exit,
    history::History,
    plan::{Arrivals, Plan, ProcessName, Topology},
    progress::Progress,
    run::Finished,
};
use serde_json::Value;

use crate::{command_line, testbed};

/// Which binary has the bug.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum In {
    Node,
    Writer,
}

/// A bug, where it shows, and who must say so.
struct Planted {
    bug: &'static str,
    process: In,
    scenario: &'static str,
    checker: &'static str,
    /// The tier that the reconciliation blames; repeated deliveries are in no gap.
    tier: Option<Tier>,
}

const fn planted(
    bug: &'static str,
    process: In,
    scenario: &'static str,
    checker: &'static str,
    tier: Option<Tier>,
) -> Planted {
    Planted { bug, process, scenario, checker, tier }
}

/// The table of the README of `scenarios/`.
const TABLE: [Planted; 10] = [
    planted("ack-before-produce", In::Node, "smoke", "durability", Some(Tier::Node)),
    planted("every-node-relays", In::Node, "smoke", "exactly-once", Some(Tier::Node)),
    planted("no-dedupe", In::Node, "smoke", "exactly-once", None),
    planted("ids-without-sender", In::Node, "smoke", "delivery", Some(Tier::Live)),
    planted("drop-when-full", In::Node, "node-pause", "delivery", Some(Tier::Live)),
    planted("no-resume", In::Node, "node-kill", "delivery", Some(Tier::CatchUp)),
    planted("no-resubscribe", In::Node, "redis-client-kill", "delivery", Some(Tier::Live)),
    planted("swallow-on-db-error", In::Writer, "postgres-outage", "durability", Some(Tier::Writer)),
    planted("commit-before-insert", In::Writer, "writer-kill-mid-insert", "durability", Some(Tier::Writer)),
    planted("keep-position-after-reconnect", In::Writer, "postgres-flap", "durability", Some(Tier::Writer)),
];

/// A fault longer than this shows a bug no better.
const FAULT_MAX_MS: u64 = 6_000;

/// The scenario at the pace of tests: faults and load are shortened, never left out.
fn plan_of(scenario: &str, node_bug: Option<&str>, writer_bug: Option<&str>) -> Plan {
    let mut choices = testbed::choices(21);
    choices.node_bug = node_bug.map(str::to_owned);
    choices.writer_bug = writer_bug.map(str::to_owned);
    let mut plan = testbed::plan(scenario, &choices);
    let length_ms = |plan: &Plan| plan.faults.iter().map(|fault| fault.for_ms).sum::<u64>();
    let before_ms = length_ms(&plan);
    for fault in &mut plan.faults {
        fault.for_ms = fault.for_ms.min(FAULT_MAX_MS);
    }
    let left_ms = length_ms(&plan);
    if let Some(least) = &mut plan.expect.min_acked_during_faults {
        *least = *least * left_ms / before_ms;
    }
    plan.shortened()
}

/// Runs the bug's scenario and expects its checker to name what was planted, and nothing else.
async fn caught(bug: &str) {
    caught_in(Topology::DurableFirst, TABLE.iter().find(|row| row.bug == bug).unwrap()).await;
}

async fn caught_in(topology: Topology, row: &Planted) {
    let bug = row.bug;
    let _alone = testbed::alone().await;
    let out = tempfile::tempdir().unwrap();
    let mut plan = match row.process {
        In::Node => plan_of(row.scenario, Some(bug), None),
        In::Writer => plan_of(row.scenario, None, Some(bug)),
    };
    plan.cluster.topology = topology;
    let finished = testbed::judged(plan.clone(), testbed::provider(), out.path()).await;
    assert_eq!(finished.judged.exit(), Exit::Violated);
    let judgement = finished.judged.judgement();
    let finding = judgement.finding(row.checker).unwrap();
    assert_eq!(finding.verdict, Verdict::Violated, "{finding:#?}");

    let wronged = wronged(&plan, &finished);
    let named: Vec<u32> = finding
        .details
        .iter()
        .filter(|detail| detail.verdict == Verdict::Violated)
        .filter_map(|detail| detail.message)
        .collect();
    assert!(!named.is_empty(), "no message is named: {finding:#?}");
    let others: Vec<&u32> = named.iter().filter(|message| !wronged.contains(message)).collect();
    assert!(others.is_empty(), "caught by accident: {others:?} were not wronged; {finding:#?}");
    if let Some(tier) = row.tier {
        let blamed = judgement.gaps.iter().any(|gap| gap.tier == tier && !gap.messages.is_empty());
        assert!(blamed, "{:#?}", judgement.gaps);
    }
}

/// The messages that the bug says it wronged, from the logs of the processes.
fn wronged(plan: &Plan, finished: &Finished) -> HashSet<u32> {
    let history = History::read(plan, &finished.folder.history()).unwrap();
    let arrivals = Arrivals::of(plan);
    let mut wronged = HashSet::new();
    let mut ranges: Vec<(i32, i64, i64)> = Vec::new();
    for line in planted_lines(&finished.folder.logs()) {
        let number = |field: &str| line[field].as_i64().unwrap();
        match line["id"].as_str() {
            Some(id) => {
                let user = line["sender"].as_str().and_then(Plan::user_named).unwrap();
                wronged.extend(arrivals.sent_by(user, id));
            }
            None => ranges.push((number("partition") as i32, number("from"), number("to"))),
        }
    }
    for message in 0..arrivals.list.len() as u32 {
        let within = |(partition, from, to): &(i32, i64, i64)| {
            let mut entries = history.in_kafka(message);
            entries.any(|entry| entry.partition == *partition && (*from..*to).contains(&entry.offset))
        };
        if ranges.iter().any(within) {
            wronged.insert(message);
        }
    }
    assert!(!wronged.is_empty(), "the bug did nothing");
    wronged
}

fn planted_lines(logs: &Path) -> Vec<Value> {
    let mut lines = Vec::new();
    for file in fs::read_dir(logs).unwrap() {
        let path = file.unwrap().path();
        if path.is_file() {
            let text = String::from_utf8_lossy(&fs::read(path).unwrap()).into_owned();
            let marked = text.lines().filter(|line| line.contains("\"planted\""));
            lines.extend(marked.filter_map(|line| serde_json::from_str::<Value>(line).ok()));
        }
    }
    lines
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "builds the cluster a second time, with its bugs"]
async fn ack_before_produce() {
    caught("ack-before-produce").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "builds the cluster a second time, with its bugs"]
async fn every_node_relays() {
    caught("every-node-relays").await;
}

/// The naive form of the topology `relay`: no lease, and as many records of a message as there are nodes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "builds the cluster a second time, with its bugs"]
async fn every_node_relays_in_relay() {
    let row = planted("every-node-relays", In::Node, "smoke", "exactly-once", Some(Tier::Relay));
    caught_in(Topology::Relay, &row).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "builds the cluster a second time, with its bugs"]
async fn no_dedupe() {
    caught("no-dedupe").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "builds the cluster a second time, with its bugs"]
async fn ids_without_sender() {
    caught("ids-without-sender").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "builds the cluster a second time, with its bugs"]
async fn drop_when_full() {
    caught("drop-when-full").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "builds the cluster a second time, with its bugs"]
async fn no_resume() {
    caught("no-resume").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "builds the cluster a second time, with its bugs"]
async fn no_resubscribe() {
    caught("no-resubscribe").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "builds the cluster a second time, with its bugs"]
async fn swallow_on_db_error() {
    caught("swallow-on-db-error").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "builds the cluster a second time, with its bugs"]
async fn commit_before_insert() {
    caught("commit-before-insert").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "builds the cluster a second time, with its bugs"]
async fn keep_position_after_reconnect() {
    caught("keep-position-after-reconnect").await;
}

/// The same plans without a bug: what convicts a bug must acquit the cluster that has none.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "builds the cluster a second time, with its bugs"]
async fn clean_builds_stay_green() {
    let _alone = testbed::alone().await;
    let scenarios: std::collections::BTreeSet<&str> = TABLE.iter().map(|row| row.scenario).collect();
    for scenario in scenarios {
        let out = tempfile::tempdir().unwrap();
        let finished = testbed::judged(plan_of(scenario, None, None), testbed::provider(), out.path()).await;
        assert_eq!(finished.judged.exit(), Exit::Holds, "{scenario}");
    }
}

/// The binaries' own lists of bugs and the table say the same.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "builds the cluster a second time, with its bugs"]
async fn every_bug_has_its_row() {
    let binaries = Binaries::ready(true, &Progress::silent()).await.unwrap();
    for (process, binary) in [(In::Node, ProcessName::Node(1)), (In::Writer, ProcessName::Writer(1))] {
        let binary = binaries.of(binary);
        let help = std::process::Command::new(&binary).arg("--help").output().unwrap();
        let help = String::from_utf8(help.stdout).unwrap();
        let (_, bugs) = help.split_once("--bug").unwrap();
        let listed = TABLE.iter().filter(|row| row.process == process);
        for row in listed.clone() {
            assert!(bugs.contains(row.bug), "{} is not a bug of {}", row.bug, binary.display());
        }
        let offered = bugs
            .lines()
            .skip(1)
            .take_while(|line| !line.trim_start().starts_with("--"))
            .filter_map(|line| line.trim().strip_prefix("- "))
            .filter_map(|line| line.split(':').next());
        for bug in offered {
            assert!(listed.clone().any(|row| row.bug == bug), "{bug} has no row in the table");
        }
    }
}

/// A node that relays what it hears fails with or without faults; the two planned ones have nothing to do with it.
const GUILTLESS_FAULTS: &str = r#"
title = "a bug, and two faults that have nothing to do with it"
[load]
users = 12
rooms = 3
rate_per_s = 40
duration_s = 9
[[fault]]
kind = "redis-client-kill"
at_s = 3
for_s = 1.5
[[fault]]
kind = "process-pause"
process = "writer-1"
at_s = 4
for_s = 2
"#;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "builds the cluster a second time, with its bugs"]
async fn a_violated_run_is_shrunk_to_a_smaller_one_that_fails_the_same_way() {
    let _alone = testbed::alone().await;
    Binaries::ready(true, &Progress::silent()).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let (file, out) = (folder.path().join("guiltless.toml"), folder.path().join("out"));
    fs::write(&file, GUILTLESS_FAULTS).unwrap();
    let squall = |args: &[&str], last: &Path, out: &Path| {
        let mut command = command_line::squall(folder.path());
        let ended = command.args(args).arg(last).args(["--provider", "host", "--out"]).arg(out).output();
        let ended = ended.unwrap();
        let said = String::from_utf8_lossy(&ended.stdout) + String::from_utf8_lossy(&ended.stderr);
        (ended.status.code(), said.into_owned())
    };
    let (code, said) = squall(&["run", "--seed", "5", "--node-bug", "every-node-relays"], &file, &out);
    assert_eq!(code, Some(1), "{said}");
    let run = fs::read_dir(out.join("guiltless")).unwrap().next().unwrap().unwrap().path();

    let small = folder.path().join("small");
    let (code, said) = squall(&["shrink", "--times", "1", "--runs-max", "3"], &run, &small);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("violates exactly-once"), "{said}");
    assert!(said.contains("it failed in 1 of 1 judged runs"), "{said}");
    let smallest = said.lines().find(|line| line.ends_with("plan.json")).unwrap();
    let plan: Plan = serde_json::from_slice(&fs::read(smallest.trim()).unwrap()).unwrap();
    assert!(plan.faults.is_empty(), "{said}");
}
