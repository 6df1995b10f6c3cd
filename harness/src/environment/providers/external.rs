//! The external provider: somebody else's services, by address, with a Toxiproxy of ours in front of what can go
//! through one.

use std::{collections::BTreeMap, net::IpAddr};

use async_trait::async_trait;
use tempfile::TempDir;

use crate::{
    environment::{
        EnvironmentSpec,
        addresses::authority,
        child::Child,
        contract::{Endpoints, External, Provider, Services, Up, Way},
        error::EnvironmentError,
        manifest::Manifest,
        names::{Named, split},
        ports::Ports,
        proxies::{self, Proxies, local::NamedLink},
        registry::{Registry, temporary_folder},
        services::{probe, schema::Schema},
    },
    plan::{LinkName, ProcessName, Service},
    progress::Progress,
};

/// Longest first answer of a service that may be far away.
const FIRST_ANSWER_LIMIT: std::time::Duration = std::time::Duration::from_secs(15);

/// What we run ourselves beside the rented services. Ends in this order.
#[derive(Debug)]
pub(crate) struct ExternalServices {
    toxiproxy: Child,
    folder: TempDir,
    schema: Schema,
}

impl ExternalServices {
    pub(crate) async fn up(
        spec: &EnvironmentSpec<'_>,
        registry: &Registry,
        progress: &Progress,
    ) -> Result<Up, EnvironmentError> {
        let external = spec.external.as_ref().ok_or(EnvironmentError::NoAddresses)?;
        for service in [Service::Postgres, Service::Redis] {
            authority(service, external)?;
        }
        let manifest = Manifest::find_or_install(progress).await?;
        let folder = temporary_folder(spec.run_id, registry)?;
        let mut verifier = Endpoints {
            postgres_url: external.postgres_url.clone(),
            redis_url: external.redis_url.clone(),
            redis_ca: external.redis_ca.clone(),
            kafka_brokers: external.kafka_brokers.clone(),
            kafka_options: external.kafka_options.clone(),
            ..Endpoints::default()
        };
        for service in Service::ALL {
            progress.now(format!("asking {service}"));
            let asked = probe::ask(service, &verifier, FIRST_ANSWER_LIMIT).await;
            asked.map_err(|reason| EnvironmentError::of_address(service, reason))?;
        }
        let mut ports = Ports::default();
        let (toxiproxy, mut proxies, version) =
            proxies::local::start(&manifest.toxiproxy, spec.logs_dir, registry, &mut ports).await?;
        let named = links(spec, external, &verifier, &mut proxies, &mut ports).await?;
        let schema = Schema::create(&external.postgres_url, spec.run_id).await?;
        verifier.postgres_url = schema.url();
        let facts = vec![("toxiproxy".to_owned(), version)];
        let services = Box::new(Self { toxiproxy, folder, schema });
        Ok(Up { services, proxies, verifier, named, facts })
    }
}

#[async_trait(?Send)]
impl Services for ExternalServices {
    fn provider(&self) -> Provider {
        Provider::External
    }

    async fn stop(&self, service: Service) -> Result<(), EnvironmentError> {
        Err(not_ours("stop", service))
    }

    async fn kill(&self, service: Service) -> Result<(), EnvironmentError> {
        Err(not_ours("kill", service))
    }

    async fn start(&self, service: Service, _: &Endpoints) -> Result<(), EnvironmentError> {
        Err(not_ours("start", service))
    }

    async fn pause(&self, service: Service) -> Result<(), EnvironmentError> {
        Err(not_ours("pause", service))
    }

    async fn unpause(&self, service: Service) -> Result<(), EnvironmentError> {
        Err(not_ours("unpause", service))
    }

    async fn log(&self, service: Service) -> Result<String, EnvironmentError> {
        Err(not_ours("read the log of", service))
    }

    async fn down(self: Box<Self>) -> Result<(), EnvironmentError> {
        let dropped = self.schema.drop().await;
        let toxiproxy = proxies::local::end(&self.toxiproxy).await;
        let path = self.folder.path().to_owned();
        let removed =
            self.folder.close().map_err(|source| EnvironmentError::Io { doing: "remove", path, source });
        EnvironmentError::of_all([toxiproxy, removed, dropped])
    }
}

fn not_ours(what: &str, service: Service) -> EnvironmentError {
    EnvironmentError::Unsupported {
        what: format!("{what} {service}"),
        reason: "the service is managed by somebody else".to_owned(),
    }
}

/// Makes the links, by address and by name.
async fn links(
    spec: &EnvironmentSpec<'_>,
    external: &External,
    verifier: &Endpoints,
    proxies: &mut Proxies,
    ports: &mut Ports,
) -> Result<Named, EnvironmentError> {
    let link = |service, process: &ProcessName| LinkName { process: *process, service };
    let mut by_address = Vec::new();
    let (mut places, mut unreached) = (BTreeMap::new(), BTreeMap::new());
    for service in Service::ALL {
        match external.way(service) {
            Ok(Way::ByAddress) => {
                let upstream = authority(service, external)?;
                by_address.extend(spec.processes.iter().map(|it| (link(service, it), upstream.clone())));
            }
            Ok(Way::ByName) if service == Service::Kafka => match advertised(verifier).await {
                Ok(place) => drop(places.insert(service, place)),
                Err(reason) => drop(unreached.insert(service, reason)),
            },
            Ok(Way::ByName) => drop(places.insert(service, authority(service, external)?)),
            // A fault on one of these links was refused when it was planned.
            Err(_) => {}
        }
    }
    // Toxiproxy takes no empty list.
    if !by_address.is_empty() {
        proxies::local::create_links(proxies, &by_address, ports).await?;
    }
    let named = Named::draw(spec.processes, places, unreached);
    let by_name = Service::ALL.iter().flat_map(|service| spec.processes.iter().map(move |it| (*service, it)));
    let by_name: Vec<NamedLink> = by_name
        .filter_map(|(service, process)| {
            Some(NamedLink {
                link: link(service, process),
                listen: named.listen(*process, service)?,
                upstream: named.place(service)?.to_owned(),
            })
        })
        .collect();
    if !by_name.is_empty() {
        proxies::local::create_named(proxies, &by_name, &spec.logs_dir.join("toxiproxy.log")).await?;
    }
    Ok(named)
}

/// `host:port` that the only broker advertises. Clients go there, whatever they were given at first.
async fn advertised(at: &Endpoints) -> Result<String, String> {
    let brokers = probe::kafka::metadata(at, FIRST_ANSWER_LIMIT).await?;
    let [broker] = brokers.as_slice() else {
        return Err(format!("the cluster has {} brokers, and a link has one proxy", brokers.len()));
    };
    match split(broker) {
        Some((host, _)) if host.parse::<IpAddr>().is_err() => Ok(broker.clone()),
        _ => Err(format!("the broker advertises itself as {broker}, and not by a host name")),
    }
}
