//! Benchmarks live in `benches/`: `cargo bench --workspace --bench NAME`. Here is what those on real services share.
#![recursion_limit = "256"] // the future that brings a deployment up is deep

pub mod samples;

use std::{error::Error, time::Duration};

use harness::{
    clock::Clock,
    environment::ProviderChoice,
    history::HistoryWriter,
    plan::Plan,
    progress::Progress,
    run::{
        deployment::{Deployment, DeploymentSpec},
        limits,
    },
    scenario::{Choices, library},
};
use tokio_util::sync::CancellationToken;

/// Whatever goes wrong ends a benchmark.
pub type Fallible<T> = Result<T, Box<dyn Error + Send + Sync>>;

/// Measures one node and one writer on services of their own, on this host, and takes them down again. `set` may change the
/// plan before they start.
///
/// # Errors
///
/// The cluster did not start or did not end, or what was measured failed.
pub async fn on_a_cluster(
    name: &str,
    set: impl FnOnce(&mut Plan),
    measure: impl AsyncFnOnce(&Deployment, &Plan) -> Fallible<()>,
) -> Fallible<()> {
    limits::raise();
    let out = tempfile::tempdir()?;
    let mut plan = library::find("smoke")?.plan(&Choices::default())?;
    (plan.cluster.nodes, plan.cluster.writers) = (1, 1);
    set(&mut plan);
    let (recorder, history) = HistoryWriter::create(&out.path().join("history"), Clock::start())?;
    let wanted = DeploymentSpec {
        plan: &plan,
        run_id: &format!("{name}-{}", std::process::id()),
        provider: ProviderChoice::Host,
        external: None,
        logs: out.path().join("logs"),
    };
    let progress = Progress::silent();
    let deployment = Deployment::up(&wanted, &recorder, &progress, &CancellationToken::new()).await?;
    let measured = measure(&deployment, &plan).await;
    drop(recorder);
    deployment.down(&progress).await?;
    history.finish()?;
    measured
}

/// Lets time pass: between two readings, or until what cannot be asked for has settled.
#[expect(clippy::disallowed_methods, reason = "a measurement is over a stretch of time, and no fact ends it")]
pub async fn pass(time: Duration) {
    tokio::time::sleep(time).await;
}
