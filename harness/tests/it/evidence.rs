//! Every fault of the catalogue: its probe sees nothing where nothing was injected, sees it when it was, and sees it gone
//! after healing.

use harness::{
    environment::{self, Provider, ProviderChoice},
    faults::{self, SystemUnderTest},
    plan::{FaultKind, LinkName, PlannedFault, ProcessName, Service, Toxic, fault::Direction},
    wait,
};

use crate::testbed;

/// For something that is there, or goes away by itself. Generous: a test machine may be busy.
const SOON: std::time::Duration = std::time::Duration::from_secs(30);

fn link(process: ProcessName, service: Service) -> Vec<LinkName> {
    vec![LinkName { process, service }]
}

fn toxic(service: Service, toxic: Toxic, direction: Direction) -> FaultKind {
    FaultKind::LinkToxic { links: link(ProcessName::Node(1), service), toxic, direction, ramp_ms: 0 }
}

/// Every link to a service at once.
fn toxic_on_all(service: Service, toxic: Toxic, direction: Direction) -> FaultKind {
    let mut links = link(ProcessName::Node(1), service);
    if service != Service::Redis {
        links.extend(link(ProcessName::Writer(1), service));
    }
    FaultKind::LinkToxic { links, toxic, direction, ramp_ms: 0 }
}

/// What only a transfer or a close shows: every toxic, on every service, in every direction; and on all links at once.
fn transfer_toxics() -> Vec<FaultKind> {
    let toxics = [
        Toxic::Bandwidth { kbytes_per_s: 20 },
        Toxic::Bandwidth { kbytes_per_s: 200 },
        Toxic::Slicer { average_bytes: 64, variation_bytes: 16, delay_us: 2_000 },
        Toxic::LimitData { bytes: 8_192 },
        Toxic::SlowClose { delay_ms: 500 },
    ];
    let mut all = Vec::new();
    for service in Service::ALL {
        for what in &toxics {
            for direction in [Direction::Upstream, Direction::Downstream] {
                all.push(toxic(service, what.clone(), direction));
            }
            all.push(toxic_on_all(service, what.clone(), Direction::Both));
        }
    }
    all
}

fn growing(service: Service, toxic: Toxic, direction: Direction) -> FaultKind {
    FaultKind::LinkToxic { links: link(ProcessName::Node(1), service), toxic, direction, ramp_ms: 1_500 }
}

fn both() -> Vec<ProcessName> {
    vec![ProcessName::Node(1), ProcessName::Writer(1)]
}

/// Processes whose clocks a plan sets are started with clocks of their own.
fn skew() -> FaultKind {
    FaultKind::ProcessClockSkew { processes: both(), offset_s: 900 }
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
        toxic(Service::Postgres, Toxic::Reset { after_ms: 1_000 }, Upstream),
        growing(Service::Postgres, Toxic::Latency { latency_ms: 300, jitter_ms: 50 }, Both),
        growing(Service::Kafka, Toxic::Bandwidth { kbytes_per_s: 50 }, Upstream),
        FaultKind::RedisClientKill,
        FaultKind::LinkHalfClose { links: link(ProcessName::Node(1), Service::Redis) },
        FaultKind::LinkHalfClose { links: link(ProcessName::Node(1), Service::Kafka) },
        FaultKind::LinkHalfClose { links: link(ProcessName::Writer(1), Service::Postgres) },
        FaultKind::RedisOutputBuffer { links: link(ProcessName::Node(1), Service::Redis) },
        FaultKind::PostgresReadOnly,
        FaultKind::PostgresLock,
        FaultKind::PostgresTerminate,
        FaultKind::PostgresConnectionLimit,
        FaultKind::KafkaPoison,
        FaultKind::KafkaRebalance,
        FaultKind::KafkaPartitionsAdded { partitions: 3 },
        FaultKind::ProcessPause { processes: node() },
        FaultKind::ProcessTerminate { processes: node() },
        FaultKind::ProcessKill { processes: vec![ProcessName::Writer(1)] },
        skew(),
        FaultKind::ProcessClockSkew { processes: both(), offset_s: -86_400 },
        FaultKind::RollingRestart { processes: both(), gap_ms: 500 },
    ];
    if loses_packets() {
        let loss = |service, direction, loss_percent| FaultKind::LinkLoss {
            links: link(ProcessName::Node(1), service),
            direction,
            loss_percent,
        };
        all.push(loss(Service::Redis, Both, 10));
        all.push(loss(Service::Postgres, Upstream, 20));
        all.push(loss(Service::Kafka, Downstream, 5));
    }
    if fills_disk() {
        all.push(FaultKind::PostgresDiskFull);
    }
    for service in Service::ALL {
        all.push(FaultKind::ServicePause { service });
        all.push(FaultKind::ServiceStop { service });
        all.push(FaultKind::ServiceKill { service });
    }
    all
}

