//! Trials for [`crate::capacity`]: the load of a scenario at one height after the other, on a cluster that stays up.
//!
//! A trial: its users connect, the schedule runs (its first moment is not measured), every message meets its fate, the
//! users leave, the ledgers come to rest. Processes reach the services by their proxies, as in a run: a capacity with a
//! fault and one without can be compared.

use std::{
    fs,
    sync::Arc,
    time::{Duration, Instant},
};

use tokio_util::sync::CancellationToken;

use super::{
    LEAD, Request, RunError,
    deployment::{Deployment, DeploymentSpec},
    folder::{FolderError, RunFolder},
    judge::JudgeError,
};
use crate::{
    capacity::Trial,
    clock::Clock,
    cluster::Spent,
    faults::player,
    gate::tally::{Window, tally},
    history::{Event, EventKind, FaultStep, HistoryFile, HistoryWriter, Recorder},
    load::{LiveStats, Load, LoadError, LoadTargets},
    os::{ProcessorTicks, processor_ticks},
    plan::{Arrivals, Plan},
    progress::Progress,
    report::RunFacts,
    verifier::Verifier,
    wait,
};

/// What is not measured of a trial: a pool that grows, a partition's first batch.
const SETTLE: Duration = Duration::from_millis(1_500);

/// A cluster to make trials on.
#[derive(Debug)]
pub struct CapacityBench<'a> {
    folder: &'a RunFolder,
    clock: Clock,
    deployment: Deployment,
    verifier: Verifier,
    recorder: Recorder,
    history: HistoryWriter,
    /// Counts searches; names the folder of logs, and tells rooms apart.
    search: u32,
}

/// What is seen at one moment.
struct Reading {
    at: Instant,
    ticks: Option<ProcessorTicks>,
    spent: Spent,
    /// Records in the log and not in the table; `None` while the ledgers do not say.
    missing: Option<i64>,
}

impl<'a> CapacityBench<'a> {
    /// Brings up services and a cluster, for the search of this number.
    ///
    /// # Errors
    ///
    /// [`RunError`]; whatever was started is down again by then.
    pub async fn up(
        request: &Request,
        folder: &'a RunFolder,
        clock: Clock,
        search: u32,
        progress: &Progress,
        cancel: &CancellationToken,
    ) -> Result<Self, RunError> {
        let logs = folder.logs().join(format!("search-{search}"));
        fs::create_dir_all(&logs).map_err(|source| FolderError::Io {
            verb: "create",
            path: logs.display().to_string(),
            source,
        })?;
        let (recorder, history) = HistoryWriter::create(&logs.join("history"), clock)?;
        let run_id = format!("{}-{search}", folder.run_id());
        let wanted = DeploymentSpec {
            plan: &request.plan,
            run_id: &run_id,
            provider: request.provider,
            external: request.external.as_ref(),
            logs,
        };
        let deployment = Deployment::up(&wanted, &recorder, progress, cancel).await?;
        let endpoints = deployment.sut.environment.verifier();
        let verifier = Verifier::new(endpoints, deployment.names.clone(), request.plan.cluster.partitions);
        Ok(Self { folder, clock, deployment, verifier, recorder, history, search })
    }

    /// Where and with what the trials run.
    pub fn facts(&self) -> RunFacts {
        let environment = &self.deployment.sut.environment;
        let provider = environment.provider().to_string();
        let mut facts = RunFacts::here(self.folder.run_id(), self.clock.zero_unix_ms(), provider);
        facts.services = environment.facts().iter().cloned().collect();
        facts.start_up_ms = ms(self.deployment.start_up);
        facts
    }

    /// Measures the load of `plan`, which is `load` of what the search varies, for `length_ms`. All faults of the plan are in
    /// force from the start of the load to its end.
    ///
    /// # Errors
    ///
    /// [`RunError`] when it could not be measured, or the ledgers do not come to rest after it.
    pub async fn trial(
        &self,
        nth: usize,
        mut plan: Plan,
        (load, length_ms): (u32, u64),
        cancel: &CancellationToken,
    ) -> Result<Trial, RunError> {
        let length_with_settling_ms = length_ms + ms(SETTLE);
        plan.seed = plan.seed.wrapping_add(u64::from(self.search) * 1_000 + nth as u64);
        plan.load.duration_ms = length_with_settling_ms;
        // Ids start anew in every trial, so rooms must be others.
        plan.load.room_prefix.push_str(&format!("{}-{nth}-", self.search));
        for fault in &mut plan.faults {
            (fault.at_ms, fault.for_ms) = (0, length_with_settling_ms);
        }
        let plan = Arc::new(plan);
        let arrivals = Arc::new(Arrivals::of(&plan));
        let path = self.folder.logs().join(format!("search-{}", self.search)).join(format!("trial-{nth}"));
        let (recorder, history) = HistoryWriter::create(&path, self.clock)?;
        let driven = self.drive(&plan, &arrivals, recorder, cancel).await;
        let closed = super::close(history).await;
        if cancel.is_cancelled() {
            return Err(RunError::Interrupted);
        }
        let mut trial = Trial { load, length_ms, ..Trial::default() };
        let (from, to, zero, disconnects) = match driven {
            Ok(driven) => driven,
            // Too much for the cluster or for the generator, and either way no load that meets objectives.
            Err(RunError::Load(error @ (LoadError::Gather { .. } | LoadError::Schedule(_)))) => {
                trial.no_load = Some(error.to_string());
                self.rest(&plan, cancel).await?;
                return Ok(trial);
            }
            Err(error) => return Err(error),
        };
        closed?;
        let history = |error| RunError::Judge(JudgeError::History(error));
        let events: Vec<Event> =
            HistoryFile::open(&path).map_err(history)?.collect::<Result<_, _>>().map_err(history)?;
        // It is large, and the trial says what it said.
        if let Err(error) = fs::remove_file(&path) {
            tracing::warn!(%error, path = %path.display(), "a history is left over");
        }
        trial.unproved = unproved(&plan, &events);
        let window = Window { from_us: self.clock.us_at(from.at), to_us: self.clock.us_at(to.at) };
        let zero_us = self.clock.us_at(zero);
        let due_us: Vec<u64> = arrivals.list.iter().map(|it| zero_us + it.due_us).collect();
        let told = tally(events, &due_us, plan.load.ack_timeout_ms * 1_000, &[window]).into_iter().next();
        let told = told.unwrap_or_default();
        (trial.due, trial.sent, trial.receipts) = (told.due, told.sent, told.receipts);
        (trial.ack, trial.receipt, trial.lateness_p99_us) = (told.ack, told.receipt, told.lateness_p99_us);
        if plan.faults.is_empty() {
            // What a fault breaks on purpose is no objective.
            trial.behind = to.missing.unwrap_or(0) - from.missing.unwrap_or(0);
            trial.disconnects = disconnects;
        }
        (trial.node_cpu_ns, trial.writer_cpu_ns) = to.spent.ns_since(&from.spent);
        (trial.busy, trial.steal) = shares(from.ticks, to.ticks);
        self.rest(&plan, cancel).await?;
        Ok(trial)
    }

