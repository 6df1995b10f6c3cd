//! The command line: the door. Everything inside speaks typed errors; here they get their help and their exit code.

mod all;
mod capacity;
mod compare;
mod contrast;
mod errors;
mod gate;
mod shard;
mod shrink;
mod trend;
mod up;

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
};

use chat_process::{kafka, start};
use clap::{Args, CommandFactory, Parser, Subcommand};
use tokio_util::sync::CancellationToken;

use crate::{
    cluster::{Binaries, ClusterError},
    environment::{self, External, ProviderChoice, doctor::Check},
    exit::Exit,
    plan::{Plan, ProcessName, Topology, fault::catalogue},
    progress::Progress,
    run::{
        self, Request,
        folder::{self, RunFolder},
        judge, limits,
    },
    scenario::{Choices, library},
    shipped,
};

use errors::CliError;

/// Chaos tests for a chat cluster: what do users lose, and for how long, when a part of it fails under load?
#[derive(Debug, Parser)]
#[command(name = "squall", version, after_help = EXIT_CODES)]
struct Squall {
    /// Colours in what is shown. NO_COLOR is heeded where nothing is said here.
    #[arg(long, global = true, value_enum, default_value = "auto", value_name = "WHEN")]
    color: errors::Colour,
    #[command(subcommand)]
    command: Command,
}

const EXIT_CODES: &str = "Exit codes: 0 holds · 1 violated · 2 unknown · 3 slower · 4 objective missed · \
                          64 usage · 69 environment · 70 a bug in squall · 130 interrupted";

#[derive(Debug, Subcommand)]
enum Command {
    /// Run a scenario: start everything, drive load, break things, judge.
    Run(RunArgs),
    /// Judge an earlier run again, from its history.
    Check {
        /// A run's folder.
        run: PathBuf,
    },
    /// Tell one message's story: who sent it, where it stands in each ledger, who saw it when.
    Explain {
        /// A run's folder.
        run: PathBuf,
        /// A message id, as in the report: m123.
        message: String,
    },
    /// Run a scenario under both topologies, and show side by side what relay loses and durable-first does not.
    Contrast(contrast::ContrastArgs),
    /// Tell whether this build is slower than another: both side by side, the load going to one at a time.
    Gate(gate::GateArgs),
    /// Find the highest load that still meets its objectives, healthy or with a fault in force.
    Capacity(capacity::CapacityArgs),
    /// Show two earlier runs side by side. No verdict: only what was measured in pairs has one.
    Compare {
        /// A run's folder.
        run_a: PathBuf,
        /// Another's.
        run_b: PathBuf,
    },
    /// Draw the figures of all gates and capacity searches below a folder over time, and tell where they changed for good.
    Trend {
        /// The folder that they were sent to.
        #[arg(default_value = "reports")]
        folder: PathBuf,
    },
    /// Minimise a violated run: the fewest faults, users and seconds that still fail, and how often.
    Shrink(shrink::ShrinkArgs),
    /// List the scenarios that come with squall.
    List {
        /// With What / Why / Expect of each.
        #[arg(long)]
        long: bool,
        /// The kinds of fault instead: the fields each takes, and what proves that it bit.
        #[arg(long, conflicts_with = "long")]
        faults: bool,
    },
    /// Start services and a cluster, print their addresses, keep them until Ctrl-C.
    Up(up::UpArgs),
    /// Say what is missing on this machine and how to get it.
    Doctor {
        /// Remove what runs that were killed have left behind.
        #[arg(long)]
        clean: bool,
    },
}

#[derive(Debug, Args)]
struct RunArgs {
    /// A scenario's name (see `squall list`) or a .toml file.
    #[arg(required_unless_present_any = ["plan", "all"], conflicts_with_all = ["plan", "all"])]
    scenario: Option<String>,
    /// Run every scenario, one after the other; the worst decides the exit code.
    #[arg(long, conflicts_with = "plan")]
    all: bool,
    /// Of all scenarios, only every n-th: one of n parts, for machines that work side by side.
    #[arg(long, value_name = "I/N", requires = "all")]
    shard: Option<shard::Shard>,
    /// Cut the calm around the faults short: the same faults and claims, a verdict sooner.
    #[arg(long)]
    brief: bool,
    /// Where the verdicts of many runs go, for CI: one suite a run, one case a claim.
    #[arg(long, value_name = "FILE.XML", conflicts_with = "plan")]
    junit: Option<PathBuf>,
    /// Where a table of many runs goes, in Markdown.
    #[arg(long, value_name = "FILE.MD", conflicts_with = "plan")]
    table: Option<PathBuf>,
    /// Run each scenario this often in a row. A verdict that changes from run to run is a defect of the cluster or of
    /// squall; either way worth finding.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1_000), conflicts_with = "plan")]
    times: u32,
    /// Carry out the plan of an earlier run again.
    #[arg(long, value_name = "PLAN.JSON")]
    plan: Option<PathBuf>,
    /// Where everything random comes from; drawn and reported when left out.
    #[arg(long, conflicts_with = "plan")]
    seed: Option<u64>,
    /// durable-first or relay, whatever the scenario or plan says.
    #[arg(long)]
    topology: Option<Topology>,
    /// Run folders go below this.
    #[arg(long, default_value = "reports")]
    out: PathBuf,
    /// Plant a known defect in the nodes, to see it caught (builds with planted bugs).
    #[arg(long, value_name = "BUG")]
    node_bug: Option<String>,
    /// Plant a known defect in the writers.
    #[arg(long, value_name = "BUG")]
    writer_bug: Option<String>,
    #[command(flatten)]
    services: ServicesArgs,
}

