//! `squall run --all`: the catalogue, one line a scenario while it goes, a table at the end.

use std::time::Instant;

use tokio_util::sync::CancellationToken;

use super::{RunArgs, door, door::Refused, plan_of, request};
use crate::{
    exit::Exit,
    progress::Progress,
    run::{self, RunError},
    scenario::library,
};

pub(super) async fn run_all(
    args: &RunArgs,
    progress: &Progress,
    cancel: &CancellationToken,
) -> Result<Exit, Refused> {
    // Every file is read before the first run: a misspelt last scenario is not found out after half an hour.
    let mut plans = Vec::new();
    for found in library::all()? {
        plans.push(plan_of(args, &found)?);
    }
    let mut rows = Vec::new();
    let mut worst = Exit::Holds;
    for plan in plans {
        let (name, began) = (plan.scenario.clone(), Instant::now());
        let (exit, said) = match run::run(&request(args, plan)?, progress, cancel).await {
            Ok(finished) => (finished.judged.exit(), finished.judged.headline()),
            Err(RunError::Interrupted) => return Err(RunError::Interrupted.into()),
            Err(error) => {
                let said = error.to_string();
                (door::show(error.into()), said)
            }
        };
        let row =
            format!("{:<22} {:>4}  {:>5.0} s  {said}", name, exit.code(), began.elapsed().as_secs_f64());
        progress.say(&row);
        rows.push(row);
        worst = worse(worst, exit);
    }
    progress.finish();
    door::print(&format!("{:<22} {:>4}  {:>7}  said", "scenario", "exit", "took"));
    for row in rows {
        door::print(&row);
    }
    Ok(worst)
}

/// Violated is worse than not knowing, and anything is worse than holding.
fn worse(a: Exit, b: Exit) -> Exit {
    let rank = |exit: Exit| match exit {
        Exit::Holds => 0,
        Exit::ObjectiveMissed => 1,
        Exit::Regression => 2,
        Exit::Unknown => 3,
        Exit::Usage | Exit::Environment | Exit::Interrupted => 4,
        Exit::Bug => 5,
        Exit::Violated => 6,
    };
    if rank(b) > rank(a) { b } else { a }
}
