//! The process from outside, with every dependency out of reach.
#![expect(clippy::unwrap_used, reason = "a test says no by panicking, and its helpers too")]

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    process::{Child, Command, Stdio},
    sync::mpsc::{Receiver, channel},
    time::{Duration, Instant},
};

/// Longest wait for anything here; a busy machine needs a part of it.
const PATIENCE: Duration = Duration::from_secs(20);

/// A node whose services do not exist: nothing listens on port 1.
struct Node {
    child: Child,
    lines: Receiver<serde_json::Value>,
}

impl Node {
    fn start(flags: &[&str]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_chat-node"))
            .args([
                "--name",
                "test-node",
                "--redis-url",
                "redis://127.0.0.1:1",
                "--kafka-brokers",
                "127.0.0.1:1",
            ])
            .args(["--drain-ms", "2000"])
            .args(flags)
            // Made quiet for people; the contract is spoken all the same.
            .env("RUST_LOG", "off")
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            for line in stdout.lines().map_while(Result::ok) {
                let line = serde_json::from_str(&line).unwrap_or_else(|_| panic!("not JSON: {line}"));
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        Self { child, lines }
    }

    /// Reads the log until an event.
    fn event(&self, name: &str) -> serde_json::Value {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let line = self.lines.recv_timeout(left).unwrap_or_else(|_| panic!("no event {name}"));
            if line["event"] == name {
                return line;
            }
        }
    }

    fn signal(&self, name: &str) {
        let status = Command::new("kill").args([name, &self.child.id().to_string()]).status().unwrap();
        assert!(status.success());
    }

