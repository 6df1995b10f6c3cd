//! The binaries of another commit: checked out and built in a folder of its own below `target/`, so that neither the
//! checkout at hand nor its build is touched.

use std::{
    ffi::{OsStr, OsString},
    path::{Path, PathBuf},
};

use tokio::process::Command;

use super::{
    Binaries, ClusterError,
    binaries::{PROFILE, cargo_build},
};
use crate::{plan::ProcessName, progress::Progress, shipped, target::reference};

/// What is copied of our own build, so that dependencies which have not changed are not compiled again.
const BUILT_BEFORE: [&str; 3] = ["deps", "build", ".fingerprint"];

/// A commit that was built. To be taken away with [`Checkout::remove`].
#[derive(Debug)]
pub struct Checkout {
    folder: PathBuf,
    /// Its binaries.
    pub binaries: Binaries,
    /// Its name for people: the reference and the commit.
    pub label: String,
}

impl Checkout {
    /// Checks a commit, branch or tag out and builds it.
    ///
    /// # Errors
    ///
    /// [`ClusterError::Build`] with what git or cargo said; nothing is left then.
    pub async fn build(reference: &str, progress: &Progress) -> Result<Self, ClusterError> {
        let commit = format!("{reference}^{{commit}}");
        let commit = git(["rev-parse", "--verify", "--end-of-options", &commit]).await?;
        let short: String = commit.trim().chars().take(12).collect();
        let profile = shipped::folder().map_err(ClusterError::Nowhere)?;
        let folder = profile.parent().unwrap_or(&profile).join("gate").join(&short);
        // Of a build that was killed.
        remove(&folder).await;
        let label = if short.starts_with(reference) { short } else { format!("{reference} ({short})") };
        match check_out_and_build(&folder, commit.trim(), &profile, progress).await {
            Ok(binaries) => Ok(Self { folder, binaries, label }),
            Err(error) => {
                remove(&folder).await;
                Err(error)
            }
        }
    }

    /// Removes the checkout and its build.
    pub async fn remove(self) {
        remove(&self.folder).await;
    }
}

async fn check_out_and_build(
    folder: &Path,
    commit: &str,
    profile: &Path,
    progress: &Progress,
) -> Result<Binaries, ClusterError> {
    let failed = |error: std::io::Error| ClusterError::Build(format!("{}: {error}", folder.display()));
    let (checkout, target) = (folder.join("checkout"), folder.join("target"));
    let built = target.join(PROFILE);
    std::fs::create_dir_all(&built).map_err(failed)?;
    git([OsStr::new("worktree"), "add".as_ref(), "--detach".as_ref(), checkout.as_ref(), commit.as_ref()])
        .await?;
    for part in BUILT_BEFORE.map(|part| profile.join(part)).iter().filter(|part| part.exists()) {
        progress.now("copying what was built before");
        // Only saves time: without it cargo builds everything.
        let copied = Command::new("cp").args(["-a", "--reflink=auto"]).arg(part).arg(&built).status().await;
        if !copied.is_ok_and(|status| status.success()) {
            tracing::warn!(part = %part.display(), "cannot be copied");
        }
    }
    let mut arguments: Vec<OsString> = vec!["--target-dir".into(), target.into()];
    for process in [ProcessName::Node(1), ProcessName::Writer(1)] {
        arguments.extend(["--bin".into(), reference::program(process).into()]);
    }
    cargo_build(&checkout, &arguments, progress).await?;
    Binaries::in_folder(&built)
}

async fn remove(folder: &Path) {
    if !folder.exists() {
        return;
    }
    if let Err(error) = std::fs::remove_dir_all(folder) {
        tracing::warn!(%error, folder = %folder.display(), "is left over");
    }
    // Git forgets a worktree whose folder is gone.
    if let Err(error) = git(["worktree", "prune"]).await {
        tracing::warn!(%error, "git keeps a worktree that is gone");
    }
}

/// What git prints, run in our checkout.
async fn git<A: AsRef<OsStr>>(arguments: impl IntoIterator<Item = A>) -> Result<String, ClusterError> {
    let checkout = shipped::checkout().ok_or(ClusterError::NoCheckout)?;
    let ran = Command::new("git").arg("-C").arg(checkout).args(arguments).kill_on_drop(true).output().await;
    let ran = ran.map_err(|error| ClusterError::Build(format!("cannot run git: {error}")))?;
    if ran.status.success() {
        return Ok(String::from_utf8_lossy(&ran.stdout).into_owned());
    }
    Err(ClusterError::Build(String::from_utf8_lossy(&ran.stderr).trim().to_owned()))
}
