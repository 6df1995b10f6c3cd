//! `squall shrink RUN`: the smallest plan that still fails, and how often it does. Carries out what [`shrink::search`]
//! asks for.

use std::path::PathBuf;

use clap::Args;
use tokio_util::sync::CancellationToken;

use super::{ServicesArgs, errors, errors::CliError};
use crate::{
    environment,
    exit::Exit,
    progress::Progress,
    run::{self, RunError, folder::RunFolder, judge},
    shrink::search::{Ended, Found, Limits, Search},
};

#[derive(Debug, Args)]
#[command(after_help = "Exit codes: 1 a plan that fails was found (it may be the original) · \
                        2 the original did not fail again, or nobody can tell")]
pub(super) struct ShrinkArgs {
    /// Folder of a run that was violated.
    run: PathBuf,
    /// Each candidate is run this often before it counts as passing: a race does not fail every time.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    times: u32,
    /// At most this many runs in all.
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u32).range(1..))]
    runs_max: u32,
    /// Run folders of the candidates go below this.
    #[arg(long, default_value = "reports/shrink")]
    out: PathBuf,
    #[command(flatten)]
    services: ServicesArgs,
}

pub(super) async fn shrink(args: ShrinkArgs, cancel: &CancellationToken) -> Result<Exit, CliError> {
    let progress = Progress::for_stderr();
    environment::sweep(&progress).await;
    let folder = RunFolder::open(&args.run)?;
    // A smaller plan that only violates something else is another failure.
    let culprits = judge::judge(&folder)?.violated_claims();
    if culprits.is_empty() {
        return Err(CliError::NotViolated(args.run.display().to_string()));
    }
    progress.say(format!("looking for the smallest plan that violates {}", culprits.join(" or ")));
    let mut search = Search::new(folder.plan()?, Limits { times: args.times, runs_max: args.runs_max });
    while let Some(plan) = search.next_run() {
        let request = args.services.request(plan.clone(), &args.out)?;
        if let Some(doing) = search.doing() {
            progress.say(doing);
        }
        let ended = match run::run(&request, &progress, cancel).await {
            Ok(finished) => {
                let judged = &finished.judged;
                Ended::of(&culprits, &judged.violated_claims(), &judged.unknown_claims())
            }
            Err(RunError::Interrupted) => return Err(RunError::Interrupted.into()),
            Err(error) => {
                progress.say(format!("  no verdict: {error}"));
                Ended::NoVerdict
            }
        };
        if let Some(decided) = search.tell(ended) {
            progress.say(decided);
        }
    }
    progress.finish();
    let found = search.found();
    errors::print(&found.to_string());
    match found {
        Found::Nothing { .. } => Ok(Exit::Unknown),
        Found::Smallest(smallest) => {
            let now = crate::clock::Clock::start().zero_unix_ms();
            let folder = RunFolder::create(&args.out, &smallest.plan, now)?;
            errors::print(&folder.path().join("plan.json").display().to_string());
            Ok(Exit::Violated)
        }
    }
}
