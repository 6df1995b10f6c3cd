//! The command line as a person or a CI job meets it: exit codes, messages, and nothing left behind.

use std::{
    io::{BufRead, BufReader},
    path::Path,
    process::{Child, Command, Output, Stdio},
    time::Duration,
};

use harness::{checkers::Verdict, wait};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use crate::testbed;

pub(crate) fn squall(state: &Path) -> Command {
    let binary = Path::new(env!("CARGO_BIN_EXE_squall"));
    let mut command = Command::new(binary);
    // What cargo has just built for this test run, and a registry of left-overs of the test's own.
    command.env("SQUALL_BIN_DIR", binary.parent().unwrap()).env("XDG_STATE_HOME", state).env("NO_COLOR", "1");
    command
}

pub(crate) fn ended(command: &mut Command) -> (i32, String) {
    let Output { status, stdout, stderr } = command.output().unwrap();
    let said = String::from_utf8_lossy(&stdout).into_owned() + &String::from_utf8_lossy(&stderr);
    (status.code().unwrap_or(-1), said)
}

#[test]
fn bad_input_is_refused_with_64_and_a_next_step() {
    let _alone = testbed::alone_blocking();
    let folder = tempfile::tempdir().unwrap();
    let (code, said) = ended(squall(folder.path()).args(["run", "postgres-outge"]));
    assert_eq!(code, 64, "{said}");
    assert!(said.contains("did you mean `postgres-outage`?"), "{said}");

    let (code, said) = ended(squall(folder.path()).args(["run", "nowhere/x.toml"]));
    assert_eq!(code, 64, "{said}");
    assert!(said.contains("nowhere/x.toml"), "{said}");

    let file = folder.path().join("typo.toml");
    std::fs::write(&file, "title = \"t\"\n[load]\nusres = 3\n").unwrap();
    let (code, said) = ended(squall(folder.path()).arg("run").arg(&file));
    assert_eq!(code, 64, "{said}");
    assert!(said.contains("typo.toml:3") && said.contains("did you mean `users`?"), "{said}");

    let (code, said) = ended(squall(folder.path()).args(["run", "smoke", "--provider", "external"]));
    assert_eq!(code, 64, "{said}");
    assert!(said.contains("--postgres-url"), "{said}");

    let (code, said) = ended(squall(folder.path()).args(["check", "nowhere"]));
    assert_eq!(code, 64, "{said}");
    let (code, said) = ended(squall(folder.path()).args(["run", "smoke", "--topology", "realy"]));
    assert_eq!(code, 64, "{said}");
    assert!(said.contains("durable-first and relay"), "{said}");
    let (code, said) = ended(squall(folder.path()).args(["contrast", "postgres-outge"]));
    assert_eq!(code, 64, "{said}");
    let (code, _) = ended(squall(folder.path()).arg("--no-such-flag"));
    assert_eq!(code, 64);
    let (code, said) = ended(squall(folder.path()).arg("list"));
    assert_eq!(code, 0);
    assert!(said.contains("postgres-outage"), "{said}");
}

/// What is wrong with an address or an option of a managed service is said with its name, and without its password.
#[test]
fn a_malformed_secret_is_not_shown() {
    let _alone = testbed::alone_blocking();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("kafka.properties");
    std::fs::write(&file, "sasl.username=app\nsasl.passwd=hush\n").unwrap();
    let file = file.display().to_string();
    for (variable, value, code, named) in [
        ("SQUALL_POSTGRES_URL", "postgres://u:p#hush@h/d", 69, "--postgres-url (SQUALL_POSTGRES_URL)"),
        ("SQUALL_POSTGRES_URL", "hush:x@h/d", 69, "--postgres-url (SQUALL_POSTGRES_URL)"),
        ("SQUALL_REDIS_URL", "redis://u:p#hush@h", 69, "--redis-url (SQUALL_REDIS_URL)"),
        (
            "SQUALL_KAFKA_OPTIONS",
            "sasl.password:hush",
            64,
            "--kafka-option <KEY=VALUE>, SQUALL_KAFKA_OPTIONS",
        ),
        ("SQUALL_KAFKA_OPTIONS", "sasl.passwd=hush", 64, "no setting `sasl.passwd`"),
        ("SQUALL_KAFKA_OPTIONS_FILE", &file, 64, "line 2: librdkafka has no setting"),
    ] {
        let (code_seen, said) = ended(
            squall(folder.path())
                .args(["run", "smoke", "--provider", "external", "--out"])
                .arg(folder.path().join("out"))
                .env("SQUALL_POSTGRES_URL", "postgres://u:right@h/d")
                .env("SQUALL_REDIS_URL", "redis://h")
                .env("SQUALL_KAFKA_BROKERS", "h:1")
                .env(variable, value),
        );
        assert_eq!(code_seen, code, "{said}");
        assert!(said.contains(named) && !said.contains("hush"), "{named}: {said}");
    }
}

#[test]
fn a_full_disk_is_named_before_anything_starts() {
    let _alone = testbed::alone_blocking();
    // A file system of one megabyte, in a mount namespace that ends with the command.
    let folder = tempfile::tempdir().unwrap();
    let script = format!(
        "mount -t tmpfs -o size=1m tmpfs {out} && exec {squall} run smoke --provider host --out {out}",
        out = folder.path().display(),
        squall = env!("CARGO_BIN_EXE_squall"),
    );
    let namespaces: &[&str] = if nix::unistd::geteuid().is_root() { &["-m"] } else { &["-r", "-m"] };
    let (code, said) = ended(Command::new("unshare").args(namespaces).args(["sh", "-c", &script]));
    assert_eq!(code, 69, "{said}");
    assert!(said.contains("MiB") && said.contains("--out"), "{said}");
}

