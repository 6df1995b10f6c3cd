//! Nothing outlives its run for long. Every run writes down what it owns, while it starts it; a run that was killed
//! cannot clean up, so the next one reads what it left written and does. A run that is alive is never touched.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use serde::{Deserialize, Serialize};

use super::{disk, docker};
use crate::{
    os::{self, process::Identity},
    progress::Progress,
    wait,
};

/// Version of the file; another version is left alone.
const FORMAT: u32 = 1;

/// Temporary folders of runs begin with this; nothing else is ever removed by a sweep.
pub(crate) const FOLDER_PREFIX: &str = "squall-";

/// How long killed leftovers may take to disappear.
const GONE_LIMIT: Duration = Duration::from_secs(10);

/// What one run owns, as on disk.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Registration {
    format: u32,
    run: String,
    /// Pids mean something only until the next boot,
    boot: String,
    /// and only in one process namespace (two containers may share a home folder).
    namespace: String,
    harness: Identity,
    children: Vec<Owned>,
    folder: Option<PathBuf>,
    /// True when containers and a network carry this run's label.
    docker: bool,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Owned {
    name: String,
    process: Identity,
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

/// Ends what dead runs left behind, and says so. Returns how many runs were cleaned up after.
pub async fn sweep(progress: &Progress) -> usize {
    let mut swept = 0;
    for (file, left) in dead_runs() {
        match sweep_one(&left).await {
            Ok(()) => {
                let _ = fs::remove_file(&file);
                swept += 1;
                progress.say(format!("cleaned up after run {}, which did not end in order", left.run));
            }
            Err(reason) => progress
                .say(format!("run {} did not end in order and left things behind: {reason}", left.run)),
        }
    }
    swept
}

/// Names of dead runs that left something behind.
pub(crate) fn left_behind() -> Vec<String> {
    dead_runs().into_iter().map(|(_, left)| left.run).collect()
}

fn dead_runs() -> Vec<(PathBuf, Registration)> {
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

fn is_dead(left: &Registration) -> bool {
    if left.boot != os::boot_id() {
        return true;
    }
    // Seen from another process namespace, a living run looks dead.
    left.namespace == os::process::pid_namespace() && !left.harness.is_alive()
}

async fn sweep_one(left: &Registration) -> Result<(), String> {
    if left.boot == os::boot_id() {
        let killed: Vec<Identity> =
            left.children.iter().flat_map(|child| child.process.kill_tree()).collect();
        wait::until("leftover processes gone", GONE_LIMIT, async || {
            match killed.iter().find(|process| process.is_alive()) {
                Some(process) => Err(format!("pid {} lives on", process.pid)),
                None => Ok(()),
            }
        })
        .await
        .map_err(|error| error.to_string())?;
    }
    if let Some(folder) = &left.folder {
        remove_folder(folder)?;
    }
    if left.docker {
        docker::remove_labelled(&left.run).await.map_err(|error| error.to_string())?;
    }
    Ok(())
}

fn remove_folder(folder: &Path) -> Result<(), String> {
    let name = folder.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    if !name.starts_with(FOLDER_PREFIX) {
        return Err(format!("{} does not look like one of our folders", folder.display()));
    }
    disk::unmount_below(folder)
        .map_err(|error| format!("what is mounted below {} stays there: {error}", folder.display()))?;
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(format!("{} could not be removed: {error}", folder.display()))
        }
        _ => Ok(()),
    }
}

pub(crate) fn runs_folder() -> PathBuf {
    let state = std::env::var_os("XDG_STATE_HOME").filter(|path| !path.is_empty()).map(PathBuf::from);
    let home = || PathBuf::from(std::env::var_os("HOME").unwrap_or_else(|| "/root".into()));
    state.unwrap_or_else(|| home().join(".local/state")).join("squall/runs")
}
