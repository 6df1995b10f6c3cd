//! Whole runs: real services, real processes, a verdict. Each is the shipped scenario, shortened.

use harness::{
    checkers::Verdict,
    exit::Exit,
    plan::{FaultKind, LinkName, ProcessName, Service},
};

use crate::ground;

/// Shortens the database outage to what still shows pause and resume.
fn short_outage(text: String) -> String {
    text.replace("duration_s = 40", "duration_s = 20")
        .replace("at_s = 10", "at_s = 5")
        .replace("for_s = 15", "for_s = 7")
        .replace("min_acked_during_faults = 1000", "min_acked_during_faults = 500")
}

fn shorter(text: String) -> String {
    text.replace("duration_s = 30", "duration_s = 18")
        .replace("at_s = 8", "at_s = 4")
        .replace("for_s = 8", "for_s = 5")
        .replace("for_s = 10", "for_s = 6")
        .replace("min_acked_during_faults = 700", "min_acked_during_faults = 300")
        .replace("min_acked_during_faults = 500", "min_acked_during_faults = 200")
}

/// A database outage on every provider: acks go on, the writers pause and resume, the three ledgers agree.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_outage_loses_nothing_on_any_provider() {
    let _alone = ground::alone().await;
    for provider in ground::providers() {
        let out = tempfile::tempdir().unwrap();
        let finished = ground::judged(
            ground::plan("postgres-outage", &ground::choices(1), short_outage),
            provider,
            out.path(),
        )
        .await;
        assert_eq!(finished.judged.exit(), Exit::Holds, "{provider}");
        let path = finished.folder.path();
        for file in
            ["plan.json", "history", "facts.json", "result.json", "report.html", "report.md", "junit.xml"]
        {
            assert!(path.join(file).metadata().is_ok_and(|file| file.len() > 0), "{file}");
        }
    }
}

/// Redis away: live delivery goes on from Kafka, nothing is lost or doubled.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_outage_costs_latency_and_no_message() {
    let _alone = ground::alone().await;
    let out = tempfile::tempdir().unwrap();
    let finished = ground::judged(
        ground::plan("redis-outage", &ground::choices(2), shorter),
        ground::provider(),
        out.path(),
    )
    .await;
    assert_eq!(finished.judged.exit(), Exit::Holds);
}

/// A node killed: its users resume elsewhere and miss nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_node_loses_no_acked_message() {
    let _alone = ground::alone().await;
    let out = tempfile::tempdir().unwrap();
    let finished = ground::judged(
        ground::plan("node-kill", &ground::choices(3), shorter),
        ground::provider(),
        out.path(),
    )
    .await;
    assert_eq!(finished.judged.exit(), Exit::Holds);
}

/// Kafka away: nothing is acked that is not in the log.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kafka_outage_makes_no_false_promise() {
    let _alone = ground::alone().await;
    let out = tempfile::tempdir().unwrap();
    let change = |text: String| shorter(text).replace("duration_s = 40", "duration_s = 25");
    let finished = ground::judged(
        ground::plan("kafka-outage", &ground::choices(4), change),
        ground::provider(),
        out.path(),
    )
    .await;
    assert_eq!(finished.judged.exit(), Exit::Holds);
}

/// A fault that cannot be injected (there is no such proxy) makes the run unknown, never green.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fault_that_cannot_be_injected_makes_the_run_unknown() {
    let _alone = ground::alone().await;
    let out = tempfile::tempdir().unwrap();
    let mut plan = ground::plan("postgres-outage", &ground::choices(5), short_outage);
    plan.load.duration_ms = 8_000;
    plan.faults[0].at_ms = 2_000;
    plan.faults[0].for_ms = 2_000;
    plan.faults[0].fault = FaultKind::LinkDown {
        links: vec![LinkName { process: ProcessName::Node(9), service: Service::Redis }],
    };
    let finished = ground::judged(plan, ground::provider(), out.path()).await;
    assert_eq!(finished.judged.exit(), Exit::Unknown);
}

/// Equal seeds give equal plans; a judged run judged again gives the same verdict.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_can_be_judged_again_from_its_folder() {
    let _alone = ground::alone().await;
    let out = tempfile::tempdir().unwrap();
    let finished = ground::judged(
        ground::plan("smoke", &ground::choices(6), |text| text),
        ground::provider(),
        out.path(),
    )
    .await;
    assert_eq!(finished.judged.exit(), Exit::Holds);
    let again = harness::run::judge::judge(&finished.folder).unwrap();
    assert_eq!(again.exit(), Exit::Holds);
    assert!(again.judgement().findings.iter().any(|finding| finding.verdict == Verdict::Holds));
    // Cut short, as by a SIGKILL of the harness, the same history says less, and says so.
    let history = std::fs::read(finished.folder.history()).unwrap();
    std::fs::write(finished.folder.history(), &history[..history.len() / 2]).unwrap();
    let cut = harness::run::judge::judge(&finished.folder).unwrap();
    assert_eq!(cut.exit(), Exit::Unknown);
}
