//! Where libfaketime is: the library that gives a process a wall clock of its own.

use std::path::PathBuf;

/// Names the library where it lies somewhere else.
const VARIABLE: &str = "SQUALL_LIBFAKETIME";
/// The build for processes with threads.
const FILE: &str = "libfaketimeMT.so.1";

/// How to get it.
pub const HOW_TO_GET: &str =
    "apt-get install libfaketime (or run harness/services/install), or set SQUALL_LIBFAKETIME";

/// The library.
///
/// # Errors
///
/// Where it was looked for; [`HOW_TO_GET`] says what to do.
pub fn library() -> Result<PathBuf, String> {
    if let Some(path) = std::env::var_os(VARIABLE).map(PathBuf::from) {
        return if path.exists() { Ok(path) } else { Err(format!("{VARIABLE} names {}", path.display())) };
    }
    // Debian's folder is named after the architecture; others have it in lib or lib64.
    let mut folders: Vec<PathBuf> = ["/usr/lib", "/usr/lib64", "/usr/local/lib"].map(PathBuf::from).to_vec();
    for folder in std::fs::read_dir("/usr/lib").into_iter().flatten().flatten() {
        folders.push(folder.path());
    }
    let files = folders.iter().map(|folder| folder.join("faketime").join(FILE));
    files
        .into_iter()
        .find(|file| file.exists())
        .ok_or_else(|| format!("{FILE} is not in /usr/lib/*/faketime"))
}
