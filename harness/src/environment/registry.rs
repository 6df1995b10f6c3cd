//! What each run owns, on disk while it lives: a run that was killed cannot clean up, so the next one reads what is written
//! here and does (`leftovers`).

use std::{
    fs, io,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use serde::{Deserialize, Serialize};

use tempfile::TempDir;

use super::error::EnvironmentError;
use crate::os::{self, process::Identity};

/// Version of the file; another version is left alone.
const FORMAT: u32 = 1;

/// Temporary folders of runs begin with this; nothing else is ever removed by a sweep.
pub(crate) const FOLDER_PREFIX: &str = "squall-";

/// What one run owns, as on disk.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Registration {
    format: u32,
    pub(crate) run: String,
    /// Pids mean something only until the next boot,
    boot: String,
    /// and only in one process namespace (two containers may share a home folder).
    namespace: String,
    harness: Identity,
    pub(crate) children: Vec<Owned>,
    pub(crate) folder: Option<PathBuf>,
    /// True when containers and a network carry this run's label.
    pub(crate) docker: bool,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Owned {
    name: String,
    pub(crate) process: Identity,
}

/// What this run owns, on disk while the run lives. Cheap to clone; all clones write the same file.
#[derive(Debug, Clone)]
pub struct Registry {
    file: Arc<PathBuf>,
    owned: Arc<Mutex<Registration>>,
    /// Set at the end: the file goes with the last child.
    closing: Arc<AtomicBool>,
}

impl Registry {
    /// Registers this run, under `${XDG_STATE_HOME:-~/.local/state}/squall/runs`.
    ///
    /// # Errors
    ///
    /// When the file cannot be written: then nothing must be started.
    pub fn open(run_id: &str) -> io::Result<Self> {
        let folder = runs_folder();
        fs::create_dir_all(&folder)?;
        let registry = Self {
            file: Arc::new(folder.join(format!("{run_id}.json"))),
            owned: Arc::new(Mutex::new(Registration {
                format: FORMAT,
                run: run_id.to_owned(),
                boot: os::boot_id(),
                namespace: os::process::pid_namespace(),
                harness: Identity::own(),
                children: Vec::new(),
                folder: None,
                docker: false,
            })),
            closing: Arc::default(),
        };
        registry.save(&registry.lock())?;
        Ok(registry)
    }

    /// A child was started.
    pub fn note_child(&self, name: &str, process: Identity) {
        self.change(|owned| owned.children.push(Owned { name: name.to_owned(), process }));
    }

    /// A child is gone.
    pub fn forget_child(&self, process: Identity) {
        self.change(|owned| owned.children.retain(|child| child.process != process));
    }

    /// The run's temporary folder was made.
    pub(crate) fn note_folder(&self, folder: &Path) {
        self.change(|owned| owned.folder = Some(folder.to_owned()));
    }

    /// Containers and a network are about to be made under the run's label.
    pub(crate) fn note_docker(&self) {
        self.change(|owned| owned.docker = true);
    }

    /// All of that is gone.
    pub(crate) fn forget_docker(&self) {
        self.change(|owned| owned.docker = false);
    }

    /// The run is over. Children that were killed and still have to die keep the file, in case that they do not; so do
    /// containers and a folder that could not be removed: the next run tries again.
    pub(crate) fn close(&self) {
        let owned = self.lock();
        self.closing.store(true, Ordering::Relaxed);
        self.remove_with_the_last(&owned);
    }

    fn remove_with_the_last(&self, owned: &Registration) {
        let folder_left = owned.folder.as_ref().is_some_and(|folder| folder.exists());
        if !owned.docker && !folder_left && !owned.children.iter().any(|child| child.process.is_alive()) {
            let _ = fs::remove_file(self.file.as_path());
        }
    }

    fn change(&self, change: impl FnOnce(&mut Registration)) {
        let mut owned = self.lock();
        change(&mut owned);
        if self.closing.load(Ordering::Relaxed) {
            self.remove_with_the_last(&owned);
            return;
        }
        if let Err(error) = self.save(&owned) {
            tracing::warn!(file = %self.file.display(), %error, "could not note what this run owns");
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Registration> {
        self.owned.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// In one rename: a reader never sees half a file.
    fn save(&self, owned: &Registration) -> io::Result<()> {
        let new = self.file.with_extension("new");
        fs::write(&new, serde_json::to_vec_pretty(owned).map_err(io::Error::other)?)?;
        fs::rename(&new, self.file.as_path())
    }
}

/// Registrations of runs that ended without theirs, with their files.
pub(crate) fn dead_runs() -> Vec<(PathBuf, Registration)> {
    let files = fs::read_dir(runs_folder()).into_iter().flatten().flatten().map(|entry| entry.path());
    files
        .filter(|file| file.extension().is_some_and(|extension| extension == "json"))
        .filter_map(|file| {
            let left: Registration = serde_json::from_slice(&fs::read(&file).ok()?).ok()?;
            let ours = left.format == FORMAT && is_dead(&left);
            ours.then_some((file, left))
        })
        .collect()
}

impl Registration {
    /// Whether it is of this boot: its pids mean something.
    pub(crate) fn of_this_boot(&self) -> bool {
        self.boot == os::boot_id()
    }
}

fn is_dead(left: &Registration) -> bool {
    if !left.of_this_boot() {
        return true;
    }
    // Seen from another process namespace, a living run looks dead.
    left.namespace == os::process::pid_namespace() && !left.harness.is_alive()
}

/// Where registrations lie.
pub(crate) fn runs_folder() -> PathBuf {
    let state = std::env::var_os("XDG_STATE_HOME").filter(|path| !path.is_empty()).map(PathBuf::from);
    let home = || PathBuf::from(std::env::var_os("HOME").unwrap_or_else(|| "/root".into()));
    state.unwrap_or_else(|| home().join(".local/state")).join("squall/runs")
}

/// A folder for data, that the sweep of a later run recognises.
pub(crate) fn temporary_folder(run_id: &str, registry: &Registry) -> Result<TempDir, EnvironmentError> {
    let temp = std::env::temp_dir();
    let failed = |source| EnvironmentError::Io { doing: "make a folder in", path: temp.clone(), source };
    let folder =
        tempfile::Builder::new().prefix(&format!("{FOLDER_PREFIX}{run_id}-")).tempdir().map_err(failed)?;
    registry.note_folder(folder.path());
    // PostgreSQL may run as another user than we do, and must reach its own folder inside.
    std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o711)).map_err(failed)?;
    Ok(folder)
}
