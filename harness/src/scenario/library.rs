//! The scenarios that come with Squall, and how a name on the command line finds its file.

use std::path::{Path, PathBuf};

use crate::{
    plan::Plan,
    scenario::{Choices, Scenario, ScenarioError, error::suggestion},
    shipped,
};

/// A scenario that was found.
#[derive(Debug, Clone)]
pub struct Found {
    /// Its name: the file's without `.toml`.
    pub name: String,
    /// The file, as shown in messages.
    pub file: PathBuf,
    /// Its text.
    pub text: String,
}

impl Found {
    /// Its plan.
    ///
    /// # Errors
    ///
    /// As [`Scenario::plan`].
    pub fn plan(&self, choices: &Choices) -> Result<Plan, ScenarioError> {
        Scenario::plan(&self.name, &self.file.display().to_string(), &self.text, choices)
    }
}

/// Folder of the shipped scenarios in the checkout. What the program carries instead is shown with the same name.
const FOLDER: &str = "scenarios";

/// Folder of the scenarios that take longer than a change can wait for: run by name (`long/…`), not by `--all`.
const LONG: &str = "long";

/// All shipped scenarios by name.
///
/// # Errors
///
/// [`ScenarioError::Unreadable`].
pub fn all() -> Result<Vec<Found>, ScenarioError> {
    let mut found = match shipped::checkout() {
        Some(checkout) => in_folder(&checkout.join(FOLDER))?,
        None => carried().filter(|found| found.file.parent() == Some(Path::new(FOLDER))).collect(),
    };
    found.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(found)
}

fn in_folder(folder: &Path) -> Result<Vec<Found>, ScenarioError> {
    let unreadable = |source| ScenarioError::Unreadable {
        file: folder.display().to_string(),
        source,
        help: "bring the checkout that squall was built from in order",
    };
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(unreadable)? {
        let path = entry.map_err(unreadable)?.path();
        if path.extension().is_some_and(|extension| extension == "toml") {
            found.push(read(&path)?);
        }
    }
    Ok(found)
}

/// Finds a scenario by name or by file.
///
/// # Errors
///
/// [`ScenarioError::NotFound`] with a suggestion, or [`ScenarioError::Unreadable`].
pub fn find(name_or_file: &str) -> Result<Found, ScenarioError> {
    let path = Path::new(name_or_file);
    if path.extension().is_none() && path.starts_with(LONG) {
        let long = Path::new(FOLDER).join(path).with_extension("toml");
        let found = match shipped::checkout().map(|checkout| checkout.join(&long)) {
            Some(file) => file.is_file().then(|| read(&file)).transpose()?,
            None => carried().find(|found| found.file == long),
        };
        if let Some(found) = found {
            return Ok(found);
        }
    }
    if path.extension().is_some() || path.components().count() > 1 {
        return read(path);
    }
    let shipped = all()?;
    shipped.iter().find(|found| found.name == name_or_file).cloned().ok_or_else(|| ScenarioError::NotFound {
        name: name_or_file.to_owned(),
        help: format!(
            "{}; `squall list` tells what each does, and a path to a .toml file works too",
            suggestion(name_or_file, shipped.iter().map(|found| found.name.as_str())).unwrap_or_default()
        ),
    })
}

/// The What / Why / Expect comment that opens a scenario, without its `#`.
pub fn prose(text: &str) -> String {
    let lines = text.lines().take_while(|line| line.starts_with('#'));
    lines.map(|line| line.trim_start_matches('#').trim_start()).collect::<Vec<_>>().join("\n")
}

/// Title of a found scenario.
///
/// # Errors
///
/// [`ScenarioError`] when the file is not a scenario.
pub fn title(found: &Found) -> Result<String, ScenarioError> {
    Scenario::title(&found.file.display().to_string(), &found.text)
}

fn carried() -> impl Iterator<Item = Found> {
    shipped::carried().scenarios.iter().map(|(name, text)| {
        let file = Path::new(FOLDER).join(name);
        Found { name: name_of(&file), file, text: (*text).to_owned() }
    })
}

fn name_of(file: &Path) -> String {
    file.file_stem().map_or_else(|| "scenario".into(), |stem| stem.to_string_lossy().into_owned())
}

fn read(path: &Path) -> Result<Found, ScenarioError> {
    let text = std::fs::read_to_string(path).map_err(|source| ScenarioError::Unreadable {
        file: path.display().to_string(),
        source,
        help: "`squall list` names the scenarios that come with squall",
    })?;
    Ok(Found { name: name_of(path), file: path.to_path_buf(), text })
}
