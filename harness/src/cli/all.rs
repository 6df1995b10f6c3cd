//! `squall run --all`, and `--times N`: many runs, one line each while they go, a table of scenarios at the end.

use std::{fmt::Write, time::Instant};

use tokio_util::sync::CancellationToken;

use super::{RunArgs, errors, errors::CliError, plan_of};
use crate::{
    exit::Exit,
    progress::Progress,
    report::junit,
    run::{self, RunError},
    scenario::library::Found,
};

/// One scenario's runs.
struct Row {
    name: String,
    /// How each run ended, in their order.
    exits: Vec<Exit>,
    took_s: f64,
    /// What the worst run said.
    said: String,
}

impl Row {
    fn of(name: &str) -> Self {
        Self { name: name.to_owned(), exits: Vec::new(), took_s: 0.0, said: String::new() }
    }

    fn add(&mut self, exit: Exit, took_s: f64, said: String) {
        if self.exits.is_empty() || worse(self.worst(), exit) != self.worst() {
            self.said = said;
        }
        self.exits.push(exit);
        self.took_s += took_s;
    }

    fn worst(&self) -> Exit {
        self.exits.iter().copied().fold(Exit::Holds, worse)
    }

    fn held(&self) -> usize {
        self.exits.iter().filter(|exit| **exit == Exit::Holds).count()
    }

    /// A verdict that changes from run to run is a defect of its own.
    fn said(&self) -> String {
        let flaky = self.exits.windows(2).any(|pair| pair[0] != pair[1]);
        format!("{}{}", if flaky { "not always the same: " } else { "" }, self.said)
    }
}

pub(super) async fn run_many(
    args: &RunArgs,
    scenarios: &[Found],
    progress: &Progress,
    cancel: &CancellationToken,
) -> Result<Exit, CliError> {
    // Every file is read before the first run: a misspelt last scenario is not found out after half an hour.
    for found in scenarios {
        plan_of(args, found)?;
    }
    let (mut rows, mut suites): (Vec<Row>, Vec<String>) = (Vec::new(), Vec::new());
    for found in scenarios {
        rows.push(Row::of(&found.name));
        for _ in 0..args.times {
            let began = Instant::now();
            // A plan of its own for every run: without --seed each draws another seed.
            let plan = plan_of(args, found)?;
            let (exit, said, suite) =
                match run::run(&args.services.request(plan, &args.out)?, progress, cancel).await {
                    Ok(finished) => {
                        let judged = finished.judged;
                        (judged.exit(), judged.headline(), junit::suite(judged.report()))
                    }
                    Err(RunError::Interrupted) => return Err(RunError::Interrupted.into()),
                    Err(error) => {
                        let said = error.to_string();
                        let suite = junit::without_verdict(&found.name, &said);
                        (errors::show(error.into()), said, suite)
                    }
                };
            let took_s = began.elapsed().as_secs_f64();
            progress.say(format!("{:<26} {:>4}  {took_s:>5.0} s  {said}", found.name, exit.code()));
            if let Some(row) = rows.last_mut() {
                row.add(exit, took_s, said);
            }
            suites.push(suite);
            // After every run: a night that is cut short leaves what it has.
            if let Some(file) = &args.junit {
                errors::write(file, &junit::render_all(&suites))?;
            }
            if let Some(file) = &args.table {
                errors::write(file, &markdown(&rows))?;
            }
        }
    }
    progress.finish();
    errors::print(&format!("{:<26} {:>4}  {:>9}  {:>7}  said", "scenario", "exit", "held", "took"));
    for row in &rows {
        errors::print(&format!(
            "{:<26} {:>4}  {:>3} of {:>2}  {:>5.0} s  {}",
            row.name,
            row.worst().code(),
            row.held(),
            row.exits.len(),
            row.took_s,
            row.said()
        ));
    }
    Ok(rows.iter().map(Row::worst).fold(Exit::Holds, worse))
}

fn markdown(rows: &[Row]) -> String {
    let mut text =
        "| scenario | exits | held | took, s | the worst said |\n|---|---|---:|---:|---|\n".to_owned();
    for row in rows {
        let exits: Vec<String> = row.exits.iter().map(|exit| exit.code().to_string()).collect();
        let _ = writeln!(
            text,
            "| {} | {} | {} of {} | {:.0} | {} |",
            row.name,
            exits.join(" "),
            row.held(),
            row.exits.len(),
            row.took_s,
            // What services say may have more than one line.
            row.said().replace('|', "\\|").split_whitespace().collect::<Vec<_>>().join(" ")
        );
    }
    text
}

/// Violated is worse than not knowing, and anything is worse than holding.
fn worse(a: Exit, b: Exit) -> Exit {
    let rank = |exit: Exit| match exit {
        Exit::Holds => 0,
        Exit::ObjectiveMissed => 1,
        Exit::Slower => 2,
        Exit::Unknown => 3,
        Exit::Usage | Exit::Environment | Exit::Interrupted => 4,
        Exit::Bug => 5,
        Exit::Violated => 6,
    };
    if rank(b) > rank(a) { b } else { a }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_run_speaks_and_a_verdict_that_changes_is_said() {
        let mut row = Row::of("smoke");
        row.add(Exit::Holds, 1.0, "fine".into());
        row.add(Exit::Unknown, 2.0, "a | b\nc".into());
        row.add(Exit::Holds, 1.0, "fine".into());
        assert_eq!((row.worst(), row.held()), (Exit::Unknown, 2));
        let table = markdown(&[row]);
        let last = table.lines().last().unwrap();
        assert_eq!(last, "| smoke | 0 2 0 | 2 of 3 | 4 | not always the same: a \\| b c |");
        let mut steady = Row::of("smoke");
        steady.add(Exit::Holds, 1.0, "fine".into());
        assert_eq!(steady.said(), "fine");
    }
}