    fn exit_code(&mut self) -> Option<i32> {
        // The log ends with the process, and its reader then hangs up.
        let deadline = Instant::now() + PATIENCE;
        while let Ok(_line) = self.lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {}
        assert!(Instant::now() < deadline, "the node does not end");
        self.child.wait().unwrap().code()
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Status line and body of a GET.
fn get(addr: &str, path: &str) -> (String, String) {
    let mut stream = TcpStream::connect(addr).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {addr}\r\nConnection: close\r\n\r\n").unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    (head.lines().next().unwrap().to_owned(), body.to_owned())
}

#[test]
fn without_its_dependencies_a_node_lives_says_what_it_misses_and_ends_when_told() {
    let mut node = Node::start(&[]);
    let listening = node.event("listening");
    assert_eq!(listening["process"], "test-node");
    let addr = listening["addr"].as_str().unwrap().to_owned();

    assert_eq!(get(&addr, "/healthz"), ("HTTP/1.1 200 OK".to_owned(), "ok\n".to_owned()));
    let (status, body) = get(&addr, "/readyz");
    assert_eq!(status, "HTTP/1.1 503 Service Unavailable");
    let body: serde_json::Value = serde_json::from_str(&body).unwrap();
    assert_eq!(body["missing"], serde_json::json!(["kafka", "redis"]));
    assert_eq!(body["degraded"], serde_json::json!(["postgres"]));
    assert!(get(&addr, "/metrics").0.ends_with("200 OK"));
    // For the page, which is served whatever is missing.
    let (status, body) = get(&addr, "/about");
    assert_eq!(status, "HTTP/1.1 200 OK");
    let body: serde_json::Value = serde_json::from_str(&body).unwrap();
    assert_eq!(body["node"], "test-node");
    assert_eq!(body["topology"], "durable-first");
    assert_eq!(body["missing"], serde_json::json!(["kafka", "redis"]));
    for path in ["/", "/app.js", "/app.css", "/favicon.svg"] {
        assert!(get(&addr, path).0.ends_with("200 OK"), "{path}");
    }
    // Engine.IO answers on the same port.
    assert!(get(&addr, "/socket.io/?EIO=4&transport=polling").1.contains("\"upgrades\":[\"websocket\"]"));

    let told = Instant::now();
    node.signal("-TERM");
    node.event("draining");
    node.event("stopped");
    assert_eq!(node.exit_code(), Some(0));
    assert!(told.elapsed() < Duration::from_secs(10), "took {:?}", told.elapsed());
}

/// Without Redis a node of the topology `relay` can neither take a message nor know whether anybody relays it.
#[test]
fn a_node_that_relays_says_that_it_misses_redis_and_still_ends_when_told() {
    let mut node = Node::start(&["--topology", "relay"]);
    let addr = node.event("listening")["addr"].as_str().unwrap().to_owned();
    let (status, body) = get(&addr, "/readyz");
    assert_eq!(status, "HTTP/1.1 503 Service Unavailable");
    let body: serde_json::Value = serde_json::from_str(&body).unwrap();
    assert_eq!(body["missing"], serde_json::json!(["kafka", "redis", "relay"]));
    node.signal("-TERM");
    node.event("stopped");
    assert_eq!(node.exit_code(), Some(0));
}

#[test]
fn a_wrong_flag_is_a_usage_error_with_a_message() {
    let output =
        Command::new(env!("CARGO_BIN_EXE_chat-node")).args(["--kafka-option", "acks"]).output().unwrap();
    assert_eq!(output.status.code(), Some(64));
    let message = String::from_utf8(output.stderr).unwrap();
    assert!(message.contains("--kafka-option") && message.contains("KEY=VALUE"), "{message}");

    let output =
        Command::new(env!("CARGO_BIN_EXE_chat-node")).args(["--topology", "realy"]).output().unwrap();
    assert_eq!(output.status.code(), Some(64));
    let message = String::from_utf8(output.stderr).unwrap();
    assert!(message.contains("durable-first and relay"), "{message}");

    let output = Command::new(env!("CARGO_BIN_EXE_chat-node"))
        .args(["--kafka-option", "no.such.setting=1"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(64));
    let line = String::from_utf8(output.stderr).unwrap();
    assert!(line.contains("no.such.setting"), "{line}");
}

/// By its flag and by its variable: the error names both, what is wrong, and what is right.
#[test]
fn what_is_wrong_with_a_secret_is_said_without_it() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("kafka.properties");
    std::fs::write(&file, "# ours\nsasl.username=app\nsasl.passwd=hush\n").unwrap();
    let file = file.display().to_string();
    let address = "what is special in a password by its code";
    for (flag, variable, value, right) in [
        ("--postgres-url", "CHAT_NODE_POSTGRES_URL", "postgres://u:p#hush@h/d", address),
        ("--redis-url", "CHAT_NODE_REDIS_URL", "redis://u:p#hush@h", address),
        ("--kafka-option", "CHAT_NODE_KAFKA_OPTIONS", "sasl.password:hush", "KEY=VALUE"),
        ("--kafka-option", "CHAT_NODE_KAFKA_OPTIONS", "sasl.passwd=hush", "no setting `sasl.passwd`"),
        (
            "--kafka-option",
            "CHAT_NODE_KAFKA_OPTIONS",
            "security.protocol=SSL,sasl.password=hush",
            "each setting by itself",
        ),
        ("--kafka-options-file", "CHAT_NODE_KAFKA_OPTIONS_FILE", &file, "line 3: librdkafka has no setting"),
        ("--token-key", "CHAT_NODE_TOKEN_KEYS", "hush", "32 bytes"),
    ] {
        for by_flag in [true, false] {
            let mut command = Command::new(env!("CARGO_BIN_EXE_chat-node"));
            if by_flag {
                command.args([flag, value])
            } else {
                command.env(variable, value)
            };
            let output = command.output().unwrap();
            assert_eq!(output.status.code(), Some(64), "{flag}");
            let said = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
            assert!(said.contains(flag) && said.contains(right), "{flag} {right}: {said}");
            assert!(flag.ends_with("-file") || said.contains(variable), "{variable}: {said}");
            assert!(!said.contains("hush"), "{said}");
        }
    }
}

#[test]
fn a_file_of_authorities_without_one_is_said_to_hold_none() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("empty.pem");
    std::fs::write(&file, "").unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_chat-node"))
        .args(["--redis-url", "rediss://127.0.0.1:1", "--redis-ca"])
        .arg(&file)
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(64));
    let line = String::from_utf8(output.stdout).unwrap();
    assert!(line.contains("empty.pem: it holds no certificate"), "{line}");
}
