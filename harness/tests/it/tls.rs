//! Managed services as they really are: TLS that is verified, users, passwords. The external provider runs against them.

mod certificates;
mod services;

use std::{fs, path::Path, process::Command, time::Duration};

use harness::{
    environment::{External, ProviderChoice},
    exit::Exit,
    progress::Progress,
    report::terminal::Screen,
    run::{self, Request},
    wait,
};
use tokio_util::sync::CancellationToken;

use self::services::{GUEST, HOST, SECRET, Services, USER};
use crate::{
    command_line::{ended, squall},
    testbed,
};

/// A run's processes are there within this.
const SOON: Duration = Duration::from_secs(60);

/// `squall run smoke` on services of one's own, told of them as people should: by the environment.
fn smoke(state: &Path, at: &External) -> Command {
    let mut command = squall(state);
    let options = at.kafka_options.iter().map(|(key, value)| format!("{key}={value}"));
    command
        .args(["run", "smoke", "--seed", "7", "--provider", "external", "--out"])
        .arg(state.join("out"))
        .env("SQUALL_POSTGRES_URL", &at.postgres_url)
        .env("SQUALL_REDIS_URL", &at.redis_url)
        .env("SQUALL_KAFKA_BROKERS", &at.kafka_brokers)
        .env("SQUALL_KAFKA_OPTIONS", options.collect::<Vec<_>>().join("\n"));
    if let Some(ca) = &at.redis_ca {
        command.env("SQUALL_REDIS_CA", ca);
    }
    command
}

/// The options of Kafka's clients as a file, which goes with the value.
fn options_file(at: &External) -> tempfile::NamedTempFile {
    let file = tempfile::NamedTempFile::new().unwrap();
    let lines = at.kafka_options.iter().map(|(key, value)| format!("{key}={value}\n"));
    fs::write(file.path(), format!("# as people keep them\n{}", lines.collect::<String>())).unwrap();
    file
}

/// Every file below a folder that holds a word.
fn holding(word: &str, folder: &Path) -> Vec<String> {
    let found = Command::new("grep").args(["-rlF", word]).arg(folder).output().unwrap();
    String::from_utf8(found.stdout).unwrap().lines().map(str::to_owned).collect()
}

/// Command lines of all processes, as anybody on the machine can read them.
fn command_lines() -> Vec<String> {
    let processes = fs::read_dir("/proc").unwrap().flatten();
    let lines = processes.filter_map(|process| fs::read(process.path().join("cmdline")).ok());
    lines.map(|line| String::from_utf8_lossy(&line).replace('\0', " ")).collect()
}

/// Each with the authority's file named, host names verified. No password shows anywhere.
#[tokio::test(flavor = "multi_thread")]
async fn a_quiet_run_on_tls_services_holds_and_keeps_their_passwords() {
    let _alone = testbed::alone().await;
    let services = Services::up().await;
    let state = tempfile::tempdir().unwrap();
    // As librdkafka takes it: the first is down, and the second says its protocol.
    let kafka_brokers = format!("{HOST}:1,SASL_SSL://{}", services.kafka_brokers());
    let at = External { kafka_brokers, ..services.external() };
    let mut command = smoke(state.path(), &at);
    let options = options_file(&at);
    command.env_remove("SQUALL_KAFKA_OPTIONS").env("SQUALL_KAFKA_OPTIONS_FILE", options.path());
    let running = tokio::task::spawn_blocking(move || ended(&mut command));
    wait::until("node and writer", SOON, async || {
        if running.is_finished() {
            return Ok(());
        }
        let lines = command_lines();
        let there = |name: &str| lines.iter().any(|line| line.contains(name) && line.contains("--name="));
        if there("chat-node") && there("chat-writer") { Ok(()) } else { Err("not there yet") }
    })
    .await
    .unwrap();
    let shown: Vec<String> =
        command_lines().into_iter().filter(|line| line.contains(SECRET) && line.contains("chat-")).collect();
    assert!(shown.is_empty(), "{shown:?}");
    let (code, said) = running.await.unwrap();
    assert_eq!(code, 0, "{said}");
    assert!(!said.contains(SECRET), "{said}");
    assert_eq!(holding(SECRET, state.path()), Vec::<String>::new());
    assert!(!holding("listening", &state.path().join("out")).is_empty(), "nothing was looked at");
}