    async fn drive(
        &self,
        plan: &Arc<Plan>,
        arrivals: &Arc<Arrivals>,
        recorder: Recorder,
        cancel: &CancellationToken,
    ) -> Result<(Reading, Reading, Instant, u64), RunError> {
        let sut = &self.deployment.sut;
        let targets = LoadTargets { nodes: sut.cluster.node_addresses() };
        let stats = Arc::new(LiveStats::default());
        let gathered = Load::gather(
            Arc::clone(plan),
            Arc::clone(arrivals),
            targets,
            recorder.clone(),
            Arc::clone(&stats),
            cancel.clone(),
        );
        let mut load = gathered.await?;
        let zero = Instant::now() + LEAD;
        let watch = async {
            wait::pause_until(zero + SETTLE).await;
            let from = self.read().await;
            wait::pause_until(zero + Duration::from_millis(plan.load.duration_ms)).await;
            (from, self.read().await)
        };
        let (in_force, silent) = (player::InForce::default(), Progress::silent());
        let playing = player::play(plan, zero, sut, &recorder, &in_force, &silent, cancel);
        let ((from, to), scheduled, ()) = tokio::join!(watch, load.schedule(zero), playing);
        let finished = load.finish().await;
        scheduled?;
        Ok((from, to, zero, finished?.disconnects))
    }

    async fn read(&self) -> Reading {
        // The time first: asking the ledgers takes a moment.
        let (at, ticks, spent) =
            (Instant::now(), processor_ticks(), self.deployment.sut.cluster.spent().await);
        Reading { at, ticks, spent, missing: self.verifier.backlog().await.ok().map(|it| it.records()) }
    }

    /// Waits until everything that was logged is stored.
    async fn rest(&self, plan: &Plan, cancel: &CancellationToken) -> Result<(), RunError> {
        let limit = Duration::from_millis(plan.settle_limit_ms);
        let resting =
            wait::until("every record stored", limit, async || match self.verifier.backlog().await {
                Ok(backlog) if backlog.is_empty() => Ok(()),
                Ok(backlog) => Err(backlog.to_string()),
                Err(error) => Err(error.to_string()),
            });
        let rested = cancel.run_until_cancelled(resting).await.ok_or(RunError::Interrupted)?;
        rested.map_err(RunError::Unrested)
    }

    /// Takes everything down.
    ///
    /// # Errors
    ///
    /// [`RunError`] when a service would not go.
    pub async fn down(self, progress: &Progress) -> Result<(), RunError> {
        let Self { deployment, recorder, history, .. } = self;
        let down = deployment.down(progress).await;
        drop(recorder);
        super::close(history).await?;
        down
    }
}

/// What a fault that no probe saw in force was said to be.
fn unproved(plan: &Plan, events: &[Event]) -> Option<String> {
    let numbers = (0_u32..).zip(&plan.faults).map(|(number, _)| number);
    numbers.into_iter().find_map(|number| {
        let mut said = "nothing was seen of it".to_owned();
        for event in events {
            match &event.what {
                EventKind::Fault { fault, step: FaultStep::Proved { .. } } if *fault == number => {
                    return None;
                }
                EventKind::Fault {
                    fault,
                    step: FaultStep::Unproved { evidence: why } | FaultStep::Failed { error: why },
                } if *fault == number => {
                    said.clone_from(why);
                }
                _ => {}
            }
        }
        Some(said)
    })
}

/// Shares of all processor time between two readings: used, and stolen. Used in full where the kernel does not say.
fn shares(from: Option<ProcessorTicks>, to: Option<ProcessorTicks>) -> (f64, f64) {
    let (Some(from), Some(to)) = (from, to) else { return (1.0, 0.0) };
    let all = to.all.saturating_sub(from.all).max(1) as f64;
    let share = |from: u64, to: u64| to.saturating_sub(from) as f64 / all;
    (1.0 - share(from.idle, to.idle), share(from.stolen, to.stolen))
}

fn ms(length: Duration) -> u64 {
    u64::try_from(length.as_millis()).unwrap_or(u64::MAX)
}
