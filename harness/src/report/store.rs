//! The run folder: `reports/<scenario>/<run-id>/`. This writes what a judgement makes of a run (`result.json`,
//! `report.md`, `report.html`, `junit.xml`); the plan, the history and the logs were there before.

use std::{
    fs,
    path::{Path, PathBuf},
};

use crate::report::{REPORT_FORMAT, Report, html, junit, markdown};

/// Name of the file that holds a [`Report`].
pub const RESULT: &str = "result.json";
/// Name of the page for people.
pub const PAGE: &str = "report.html";

/// Why a report cannot be written or read.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// A file cannot be written.
    #[error("failed to write {path}")]
    Write {
        /// The file.
        path: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A file cannot be read.
    #[error("failed to read {path}")]
    Read {
        /// The file.
        path: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// It is not what squall writes.
    #[error("{path} is not a report")]
    Parse {
        /// The file.
        path: String,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// It was written by another version of squall.
    #[error("{path} has report format {found}, this squall reads format {REPORT_FORMAT}")]
    Version {
        /// The file.
        path: String,
        /// The version it states.
        found: u64,
    },
}

/// Folder of a run.
pub fn folder(reports: &Path, scenario: &str, run_id: &str) -> PathBuf {
    reports.join(scenario).join(run_id)
}

/// Writes every form of a report into a run folder, which is made if need be.
///
/// # Errors
///
/// [`StoreError::Write`] naming the file.
pub fn write(report: &Report, folder: &Path) -> Result<(), StoreError> {
    let failed = |path: &Path| {
        let path = path.display().to_string();
        move |source| StoreError::Write { path, source }
    };
    fs::create_dir_all(folder).map_err(failed(folder))?;
    let json = serde_json::to_string_pretty(report).map_err(std::io::Error::other);
    let json = json.map_err(failed(&folder.join(RESULT)))?;
    let files = [
        ("report.md", markdown::render(report)),
        ("junit.xml", junit::render(report)),
        (PAGE, html::render(report)),
        // Last: a folder with a result has everything else, too.
        (RESULT, json),
    ];
    for (name, text) in files {
        // By way of another name: nobody ever reads half a report.
        let (path, new) = (folder.join(name), folder.join(format!("{name}.new")));
        fs::write(&new, text).map_err(failed(&new))?;
        fs::rename(&new, &path).map_err(failed(&path))?;
    }
    Ok(())
}

/// Reads the report of a run folder.
///
/// # Errors
///
/// [`StoreError`] when there is none, or it is of another version.
pub fn read(folder: &Path) -> Result<Report, StoreError> {
    let file = folder.join(RESULT);
    let path = file.display().to_string();
    let text = fs::read_to_string(&file).map_err(|source| StoreError::Read { path: path.clone(), source })?;
    let parsed = |source| StoreError::Parse { path: path.clone(), source };
    let value: serde_json::Value = serde_json::from_str(&text).map_err(parsed)?;
    // The version first: an unknown field of a later one would be a puzzling error.
    let found = value.get("format").and_then(serde_json::Value::as_u64).unwrap_or(0);
    if found != u64::from(REPORT_FORMAT) {
        return Err(StoreError::Version { path, found });
    }
    serde_json::from_value(value).map_err(parsed)
}
