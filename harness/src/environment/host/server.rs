//! A server as a child process that can be stopped, killed, frozen and started again, on the same port and data.

use std::{path::Path, process::ExitStatus, time::Duration};

use nix::sys::signal::Signal;
use tokio::sync::Mutex;

use super::super::{
    child::{Child, ChildSpec, Stdout, last_lines},
    contract::Endpoints,
    error::{EnvironmentError, LOG_LINES},
    leftovers::Registry,
    ports::Ports,
    probe,
};
use crate::{plan::Service, wait};

/// How often a server whose port was taken is tried on another one. More than twice by chance does not happen.
pub(crate) const PORT_ATTEMPTS: u32 = 3;

/// Longest start: Kafka takes 3 to 5 s on two idle cores, recovery after a kill some more; a loaded machine is slower.
const START_LIMIT: Duration = Duration::from_secs(60);

/// Longest orderly shutdown; PostgreSQL writes a checkpoint then, Kafka closes its logs.
const STOP_LIMIT: Duration = Duration::from_secs(30);

/// Longest one-off program (`initdb`, Kafka's `format`): 1 to 3 s on idle cores.
const TOOL_LIMIT: Duration = Duration::from_secs(60);

/// Longest answer to one readiness probe; a refused connection is answered at once, and the probe is repeated.
const PROBE_LIMIT: Duration = Duration::from_secs(2);

/// Longest wait for frozen processes to be seen as frozen.
const FREEZE_LIMIT: Duration = Duration::from_secs(5);

/// How a server is ended and started.
#[derive(Debug)]
pub(crate) struct Server {
    service: Service,
    spec: ChildSpec,
    stop_signal: Signal,
    at: Endpoints,
    registry: Registry,
    child: Mutex<Option<Child>>,
}

impl Server {
    /// Takes over a server that was just launched.
    pub(super) fn new(
        service: Service,
        spec: ChildSpec,
        stop_signal: Signal,
        at: Endpoints,
        registry: &Registry,
        child: Child,
    ) -> Self {
        Self { service, spec, stop_signal, at, registry: registry.clone(), child: Mutex::new(Some(child)) }
    }

    /// Orderly shutdown.
    pub(crate) async fn stop(&self) -> Result<(), EnvironmentError> {
        match self.child.lock().await.take() {
            Some(child) => child.terminate(self.stop_signal, STOP_LIMIT).await.map(drop),
            None => Ok(()),
        }
    }

    /// SIGKILL for it and everything it started.
    pub(crate) async fn kill(&self) -> Result<(), EnvironmentError> {
        match self.child.lock().await.take() {
            Some(child) => child.kill().await,
            None => Ok(()),
        }
    }

    /// Starts it again, and waits until it answers. A server that runs is only waited for.
    pub(crate) async fn start(&self) -> Result<(), EnvironmentError> {
        let mut child = self.child.lock().await;
        // One that died by itself is started like one that was stopped.
        if child.as_ref().is_some_and(|child| child.exited().is_none()) {
            return Ok(());
        }
        let (started, _) =
            launch(&self.spec, &self.registry, async || answers(self.service, &self.at).await).await?;
        *child = Some(started);
        Ok(())
    }

