//! A child process as a value with an owner and an end: its own process group, its output in a log file or in our hands,
//! known to the registry of leftovers while it lives, killed when it is dropped.

use std::{
    fmt,
    fs::{File, OpenOptions},
    io::{self, Read, Seek, SeekFrom},
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
    time::Duration,
};

use nix::sys::signal::Signal;
use tokio::{
    io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, BufReader},
    process::Command,
    sync::watch,
};

use super::{
    error::{EnvironmentError, LOG_LINES},
    registry::Registry,
};
use crate::{os::process::Identity, surroundings, wait};

/// Longest line handed to a reader of stdout; a longer one arrives in pieces. Bounds memory, not content.
const LINE_LIMIT_BYTES: u64 = 1024 * 1024;

/// How long a process may take to disappear after SIGKILL. The kernel needs milliseconds; a disk that hangs needs more.
const KILL_LIMIT: Duration = Duration::from_secs(10);

/// Services and processes under test give way to the load generator: on one machine they would otherwise make it late, and
/// what is measured then is the machine. They compete with each other as before.
const NICENESS: &str = "-n5";

/// Tells, in a process's environment, where its log is.
const LOG_VARIABLE: &str = "SQUALL_LOG_FILE";

/// How much of the end of a log is read to show its last lines.
const TAIL_BYTES: u64 = 16 * 1024;

/// How to start a process. Can be started again, after a stop, exactly as before.
#[derive(Debug, Clone)]
pub struct ChildSpec {
    /// Name for people, the registry and errors: `node-1`, `postgres`.
    pub name: String,
    /// The program.
    pub program: PathBuf,
    /// Its arguments.
    pub args: Vec<String>,
    /// Its variables, beside those that every process gets ([`surroundings::for_children`]). Nothing else is inherited.
    pub env: Vec<(String, String)>,
    /// User and group to become; needs root.
    pub user: Option<(u32, u32)>,
    /// Working folder; ours when absent.
    pub folder: Option<PathBuf>,
    /// File that stdout and stderr are appended to.
    pub log: PathBuf,
}

/// What becomes of a child's stdout. Its stderr always goes to the log file.
pub enum Stdout {
    /// Appended to the log file as well.
    Log,
    /// Each line, without its end, is given to the function on a task of its own.
    Lines(Box<dyn FnMut(String) + Send>),
}

impl fmt::Debug for Stdout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Log => "Log",
            Self::Lines(_) => "Lines(..)",
        })
    }
}

/// A running (or ended) child process. Dropping it kills it.
#[derive(Debug)]
#[must_use = "dropping a child kills it"]
pub struct Child {
    name: String,
    identity: Identity,
    log: PathBuf,
    exit: watch::Receiver<Option<ExitStatus>>,
}

