//! Where libraries are that come between a process and the system, as the loader puts them there (`LD_PRELOAD`).

use std::path::PathBuf;

/// A library to be loaded before all others.
#[derive(Debug)]
pub struct Preload {
    /// Names the library where it lies somewhere else.
    variable: &'static str,
    /// Below a folder of libraries.
    file: &'static str,
    /// How to get it.
    pub how_to_get: &'static str,
}

/// libfaketime, the build for processes with threads: gives a process a wall clock of its own.
pub const FAKETIME: Preload = Preload {
    variable: "SQUALL_LIBFAKETIME",
    file: "faketime/libfaketimeMT.so.1",
    how_to_get: "apt-get install libfaketime (or run harness/services/install), or set SQUALL_LIBFAKETIME",
};

/// nss_wrapper: lets a process find host names at addresses of its own.
pub const NSS_WRAPPER: Preload = Preload {
    variable: "SQUALL_LIBNSS_WRAPPER",
    file: "libnss_wrapper.so",
    how_to_get: "apt-get install libnss-wrapper (or run harness/services/install), or set SQUALL_LIBNSS_WRAPPER",
};

impl Preload {
    /// The library.
    ///
    /// # Errors
    ///
    /// Where it was looked for; `how_to_get` says what to do.
    pub fn library(&self) -> Result<PathBuf, String> {
        let Self { variable, file, .. } = self;
        if let Some(path) = std::env::var_os(variable).map(PathBuf::from) {
            return if path.exists() {
                Ok(path)
            } else {
                Err(format!("{variable} names {}", path.display()))
            };
        }
        // Debian's folder is named after the architecture; others have it in lib or lib64.
        let mut folders: Vec<PathBuf> =
            ["/usr/lib", "/usr/lib64", "/usr/local/lib"].map(PathBuf::from).to_vec();
        for folder in std::fs::read_dir("/usr/lib").into_iter().flatten().flatten() {
            folders.push(folder.path());
        }
        let files = folders.iter().map(|folder| folder.join(file));
        files
            .into_iter()
            .find(|path| path.exists())
            .ok_or_else(|| format!("{file} is neither in /usr/lib nor in a folder there"))
    }
}