/// An error within seconds, by its name, and what to write.
#[tokio::test(flavor = "multi_thread")]
async fn an_authority_that_is_not_trusted_is_an_error_that_names_the_option() {
    let _alone = testbed::alone().await;
    let services = Services::up().await;
    let state = tempfile::tempdir().unwrap();
    let right = services.external();
    let mut kafka_options = Services::kafka_options();
    kafka_options.push(("ssl.ca.location".to_owned(), services.stranger().display().to_string()));
    let wrong = [
        (
            "sslrootcert=FILE",
            External { postgres_url: services.postgres_url(&services.stranger()), ..right.clone() },
        ),
        ("--redis-ca FILE", External { redis_ca: Some(services.stranger()), ..right.clone() }),
        ("ssl.ca.location=FILE", External { kafka_options, ..right.clone() }),
        // The system's authorities have signed none of these.
        ("sslrootcert=FILE", External { postgres_url: services.postgres_url_by_system(), ..right.clone() }),
        ("--redis-ca FILE", External { redis_ca: None, ..right.clone() }),
        ("ssl.ca.location=FILE", External { kafka_options: Services::kafka_options(), ..right.clone() }),
    ];
    for (option, at) in wrong {
        let (code, said) = ended(&mut smoke(state.path(), &at));
        assert_eq!(code, 69, "{said}");
        let said = said.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(said.contains("not trusted") && said.contains(option), "{option}: {said}");
        assert!(!said.contains(SECRET), "{said}");
    }
}

/// A shipped scenario, to its verdict.
async fn held(scenario: &str, services: &Services) {
    let out = tempfile::tempdir().unwrap();
    let request = Request {
        plan: testbed::plan(scenario, &testbed::choices(31)),
        provider: ProviderChoice::External,
        external: Some(services.external()),
        out: out.path().to_owned(),
    };
    let finished = run::run(&request, &Progress::silent(), &CancellationToken::new()).await;
    let finished = finished.unwrap_or_else(|error| panic!("{scenario}: no verdict: {error}"));
    println!("{}", finished.judged.summary(Screen { colour: false, columns: 100 }));
    assert_eq!(finished.judged.exit(), Exit::Holds, "{scenario}");
}

/// Proxies in front of names: `verify-full`, `rediss://`, and Kafka as its broker advertises itself.
#[tokio::test(flavor = "multi_thread")]
async fn faults_strike_links_whose_host_names_are_verified() {
    let _alone = testbed::alone().await;
    let services = Services::up().await;
    for scenario in ["postgres-black-hole", "redis-black-hole", "kafka-reset"] {
        held(scenario, &services).await;
    }
}

/// A library that leads no name anywhere, in the place of the one that does. The authority is one of the system's here, and
/// nobody is told of it.
#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_goes_past_its_proxy_is_found_out() {
    let _alone = testbed::alone().await;
    let services = Services::up().await;
    let state = tempfile::tempdir().unwrap();
    let maps = fs::read_to_string("/proc/self/maps").unwrap();
    let idle = maps.split_whitespace().find(|word| word.ends_with("/libc.so.6")).unwrap();
    let at = services.external();
    let postgres_url = services.postgres_url_by_system();
    let at = External { postgres_url, redis_ca: None, kafka_options: Services::kafka_options(), ..at };
    let mut command = smoke(state.path(), &at);
    command.env("SSL_CERT_FILE", services.ca()).env("SQUALL_LIBNSS_WRAPPER", idle);
    let (code, said) = ended(&mut command);
    assert_eq!(code, 69, "{said}");
    assert!(said.contains("went past its proxies"), "{said}");
}

