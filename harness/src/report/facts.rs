//! Where and with what a run took place: what somebody must know to repeat it, or to doubt a comparison.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::os;

/// Facts about one run that no history holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RunFacts {
    /// The run's id; also the name of its folder.
    pub run_id: String,
    /// Wall clock of the run's zero, in milliseconds since the Unix epoch.
    pub started_unix_ms: u64,
    /// Provider of the services: `docker`, `host` or `external`.
    pub provider: String,
    /// Versions of services, by name.
    pub services: BTreeMap<String, String>,
    /// The machine.
    pub machine: Machine,
    /// Version of squall.
    pub squall: String,
    /// How the nodes and writers were built; figures of a debug build say nothing about speed.
    pub profile: String,
    /// Commit of the working copy, if there is one.
    pub commit: Option<String>,
    /// From the first service's start to a cluster that is ready.
    pub start_up_ms: u64,
}

/// The machine everything ran on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Machine {
    /// Cores that may be used.
    pub cores: usize,
    /// Memory.
    pub memory_mib: u64,
    /// Kernel and architecture.
    pub kernel: String,
}

impl Machine {
    /// This machine. What cannot be found out is zero or `unknown`: a report does without.
    pub fn here() -> Self {
        Self {
            cores: std::thread::available_parallelism().map_or(0, std::num::NonZero::get),
            memory_mib: os::memory_mib(),
            kernel: format!("{} {} {}", std::env::consts::OS, os::kernel_release(), std::env::consts::ARCH),
        }
    }
}

impl RunFacts {
    /// Facts that this build of squall knows about itself; the run adds services and commit.
    pub fn here(run_id: impl Into<String>, started_unix_ms: u64, provider: impl Into<String>) -> Self {
        Self {
            run_id: run_id.into(),
            started_unix_ms,
            provider: provider.into(),
            services: BTreeMap::new(),
            machine: Machine::here(),
            squall: env!("CARGO_PKG_VERSION").to_owned(),
            profile: if cfg!(debug_assertions) { "debug" } else { "release" }.to_owned(),
            commit: commit(),
            start_up_ms: 0,
        }
    }
}

/// The commit this build's checkout stands at, read from its files: no git needed where reports are made. An installed squall
/// knows none: the checkout has changed since.
fn commit() -> Option<String> {
    let git = crate::shipped::checkout()?.join(".git");
    let head = std::fs::read_to_string(git.join("HEAD")).ok()?;
    let head = head.trim();
    let hash = match head.strip_prefix("ref: ") {
        Some(reference) => std::fs::read_to_string(git.join(reference)).ok()?.trim().to_owned(),
        None => head.to_owned(),
    };
    hash.get(..12).map(str::to_owned)
}
