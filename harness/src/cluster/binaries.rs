//! Where the chat binaries come from: beside this executable, built by cargo first when run from its checkout.

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
    process::Stdio,
};

use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::Command,
    sync::OnceCell,
};

use crate::{
    cluster::ClusterError, plan::ProcessName, progress::Progress, shipped, surroundings, target::reference,
};

/// The profile this executable was built in, as cargo names its folder.
pub(super) const PROFILE: &str = if cfg!(debug_assertions) { "debug" } else { "release" };

/// The variable that names the folder of binaries to be taken as they are.
const FOLDER_TOLD: &str = "SQUALL_BIN_DIR";

/// The builds of this process, clean and planted: cargo is asked once, not before every run.
static BUILT: [OnceCell<()>; 2] = [OnceCell::const_new(), OnceCell::const_new()];

/// The folder that holds the programs under test, and their builds with planted bugs.
#[derive(Debug, Clone)]
pub struct Binaries {
    folder: PathBuf,
    /// A run with a planted bug runs planted builds throughout: without `--bug` they behave as the clean ones do.
    planted: bool,
}

impl Binaries {
    /// The binaries beside this executable. `cargo squall` has just built them; tests and builds with planted bugs have
    /// them brought up to date with cargo here, once, in the profile this executable was built in, so that nobody
    /// measures yesterday's node. `SQUALL_BIN_DIR` names another folder, whose binaries are taken as they are.
    ///
    /// # Errors
    ///
    /// [`ClusterError::Build`] with what cargo said; [`ClusterError::NotInstalled`] where nothing can be built.
    pub async fn ready(planted: bool, progress: &Progress) -> Result<Self, ClusterError> {
        let binaries = Self::looked_for(planted)?;
        let as_they_are = std::env::var_os(FOLDER_TOLD).is_some();
        let Some(checkout) = shipped::checkout().filter(|_| !as_they_are) else {
            return binaries.installed();
        };
        // Set under `cargo test`, which has brought only what it tests up to date.
        let under_cargo = std::env::var_os("CARGO").is_some();
        if binaries.missing().is_some() || under_cargo || planted {
            BUILT[usize::from(planted)].get_or_try_init(|| binaries.build(checkout, progress)).await?;
        }
        Ok(binaries)
    }

    /// The clean binaries of a squall that was installed: beside it, or where `SQUALL_BIN_DIR` says.
    ///
    /// # Errors
    ///
    /// [`ClusterError::NotInstalled`].
    pub fn beside_squall() -> Result<Self, ClusterError> {
        Self::looked_for(false)?.installed()
    }

    fn looked_for(planted: bool) -> Result<Self, ClusterError> {
        let folder = match std::env::var_os(FOLDER_TOLD) {
            // A process is started in another folder than ours.
            Some(told) => std::path::absolute(told),
            None => shipped::folder(),
        };
        Ok(Self { folder: folder.map_err(ClusterError::Nowhere)?, planted })
    }

    fn installed(self) -> Result<Self, ClusterError> {
        match self.missing() {
            Some(path) => Err(ClusterError::NotInstalled { path, planted: self.planted }),
            None => Ok(self),
        }
    }

    /// The first binary that is not there.
    fn missing(&self) -> Option<PathBuf> {
        self.both().into_iter().find(|binary| !binary.is_file())
    }

    fn both(&self) -> [PathBuf; 2] {
        [ProcessName::Node(1), ProcessName::Writer(1)].map(|process| self.of(process))
    }

    /// The clean binaries in a folder, taken as they are.
    ///
    /// # Errors
    ///
    /// [`ClusterError::Build`] when one is missing.
    pub fn in_folder(folder: &Path) -> Result<Self, ClusterError> {
        // A process is started in another folder than ours.
        let missing = |path: &Path| ClusterError::Build(format!("there is no {}", path.display()));
        let binaries = Self { folder: folder.canonicalize().map_err(|_| missing(folder))?, planted: false };
        match binaries.missing() {
            Some(path) => Err(missing(&path)),
            None => Ok(binaries),
        }
    }

    /// The binary of a process.
    pub fn of(&self, process: ProcessName) -> PathBuf {
        let name = reference::program(process);
        if self.planted { self.folder.join(format!("{name}-planted")) } else { self.folder.join(name) }
    }

    async fn build(&self, workspace: &Path, progress: &Progress) -> Result<(), ClusterError> {
        let mut arguments: Vec<OsString> = Vec::new();
        for binary in self.both().iter().filter_map(|path| path.file_name()) {
            arguments.extend(["--bin".into(), binary.to_owned()]);
        }
        if self.planted {
            arguments.extend(["--features".into(), "planted-bugs".into()]);
        }
        // The folder is target/PROFILE; cargo must put them there even when it was told another target folder.
        if let Some(target) = self.folder.parent() {
            arguments.extend(["--target-dir".into(), target.into()]);
        }
        cargo_build(workspace, &arguments, progress).await
    }
}

/// Builds in the profile this executable was built in.
pub(super) async fn cargo_build(
    workspace: &Path,
    arguments: &[OsString],
    progress: &Progress,
) -> Result<(), ClusterError> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    // As from the caller's shell; what it inherits from us instead would make it build anew.
    command.env_clear().envs(surroundings::callers());
    // All members, though only two binaries: the same selection resolves to the same dependency features, so what was
    // built for squall itself is not built again.
    command.args(["build", "--workspace"]).args(arguments).current_dir(workspace).kill_on_drop(true);
    if PROFILE == "release" {
        command.arg("--release");
    }
    let cannot = |error: std::io::Error| ClusterError::Build(format!("cannot run cargo: {error}"));
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut building = command.spawn().map_err(cannot)?;
    let mut said = Vec::new();
    if let Some(pipe) = building.stderr.take() {
        let mut lines = BufReader::new(pipe).lines();
        // What is compiled, and what is waited for (another cargo may hold the folder), as cargo says it.
        while let Some(line) = lines.next_line().await.map_err(cannot)? {
            if ["Compiling", "Downloading", "Blocking"].iter().any(|doing| line.contains(doing)) {
                progress.say(&line);
            }
            said.push(line);
        }
    }
    if building.wait().await.map_err(cannot)?.success() {
        return Ok(());
    }
    Err(ClusterError::Build(said.join("\n")))
}
