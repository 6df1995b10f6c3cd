//! The run's folder: `OUT/SCENARIO/RUN-ID/{plan.json, history, facts.json, result.json, report.*, junit.xml, logs/}`.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU32, Ordering},
};

use serde::{Serialize, de::DeserializeOwned};
use time::OffsetDateTime;

use crate::{
    plan::{PLAN_FORMAT, Plan},
    report::{facts::RunFacts, store},
};

/// A run is not begun with less than this free: history, logs and the services' data of an ordinary run stay below it.
const FREE_MIN_BYTES: u64 = 300 * 1024 * 1024;

static RUNS_OF_THIS_PROCESS: AtomicU32 = AtomicU32::new(0);

/// Why a folder cannot be made, read or written.
#[derive(Debug, thiserror::Error)]
pub enum FolderError {
    /// Reading or writing failed.
    #[error("cannot {verb} {path}")]
    Io {
        /// "create", "read", "write".
        verb: &'static str,
        /// What.
        path: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// Not what it should be.
    #[error("{path} is not a {what}: {why}")]
    Malformed {
        /// Which file.
        path: String,
        /// What it should be.
        what: &'static str,
        /// Why it is not.
        why: String,
    },
    /// The disk is full, or nearly.
    #[error("only {free_mib} MiB are free where {path} would go; a run needs {needed_mib} MiB")]
    DiskFull {
        /// Where.
        path: String,
        /// Free.
        free_mib: u64,
        /// Needed.
        needed_mib: u64,
    },
}

/// A run's folder.
#[derive(Debug, Clone)]
pub struct RunFolder {
    path: PathBuf,
    run_id: String,
}

impl RunFolder {
    /// Makes the folder and writes the plan into it.
    ///
    /// # Errors
    ///
    /// [`FolderError`].
    pub fn create(out: &Path, plan: &Plan, unix_ms: u64) -> Result<Self, FolderError> {
        let nth = RUNS_OF_THIS_PROCESS.fetch_add(1, Ordering::Relaxed);
        let run_id = run_id(unix_ms, std::process::id(), nth);
        let path = store::folder(out, &plan.scenario, &run_id);
        let folder = Self { path, run_id };
        let logs = folder.logs();
        fs::create_dir_all(&logs).map_err(io("create", &logs))?;
        folder.check_space()?;
        folder.write("plan.json", plan)?;
        Ok(folder)
    }

    /// Opens the folder of an earlier run.
    ///
    /// # Errors
    ///
    /// [`FolderError`] when there is no plan in it.
    pub fn open(path: &Path) -> Result<Self, FolderError> {
        let run_id =
            path.file_name().map_or_else(|| "run".into(), |name| name.to_string_lossy().into_owned());
        let folder = Self { path: path.to_path_buf(), run_id };
        folder.plan()?;
        Ok(folder)
    }

    /// Unique on this machine: the time, and the process that made it.
    pub fn run_id(&self) -> &str {
        &self.run_id
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The history file.
    pub fn history(&self) -> PathBuf {
        self.path.join("history")
    }

    /// Logs of processes and services.
    pub fn logs(&self) -> PathBuf {
        self.path.join("logs")
    }

    /// The plan it was made from.
    ///
    /// # Errors
    ///
    /// [`FolderError`].
    pub fn plan(&self) -> Result<Plan, FolderError> {
        read_plan(&self.path.join("plan.json"))
    }

    /// Writes `facts.json`.
    ///
    /// # Errors
    ///
    /// [`FolderError`].
    pub fn write_facts(&self, facts: &RunFacts) -> Result<(), FolderError> {
        self.write("facts.json", facts)
    }

    /// Facts of the run; empty ones for a run that was killed before they were known.
    pub fn facts(&self) -> RunFacts {
        read(&self.path.join("facts.json"), "facts file")
            .unwrap_or_else(|_| RunFacts::here(self.run_id.clone(), 0, "unknown"))
    }

    fn write(&self, name: &str, value: &impl Serialize) -> Result<(), FolderError> {
        let path = self.path.join(name);
        let fail = io("write", &path);
        let text = serde_json::to_string_pretty(value).map_err(|error| fail(error.into()))?;
        fs::write(&path, text + "\n").map_err(io("write", &path))
    }

    fn check_space(&self) -> Result<(), FolderError> {
        let space = nix::sys::statvfs::statvfs(&self.path)
            .map_err(|error| io("look at", &self.path)(std::io::Error::from(error)))?;
        let free = space.blocks_available() * space.fragment_size();
        if free >= FREE_MIN_BYTES {
            return Ok(());
        }
        // Leave nothing half made behind.
        let _ = fs::remove_dir_all(&self.path);
        Err(FolderError::DiskFull {
            path: self.path.display().to_string(),
            free_mib: free / (1024 * 1024),
            needed_mib: FREE_MIN_BYTES / (1024 * 1024),
        })
    }
}

/// Reads a `plan.json`.
///
/// # Errors
///
/// [`FolderError`], also for a plan of another format.
pub fn read_plan(path: &Path) -> Result<Plan, FolderError> {
    let plan: Plan = read(path, "plan")?;
    if plan.format == PLAN_FORMAT {
        return Ok(plan);
    }
    let why = format!("it has format {}, this squall reads {PLAN_FORMAT}", plan.format);
    Err(FolderError::Malformed { path: path.display().to_string(), what: "plan", why })
}

fn read<T: DeserializeOwned>(path: &Path, what: &'static str) -> Result<T, FolderError> {
    let text = fs::read_to_string(path).map_err(io("read", path))?;
    serde_json::from_str(&text).map_err(|error| FolderError::Malformed {
        path: path.display().to_string(),
        what,
        why: error.to_string(),
    })
}

fn io(verb: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> FolderError + use<> {
    let path = path.display().to_string();
    move |source| FolderError::Io { verb, path, source }
}

/// `20261124-201534-12345`: UTC, so folders sort by time; the pid keeps two runs of one second apart.
/// A process that makes several runs (`--all`, `shrink`, tests) numbers them after the first.
fn run_id(unix_ms: u64, pid: u32, nth: u32) -> String {
    let seconds = i64::try_from(unix_ms / 1_000).unwrap_or(0);
    let at = OffsetDateTime::from_unix_timestamp(seconds).unwrap_or(OffsetDateTime::UNIX_EPOCH);
    let (year, month, day) = (at.year(), u8::from(at.month()), at.day());
    let (hour, minute, second) = at.to_hms();
    let suffix = if nth == 0 { String::new() } else { format!("-{nth}") };
    format!("{year:04}{month:02}{day:02}-{hour:02}{minute:02}{second:02}-{pid}{suffix}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn run_ids_tell_the_time() {
        assert_eq!(run_id(1_795_551_334_123, 7, 0), "20261124-201534-7");
        assert_eq!(run_id(951_782_400_000, 1, 2), "20000229-000000-1-2");
    }
}
