//! The docker provider: one container per service and one for Toxiproxy, on a network of the run's own.
//!
//! Containers, network and proxies carry the run's label, and whatever carries it is removed at the end: when the
//! environment is taken down, when it is dropped, when its start fails halfway, and by a later run's sweep.

pub(crate) mod images;

mod container;
mod engine;
mod label;
mod reach;

use std::{
    net::{Ipv4Addr, SocketAddr},
    path::PathBuf,
    time::Duration,
};

use async_trait::async_trait;
use testcontainers::bollard;

use self::{
    container::{Container, Draft},
    label::Labelled,
};
pub(crate) use self::{
    engine::{address, engine},
    label::remove_labelled,
    reach::reachable,
};
use crate::{
    environment::{
        EnvironmentSpec,
        contract::{Endpoints, Provider, Services, Up},
        error::EnvironmentError,
        launch::again_on_other_ports,
        names::Named,
        ports::Ports,
        proxies::{Proxies, ProxySpec},
        registry::Registry,
        services::{
            disk,
            kafka::{CLUSTER_ID, JVM, Listeners, properties},
            postgres,
            probe::answers,
            redis,
        },
    },
    plan::{LinkName, ProcessName, Service},
    progress::Progress,
    wait,
};

/// Longest start of a service in a container, once the container runs.
const START_LIMIT: Duration = Duration::from_secs(60);

/// Where PostgreSQL's small file system is mounted, inside its container.
const SMALL_DISK: &str = "/small";

/// Toxiproxy's own port, inside its container.
const TOXIPROXY_PORT: u16 = 8474;

/// The containers of one run. The label goes first when this is dropped: it takes everything with it.
#[derive(Debug)]
pub(crate) struct Docker {
    label: Labelled,
    postgres: Container,
    redis: Container,
    kafka: Container,
    toxiproxy: Container,
}

/// What the containers of one run share while they are started.
struct StartContext<'a> {
    spec: &'a EnvironmentSpec<'a>,
    engine: bollard::Docker,
}

impl StartContext<'_> {
    fn draft(&self, role: images::Role, image: &images::Image) -> Draft {
        Draft::new(self.spec.run_id, role, image, self.log(role))
    }

    fn log(&self, role: images::Role) -> PathBuf {
        self.spec.logs_dir.join(format!("{}.log", role.name()))
    }
}

impl Docker {
    /// Starts everything. Whatever was started is removed again when this fails or is dropped halfway.
    pub(crate) async fn up(
        spec: &EnvironmentSpec<'_>,
        registry: &Registry,
        progress: &Progress,
    ) -> Result<Up, EnvironmentError> {
        let engine = engine().await?;
        let images = images::Images::choose(&engine).await;
        for image in images.to_be_pulled() {
            progress.say(format!("pulling {image} (first use)"));
        }
        let label = Labelled::create_network(&engine, spec.run_id, registry).await?;
        let site = StartContext { spec, engine };

        // All at once. PostgreSQL and Redis need nobody; Kafka must know the proxies' addresses first.
        let mut ports = Ports::default();
        let listeners = Listeners::draw(spec.processes, &mut ports)?;
        let (postgres_port, redis_port) = (ports.draw()?, ports.draw()?);
        progress.now("starting the containers of PostgreSQL, Redis, Kafka and Toxiproxy");
        let behind_proxies = async {
            let (toxiproxy, proxies, version) =
                start_toxiproxy(&site, &images.toxiproxy, &listeners, &mut ports).await?;
            let (kafka, address) = start_kafka(&site, &images.kafka, listeners.clone(), &proxies).await?;
            Ok((toxiproxy, proxies, version, kafka, address))
        };
        let (postgres, redis, behind) = tokio::try_join!(
            Box::pin(start_postgres(&site, &images.postgres, postgres_port)),
            Box::pin(start_redis(&site, &images.redis, redis_port)),
            Box::pin(behind_proxies),
        )?;
        let (toxiproxy, proxies, version, kafka, kafka_brokers) = behind;
        let ((postgres, postgres_url), (redis, redis_url)) = (postgres, redis);
        let verifier = Endpoints { postgres_url, redis_url, kafka_brokers, ..Endpoints::default() };
        let mut facts = vec![("toxiproxy".to_owned(), version)];
        for container in [&postgres, &redis, &kafka, &toxiproxy] {
            facts.push((
                format!("image of {}", container.role().name()),
                container.describe(&site.engine).await,
            ));
        }
        let services = Box::new(Self { label, postgres, redis, kafka, toxiproxy });
        Ok(Up { services, proxies, verifier, named: Named::default(), facts })
    }

