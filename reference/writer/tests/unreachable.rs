//! The real binary with nothing to connect to: what it says, serves and does when told to stop.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "the helpers are part of the tests")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

/// A port of this machine where nobody listens: bound once, and given back.
fn closed_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn writer(arguments: &[String]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_chat-writer"));
    // Made quiet for people; the contract is spoken all the same.
    command
        .args(arguments)
        .env_clear()
        .env("RUST_LOG", "error")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

fn nowhere() -> Vec<String> {
    vec![
        "--name=writer-t".to_owned(),
        format!("--kafka-brokers=127.0.0.1:{}", closed_port()),
        format!("--postgres-url=postgres://chat@127.0.0.1:{}/chat", closed_port()),
        "--drain-ms=2000".to_owned(),
    ]
}

/// A running writer, killed if a test fails.
struct Running {
    child: Child,
    lines: Receiver<serde_json::Value>,
}

impl Running {
    fn start(arguments: &[String]) -> Self {
        let mut child = writer(arguments).spawn().unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            for line in stdout.lines().map_while(Result::ok) {
                let line = serde_json::from_str(&line).expect("every line on stdout is JSON");
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        Self { child, lines }
    }

    /// The next event of this name, within the deadline.
    fn event(&self, name: &str) -> serde_json::Value {
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let line = self.lines.recv_timeout(left).unwrap_or_else(|_| panic!("no event {name}"));
            if line["event"] == name {
                assert_eq!(line["process"], "writer-t");
                return line;
            }
        }
    }

    fn terminate(&self) {
        let sent = Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status().unwrap();
        assert!(sent.success());
    }

    /// The exit code, within the limit.
    fn exit(&mut self, within: Duration) -> i32 {
        let deadline = Instant::now() + within;
        // Its stdout closes when it ends: that is the wake-up, and the clock the limit.
        while self.lines.recv_timeout(deadline.saturating_duration_since(Instant::now())).is_ok() {}
        assert!(Instant::now() < deadline, "still running after {within:?}");
        self.child.wait().unwrap().code().expect("ended by itself")
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn get(addr: &str, path: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(addr).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: writer\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let code = answer.split(' ').nth(1).unwrap().parse().unwrap();
    let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body).to_owned();
    (code, body)
}

/// Starts with neither Kafka nor PostgreSQL, and asks for each page.
#[test]
fn it_starts_paused_and_names_what_is_missing() {
    let mut running = Running::start(&nowhere());
    let addr = running.event("listening")["addr"].as_str().unwrap().to_owned();

    assert_eq!(get(&addr, "/healthz").0, 200);
    let (code, body) = get(&addr, "/readyz");
    assert_eq!(code, 503);
    let body: serde_json::Value = serde_json::from_str(&body).unwrap();
    assert_eq!(body, serde_json::json!({ "ready": false, "missing": ["kafka", "postgres"] }));

    assert!(running.event("writer_paused")["error"].as_str().unwrap().contains("probing"));
    assert_eq!(running.event("writer_probed")["ok"], false);
    assert_eq!(running.event("writer_probed")["attempt"], 2);
    assert_eq!(running.event("writer_probed")["attempt"], 3);
    // More than two seconds in: the watcher of Kafka has gone round as well.
    assert_eq!(running.event("writer_probed")["attempt"], 4);
    let (code, metrics) = get(&addr, "/metrics");
    assert_eq!(code, 200);
    assert!(metrics.contains("chat_writer_paused 1"), "{metrics}");
    assert!(metrics.contains("chat_writer_rows_total 0"), "{metrics}");

    running.terminate();
    running.event("draining");
    running.event("stopped");
    assert_eq!(running.exit(Duration::from_secs(5)), 0);
}

/// SIGTERM right after `listening`: the drain is bounded by `--drain-ms`, whatever librdkafka is waiting for.
#[test]
fn sigterm_ends_it_in_time_though_kafka_is_away() {
    let mut running = Running::start(&nowhere());
    running.event("listening");
    let told = Instant::now();
    running.terminate();
    assert_eq!(running.exit(Duration::from_secs(20)), 0);
    assert!(told.elapsed() < Duration::from_millis(2_000 + 5_000), "{:?}", told.elapsed());
}

/// What no waiting can cure ends the process with 64, at once and with a word on what is wrong.
#[test]
fn a_wrong_configuration_exits_with_64() {
    let cases: [(&[&str], &str); 6] = [
        (&["--no-such-flag"], "no-such-flag"),
        (&[], "postgres-url"),
        (&["--postgres-url=postgres://x/y", "--batch-max-records=0"], "at least 1"),
        (&["--postgres-url=postgres://x/y", "--kafka-option=no.such.option=1"], "no.such.option"),
        // A consumer would take it; dead letters would never be sent.
        (&["--postgres-url=postgres://x/y", "--kafka-option=acks=1"], "acks"),
        (&["--postgres-url=postgres://x/y", "--bug=swallow-on-db-error"], "--bug"),
    ];
    for (arguments, word) in cases {
        if cfg!(feature = "planted-bugs") && word == "--bug" {
            continue;
        }
        let arguments: Vec<String> = arguments.iter().map(ToString::to_string).collect();
        let output = writer(&arguments).output().unwrap();
        assert_eq!(output.status.code(), Some(64), "{arguments:?}");
        let said = [output.stdout, output.stderr].concat();
        assert!(
            String::from_utf8_lossy(&said).contains(word),
            "{arguments:?}: {}",
            String::from_utf8_lossy(&said)
        );
    }
}

/// By its flag and by its variable: the error names both, what is wrong, and what is right.
#[test]
fn what_is_wrong_with_a_secret_is_said_without_it() {
    for (flag, variable, value, right) in [
        (
            "--postgres-url",
            "CHAT_WRITER_POSTGRES_URL",
            "postgres://u:p#hush@h/d",
            "what is special in a password by its code",
        ),
        ("--kafka-option", "CHAT_WRITER_KAFKA_OPTIONS", "sasl.password:hush", "KEY=VALUE"),
        ("--kafka-option", "CHAT_WRITER_KAFKA_OPTIONS", "sasl.passwd=hush", "no setting `sasl.passwd`"),
    ] {
        for by_flag in [true, false] {
            let given = if by_flag { vec![format!("{flag}={value}")] } else { Vec::new() };
            let mut command = writer(&given);
            if !by_flag {
                command.env(variable, value);
            }
            let output = command.output().unwrap();
            assert_eq!(output.status.code(), Some(64), "{flag}");
            let said = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
            for word in [flag, variable, right] {
                assert!(said.contains(word), "{word}: {said}");
            }
            assert!(!said.contains("hush"), "{said}");
        }
    }
}
