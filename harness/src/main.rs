//! `squall`: see `squall --help`, and the README for what the exit codes mean.

use std::{io::Write, process::ExitCode};

fn main() -> ExitCode {
    // Before anything reads a variable.
    if let Err(error) = harness::surroundings::enter() {
        let _ =
            writeln!(std::io::stderr(), "squall cannot start itself again in a clean environment: {error}");
        return harness::exit::Exit::Environment.into();
    }
    harness::cli::main().into()
}