/// Needs root, and a kernel that knows nftables.
fn loses_packets() -> bool {
    let loss = FaultKind::LinkLoss { links: Vec::new(), direction: Direction::Both, loss_percent: 10 };
    environment::supports(Provider::Host, None, &loss).is_ok()
}

/// Needs root on the host; and in a container the catalogue stops PostgreSQL, which would lose the disk.
fn fills_disk() -> bool {
    testbed::provider() == ProviderChoice::Host
        && environment::supports(Provider::Host, None, &FaultKind::PostgresDiskFull).is_ok()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_fault_is_seen_when_it_is_there_and_not_when_it_is_not() {
    on_a_cluster("evidence", 31, async |sut, wrong| {
        // Blows are judged by the age of what they leave behind, and the cluster is young: with nothing done to it, the
        // evidence goes away.
        for blow in [FaultKind::RedisClientKill, FaultKind::PostgresTerminate] {
            let gone = wait::until("no evidence", SOON, async || match faults::prove(&blow, sut).await {
                Ok(seen) => Err(seen),
                Err(_) => Ok(()),
            });
            if let Err(error) = gone.await {
                wrong.push(format!("{blow}: seen without injection: {}", error.last));
            }
        }
        for kind in catalogue() {
            there_and_not_there(&kind, sut, wrong).await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn transfers_and_closes_show_every_toxic_on_every_service_in_every_direction() {
    on_a_cluster("bulk", 32, async |sut, wrong| {
        for kind in transfer_toxics() {
            there_and_not_there(&kind, sut, wrong).await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn faults_that_overlap_on_a_link_do_not_hide_or_end_each_other() {
    Box::pin(on_a_cluster("overlaps", 33, overlaps)).await;
}

/// A fault on several targets of which one cannot be hurt is not begun on any.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fault_that_cannot_be_begun_everywhere_is_begun_nowhere() {
    on_a_cluster("whole", 34, async |sut, wrong| {
        let processes = || vec![ProcessName::Writer(1), ProcessName::Node(1), ProcessName::Node(9)];
        let links = || {
            let link = |process| LinkName { process, service: Service::Redis };
            vec![link(ProcessName::Node(1)), link(ProcessName::Node(9))]
        };
        let latency = Toxic::Latency { latency_ms: 300, jitter_ms: 0 };
        for kind in [
            FaultKind::LinkDown { links: links() },
            FaultKind::LinkToxic { links: links(), toxic: latency, direction: Direction::Both, ramp_ms: 0 },
            FaultKind::ProcessPause { processes: processes() },
            FaultKind::ProcessKill { processes: processes() },
            FaultKind::ProcessTerminate { processes: processes() },
        ] {
            match faults::inject(&kind, sut).await {
                Ok(_) => wrong.push(format!("{kind}: begun, on a process that is not there")),
                Err(error) => println!("{kind}: {error}"),
            }
            for process in [ProcessName::Writer(1), ProcessName::Node(1)] {
                if let Err(seen) =
                    wait::until("well", SOON, async || sut.cluster.observe_alive(process).await).await
                {
                    wrong.push(format!("{kind}: {process} was left hurt: {}", seen.last));
                }
            }
            let redis = links().remove(0);
            if let Err(seen) = sut.environment.probe_link(redis, SOON).await {
                wrong.push(format!("{kind}: {redis} was left hurt: {seen}"));
            }
        }
    })
    .await;
}

/// One fault: not seen, injected, seen, healed.
async fn there_and_not_there(kind: &FaultKind, sut: &SystemUnderTest, wrong: &mut Vec<String>) {
    let name = match kind {
        FaultKind::LinkToxic { direction, .. } => format!("{kind} ({direction:?})"),
        _ => kind.to_string(),
    };
    let blow = matches!(kind, FaultKind::RedisClientKill | FaultKind::PostgresTerminate);
    // A session may be young because of the fault before this one; blows were looked for at the start.
    // What is there is seen each time; a stall of the machine may look like a slow link once.
    if !blow
        && faults::prove(kind, sut).await.is_ok()
        && let Ok(seen) = faults::prove(kind, sut).await
    {
        wrong.push(format!("{name}: seen without injection: {seen}"));
    }
    let mut active = match faults::inject(kind, sut).await {
        Ok(active) => active,
        Err(error) => return wrong.push(format!("{name}: not injected: {error}")),
    };
    active.grown().await;
    let seen = wait::until("evidence", SOON, async || active.prove(sut).await);
    match seen.await {
        Ok(seen) => println!("{name}: {seen}"),
        Err(error) => wrong.push(format!("{name}: not seen: {}", error.last)),
    }
    if matches!(kind, FaultKind::RollingRestart { .. }) {
        active.over().await;
    }
    match active.heal(sut).await {
        Ok(healed) => println!("  healed: {healed}"),
        Err(error) => wrong.push(format!("{name}: not healed: {error}")),
    }
}

/// One node and one writer, on real services, for as long as a test looks at them.
async fn on_a_cluster(name: &str, seed: u64, look: impl AsyncFnOnce(&SystemUnderTest, &mut Vec<String>)) {
    let _alone = testbed::alone().await;
    let out = tempfile::tempdir().unwrap();
    let mut plan = testbed::quiet(seed, 1);
    // What a cluster must be made ready for is known from its plan.
    let prepared = [Some(skew()), fills_disk().then_some(FaultKind::PostgresDiskFull)].into_iter().flatten();
    plan.faults = prepared.map(|fault| PlannedFault { at_ms: 0, for_ms: 1_000, fault }).collect();
    let deployment = testbed::Deployment::up(name, &plan, out.path()).await;
    let mut wrong = Vec::new();
    look(&deployment.sut, &mut wrong).await;
    deployment.down().await;
    if !wrong.is_empty() {
        for process in plan.processes() {
            let log = out.path().join(format!("logs/{process}.log"));
            println!("{}:\n{}", log.display(), std::fs::read_to_string(&log).unwrap_or_default());
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// Faults that overlap on one link: each is seen beside the other, and the end of one leaves the other in force.
async fn overlaps(sut: &SystemUnderTest, wrong: &mut Vec<String>) {
    let latency = |latency_ms| {
        toxic(Service::Kafka, Toxic::Latency { latency_ms, jitter_ms: 0 }, Direction::Downstream)
    };
    let slow = toxic(Service::Kafka, Toxic::Bandwidth { kbytes_per_s: 30 }, Direction::Downstream);
    let hole = toxic(Service::Kafka, Toxic::BlackHole, Direction::Upstream);
    let down = FaultKind::LinkDown { links: link(ProcessName::Node(1), Service::Kafka) };
    // Two of one kind, two kinds, and a link that another fault takes down: what ends first, and what is left.
    for (first, second) in [
        (latency(200), latency(300)),
        (latency(300), latency(300)),
        (latency(200), slow.clone()),
        (slow, latency(200)),
        (hole.clone(), latency(200)),
        (latency(200), down.clone()),
        (down, latency(200)),
    ] {
        let name = format!("{first}, ended under {second}");
        // At the same moment: they must not take each other's name at the proxy.
        let (one, other) = tokio::join!(faults::inject(&first, sut), faults::inject(&second, sut));
        let (one, other) = match (one, other) {
            (Ok(one), Ok(other)) => (one, other),
            (one, other) => {
                wrong.push(format!("{name}: {:?} {:?}", one.err(), other.err()));
                continue;
            }
        };
        if let Err(error) = one.heal(sut).await {
            wrong.push(format!("{name}: the first is not healed: {error}"));
        }
        let left = wait::until("evidence", SOON, async || faults::prove(&second, sut).await);
        if let Err(error) = left.await {
            wrong.push(format!("{name}: the second is not seen any more: {}", error.last));
        }
        if let Err(error) = other.heal(sut).await {
            wrong.push(format!("{name}: the second is not healed: {error}"));
        }
    }
    // Flapping: the same fault again and again, each time by the same name.
    let flapping = latency(200);
    for turn in 0..5 {
        match faults::inject(&flapping, sut).await {
            Ok(active) => {
                if let Err(error) = active.heal(sut).await {
                    wrong.push(format!("{flapping}, time {turn}: not healed: {error}"));
                }
            }
            Err(error) => wrong.push(format!("{flapping}, time {turn}: not injected: {error}")),
        }
    }
}
