//! What this machine has and lacks, said before a run stumbles over it.

use std::env;

use nix::{
    sys::resource::{Resource, getrlimit},
    sys::statvfs::statvfs,
    unistd::{User, geteuid},
};

use testcontainers::bollard::Docker;

use super::{
    EnvironmentError, leftovers,
    manifest::{self, Manifest},
    netfilter,
    preload::{FAKETIME, NSS_WRAPPER},
    providers::docker::{
        self,
        images::{Images, Role},
    },
};
use crate::{shipped, surroundings};

/// Free space below which a run may fill the disk: Kafka's log, PostgreSQL's files and the history of a long run.
/// For the largest scenarios shipped, several times over; a run with more users is refused by itself.
const OPEN_FILES_WANTED: u64 = 1_024;

const DISK_NEEDED_MB: u64 = 1024;

/// Name of the check that tells whether Docker can be used.
const ENGINE: &str = "docker engine";

/// What to do about an installer that is there and is not the right one.
const TOLD_ELSEWHERE: &str = "set SQUALL_SERVICES_SCRIPTS to the folder that has another";

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    /// What.
    pub name: String,
    /// True when nothing needs doing.
    pub ok: bool,
    /// What was found.
    pub detail: String,
    /// What to do when it is not ok.
    pub how_to_get: String,
}

impl Check {
    pub(crate) fn new(name: &str, found: Result<String, String>, how_to_get: &str) -> Self {
        let ok = found.is_ok();
        let (Ok(detail) | Err(detail)) = found;
        Self { name: name.to_owned(), ok, detail, how_to_get: how_to_get.to_owned() }
    }
}

/// Looks at everything an environment needs. A run needs the Docker checks or the host checks, not both.
pub async fn doctor() -> Vec<Check> {
    let mut checks = docker_checks().await;
    let auto = auto(&checks);
    checks.push(auto);
    checks.extend(host_checks());
    // An installed squall builds nothing.
    checks.extend(shipped::checkout().map(|_| build_tools()));
    checks.push(disk());
    checks.push(open_files());
    let left = leftovers::left_behind();
    let found = match left.len() {
        0 => Ok("none".to_owned()),
        _ => Err(format!("of runs that were killed: {}", left.join(", "))),
    };
    checks.push(Check::new("leftovers", found, "they are removed when the next run starts"));
    checks
}

/// Whether a run can start here: an engine, or services on this host, or the right to fetch them; and room to write.
pub fn can_run(checks: &[Check]) -> bool {
    let ok = |name: &str| checks.iter().any(|check| check.name == name && check.ok);
    let fetchable = geteuid().is_root() && ok("installer");
    (ok(ENGINE) || ok("services on this host") || fetchable) && ok("free disk space")
}

async fn docker_checks() -> Vec<Check> {
    let engine = docker::engine().await;
    let images = match &engine {
        Ok(engine) => Some(Images::choose(engine).await),
        Err(_) => None,
    };
    let found = match (&engine, &images) {
        (Ok(engine), Some(images)) => usable(engine, images).await,
        (Err(error), _) => Err(error.to_string()),
        (Ok(_), None) => Err("its images could not be listed".to_owned()),
    };
    let how = "install Docker and start it (`harness/services/engine` where there is no systemd); the host provider needs none";
    let mut checks = vec![Check::new(ENGINE, found, how)];
    if let Some(images) = images {
        for role in Role::ALL {
            let image = images.of(role);
            let found = match &image.found {
                Some(digest) => Ok(format!("{} ({digest})", image.name)),
                None => Err(format!("{} is not on this machine; it is pulled when needed", image.name)),
            };
            checks.push(Check::new(
                &format!("image of {}", role.name()),
                found,
                "docker pull, or `harness/services/images/build`",
            ));
        }
    }
    checks
}

/// Version and address of an engine whose ports can be reached; that is tried where Redis's image is there.
async fn usable(engine: &Docker, images: &Images) -> Result<String, String> {
    let version = engine.version().await.map_err(|error| error.to_string())?;
    let version = version.version.unwrap_or_else(|| "an engine of unknown version".to_owned());
    let answers = format!("{version} answers at {}", docker::address());
    if images.of(Role::Redis).found.is_none() {
        return Ok(format!("{answers}; whether its ports can be reached shows when Redis's image is here"));
    }
    Box::pin(docker::reachable(engine, images)).await.map_err(|error| error.to_string())?;
    Ok(answers)
}

