//! The topology `relay`: it works while nothing breaks, and what it loses under a fault shows beside a `durable-first`
//! that loses nothing.

use harness::{
    checkers::{Tier, Verdict},
    exit::Exit,
    history::{Event, EventKind, HistoryFile, Lifecycle, Phase},
    plan::Topology,
    report::contrast::{Contrast, JSON, PAGE},
    scenario::Choices,
};

use crate::{command_line::squall, testbed};

/// Nothing breaks: every acked message is in both ledgers and with every member, though no ack says where; and at any
/// time at most one node relayed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn relay_holds_while_nothing_breaks() {
    let _alone = testbed::alone().await;
    let out = tempfile::tempdir().unwrap();
    let choices = Choices { topology: Some(Topology::Relay), ..testbed::choices(41) };
    let plan = testbed::plan("smoke", &choices);
    let finished = testbed::judged(plan, testbed::provider(), out.path()).await;
    assert_eq!(finished.judged.exit(), Exit::Holds);

    let events = HistoryFile::open(&finished.folder.history()).unwrap().map(Result::unwrap);
    let (mut relays, mut began, mut unplaced) = (0_i32, 0, 0);
    for Event { what, .. } in events {
        match what {
            // What follows is the end of the run: all are told to stop, and their last words come in any order.
            EventKind::Phase(Phase::Read) => break,
            EventKind::Lifecycle { event: Lifecycle::RelayStarted, .. } => {
                (relays, began) = (relays + 1, began + 1)
            }
            EventKind::Lifecycle { event: Lifecycle::RelayEnded { .. }, .. } => relays -= 1,
            EventKind::AckedUnplaced { .. } => unplaced += 1,
            EventKind::Acked { .. } | EventKind::Joined { .. } | EventKind::Received { .. } => {
                panic!("a position: {what:?}")
            }
            _ => {}
        }
        assert!((0..=1).contains(&relays), "{relays} nodes relay");
    }
    assert!(began >= 1 && unplaced > 100, "{began} {unplaced}");
}

/// Redis closes every subscription again and again: what is published in between is acked, and heard by nobody.
const SUBSCRIPTIONS_KILLED: &str = r#"
title = "subscriptions killed again and again"
[load]
users = 24
rooms = 6
rooms_per_user = 2
rate_per_s = 60
duration_s = 14
lateness_p99_max_ms = 500
[[fault]]
kind = "redis-client-kill"
at_s = 4
for_s = 5
"#;

#[test]
fn contrast_shows_what_relay_loses_and_durable_first_does_not() {
    let _alone = testbed::alone_blocking();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("killed.toml");
    std::fs::write(&file, SUBSCRIPTIONS_KILLED).unwrap();
    let output = squall(&folder.path().join("state"))
        .args(["contrast", "--provider", "host", "--seed", "42", "--out"])
        .arg(folder.path().join("out"))
        .arg(&file)
        .output()
        .unwrap();
    let said =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    // The exit code is that of durable-first; that relay loses messages is said, and is no failure.
    assert_eq!(output.status.code(), Some(0), "{said}");
    assert!(said.contains("relay lost") && said.contains("durable-first lost none"), "{said}");

    let runs: Vec<_> =
        std::fs::read_dir(folder.path().join("out/killed")).unwrap().map(Result::unwrap).collect();
    assert_eq!(runs.len(), 2, "{said}");
    for run in &runs {
        assert!(run.path().join(PAGE).is_file() && run.path().join("report.html").is_file());
    }
    let contrast: Contrast =
        serde_json::from_str(&std::fs::read_to_string(runs[0].path().join(JSON)).unwrap()).unwrap();
    assert_eq!(contrast.durable_first.verdict, Verdict::Holds, "{said}");
    assert!(!contrast.durable_first.loses(), "{said}");
    let relay = &contrast.relay;
    assert_eq!(relay.verdict, Verdict::Violated, "{said}");
    assert!(relay.acked_not_in_kafka > 0 && relay.acked_without_row > 0 && relay.missed > 0, "{said}");
    assert!(relay.lost_by_tier.iter().any(|lost| lost.tier == Tier::Relay && lost.count > 0), "{said}");
    assert!(!relay.lost_messages.is_empty(), "{said}");
}
