//! What squall takes of the environment that it is called in.
//!
//! A verdict must not depend on the shell. Much of what a run links reads variables by itself: proxies (`HTTP_PROXY`),
//! defaults of PostgreSQL clients (`PGOPTIONS`), log filters (`RUST_LOG`), flags of the JVM (`JAVA_TOOL_OPTIONS`), of the
//! loader (`LD_PRELOAD`), of the chat's own binaries (`CHAT_NODE_…`). So squall keeps what it has a use for, and begins
//! anew with that ([`enter`]). The rest is put aside under other names for the two that work for the caller and not for
//! the run: the installer of services and cargo ([`callers`]). Processes of a run get less still ([`for_children`]).

use std::{
    collections::BTreeMap,
    ffi::{OsStr, OsString},
    io,
    os::unix::{
        ffi::{OsStrExt, OsStringExt},
        process::CommandExt,
    },
    process::Command,
};

/// Names and values, in the order of the names.
pub type Variables = BTreeMap<OsString, OsString>;

/// A variable that is put aside has this before its name.
const ASIDE: &str = "SQUALL_OUTSIDE_";

/// What squall itself or a library that it uses on purpose reads: where things are, how to talk to the terminal, which
/// Docker engine, which authorities.
const KEPT: [&str; 20] = [
    "CARGO",
    "CI",
    "CLICOLOR",
    "CLICOLOR_FORCE",
    "COLORTERM",
    "COLUMNS",
    "HOME",
    "LANG",
    "LOGNAME",
    "NO_COLOR",
    "PATH",
    "RUST_BACKTRACE",
    "RUST_LIB_BACKTRACE",
    "SHELL",
    "SSL_CERT_DIR",
    "SSL_CERT_FILE",
    "TERM",
    "TMPDIR",
    "TZ",
    "USER",
];
const KEPT_PREFIXES: [&str; 5] = ["DOCKER_", "LC_", "SQUALL_", "TESTCONTAINERS_", "XDG_"];

/// What `cargo run` and `cargo test` add for the program that they run. It was never the caller's; build scripts watch
/// some of it, so that a cargo which inherits it compiles half the tree anew.
fn set_by_cargo(name: &OsStr) -> bool {
    let name = name.to_string_lossy();
    matches!(&*name, "CARGO_MANIFEST_DIR" | "CARGO_MANIFEST_PATH" | "CARGO_CRATE_NAME" | "OUT_DIR")
        || ["CARGO_PKG_", "CARGO_BIN_", "CARGO_PRIMARY_", "CARGO_TARGET_TMPDIR"]
            .iter()
            .any(|prefix| name.starts_with(prefix))
}

fn kept(name: &OsStr) -> bool {
    let name = name.to_string_lossy();
    KEPT.contains(&&*name) || KEPT_PREFIXES.iter().any(|prefix| name.starts_with(prefix))
}

/// The environment that squall runs in: what it keeps, and what is put aside. Stating it twice changes nothing.
pub fn stated(inherited: &Variables) -> Variables {
    let renamed = |name: &OsString| {
        if kept(name) {
            return name.clone();
        }
        let mut aside = OsString::from(ASIDE);
        aside.push(name);
        aside
    };
    let own = inherited.iter().filter(|(name, _)| !set_by_cargo(name));
    own.map(|(name, value)| (renamed(name), value.clone())).collect()
}

/// Begins anew in the stated environment, once; comes back when it is in force.
///
/// # Errors
///
/// The kernel could not start this program again.
pub fn enter() -> io::Result<()> {
    let inherited: Variables = std::env::vars_os().collect();
    let stated = stated(&inherited);
    if stated == inherited {
        return Ok(());
    }
    let mut arguments = std::env::args_os();
    let mut again = Command::new("/proc/self/exe");
    if let Some(name) = arguments.next() {
        again.arg0(name);
    }
    Err(again.args(arguments).env_clear().envs(stated).exec())
}

/// The caller's own environment, for the installer (which may need their HTTP proxy) and for cargo (which must see what it
/// would see from their shell, or it builds anew).
pub fn callers() -> Variables {
    restored(&std::env::vars_os().collect())
}

fn restored(stated: &Variables) -> Variables {
    let own = stated.iter().filter(|(name, _)| !set_by_cargo(name));
    own.map(|(name, value)| {
        let name = name.as_bytes();
        let name = name.strip_prefix(ASIDE.as_bytes()).unwrap_or(name);
        (OsString::from_vec(name.to_vec()), value.clone())
    })
    .collect()
}

/// Those of some programs that are not on the caller's PATH.
pub fn missing_programs<'a>(programs: &[&'a str]) -> Vec<&'a str> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let there = |program: &str| std::env::split_paths(&path).any(|folder| folder.join(program).is_file());
    programs.iter().copied().filter(|program| !there(program)).collect()
}

/// Of what squall keeps, what every process of a run is given: where to find programs and temporary files, which
/// authorities to trust, and one language whatever the caller's is.
pub fn for_children() -> Variables {
    let passed = ["HOME", "PATH", "SSL_CERT_DIR", "SSL_CERT_FILE", "TMPDIR", "TZ"];
    let passed = passed.iter().filter_map(|name| Some(((*name).into(), std::env::var_os(name)?)));
    passed.chain([("LANG".into(), "C.UTF-8".into())]).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn variables(pairs: &[(&str, &str)]) -> Variables {
        pairs.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect()
    }

    #[test]
    fn what_libraries_would_read_by_themselves_is_put_aside() {
        let hostile = [
            "HTTP_PROXY",
            "http_proxy",
            "ALL_PROXY",
            "PGOPTIONS",
            "PGHOST",
            "PGSSLMODE",
            "CHAT_NODE_BUG",
            "CHAT_WRITER_BATCH_MAX_AGE_MS",
            "JAVA_TOOL_OPTIONS",
            "LD_PRELOAD",
            "RUST_LOG",
            "REDIS_URL",
        ];
        for name in hostile {
            let stated = stated(&variables(&[(name, "x"), ("PATH", "/bin")]));
            assert!(!stated.contains_key(OsStr::new(name)), "{name}");
            assert_eq!(stated.len(), 2, "{name}");
        }
    }

    #[test]
    fn cargo_and_the_installer_see_what_the_caller_had_and_nothing_of_cargos() {
        let shell =
            variables(&[("HTTP_PROXY", "p"), ("PATH", "/bin"), ("CARGO_HOME", "/c"), ("RUSTFLAGS", "-g")]);
        let mut under_cargo = shell.clone();
        under_cargo.extend(variables(&[("CARGO_MANIFEST_DIR", "/m"), ("CARGO_PKG_NAME", "n")]));
        assert_eq!(restored(&stated(&under_cargo)), shell);
    }

    proptest! {
        #[test]
        fn stating_twice_changes_nothing_and_nothing_of_the_callers_is_lost(
            pairs in proptest::collection::btree_map("[A-Z_a-z]{1,12}|SQUALL_OUTSIDE_[A-Z]{1,3}|LC_[A-Z]{2}|PATH|CARGO_PKG_[A-Z]", "[ -~]{0,8}", 0..12)
        ) {
            let inherited: Variables = pairs.into_iter().map(|(n, v)| (n.into(), v.into())).collect();
            let once = stated(&inherited);
            prop_assert_eq!(&stated(&once), &once);
            let nested = inherited.keys().any(|name| name.as_bytes().starts_with(ASIDE.as_bytes()));
            if !nested {
                let own: Variables = inherited.into_iter().filter(|(name, _)| !set_by_cargo(name)).collect();
                prop_assert_eq!(restored(&once), own);
            }
        }
    }
}
