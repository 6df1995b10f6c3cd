//! `squall up`: services and a cluster to try by hand, until Ctrl-C.

use clap::Args;
use tokio_util::sync::CancellationToken;

use super::{ServicesArgs, errors, errors::CliError};
use crate::{
    clock::Clock,
    environment::{self, Provider, without_password},
    exit::Exit,
    faults::SystemUnderTest,
    history::HistoryWriter,
    plan::ProcessName,
    progress::Progress,
    run::{
        RunError,
        deployment::{Deployment, DeploymentSpec},
        folder::RunFolder,
    },
    scenario::{Choices, Scenario},
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

pub(super) async fn up(args: UpArgs, cancel: &CancellationToken) -> Result<Exit, CliError> {
    let progress = Progress::for_stderr();
    environment::sweep(&progress).await;
    // A plan without a load: the cluster of a scenario, and nobody talking.
    let text = format!(
        "title = \"a cluster to try by hand\"\n[cluster]\nnodes = {}\nwriters = {}\ntokens = false\n\
         [load]\nusers = 1\nrooms = 1\nrate_per_s = 1\nduration_s = 3\n",
        args.nodes, args.writers
    );
    let plan = Scenario::plan("up", "--nodes/--writers", &text, &Choices::default())?;
    let clock = Clock::start();
    let folder = RunFolder::create(&args.out, &plan, clock.zero_unix_ms())?;
    let (recorder, history) = HistoryWriter::create(&folder.history(), clock).map_err(RunError::from)?;
    let external = args.services.external()?;
    let wanted = DeploymentSpec {
        plan: &plan,
        run_id: folder.run_id(),
        provider: args.services.provider,
        external: external.as_ref(),
        logs: folder.logs(),
    };
    let kept = async {
        let deployment = Deployment::up(&wanted, &recorder, &progress, cancel).await?;
        progress.finish();
        errors::print(&addresses(&deployment.sut, &plan.processes()));
        errors::print(&format!("logs        {}\n\nCtrl-C takes everything down.", folder.logs().display()));
        cancel.cancelled().await;
        deployment.down(&Progress::silent()).await
    }
    .await;
    drop(recorder);
    let _ = tokio::task::spawn_blocking(|| history.finish()).await;
    kept?;
    Ok(Exit::Holds)
}

fn addresses(sut: &SystemUnderTest, processes: &[ProcessName]) -> String {
    let SystemUnderTest { environment, cluster } = sut;
    let direct = environment.verifier();
    // Passwords that were drawn for this run are there to be used; others' are not shown.
    let shown = |url: &str| match environment.provider() {
        Provider::External => without_password(url),
        Provider::Docker | Provider::Host => url.to_owned(),
    };
    let mut lines = vec![
        format!("provider    {}", environment.provider()),
        format!("postgres    {}", shown(&direct.postgres_url)),
        format!("redis       {}", shown(&direct.redis_url)),
        format!("kafka       {}", direct.kafka_brokers),
        format!("toxiproxy   {}", environment.proxies().api_url()),
    ];
    for process in processes {
        if let Some(address) = cluster.address(*process) {
            let serves = match process {
                ProcessName::Node(_) => "the chat page, Socket.IO, /readyz, /metrics",
                ProcessName::Writer(_) => "/readyz, /metrics",
            };
            lines.push(format!("{:<11} http://{address}   ({serves})", process.to_string()));
        }
    }
    lines.join("\n")
}
