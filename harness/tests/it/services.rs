//! Where services come from, when it is not plain: an engine on another machine, an installer that is busy already.

use std::{
    fs::File,
    io::{BufRead, BufReader, Read},
    os::unix::{net::UnixListener, process::CommandExt},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use nix::{
    sys::signal::{Signal, kill, killpg},
    unistd::{Pid, geteuid},
};

use crate::{command_line::squall, testbed};

/// An address that no machine has (RFC 5737): an engine there publishes its ports somewhere else, whatever it is.
const ANOTHER_MACHINE: &str = "tcp://192.0.2.1:2375";

fn scripts() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("services")
}

/// The folder of services as an installer that is at work leaves it: locked, with a note, and no manifest.
fn being_installed(folder: &Path) -> File {
    let path = folder.join(".lock");
    std::fs::write(&path, "pid 1: kafka 4.4.0 (Maven, about 45 MB)\n").unwrap();
    let lock = File::open(path).unwrap();
    lock.lock().unwrap();
    lock
}

/// A process whose words are read while it runs. Its group is killed with the test, should that fail.
struct Spoken {
    child: Child,
    lines: std::io::Lines<BufReader<std::process::ChildStderr>>,
}

impl Spoken {
    fn start(command: &mut Command) -> Self {
        let mut child =
            command.process_group(0).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(child.stderr.take().unwrap()).lines();
        Self { child, lines }
    }

    fn pid(&self) -> Pid {
        Pid::from_raw(self.child.id().try_into().unwrap())
    }

    /// All that it says until it says this.
    fn until(&mut self, words: &str) -> String {
        let mut said = String::new();
        for line in self.lines.by_ref().map_while(Result::ok) {
            said += &format!("{line}\n");
            if line.contains(words) {
                return said;
            }
        }
        panic!("it never said `{words}`, but:\n{said}");
    }

    /// The exit code after a signal.
    fn ended_by(mut self, signal: Signal) -> Option<i32> {
        kill(self.pid(), signal).unwrap();
        // Drained meanwhile, or it would block when it has much to say.
        self.lines.by_ref().map_while(Result::ok).for_each(drop);
        self.child.wait().unwrap().code()
    }
}

impl Drop for Spoken {
    fn drop(&mut self) {
        let _ = killpg(self.pid(), Signal::SIGKILL);
        let _ = self.child.wait();
    }
}

fn ended(command: &mut Command) -> (i32, String) {
    let output = command.output().unwrap();
    let said =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    (output.status.code().unwrap_or(-1), said)
}

/// Whether words were said. Errors are shown wrapped at a width, with a bar before each line.
fn holds(said: &str, words: &str) -> bool {
    let bare = |text: &str| text.replace(|letter: char| letter.is_whitespace() || letter == '│', "");
    bare(said).contains(&bare(words))
}

#[test]
fn a_second_install_says_what_it_waits_for() {
    let folder = tempfile::tempdir().unwrap();
    let lock = being_installed(folder.path());
    let mut install = Command::new(scripts().join("install"));
    let mut second = Spoken::start(install.env("SQUALL_SERVICES_DIR", folder.path()));
    let said = second.until("waiting for another install");
    assert!(said.contains("kafka 4.4.0 (Maven, about 45 MB)"), "{said}");
    // Ended while it waits: with the lock it would fetch.
    drop(second);
    drop(lock);
}

#[test]
fn a_run_passes_on_what_its_installer_waits_for_and_can_be_interrupted_there() {
    let folder = tempfile::tempdir().unwrap();
    let lock = being_installed(folder.path());
    let mut run = squall(&folder.path().join("state"));
    run.args(["run", "smoke", "--provider", "auto", "--out"])
        .arg(folder.path().join("out"))
        .env("SQUALL_SERVICES_DIR", folder.path())
        .env("DOCKER_HOST", ANOTHER_MACHINE);
    let mut run = Spoken::start(&mut run);
    let said = run.until("waiting for another install");
    // And aloud why it is the host that things are installed for.
    assert!(said.contains("taking the host provider"), "{said}");
    assert!(said.contains(ANOTHER_MACHINE) && holds(&said, "another machine's loopback"), "{said}");
    assert_eq!(run.ended_by(Signal::SIGINT), Some(130));
    drop(lock);
    let registered = std::fs::read_dir(folder.path().join("state/squall/runs")).unwrap().count();
    assert_eq!(registered, 0, "a registration is left");
}

