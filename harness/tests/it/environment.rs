//! The environment, for real: services start, faults bite and heal, and nothing is left behind.
//!
//! `SQUALL_TEST_PROVIDERS=host,docker` says which providers must be tested. Without it the host provider is, and docker
//! where an engine answers.

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use harness::{
    environment::{
        Environment, EnvironmentError, EnvironmentSpec, External, Provider, ProviderChoice, doctor, sweep,
    },
    os::process::Identity,
    plan::{
        LinkName, ProcessName, Service, Toxic,
        fault::Direction::{Both, Downstream},
    },
    progress::Progress,
    wait,
};
use rdkafka::{
    ClientConfig, Message,
    admin::{AdminClient, AdminOptions, NewTopic, TopicReplication},
    consumer::{Consumer, StreamConsumer},
    producer::{FutureProducer, FutureRecord},
};

const PROCESSES: [ProcessName; 3] = [ProcessName::Node(1), ProcessName::Node(2), ProcessName::Writer(1)];

/// For something that works. Generous: a test machine may be busy.
const SOON: Duration = Duration::from_secs(10);

/// For something that must not answer; long enough that a slow answer is not taken for none.
const BRIEFLY: Duration = Duration::from_millis(700);

fn required(provider: &str) -> bool {
    std::env::var("SQUALL_TEST_PROVIDERS").is_ok_and(|named| named.split(',').any(|name| name == provider))
}

/// Whether to test a provider at all; says so when not.
async fn wanted(choice: ProviderChoice) -> bool {
    let named = std::env::var("SQUALL_TEST_PROVIDERS").is_ok();
    let wanted = match choice {
        ProviderChoice::Docker => {
            required("docker") || (!named && choice.resolve(&Progress::silent()).await.is_ok())
        }
        _ => !named || required("host"),
    };
    if !wanted {
        eprintln!(
            "skipped: the {choice} provider (SQUALL_TEST_PROVIDERS does not name it, or no engine answers)"
        );
    }
    wanted
}

fn run_id(name: &str) -> String {
    format!("squall-test-{name}-{}", std::process::id())
}

fn link(text: &str) -> LinkName {
    text.parse().unwrap()
}

async fn up(choice: ProviderChoice, run_id: &str, logs: &Path) -> Environment {
    let spec = EnvironmentSpec {
        run_id,
        processes: &PROCESSES,
        choice,
        external: None,
        logs_dir: logs,
        small_disk: false,
    };
    let began = Instant::now();
    let environment = match Environment::up(spec, &Progress::silent()).await {
        Ok(environment) => environment,
        Err(error) => panic!("{error}\nhelp: {}", error.help()),
    };
    eprintln!("{choice}: up in {} ms; {:?}", began.elapsed().as_millis(), environment.facts());
    environment
}

