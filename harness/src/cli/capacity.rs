//! `squall capacity`: how much of a scenario's load can the cluster carry before an objective is missed?

use std::path::PathBuf;

use clap::Args;
use tokio_util::sync::CancellationToken;

use super::{ServicesArgs, errors, errors::CliError};
use crate::{
    capacity::{Capacity, Dimension, Objectives, Search, Searched, Step, trial::DEFAULT_P99_MS},
    clock::Clock,
    environment,
    exit::Exit,
    plan::Plan,
    progress::Progress,
    report::{RunFacts, counted},
    run::{Request, RunError, capacity::CapacityBench, folder::RunFolder, limits},
    scenario::{Choices, library},
};

#[derive(Debug, Args)]
pub(super) struct CapacityArgs {
    /// Whose load grows: a scenario's name (see `squall list`) or a .toml file. With a fault in it, that fault is in force
    /// in every trial.
    #[arg(default_value = "long/gate")]
    scenario: String,
    /// What grows: rate (messages a second), members (of each room) or connections (rooms keep their size).
    #[arg(long, value_name = "WHAT", default_value_t = Dimension::Rate)]
    of: Dimension,
    /// Objective for the p99 from due to acked, in milliseconds; the scenario's when left out, or 100.
    #[arg(long, value_name = "MS", value_parser = clap::value_parser!(u64).range(1..))]
    ack_p99_ms: Option<u64>,
    /// Objective for the p99 from due to the receipt by each member, in milliseconds; likewise.
    #[arg(long, value_name = "MS", value_parser = clap::value_parser!(u64).range(1..))]
    receipt_p99_ms: Option<u64>,
    /// Demand so much: less is exit code 4.
    #[arg(long, value_name = "LOAD", value_parser = clap::value_parser!(u32).range(1..))]
    at_least: Option<u32>,
    /// Searches, each on services and a cluster started anew; the middle one is the answer.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=99))]
    searches: u32,
    /// Where everything random comes from; drawn and reported when left out.
    #[arg(long)]
    seed: Option<u64>,
    /// The search's folder goes below this.
    #[arg(long, default_value = "reports")]
    out: PathBuf,
    #[command(flatten)]
    services: ServicesArgs,
}

/// What all searches of a call share.
struct Searching<'a> {
    args: &'a CapacityArgs,
    request: &'a Request,
    folder: &'a RunFolder,
    clock: Clock,
    progress: &'a Progress,
    cancel: &'a CancellationToken,
}

pub(super) async fn capacity(args: CapacityArgs, cancel: &CancellationToken) -> Result<Exit, CliError> {
    let progress = Progress::for_stderr();
    environment::sweep(&progress).await;
    let seed = args.seed.unwrap_or_else(errors::fresh_seed);
    let room_prefix = format!("squall-{:08x}-{}-", seed & 0xffff_ffff, std::process::id());
    let plan = library::find(&args.scenario)?.plan(&Choices { seed, room_prefix, ..Choices::default() })?;
    if plan.faults.len() > 1 {
        return Err(CliError::FaultsInCapacity { scenario: args.scenario, faults: plan.faults.len() });
    }
    let clock = Clock::start();
    let folder = RunFolder::create(&args.out, &plan, clock.zero_unix_ms())?;
    let expect = &plan.expect;
    let mut found = Capacity {
        facts: RunFacts::here(folder.run_id(), clock.zero_unix_ms(), args.services.provider.to_string()),
        scenario: plan.scenario.clone(),
        setting: setting(&plan),
        unit: args.of.unit().to_owned(),
        under: plan.faults.first().map(|it| it.fault.to_string()),
        seed,
        objectives: Objectives {
            ack_p99_ms: args.ack_p99_ms.or(expect.ack_p99_ms).unwrap_or(DEFAULT_P99_MS),
            receipt_p99_ms: args.receipt_p99_ms.or(expect.receipt_p99_ms).unwrap_or(DEFAULT_P99_MS),
        },
        at_least: args.at_least,
        searches: Vec::new(),
        finished: false,
    };
    let request = args.services.request(plan, &args.out)?;
    let mut searched = Ok(());
    let searching =
        Searching { args: &args, request: &request, folder: &folder, clock, progress: &progress, cancel };
    for nth in 1..=args.searches {
        searched = Box::pin(searching.search(nth, &mut found)).await;
        if searched.is_err() {
            break;
        }
    }
    progress.finish();
    found.finished = searched.is_ok();
    // What was measured is kept, also when the rest failed.
    let json = serde_json::to_string_pretty(&found).map_err(std::io::Error::other);
    let path = folder.path().join("capacity.json");
    let json = json.map_err(|source| CliError::Write { path: path.display().to_string(), source })?;
    errors::write(&path, &json)?;
    searched?;
    errors::write(&folder.path().join("capacity.md"), &found.markdown())?;
    errors::write(&folder.path().join("capacity.html"), &found.html())?;
    errors::print(&format!("{}\n{}", found.terminal(), folder.path().join("capacity.html").display()));
    Ok(found.exit())
}

impl Searching<'_> {
    /// One search; what it tries and finds becomes the last of `found`.
    async fn search(&self, nth: u32, found: &mut Capacity) -> Result<(), RunError> {
        let Self { args, request, progress, cancel, .. } = *self;
        let bench = CapacityBench::up(request, self.folder, self.clock, nth, progress, cancel).await?;
        found.facts = bench.facts();
        let plan = &request.plan;
        let mut search = Search::new(args.of.of(plan), args.of.ceiling(plan, limits::users_max()));
        let mut searched = Searched::default();
        let ended = loop {
            let Step::Trial { load, length_ms } = search.next() else { break Ok(()) };
            let (trial, unit) = (searched.trials.len() + 1, &found.unit);
            progress.now(format!("search {nth} of {}, trial {trial}: {load} {unit}", args.searches));
            match bench.trial(trial, args.of.set(plan, load), (load, length_ms), cancel).await {
                Ok(trial) => {
                    let outcome = trial.outcome(found.objectives);
                    progress
                        .say(format!("search {nth}: {load} {unit} for {} s: {outcome}", length_ms / 1_000));
                    search.take(load, length_ms, outcome.verdict(), trial.busy);
                    searched.trials.push((trial, outcome));
                }
                Err(error) => break Err(error),
            }
        };
        searched.bounds = search.bounds();
        found.searches.push(searched);
        let down = bench.down(progress).await;
        ended.and(down)
    }
}

fn setting(plan: &Plan) -> String {
    let (cluster, load) = (&plan.cluster, &plan.load);
    format!(
        "{}, {}, {}; {} in {}, {} messages/s, bodies of {} to {} bytes, but for what grows",
        counted(cluster.nodes, "node"),
        counted(cluster.writers, "writer"),
        counted(cluster.partitions, "partition"),
        counted(load.users, "user"),
        counted(load.rooms, "room"),
        load.rate_per_s,
        load.body_min_bytes,
        load.body_max_bytes
    )
}
