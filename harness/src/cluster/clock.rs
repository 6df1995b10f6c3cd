//! Wall clocks of processes: libfaketime asks a file of each process's own how far off it is to be.

use std::{
    io,
    path::{Path, PathBuf},
};

use crate::{
    cluster::ClusterError,
    environment::preload::FAKETIME,
    plan::{FaultKind, Plan, ProcessName},
};

/// A wall clock that can be set while its process runs, and that a new life of the process starts with.
#[derive(Debug)]
pub(super) struct WallClock {
    library: PathBuf,
    file: PathBuf,
}

impl WallClock {
    /// A clock that is right, for a process whose clock the plan will set; none for the others, which then run without
    /// any library in between.
    pub(super) fn of(name: ProcessName, plan: &Plan, folder: &Path) -> Result<Option<Self>, ClusterError> {
        let skewed = plan.faults.iter().any(|planned| {
            matches!(&planned.fault, FaultKind::ProcessClockSkew { processes, .. } if processes.contains(&name))
        });
        if !skewed {
            return Ok(None);
        }
        let library = library()?;
        let file = folder.join(format!("{name}.clock"));
        // The loader reads the path in the process's own folder.
        let file = std::path::absolute(&file).unwrap_or(file);
        let clock = Self { library, file };
        clock.set(0)?;
        Ok(Some(clock))
    }

    /// What is to be loaded before all other libraries.
    pub(super) fn library(&self) -> &Path {
        &self.library
    }

    /// How a process is started that goes by this clock, beside its library. Its monotonic clock stays the machine's.
    pub(super) fn environment(&self) -> Vec<(String, String)> {
        let file = self.file.display().to_string();
        [
            ("FAKETIME_TIMESTAMP_FILE", file.as_str()),
            ("FAKETIME_NO_CACHE", "1"),
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1"),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .to_vec()
    }

    /// Sets the clock, so many seconds from the machine's.
    pub(super) fn set(&self, offset_s: i64) -> Result<(), ClusterError> {
        // The process may read it at any moment: never half of it.
        let fresh = self.file.with_extension("clock.new");
        let written: Result<(), io::Error> = std::fs::write(&fresh, format!("{offset_s:+}\n"))
            .and_then(|()| std::fs::rename(&fresh, &self.file));
        written.map_err(|source| ClusterError::Clock { file: self.file.display().to_string(), source })
    }
}

/// libfaketime, or what to install. Asked before anything is started.
///
/// # Errors
///
/// [`ClusterError::NoFaketime`].
pub fn library() -> Result<PathBuf, ClusterError> {
    FAKETIME
        .library()
        .map_err(|missing| ClusterError::NoFaketime { missing, how_to_get: FAKETIME.how_to_get })
}

/// Whether a plan sets clocks.
pub fn needed(plan: &Plan) -> bool {
    plan.faults.iter().any(|planned| matches!(planned.fault, FaultKind::ProcessClockSkew { .. }))
}