/// Where the services come from.
#[derive(Debug, Clone, Args)]
struct ServicesArgs {
    /// docker, host, external, or auto: docker if an engine answers, else host.
    #[arg(long, default_value = "auto")]
    provider: ProviderChoice,
    /// External PostgreSQL.
    #[arg(long, env = "SQUALL_POSTGRES_URL", hide_env_values = true, value_name = "URL")]
    postgres_url: Option<String>,
    /// External Redis (rediss:// for TLS).
    #[arg(long, env = "SQUALL_REDIS_URL", hide_env_values = true, value_name = "URL")]
    redis_url: Option<String>,
    /// Authorities that may have signed the external Redis's certificate (PEM), instead of the system's.
    #[arg(long, env = "SQUALL_REDIS_CA", value_name = "FILE")]
    redis_ca: Option<PathBuf>,
    /// External Kafka: host:port,…
    #[arg(long, env = "SQUALL_KAFKA_BROKERS", value_name = "BROKERS")]
    kafka_brokers: Option<String>,
    /// librdkafka option of the external Kafka (TLS, SASL), repeatable; one a line in the environment.
    #[arg(
        long,
        env = "SQUALL_KAFKA_OPTIONS",
        hide_env_values = true,
        value_delimiter = '\n',
        value_name = "KEY=VALUE",
        value_parser = kafka::option
    )]
    kafka_option: Vec<(String, String)>,
    /// A file of such options, one a line; lines that begin with # are passed over, and --kafka-option wins.
    #[arg(long, env = "SQUALL_KAFKA_OPTIONS_FILE", value_name = "FILE", value_parser = kafka::Options::read)]
    kafka_options_file: Option<kafka::Options>,
}

impl ServicesArgs {
    /// A run of a plan on these services.
    fn request(&self, plan: Plan, out: &Path) -> Result<Request, CliError> {
        Ok(Request { plan, provider: self.provider, external: self.external()?, out: out.to_owned() })
    }

    fn external(&self) -> Result<Option<External>, CliError> {
        if self.provider != ProviderChoice::External {
            return Ok(None);
        }
        let need =
            |value: &Option<String>, flag: &'static str| value.clone().ok_or(CliError::MissingFlag(flag));
        Ok(Some(External {
            postgres_url: need(&self.postgres_url, "--postgres-url")?,
            redis_url: need(&self.redis_url, "--redis-url")?,
            redis_ca: self.redis_ca.clone(),
            kafka_brokers: need(&self.kafka_brokers, "--kafka-brokers")?,
            kafka_options: kafka::Options::and(self.kafka_options_file.as_ref(), &self.kafka_option),
        }))
    }
}

/// Reads the command line, does it, and says how it ended.
pub fn main() -> Exit {
    // Before the runtime takes its own interest in signals; see there.
    let ours = crate::load::claim_interrupts();
    // Refused only when there is one already, which is as good.
    drop(rustls::crypto::aws_lc_rs::default_provider().install_default());
    let squall = match Squall::try_parse() {
        Ok(squall) => squall,
        Err(error) => {
            let exit = if error.use_stderr() { Exit::Usage } else { Exit::Holds };
            // Nothing to do about a closed terminal.
            let _ = start::discreet(error, Squall::command(), std::env::args()).print();
            return exit;
        }
    };
    errors::ask_for_colour(squall.color);
    errors::quiet_logs();
    limits::raise();
    if !ours {
        tracing::warn!("another signal handler came first: Ctrl-C may end the load only");
    }
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return errors::show(CliError::Runtime(error)),
    };
    let cancel = CancellationToken::new();
    let done = catch_unwind(AssertUnwindSafe(|| {
        runtime.block_on(async {
            errors::cancel_on_signals(cancel.clone())?;
            dispatch(squall.command, &cancel).await
        })
    }))
    .unwrap_or(Err(CliError::Panicked));
    // A probe that hangs on a dead service must not keep the shell waiting.
    runtime.shutdown_background();
    done.unwrap_or_else(errors::show)
}

