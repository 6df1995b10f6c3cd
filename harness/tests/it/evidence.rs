//! Every fault of the catalogue: its probe sees nothing where nothing was injected, sees it when it was, and sees it gone
//! after healing.

use std::sync::Arc;

use harness::{
    clock::Clock,
    cluster::{Binaries, Cluster, ClusterSpec, Names},
    environment::{Environment, EnvironmentSpec},
    faults::{self, Field, evidence},
    history::HistoryWriter,
    plan::{FaultKind, LinkName, ProcessName, Service, Toxic, fault::Direction},
    progress::Progress,
    verifier, wait,
};

use crate::ground;

fn link(process: ProcessName, service: Service) -> Vec<LinkName> {
    vec![LinkName { process, service }]
}

fn toxic(service: Service, toxic: Toxic, direction: Direction) -> FaultKind {
    FaultKind::LinkToxic { links: link(ProcessName::Node(1), service), toxic, direction }
}

fn catalogue() -> Vec<FaultKind> {
    use Direction::{Both, Downstream, Upstream};
    let node = || vec![ProcessName::Node(1)];
    let mut all = vec![
        FaultKind::LinkDown { links: link(ProcessName::Node(1), Service::Redis) },
        toxic(Service::Redis, Toxic::Latency { latency_ms: 300, jitter_ms: 50 }, Downstream),
        toxic(Service::Postgres, Toxic::Latency { latency_ms: 300, jitter_ms: 0 }, Upstream),
        toxic(Service::Kafka, Toxic::Latency { latency_ms: 200, jitter_ms: 0 }, Both),
        toxic(Service::Redis, Toxic::BlackHole, Downstream),
        toxic(Service::Postgres, Toxic::BlackHole, Upstream),
        toxic(Service::Kafka, Toxic::BlackHole, Both),
        toxic(Service::Redis, Toxic::Reset { after_ms: 0 }, Downstream),
        toxic(Service::Postgres, Toxic::Bandwidth { kbytes_per_s: 20 }, Downstream),
        toxic(Service::Redis, Toxic::LimitData { bytes: 4_096 }, Downstream),
        toxic(Service::Redis, Toxic::SlowClose { delay_ms: 1_000 }, Downstream),
        FaultKind::RedisClientKill,
        FaultKind::PostgresReadOnly,
        FaultKind::PostgresLock,
        FaultKind::PostgresTerminate,
        FaultKind::ProcessPause { processes: node() },
        FaultKind::ProcessTerminate { processes: node() },
        FaultKind::ProcessKill { processes: vec![ProcessName::Writer(1)] },
    ];
    for service in Service::ALL {
        all.push(FaultKind::ServicePause { service });
        all.push(FaultKind::ServiceStop { service });
        all.push(FaultKind::ServiceKill { service });
    }
    all
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_fault_is_seen_when_it_is_there_and_not_when_it_is_not() {
    let _alone = ground::alone().await;
    let out = tempfile::tempdir().unwrap();
    let mut plan = ground::plan("smoke", &ground::choices(31), |text| text);
    (plan.cluster.nodes, plan.cluster.writers) = (1, 1);
    let (recorder, history) = HistoryWriter::create(&out.path().join("history"), Clock::start()).unwrap();
    let binaries = Binaries::ready(false, &Progress::silent()).await.unwrap();
    let processes = plan.processes();
    let logs = out.path().join("logs");
    let spec = EnvironmentSpec {
        run_id: "evidence",
        processes: &processes,
        choice: ground::provider(),
        external: None,
        logs_dir: &logs,
    };
    let environment = Arc::new(Environment::up(spec, &Progress::silent()).await.unwrap());
    let names = Names::new("evidence", false);
    verifier::create_topics(&environment.verifier(), &names, plan.cluster.partitions).await.unwrap();
    let spec = ClusterSpec { plan: &plan, binaries: &binaries, logs, names };
    let cluster = Arc::new(Cluster::up(&spec, &environment, &recorder).await.unwrap());
    let field = Field { environment: Arc::clone(&environment), cluster: Arc::clone(&cluster) };

    // Blows are judged by the age of what they leave behind, so nothing may be young before the first one.
    wait::pause(std::time::Duration::from_secs(4)).await;
    let mut wrong = Vec::new();
    for blow in [FaultKind::RedisClientKill, FaultKind::PostgresTerminate] {
        if let Ok(seen) = evidence::prove(&blow, &field).await {
            wrong.push(format!("{}: seen without injection: {seen}", blow));
        }
    }
    for kind in catalogue() {
        let name = kind.to_string();
        let blow = matches!(kind, FaultKind::RedisClientKill | FaultKind::PostgresTerminate);
        // A session may be young because of the fault before this one; blows were looked for above.
        if !blow && let Ok(seen) = evidence::prove(&kind, &field).await {
            wrong.push(format!("{name}: seen without injection: {seen}"));
        }
        let active = match faults::inject(&kind, &field).await {
            Ok(active) => active,
            Err(error) => {
                wrong.push(format!("{name}: not injected: {error}"));
                continue;
            }
        };
        let seen = wait::until("evidence", std::time::Duration::from_secs(5), async || {
            evidence::prove(&kind, &field).await
        });
        if let Err(error) = seen.await {
            wrong.push(format!("{name}: not seen: {}", error.last));
        }
        if let Err(error) = active.heal(&field).await {
            wrong.push(format!("{name}: not healed: {error}"));
        }
    }

    cluster.down().await;
    drop((field, cluster, recorder));
    Arc::try_unwrap(environment).unwrap().down().await.unwrap();
    history.finish().unwrap();
    assert!(wrong.is_empty(), "{wrong:#?}");
}
