//! Where the chat binaries come from: beside this executable, built by cargo first when run from a checkout.

use std::path::{Path, PathBuf};

use tokio::{process::Command, sync::OnceCell};

use crate::{cluster::ClusterError, plan::ProcessName, progress::Progress};

/// The builds of this process, clean and planted: cargo is asked once, not before every run.
static BUILT: [OnceCell<()>; 2] = [OnceCell::const_new(), OnceCell::const_new()];

/// The folder that holds `chat-node` and `chat-writer`, and their builds with planted bugs.
#[derive(Debug, Clone)]
pub struct Binaries {
    folder: PathBuf,
    /// A run with a planted bug runs planted builds throughout: without `--bug` they behave as the clean ones do.
    planted: bool,
}

impl Binaries {
    /// The binaries beside this executable. From a checkout they are brought up to date with cargo first, once, in the
    /// profile this executable was built in, so nobody measures yesterday's node. `SQUALL_BIN_DIR` names another folder,
    /// whose binaries are taken as they are.
    ///
    /// # Errors
    ///
    /// [`ClusterError::Build`] with what cargo said.
    pub async fn ready(planted: bool, progress: &Progress) -> Result<Self, ClusterError> {
        if let Some(folder) = std::env::var_os("SQUALL_BIN_DIR") {
            return Ok(Self { folder: folder.into(), planted });
        }
        let folder = folder().map_err(|error| ClusterError::Build(error.to_string()))?;
        let binaries = Self { folder, planted };
        let mut needed = vec!["chat-node", "chat-writer"];
        if planted {
            needed = vec!["chat-node-planted", "chat-writer-planted"];
        }
        let missing = needed.iter().any(|name| !binaries.folder.join(name).exists());
        let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        // Under `cargo test --test it` and `cargo squall` cargo has brought only the harness up to date.
        let stale = std::env::var_os("CARGO").is_some();
        if missing || stale {
            if !workspace.join("Cargo.toml").exists() {
                return Err(ClusterError::Build(format!(
                    "{} are neither in {} nor is the checkout they could be built from at {}",
                    needed.join(" and "),
                    binaries.folder.display(),
                    workspace.display()
                )));
            }
            if missing {
                progress.say(format!("building {} (once)", needed.join(" and ")));
            }
            BUILT[usize::from(planted)]
                .get_or_try_init(|| binaries.build(&workspace, &needed, planted))
                .await?;
        }
        Ok(binaries)
    }

    /// The binary of a process.
    pub fn of(&self, process: ProcessName) -> PathBuf {
        let name = match process {
            ProcessName::Node(_) => "chat-node",
            ProcessName::Writer(_) => "chat-writer",
        };
        if self.planted { self.folder.join(format!("{name}-planted")) } else { self.folder.join(name) }
    }

    async fn build(&self, workspace: &Path, needed: &[&str], planted: bool) -> Result<(), ClusterError> {
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let mut command = Command::new(cargo);
        // All members, though only two binaries: the same selection resolves to the same dependency features, so what
        // was built for squall itself is not built again.
        command.args(["build", "--quiet", "--workspace"]).current_dir(workspace).kill_on_drop(true);
        for name in needed {
            command.args(["--bin", name]);
        }
        if planted {
            command.args(["--features", "planted-bugs"]);
        }
        if !cfg!(debug_assertions) {
            command.arg("--release");
        }
        // The folder is target/PROFILE; cargo must put them there even when it was told another target folder.
        if let Some(target) = self.folder.parent() {
            command.arg("--target-dir").arg(target);
        }
        let built = command
            .output()
            .await
            .map_err(|error| ClusterError::Build(format!("cannot run cargo: {error}")))?;
        if built.status.success() {
            return Ok(());
        }
        Err(ClusterError::Build(String::from_utf8_lossy(&built.stderr).into_owned()))
    }
}

/// `target/PROFILE`, whether this executable is `target/PROFILE/squall` or a test in `target/PROFILE/deps`.
fn folder() -> Result<PathBuf, std::io::Error> {
    let me = std::env::current_exe()?;
    let mut folder = me.parent().map(Path::to_path_buf).unwrap_or_default();
    if folder.ends_with("deps") {
        folder.pop();
    }
    Ok(folder)
}
