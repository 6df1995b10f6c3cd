//! A run's life, in one function: [`run`].
//!
//! 1. make the run's folder and write the plan into it
//! 2. rent the services, each behind its proxies
//! 3. start the cluster under test
//! 4. gather the users: connect, join
//! 5. start the clock: the load sends on its schedule, the player breaks things on theirs
//! 6. heal everything, and see that it is healed
//! 7. settle: wait until every user is back in their rooms and the ledgers have come to rest ([`settle`])
//! 8. read the ledgers, past every proxy; again, if the log grew meanwhile
//! 9. take everything down; close the history
//! 10. judge it, write the report
//!
//! The history is on disk before anything is judged; `squall check` does step 10 again at any time.

pub mod capacity;
pub mod deployment;
pub mod folder;
pub mod gate;
pub mod judge;
pub mod limits;
mod sampler;
mod settle;

use std::{
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use tokio_util::sync::CancellationToken;

pub use crate::verifier::KafkaError;
use crate::{
    clock::Clock,
    cluster::ClusterError,
    environment::{EnvironmentError, External, ProviderChoice},
    faults::player,
    history::{
        EventKind, HistoryWriter, Phase, Recorder,
        recorder::{Closed, RecorderError},
    },
    load::{LiveStats, Load, LoadError, LoadTargets},
    plan::{Arrivals, Plan, Service},
    progress::Progress,
    report::facts::RunFacts,
    run::{
        deployment::{Deployment, DeploymentSpec},
        folder::{FolderError, RunFolder},
    },
    verifier::Verifier,
    wait,
};

/// Longest wait for the history to be on the disk once nobody records any more.
const CLOSE_LIMIT: Duration = Duration::from_secs(60);

/// Between "all have joined" and the first due message: every dispatcher has seen the zero by then.
const LEAD: Duration = Duration::from_millis(250);

/// What to run, where, and with which services.
#[derive(Debug, Clone)]
pub struct Request {
    /// The plan.
    pub plan: Plan,
    /// Which provider.
    pub provider: ProviderChoice,
    /// Its services, for the external provider.
    pub external: Option<External>,
    /// Run folders go below this.
    pub out: PathBuf,
}

/// Why there is no verdict.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The run's folder.
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// The services.
    #[error(transparent)]
    Environment(#[from] EnvironmentError),
    /// The processes under test.
    #[error(transparent)]
    Cluster(#[from] ClusterError),
    /// The users.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// The topics.
    #[error(transparent)]
    Kafka(#[from] KafkaError),
    /// The history.
    #[error(transparent)]
    Recorder(#[from] RecorderError),
    /// The judging.
    #[error(transparent)]
    Judge(#[from] judge::JudgeError),
    /// The provider cannot do what the plan asks for.
    #[error("the {provider} provider cannot do this: {why}")]
    Unsupported {
        /// Provider.
        provider: String,
        /// Which fault, and why.
        why: String,
    },
    /// Too few open files are allowed.
    #[error(
        "this run may need {needed} open files in one process, and the hard limit here is {most}: every user is a socket \
         in the generator, and in one node when the others are gone"
    )]
    Descriptors {
        /// What the plan needs.
        needed: u64,
        /// What the hard limit allows.
        most: u64,
    },
    /// A part of the run holds on to the services: they end when it does.
    #[error("the services were not taken down in order")]
    StillUsed(#[source] wait::WaitError),
    /// The next trial of a search would measure what is left of the one before.
    #[error("the ledgers do not come to rest between two trials")]
    Unrested(#[source] wait::WaitError),
    /// Ctrl-C or SIGTERM.
    #[error("interrupted; everything was taken down")]
    Interrupted,
}

/// A run that has a verdict.
#[derive(Debug)]
pub struct Finished {
    /// Its folder.
    pub folder: RunFolder,
    /// Its verdict and report.
    pub judged: judge::Judged,
}

/// Carries out a plan.
///
/// # Errors
///
/// [`RunError`] when no verdict could be reached; whatever was started is down again by then.
pub async fn run(
    request: &Request,
    progress: &Progress,
    cancel: &CancellationToken,
) -> Result<Finished, RunError> {
    let plan = Arc::new(request.plan.clone());
    limits::suffice(&plan)?;
    let clock = Clock::start();
    let folder = RunFolder::create(&request.out, &plan, clock.zero_unix_ms())?;
    progress.say(format!("{}: {} (seed {})", plan.scenario, plan.title, plan.seed));
    let (recorder, history) = HistoryWriter::create(&folder.history(), clock)?;
    let carried_out = carry_out(request, &plan, &folder, recorder, progress, cancel).await;
    // Its error matters less than the run's.
    let closed = close(history).await;
    if cancel.is_cancelled() {
        // Whatever else went wrong on the way down went wrong because of it.
        return Err(RunError::Interrupted);
    }
    let facts = carried_out?;
    let closed = closed?;
    if closed.lost > 0 {
        // No reason to stop: what is there can still convict, and the file itself says that it cannot acquit.
        progress.say(format!("{} events did not fit into the recorder's queue", closed.lost));
    }
    progress.now("judging");
    folder.write_facts(&facts)?;
    let judged = judge::judge(&folder)?;
    Ok(Finished { folder, judged })
}

/// Waits until a history is on the disk. Every recorder of it is gone by now, so this waits for the disk only.
async fn close(history: HistoryWriter) -> Result<Closed, RecorderError> {
    let closing = tokio::task::spawn_blocking(|| history.finish());
    match tokio::time::timeout(CLOSE_LIMIT, closing).await {
        Ok(closed) => closed.unwrap_or(Err(RecorderError::Panicked)),
        Err(_) => Err(RecorderError::Held { limit_s: CLOSE_LIMIT.as_secs() }),
    }
}

/// Steps 2 to 9.
async fn carry_out(
    request: &Request,
    plan: &Arc<Plan>,
    folder: &RunFolder,
    recorder: Recorder,
    progress: &Progress,
    cancel: &CancellationToken,
) -> Result<RunFacts, RunError> {
    let wanted = DeploymentSpec {
        plan,
        run_id: folder.run_id(),
        provider: request.provider,
        external: request.external.as_ref(),
        logs: folder.logs(),
    };
    let deployment = Deployment::up(&wanted, &recorder, progress, cancel).await?;
    let environment = &deployment.sut.environment;
    let mut facts =
        RunFacts::here(folder.run_id(), recorder.clock().zero_unix_ms(), environment.provider().to_string());
    facts.services = environment.facts().iter().cloned().collect();
    facts.start_up_ms = u64::try_from(deployment.start_up.as_millis()).unwrap_or(u64::MAX);
    progress.say(format!(
        "{} services, {} nodes and {} writers up in {:.1} s ({})",
        Service::ALL.len(),
        plan.cluster.nodes,
        plan.cluster.writers,
        deployment.start_up.as_secs_f64(),
        environment.provider()
    ));
    let sampling = sampler::start(deployment.sut.clone(), recorder.clone());
    let driven = drive(plan, &deployment, &recorder, progress, cancel).await;
    sampling.stop().await;
    let down = deployment.down(progress).await;
    if let (Err(_), Err(error)) = (&driven, &down) {
        // The run's own error is the one that is returned.
        progress.say(format!("not everything was taken down: {error}"));
    }
    driven?;
    down?;
    Ok(facts)
}

/// Steps 4 to 8, on a cluster that is up.
async fn drive(
    plan: &Arc<Plan>,
    deployment: &Deployment,
    recorder: &Recorder,
    progress: &Progress,
    cancel: &CancellationToken,
) -> Result<(), RunError> {
    let sut = &deployment.sut;
    let endpoints = sut.environment.verifier();
    let verifier = Verifier::new(endpoints, deployment.names.clone(), plan.cluster.partitions);
    let arrivals = Arc::new(Arrivals::of(plan));
    let stats = Arc::new(LiveStats::default());
    recorder.record(EventKind::Phase(Phase::Gather));
    progress.now(format!("{} users connect and join", plan.load.users));
    let targets = LoadTargets { nodes: sut.cluster.node_addresses() };
    let mut load = Load::gather(
        Arc::clone(plan),
        Arc::clone(&arrivals),
        targets,
        recorder.clone(),
        Arc::clone(&stats),
        cancel.clone(),
    )
    .await?;

    let zero = Instant::now() + LEAD;
    recorder.record_at(zero, EventKind::Phase(Phase::Load));
    let in_force = player::InForce::default();
    let showing = sampler::show(plan, zero, &stats, &in_force, progress);
    let (scheduled, ()) = tokio::join!(
        async {
            let scheduled = load.schedule(zero).await;
            recorder.record(EventKind::Phase(Phase::LoadEnded));
            scheduled
        },
        player::play(plan, zero, sut, recorder, &in_force, progress, cancel),
    );
    showing.stop().await;
    recorder.record(EventKind::Phase(Phase::Healed));

    let settled = async {
        scheduled?;
        settle::settle(plan, &verifier, &stats, recorder, progress, cancel).await;
        if cancel.is_cancelled() {
            return Ok(());
        }
        recorder.record(EventKind::Phase(Phase::Settled));
        progress.now("reading the ledgers");
        let read = verifier.read_all(plan, &arrivals, recorder);
        if cancel.run_until_cancelled(read).await.is_some() {
            recorder.record(EventKind::Phase(Phase::Read));
        }
        Ok::<(), RunError>(())
    }
    .await;
    let finished = load.finish().await;
    settled?;
    let summary = finished?;
    tracing::debug!(?summary, "the load's own account");
    if cancel.is_cancelled() { Err(RunError::Interrupted) } else { Ok(()) }
}
