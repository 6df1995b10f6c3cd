//! Nothing outlives its run for long: what a run that was killed left registered is ended by the next. A run that is alive
//! is never touched.

use std::{fs, io, path::Path, time::Duration};

use super::{
    providers::docker::remove_labelled,
    registry::{FOLDER_PREFIX, Registration, dead_runs},
    services::disk,
};
use crate::{os::process::Identity, progress::Progress, wait};

/// How long killed leftovers may take to disappear.
const GONE_LIMIT: Duration = Duration::from_secs(10);

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

async fn sweep_one(left: &Registration) -> Result<(), String> {
    if left.of_this_boot() {
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
        remove_labelled(&left.run).await.map_err(|error| error.to_string())?;
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
