//! The same verdict in every shell: variables, pipes, signals, limits and folders as people have them.

use std::{
    fs,
    os::unix::process::ExitStatusExt,
    path::Path,
    process::{Command, Output, Stdio},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use crate::{
    command_line::{ended, left_running, squall, talking_with},
    testbed,
};

/// A database outage, short: its verdict rests on what the writers say in their logs.
const OUTAGE: &str = r#"
title = "PostgreSQL away, in a hostile shell"
[cluster]
nodes = 2
writers = 1
[load]
users = 20
rooms = 4
rate_per_s = 60
duration_s = 12
lateness_p99_max_ms = 500
[[fault]]
kind = "service-stop"
service = "postgres"
at_s = "3 s"
for_s = "4s"
[expect]
writers_pause_within_ms = 20000
"#;

/// What shells of other trades have set. Each has changed a verdict, or kept a run from starting.
const HOSTILE: [(&str, &str); 12] = [
    ("RUST_LOG", "warn"),
    ("HTTP_PROXY", "http://127.0.0.1:9"),
    ("http_proxy", "http://127.0.0.1:9"),
    ("ALL_PROXY", "http://127.0.0.1:9"),
    ("PGOPTIONS", "-c search_path=elsewhere"),
    ("PGHOST", "192.0.2.1"),
    ("CHAT_NODE_KAFKA_OPTIONS", "security.protocol=ssl"),
    ("CHAT_NODE_TOPOLOGY", "relay"),
    ("CHAT_WRITER_BATCH_MAX_AGE_MS", "9000"),
    ("JAVA_TOOL_OPTIONS", "-javaagent:/none.jar"),
    ("LD_PRELOAD", "/none.so"),
    ("CARGO_MANIFEST_DIR", "/none"),
];

fn outage(folder: &Path) -> std::path::PathBuf {
    // Spaces and letters beyond ASCII in every path of the run.
    let home = folder.join("ein Ordner für Läufe");
    fs::create_dir_all(&home).unwrap();
    let file = home.join("störung.toml");
    fs::write(&file, OUTAGE.replace('\n', "\r\n")).unwrap();
    file
}

#[test]
fn what_other_programs_read_from_the_environment_changes_no_verdict() {
    let _alone = testbed::alone_blocking();
    let folder = tempfile::tempdir().unwrap();
    let file = outage(folder.path());
    let mut command = squall(folder.path());
    command.envs(HOSTILE).arg("run").arg(&file).args(["--provider", "host", "--seed", "7", "--out"]);
    let (code, said) = ended(command.arg(file.with_file_name("läufe")));
    assert_eq!(code, 0, "{said}");
    assert!(said.contains("1 pauses in 1 outages") || said.contains("✓ pause"), "{said}");
    assert_eq!(left_running(folder.path()), Vec::<String>::new());
}

/// A reader that goes away stops nothing: the run goes on to its verdict, and its exit code is that verdict's.
#[test]
fn a_pipe_that_closes_first_costs_neither_verdict_nor_services() {
    let _alone = testbed::alone_blocking();
    let folder = tempfile::tempdir().unwrap();
    let mut command = squall(folder.path());
    command
        .args(["run", "smoke", "--provider", "host", "--seed", "5", "--out"])
        .arg(folder.path().join("out"));
    let (reader, writer) = std::io::pipe().unwrap();
    let errors = writer.try_clone().unwrap();
    let mut run = command.stdout(writer).stderr(errors).spawn().unwrap();
    drop((command, reader));
    assert_eq!(run.wait().unwrap().code(), Some(0));
    assert_eq!(left_running(folder.path()), Vec::<String>::new());
}

/// Ctrl-C into a pipeline ends the reader first.
#[test]
fn an_interrupt_with_nobody_reading_takes_everything_down() {
    let _alone = testbed::alone_blocking();
    let folder = tempfile::tempdir().unwrap();
    let (mut run, lines) = talking_with(squall(&folder.path().join("state")), &folder.path().join("out"));
    drop(lines);
    kill(Pid::from_raw(run.id().try_into().unwrap()), Signal::SIGINT).unwrap();
    assert_eq!(run.wait().unwrap().code(), Some(130));
    assert_eq!(left_running(folder.path()), Vec::<String>::new());
}

/// `nohup squall run … &`, and then the terminal goes.
#[test]
fn a_hang_up_that_was_ignored_stays_ignored() {
    let _alone = testbed::alone_blocking();
    let folder = tempfile::tempdir().unwrap();
    let plain = squall(&folder.path().join("state"));
    let mut nohup = Command::new("sh");
    nohup.args(["-c", "trap '' HUP; exec \"$0\" \"$@\""]).arg(plain.get_program());
    nohup.envs(plain.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let (mut run, lines) = talking_with(nohup, &folder.path().join("out"));
    kill(Pid::from_raw(run.id().try_into().unwrap()), Signal::SIGHUP).unwrap();
    std::thread::spawn(move || lines.for_each(drop));
    let status = run.wait().unwrap();
    assert_eq!((status.code(), status.signal()), (Some(0), None));
}

#[test]
fn the_soft_limit_of_open_files_is_raised_and_a_hard_one_too_low_is_refused() {
    let _alone = testbed::alone_blocking();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("many.toml");
    let text = "title = \"many\"\n[load]\nusers = 1500\nrooms = 100\nrate_per_s = 10\nduration_s = 5\n";
    fs::write(&file, text).unwrap();
    let script = format!(
        "ulimit -n 1024; exec {} run {} --provider host",
        env!("CARGO_BIN_EXE_squall"),
        file.display()
    );
    let (code, said) = ended(Command::new("bash").args(["-c", &script]).env("XDG_STATE_HOME", folder.path()));
    assert_eq!(code, 69, "{said}");
    assert!(said.contains("2131") && said.contains("1024"), "the numbers: {said}");

    // A small run under a low soft limit: what it starts has the hard one.
    let (reader, script) = (folder.path().join("state"), "ulimit -Sn 256; exec \"$0\" \"$@\"");
    let plain = squall(&reader);
    let mut low = Command::new("bash");
    low.args(["-c", script]).arg(plain.get_program());
    low.envs(plain.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let (run, lines) = talking_with(low, &folder.path().join("out"));
    std::thread::spawn(move || lines.for_each(drop));
    let limits = fs::read_to_string(format!("/proc/{}/limits", run.id())).unwrap();
    let files = limits.lines().find(|line| line.starts_with("Max open files")).unwrap();
    let numbers: Vec<&str> = files.split_whitespace().skip(3).take(2).collect();
    assert_eq!(numbers[0], numbers[1], "{files}");
}

#[test]
fn a_temporary_folder_that_postgres_cannot_enter_is_named_with_the_user() {
    if !nix::unistd::geteuid().is_root() {
        println!("only root runs PostgreSQL as another user");
        return;
    }
    let _alone = testbed::alone_blocking();
    let folder = tempfile::tempdir().unwrap();
    let closed = folder.path().join("closed");
    Command::new("install").args(["-d", "-m", "700"]).arg(&closed).status().unwrap();
    // The test's own folder is as closed as any that mkdtemp makes.
    Command::new("chmod").arg("755").arg(folder.path()).status().unwrap();
    let mut command = squall(folder.path());
    command
        .env("TMPDIR", &closed)
        .args(["run", "smoke", "--provider", "host", "--out"])
        .arg(folder.path().join("out"));
    let (code, said) = ended(&mut command);
    assert_eq!(code, 69, "{said}");
    let flat = said.split_whitespace().collect::<String>();
    assert!(flat.contains("userpostgres") && flat.contains(&closed.display().to_string()), "{said}");
    assert_eq!(left_running(folder.path()), Vec::<String>::new());
}

#[test]
fn a_plan_is_carried_out_with_what_the_flags_say_or_refused() {
    let folder = tempfile::tempdir().unwrap();
    let (code, said) = ended(squall(folder.path()).args(["run", "--plan", "plan.json", "--seed", "99"]));
    assert_eq!(code, 64, "{said}");
    assert!(said.contains("--seed") && said.contains("--plan"), "{said}");
}

#[test]
fn a_list_into_a_pipe_that_closes_is_no_error() {
    let folder = tempfile::tempdir().unwrap();
    let mut list = squall(folder.path()).arg("list").stdout(Stdio::piped()).spawn().unwrap();
    drop(list.stdout.take());
    assert_eq!(list.wait().unwrap().code(), Some(0));
    let Output { stdout, .. } = squall(folder.path()).args(["list", "--color", "never"]).output().unwrap();
    assert!(!stdout.contains(&0x1b));
}
