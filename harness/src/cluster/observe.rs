//! Looking at a process from outside: its health check, its state in /proc, its address.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    time::{Duration, SystemTime},
};

use tokio::net::TcpStream;

use crate::{
    environment::{Endpoints, groups},
    os::process::{cpu_time, state},
    plan::ProcessName,
    target::{
        Names,
        reference::{ALIVE_PATH, METRICS_PATH, READY_PATH},
    },
};

/// A health check answers within this, or the process is not well.
const ANSWER_LIMIT: Duration = Duration::from_millis(1_500);

/// Where our own looks at chat processes come from: a loopback address of their own, so that who counts the clients of a
/// node in the system's table of connections can tell the looks apart. Only where all of 127.0.0.0/8 is loopback.
pub const PROBE_SOURCE: Option<Ipv4Addr> =
    if cfg!(target_os = "linux") { Some(Ipv4Addr::new(127, 0, 0, 2)) } else { None };

/// What processes have used of the processors since they began.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Spent {
    /// All nodes.
    pub nodes: Duration,
    /// All writers.
    pub writers: Duration,
}

impl Spent {
    /// Of nodes and of writers since then, in nanoseconds.
    pub fn ns_since(&self, earlier: &Self) -> (u64, u64) {
        let ns = |to: Duration, from| u64::try_from(to.saturating_sub(from).as_nanos()).unwrap_or(u64::MAX);
        (ns(self.nodes, earlier.nodes), ns(self.writers, earlier.writers))
    }
}

/// Sums up over the processes that run.
pub(super) fn spent(pids: &[(ProcessName, u32)]) -> Spent {
    let of = |wanted: fn(&ProcessName) -> bool| {
        let pids = pids.iter().filter(|(name, _)| wanted(name));
        pids.filter_map(|(_, pid)| cpu_time(*pid)).sum()
    };
    Spent {
        nodes: of(|name| matches!(name, ProcessName::Node(_))),
        writers: of(|name| matches!(name, ProcessName::Writer(_))),
    }
}

pub(super) fn client() -> reqwest::Client {
    // Loopback only, and an honest look each time: no proxy from the environment, no connection kept from before.
    let builder = reqwest::Client::builder().no_proxy().timeout(ANSWER_LIMIT).pool_max_idle_per_host(0);
    builder.local_address(PROBE_SOURCE.map(IpAddr::V4)).build().unwrap_or_default()
}

/// `/readyz` says 200; otherwise what it says.
pub(super) async fn ready(http: &reqwest::Client, address: SocketAddr) -> Result<(), String> {
    let answer = http.get(format!("http://{address}{READY_PATH}")).send().await.map_err(|error| {
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

/// The writers are all in their group, and every partition is given to one of them.
pub(super) async fn shared_out(at: &Endpoints, names: &Names, writers: usize) -> Result<(), String> {
    let (group, all) = groups::describe(at, &names.group, &names.topic).await?;
    let (members, given) = (group.members.len(), group.assigned());
    if group.state == "Stable" && members == writers && given == all {
        return Ok(());
    }
    let (given, all) = (given.len(), all.len());
    Err(format!("{}, {members} of {writers} members, {given} of {all} partitions given", group.state))
}

/// The text of `/metrics`.
pub(super) async fn metrics(
    http: &reqwest::Client,
    address: SocketAddr,
    limit: Duration,
) -> Result<String, reqwest::Error> {
    let answer = http.get(format!("http://{address}{METRICS_PATH}")).timeout(limit).send().await?;
    answer.error_for_status()?.text().await
}

/// Seconds from our clock to that of whoever answers there, by the `Date` of the answer.
pub(super) async fn clock_offset(http: &reqwest::Client, address: SocketAddr) -> Result<i64, String> {
    let answer = http.get(format!("http://{address}{ALIVE_PATH}")).send().await;
    let answer = answer.map_err(|error| format!("{address} does not answer: {error}"))?;
    let date = answer.headers().get(reqwest::header::DATE).ok_or("the answer has no Date")?;
    let date = date.to_str().map_err(|error| error.to_string())?;
    let theirs = httpdate::parse_http_date(date).map_err(|_| format!("`{date}` is not a date"))?;
    let unix = |time: SystemTime| {
        let since = time.duration_since(SystemTime::UNIX_EPOCH).map_err(|_| "a date before 1970")?;
        i64::try_from(since.as_secs()).map_err(|_| "a date beyond all years")
    };
    Ok(unix(theirs)? - unix(SystemTime::now())?)
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
