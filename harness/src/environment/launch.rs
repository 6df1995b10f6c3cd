//! Programs of ours: started until they answer, run to their end, tried on another port, and why they ended.

use std::{path::Path, process::ExitStatus, time::Duration};

use nix::sys::signal::Signal;

use super::{
    child::{Child, ChildSpec, Stdout, last_lines},
    error::{EnvironmentError, LOG_LINES},
    ports::Ports,
    registry::Registry,
};
use crate::wait;

/// How often a server whose port was taken is tried on another one. More than twice by chance does not happen.
pub(crate) const PORT_ATTEMPTS: u32 = 3;

/// Longest start: Kafka takes 3 to 5 s on two idle cores, recovery after a kill some more; a loaded machine is slower.
const START_LIMIT: Duration = Duration::from_secs(60);

/// Longest one-off program (`initdb`, Kafka's `format`): 1 to 3 s on idle cores.
const TOOL_LIMIT: Duration = Duration::from_secs(60);

/// Starts a program and waits until `ready`; tells why when it ends instead.
pub(crate) async fn launch<T>(
    spec: &ChildSpec,
    registry: &Registry,
    mut ready: impl AsyncFnMut() -> Result<T, String>,
) -> Result<(Child, T), EnvironmentError> {
    let child = Child::spawn(spec, Stdout::Log, registry)?;
    let what = format!("{} answering", spec.name);
    let waiting = wait::until(&what, START_LIMIT, async || ready().await);
    tokio::select! {
        // Death first: a stranger on the same port may well answer our probe.
        biased;
        status = child.wait() => Err(diagnose(spec, status)),
        answer = waiting => match answer {
            Ok(_) if child.exited().is_some() => Err(diagnose(spec, child.wait().await)),
            Ok(answer) => Ok((child, answer)),
            Err(source) => Err(child.not_ready(source)),
        }
    }
}

/// Runs a program to its end.
pub(crate) async fn run_tool(spec: &ChildSpec, registry: &Registry) -> Result<(), EnvironmentError> {
    let child = Child::spawn(spec, Stdout::Log, registry)?;
    match tokio::time::timeout(TOOL_LIMIT, child.wait()).await {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(diagnose(spec, status)),
        Err(_) => {
            child.kill().await?;
            Err(EnvironmentError::Stuck {
                name: spec.name.clone(),
                signal: Signal::SIGKILL,
                limit_ms: TOOL_LIMIT.as_millis(),
            })
        }
    }
}

/// Starts something on a port, and on another one when the port was taken between our draw and its bind.
pub(crate) async fn with_another_port<T>(
    name: &str,
    first: u16,
    mut start: impl AsyncFnMut(u16) -> Result<T, EnvironmentError>,
) -> Result<T, EnvironmentError> {
    let mut ports = Ports::default();
    let mut port = first;
    again_on_other_ports(name, async |attempt| {
        if attempt > 1 {
            port = ports.draw()?;
        }
        start(port).await
    })
    .await
}

/// Starts something, with the number of the attempt, and again when a port was taken between our draw and its bind.
pub(crate) async fn again_on_other_ports<T>(
    name: &str,
    mut start: impl AsyncFnMut(u32) -> Result<T, EnvironmentError>,
) -> Result<T, EnvironmentError> {
    let mut attempt = 1;
    loop {
        match start(attempt).await {
            Err(EnvironmentError::PortStolen { .. }) if attempt < PORT_ATTEMPTS => {
                tracing::info!(name, attempt, "a port was taken meanwhile; trying another");
                attempt += 1;
            }
            Err(EnvironmentError::PortStolen { log, lines, .. }) => {
                return Err(EnvironmentError::PortStolen {
                    name: name.to_owned(),
                    attempts: attempt,
                    log,
                    lines,
                });
            }
            other => return other,
        }
    }
}

/// Why a program ended, as far as its last words tell.
fn diagnose(spec: &ChildSpec, status: ExitStatus) -> EnvironmentError {
    let lines = last_lines(&spec.log, LOG_LINES);
    let says = |words: &[&str]| {
        let found = lines.lines().find(|line| words.iter().any(|word| line.to_lowercase().contains(word)));
        found.map(str::to_owned)
    };
    let name = spec.name.clone();
    if let Some(line) = says(&["no space left on device", "enospc", "disk quota exceeded"]) {
        let folder = spec.folder.clone().unwrap_or_else(|| Path::new("/").to_owned());
        return EnvironmentError::DiskFull { name, folder, line };
    }
    if says(&["address already in use", "eaddrinuse", "bindexception"]).is_some() {
        return EnvironmentError::PortStolen { name, attempts: 1, log: spec.log.clone(), lines };
    }
    EnvironmentError::Died { name, status: status.to_string(), log: spec.log.clone(), lines }
}
