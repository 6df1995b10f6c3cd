//! What comes with squall beside its program: scenarios, and the scripts that fetch the services. In the checkout that
//! built it they are read from there, so that an edit counts at once. Installed anywhere else (`cargo install`), the program
//! carries them: a checkout goes on changing, and what was installed must not.

use std::{
    fs, io,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    sync::OnceLock,
};

/// A file that the program carries: its name below its folder, and its text.
pub type Text = (&'static str, &'static str);

/// What the program carries. Compiled into `main.rs` and not here: an edited scenario then costs a link, not the library.
#[derive(Debug, Clone, Copy, Default)]
pub struct Carried {
    /// The files of `scenarios/`.
    pub scenarios: &'static [Text],
    /// Those of `harness/services/` that the host provider needs.
    pub services: &'static [Text],
}

static CARRIED: OnceLock<Carried> = OnceLock::new();

/// Said once, at the start of the program.
pub fn carry(carried: Carried) {
    // Only the first call counts; there is one.
    let _ = CARRIED.set(carried);
}

/// What the program carries; nothing where the library is used by another program.
pub fn carried() -> Carried {
    CARRIED.get().copied().unwrap_or_default()
}

/// The checkout that this executable was built from, if it still is where cargo has put it.
pub fn checkout() -> Option<&'static Path> {
    static CHECKOUT: OnceLock<Option<PathBuf>> = OnceLock::new();
    CHECKOUT.get_or_init(find_checkout).as_deref()
}

fn find_checkout() -> Option<PathBuf> {
    let built_here = is_cargos(folder().ok()?.parent()?);
    let checkout = Path::new(env!("CARGO_MANIFEST_DIR")).parent()?;
    (built_here && checkout.join("Cargo.toml").exists()).then(|| checkout.to_owned())
}

/// Whether cargo builds into this folder. The tag alone does not tell: cargo leaves it out where the folder was there
/// before its first build (a log of CI in it, a cache put back).
fn is_cargos(target: &Path) -> bool {
    ["CACHEDIR.TAG", ".rustc_info.json"].iter().any(|mark| target.join(mark).exists())
}

/// The folder of this executable, whether it is `target/PROFILE/squall`, a test in `target/PROFILE/deps` or installed.
///
/// # Errors
///
/// The kernel does not say where the executable is.
pub fn folder() -> io::Result<PathBuf> {
    let me = std::env::current_exe()?;
    let mut folder = me.parent().map(Path::to_path_buf).unwrap_or_default();
    if folder.ends_with("deps") {
        folder.pop();
    }
    Ok(folder)
}

/// Writes carried files into a folder, executable. One that is there already as it should be is left alone; any other is
/// replaced in one rename, as it may be running.
///
/// # Errors
///
/// A file cannot be written.
pub fn unpack(texts: &[Text], folder: &Path) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    for (name, text) in texts {
        let file = folder.join(name);
        if fs::read_to_string(&file).is_ok_and(|there| there == *text) {
            continue;
        }
        let new = folder.join(format!(".{name}.{}", std::process::id()));
        fs::write(&new, text)?;
        fs::set_permissions(&new, fs::Permissions::from_mode(0o755))?;
        fs::rename(&new, &file)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_test_is_where_cargo_has_put_it_and_so_finds_the_checkout() {
        assert!(checkout().unwrap().join("scenarios/smoke.toml").exists());
    }

    #[test]
    fn a_target_folder_that_was_there_before_cargo_is_cargos_all_the_same() {
        let target = tempfile::tempdir().unwrap();
        assert!(!is_cargos(target.path()));
        fs::write(target.path().join(".rustc_info.json"), "{}").unwrap();
        assert!(is_cargos(target.path()));
    }

    #[test]
    fn what_is_unpacked_twice_is_there_once_and_an_old_version_is_replaced() {
        let folder = tempfile::tempdir().unwrap();
        for text in ["#!/bin/sh\n", "#!/bin/sh\n", "#!/bin/bash\n"] {
            unpack(&[("install", text)], folder.path()).unwrap();
            assert_eq!(fs::read_to_string(folder.path().join("install")).unwrap(), text);
        }
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
