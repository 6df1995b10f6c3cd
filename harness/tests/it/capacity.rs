//! Trials of a capacity search, on real services. The search itself is pure, and tested beside its code.

use harness::{
    capacity::{Dimension, Objectives, Outcome, trial::Miss},
    clock::Clock,
    progress::Progress,
    run::{Request, capacity::CapacityBench, folder::RunFolder},
};
use tokio_util::sync::CancellationToken;

use crate::{command_line, testbed};

/// More than the quickest machine misses under no load to speak of; less than the fault adds. Not about speed.
const OBJECTIVES: Objectives = Objectives { ack_p99_ms: 2_000, receipt_p99_ms: 2_000 };
/// What the fault of the test adds to every ack.
const SLOWER_MS: u64 = 3_000;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn trials_leave_the_cluster_as_it_was_and_a_fault_in_force_shows() {
    let _alone = testbed::alone().await;
    let (out, cancel, progress) =
        (tempfile::tempdir().unwrap(), CancellationToken::new(), Progress::silent());
    let slow = testbed::plan("slow-kafka", &testbed::choices(71));
    let text = serde_json::to_string(&slow).unwrap();
    assert!(text.contains("\"latency_ms\":100"), "{text}");
    let text = text.replace("\"latency_ms\":100", &format!("\"latency_ms\":{SLOWER_MS}"));
    let slow: harness::plan::Plan = serde_json::from_str(&text).unwrap();
    let healthy = harness::plan::Plan { faults: Vec::new(), ..slow.clone() };

    let clock = Clock::start();
    let folder = RunFolder::create(out.path(), &slow, clock.zero_unix_ms()).unwrap();
    let request = Request {
        plan: slow.clone(),
        provider: testbed::provider(),
        external: None,
        out: out.path().to_owned(),
    };
    let bench = CapacityBench::up(&request, &folder, clock, 1, &progress, &cancel).await.unwrap();
    // Ids and users are the same in both: what is left of the first would refuse or double the second.
    for (nth, rate_per_s) in [(1, 40), (2, 80)] {
        let plan = Dimension::Rate.set(&healthy, rate_per_s);
        let trial = bench.trial(nth, plan, (rate_per_s, 2_000), &cancel).await.unwrap();
        assert_eq!(trial.outcome(OBJECTIVES), Outcome::Met, "{trial:?}");
        assert!(trial.due > u64::from(rate_per_s) && trial.sent == trial.due, "{trial:?}");
        assert!(trial.receipts > trial.due && trial.busy > 0.0 && trial.busy <= 1.0, "{trial:?}");
    }
    let trial = bench.trial(3, Dimension::Rate.set(&slow, 40), (40, 6_000), &cancel).await.unwrap();
    let outcome = trial.outcome(OBJECTIVES);
    assert!(
        matches!(&outcome, Outcome::Missed(misses) if misses.iter().any(|it| matches!(it, Miss::Ack(us) if *us > SLOWER_MS * 900))),
        "{outcome}: {trial:?}"
    );
    bench.down(&progress).await.unwrap();
    // Histories are large: none stays.
    let left = std::fs::read_dir(folder.logs().join("search-1")).unwrap();
    let left: Vec<_> = left.map(|it| it.unwrap().file_name().into_string().unwrap()).collect();
    assert!(!left.iter().any(|name| name.starts_with("trial-")), "{left:?}");
}

#[test]
fn a_capacity_with_two_faults_at_once_is_refused_before_anything_starts() {
    let state = tempfile::tempdir().unwrap();
    let (code, said) = command_line::ended(command_line::squall(state.path()).args([
        "capacity",
        "long/ten-minute-storm",
        "--seed",
        "1",
    ]));
    assert_eq!(code, 64, "{said}");
    assert!(said.contains("faults; a capacity is that of a healthy cluster"), "{said}");
}
