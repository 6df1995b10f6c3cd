//! The host provider: the same real servers as child processes, in a temporary folder, on 127.0.0.1.

pub(super) mod kafka;
pub(super) mod postgres;
pub(super) mod server;

mod redis;

use std::{
    net::{Ipv4Addr, SocketAddr},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    time::Duration,
};

use tempfile::TempDir;

use self::server::{Server, launch, with_another_port};
use super::{
    EnvironmentSpec,
    child::{Child, ChildSpec},
    contract::Endpoints,
    disk::Mounted,
    error::EnvironmentError,
    kafka::Listeners,
    leftovers::{FOLDER_PREFIX, Registry},
    manifest::Manifest,
    ports::Ports,
    toxiproxy::{Proxies, ProxySpec},
};
use crate::{
    plan::{LinkName, ProcessName, Service},
    progress::Progress,
};

/// Toxiproxy has nothing to finish; beyond this it hangs.
const TOXIPROXY_STOP_LIMIT: Duration = Duration::from_secs(5);

/// Everything the servers of one run share while they are started.
pub(super) struct StartContext<'a> {
    pub(super) manifest: &'a Manifest,
    pub(super) folder: &'a Path,
    pub(super) logs: &'a Path,
    pub(super) registry: &'a Registry,
    pub(super) small_disk: bool,
}

/// The servers of one run. Fields end in this order when it is dropped: processes before their folder.
#[derive(Debug)]
pub(super) struct Host {
    postgres: Server,
    redis: Server,
    kafka: Server,
    toxiproxy: Child,
    small_disk: Option<Mounted>,
    folder: TempDir,
}

/// What an environment needs to know of its provider.
pub(super) struct Started {
    pub(super) host: Host,
    pub(super) proxies: Proxies,
    pub(super) verifier: Endpoints,
    pub(super) facts: Vec<(String, String)>,
}

impl Host {
    /// Starts everything. Whatever was started is ended again when this fails or is dropped halfway.
    pub(super) async fn up(
        spec: &EnvironmentSpec<'_>,
        registry: &Registry,
        progress: &Progress,
    ) -> Result<Started, EnvironmentError> {
        let manifest = Manifest::find_or_install(progress).await?;
        let folder = temporary_folder(spec.run_id, registry)?;
        postgres::reachable(folder.path())?;
        let site = StartContext {
            manifest: &manifest,
            folder: folder.path(),
            logs: spec.logs_dir,
            registry,
            small_disk: spec.small_disk,
        };
        let no_port = |source| EnvironmentError::NoPort { source };

        progress.now("starting Toxiproxy");
        let mut ports = Ports::default();
        let (toxiproxy, mut proxies, version) =
            start_toxiproxy(&manifest.toxiproxy, spec.logs_dir, registry, &mut ports).await?;
        let listeners = Listeners::draw(spec.processes, &mut ports).map_err(no_port)?;
        let mut targets = Targets {
            postgres: ports.free().map_err(no_port)?,
            redis: ports.free().map_err(no_port)?,
            kafka: listeners,
        };
        let links: Vec<(LinkName, String)> = Service::ALL
            .iter()
            .flat_map(|service| spec.processes.iter().map(|process| (*service, *process)))
            .map(|(service, process)| {
                let link = LinkName { process, service };
                (link, targets.upstream(link))
            })
            .collect();
        create_links(&mut proxies, &links, &mut ports).await?;

        progress.now("starting PostgreSQL, Redis and Kafka");
        let (postgres, redis, kafka) = tokio::try_join!(
            postgres::up(&site, targets.postgres),
            redis::up(&site, targets.redis),
            kafka::up(&site, spec.processes, targets.kafka.clone(), &proxies),
        )?;
        // A service that found its port taken is somewhere else now.
        targets = Targets { postgres: postgres.port, redis: redis.port, kafka: kafka.listeners };
        for (link, planned) in &links {
            let upstream = targets.upstream(*link);
            if upstream != *planned {
                proxies.retarget(*link, &upstream).await?;
            }
        }
        let verifier = Endpoints {
            postgres_url: postgres.url.clone(),
            redis_url: format!("redis://127.0.0.1:{}", targets.redis),
            kafka_brokers: format!("127.0.0.1:{}", targets.kafka.verifier),
            kafka_options: Vec::new(),
        };
        let facts = vec![
            ("postgres".to_owned(), postgres.version),
            ("redis".to_owned(), redis.version),
            ("kafka".to_owned(), manifest.kafka_version.clone()),
            ("toxiproxy".to_owned(), version),
        ];
        let host = Self {
            postgres: postgres.server,
            redis: redis.server,
            kafka: kafka.server,
            toxiproxy,
            small_disk: postgres.small_disk,
            folder,
        };
        Ok(Started { host, proxies, verifier, facts })
    }