impl Child {
    /// Starts a process. Its death is noticed, and taken off the registry, by a task of its own.
    ///
    /// # Errors
    ///
    /// [`EnvironmentError::Spawn`] when the program cannot be started, [`EnvironmentError::Io`] when its log cannot be
    /// opened.
    pub fn spawn(spec: &ChildSpec, stdout: Stdout, registry: &Registry) -> Result<Self, EnvironmentError> {
        let failed = |source| EnvironmentError::Spawn {
            name: spec.name.clone(),
            program: spec.program.clone(),
            source,
        };
        let log = append_to(&spec.log)?;
        // `nice` would start, and only then find nothing to become.
        if spec.program.is_absolute() && !spec.program.exists() {
            return Err(failed(io::ErrorKind::NotFound.into()));
        }
        let mut command = Command::new("nice");
        command
            .arg(NICENESS)
            .arg(&spec.program)
            .args(&spec.args)
            .env_clear()
            .envs(surroundings::for_children())
            // For whoever finds the process: whose it is, and what it said.
            .env(LOG_VARIABLE, &spec.log)
            .envs(spec.env.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(match &stdout {
                Stdout::Log => Stdio::from(log.try_clone().map_err(failed)?),
                Stdout::Lines(_) => Stdio::piped(),
            })
            .stderr(Stdio::from(log))
            // Its own group: a Ctrl-C on the terminal reaches us alone, and we take things down in order.
            .process_group(0)
            .kill_on_drop(true);
        if let Some((user, group)) = spec.user {
            command.uid(user).gid(group);
        }
        if let Some(folder) = &spec.folder {
            command.current_dir(folder);
        }
        let mut child = command.spawn().map_err(failed)?;
        let pid = child.id().and_then(|pid| i32::try_from(pid).ok()).unwrap_or(0);
        // It cannot be reaped before we wait for it, so its entry in /proc is there even if it died at once.
        let identity = Identity::of(pid).unwrap_or(Identity { pid, started: 0 });
        registry.note_child(&spec.name, identity);
        if let (Stdout::Lines(sink), Some(pipe)) = (stdout, child.stdout.take()) {
            tokio::spawn(hand_over(pipe, sink));
        }
        let (ended, exit) = watch::channel(None);
        let registry = registry.clone();
        tokio::spawn(async move {
            // An error here means that somebody else reaped it: gone all the same, with a status nobody knows.
            let status = child.wait().await.unwrap_or_default();
            registry.forget_child(identity);
            let _ = ended.send(Some(status));
        });
        Ok(Self { name: spec.name.clone(), identity, log: spec.log.clone(), exit })
    }

    /// Name for people.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Process id. Stays the same after the process ended; see [`Self::exited`].
    pub fn pid(&self) -> i32 {
        self.identity.pid
    }

    /// Process id and start time.
    pub fn identity(&self) -> Identity {
        self.identity
    }

    /// Its log file.
    pub fn log(&self) -> &Path {
        &self.log
    }

    /// How it ended, if it did.
    pub fn exited(&self) -> Option<ExitStatus> {
        *self.exit.borrow()
    }

    /// Waits, without limit, until it has ended.
    pub async fn wait(&self) -> ExitStatus {
        self.ended().await
    }

    /// The end of this life, for somebody who does not own it: does not keep the child from being dropped (and killed).
    pub fn ended(&self) -> impl Future<Output = ExitStatus> + Send + use<> {
        let exit = self.exit.clone();
        Self::end_of(exit)
    }

    async fn end_of(mut exit: watch::Receiver<Option<ExitStatus>>) -> ExitStatus {
        // The sender goes only after sending, unless the runtime is being shut down: then nobody reads the answer.
        exit.wait_for(Option::is_some).await.ok().and_then(|status| *status).unwrap_or_default()
    }

    /// Sends a signal to the process alone.
    ///
    /// # Errors
    ///
    /// [`EnvironmentError::Signal`] when the kernel refuses.
    pub fn signal(&self, signal: Signal) -> Result<(), EnvironmentError> {
        self.identity.signal(signal).map_err(|source| self.refused(signal, source))
    }

    /// Sends a signal to the process and to everything it started, parents first.
    ///
    /// # Errors
    ///
    /// [`EnvironmentError::Signal`] when the kernel refuses.
    pub fn signal_tree(&self, signal: Signal) -> Result<(), EnvironmentError> {
        // The root first: a frozen parent has no more children, so the tree read afterwards is complete.
        self.signal(signal)?;
        for process in self.identity.tree().into_iter().skip(1) {
            process.signal(signal).map_err(|source| self.refused(signal, source))?;
        }
        Ok(())
    }

    fn refused(&self, signal: Signal, source: nix::errno::Errno) -> EnvironmentError {
        EnvironmentError::Signal { name: self.name.clone(), pid: self.pid(), signal, source }
    }

    /// Asks it to end and waits. A process that does not end within the limit is killed, and that is an error.
    ///
    /// # Errors
    ///
    /// [`EnvironmentError::Stuck`] when it had to be killed.
    pub async fn terminate(&self, signal: Signal, limit: Duration) -> Result<ExitStatus, EnvironmentError> {
        self.signal(signal)?;
        // Frozen processes do not see a signal until they are thawed.
        self.signal_tree(Signal::SIGCONT)?;
        if let Ok(status) = tokio::time::timeout(limit, self.wait()).await {
            return Ok(status);
        }
        self.kill().await?;
        Err(EnvironmentError::Stuck { name: self.name.clone(), signal, limit_ms: limit.as_millis() })
    }

    /// Kills it and everything it started, and waits until all of them are gone.
    ///
    /// # Errors
    ///
    /// [`EnvironmentError::NotReady`] when the kernel does not get rid of them.
    pub async fn kill(&self) -> Result<(), EnvironmentError> {
        let tree = self.identity.kill_tree();
        wait::until(&format!("{} gone", self.name), KILL_LIMIT, async || {
            match tree.iter().find(|process| process.is_alive()) {
                Some(process) => Err(format!("pid {} lives on", process.pid)),
                None if self.exited().is_none() => Err("not reaped yet".to_owned()),
                None => Ok(()),
            }
        })
        .await
        .map_err(|source| self.not_ready(source))
    }

    /// The last lines of its log.
    pub fn last_lines(&self, lines: usize) -> String {
        last_lines(&self.log, lines)
    }

    pub(crate) fn not_ready(&self, source: wait::WaitError) -> EnvironmentError {
        EnvironmentError::NotReady {
            name: self.name.clone(),
            lines: self.last_lines(LOG_LINES),
            log: self.log.clone(),
            source: Box::new(source),
        }
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        if self.exited().is_none() {
            self.identity.kill_tree();
        }
    }
}

/// Opens a log file for appending, with its folder.
pub(crate) fn append_to(path: &Path) -> Result<File, EnvironmentError> {
    let failed = |source| EnvironmentError::Io { doing: "open the log file", path: path.to_owned(), source };
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).map_err(failed)?;
    }
    OpenOptions::new().create(true).append(true).open(path).map_err(failed)
}

/// The last lines of a file; what can be read of it.
pub(crate) fn last_lines(path: &Path, lines: usize) -> String {
    let tail = || -> io::Result<Vec<u8>> {
        let mut file = File::open(path)?;
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(TAIL_BYTES)))?;
        let mut tail = Vec::new();
        file.take(TAIL_BYTES).read_to_end(&mut tail)?;
        Ok(tail)
    };
    let text = tail().map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default();
    let all: Vec<&str> = text.lines().collect();
    all[all.len().saturating_sub(lines)..].join("\n")
}

async fn hand_over(pipe: impl AsyncRead + Unpin, mut sink: Box<dyn FnMut(String) + Send>) {
    let mut reader = BufReader::new(pipe);
    let mut line = Vec::new();
    loop {
        line.clear();
        match (&mut reader).take(LINE_LIMIT_BYTES).read_until(b'\n', &mut line).await {
            Ok(0) | Err(_) => return,
            Ok(_) => sink(String::from_utf8_lossy(&line).trim_end_matches(['\n', '\r']).to_owned()),
        }
    }
}
