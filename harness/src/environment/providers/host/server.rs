//! A server as a child process that can be stopped, killed, frozen and started again, on the same port and data.

use std::time::Duration;

use nix::sys::signal::Signal;
use tokio::sync::Mutex;

use crate::environment::{
    child::{Child, ChildSpec},
    contract::Endpoints,
    error::EnvironmentError,
    launch::launch,
    registry::Registry,
    services::probe::answers,
};
use crate::{plan::Service, wait};

/// Longest orderly shutdown; PostgreSQL writes a checkpoint then, Kafka closes its logs.
const STOP_LIMIT: Duration = Duration::from_secs(30);

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

    /// Its pid; `None` while it does not run, or is being started or ended.
    pub(super) fn pid(&self) -> Option<u32> {
        u32::try_from(self.child.try_lock().ok()?.as_ref()?.pid()).ok()
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
