//! The shipped scenarios that break the services from inside, each to its verdict: nothing is lost, doubled or delivered
//! that should not be.

use harness::{
    environment::{self, Provider, ProviderChoice},
    plan::FaultKind,
};

use crate::ground;

/// Runs a scenario at the load of the tests.
async fn holds(scenario: &str, seed: u64) {
    let _alone = ground::alone().await;
    let out = tempfile::tempdir().unwrap();
    ground::held(scenario, seed, out.path()).await;
}

/// What no table can hold is set aside; its neighbours are stored; nobody is shown it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn poison_is_set_aside_and_harms_nobody() {
    holds("poison-record", 41).await;
}

/// 53300 is the database's fault: writers pause.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_connection_to_be_had_the_writers_wait() {
    holds("postgres-connection-limit", 42).await;
}

/// A subscription that Redis gave up is noticed, and Kafka fills in.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_output_buffer_that_overflows_costs_no_message() {
    holds("redis-output-buffer", 43).await;
}

/// Partitions come and go while the writers are paused, and nothing is written until PostgreSQL is back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rebalance_during_an_outage_neither_writes_nor_forgets() {
    holds("rebalance-while-paused", 44).await;
}

/// A full disk is the database's fault as well, and a writer that is told so waits until there is room. Where the
/// provider cannot make a small file system (on the host, only root may), it must say so before anything starts.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_makes_the_writers_wait() {
    let can = environment::supports(Provider::Host, None, &FaultKind::PostgresDiskFull).is_ok();
    if ground::provider() == ProviderChoice::Host && !can {
        let out = tempfile::tempdir().unwrap();
        let plan = ground::plan("postgres-disk-full", &ground::choices(46), |text| text);
        let refused = ground::run(plan, ProviderChoice::Host, out.path()).await.unwrap_err();
        assert!(refused.to_string().contains("only root"), "{refused}");
        return;
    }
    holds("postgres-disk-full", 46).await;
}

/// Rooms stay where they are when the topic grows.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn added_partitions_move_no_room() {
    holds("kafka-partitions-added", 45).await;
}