async fn dispatch(command: Command, cancel: &CancellationToken) -> Result<Exit, CliError> {
    match command {
        Command::Run(args) => Box::pin(run_command(args, cancel)).await,
        Command::Check { run } => {
            let folder = RunFolder::open(&run)?;
            let judged = judge::judge(&folder)?;
            errors::print(&judged.summary(errors::screen()));
            Ok(judged.exit())
        }
        Command::Explain { run, message } => {
            let folder = RunFolder::open(&run)?;
            let number = Plan::message_named(&message).ok_or(CliError::BadMessage(message))?;
            errors::print(&judge::story(&folder, number)?);
            Ok(Exit::Holds)
        }
        Command::List { faults: true, .. } => {
            for row in &catalogue::CATALOGUE {
                errors::print(&format!("{:<26} {}", row.kind, row.described().replace('`', "")));
                errors::print(&format!("{:<26} proved by: {}", "", row.evidence.replace('`', "")));
                errors::print(&format!("{:<26} on managed services: {}\n", "", row.on_managed_services()));
            }
            Ok(Exit::Holds)
        }
        Command::List { long, faults: false } => {
            for found in library::all()? {
                errors::print(&format!("{:<26} {}", found.name, library::title(&found)?));
                if long {
                    errors::print(&format!("{}\n", library::prose(&found.text)));
                }
            }
            Ok(Exit::Holds)
        }
        Command::Contrast(args) => Box::pin(contrast::contrast(args, cancel)).await,
        Command::Gate(args) => Box::pin(gate::gate(args, cancel)).await,
        Command::Capacity(args) => Box::pin(capacity::capacity(args, cancel)).await,
        Command::Compare { run_a, run_b } => compare::compare(&run_a, &run_b),
        Command::Trend { folder } => trend::trend(&folder),
        Command::Shrink(args) => Box::pin(shrink::shrink(args, cancel)).await,
        Command::Up(args) => Box::pin(up::up(args, cancel)).await,
        Command::Doctor { clean } => Box::pin(doctor(clean)).await,
    }
}

async fn run_command(args: RunArgs, cancel: &CancellationToken) -> Result<Exit, CliError> {
    let progress = Progress::for_stderr();
    environment::sweep(&progress).await;
    let for_many = args.times > 1 || args.junit.is_some() || args.table.is_some();
    let many = match &args.scenario {
        _ if args.all => {
            let all = library::all()?;
            Some(match args.shard {
                Some(shard) => shard.of(all),
                None => all,
            })
        }
        Some(name) if for_many => Some(vec![library::find(name)?]),
        _ => None,
    };
    if let Some(scenarios) = many {
        return all::run_many(&args, &scenarios, &progress, cancel).await;
    }
    let mut plan = match (&args.plan, &args.scenario) {
        (Some(file), _) => folder::read_plan(file)?,
        (None, Some(name)) => plan_of(&args, &library::find(name)?)?,
        (None, None) => return Err(CliError::MissingFlag("a scenario")),
    };
    if let Some(topology) = args.topology {
        plan.cluster.topology = topology;
    }
    if args.brief && args.plan.is_some() {
        plan = plan.shortened();
    }
    // As a scenario's plan has them already.
    for (flag, bug) in
        [(&args.node_bug, &mut plan.cluster.node_bug), (&args.writer_bug, &mut plan.cluster.writer_bug)]
    {
        if flag.is_some() {
            bug.clone_from(flag);
        }
    }
    let finished = run::run(&args.services.request(plan, &args.out)?, &progress, cancel).await;
    progress.finish();
    let finished = finished?;
    errors::print(&finished.judged.summary(errors::screen()));
    Ok(finished.judged.exit())
}

fn plan_of(args: &RunArgs, found: &library::Found) -> Result<Plan, CliError> {
    let seed = args.seed.unwrap_or_else(errors::fresh_seed);
    let choices = Choices {
        seed,
        topology: args.topology,
        node_bug: args.node_bug.clone(),
        writer_bug: args.writer_bug.clone(),
        // Unique even where two runs share a database.
        room_prefix: format!("squall-{:08x}-{}-", seed & 0xffff_ffff, std::process::id()),
    };
    let plan = found.plan(&choices)?;
    Ok(if args.brief { plan.shortened() } else { plan })
}

async fn doctor(clean: bool) -> Result<Exit, CliError> {
    let progress = Progress::for_stderr();
    if clean {
        let removed = environment::sweep(&progress).await;
        progress.finish();
        errors::print(&format!("{removed} left-over runs removed"));
        return Ok(Exit::Holds);
    }
    let mut checks = Box::pin(environment::doctor()).await;
    progress.finish();
    let mut can_run = environment::doctor::can_run(&checks);
    // The checkout builds them when they are needed.
    if shipped::checkout().is_none() {
        let binaries = Binaries::beside_squall();
        let how = binaries
            .as_ref()
            .map_or_else(ClusterError::help, |_| "set SQUALL_BIN_DIR to the folder that has others");
        let found = binaries.as_ref().map(|it| it.of(ProcessName::Node(1)).display().to_string());
        let check = Check::new("nodes and writers", found.map_err(ToString::to_string), how);
        can_run &= check.ok;
        checks.push(check);
    }
    for check in &checks {
        let mark = if check.ok { "ok     " } else { "missing" };
        errors::print(&format!("{mark}  {:<18} {}", check.name, check.detail));
        if !check.ok {
            errors::print(&format!("         {:<18} → {}", "", check.how_to_get));
        }
    }
    Ok(if can_run { Exit::Holds } else { Exit::Environment })
}
