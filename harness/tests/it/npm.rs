//! Packages of the tests that are not Rust: put in place once per machine, in the build's own folder.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

/// Not copied: what npm and a build make.
const MADE: [&str; 2] = ["node_modules", "dist"];
/// Which lock file `node_modules` was made from.
const INSTALLED: &str = "node_modules/.installed-from";

/// Copies a package to the build's own folder and installs what its lock file names.
pub(crate) fn installed(source: &Path, name: &str) -> PathBuf {
    if Command::new("npm").arg("--version").output().is_err() {
        apt_install(&["nodejs", "npm"]);
    }
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    copy(source, &folder);
    let lock = std::fs::read(folder.join("package-lock.json")).unwrap();
    if std::fs::read(folder.join(INSTALLED)).ok().as_ref() != Some(&lock) {
        run(&folder, &["ci", "--no-audit", "--no-fund"]);
        std::fs::write(folder.join(INSTALLED), lock).unwrap();
    }
    folder
}

fn copy(source: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(source).unwrap() {
        let from = entry.unwrap().path();
        let name = from.file_name().unwrap();
        if MADE.iter().any(|made| *made == name) {
            continue;
        }
        if from.is_dir() {
            drop(std::fs::remove_dir_all(to.join(name)));
            copy(&from, &to.join(name));
        } else {
            std::fs::copy(&from, to.join(name)).unwrap();
        }
    }
}

/// Runs npm in a package; it must succeed.
pub(crate) fn run(folder: &Path, args: &[&str]) {
    let ran = Command::new("npm").args(args).current_dir(folder).output().unwrap();
    let (out, err) = (String::from_utf8_lossy(&ran.stdout), String::from_utf8_lossy(&ran.stderr));
    assert!(ran.status.success(), "npm {args:?}: {out}{err}");
}

pub(crate) fn apt_install(packages: &[&str]) {
    let names = packages.join(" ");
    let apt = format!("apt-get update -qq && apt-get install -y -qq --no-install-recommends {names}");
    let installed = Command::new("sh").args(["-c", &apt]).output().unwrap();
    assert!(installed.status.success(), "this test needs {names}, and could not install them");
}
