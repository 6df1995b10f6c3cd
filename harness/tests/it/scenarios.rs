//! Whole runs: real services, real processes, a verdict. That every shipped scenario holds is not repeated here: CI runs
//! them all (`squall run --all --brief`).

use harness::{
    checkers::Verdict,
    environment::{self, Provider, ProviderChoice},
    exit::Exit,
    plan::{FaultKind, LinkName, ProcessName, Service},
};

use crate::testbed;

/// A database outage on every provider: acks go on, the writers pause and resume, the three ledgers agree.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_outage_loses_nothing_on_any_provider() {
    let _alone = testbed::alone().await;
    for provider in testbed::providers() {
        let out = tempfile::tempdir().unwrap();
        let plan = testbed::plan("postgres-outage", &testbed::choices(1));
        let finished = testbed::judged(plan, provider, out.path()).await;
        assert_eq!(finished.judged.exit(), Exit::Holds, "{provider}");
        let path = finished.folder.path();
        for file in
            ["plan.json", "history", "facts.json", "result.json", "report.html", "report.md", "junit.xml"]
        {
            assert!(path.join(file).metadata().is_ok_and(|file| file.len() > 0), "{file}");
        }
    }
}

/// A fault that cannot be injected (there is no such proxy) makes the run unknown, never green.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fault_that_cannot_be_injected_makes_the_run_unknown() {
    let _alone = testbed::alone().await;
    let out = tempfile::tempdir().unwrap();
    let mut plan = testbed::plan("postgres-outage", &testbed::choices(5));
    plan.load.duration_ms = 8_000;
    plan.faults[0].at_ms = 2_000;
    plan.faults[0].for_ms = 2_000;
    plan.faults[0].fault = FaultKind::LinkDown {
        links: vec![LinkName { process: ProcessName::Node(9), service: Service::Redis }],
    };
    let finished = testbed::judged(plan, testbed::provider(), out.path()).await;
    assert_eq!(finished.judged.exit(), Exit::Unknown);
}

/// Equal seeds give equal plans; a judged run judged again gives the same verdict.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_can_be_judged_again_from_its_folder() {
    let _alone = testbed::alone().await;
    let out = tempfile::tempdir().unwrap();
    let plan = testbed::plan("smoke", &testbed::choices(6));
    let finished = testbed::judged(plan, testbed::provider(), out.path()).await;
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

/// A full disk needs a small file system, and on the host only root may make one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_is_refused_where_no_small_file_system_can_be_made() {
    if environment::supports(Provider::Host, None, &FaultKind::PostgresDiskFull).is_ok() {
        println!("this user may make one: the scenario postgres-disk-full is part of the catalogue");
        return;
    }
    let out = tempfile::tempdir().unwrap();
    let plan = testbed::plan("postgres-disk-full", &testbed::choices(46));
    let refused = testbed::run(plan, ProviderChoice::Host, out.path()).await.unwrap_err();
    assert!(refused.to_string().contains("only root"), "{refused}");
}
