//! `squall run --all`, and `--times N`: many runs, one line each while they go, a table of scenarios at the end.

use std::time::Instant;

use tokio_util::sync::CancellationToken;

use super::{RunArgs, door, door::Refused, plan_of};
use crate::{
    exit::Exit,
    progress::Progress,
    run::{self, RunError},
    scenario::library::Found,
};

/// One scenario's runs.
struct Row {
    name: String,
    runs: u32,
    held: u32,
    worst: Exit,
    took_s: f64,
    /// What the worst run said.
    said: String,
}

pub(super) async fn run_many(
    args: &RunArgs,
    scenarios: &[Found],
    progress: &Progress,
    cancel: &CancellationToken,
) -> Result<Exit, Refused> {
    // Every file is read before the first run: a misspelt last scenario is not found out after half an hour.
    for found in scenarios {
        plan_of(args, found)?;
    }
    let mut rows: Vec<Row> = Vec::new();
    for found in scenarios {
        let mut row = Row {
            name: found.name.clone(),
            runs: 0,
            held: 0,
            worst: Exit::Holds,
            took_s: 0.0,
            said: String::new(),
        };
        for _ in 0..args.times {
            let began = Instant::now();
            // A plan of its own for every run: without --seed each draws another seed.
            let plan = plan_of(args, found)?;
            let (exit, said) =
                match run::run(&args.services.request(plan, &args.out)?, progress, cancel).await {
                    Ok(finished) => (finished.judged.exit(), finished.judged.headline()),
                    Err(RunError::Interrupted) => return Err(RunError::Interrupted.into()),
                    Err(error) => {
                        let said = error.to_string();
                        (door::show(error.into()), said)
                    }
                };
            let took_s = began.elapsed().as_secs_f64();
            progress.say(format!("{:<26} {:>4}  {took_s:>5.0} s  {said}", row.name, exit.code()));
            row.runs += 1;
            row.held += u32::from(exit == Exit::Holds);
            row.took_s += took_s;
            if row.runs == 1 || worse(row.worst, exit) != row.worst {
                (row.worst, row.said) = (exit, said);
            }
        }
        rows.push(row);
    }
    progress.finish();
    door::print(&format!("{:<26} {:>4}  {:>9}  {:>7}  said", "scenario", "exit", "held", "took"));
    for row in &rows {
        door::print(&format!(
            "{:<26} {:>4}  {:>3} of {:>2}  {:>5.0} s  {}",
            row.name,
            row.worst.code(),
            row.held,
            row.runs,
            row.took_s,
            row.said
        ));
    }
    Ok(rows.iter().fold(Exit::Holds, |worst, row| worse(worst, row.worst)))
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
