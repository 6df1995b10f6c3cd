//! Whether published ports are published here. The engine behind a socket may be in another network: the socket is
//! mounted into a container, or forwarded from another machine. One published port tells.

use std::{
    future::pending,
    net::{Ipv4Addr, SocketAddr},
    path::PathBuf,
    time::Duration,
};

use testcontainers::bollard;
use tokio::net::TcpStream;

use super::{StartContext, container::Container, engine, images::Images, label::Labelled, start_redis};
use crate::{
    environment::{
        EnvironmentSpec, ProviderChoice,
        error::EnvironmentError,
        ports::Ports,
        registry::{self, Registry},
    },
    wait,
};

/// Longest answer to one dial: it goes to this machine's loopback.
const DIAL_LIMIT: Duration = Duration::from_secs(2);

/// How much later than the server in the container a published port may open: some engines live in a virtual machine, and
/// what forwards their ports looks for new ones every few seconds.
const FORWARD_LIMIT: Duration = Duration::from_secs(5);

/// Returns once it is certain that a container's published port is published somewhere else: the server listens inside,
/// and nobody does here. Never returns when it is reached from here, or when the container does not let itself be asked.
pub(super) async fn published_elsewhere(
    container: &Container,
    published: u16,
    inside: u16,
) -> EnvironmentError {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, published));
    loop {
        // Before the server listens this succeeds only where the engine itself accepts first (its userland proxy).
        if dial(address).await.is_ok() {
            return pending().await;
        }
        match container.sockets().await.as_deref().map(|table| listens(table, inside)) {
            Ok(true) => break,
            Ok(false) => wait::pause(wait::PROBE_EVERY * 4).await,
            // Nothing to ask with in that image; the start's own limit will have to do.
            Err(_) => return pending().await,
        }
    }
    match wait::until("the published port", FORWARD_LIMIT, async || dial(address).await).await {
        Ok(()) => pending().await,
        Err(refused) => EnvironmentError::EngineElsewhere {
            at: engine::address(),
            seen: format!(
                "{} listens in its container, and its published port {address} does not answer here ({})",
                container.role().name(),
                refused.last
            ),
        },
    }
}

/// Tries it, for somebody who starts nothing else: Redis is started, dialled, and removed again.
pub(crate) async fn reachable(engine: &bollard::Docker, images: &Images) -> Result<(), EnvironmentError> {
    let run_id = format!("squall-doctor-{}", std::process::id());
    let io = |path: PathBuf| {
        move |source: std::io::Error| EnvironmentError::Io { doing: "write under", path, source }
    };
    let registry = Registry::open(&run_id).map_err(io(registry::runs_folder()))?;
    let tried = async {
        let logs = tempfile::tempdir().map_err(io(std::env::temp_dir()))?;
        let spec = EnvironmentSpec {
            run_id: &run_id,
            processes: &[],
            choice: ProviderChoice::Docker,
            external: None,
            logs_dir: logs.path(),
            small_disk: false,
        };
        let label = Labelled::create_network(engine, &run_id, &registry).await?;
        let site = StartContext { spec: &spec, engine: engine.clone() };
        let started = match Ports::default().draw() {
            Ok(port) => start_redis(&site, &images.redis, port).await.map(drop),
            Err(error) => Err(error),
        };
        EnvironmentError::of_all([started, label.remove().await])
    };
    let tried = tried.await;
    registry.close();
    tried
}

async fn dial(address: SocketAddr) -> Result<(), String> {
    match tokio::time::timeout(DIAL_LIMIT, TcpStream::connect(address)).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err(format!("no answer within {} ms", DIAL_LIMIT.as_millis())),
    }
}

/// Whether somebody listens on a port, by the tables `/proc/net/tcp` and `tcp6`:
/// `0: 00000000:18EB 00000000:0000 0A …`, local, remote and state in hex.
fn listens(table: &str, port: u16) -> bool {
    const LISTENING: &str = "0A";
    table.lines().any(|line| {
        let mut fields = line.split_whitespace().skip(1);
        let (local, state) = (fields.next(), fields.nth(1));
        let local = local.and_then(|local| u16::from_str_radix(local.rsplit_once(':')?.1, 16).ok());
        local == Some(port) && state == Some(LISTENING)
    })
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn a_listener_is_seen_in_the_table_and_a_connection_is_none() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let client = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let table = || std::fs::read_to_string("/proc/net/tcp").unwrap();
        assert!(listens(&table(), listener.local_addr().unwrap().port()));
        assert!(!listens(&table(), client.local_addr().unwrap().port()));
        assert!(!listens("", 6379));
        let six = "   0: 00000000000000000000000000000000:18EB 00000000000000000000000000000000:0000 0A 0:0";
        assert!(listens(six, 6379));
    }
}