/// A `squall run`. A test that fails takes it along, services and all.
pub(crate) struct Talking(Child);

impl Drop for Talking {
    fn drop(&mut self) {
        let pid = Pid::from_raw(self.0.id().try_into().unwrap());
        if matches!(self.0.try_wait(), Ok(None)) {
            let _ = kill(pid, Signal::SIGTERM);
            let _ = self.0.wait();
        }
    }
}

impl std::ops::Deref for Talking {
    type Target = Child;
    fn deref(&self) -> &Child {
        &self.0
    }
}

impl std::ops::DerefMut for Talking {
    fn deref_mut(&mut self) -> &mut Child {
        &mut self.0
    }
}

/// A `squall run` that has got as far as talking.
fn talking(state: &Path, out: &Path) -> Talking {
    let (child, lines) = talking_with(squall(state), out);
    // Keep the pipe drained, or it would block when it has much to say.
    std::thread::spawn(move || lines.for_each(drop));
    child
}

/// [`talking`] of a command of the test's own; what it says from then on.
pub(crate) fn talking_with(
    mut command: Command,
    out: &Path,
) -> (Talking, impl Iterator<Item = String> + Send + 'static) {
    let mut child = command
        .args(["run", "smoke", "--provider", "host", "--seed", "5", "--out"])
        .arg(out)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map(Talking)
        .unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines().map_while(Result::ok);
    let seen = lines.by_ref().any(|line| line.contains(" up in "));
    assert!(seen, "it never came up");
    (child, lines)
}

/// Processes whose command line or environment still speaks of a run of this test.
pub(crate) fn left_running(out: &Path) -> Vec<String> {
    let needle = out.display().to_string();
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let Ok(pid) = entry.file_name().to_string_lossy().parse::<u32>() else { continue };
        let environment = std::fs::read(entry.path().join("environ")).unwrap_or_default();
        let line = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let speaks = |bytes: &[u8]| String::from_utf8_lossy(bytes).contains(&needle);
        if pid != std::process::id() && (speaks(&environment) || speaks(&line)) {
            found.push(format!("{pid}: {}", String::from_utf8_lossy(&line).replace('\0', " ")));
        }
    }
    found
}

/// [`wait::until`] for tests that are not asynchronous.
fn within(limit: Duration, what: &str, mut fact: impl FnMut() -> bool) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let look = async || if fact() { Ok(()) } else { Err("not yet") };
    runtime.block_on(wait::until(what, limit, look)).unwrap();
}

#[test]
fn ctrl_c_and_sigterm_take_everything_down() {
    let _alone = testbed::alone_blocking();
    for signal in [Signal::SIGINT, Signal::SIGTERM] {
        let folder = tempfile::tempdir().unwrap();
        let state = folder.path().join("state");
        let mut child = talking(&state, &folder.path().join("out"));
        assert!(!left_running(folder.path()).is_empty());
        kill(Pid::from_raw(child.id().try_into().unwrap()), signal).unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(130));
        assert_eq!(left_running(folder.path()), Vec::<String>::new());
        let registered = std::fs::read_dir(state.join("squall/runs")).unwrap().count();
        assert_eq!(registered, 0, "a registration is left");
    }
}

#[test]
fn what_a_killed_harness_leaves_is_found_and_removed_by_the_next() {
    let _alone = testbed::alone_blocking();
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().join("state");
    let mut child = talking(&state, &folder.path().join("out"));
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(!left_running(folder.path()).is_empty(), "the services should outlive a SIGKILL of the harness");
    let (code, said) = ended(squall(&state).args(["doctor", "--clean"]));
    assert_eq!(code, 0, "{said}");
    assert!(said.contains("1 left-over"), "{said}");
    within(Duration::from_secs(30), "left-overs are gone", || left_running(folder.path()).is_empty());
    // What it recorded until then can still be read, and is no verdict.
    let run = std::fs::read_dir(folder.path().join("out/smoke")).unwrap().next().unwrap().unwrap().path();
    let (code, said) = ended(squall(&state).arg("check").arg(run));
    assert_eq!(code, 2, "{said}");
}

#[test]
fn two_runs_at_once_do_not_disturb_each_other() {
    let _alone = testbed::alone_blocking();
    let folder = tempfile::tempdir().unwrap();
    let runs: Vec<Child> = (0..2)
        .map(|n| {
            let out = folder.path().join(n.to_string());
            let mut command = squall(&folder.path().join("state"));
            command.args(["run", "smoke", "--provider", "host", "--out"]).arg(out);
            command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
        })
        .collect();
    for (n, run) in runs.into_iter().enumerate() {
        let output = run.wait_with_output().unwrap();
        let said =
            String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        let folder = std::fs::read_dir(folder.path().join(n.to_string()).join("smoke")).unwrap().next();
        let report = harness::report::store::read(&folder.expect(&said).unwrap().path()).expect(&said);
        // Two clusters on two cores: an objective may be missed and a generator late, but no message may be lost,
        // doubled or seen by the other run.
        for finding in report.judgement.findings {
            let of_the_machine = ["validity", "latency", "recovery"].contains(&finding.checker.as_str());
            assert!(of_the_machine || finding.verdict == Verdict::Holds, "{said}");
        }
    }
}