    fn container(&self, service: Service) -> &Container {
        match service {
            Service::Postgres => &self.postgres,
            Service::Redis => &self.redis,
            Service::Kafka => &self.kafka,
        }
    }
}

#[async_trait(?Send)]
impl Services for Docker {
    fn provider(&self) -> Provider {
        Provider::Docker
    }

    async fn stop(&self, service: Service) -> Result<(), EnvironmentError> {
        self.container(service).stop().await
    }

    async fn kill(&self, service: Service) -> Result<(), EnvironmentError> {
        self.container(service).kill().await
    }

    async fn start(&self, service: Service, at: &Endpoints) -> Result<(), EnvironmentError> {
        let container = self.container(service);
        container.start().await?;
        until_answering(container, service, at).await
    }

    async fn pause(&self, service: Service) -> Result<(), EnvironmentError> {
        self.container(service).pause().await
    }

    async fn unpause(&self, service: Service) -> Result<(), EnvironmentError> {
        self.container(service).unpause().await
    }

    fn pids(&self) -> Vec<(String, u32)> {
        let containers = [&self.postgres, &self.redis, &self.kafka, &self.toxiproxy].into_iter();
        containers.filter_map(|it| Some((it.role().name().to_owned(), it.pid()?))).collect()
    }

    async fn log(&self, service: Service) -> Result<String, EnvironmentError> {
        let mut bytes = Vec::new();
        self.container(service).write_log(&mut bytes).await?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// Saves the logs and removes containers and network.
    async fn down(self: Box<Self>) -> Result<(), EnvironmentError> {
        let Self { label, postgres, redis, kafka, toxiproxy } = *self;
        let (postgres, redis, kafka, toxiproxy) =
            tokio::join!(postgres.down(), redis.down(), kafka.down(), toxiproxy.down());
        let network = label.remove().await;
        EnvironmentError::of_all([postgres, redis, kafka, toxiproxy, network])
    }
}

/// Waits until a service answers, or its container has ended.
async fn until_answering(
    container: &Container,
    service: Service,
    at: &Endpoints,
) -> Result<(), EnvironmentError> {
    let what = format!("{service} answering");
    let waiting = wait::until(&what, START_LIMIT, async || answers(service, at).await);
    let ended = container.ended();
    tokio::select! {
        biased;
        answer = waiting => match answer {
            Ok(()) => Ok(()),
            Err(source) => Err(container.not_ready(source).await),
        },
        status = ended => Err(container.died(status).await),
    }
}

async fn start_postgres(
    site: &StartContext<'_>,
    image: &images::Image,
    first: u16,
) -> Result<(Container, String), EnvironmentError> {
    let password = postgres::draw_password();
    let mut ports = Ports::default();
    again_on_other_ports("postgres", async |attempt| {
        let port = if attempt == 1 { first } else { ports.draw()? };
        let settings = postgres::SETTINGS.iter().flat_map(|setting| ["-c", *setting]);
        let draft = site
            .draft(images::Role::Postgres, image)
            .publish(port, 5432)
            .variable("POSTGRES_USER", postgres::USER)
            .variable("POSTGRES_PASSWORD", &password)
            .variable("POSTGRES_DB", postgres::DATABASE)
            .variable("POSTGRES_INITDB_ARGS", "--no-sync --encoding=UTF8")
            .command(["postgres"].into_iter().chain(settings));
        let draft = if site.spec.small_disk { draft.tmpfs(SMALL_DISK, disk::BYTES) } else { draft };
        let container = draft.start(&site.engine).await?;
        let url = postgres::url(port, &password, postgres::DATABASE);
        let at = Endpoints { postgres_url: url.clone(), ..Endpoints::default() };
        until_answering(&container, Service::Postgres, &at).await?;
        if site.spec.small_disk {
            disk::make_tablespace(&url, SMALL_DISK, postgres::DATABASE).await?;
        }
        Ok((container, url))
    })
    .await
}

async fn start_redis(
    site: &StartContext<'_>,
    image: &images::Image,
    first: u16,
) -> Result<(Container, String), EnvironmentError> {
    let mut ports = Ports::default();
    again_on_other_ports("redis", async |attempt| {
        let port = if attempt == 1 { first } else { ports.draw()? };
        let draft = site
            .draft(images::Role::Redis, image)
            .publish(port, 6379)
            .command(["redis-server"].into_iter().chain(redis::SETTINGS));
        let container = draft.start(&site.engine).await?;
        let url = redis::url(port);
        let at = Endpoints { redis_url: url.clone(), ..Endpoints::default() };
        // Redis is up first, so it is the one that tells whether the engine's ports are ours at all.
        tokio::select! {
            biased;
            answer = until_answering(&container, Service::Redis, &at) => answer?,
            elsewhere = reach::published_elsewhere(&container, port, 6379) => return Err(elsewhere),
        }
        Ok((container, url))
    })
    .await
}

async fn start_kafka(
    site: &StartContext<'_>,
    image: &images::Image,
    first: Listeners,
    proxies: &Proxies,
) -> Result<(Container, String), EnvironmentError> {
    let mut ports = Ports::default();
    again_on_other_ports("kafka", async |attempt| {
        // Only the published listener can collide: the others are inside the container.
        let verifier = if attempt == 1 { first.verifier } else { ports.draw()? };
        let listeners = Listeners { verifier, ..first.clone() };
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, verifier));
        let mut draft = site
            .draft(images::Role::Kafka, image)
            .publish(verifier, verifier)
            .variable("CLUSTER_ID", CLUSTER_ID)
            // The image appends both to the command line, in this order.
            .variable("KAFKA_HEAP_OPTS", &JVM[..2].join(" "))
            .variable("KAFKA_JVM_PERFORMANCE_OPTS", &JVM[2..].join(" "));
        for (name, value) in properties(&listeners, "0.0.0.0", address, |process| proxies.of_kafka(process)) {
            draft = draft.variable(&format!("KAFKA_{}", name.to_uppercase().replace('.', "_")), &value);
        }
        let container = draft.start(&site.engine).await?;
        let at = Endpoints { kafka_brokers: address.to_string(), ..Endpoints::default() };
        until_answering(&container, Service::Kafka, &at).await?;
        Ok((container, address.to_string()))
    })
    .await
}