/// What `--provider auto` comes to.
fn auto(checks: &[Check]) -> Check {
    let found = match checks.iter().find(|check| check.name == ENGINE) {
        Some(engine) if engine.ok => "docker".to_owned(),
        Some(engine) => format!("host, as {}", engine.detail),
        None => "host".to_owned(),
    };
    Check::new("provider by `auto`", Ok(found), "--provider docker or --provider host")
}

/// What compiles nodes and writers, C libraries among them, where their binaries are not here yet.
fn build_tools() -> Check {
    let missing = surroundings::missing_programs(&["cargo", "cc", "make"]);
    let found = match missing.as_slice() {
        [] => Ok("cargo, cc and make".to_owned()),
        missing => Err(format!("not on PATH: {}", missing.join(", "))),
    };
    Check::new(
        "tools of the build",
        found,
        "rustup.rs; apt-get install build-essential (only to build from source)",
    )
}

fn host_checks() -> Vec<Check> {
    let installer = manifest::installer().map(|installer| installer.display().to_string());
    let install = format!("run {}", installer.as_deref().unwrap_or("the installer (see below)"));
    let found = match Manifest::read() {
        Ok(Some(manifest)) => match manifest.missing() {
            Some(gone) => Err(format!("{} is gone", gone.display())),
            None => Ok(format!(
                "Kafka {}, Toxiproxy {} ({})",
                manifest.kafka_version,
                manifest.toxiproxy_version,
                manifest::path().display()
            )),
        },
        Ok(None) => Err(format!("{} does not exist; it is made when needed", manifest::path().display())),
        Err(error) => Err(error.to_string()),
    };
    let mut checks = vec![Check::new("services on this host", found, &install)];
    let found = FAKETIME.library().map(|library| library.display().to_string());
    checks.push(Check::new("libfaketime (for clock skew only)", found, FAKETIME.how_to_get));
    let found = NSS_WRAPPER.library().map(|library| library.display().to_string());
    checks.push(Check::new(
        "libnss-wrapper (for faults on links to TLS services only)",
        found,
        NSS_WRAPPER.how_to_get,
    ));
    let found = netfilter::usable().map(|()| "nft and ss, and the right to use them".to_owned());
    checks.push(Check::new("nftables (for packet loss only)", found, netfilter::HOW_TO_GET));
    let how = installer.as_ref().map_or_else(EnvironmentError::help, |_| TOLD_ELSEWHERE);
    checks.push(Check::new("installer", installer.as_ref().map_err(ToString::to_string).cloned(), how));
    if geteuid().is_root() {
        let user = User::from_name("postgres").ok().flatten();
        let found =
            user.map(|user| format!("`postgres` ({})", user.uid)).ok_or("no user `postgres`".to_owned());
        checks.push(Check::new("user for PostgreSQL", found, "useradd --system postgres, or do not be root"));
    }
    checks
}

/// The soft limit is raised to the hard one when squall starts.
fn open_files() -> Check {
    let found = match getrlimit(Resource::RLIMIT_NOFILE) {
        Ok((_, most)) if most >= OPEN_FILES_WANTED => Ok(format!("{most} in each process")),
        Ok((_, most)) => Err(format!("{most} in each process, {OPEN_FILES_WANTED} wanted")),
        Err(error) => Err(error.to_string()),
    };
    Check::new(
        "open files",
        found,
        "raise the hard limit (`ulimit -Hn`, LimitNOFILE=): a user needs one, and a quarter",
    )
}

fn disk() -> Check {
    let folder = env::temp_dir();
    let free = statvfs(&folder)
        .map(|disk| disk.blocks_available().saturating_mul(disk.fragment_size()) / 1024 / 1024);
    let found = match free {
        Ok(free) if free >= DISK_NEEDED_MB => Ok(format!("{free} MB under {}", folder.display())),
        Ok(free) => Err(format!("{free} MB under {}, {DISK_NEEDED_MB} MB wanted", folder.display())),
        Err(error) => Err(format!("{}: {error}", folder.display())),
    };
    Check::new("free disk space", found, "free some, or set TMPDIR to a folder on another disk")
}
