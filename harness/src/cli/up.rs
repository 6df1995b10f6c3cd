//! `squall up`: services and a cluster to try by hand, until Ctrl-C.

use std::sync::Arc;

use clap::Args;
use tokio_util::sync::CancellationToken;

use super::{ServicesArgs, door, door::Refused};
use crate::{
    clock::Clock,
    cluster::{Binaries, Cluster, ClusterSpec, Names},
    environment::{self, Environment, EnvironmentSpec, Provider},
    exit::Exit,
    history::HistoryWriter,
    plan::ProcessName,
    progress::Progress,
    run::{RunError, folder::RunFolder},
    scenario::{Choices, Scenario},
    verifier,
};

#[derive(Debug, Args)]
pub(super) struct UpArgs {
    /// Chat nodes.
    #[arg(long, default_value_t = 3)]
    nodes: u16,
    /// Writers.
    #[arg(long, default_value_t = 2)]
    writers: u16,
    /// Logs go below this.
    #[arg(long, default_value = "reports")]
    out: std::path::PathBuf,
    #[command(flatten)]
    services: ServicesArgs,
}

pub(super) async fn up(args: UpArgs, cancel: &CancellationToken) -> Result<Exit, Refused> {
    let progress = Progress::for_stderr();
    environment::sweep(&progress).await;
    // A plan without a load: the cluster of a scenario, and nobody talking.
    let text = format!(
        "title = \"a cluster to try by hand\"\n[cluster]\nnodes = {}\nwriters = {}\n\
         [load]\nusers = 1\nrooms = 1\nrate_per_s = 1\nduration_s = 3\n",
        args.nodes, args.writers
    );
    let plan = Scenario::plan("up", "--nodes/--writers", &text, &Choices::default())?;
    let clock = Clock::start();
    let folder = RunFolder::create(&args.out, &plan, clock.zero_unix_ms())?;
    let (recorder, history) = HistoryWriter::create(&folder.history(), clock).map_err(RunError::from)?;
    let binaries = Binaries::ready(false, &progress);
    let binaries =
        cancel.run_until_cancelled(binaries).await.ok_or(RunError::Interrupted)?.map_err(RunError::from)?;
    let processes = plan.processes();
    let spec = EnvironmentSpec {
        run_id: folder.run_id(),
        processes: &processes,
        choice: args.services.provider,
        external: args.services.external()?,
        logs_dir: &folder.logs(),
        small_disk: false,
    };
    let environment = cancel.run_until_cancelled(Environment::up(spec, &progress)).await;
    let environment = Arc::new(environment.ok_or(RunError::Interrupted)??);
    let names = Names::new(folder.run_id(), environment.provider() == Provider::External);
    let kept = async {
        verifier::create_topics(&environment.verifier(), &names, plan.cluster.partitions)
            .await
            .map_err(RunError::from)?;
        let spec = ClusterSpec { plan: &plan, binaries: &binaries, logs: folder.logs(), names };
        let cluster = cancel.run_until_cancelled(Cluster::up(&spec, &environment, &recorder)).await;
        let cluster = cluster.ok_or(RunError::Interrupted)?.map_err(RunError::from)?;
        progress.finish();
        door::print(&addresses(&environment, &cluster, &processes));
        door::print(&format!("logs        {}\n\nCtrl-C takes everything down.", folder.logs().display()));
        cancel.cancelled().await;
        cluster.down().await;
        Ok::<(), Refused>(())
    }
    .await;
    drop(recorder);
    if let Ok(environment) = Arc::try_unwrap(environment) {
        environment.down().await?;
    }
    let _ = tokio::task::spawn_blocking(|| history.finish()).await;
    kept.map(|()| Exit::Holds)
}

fn addresses(environment: &Environment, cluster: &Cluster, processes: &[ProcessName]) -> String {
    let direct = environment.verifier();
    let mut lines = vec![
        format!("provider    {}", environment.provider()),
        format!("postgres    {}", direct.postgres_url),
        format!("redis       {}", direct.redis_url),
        format!("kafka       {}", direct.kafka_brokers),
        format!("toxiproxy   {}", environment.proxies().api_url()),
    ];
    for process in processes {
        if let Some(address) = cluster.address(*process) {
            let serves = match process {
                ProcessName::Node(_) => "Socket.IO, /readyz, /metrics",
                ProcessName::Writer(_) => "/readyz, /metrics",
            };
            lines.push(format!("{:<11} http://{address}   ({serves})", process.to_string()));
        }
    }
    lines.join("\n")
}
