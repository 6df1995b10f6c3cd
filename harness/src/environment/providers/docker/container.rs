//! One container: drafted, started, stopped, killed, frozen, and removed with its log saved.

use std::{
    collections::HashMap,
    io::Write,
    path::PathBuf,
    sync::atomic::{AtomicU32, Ordering::Relaxed},
    time::Duration,
};

use futures_util::TryStreamExt;
use testcontainers::{
    ContainerAsync, ContainerRequest, GenericImage, ImageExt, TestcontainersError,
    bollard::{
        Docker,
        errors::Error,
        models::HostConfig,
        query_parameters::{
            InspectContainerOptions, KillContainerOptions, LogsOptions, RemoveContainerOptions,
        },
    },
    core::{ExecCommand, IntoContainerPort, Mount, client::ClientError},
    runners::AsyncRunner,
};

use super::{
    images::{Image, Role},
    label::{labels, refused},
};
use crate::{
    environment::{
        child::{append_to, last_lines},
        error::{EnvironmentError, LOG_LINES},
    },
    wait::{self, WaitError},
};

/// Orderly shutdown, in seconds, before the engine kills: as much as the host provider allows.
const STOP_LIMIT_S: i32 = 30;

/// Exit code of a container that the engine killed.
const KILLED: i64 = 137;

/// How long the engine may take to notice that a container ended.
const STATE_LIMIT: Duration = Duration::from_secs(10);

/// A container's name, which is its alias in the run's network.
pub(super) fn name(run_id: &str, role: Role) -> String {
    format!("{run_id}-{}", role.name())
}

/// A container to be.
pub(super) struct Draft {
    role: Role,
    name: String,
    image: Image,
    log: PathBuf,
    request: ContainerRequest<GenericImage>,
}

impl Draft {
    pub(super) fn new(run_id: &str, role: Role, image: &Image, log: PathBuf) -> Self {
        let (repository, tag) = image.parts();
        let name = name(run_id, role);
        let request = GenericImage::new(repository, tag)
            .with_container_name(&name)
            .with_network(run_id)
            .with_labels(labels(run_id))
            // What is published is for this machine alone.
            .with_host_config_modifier(only_loopback);
        Self { role, name, image: image.clone(), log, request }
    }

    pub(super) fn publish(mut self, host: u16, inside: u16) -> Self {
        self.request = self.request.with_mapped_port(host, inside.tcp());
        self
    }

    pub(super) fn variable(mut self, name: &str, value: &str) -> Self {
        self.request = self.request.with_env_var(name, value);
        self
    }

    pub(super) fn tmpfs(mut self, path: &str, bytes: u32) -> Self {
        // As /tmp is: the server's user differs from image to image.
        let mount = Mount::tmpfs_mount(path).with_size_bytes(bytes.into()).with_mode(0o1777);
        self.request = self.request.with_mount(mount);
        self
    }

    pub(super) fn command<'a>(mut self, command: impl IntoIterator<Item = &'a str>) -> Self {
        self.request = self.request.with_cmd(command);
        self
    }

    /// Creates and starts it. The image is pulled when it is not there.
    pub(super) async fn start(self, engine: &Docker) -> Result<Container, EnvironmentError> {
        match self.request.start().await {
            Ok(container) => {
                let (role, image, log) = (self.role, self.image, self.log);
                let (engine, pid) = (engine.clone(), AtomicU32::new(0));
                let container = Container { role, image, log, engine, pid, container: Some(container) };
                container.note_pid().await;
                Ok(container)
            }
            Err(error) => {
                // Created, yet not started: its name would be in the way of the next attempt.
                let options =
                    RemoveContainerOptions { force: true, v: true, ..RemoveContainerOptions::default() };
                let _ = engine.remove_container(&self.name, Some(options)).await;
                Err(explain(self.role, &self.image, self.log, &error))
            }
        }
    }
}

fn only_loopback(host: &mut HostConfig) {
    let bindings = host.port_bindings.iter_mut().flat_map(HashMap::values_mut).flatten().flatten();
    for binding in bindings {
        binding.host_ip = Some("127.0.0.1".to_owned());
    }
}

