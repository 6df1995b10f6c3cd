//! The host provider: the same real servers as child processes, in a temporary folder, on 127.0.0.1.

mod kafka;
mod postgres;
mod redis;
mod server;

use std::path::Path;

use async_trait::async_trait;
use tempfile::TempDir;

use self::server::Server;
use crate::{
    environment::{
        EnvironmentSpec,
        child::Child,
        contract::{Endpoints, Provider, Services, Up},
        error::EnvironmentError,
        manifest::Manifest,
        names::Named,
        ports::Ports,
        proxies,
        registry::{Registry, temporary_folder},
        services::{disk::Mounted, kafka::Listeners, redis as redis_setup},
    },
    plan::{LinkName, Service},
    progress::Progress,
};

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
pub(crate) struct Host {
    postgres: Server,
    redis: Server,
    kafka: Server,
    toxiproxy: Child,
    small_disk: Option<Mounted>,
    folder: TempDir,
}

impl Host {
    /// Starts everything. Whatever was started is ended again when this fails or is dropped halfway.
    pub(crate) async fn up(
        spec: &EnvironmentSpec<'_>,
        registry: &Registry,
        progress: &Progress,
    ) -> Result<Up, EnvironmentError> {
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

        progress.now("starting Toxiproxy");
        let mut ports = Ports::default();
        let (toxiproxy, mut proxies, version) =
            proxies::local::start(&manifest.toxiproxy, spec.logs_dir, registry, &mut ports).await?;
        let listeners = Listeners::draw(spec.processes, &mut ports)?;
        let mut targets = Targets { postgres: ports.draw()?, redis: ports.draw()?, kafka: listeners };
        let links: Vec<(LinkName, String)> = Service::ALL
            .iter()
            .flat_map(|service| spec.processes.iter().map(|process| (*service, *process)))
            .map(|(service, process)| {
                let link = LinkName { process, service };
                (link, targets.upstream(link))
            })
            .collect();
        proxies::local::create_links(&mut proxies, &links, &mut ports).await?;

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
            redis_url: redis_setup::url(targets.redis),
            kafka_brokers: format!("127.0.0.1:{}", targets.kafka.verifier),
            ..Endpoints::default()
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
        Ok(Up { services: Box::new(host), proxies, verifier, named: Named::default(), facts })
    }

    fn server(&self, service: Service) -> &Server {
        match service {
            Service::Postgres => &self.postgres,
            Service::Redis => &self.redis,
            Service::Kafka => &self.kafka,
        }
    }
}

#[async_trait(?Send)]
impl Services for Host {
    fn provider(&self) -> Provider {
        Provider::Host
    }

    async fn stop(&self, service: Service) -> Result<(), EnvironmentError> {
        self.server(service).stop().await
    }

    async fn kill(&self, service: Service) -> Result<(), EnvironmentError> {
        self.server(service).kill().await
    }

    async fn start(&self, service: Service, _: &Endpoints) -> Result<(), EnvironmentError> {
        self.server(service).start().await
    }

    async fn pause(&self, service: Service) -> Result<(), EnvironmentError> {
        self.server(service).pause().await
    }

    async fn unpause(&self, service: Service) -> Result<(), EnvironmentError> {
        self.server(service).unpause().await
    }

    fn pids(&self) -> Vec<(String, u32)> {
        let servers = Service::ALL.into_iter();
        let servers = servers.filter_map(|it| Some((it.to_string(), self.server(it).pid()?)));
        let toxiproxy = u32::try_from(self.toxiproxy.pid()).ok().map(|pid| ("toxiproxy".to_owned(), pid));
        servers.chain(toxiproxy).collect()
    }

    async fn log(&self, service: Service) -> Result<String, EnvironmentError> {
        self.server(service).log()
    }

    /// Data is thrown away, so no server is asked politely.
    async fn down(self: Box<Self>) -> Result<(), EnvironmentError> {
        let Self { postgres, redis, kafka, toxiproxy, small_disk, folder } = *self;
        let (postgres, redis, kafka) = tokio::join!(postgres.kill(), redis.kill(), kafka.kill());
        let toxiproxy = proxies::local::end(&toxiproxy).await;
        drop(small_disk);
        let path = folder.path().to_owned();
        let removed = folder.close().map_err(|source| EnvironmentError::Io { doing: "remove", path, source });
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