    /// What it has written to its log, over all its starts.
    pub(crate) fn log(&self) -> Result<String, EnvironmentError> {
        let path = &self.spec.log;
        let bytes = std::fs::read(path).map_err(|source| EnvironmentError::Io {
            doing: "read",
            path: path.clone(),
            source,
        })?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// SIGSTOP for it and everything it started; returns when all of them are seen frozen.
    pub(crate) async fn pause(&self) -> Result<(), EnvironmentError> {
        self.signal(Signal::SIGSTOP, "frozen", |state| state == 'T').await
    }

    /// SIGCONT for all of them.
    pub(crate) async fn unpause(&self) -> Result<(), EnvironmentError> {
        self.signal(Signal::SIGCONT, "thawed", |state| state != 'T').await
    }

    async fn signal(
        &self,
        signal: Signal,
        word: &str,
        wanted: fn(char) -> bool,
    ) -> Result<(), EnvironmentError> {
        let child = self.child.lock().await;
        let Some(child) = child.as_ref() else {
            return Err(EnvironmentError::Unsupported {
                what: format!("{signal} for {}", self.service),
                reason: "it does not run".to_owned(),
            });
        };
        child.signal_tree(signal)?;
        let tree = child.identity().tree();
        wait::until(&format!("{} {word}", self.service), FREEZE_LIMIT, async || {
            let unlike = tree.iter().filter_map(|process| Some((process, process.state()?)));
            match unlike.into_iter().find(|(_, state)| !wanted(*state)) {
                Some((process, state)) => Err(format!("pid {} is in state {state}", process.pid)),
                None => Ok(()),
            }
        })
        .await
        .map_err(|source| child.not_ready(source))
    }
}

/// True to `probe::ask`, in the form that readiness wants.
pub(crate) async fn answers(service: Service, at: &Endpoints) -> Result<(), String> {
    probe::ask(service, at, PROBE_LIMIT).await.map(drop)
}

/// Starts a program and waits until `ready`; tells why when it ends instead.
pub(crate) async fn launch<T>(
    spec: &ChildSpec,
    registry: &Registry,
    mut ready: impl AsyncFnMut() -> Result<T, String>,
) -> Result<(Child, T), EnvironmentError> {
    let child = Child::spawn(spec, Stdout::Log, registry)?;
    let what = format!("{} answering", spec.name);
    let waiting = wait::until(&what, START_LIMIT, async || ready().await);
    tokio::select! {
        // Death first: a stranger on the same port may well answer our probe.
        biased;
        status = child.wait() => Err(diagnose(spec, status)),
        answer = waiting => match answer {
            Ok(_) if child.exited().is_some() => Err(diagnose(spec, child.wait().await)),
            Ok(answer) => Ok((child, answer)),
            Err(source) => Err(child.not_ready(source)),
        }
    }
}

/// Runs a program to its end.
pub(super) async fn run_tool(spec: &ChildSpec, registry: &Registry) -> Result<(), EnvironmentError> {
    let child = Child::spawn(spec, Stdout::Log, registry)?;
    match tokio::time::timeout(TOOL_LIMIT, child.wait()).await {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(diagnose(spec, status)),
        Err(_) => {
            child.kill().await?;
            Err(EnvironmentError::Stuck {
                name: spec.name.clone(),
                signal: Signal::SIGKILL,
                limit_ms: TOOL_LIMIT.as_millis(),
            })
        }
    }
}

/// Starts something on a port, and on another one when the port was taken between our look and its bind.
pub(crate) async fn with_another_port<T>(
    name: &str,
    first: u16,
    mut start: impl AsyncFnMut(u16) -> Result<T, EnvironmentError>,
) -> Result<T, EnvironmentError> {
    let mut ports = Ports::default();
    let mut port = first;
    let mut attempt = 1;
    loop {
        match start(port).await {
            Err(EnvironmentError::PortStolen { .. }) if attempt < PORT_ATTEMPTS => {
                tracing::info!(name, port, "the port was taken meanwhile; trying another");
                port = ports.free().map_err(|source| EnvironmentError::NoPort { source })?;
                attempt += 1;
            }
            Err(EnvironmentError::PortStolen { name, log, lines, .. }) => {
                return Err(EnvironmentError::PortStolen { name, attempts: attempt, log, lines });
            }
            other => return other,
        }
    }
}

/// Why a program ended, as far as its last words tell.
fn diagnose(spec: &ChildSpec, status: ExitStatus) -> EnvironmentError {
    let lines = last_lines(&spec.log, LOG_LINES);
    let says = |words: &[&str]| {
        let found = lines.lines().find(|line| words.iter().any(|word| line.to_lowercase().contains(word)));
        found.map(str::to_owned)
    };
    let name = spec.name.clone();
    if let Some(line) = says(&["no space left on device", "enospc", "disk quota exceeded"]) {
        let folder = spec.folder.clone().unwrap_or_else(|| Path::new("/").to_owned());
        return EnvironmentError::DiskFull { name, folder, line };
    }
    if says(&["address already in use", "eaddrinuse", "bindexception"]).is_some() {
        return EnvironmentError::PortStolen { name, attempts: 1, log: spec.log.clone(), lines };
    }
    EnvironmentError::Died { name, status: status.to_string(), log: spec.log.clone(), lines }
}
