//! What this machine has and lacks, said before a run stumbles over it.

use nix::{
    sys::statvfs::statvfs,
    unistd::{User, geteuid},
};

use super::{
    docker::{
        self,
        images::{Images, Role},
    },
    faketime, leftovers, manifest,
    manifest::Manifest,
};

/// Free space below which a run may fill the disk: Kafka's log, PostgreSQL's files and the history of a long run.
const DISK_NEEDED_MB: u64 = 1024;

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
    fn new(name: &str, found: Result<String, String>, how_to_get: &str) -> Self {
        let ok = found.is_ok();
        let (Ok(detail) | Err(detail)) = found;
        Self { name: name.to_owned(), ok, detail, how_to_get: how_to_get.to_owned() }
    }
}

/// Looks at everything an environment needs. A run needs the Docker checks or the host checks, not both.
pub async fn doctor() -> Vec<Check> {
    let mut checks = docker_checks().await;
    checks.extend(host_checks());
    checks.push(disk());
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
    (ok("docker engine") || ok("services on this host") || fetchable) && ok("free disk space")
}

async fn docker_checks() -> Vec<Check> {
    let engine = docker::engine().await;
    let found = match &engine {
        Ok(engine) => engine.version().await.map_err(|error| error.to_string()).map(|version| {
            format!(
                "{} answers",
                version.version.unwrap_or_else(|| "an engine of unknown version".to_owned())
            )
        }),
        Err(error) => Err(error.to_string()),
    };
    let how = "install Docker and start it (`harness/services/engine` where there is no systemd); the host provider needs none";
    let mut checks = vec![Check::new("docker engine", found, how)];
    if let Ok(engine) = engine {
        let images = Images::choose(&engine).await;
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

fn host_checks() -> Vec<Check> {
    let install = format!("run {}", manifest::installer().display());
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
    let found = faketime::library().map(|library| library.display().to_string());
    checks.push(Check::new("libfaketime (for clock skew only)", found, faketime::HOW_TO_GET));
    let installer = manifest::installer();
    let found =
        if installer.exists() { Ok(installer.display().to_string()) } else { Err("not there".to_owned()) };
    checks.push(Check::new(
        "installer",
        found,
        "set SQUALL_SERVICES_SCRIPTS to the folder `harness/services`",
    ));
    if geteuid().is_root() {
        let user = User::from_name("postgres").ok().flatten();
        let found =
            user.map(|user| format!("`postgres` ({})", user.uid)).ok_or("no user `postgres`".to_owned());
        checks.push(Check::new("user for PostgreSQL", found, "useradd --system postgres, or do not be root"));
    }
    checks
}

fn disk() -> Check {
    let folder = std::env::temp_dir();
    let free = statvfs(&folder)
        .map(|disk| disk.blocks_available().saturating_mul(disk.fragment_size()) / 1024 / 1024);
    let found = match free {
        Ok(free) if free >= DISK_NEEDED_MB => Ok(format!("{free} MB under {}", folder.display())),
        Ok(free) => Err(format!("{free} MB under {}, {DISK_NEEDED_MB} MB wanted", folder.display())),
        Err(error) => Err(format!("{}: {error}", folder.display())),
    };
    Check::new("free disk space", found, "free some, or set TMPDIR to a folder on another disk")
}
