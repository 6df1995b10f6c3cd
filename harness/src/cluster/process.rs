//! One process under test: how it is started, and its life from `Started` to `Exited`.

use std::{
    io::Write,
    net::{Ipv4Addr, SocketAddr},
    os::unix::process::ExitStatusExt,
    path::{Path, PathBuf},
    process::ExitStatus,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    time::Duration,
};

use nix::sys::signal::Signal;

use crate::{
    cluster::{ClusterError, ClusterSpec, clock::WallClock},
    environment::{
        Environment, Hosts,
        child::{Child, ChildSpec, Stdout},
        hosts_file,
        ports::Ports,
        preload::NSS_WRAPPER,
    },
    history::{EventKind, Recorder},
    plan::ProcessName,
    target::reference,
};

/// Everything needed to start a process, any number of times, at the same address.
#[derive(Debug)]
pub(super) struct Launch {
    name: ProcessName,
    child: ChildSpec,
    pub(super) listen: SocketAddr,
    /// Its own, when the plan will set it.
    pub(super) clock: Option<WallClock>,
    last_pid: AtomicU32,
}

impl Launch {
    pub(super) fn new(
        name: ProcessName,
        spec: &ClusterSpec<'_>,
        environment: &Environment,
        ports: &mut Ports,
    ) -> Result<Self, ClusterError> {
        // A process restarts at the same address, as a node behind a name would, so the port is chosen once. Should another
        // program take it in between, the process says so and dies, and the run with it.
        let port = ports.free().map_err(|source| ClusterError::Port { process: name.to_string(), source })?;
        let listen = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let endpoints = spec.endpoints.clone().unwrap_or_else(|| environment.endpoints(name));
        let args = reference::arguments(name, listen, &endpoints, &spec.names, &spec.plan.cluster);
        let clock = WallClock::of(name, spec.plan, &spec.logs)?;
        let mut env = vec![("RUST_BACKTRACE".to_owned(), "1".to_owned())];
        env.extend(reference::secrets(name, &endpoints, &spec.plan.cluster));
        let mut preloads = Vec::new();
        if let Some(clock) = &clock {
            preloads.push(clock.library().display().to_string());
            env.extend(clock.environment());
        }
        if !endpoints.hosts.is_empty() {
            preloads.push(resolver()?);
            env.push(("NSS_WRAPPER_HOSTS".to_owned(), hosts(name, &endpoints.hosts, &spec.logs)?));
        }
        if !preloads.is_empty() {
            env.push(("LD_PRELOAD".to_owned(), preloads.join(":")));
        }
        let child = ChildSpec {
            name: name.to_string(),
            program: spec.binaries.of(name),
            args,
            env,
            user: None,
            folder: None,
            log: spec.logs.join(format!("{name}.log")),
        };
        Ok(Self { name, child, listen, clock, last_pid: AtomicU32::new(0) })
    }

    /// Its log file.
    pub(super) fn log(&self) -> &PathBuf {
        &self.child.log
    }

    /// Pid of the latest life; zero before the first.
    pub(super) fn last_pid(&self) -> u32 {
        self.last_pid.load(Ordering::Relaxed)
    }
}

/// The library by which a process finds names at addresses of its own.
fn resolver() -> Result<String, ClusterError> {
    let library = NSS_WRAPPER.library();
    let library =
        library.map_err(|missing| ClusterError::NoResolver { missing, how_to_get: NSS_WRAPPER.how_to_get });
    Ok(library?.display().to_string())
}

/// The file that says at which.
fn hosts(name: ProcessName, hosts: &Hosts, logs: &Path) -> Result<String, ClusterError> {
    let file = logs.join(format!("{name}.hosts"));
    // Read in the process's own folder.
    let file = std::path::absolute(&file).unwrap_or(file);
    let written = std::fs::write(&file, hosts_file(hosts));
    written.map_err(|source| ClusterError::Hosts { file: file.display().to_string(), source })?;
    Ok(file.display().to_string())
}

/// A process that runs, or has just ended by itself. Killed when dropped.
#[derive(Debug)]
pub(super) struct Process {
    child: Arc<Child>,
    /// Whether the harness wants it to end; otherwise its end is news.
    asked: Arc<AtomicBool>,
}

impl Process {
    pub(super) fn spawn(
        launch: &Launch,
        recorder: &Recorder,
        environment: &Environment,
    ) -> Result<Self, ClusterError> {
        let name = launch.name.to_string();
        let stdout = Stdout::Lines(follow(&name, launch.log(), recorder)?);
        let child = Arc::new(Child::spawn(&launch.child, stdout, environment.registry())?);
        let pid = u32::try_from(child.pid()).unwrap_or(0);
        launch.last_pid.store(pid, Ordering::Relaxed);
        recorder.record(EventKind::Started { process: name.clone(), pid });
        let asked = Arc::new(AtomicBool::new(false));
        let (watched, expected, recorder) = (Arc::downgrade(&child), Arc::clone(&asked), recorder.clone());
        let ending = child.ended();
        tokio::spawn(async move {
            let status = ending.await;
            // Nobody owns it any more: it was dropped, and so killed, on purpose.
            let asked = expected.load(Ordering::Relaxed) || watched.upgrade().is_none();
            recorder.record(EventKind::Exited { process: name, status: show_status(status), asked });
        });
        Ok(Self { child, asked })
    }

    pub(super) fn pid(&self) -> u32 {
        u32::try_from(self.child.pid()).unwrap_or(0)
    }

    pub(super) fn exit_status(&self) -> Option<String> {
        self.child.exited().map(show_status)
    }

    pub(super) fn signal(&self, signal: Signal) -> Result<(), ClusterError> {
        Ok(self.child.signal(signal)?)
    }

    pub(super) async fn kill(self) -> Result<(), ClusterError> {
        self.asked.store(true, Ordering::Relaxed);
        Ok(self.child.kill().await?)
    }

    pub(super) async fn terminate(self, grace: Duration) -> Result<(), ClusterError> {
        if self.child.exited().is_some() {
            return Ok(());
        }
        self.asked.store(true, Ordering::Relaxed);
        self.child.terminate(Signal::SIGTERM, grace).await?;
        Ok(())
    }
}

fn show_status(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit code {code}"),
        (None, Some(signal)) => format!("signal {}", Signal::try_from(signal).map_or("?", Signal::as_str)),
        (None, None) => status.to_string(),
    }
}

/// Copies a process's stdout into its log, and what is part of the contract into the history.
fn follow(
    name: &str,
    log: &PathBuf,
    recorder: &Recorder,
) -> Result<Box<dyn FnMut(String) + Send>, ClusterError> {
    let file = std::fs::OpenOptions::new().create(true).append(true).open(log);
    let mut file = file.map_err(|source| ClusterError::Log { log: log.display().to_string(), source })?;
    let (name, recorder) = (name.to_owned(), recorder.clone());
    Ok(Box::new(move |line| {
        if let Some(event) = reference::lifecycle::parse(&line) {
            recorder.record(EventKind::Lifecycle { process: name.clone(), event });
        }
        // A log that cannot be written must not stop the reading: a full pipe would freeze the process under test.
        let _ = writeln!(file, "{line}");
    }))
}
