//! The cluster under test: chat nodes and writers, real processes that can be killed, frozen and started again.
//!
//! The harness never links them; it runs their binaries, reads their logs, and looks at them from outside.

pub mod binaries;
pub mod checkout;
pub mod clock;
mod observe;
pub mod process;

use std::{collections::BTreeMap, net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use tokio::sync::Mutex;

use crate::{
    environment::{
        Endpoints, Environment, EnvironmentError, child::last_lines, error::LOG_LINES, ports::Ports,
    },
    history::{EventKind, Recorder},
    os::process::Identity,
    plan::{Plan, ProcessName},
    target::{Names, reference},
    wait::{self, WaitError},
};

pub use binaries::Binaries;
pub use checkout::Checkout;
pub use observe::{PROBE_SOURCE, Spent};
use process::{Launch, Process};

/// A process is listening within this time of its start; it binds before it does anything else.
const LISTENING_LIMIT: Duration = Duration::from_secs(20);
/// A process is ready within this time: it has found Kafka, Redis and PostgreSQL. So is the writers' group: it has shared
/// out the partitions.
const READY_LIMIT: Duration = Duration::from_secs(40);
/// A graceful shutdown takes at most this; then it is killed, and that is noted. Longer than the processes' own drain.
const GRACE: Duration = Duration::from_secs(12);

/// Why the cluster is not as it should be.
#[derive(Debug, thiserror::Error)]
pub enum ClusterError {
    /// A log cannot be written.
    #[error("cannot open the log {log}")]
    Log {
        /// Which.
        log: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The binaries are missing and could not be built.
    #[error("cannot build the chat binaries: {0}")]
    Build(String),
    /// A binary is missing, and this squall was not run from the checkout that could build it.
    #[error("{} is not there", path.display())]
    NotInstalled {
        /// Which.
        path: PathBuf,
        /// Whether it is one with planted bugs.
        planted: bool,
    },
    /// A commit is asked for, and this squall was not run from the checkout that has it.
    #[error("a commit can be built only by a squall that runs from its own checkout (`cargo squall`)")]
    NoCheckout,
    /// This executable has no place.
    #[error("cannot tell where squall is")]
    Nowhere(#[source] std::io::Error),
    /// A process died before it was ready.
    #[error("{process} ended before it was ready ({status}); its log says:\n{tail}")]
    Died {
        /// Which process.
        process: String,
        /// Exit status.
        status: String,
        /// Last lines of its log.
        tail: String,
    },
    /// A process did not become ready.
    #[error("{process} is not ready; see {log}")]
    NotReady {
        /// Which process.
        process: String,
        /// Its log.
        log: String,
        /// The wait.
        #[source]
        source: WaitError,
    },
    /// The writers did not share out the partitions.
    #[error("the writers' group {group} does not come to rest")]
    NoGroup {
        /// Which.
        group: String,
        /// The wait.
        #[source]
        source: WaitError,
    },
    /// There is no such process, or it does not run.
    #[error("{0} does not run")]
    NotRunning(ProcessName),
    /// A listening address could not be set aside.
    #[error("cannot set aside a port for {process}")]
    Port {
        /// Which process.
        process: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A plan sets clocks, and nothing is there to set them with.
    #[error("process-clock-skew needs libfaketime: {missing}; {how_to_get}")]
    NoFaketime {
        /// Where it was looked for.
        missing: String,
        /// What to do.
        how_to_get: &'static str,
    },
    /// A process's clock cannot be set.
    #[error("cannot set the clock in {file}")]
    Clock {
        /// The file that its offset is read from.
        file: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// Names are to lead to proxies, and nothing is there to lead them.
    #[error("links by name need libnss-wrapper: {missing}; {how_to_get}")]
    NoResolver {
        /// Where it was looked for.
        missing: String,
        /// What to do.
        how_to_get: &'static str,
    },
    /// A process's host names cannot be written down.
    #[error("cannot write the host names in {file}")]
    Hosts {
        /// The file that they are read from.
        file: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The canary of links by name.
    #[error("{process} went past its proxies, to {to:?}: its links could not be broken")]
    PastProxies {
        /// Which process.
        process: ProcessName,
        /// Where to.
        to: Vec<SocketAddr>,
    },
    /// The environment refused.
    #[error(transparent)]
    Environment(#[from] EnvironmentError),
}

impl ClusterError {
    /// What to do next, in one sentence.
    pub fn help(&self) -> &'static str {
        match self {
            Self::NotInstalled { planted: false, .. } => reference::HOW_TO_INSTALL,
            Self::NotInstalled { planted: true, .. } => {
                "planted bugs are built in the checkout: use `cargo squall` there"
            }
            Self::NoCheckout => "name two folders that have the programs: --baseline DIR --candidate DIR",
            _ => "the logs of the run are in its folder, under logs/",
        }
    }
}

/// Nodes and writers by name.
#[derive(Debug)]
pub struct Cluster {
    launches: BTreeMap<ProcessName, Launch>,
    running: Mutex<BTreeMap<ProcessName, Process>>,
    recorder: Recorder,
    environment: Arc<Environment>,
    http: reqwest::Client,
    plan: Plan,
    names: Names,
}

/// How a cluster is started.
#[derive(Debug)]
pub struct ClusterSpec<'a> {
    /// What to start.
    pub plan: &'a Plan,
    /// With which binaries.
    pub binaries: &'a Binaries,
    /// Where logs go.
    pub logs: PathBuf,
    /// Names that keep runs apart where services are shared.
    pub names: Names,
    /// How all of its processes reach the services; each through its own proxies where nothing is said here.
    pub endpoints: Option<Endpoints>,
}

impl Cluster {
    /// Starts every process and waits until all are ready.
    ///
    /// # Errors
    ///
    /// [`ClusterError`]; what was started is ended first.
    pub async fn up(
        spec: &ClusterSpec<'_>,
        environment: &Arc<Environment>,
        recorder: &Recorder,
    ) -> Result<Self, ClusterError> {
        let mut launches = BTreeMap::new();
        let mut ports = Ports::default();
        for name in spec.plan.processes() {
            launches.insert(name, Launch::new(name, spec, environment, &mut ports)?);
        }
        let cluster = Self {
            launches,
            running: Mutex::new(BTreeMap::new()),
            recorder: recorder.clone(),
            environment: Arc::clone(environment),
            http: observe::client(),
            plan: spec.plan.clone(),
            names: spec.names.clone(),
        };
        // Writers first make the tables; all become ready side by side.
        let started = futures_util::future::try_join_all(
            spec.plan.processes().into_iter().map(|name| cluster.start(name)),
        );
        let up = async {
            started.await?;
            cluster.shared_out().await?;
            cluster.through_proxies().await
        };
        match up.await {
            Ok(()) => Ok(cluster),
            Err(error) => {
                cluster.end_all().await;
                Err(error)
            }
        }
    }

    /// Waits until the writers have shared out all partitions. One that joins later makes them do it again, over two of its
    /// heartbeats; a fault that begins meanwhile would be charged with that rebalance.
    async fn shared_out(&self) -> Result<(), ClusterError> {
        let (endpoints, writers) = (self.environment.verifier(), self.plan.cluster.writers.into());
        let look = async || observe::shared_out(&endpoints, &self.names, writers).await;
        let shared = wait::until("the writers' group", READY_LIMIT, look).await;
        shared.map_err(|source| ClusterError::NoGroup { group: self.names.group.clone(), source })
    }

    /// Looks whether any process went past its proxies: then a fault on its links would strike nobody.
    async fn through_proxies(&self) -> Result<(), ClusterError> {
        for (process, pid) in self.pids().await {
            let to = self.environment.past_proxies(process, pid);
            if !to.is_empty() {
                return Err(ClusterError::PastProxies { process, to });
            }
        }
        Ok(())
    }

    /// The plan it was started by.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// Names of what it uses in shared services.
    pub fn names(&self) -> &Names {
        &self.names
    }

    /// Where clients reach the nodes, in order; stable over restarts.
    pub fn node_addresses(&self) -> Vec<SocketAddr> {
        let nodes = self.launches.iter().filter(|(name, _)| matches!(name, ProcessName::Node(_)));
        nodes.map(|(_, launch)| launch.listen).collect()
    }

    /// Health and metrics address of any process.
    pub fn address(&self, name: ProcessName) -> Option<SocketAddr> {
        self.launches.get(&name).map(|launch| launch.listen)
    }

    /// Starts a process that does not run, and waits until it is ready.
    ///
    /// # Errors
    ///
    /// [`ClusterError`].
    pub async fn start(&self, name: ProcessName) -> Result<(), ClusterError> {
        let launch = self.launches.get(&name).ok_or(ClusterError::NotRunning(name))?;
        let process = Process::spawn(launch, &self.recorder, &self.environment)?;
        self.running.lock().await.insert(name, process);
        self.until_ready(name, launch).await
    }

    /// Starts a process unless it runs, and waits until it is ready in any case.
    ///
    /// # Errors
    ///
    /// [`ClusterError`].
    pub async fn start_unless_running(&self, name: ProcessName) -> Result<(), ClusterError> {
        if self.exit_status(name).await.is_some() {
            return self.start(name).await;
        }
        let launch = self.launches.get(&name).ok_or(ClusterError::NotRunning(name))?;
        self.until_ready(name, launch).await
    }

    async fn until_ready(&self, name: ProcessName, launch: &Launch) -> Result<(), ClusterError> {
        let fail = |source| ClusterError::NotReady {
            process: name.to_string(),
            log: launch.log().display().to_string(),
            source,
        };
        let died = |status: String| ClusterError::Died {
            process: name.to_string(),
            status,
            tail: last_lines(launch.log(), LOG_LINES),
        };
        let what = format!("{name} ready");
        let ready = wait::until(&what, LISTENING_LIMIT + READY_LIMIT, async || {
            if let Some(status) = self.exit_status(name).await {
                return Ok(Err(status));
            }
            observe::ready(&self.http, launch.listen).await.map(Ok)
        });
        match ready.await.map_err(fail)? {
            Ok(()) => {
                self.recorder.record(EventKind::Ready { process: name.to_string() });
                Ok(())
            }
            Err(status) => Err(died(status)),
        }
    }

    async fn exit_status(&self, name: ProcessName) -> Option<String> {
        let running = self.running.lock().await;
        running.get(&name).map_or_else(|| Some("not running".to_owned()), Process::exit_status)
    }

    /// Kills a process with SIGKILL and reaps it.
    ///
    /// # Errors
    ///
    /// [`ClusterError`] when it does not run.
    pub async fn kill(&self, name: ProcessName) -> Result<(), ClusterError> {
        self.take(name).await?.kill().await
    }

    /// Ends a process with SIGTERM; kills it when it does not end in time.
    ///
    /// # Errors
    ///
    /// [`ClusterError`] when it does not run.
    pub async fn terminate(&self, name: ProcessName) -> Result<(), ClusterError> {
        self.take(name).await?.terminate(GRACE).await
    }

    /// Freezes a process.
    ///
    /// # Errors
    ///
    /// [`ClusterError`] when it does not run.
    pub async fn pause(&self, name: ProcessName) -> Result<(), ClusterError> {
        self.with(name, |process| process.signal(nix::sys::signal::Signal::SIGSTOP)).await
    }

    /// Thaws a process.
    ///
    /// # Errors
    ///
    /// [`ClusterError`] when it does not run.
    pub async fn resume(&self, name: ProcessName) -> Result<(), ClusterError> {
        self.with(name, |process| process.signal(nix::sys::signal::Signal::SIGCONT)).await
    }

    async fn with<T>(
        &self,
        name: ProcessName,
        act: impl FnOnce(&Process) -> Result<T, ClusterError>,
    ) -> Result<T, ClusterError> {
        let running = self.running.lock().await;
        act(running.get(&name).ok_or(ClusterError::NotRunning(name))?)
    }

    async fn take(&self, name: ProcessName) -> Result<Process, ClusterError> {
        self.running.lock().await.remove(&name).ok_or(ClusterError::NotRunning(name))
    }

    /// Sets a process's wall clock, so many seconds from the machine's. It need not run.
    ///
    /// # Errors
    ///
    /// [`ClusterError`] when it was not started with a clock of its own, or the file cannot be written.
    pub fn set_clock(&self, name: ProcessName, offset_s: i64) -> Result<(), ClusterError> {
        let launch = self.launches.get(&name).ok_or(ClusterError::NotRunning(name))?;
        launch.clock.as_ref().ok_or(ClusterError::NotRunning(name))?.set(offset_s)
    }

    /// Pids of the processes that run, for sampling.
    pub async fn pids(&self) -> Vec<(ProcessName, u32)> {
        self.running.lock().await.iter().map(|(name, process)| (*name, process.pid())).collect()
    }

    /// What its processes have used of the processors until now.
    pub async fn spent(&self) -> Spent {
        observe::spent(&self.pids().await)
    }

    /// Evidence that a process is gone: no such pid, and its address refuses.
    ///
    /// # Errors
    ///
    /// What was seen instead.
    pub async fn observe_gone(&self, name: ProcessName) -> Result<String, String> {
        let launch = self.launches.get(&name).ok_or_else(|| format!("there is no {name}"))?;
        observe::gone(name, launch.last_pid(), launch.listen).await
    }

    /// Evidence that a process is frozen: state T in /proc.
    ///
    /// # Errors
    ///
    /// What was seen instead.
    pub async fn observe_frozen(&self, name: ProcessName) -> Result<String, String> {
        let launch = self.launches.get(&name).ok_or_else(|| format!("there is no {name}"))?;
        observe::frozen(name, launch.last_pid()).await
    }

    /// The present life of a process, as /proc shows it; `None` when its latest pid is gone.
    pub fn incarnation(&self, name: ProcessName) -> Option<Identity> {
        let pid = self.launches.get(&name)?.last_pid();
        Identity::of(i32::try_from(pid).ok()?)
    }

    /// How far a process's wall clock is from ours, in seconds, by the `Date` of its answer to a health check; exact to
    /// two seconds.
    ///
    /// # Errors
    ///
    /// What came instead of an answer.
    pub async fn clock_offset(&self, name: ProcessName) -> Result<i64, String> {
        let launch = self.launches.get(&name).ok_or_else(|| format!("there is no {name}"))?;
        observe::clock_offset(&self.http, launch.listen).await.map_err(|error| format!("{name}: {error}"))
    }

    /// What a process publishes about itself, as Prometheus text.
    ///
    /// # Errors
    ///
    /// What came instead within `limit`.
    pub async fn metrics(&self, name: ProcessName, limit: Duration) -> Result<String, String> {
        let launch = self.launches.get(&name).ok_or_else(|| format!("there is no {name}"))?;
        observe::metrics(&self.http, launch.listen, limit).await.map_err(|error| format!("{name}: {error}"))
    }

    /// Evidence that a process is well: it answers its health check.
    ///
    /// # Errors
    ///
    /// What was seen instead.
    pub async fn observe_alive(&self, name: ProcessName) -> Result<String, String> {
        let launch = self.launches.get(&name).ok_or_else(|| format!("there is no {name}"))?;
        observe::ready(&self.http, launch.listen).await.map(|()| format!("{name} is ready"))
    }

    /// Ends every process gracefully: nodes first, so that writers see the last messages.
    pub async fn down(&self) {
        let mut running = std::mem::take(&mut *self.running.lock().await);
        let writers = running.split_off(&ProcessName::Writer(0));
        for group in [running, writers] {
            let ending = group.into_values().map(|process| process.terminate(GRACE));
            for ended in futures_util::future::join_all(ending).await {
                if let Err(error) = ended {
                    self.recorder.record(EventKind::Note { text: error.to_string() });
                }
            }
        }
    }

    async fn end_all(&self) {
        let running = std::mem::take(&mut *self.running.lock().await);
        futures_util::future::join_all(running.into_values().map(Process::kill)).await;
    }
}