/// What is missing, and the statement that grants it.
#[tokio::test(flavor = "multi_thread")]
async fn a_right_that_is_missing_is_named() {
    let _alone = testbed::alone().await;
    let services = Services::up().await;
    let state = tempfile::tempdir().unwrap();
    let may = services.external();
    let mut kafka = may.clone();
    for (key, value) in &mut kafka.kafka_options {
        if key == "sasl.username" {
            GUEST.clone_into(value);
        }
    }
    let postgres = External { postgres_url: services.guest_in_postgres().await, ..may.clone() };
    for (at, named) in [
        (postgres, ["may not make a schema", "GRANT CREATE ON DATABASE"]),
        (kafka, ["may not create the topic chat.messages", "kafka-acls --add --allow-principal"]),
    ] {
        let (code, said) = ended(&mut smoke(state.path(), &at));
        assert_eq!(code, 69, "{said}");
        let said = said.split_whitespace().filter(|word| *word != "│").collect::<Vec<_>>().join(" ");
        assert!(named.iter().all(|words| said.contains(words)), "{named:?}: {said}");
    }

    // Redis lets it in and answers PING; only the channel is refused.
    let redis_url = services.redis_url().replace(USER, GUEST);
    let node = Node::start(&External { redis_url, ..may.clone() }, 12);
    node.says_why(&["NOPERM", "ACL SETUSER"]).await;
    drop(node);
    // The topic is there by now, as the first node has made it.
    let node = Node::start(&External { postgres_url: services.postgres_url_by_system(), ..may }, 24);
    node.says_why(&["has 12 partitions", "told of 24", "sslrootcert=FILE"]).await;
}

/// A topic has as many replicas as the cluster has set for new ones, unless a node is told how many.
#[tokio::test(flavor = "multi_thread")]
async fn the_cluster_says_how_many_replicas_a_topic_has() {
    let _alone = testbed::alone().await;
    // One more than it has brokers, which shows without a second one.
    let services = Services::up_with("default.replication.factor=2\n").await;
    let node = Node::start(&services.external(), 12);
    node.says_why(&["cannot create the topic", "InvalidReplicationFactor", "--replicas"]).await;
    let told = Node::start_with(&services.external(), 12, &["--replicas=1"]);
    told.is_ready().await;
}

/// A node by itself.
struct Node {
    _child: testbed::Killed,
    listen: std::net::SocketAddr,
    _options: tempfile::NamedTempFile,
}

impl Node {
    fn start(at: &External, partitions: u32) -> Self {
        Self::start_with(at, partitions, &[])
    }

    fn start_with(at: &External, partitions: u32, flags: &[&str]) -> Self {
        let [port] = testbed::free_ports();
        let listen = std::net::SocketAddr::from(([127, 0, 0, 1], port));
        let options = options_file(at);
        let child = Command::new(Path::new(env!("CARGO_BIN_EXE_squall")).with_file_name("chat-node"))
            .args([format!("--listen={listen}"), format!("--partitions={partitions}")])
            .arg(format!("--kafka-brokers={}", at.kafka_brokers))
            .args(flags)
            .env("CHAT_NODE_KAFKA_OPTIONS_FILE", options.path())
            .env("CHAT_NODE_POSTGRES_URL", &at.postgres_url)
            .env("CHAT_NODE_REDIS_URL", &at.redis_url)
            .env("CHAT_NODE_REDIS_CA", at.redis_ca.as_ref().unwrap())
            .stdout(std::process::Stdio::null())
            .spawn()
            .unwrap();
        Self { _child: testbed::Killed(child), listen, _options: options }
    }

    /// Not ready, within seconds, and with the reason.
    async fn says_why(&self, words: &[&str]) {
        self.says(503, words).await;
    }

    async fn is_ready(&self) {
        self.says(200, &[]).await;
    }

    async fn says(&self, code: u16, words: &[&str]) {
        let url = format!("http://{}/readyz", self.listen);
        wait::until("the answer", SOON / 4, async || {
            let answer = reqwest::get(&url).await.map_err(|error| error.to_string())?;
            let (status, body) = (answer.status(), answer.text().await.unwrap_or_default());
            let said = status == code && words.iter().all(|word| body.contains(word));
            if said { Ok(()) } else { Err(format!("{status}: {body}")) }
        })
        .await
        .unwrap();
    }
}
