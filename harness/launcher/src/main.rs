//! `cargo squall`: one cargo call brings squall, chat-node and chat-writer up to date; then this process becomes squall.
//!
//! `cargo run` builds one binary, and a run needs three. Were squall to ask cargo for the other two, they would be built
//! after it and out of sight. So the alias runs this, which depends on nothing and is built in a second.

use std::{
    env, fmt,
    io::Write,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Command, ExitCode},
};

/// Exit code of squall when something it needs is missing; see README.md.
const ENVIRONMENT: u8 = 69;

/// What a run needs. `--workspace` goes with it: one selection of packages resolves to one set of features, so this call
/// and `cargo test --workspace` share every dependency.
const BUILD: [&str; 8] =
    ["build", "--workspace", "--bin", "squall", "--bin", "chat-node", "--bin", "chat-writer"];

fn main() -> ExitCode {
    let Err(problem) = launch();
    // A reader that went away must not turn a message into a panic.
    let _ = writeln!(std::io::stderr(), "error: {problem}");
    ExitCode::from(ENVIRONMENT)
}

/// Returns only when squall could not be started.
fn launch() -> Result<std::convert::Infallible, Problem> {
    let me = env::current_exe().map_err(Problem::Me)?;
    // Cargo has just put this binary into the folder where it will put the others: target/PROFILE.
    let folder = me.parent().unwrap_or(Path::new("."));
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut build = Command::new(&cargo);
    build.args(BUILD).arg("--manifest-path").arg(concat!(env!("CARGO_MANIFEST_DIR"), "/../../Cargo.toml"));
    if !cfg!(debug_assertions) {
        build.arg("--release");
    }
    for name in env::vars_os().map(|(name, _)| name).filter(|name| set_by_cargo(&name.to_string_lossy())) {
        build.env_remove(name);
    }
    let built = build.status().map_err(|source| Problem::Cargo(cargo.into(), source))?;
    if !built.success() {
        return Err(Problem::Build);
    }
    let squall = folder.join("squall");
    let mut command = Command::new(&squall);
    // Its binaries are up to date: no need for squall to ask cargo again.
    command.args(env::args_os().skip(1)).env_remove("CARGO");
    Err(Problem::Squall(squall.clone(), command.exec()))
}

/// What `cargo run` adds to the environment of the program it runs. Build scripts watch some of it (`ring` watches
/// CARGO_MANIFEST_DIR), so a cargo that inherits it compiles half the tree anew, and the next one from the shell again.
fn set_by_cargo(name: &str) -> bool {
    matches!(
        name,
        "CARGO_MANIFEST_DIR"
            | "CARGO_MANIFEST_PATH"
            | "CARGO_CRATE_NAME"
            | "CARGO_PRIMARY_PACKAGE"
            | "OUT_DIR"
    ) || ["CARGO_PKG_", "CARGO_BIN_"].iter().any(|prefix| name.starts_with(prefix))
}

/// Why squall did not start.
#[derive(Debug)]
enum Problem {
    Me(std::io::Error),
    Cargo(PathBuf, std::io::Error),
    Build,
    Squall(PathBuf, std::io::Error),
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Me(source) => write!(f, "cannot tell where this program is: {source}"),
            Self::Cargo(cargo, source) => write!(f, "cannot run {}: {source}", cargo.display()),
            Self::Build => write!(
                f,
                "squall was not built; cargo says why above. It needs a C compiler, make and perl \
                 (Debian: apt-get install build-essential perl)"
            ),
            Self::Squall(path, source) => write!(f, "cannot run {}: {source}", path.display()),
        }
    }
}
