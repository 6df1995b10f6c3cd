//! `squall trend FOLDER`: the figures of all gates and capacity searches below a folder, over time.

use std::{fs, path::Path};

use super::{errors, errors::CliError};
use crate::{
    capacity::Capacity,
    exit::Exit,
    report::trend::{self, Figure},
    run::folder::FolderError,
};

/// reports/SCENARIO/RUN-ID, and one more for a folder of several machines.
const DEPTH_MAX: u32 = 3;

/// What a gate leaves of each of its figures; the rest of an entry is for other readers.
#[derive(Debug, serde::Deserialize)]
struct Entry {
    name: String,
    unit: String,
    value: f64,
}

pub(super) fn trend(folder: &Path) -> Result<Exit, CliError> {
    let mut runs = Vec::new();
    gather(folder, DEPTH_MAX, &mut runs)?;
    // Ids of runs begin with their time.
    runs.sort_by(|a, b| a.0.cmp(&b.0));
    let mut figures: Vec<Figure> = Vec::new();
    for (run, Entry { name, unit, value }) in runs {
        match figures.iter_mut().find(|it| it.name == name && it.unit == unit) {
            Some(figure) => figure.runs.push((run, value)),
            None => figures.push(Figure { name, unit, runs: vec![(run, value)] }),
        }
    }
    if figures.is_empty() {
        return Err(CliError::NoFigures(folder.display().to_string()));
    }
    let page = folder.join("trend.html");
    errors::write(&page, &trend::html(&figures))?;
    errors::print(&format!("{}\n{}", trend::terminal(&figures), page.display()));
    Ok(Exit::Holds)
}

/// Everything that gates and capacity searches have left in a folder and below it.
fn gather(folder: &Path, depth: u32, runs: &mut Vec<(String, Entry)>) -> Result<(), CliError> {
    let failed = |path: &Path| {
        let path = path.display().to_string();
        move |source| CliError::Folder(FolderError::Io { verb: "read", path, source })
    };
    let run = folder.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
    let read = |name: &str| match fs::read_to_string(folder.join(name)) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(failed(&folder.join(name))(error)),
    };
    let malformed = |name: &str, what: &'static str, error: &serde_json::Error| {
        let path = folder.join(name).display().to_string();
        CliError::Folder(FolderError::Malformed { path, what, why: error.to_string() })
    };
    if let Some(text) = read("benchmark.json")? {
        let entries: Vec<Entry> = serde_json::from_str(&text)
            .map_err(|error| malformed("benchmark.json", "list of figures", &error))?;
        runs.extend(entries.into_iter().map(|entry| (run.clone(), entry)));
    }
    if let Some(text) = read("capacity.json")? {
        let found: Capacity =
            serde_json::from_str(&text).map_err(|error| malformed("capacity.json", "capacity", &error))?;
        if let Some(lower) = found.bounds().lower.filter(|_| found.finished) {
            let under = found.under.map_or_else(String::new, |fault| format!(" with {fault}"));
            let name = format!("capacity of {}{under}", found.scenario);
            runs.push((run, Entry { name, unit: found.unit, value: lower.into() }));
        }
    }
    if depth > 0 {
        for entry in fs::read_dir(folder).map_err(failed(folder))? {
            let path = entry.map_err(failed(folder))?.path();
            if path.is_dir() {
                gather(&path, depth - 1, runs)?;
            }
        }
    }
    Ok(())
}
