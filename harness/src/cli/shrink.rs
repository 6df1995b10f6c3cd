//! `squall shrink RUN`: the smallest plan that still fails, and how often it does.

use std::path::PathBuf;

use clap::Args;
use tokio_util::sync::CancellationToken;

use super::{ServicesArgs, door, door::Refused};
use crate::{
    environment,
    exit::Exit,
    plan::Plan,
    progress::Progress,
    run::{self, RunError, folder::RunFolder, judge},
    shrink,
};

#[derive(Debug, Args)]
pub(super) struct ShrinkArgs {
    /// Folder of a run that was violated.
    run: PathBuf,
    /// Each candidate is run this often before it counts as passing: a race does not fail every time.
    #[arg(long, default_value_t = 3)]
    times: u32,
    /// At most this many runs in all.
    #[arg(long, default_value_t = 60)]
    runs_max: u32,
    /// Run folders of the candidates go below this.
    #[arg(long, default_value = "reports/shrink")]
    out: PathBuf,
    #[command(flatten)]
    services: ServicesArgs,
}

pub(super) async fn shrink(args: ShrinkArgs, cancel: &CancellationToken) -> Result<Exit, Refused> {
    let progress = Progress::for_stderr();
    environment::sweep(&progress).await;
    let folder = RunFolder::open(&args.run)?;
    let culprits = judge::judge(&folder)?.violated_claims();
    if culprits.is_empty() {
        return Err(Refused::NotViolated(args.run.display().to_string()));
    }
    let mut search = Search { args: &args, culprits, progress: &progress, cancel, runs: 0 };
    progress.say(format!("looking for the smallest plan that violates {}", search.culprits.join(" or ")));
    let mut smallest = folder.plan()?;
    'again: loop {
        for smaller in shrink::candidates(&smallest) {
            if search.runs >= args.runs_max {
                progress.say(format!("stopped after {} runs (--runs-max)", search.runs));
                break 'again;
            }
            progress.say(format!("trying {}", describe(&smaller)));
            if search.fails(&smaller, args.times, true).await? > 0 {
                progress.say("  still fails; going on from here");
                smallest = smaller;
                continue 'again;
            }
            progress.say("  passes");
        }
        break;
    }
    let failed = search.fails(&smallest, args.times, false).await?;
    progress.finish();
    let folder = RunFolder::create(&args.out, &smallest, crate::clock::Clock::start().zero_unix_ms())?;
    door::print(&format!(
        "the smallest plan that still fails: {}\nit failed {failed} of {} times, after {} runs of the search\n{}",
        describe(&smallest),
        args.times,
        search.runs,
        folder.path().join("plan.json").display()
    ));
    Ok(if failed > 0 { Exit::Violated } else { Exit::Unknown })
}

struct Search<'a> {
    args: &'a ShrinkArgs,
    /// What the original violated. A smaller plan that only violates something else (a demand for many acks, say, that
    /// fewer users cannot meet) is another failure.
    culprits: Vec<String>,
    progress: &'a Progress,
    cancel: &'a CancellationToken,
    runs: u32,
}

impl Search<'_> {
    /// How often a plan is violated in `times` runs; one failure is enough when only whether it fails is asked.
    async fn fails(&mut self, plan: &Plan, times: u32, once: bool) -> Result<u32, Refused> {
        let mut failed = 0;
        for _ in 0..times {
            self.runs += 1;
            let request = self.args.services.request(plan.clone(), &self.args.out)?;
            match run::run(&request, self.progress, self.cancel).await {
                Ok(finished) => {
                    let same = |checker: &String| self.culprits.contains(checker);
                    failed += u32::from(finished.judged.violated_claims().iter().any(same));
                }
                Err(RunError::Interrupted) => return Err(RunError::Interrupted.into()),
                // A run that could not be carried out says nothing about the plan.
                Err(error) => self.progress.say(format!("  no verdict: {error}")),
            }
            if once && failed > 0 {
                break;
            }
        }
        Ok(failed)
    }
}

fn describe(plan: &Plan) -> String {
    let faults: Vec<String> = plan.faults.iter().map(|fault| fault.fault.to_string()).collect();
    format!(
        "{} faults ({}), {} users, {} messages/s, {:.0} s",
        plan.faults.len(),
        if faults.is_empty() { "none".to_owned() } else { faults.join("; ") },
        plan.load.users,
        plan.load.rate_per_s,
        plan.load.duration_ms as f64 / 1_000.0
    )
}