    /// One of the three.
    pub(super) fn server(&self, service: Service) -> &Server {
        match service {
            Service::Postgres => &self.postgres,
            Service::Redis => &self.redis,
            Service::Kafka => &self.kafka,
        }
    }

    /// Ends everything and removes the folder. Data is thrown away, so nobody is asked politely.
    pub(super) async fn down(self) -> Result<(), EnvironmentError> {
        let (postgres, redis, kafka) =
            tokio::join!(self.postgres.kill(), self.redis.kill(), self.kafka.kill());
        let toxiproxy = end_toxiproxy(&self.toxiproxy).await;
        drop(self.small_disk);
        let path = self.folder.path().to_owned();
        let removed =
            self.folder.close().map_err(|source| EnvironmentError::Io { doing: "remove", path, source });
        EnvironmentError::of_all([postgres, redis, kafka, toxiproxy, removed])
    }
}

/// Where the proxies of one run lead.
struct Targets {
    postgres: u16,
    redis: u16,
    kafka: Listeners,
}

impl Targets {
    fn upstream(&self, link: LinkName) -> String {
        let port = match link.service {
            Service::Postgres => self.postgres,
            Service::Redis => self.redis,
            Service::Kafka => self.kafka.of(link.process).unwrap_or(self.kafka.verifier),
        };
        format!("127.0.0.1:{port}")
    }
}

/// A folder for data, that the sweep of a later run recognises.
pub(super) fn temporary_folder(run_id: &str, registry: &Registry) -> Result<TempDir, EnvironmentError> {
    let temp = std::env::temp_dir();
    let failed = |source| EnvironmentError::Io { doing: "make a folder in", path: temp.clone(), source };
    let folder =
        tempfile::Builder::new().prefix(&format!("{FOLDER_PREFIX}{run_id}-")).tempdir().map_err(failed)?;
    registry.note_folder(folder.path());
    // PostgreSQL may run as another user than we do, and must reach its own folder inside.
    std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o711)).map_err(failed)?;
    Ok(folder)
}

/// Starts Toxiproxy, without proxies yet.
pub(super) async fn start_toxiproxy(
    program: &Path,
    logs: &Path,
    registry: &Registry,
    ports: &mut Ports,
) -> Result<(Child, Proxies, String), EnvironmentError> {
    let port = ports.free().map_err(|source| EnvironmentError::NoPort { source })?;
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

pub(super) async fn end_toxiproxy(toxiproxy: &Child) -> Result<(), EnvironmentError> {
    toxiproxy.terminate(nix::sys::signal::Signal::SIGTERM, TOXIPROXY_STOP_LIMIT).await.map(drop)
}

/// Makes a proxy per link, each on a free port of its own; ports that were taken meanwhile are drawn again.
pub(super) async fn create_links(
    proxies: &mut Proxies,
    links: &[(LinkName, String)],
    ports: &mut Ports,
) -> Result<(), EnvironmentError> {
    let mut left: Vec<&(LinkName, String)> = links.iter().collect();
    for _ in 0..server::PORT_ATTEMPTS {
        let mut specs = Vec::with_capacity(left.len());
        for (link, upstream) in &left {
            let port = ports.free().map_err(|source| EnvironmentError::NoPort { source })?;
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
        attempts: server::PORT_ATTEMPTS,
        log: PathBuf::from("toxiproxy.log"),
        lines: format!("{} of {} links could not listen", left.len(), links.len()),
    })
}

/// The proxies' near ends, for Kafka's advertised addresses.
pub(super) fn kafka_proxy(proxies: &Proxies) -> impl Fn(ProcessName) -> Option<SocketAddr> + '_ {
    |process| proxies.address(LinkName { process, service: Service::Kafka }).ok()
}