/// Toxiproxy with a published port for each link; inside the container it is the same one.
async fn start_toxiproxy(
    site: &StartContext<'_>,
    image: &images::Image,
    listeners: &Listeners,
    ports: &mut Ports,
) -> Result<(Container, Proxies, String), EnvironmentError> {
    again_on_other_ports("toxiproxy", async |_| {
        let api = ports.draw()?;
        let mut specs = Vec::new();
        for (service, process) in links(site.spec.processes) {
            let link = LinkName { process, service };
            let port = ports.draw()?;
            let target = match service {
                Service::Postgres => 5432,
                Service::Redis => 6379,
                Service::Kafka => listeners.of(process).unwrap_or(listeners.verifier),
            };
            specs.push(ProxySpec {
                link,
                listen: format!("0.0.0.0:{port}"),
                upstream: format!(
                    "{}:{target}",
                    container::name(site.spec.run_id, images::Role::of(service))
                ),
                address: SocketAddr::from((Ipv4Addr::LOCALHOST, port)),
            });
        }
        let mut draft = site
            .draft(images::Role::Toxiproxy, image)
            .publish(api, TOXIPROXY_PORT)
            .command(["-host=0.0.0.0"]);
        for spec in &specs {
            draft = draft.publish(spec.address.port(), spec.address.port());
        }
        let container = draft.start(&site.engine).await?;
        let mut proxies = Proxies::connect(SocketAddr::from((Ipv4Addr::LOCALHOST, api)))?;
        let version = wait::until("toxiproxy answering", START_LIMIT, async || proxies.version().await).await;
        let version = match version {
            Ok(version) => version,
            Err(source) => return Err(container.not_ready(source).await),
        };
        let refused = proxies.create(&specs).await?;
        match refused.first() {
            None => Ok((container, proxies, version)),
            Some(link) => Err(EnvironmentError::Engine {
                doing: format!("make {} proxies", specs.len()),
                detail: format!("Toxiproxy did not make the one of {link}"),
            }),
        }
    })
    .await
}

fn links(processes: &[ProcessName]) -> impl Iterator<Item = (Service, ProcessName)> + '_ {
    Service::ALL.into_iter().flat_map(|service| processes.iter().map(move |process| (service, *process)))
}
