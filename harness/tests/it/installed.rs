//! Squall as `cargo install` leaves it: in a folder of its own, started from elsewhere, without the checkout.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use harness::{cluster::Binaries, plan::ProcessName, progress::Progress};

use crate::{
    command_line::{ended, squall},
    testbed,
};

/// A call of an installed program, from another folder. Where this test may mount, nothing is left of the checkout.
fn installed(program: &Path, home: &Path) -> Command {
    let checkout = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize().unwrap();
    let mut command = if nix::unistd::geteuid().is_root() {
        let hidden = r#"mount -t tmpfs tmpfs "$0" && exec "$@""#;
        let mut command = Command::new("unshare");
        command.args(["-m", "sh", "-c", hidden]).arg(checkout).arg(program);
        command
    } else {
        Command::new(program)
    };
    // As in a shell: cargo, which runs this test, says things about the checkout.
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("CARGO")) {
        command.env_remove(name);
    }
    command.current_dir(home).env_remove("SQUALL_BIN_DIR").env("XDG_STATE_HOME", home).env("NO_COLOR", "1");
    command
}

#[test]
fn an_installed_squall_needs_no_checkout() {
    let _alone = testbed::alone_blocking();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let built = runtime.block_on(Binaries::ready(false, &Progress::silent())).unwrap();
    let home = tempfile::tempdir().unwrap();
    let home = home.path();
    let bin = home.join("bin");
    fs::create_dir(&bin).unwrap();
    let program = bin.join("squall");
    fs::copy(env!("CARGO_BIN_EXE_squall"), &program).unwrap();
    let smoke = |seed: &str| {
        let mut command = installed(&program, home);
        command.args(["run", "smoke", "--brief", "--provider", "host", "--out", "out", "--seed", seed]);
        command
    };

    // Without its nodes and writers it names the next step.
    let (code, said) = ended(&mut smoke("1"));
    assert_eq!(code, 69, "{said}");
    assert!(said.contains("chat-node is not there") && said.contains("cargo install --path"), "{said}");
    let (code, said) = ended(installed(&program, home).args(["run", "smoke", "--writer-bug", "x"]));
    assert_eq!(code, 69, "{said}");
    assert!(said.contains("cargo squall"), "{said}");

    for process in [ProcessName::Node(1), ProcessName::Writer(1)] {
        let file = built.of(process);
        fs::copy(&file, bin.join(file.file_name().unwrap())).unwrap();
    }

    // It has with it what the checkout has.
    let (code, checkouts) = ended(squall(home).args(["list", "--long"]));
    let (_, carried) = ended(installed(&program, home).args(["list", "--long"]));
    // Not `assert_eq`: nobody reads two catalogues.
    assert!(code == 0 && carried == checkouts, "{carried}");
    let (code, said) = ended(installed(&program, home).args(["run", "long/nothing"]));
    assert_eq!(code, 64, "{said}");

    // The installer of services comes along, and finds what its checkout's has installed.
    let services = home.join("services");
    let (_, said) = ended(installed(&program, home).arg("doctor").env("SQUALL_SERVICES_DIR", &services));
    let installer = services.join("scripts/install");
    assert!(said.contains(&installer.display().to_string()), "{said}");
    assert!(!said.contains("tools of the build"), "{said}");
    let (code, said) = ended(installed(&installer, home).arg("--check"));
    assert_eq!(code, 0, "{said}");

    let (code, said) = ended(&mut smoke("2"));
    assert_eq!(code, 0, "{said}");
    let (code, said) = ended(installed(&program, home).arg("check").arg(newest(&home.join("out/smoke"))));
    assert_eq!(code, 0, "{said}");
}

fn newest(folder: &Path) -> PathBuf {
    let runs = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    runs.max_by_key(|run| fs::metadata(run).unwrap().modified().unwrap()).unwrap()
}
