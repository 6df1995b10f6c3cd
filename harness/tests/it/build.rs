//! What a call of squall may build: nothing that has not changed.

use std::{path::Path, process::Command};

use crate::testbed;

/// `cargo squall` as from a shell: without what cargo has told this test.
fn cargo_squall(arguments: &[&str]) -> Vec<String> {
    let mut command = Command::new(env!("CARGO"));
    command.current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("..")).arg("squall").args(arguments);
    for (name, _) in std::env::vars_os() {
        let cargos =
            name.to_string_lossy().starts_with("CARGO") && name != "CARGO_HOME" && name != "CARGO_TARGET_DIR";
        if cargos || name == "SQUALL_BIN_DIR" {
            command.env_remove(name);
        }
    }
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{said}");
    said.lines().filter(|line| line.trim_start().starts_with("Compiling")).map(str::to_owned).collect()
}

/// A build script that watches a variable which `cargo run` sets for the program it runs made every call compile half
/// the tree again, as squall's own cargo inherited it.
#[test]
fn no_call_builds_what_has_not_changed() {
    let _alone = testbed::alone_blocking();
    let out = tempfile::tempdir().unwrap();
    let out = out.path().to_str().unwrap();
    // May build what the tests did not need: the launcher.
    cargo_squall(&["list"]);
    assert_eq!(cargo_squall(&["run", "smoke", "--provider", "host", "--out", out]), Vec::<String>::new());
    assert_eq!(cargo_squall(&["list"]), Vec::<String>::new());
}
