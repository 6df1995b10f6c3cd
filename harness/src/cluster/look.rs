//! Looking at a process from outside: its health check, its state in /proc, its address.

use std::{net::SocketAddr, time::Duration};

use tokio::net::TcpStream;

use crate::plan::ProcessName;

/// A health check answers within this, or the process is not well.
const ANSWER_LIMIT: Duration = Duration::from_millis(1_500);

pub(super) fn client() -> reqwest::Client {
    // Loopback only, and an honest look each time: no proxy from the environment, no connection kept from before.
    let builder = reqwest::Client::builder().no_proxy().timeout(ANSWER_LIMIT).pool_max_idle_per_host(0);
    builder.build().unwrap_or_default()
}

/// `/readyz` says 200; otherwise what it says.
pub(super) async fn ready(http: &reqwest::Client, address: SocketAddr) -> Result<(), String> {
    let answer = http.get(format!("http://{address}/readyz")).send().await.map_err(|error| {
        if error.is_timeout() { format!("{address} does not answer") } else { format!("{address} refuses") }
    })?;
    if answer.status().is_success() {
        return Ok(());
    }
    let status = answer.status();
    let body = answer.text().await.unwrap_or_default();
    Err(format!("{status}: {}", body.trim()))
}

pub(super) async fn gone(name: ProcessName, pid: u32, address: SocketAddr) -> Result<String, String> {
    if let Some(state) = state(pid) {
        return Err(format!("{name} (pid {pid}) is in state {state}"));
    }
    match tokio::time::timeout(ANSWER_LIMIT, TcpStream::connect(address)).await {
        Ok(Err(error)) => Ok(format!("pid {pid} is gone and {address} says: {error}")),
        Ok(Ok(_)) => Err(format!("pid {pid} is gone, yet somebody accepts at {address}")),
        Err(_) => Err(format!("pid {pid} is gone, yet {address} neither accepts nor refuses")),
    }
}

pub(super) async fn frozen(name: ProcessName, pid: u32) -> Result<String, String> {
    match state(pid) {
        Some('T') => Ok(format!("{name} (pid {pid}) is in state T")),
        Some(state) => Err(format!("{name} (pid {pid}) is in state {state}")),
        None => Err(format!("{name} (pid {pid}) is gone")),
    }
}

/// The state letter in `/proc/PID/stat`; `None` when there is no such process.
fn state(pid: u32) -> Option<char> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name in parentheses may itself contain anything; the state follows the last one.
    stat.rsplit_once(") ")?.1.chars().next()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn evidence_fails_where_there_is_no_fault() {
        let me = std::process::id();
        let name = ProcessName::Node(1);
        assert!(frozen(name, me).await.is_err());
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        assert!(gone(name, me, listener.local_addr().unwrap()).await.is_err());
        // A dead pid does not count while its address still answers.
        assert!(gone(name, u32::MAX, listener.local_addr().unwrap()).await.is_err());
    }
}
