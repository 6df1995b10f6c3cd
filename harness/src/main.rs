//! `squall`: see `squall --help`, and the README for what the exit codes mean.

use std::process::ExitCode;

fn main() -> ExitCode {
    harness::cli::main().into()
}