#[test]
fn whoever_waits_for_a_download_sees_what_it_is_at() {
    let folder = tempfile::tempdir().unwrap();
    // It ends when it has been told of, and not before.
    let script = format!(
        "source {}; say() {{ echo \"$*\" | tee -a said >&2; }}; touch said
        while_telling kafka log sh -c 'echo 12 of 45 MB; until grep -q 12 said; do sleep 0.1; done; exit 3'",
        scripts().join("while-telling").display()
    );
    let mut bash = Command::new("bash");
    bash.args(["-c", &script]).current_dir(folder.path()).env("SQUALL_TELL_EVERY_S", "0.1");
    let (code, said) = ended(&mut bash);
    assert_eq!(code, 3, "the command's own exit code: {said}");
    assert!(said.contains("kafka, after ") && said.contains("12 of 45 MB"), "{said}");
}

#[test]
fn an_engine_on_another_machine_is_refused_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let mut run = squall(folder.path());
    run.args(["run", "smoke", "--provider", "docker", "--out"]).arg(folder.path());
    let (code, said) = ended(run.env("DOCKER_HOST", ANOTHER_MACHINE));
    assert_eq!(code, 69, "{said}");
    assert!(holds(&said, "another machine's loopback") && holds(&said, "--provider host"), "{said}");

    let (_, said) = ended(squall(folder.path()).arg("doctor").env("DOCKER_HOST", ANOTHER_MACHINE));
    let auto = said.lines().find(|line| line.contains("provider by `auto`")).expect(&said);
    assert!(auto.contains("host") && auto.contains(ANOTHER_MACHINE), "{said}");
}

#[test]
fn without_an_engine_it_is_said_where_one_was_looked_for() {
    let folder = tempfile::tempdir().unwrap();
    let rootless = folder.path().join("docker.sock");
    let _listens = UnixListener::bind(&rootless).unwrap();
    let nowhere = format!("unix://{}/none.sock", folder.path().display());
    let mut run = squall(folder.path());
    run.args(["run", "smoke", "--provider", "docker", "--out"]).arg(folder.path());
    run.env("DOCKER_HOST", &nowhere).env("XDG_RUNTIME_DIR", folder.path());
    let (code, said) = ended(&mut run);
    assert_eq!(code, 69, "{said}");
    assert!(holds(&said, "no Docker engine answers") && holds(&said, &nowhere), "{said}");
    // This one, or the one at the usual place where it answers.
    assert!(holds(&said, "set DOCKER_HOST=unix://"), "{said}");
}

#[test]
fn an_engine_with_tls_and_without_certificates_is_no_panic() {
    let folder = tempfile::tempdir().unwrap();
    let mut run = squall(folder.path());
    run.args(["run", "smoke", "--provider", "docker", "--out"]).arg(folder.path());
    run.env("DOCKER_HOST", "tcp://127.0.0.1:2376").env("DOCKER_TLS_VERIFY", "1");
    let (code, said) = ended(run.env_remove("DOCKER_CERT_PATH"));
    assert_eq!(code, 69, "{said}");
    assert!(holds(&said, "DOCKER_CERT_PATH"), "{said}");
}

/// As with a socket that is mounted into a container: the engine can be asked, and its ports are on another loopback.
#[test]
fn an_engine_behind_a_mounted_socket_is_said_at_once_and_auto_takes_the_host() {
    let _alone = testbed::alone_blocking();
    if !testbed::providers().contains(&harness::environment::ProviderChoice::Docker) || !geteuid().is_root() {
        eprintln!("skipped: it takes a Docker engine, and root to make a network of its own");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let elsewhere = |provider: &str| {
        let squall = squall(&folder.path().join("state"));
        let mut command = Command::new("unshare");
        command.args(["--net", "sh", "-c", "ip link set lo up && exec \"$0\" \"$@\""]);
        command.arg(squall.get_program()).args(["run", "smoke", "--provider", provider, "--out"]);
        command.arg(folder.path().join("out"));
        for (name, value) in squall.get_envs() {
            if let Some(value) = value {
                command.env(name, value);
            }
        }
        command
    };
    // Both replace themselves, so this is the pid that labels the containers.
    let left_by = |pid: u32| {
        let filter = format!("label=squall.pid={pid}");
        let (_, left) = ended(Command::new("docker").args(["ps", "--all", "--quiet", "--filter", &filter]));
        left
    };

    let mut run = elsewhere("docker").stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut said = String::new();
    run.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    assert_eq!(run.wait().unwrap().code(), Some(69), "{said}");
    assert!(holds(&said, "another machine's loopback") && holds(&said, "--provider host"), "{said}");
    assert_eq!(left_by(run.id()), "");

    let lock = being_installed(folder.path());
    let mut run = Spoken::start(elsewhere("auto").env("SQUALL_SERVICES_DIR", folder.path()));
    let said = run.until("waiting for another install");
    assert!(said.contains("taking the host provider"), "{said}");
    let pid = run.child.id();
    assert_eq!(left_by(pid), "");
    assert_eq!(run.ended_by(Signal::SIGINT), Some(130));
    drop(lock);
}
