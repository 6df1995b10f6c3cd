//! Services and a cluster on them, up; with nobody talking yet.

use std::{
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use tokio_util::sync::CancellationToken;

use super::RunError;
use crate::{
    cluster::{Binaries, Cluster, ClusterSpec, clock},
    environment::{self, Environment, EnvironmentSpec, External, Provider, ProviderChoice},
    faults::SystemUnderTest,
    history::{EventKind, Phase, Recorder},
    plan::Plan,
    progress::Progress,
    target::Names,
    verifier, wait,
};

/// Longest wait for parts of a run that were given up to let go of the services.
const LET_GO_LIMIT: Duration = Duration::from_secs(20);

/// What is to stand, and where.
#[derive(Debug)]
pub struct DeploymentSpec<'a> {
    /// How many processes, and which services may be hurt in which way.
    pub plan: &'a Plan,
    /// Everything started carries this name.
    pub run_id: &'a str,
    /// Which provider.
    pub provider: ProviderChoice,
    /// Its services, for the external provider.
    pub external: Option<&'a External>,
    /// Logs of services and processes go here.
    pub logs: PathBuf,
}

/// All of it. To be taken down with [`Deployment::down`].
#[derive(Debug)]
pub struct Deployment {
    /// The services, their proxies, and the processes.
    pub sut: SystemUnderTest,
    /// Names of what the cluster shares with others who use the same services.
    pub names: Names,
    /// From the first service's start until the last process was ready.
    pub start_up: Duration,
}

impl Deployment {
    /// Brings everything up.
    ///
    /// # Errors
    ///
    /// [`RunError`]; whatever was started is down again by then.
    pub async fn up(
        wanted: &DeploymentSpec<'_>,
        recorder: &Recorder,
        progress: &Progress,
        cancel: &CancellationToken,
    ) -> Result<Self, RunError> {
        let plan = wanted.plan;
        // Before anything is built, started or made: what the provider cannot do, it cannot do later either.
        let provider = wanted.provider.resolve(&Progress::silent()).await?;
        supported(wanted, provider)?;
        let planted = plan.cluster.node_bug.is_some() || plan.cluster.writer_bug.is_some();
        let binaries = cancel.run_until_cancelled(Binaries::ready(planted, progress)).await;
        let binaries = binaries.ok_or(RunError::Interrupted)??;
        if clock::needed(plan) {
            clock::library()?;
        }
        let began = Instant::now();
        recorder.record(EventKind::Phase(Phase::Environment));
        let processes = plan.processes();
        let spec = EnvironmentSpec {
            run_id: wanted.run_id,
            processes: &processes,
            choice: wanted.provider,
            external: wanted.external.cloned(),
            logs_dir: &wanted.logs,
            small_disk: environment::needs_small_disk(&plan.faults),
        };
        let environment = cancel.run_until_cancelled(Box::pin(Environment::up(spec, progress))).await;
        let environment = Arc::new(environment.ok_or(RunError::Interrupted)??);
        let names = Names::new(wanted.run_id, environment.provider() == Provider::External);
        match cluster(wanted, &environment, &names, &binaries, recorder, progress, cancel).await {
            Ok(cluster) => {
                let sut = SystemUnderTest { environment, cluster: Arc::new(cluster) };
                Ok(Self { sut, names, start_up: began.elapsed() })
            }
            Err(error) => {
                // What went wrong first counts; this on top of it is worth a line.
                if let Err(error) = end(environment).await {
                    tracing::warn!(%error, "the services did not go down cleanly");
                }
                Err(error)
            }
        }
    }

    /// Takes everything down, and waits for it.
    ///
    /// # Errors
    ///
    /// [`RunError::Environment`] when a service would not go.
    pub async fn down(self, progress: &Progress) -> Result<(), RunError> {
        let Self { sut: SystemUnderTest { environment, cluster }, .. } = self;
        progress.now("stopping the cluster");
        cluster.down().await;
        drop(cluster);
        progress.now("taking the services down");
        end(environment).await
    }
}

fn supported(wanted: &DeploymentSpec<'_>, provider: Provider) -> Result<(), RunError> {
    environment::supports_all(provider, wanted.external, &wanted.plan.faults)
        .map_err(|why| RunError::Unsupported { provider: provider.to_string(), why })
}

async fn cluster(
    wanted: &DeploymentSpec<'_>,
    environment: &Arc<Environment>,
    names: &Names,
    binaries: &Binaries,
    recorder: &Recorder,
    progress: &Progress,
    cancel: &CancellationToken,
) -> Result<Cluster, RunError> {
    let plan = wanted.plan;
    // `auto` may have found out only now that it has to take another provider.
    supported(wanted, environment.provider())?;
    environment
        .reaches(&plan.faults)
        .map_err(|why| RunError::Unsupported { provider: environment.provider().to_string(), why })?;
    recorder.record(EventKind::Phase(Phase::Cluster));
    progress.now("starting the cluster");
    verifier::create_topics(&environment.verifier(), names, plan.cluster.partitions).await?;
    let spec =
        ClusterSpec { plan, binaries, logs: wanted.logs.clone(), names: names.clone(), endpoints: None };
    let up = cancel.run_until_cancelled(Cluster::up(&spec, environment, recorder)).await;
    Ok(up.ok_or(RunError::Interrupted)??)
}

/// Ends the services, as soon as nobody else uses them: a probe or a healing that was given up may need a moment.
pub(super) async fn end(environment: Arc<Environment>) -> Result<(), RunError> {
    let mut shared = Some(environment);
    let alone = wait::until("the services in nobody's use", LET_GO_LIMIT, async || {
        let environment = shared.take().ok_or("gone")?;
        Arc::try_unwrap(environment).map_err(|still| {
            shared = Some(still);
            "a part of the run still uses them"
        })
    });
    Ok(alone.await.map_err(RunError::StillUsed)?.down().await?)
}