#[tokio::test(flavor = "multi_thread")]
async fn the_host_provider_keeps_its_contract() {
    let _alone = crate::testbed::alone().await;
    if wanted(ProviderChoice::Host).await {
        Box::pin(keeps_its_contract(ProviderChoice::Host, "host")).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_docker_provider_keeps_its_contract() {
    let _alone = crate::testbed::alone().await;
    if wanted(ProviderChoice::Docker).await {
        Box::pin(keeps_its_contract(ProviderChoice::Docker, "docker")).await;
    }
}

/// One environment, everything that is asked of one; starting it costs more than asking.
async fn keeps_its_contract(choice: ProviderChoice, name: &str) {
    let logs = tempfile::tempdir().unwrap();
    let run_id = run_id(name);
    let environment = up(choice, &run_id, logs.path()).await;
    for service in Service::ALL {
        environment.probe(service, SOON).await.unwrap();
        for process in PROCESSES {
            // After a thaw Kafka may answer once from what it knew before, and then take its broker back.
            let link = LinkName { process, service };
            wait::until(&format!("{link} answers"), SOON, async || environment.probe_link(link, SOON).await)
                .await
                .unwrap();
        }
    }
    Box::pin(clients_work_through_proxies(&environment)).await;
    toxics_bite(&environment).await;
    Box::pin(services_come_and_go(&environment)).await;
    Box::pin(clients_work_through_proxies(&environment)).await;

    let owned = owned(&environment, &run_id);
    let began = Instant::now();
    environment.down().await.unwrap();
    eprintln!("{choice}: down in {} ms", began.elapsed().as_millis());
    owned.assert_gone().await;
    for log in ["postgres.log", "redis.log", "kafka.log", "toxiproxy.log"] {
        assert!(logs.path().join(log).metadata().unwrap().len() > 0, "{log} is empty");
    }
}

async fn clients_work_through_proxies(environment: &Environment) {
    let node = environment.endpoints(ProcessName::Node(1));
    let writer = environment.endpoints(ProcessName::Writer(1));
    let mut connection =
        <sqlx::PgConnection as sqlx::Connection>::connect(&writer.postgres_url).await.unwrap();
    let row: (i32, String) = sqlx::query_as("select 1, current_setting('application_name')")
        .fetch_one(&mut connection)
        .await
        .unwrap();
    assert_eq!(row, (1, "writer-1".to_owned()));

    // Produced by one process, consumed by another, each over the address it was told.
    let topic = format!("t{}", std::time::UNIX_EPOCH.elapsed().unwrap().as_nanos());
    let config = |brokers: &str| {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", brokers).set("broker.address.family", "v4").set("log_level", "2");
        config
    };
    let admin: AdminClient<_> = config(&environment.verifier().kafka_brokers).create().unwrap();
    let new = [NewTopic::new(&topic, 1, TopicReplication::Fixed(1))];
    for made in admin.create_topics(&new, &AdminOptions::new().operation_timeout(Some(SOON))).await.unwrap() {
        made.unwrap();
    }
    let producer: FutureProducer = config(&node.kafka_brokers).set("acks", "all").create().unwrap();
    producer.send(FutureRecord::to(&topic).key("k").payload("hello"), SOON).await.unwrap();
    let consumer: StreamConsumer = config(&writer.kafka_brokers)
        .set("group.id", &topic)
        .set("auto.offset.reset", "earliest")
        .create()
        .unwrap();
    consumer.subscribe(&[&topic]).unwrap();
    let message = tokio::time::timeout(SOON, consumer.recv()).await.unwrap().unwrap();
    assert_eq!(message.payload(), Some("hello".as_bytes()));
    // The broker told each client its own proxy.
    let metadata = producer_metadata(&producer).await;
    assert_eq!(metadata, node.kafka_brokers);
}

async fn producer_metadata(producer: &FutureProducer) -> String {
    let producer = producer.clone();
    let ask = move || {
        use rdkafka::producer::Producer;
        let metadata = producer.client().fetch_metadata(None, SOON).unwrap();
        let broker = &metadata.brokers()[0];
        format!("{}:{}", broker.host(), broker.port())
    };
    tokio::task::spawn_blocking(ask).await.unwrap()
}

/// A link without a toxic answers at once, if not each time: the machine may stall. One with a toxic never does.
async fn quick(environment: &Environment, link: LinkName) {
    wait::until(&format!("{link} quick"), SOON, async || {
        let took = environment.probe_link(link, SOON).await?;
        if took < Duration::from_millis(200) { Ok(()) } else { Err(format!("{took:?}")) }
    })
    .await
    .unwrap();
}

async fn toxics_bite(environment: &Environment) {
    let proxies = environment.proxies();
    for service in Service::ALL {
        let slow = LinkName { process: ProcessName::Node(1), service };
        let other = LinkName { process: ProcessName::Node(2), service };

        let latency = Toxic::Latency { latency_ms: 200, jitter_ms: 0 };
        let [applied] = proxies.add(slow, &latency, Downstream).await.unwrap().try_into().unwrap();
        let round_trip = environment.probe_link(slow, SOON).await.unwrap();
        assert!(round_trip >= Duration::from_millis(200), "{slow}: {round_trip:?}");
        quick(environment, other).await;
        // A second of the same kind, as overlapping faults make: both are in force.
        let [second] = proxies.add(slow, &latency, Downstream).await.unwrap().try_into().unwrap();
        let round_trip = environment.probe_link(slow, SOON).await.unwrap();
        assert!(round_trip >= Duration::from_millis(400), "{slow}: {round_trip:?}");
        proxies.remove(&second).await.unwrap();
        proxies.remove(&applied).await.unwrap();
        quick(environment, slow).await;

        let hole = proxies.add(slow, &Toxic::BlackHole, Both).await.unwrap();
        assert_eq!(hole.len(), 2);
        let silence = environment.probe_link(slow, BRIEFLY).await.unwrap_err();
        assert!(silence.contains("did not answer"), "{silence}");
        for toxic in &hole {
            proxies.remove(toxic).await.unwrap();
        }
        environment.probe_link(slow, SOON).await.unwrap();

        let reset = proxies.add(slow, &Toxic::Reset { after_ms: 0 }, Downstream).await.unwrap();
        environment.probe_link(slow, SOON).await.unwrap_err();
        for toxic in &reset {
            proxies.remove(toxic).await.unwrap();
        }

        proxies.disable(slow).await.unwrap();
        environment.probe_link(slow, SOON).await.unwrap_err();
        environment.probe(service, SOON).await.unwrap();
        proxies.enable(slow).await.unwrap();
        environment.probe_link(slow, SOON).await.unwrap();
    }
    // What Toxiproxy takes from us and does not carry out is an error. A negative jitter cannot be said; a link that
    // does not exist can.
    let error = proxies.disable(link("node-9->redis")).await.unwrap_err();
    assert!(error.to_string().contains("node-9->redis"), "{error}");
    // Everything at once is undone by a reset.
    let many = [
        Toxic::Bandwidth { kbytes_per_s: 9 },
        Toxic::LimitData { bytes: 1 },
        Toxic::SlowClose { delay_ms: 9 },
    ];
    for toxic in &many {
        let _applied = proxies.add(link("node-1->redis"), toxic, Both).await.unwrap();
    }
    let slicer = Toxic::Slicer { average_bytes: 64, variation_bytes: 32, delay_us: 10 };
    let _applied = proxies.add(link("node-1->redis"), &slicer, Both).await.unwrap();
    assert_eq!(proxies.state(link("node-1->redis")).await.unwrap().toxics.len(), 8);
    proxies.disable(link("node-2->redis")).await.unwrap();
    proxies.reset().await.unwrap();
    for link in proxies.links() {
        let state = proxies.state(link).await.unwrap();
        assert!(state.enabled && state.toxics.is_empty(), "{link}: {state:?}");
    }
}

async fn services_come_and_go(environment: &Environment) {
    let direct = environment.verifier();
    for service in Service::ALL {
        environment.stop(service).await.unwrap();
        environment.probe(service, SOON).await.unwrap_err();
        Box::pin(timed(&format!("{service} started again after a stop"), environment.start(service))).await;
        environment.probe(service, SOON).await.unwrap();

        environment.kill(service).await.unwrap();
        environment.probe(service, SOON).await.unwrap_err();
        Box::pin(timed(&format!("{service} started again after a kill"), environment.start(service))).await;
        environment.probe(service, SOON).await.unwrap();

        environment.pause(service).await.unwrap();
        let silence = environment.probe(service, BRIEFLY).await.unwrap_err();
        assert!(silence.contains("did not answer"), "{silence}");
        environment.unpause(service).await.unwrap();
        // Kafka's controller may have to take its own broker back first.
        wait::until(&format!("{service} thawed"), SOON, async || environment.probe(service, SOON).await)
            .await
            .unwrap();
        for process in PROCESSES {
            environment.probe_link(LinkName { process, service }, SOON).await.unwrap();
        }
    }
    assert_eq!(environment.verifier(), direct, "addresses survive restarts");
}

async fn timed(what: &str, act: impl Future<Output = Result<(), EnvironmentError>>) {
    let began = Instant::now();
    Box::pin(act).await.unwrap();
    eprintln!("  {what}: {} ms", began.elapsed().as_millis());
}

/// What must be gone afterwards.
struct Owned {
    provider: Provider,
    run_id: String,
    processes: Vec<Identity>,
    registration: PathBuf,
}

fn owned(environment: &Environment, run_id: &str) -> Owned {
    let own = Identity::own();
    let processes =
        if environment.provider() == Provider::Host { children_of_run(run_id) } else { Vec::new() };
    if environment.provider() == Provider::Host {
        assert!(processes.len() >= 4, "{processes:?} of {own:?}");
    }
    Owned {
        provider: environment.provider(),
        run_id: run_id.to_owned(),
        processes,
        registration: registration(run_id),
    }
}

fn registration(run_id: &str) -> PathBuf {
    let state = std::env::var_os("XDG_STATE_HOME").map(PathBuf::from);
    let state =
        state.unwrap_or_else(|| PathBuf::from(std::env::var_os("HOME").unwrap()).join(".local/state"));
    state.join("squall/runs").join(format!("{run_id}.json"))
}

/// The processes that a run has registered, and everything they started.
fn children_of_run(run_id: &str) -> Vec<Identity> {
    let text = std::fs::read_to_string(registration(run_id)).unwrap();
    let json: serde_json::Value = serde_json::from_str(&text).unwrap();
    let children = json["children"].as_array().unwrap();
    let named =
        children.iter().map(|child| serde_json::from_value::<Identity>(child["process"].clone()).unwrap());
    named.flat_map(Identity::tree).collect()
}

fn folders_of_run(run_id: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(std::env::temp_dir()).unwrap().map(|entry| entry.unwrap().path());
    entries.filter(|path| path.to_string_lossy().contains(run_id)).collect()
}

impl Owned {
    /// What was killed a moment ago may still be on its way out.
    async fn assert_gone(&self) {
        wait::until("everything gone", SOON, async || self.left()).await.unwrap();
    }

    fn left(&self) -> Result<(), String> {
        if let Some(process) = self.processes.iter().find(|process| process.is_alive()) {
            return Err(format!("{process:?} lives on"));
        }
        if let Some(folder) = folders_of_run(&self.run_id).first() {
            return Err(format!("{} is left", folder.display()));
        }
        if self.registration.exists() {
            return Err(format!("{} is left", self.registration.display()));
        }
        match self.provider {
            Provider::Docker => {
                Some(docker_ls(&self.run_id)).filter(|left| !left.is_empty()).map_or(Ok(()), Err)
            }
            _ => Ok(()),
        }
    }
}

/// Containers and networks of a run.
fn docker_ls(run_id: &str) -> String {
    let filter = format!("label=squall.run={run_id}");
    let ask = |args: &[&str]| {
        let answer =
            Command::new("docker").args(args).args(["--filter", &filter, "--quiet"]).output().unwrap();
        String::from_utf8(answer.stdout).unwrap()
    };
    ask(&["ps", "--all"]) + &ask(&["network", "ls"])
}

/// The services of one environment, taken for somebody else's by another.
#[tokio::test(flavor = "multi_thread")]
async fn the_external_provider_keeps_its_contract() {
    let _alone = crate::testbed::alone().await;
    if !wanted(ProviderChoice::Host).await {
        return;
    }
    let logs = tempfile::tempdir().unwrap();
    let (landlord_id, run_id) = (run_id("landlord"), run_id("external"));
    let landlord = up(ProviderChoice::Host, &landlord_id, &logs.path().join("landlord")).await;
    let at = landlord.verifier();
    let external = External {
        postgres_url: at.postgres_url,
        redis_url: at.redis_url,
        redis_ca: None,
        kafka_brokers: at.kafka_brokers.clone(),
        kafka_options: vec![("security.protocol".to_owned(), "plaintext".to_owned())],
    };
    let spec = |external| EnvironmentSpec {
        run_id: &run_id,
        processes: &PROCESSES,
        choice: ProviderChoice::External,
        external,
        logs_dir: logs.path(),
        small_disk: false,
    };
    let error = Box::pin(Environment::up(spec(None), &Progress::silent())).await.unwrap_err();
    assert!(error.help().contains("--postgres-url"), "{error}");
    let tenant = Box::pin(Environment::up(spec(Some(external)), &Progress::silent())).await.unwrap();
    for service in Service::ALL {
        tenant.probe(service, SOON).await.unwrap();
        let error = tenant.stop(service).await.unwrap_err();
        assert!(error.to_string().contains(service.name()), "{error}");
    }
    assert_eq!(tenant.endpoints(ProcessName::Node(1)).kafka_brokers, at.kafka_brokers);
    tenant.proxies().disable(link("node-1->kafka")).await.unwrap_err();
    for link in [link("node-1->redis"), link("node-1->postgres")] {
        tenant.probe_link(link, SOON).await.unwrap();
        tenant.proxies().disable(link).await.unwrap();
        tenant.probe_link(link, SOON).await.unwrap_err();
    }
    let owned = Owned {
        provider: tenant.provider(),
        run_id: run_id.clone(),
        processes: children_of_run(&run_id),
        registration: registration(&run_id),
    };
    tenant.down().await.unwrap();
    owned.assert_gone().await;
    landlord.probe(Service::Postgres, SOON).await.unwrap();
    landlord.down().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn toxiproxy_s_silence_is_an_error() {
    let _alone = crate::testbed::alone().await;
    if !wanted(ProviderChoice::Host).await {
        return;
    }
    let logs = tempfile::tempdir().unwrap();
    let run_id = run_id("silence");
    let environment = up(ProviderChoice::Host, &run_id, logs.path()).await;
    let text = std::fs::read_to_string(registration(&run_id)).unwrap();
    let json: serde_json::Value = serde_json::from_str(&text).unwrap();
    let toxiproxy =
        json["children"].as_array().unwrap().iter().find(|child| child["name"] == "toxiproxy").unwrap();
    let toxiproxy: Identity = serde_json::from_value(toxiproxy["process"].clone()).unwrap();

    // Frozen: the answer does not come, and we do not wait for ever.
    toxiproxy.signal(nix::sys::signal::Signal::SIGSTOP).unwrap();
    let redis = link("node-1->redis");
    let error = environment.proxies().disable(redis).await.unwrap_err();
    assert!(error.to_string().contains("no answer"), "{error}");
    let latency = Toxic::Latency { latency_ms: 1, jitter_ms: 0 };
    environment.proxies().add(redis, &latency, Both).await.unwrap_err();
    // Dead: the client's panic is an error, too.
    toxiproxy.signal(nix::sys::signal::Signal::SIGKILL).unwrap();
    wait::until("toxiproxy dead", SOON, async || if toxiproxy.is_alive() { Err("alive") } else { Ok(()) })
        .await
        .unwrap();
    wait::until("toxiproxy refusing", SOON * 4, async || {
        match environment.proxies().add(redis, &latency, Both).await {
            Ok(_) => Err("it was applied".to_owned()),
            Err(error) if error.to_string().contains("nobody listens") => Ok(()),
            Err(error) => Err(error.to_string()),
        }
    })
    .await
    .unwrap();
    let owned = owned_without_toxiproxy(&environment, &run_id);
    environment.down().await.unwrap();
    owned.assert_gone().await;
}

fn owned_without_toxiproxy(environment: &Environment, run_id: &str) -> Owned {
    Owned {
        provider: environment.provider(),
        run_id: run_id.to_owned(),
        processes: children_of_run(run_id),
        registration: registration(run_id),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_that_is_cancelled_leaves_nothing() {
    let _alone = crate::testbed::alone().await;
    for (choice, name) in [(ProviderChoice::Host, "cancel-host"), (ProviderChoice::Docker, "cancel-docker")] {
        if !wanted(choice).await {
            continue;
        }
        let logs = tempfile::tempdir().unwrap();
        let run_id = run_id(name);
        let provider = choice.resolve(&Progress::silent()).await.unwrap();
        let spec = EnvironmentSpec {
            run_id: &run_id,
            processes: &PROCESSES,
            choice,
            external: None,
            logs_dir: logs.path(),
            small_disk: false,
        };
        // As a Ctrl-C does: the future is dropped at the moment that Redis has been started.
        let started = wait::until("a first service", SOON, async || {
            let begun = match provider {
                Provider::Host => logs.path().join("redis.log").exists(),
                _ => docker_ls(&run_id).lines().count() > 2,
            };
            if begun { Ok(children_of_run(&run_id)) } else { Err("nothing yet") }
        });
        let progress = Progress::silent();
        let processes = tokio::select! {
            environment = Environment::up(spec, &progress) => panic!("up in no time: {environment:?}"),
            processes = started => processes.unwrap(),
        };
        let owned =
            Owned { provider, run_id: run_id.clone(), processes, registration: registration(&run_id) };
        // The registration goes with the last process.
        wait::until("everything gone", SOON, async || {
            if registration(&run_id).exists() { Err("it is registered") } else { Ok(()) }
        })
        .await
        .unwrap();
        owned.assert_gone().await;
    }
}

/// Not a test: the harness that the next test kills.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "started by a_killed_harness_is_swept_up_after"]
async fn be_a_harness() {
    let (Ok(run_id), Ok(logs)) = (std::env::var("SQUALL_TEST_RUN"), std::env::var("SQUALL_TEST_LOGS")) else {
        return;
    };
    let choice: ProviderChoice = std::env::var("SQUALL_TEST_CHOICE").unwrap().parse().unwrap();
    let _environment = up(choice, &run_id, Path::new(&logs)).await;
    std::fs::write(Path::new(&logs).join("up"), "").unwrap();
    std::future::pending::<()>().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_harness_is_swept_up_after() {
    let _alone = crate::testbed::alone().await;
    for (choice, name) in [(ProviderChoice::Host, "swept-host"), (ProviderChoice::Docker, "swept-docker")] {
        if !wanted(choice).await {
            continue;
        }
        let logs = tempfile::tempdir().unwrap();
        let run_id = run_id(name);
        // Killed with this test, should it fail.
        let mut harness = tokio::process::Command::new(std::env::current_exe().unwrap())
            .kill_on_drop(true)
            .args(["environment::be_a_harness", "--exact", "--ignored", "--nocapture"])
            .env("SQUALL_TEST_RUN", &run_id)
            .env("SQUALL_TEST_LOGS", logs.path())
            .env("SQUALL_TEST_CHOICE", choice.to_string())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        wait::until("the other harness up", SOON * 6, async || {
            if logs.path().join("up").exists() { Ok(()) } else { Err("not yet") }
        })
        .await
        .unwrap();
        let processes = children_of_run(&run_id);
        // Alive, it is left alone.
        sweep(&Progress::silent()).await;
        assert!(registration(&run_id).exists());
        assert!(processes.iter().all(|process| process.is_alive()));

        harness.kill().await.unwrap();
        sweep(&Progress::silent()).await;
        let provider = choice.resolve(&Progress::silent()).await.unwrap();
        Owned { provider, run_id: run_id.clone(), processes, registration: registration(&run_id) }
            .assert_gone()
            .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_doctor_names_what_to_do() {
    let _alone = crate::testbed::alone().await;
    for check in doctor().await {
        eprintln!("{} {}: {}", if check.ok { "ok  " } else { "MISS" }, check.name, check.detail);
        assert!(!check.how_to_get.is_empty(), "{check:?}");
    }
}
