//! A Toxiproxy of ours on this machine.

use std::{
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    time::Duration,
};

use super::{Proxies, ProxySpec};
use crate::{
    environment::{
        child::{Child, ChildSpec},
        error::EnvironmentError,
        launch::{PORT_ATTEMPTS, launch, with_another_port},
        ports::Ports,
        registry::Registry,
    },
    plan::LinkName,
};

/// Toxiproxy has nothing to finish; beyond this it hangs.
const TOXIPROXY_STOP_LIMIT: Duration = Duration::from_secs(5);

/// Starts Toxiproxy, without proxies yet.
pub(crate) async fn start(
    program: &Path,
    logs: &Path,
    registry: &Registry,
    ports: &mut Ports,
) -> Result<(Child, Proxies, String), EnvironmentError> {
    let port = ports.draw()?;
    with_another_port("toxiproxy", port, async |port| {
        let proxies = Proxies::connect(SocketAddr::from((Ipv4Addr::LOCALHOST, port)))?;
        let spec = ChildSpec {
            name: "toxiproxy".to_owned(),
            program: program.to_owned(),
            args: ["-host", "127.0.0.1", "-port", &port.to_string()].map(str::to_owned).to_vec(),
            env: vec![("LOG_LEVEL".to_owned(), "info".to_owned())],
            user: None,
            folder: None,
            log: logs.join("toxiproxy.log"),
        };
        let (child, version) = launch(&spec, registry, async || proxies.version().await).await?;
        Ok((child, proxies, version))
    })
    .await
}

pub(crate) async fn end(toxiproxy: &Child) -> Result<(), EnvironmentError> {
    toxiproxy.terminate(nix::sys::signal::Signal::SIGTERM, TOXIPROXY_STOP_LIMIT).await.map(drop)
}

/// A link to a service that is reached by name: where its proxy listens, and where that leads.
pub(crate) struct NamedLink {
    pub(crate) link: LinkName,
    pub(crate) listen: SocketAddr,
    pub(crate) upstream: String,
}

/// Makes a proxy per link on the service's own port, which only somebody who listens on every address can have taken.
pub(crate) async fn create_named(
    proxies: &mut Proxies,
    links: &[NamedLink],
    log: &Path,
) -> Result<(), EnvironmentError> {
    let spec = |NamedLink { link, listen, upstream }: &NamedLink| ProxySpec {
        link: *link,
        listen: listen.to_string(),
        upstream: upstream.clone(),
        address: *listen,
    };
    let specs: Vec<ProxySpec> = links.iter().map(spec).collect();
    let refused = proxies.create(&specs).await?;
    match links.iter().find(|named| refused.contains(&named.link)) {
        None => Ok(()),
        Some(NamedLink { link, listen, .. }) => Err(EnvironmentError::PortStolen {
            name: "toxiproxy".to_owned(),
            attempts: 1,
            log: log.to_owned(),
            lines: format!("the proxy of {link} could not listen on {listen}"),
        }),
    }
}

/// Makes a proxy per link, each on a free port of its own; ports that were taken meanwhile are drawn again.
pub(crate) async fn create_links(
    proxies: &mut Proxies,
    links: &[(LinkName, String)],
    ports: &mut Ports,
) -> Result<(), EnvironmentError> {
    let mut left: Vec<&(LinkName, String)> = links.iter().collect();
    for _ in 0..PORT_ATTEMPTS {
        let mut specs = Vec::with_capacity(left.len());
        for (link, upstream) in &left {
            let port = ports.draw()?;
            specs.push(ProxySpec {
                link: *link,
                listen: format!("127.0.0.1:{port}"),
                upstream: upstream.clone(),
                address: SocketAddr::from((Ipv4Addr::LOCALHOST, port)),
            });
        }
        let refused = proxies.create(&specs).await?;
        left.retain(|(link, _)| refused.contains(link));
        if left.is_empty() {
            return Ok(());
        }
    }
    Err(EnvironmentError::PortStolen {
        name: "toxiproxy".to_owned(),
        attempts: PORT_ATTEMPTS,
        log: PathBuf::from("toxiproxy.log"),
        lines: format!("{} of {} links could not listen", left.len(), links.len()),
    })
}