fn explain(role: Role, image: &Image, log: PathBuf, error: &TestcontainersError) -> EnvironmentError {
    let detail = error.to_string();
    let lower = detail.to_lowercase();
    if let TestcontainersError::Client(ClientError::PullImage { descriptor, err }) = error {
        return EnvironmentError::ImageMissing { image: descriptor.clone(), detail: err.to_string() };
    }
    if lower.contains("port is already allocated") || lower.contains("address already in use") {
        let name = role.name().to_owned();
        return EnvironmentError::PortStolen { name, attempts: 1, log, lines: detail };
    }
    if lower.contains("no space left on device") {
        let folder = PathBuf::from("the Docker engine's data folder");
        return EnvironmentError::DiskFull { name: role.name().to_owned(), folder, line: detail };
    }
    EnvironmentError::Engine { doing: format!("start {} from {}", role.name(), image.name), detail }
}

/// A container of this run.
#[derive(Debug)]
pub(super) struct Container {
    role: Role,
    image: Image,
    log: PathBuf,
    engine: Docker,
    /// Of its first process, on this machine; zero when the engine does not say.
    pid: AtomicU32,
    // Taken when it is removed.
    container: Option<ContainerAsync<GenericImage>>,
}

impl Container {
    pub(super) fn role(&self) -> Role {
        self.role
    }

    fn id(&self) -> &str {
        self.container.as_ref().map_or("", |container| container.id())
    }

    fn refused(&self, doing: &str, error: &dyn std::error::Error) -> EnvironmentError {
        refused(&format!("{doing} {}", self.role.name()), error)
    }

    /// What a report says of its image.
    pub(super) async fn describe(&self, engine: &Docker) -> String {
        let digest = match &self.image.found {
            Some(digest) => Some(digest.clone()),
            // Pulled just now.
            None => engine.inspect_image(&self.image.name).await.ok().and_then(|image| image.id),
        };
        let digest = digest.unwrap_or_else(|| "digest unknown".to_owned());
        match self.image.why {
            Some(why) => format!("{} {digest} ({why})", self.image.name),
            None => format!("{} {digest}", self.image.name),
        }
    }

    /// Orderly shutdown, by the signal that the image asks for.
    pub(super) async fn stop(&self) -> Result<(), EnvironmentError> {
        let Some(container) = &self.container else { return Ok(()) };
        container
            .stop_with_timeout(Some(STOP_LIMIT_S))
            .await
            .map_err(|error| self.refused("stop", &error))?;
        match container.exit_code().await {
            Ok(Some(KILLED)) => Err(EnvironmentError::Stuck {
                name: self.role.name().to_owned(),
                signal: nix::sys::signal::Signal::SIGTERM,
                limit_ms: u128::from(STOP_LIMIT_S.unsigned_abs()) * 1000,
            }),
            _ => Ok(()),
        }
    }

    /// SIGKILL; returns when it has ended. One that has ended already is left alone.
    pub(super) async fn kill(&self) -> Result<(), EnvironmentError> {
        let options = KillContainerOptions { signal: "SIGKILL".to_owned() };
        match self.engine.kill_container(self.id(), Some(options)).await {
            Ok(()) | Err(Error::DockerResponseServerError { status_code: 409, .. }) => {}
            Err(error) => return Err(self.refused("kill", &error)),
        }
        let what = format!("{} gone", self.role.name());
        wait::until(&what, STATE_LIMIT, async || match self.running().await {
            Ok(false) => Ok(()),
            Ok(true) => Err("it runs".to_owned()),
            Err(error) => Err(error),
        })
        .await
        .map_err(|error| self.refused("kill", &error))
    }

    pub(super) async fn start(&self) -> Result<(), EnvironmentError> {
        let Some(container) = &self.container else { return Ok(()) };
        container.start().await.map_err(|error| self.refused("start", &error))?;
        self.note_pid().await;
        Ok(())
    }

    async fn note_pid(&self) {
        let seen = self.engine.inspect_container(self.id(), None::<InspectContainerOptions>).await;
        let pid = seen.ok().and_then(|seen| seen.state?.pid);
        self.pid.store(pid.and_then(|pid| u32::try_from(pid).ok()).unwrap_or(0), Relaxed);
    }

    /// Its first process as this machine knows it; `None` where the engine's processes are not ours to see.
    pub(super) fn pid(&self) -> Option<u32> {
        Some(self.pid.load(Relaxed)).filter(|pid| *pid > 0)
    }

