//! Where the host provider's programs are: the manifest that `harness/services/install` writes, made on first use.

use std::{
    env, fs, io,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde::Deserialize;
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, Command},
};

use super::error::{EnvironmentError, LOG_LINES};
use crate::{progress::Progress, shipped, surroundings};

/// The manifest's version that we read.
const SCHEMA: u32 = 1;

/// Downloads, a build in Go and a package installation over a slow line; beyond this something hangs.
const INSTALL_LIMIT: Duration = Duration::from_secs(20 * 60);

/// The programs of the host provider.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Manifest {
    schema: u32,
    pub(crate) redis_server: PathBuf,
    pub(crate) postgres_bin: PathBuf,
    pub(crate) kafka_libs: PathBuf,
    pub(crate) kafka_version: String,
    /// Kafka's logging configuration; without it Kafka says nothing.
    #[serde(default)]
    pub(crate) kafka_log4j2: Option<PathBuf>,
    /// Class-data archive that halves Kafka's start.
    #[serde(default)]
    pub(crate) kafka_cds: Option<PathBuf>,
    pub(crate) java: PathBuf,
    pub(crate) toxiproxy: PathBuf,
    pub(crate) toxiproxy_version: String,
}

impl Manifest {
    /// Reads the manifest; installs first when there is none, or when a program it names is gone.
    pub(crate) async fn find_or_install(progress: &Progress) -> Result<Self, EnvironmentError> {
        if let Some(manifest) = Self::read()?.filter(|manifest| manifest.missing().is_none()) {
            return Ok(manifest);
        }
        install(progress).await?;
        let reason = match Self::read()? {
            Some(manifest) => match manifest.missing() {
                None => return Ok(manifest),
                Some(gone) => format!("it names {}, which does not exist", gone.display()),
            },
            None => "the installer did not write it".to_owned(),
        };
        Err(EnvironmentError::Manifest { path: path(), reason })
    }

    /// What is written down, if anything is.
    pub(crate) fn read() -> Result<Option<Self>, EnvironmentError> {
        let path = path();
        let broken = |reason: String| EnvironmentError::Manifest { path: path.clone(), reason };
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(broken(error.to_string())),
        };
        let manifest: Self = serde_json::from_str(&text).map_err(|error| broken(error.to_string()))?;
        if manifest.schema != SCHEMA {
            return Err(broken(format!("it has schema {}, and this Squall reads {SCHEMA}", manifest.schema)));
        }
        Ok(Some(manifest))
    }

    /// The first program that is not where it should be.
    pub(crate) fn missing(&self) -> Option<&Path> {
        [&self.redis_server, &self.postgres_bin, &self.kafka_libs, &self.java, &self.toxiproxy]
            .into_iter()
            .find(|program| !program.exists())
            .map(PathBuf::as_path)
    }
}

/// Where the manifest is.
pub(crate) fn path() -> PathBuf {
    folder().join("manifest.json")
}

fn set(name: &str) -> Option<PathBuf> {
    env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from)
}

/// Where the services are, or will be.
fn folder() -> PathBuf {
    let cache = || {
        let home = || PathBuf::from(env::var_os("HOME").unwrap_or_else(|| "/root".into()));
        set("XDG_CACHE_HOME").unwrap_or_else(|| home().join(".cache"))
    };
    set("SQUALL_SERVICES_DIR").unwrap_or_else(|| cache().join("squall/services"))
}

/// Where the installer is, unless told otherwise: in the checkout, or for an installed squall beside the services, where it
/// is written when it is asked for.
pub(crate) fn installer() -> Result<PathBuf, EnvironmentError> {
    let scripts = match (set("SQUALL_SERVICES_SCRIPTS"), shipped::checkout()) {
        (Some(told), _) => told,
        (None, Some(checkout)) => checkout.join("harness/services"),
        (None, None) => {
            let scripts = folder().join("scripts");
            shipped::unpack(shipped::carried().services, &scripts)
                .map_err(|source| EnvironmentError::Unpack { path: scripts.clone(), source })?;
            scripts
        }
    };
    let installer = scripts.join("install");
    if installer.exists() {
        Ok(installer)
    } else {
        Err(EnvironmentError::InstallerMissing { path: installer })
    }
}

/// Asked to end when nobody waits for it any more. Killed, it would leave behind what keeps Debian from starting services,
/// and half of a folder.
struct Installer(Child);

impl Drop for Installer {
    fn drop(&mut self) {
        // There is no pid any more once it has been waited for.
        if let Some(pid) = self.0.id().and_then(|pid| i32::try_from(pid).ok()) {
            let _ = kill(Pid::from_raw(pid), Signal::SIGTERM);
        }
    }
}

async fn install(progress: &Progress) -> Result<(), EnvironmentError> {
    let script = installer()?;
    progress.say("fetching the services (Redis, PostgreSQL, Kafka, Toxiproxy); this happens once");
    let failed = |status: String, lines: &[String]| EnvironmentError::InstallFailed {
        status,
        lines: lines.join("\n"),
    };
    let mut child = Command::new(&script)
        // It fetches as the caller would: through their proxies, from their mirrors.
        .env_clear()
        .envs(surroundings::callers())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map(Installer)
        .map_err(|source| EnvironmentError::Spawn { name: "install".to_owned(), program: script, source })?;
    let mut last: Vec<String> = Vec::new();
    let run = async {
        if let Some(pipe) = child.0.stderr.take() {
            let mut lines = BufReader::new(pipe).lines();
            while let Ok(Some(line)) = lines.next_line().await {
                progress.say(&line);
                if last.len() == LOG_LINES {
                    last.remove(0);
                }
                last.push(line);
            }
        }
        child.0.wait().await
    };
    match tokio::time::timeout(INSTALL_LIMIT, run).await {
        Ok(Ok(status)) if status.success() => Ok(()),
        Ok(Ok(status)) => Err(failed(status.to_string(), &last)),
        Ok(Err(error)) => Err(failed(error.to_string(), &last)),
        Err(_) => Err(failed(format!("no end within {} s", INSTALL_LIMIT.as_secs()), &last)),
    }
}