    pub(super) async fn pause(&self) -> Result<(), EnvironmentError> {
        let Some(container) = &self.container else { return Ok(()) };
        container.pause().await.map_err(|error| self.refused("pause", &error))
    }

    pub(super) async fn unpause(&self) -> Result<(), EnvironmentError> {
        let Some(container) = &self.container else { return Ok(()) };
        container.unpause().await.map_err(|error| self.refused("unpause", &error))
    }

    async fn running(&self) -> Result<bool, String> {
        let seen = self.engine.inspect_container(self.id(), None::<InspectContainerOptions>).await;
        let state = seen.map_err(|error| error.to_string())?.state;
        Ok(state.and_then(|state| state.running).unwrap_or(false))
    }

    /// Returns when it has ended, with how; never while it runs.
    pub(super) async fn ended(&self) -> String {
        loop {
            if let Ok(false) = self.running().await {
                let seen = self.engine.inspect_container(self.id(), None::<InspectContainerOptions>).await;
                let code = seen.ok().and_then(|seen| seen.state).and_then(|state| state.exit_code);
                return code.map_or_else(|| "ended".to_owned(), |code| format!("exit code {code}"));
            }
            wait::pause(wait::PROBE_EVERY * 4).await;
        }
    }

    /// The error for one that ended by itself.
    pub(super) async fn died(&self, status: String) -> EnvironmentError {
        let lines = self.saved_lines().await;
        EnvironmentError::Died { name: self.role.name().to_owned(), status, log: self.log.clone(), lines }
    }

    /// The error for one that does not answer.
    pub(super) async fn not_ready(&self, source: WaitError) -> EnvironmentError {
        let lines = self.saved_lines().await;
        EnvironmentError::NotReady {
            name: self.role.name().to_owned(),
            log: self.log.clone(),
            lines,
            source: Box::new(source),
        }
    }

    async fn saved_lines(&self) -> String {
        match self.save_log().await {
            Ok(()) => last_lines(&self.log, LOG_LINES),
            Err(error) => format!("(the log could not be saved: {error})"),
        }
    }

    /// Appends what it wrote, over all its starts, to its log file.
    async fn save_log(&self) -> Result<(), EnvironmentError> {
        self.write_log(&mut append_to(&self.log)?).await
    }

    /// What it wrote, over all its starts.
    pub(super) async fn write_log(&self, to: &mut (impl Write + Send)) -> Result<(), EnvironmentError> {
        let options = LogsOptions { stdout: true, stderr: true, ..LogsOptions::default() };
        let mut logs = self.engine.logs(self.id(), Some(options));
        let io = |source| EnvironmentError::Io { doing: "write", path: self.log.clone(), source };
        while let Some(piece) =
            logs.try_next().await.map_err(|error| self.refused("read the log of", &error))?
        {
            to.write_all(&piece.into_bytes()).map_err(io)?;
        }
        Ok(())
    }

    /// Its network's tables of TCP sockets, as the kernel writes them.
    pub(super) async fn sockets(&self) -> Result<String, EnvironmentError> {
        let refused = |error: TestcontainersError| self.refused("look into", &error);
        let Some(container) = &self.container else { return Ok(String::new()) };
        // A machine without IPv6 has one table only, and `cat` then complains of the other.
        let command = ExecCommand::new(["cat", "/proc/net/tcp", "/proc/net/tcp6"]);
        let mut answer = container.exec(command).await.map_err(refused)?;
        let table = answer.stdout_to_vec().await.map_err(refused)?;
        if table.is_empty() {
            return Err(EnvironmentError::Engine {
                doing: format!("look into {}", self.role.name()),
                detail: "there is no `cat` in it".to_owned(),
            });
        }
        Ok(String::from_utf8_lossy(&table).into_owned())
    }

    /// Saves its log and removes it.
    pub(super) async fn down(mut self) -> Result<(), EnvironmentError> {
        // A frozen container's log can be read; a lost one must not keep it from being removed.
        let saved = self.save_log().await;
        let Some(container) = self.container.take() else { return saved };
        let removed = container.rm().await.map_err(|error| self.refused("remove", &error));
        EnvironmentError::of_all([saved, removed])
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        // testcontainers removes it, but needs a runtime for that; without one, the run's label does the same.
        if tokio::runtime::Handle::try_current().is_err() {
            std::mem::forget(self.container.take());
        }
    }
}
