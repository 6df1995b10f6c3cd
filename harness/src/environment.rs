//! The environment: the services the cluster rents, and a proxy on every link to them.
//!
//! Three providers, one contract: containers, child processes, or somebody else's services by address. Everything
//! listens on ports that were free a moment ago; nothing is fixed, so runs stand side by side. An environment is a value:
//! [`Environment::down`] ends it and says what went wrong, and dropping it ends it all the same.

pub mod child;
pub mod contract;
mod disk;
pub mod docker;
pub mod doctor;
pub mod error;
pub mod faketime;
pub mod groups;
pub mod leftovers;
pub mod toxiproxy;

mod external;
mod host;
mod kafka;
mod manifest;
mod netfilter;
pub(crate) mod ports;
mod probe;
mod schema;

use std::{path::Path, time::Duration};

pub use self::{
    child::{Child, ChildSpec, Stdout},
    contract::{Endpoints, External, Provider, ProviderChoice, supports, supports_all},
    disk::TABLESPACE,
    doctor::{Check, doctor},
    error::EnvironmentError,
    leftovers::{Registry, sweep},
    schema::Schema,
    toxiproxy::{AppliedToxic, LinkState, Proxies, ProxyError, ToxicState},
};
use self::{docker::Docker, external::ExternalServices, host::Host};
use crate::{
    plan::{FaultKind, LinkName, PlannedFault, ProcessName, Service},
    progress::{Progress, tell},
};

/// What an environment is made for.
#[derive(Debug, Clone)]
pub struct EnvironmentSpec<'a> {
    /// Unique; names the containers, the network, the folder and the registration.
    pub run_id: &'a str,
    /// The processes that get links.
    pub processes: &'a [ProcessName],
    /// Where services come from.
    pub choice: ProviderChoice,
    /// Addresses, for [`ProviderChoice::External`].
    pub external: Option<External>,
    /// Where service logs go.
    pub logs_dir: &'a Path,
    /// PostgreSQL's tables get a small file system of their own, which can be filled ([`needs_small_disk`]).
    pub small_disk: bool,
}

/// Whether faults are planned that fill PostgreSQL's file system.
pub fn needs_small_disk(faults: &[PlannedFault]) -> bool {
    faults.iter().any(|planned| planned.fault == FaultKind::PostgresDiskFull)
}

/// Running services and proxies. Fields end in this order when it is dropped.
#[derive(Debug)]
#[must_use = "an environment must be taken down"]
pub struct Environment {
    // Taken by `down`; what is left in a dropped one tells that it was skipped.
    services: Option<Services>,
    proxies: Proxies,
    verifier: Endpoints,
    facts: Vec<(String, String)>,
    registry: Registry,
    run_id: String,
}

#[derive(Debug)]
enum Services {
    Host(Box<Host>),
    Docker(Box<Docker>),
    External(Box<ExternalServices>),
}

type Up = (Services, Proxies, Endpoints, Vec<(String, String)>);

impl Services {
    async fn up(
        provider: Provider,
        spec: &EnvironmentSpec<'_>,
        registry: &Registry,
        progress: &Progress,
    ) -> Result<Up, EnvironmentError> {
        Ok(match provider {
            Provider::Host => {
                let up = Box::pin(Host::up(spec, registry, progress)).await?;
                (Self::Host(Box::new(up.host)), up.proxies, up.verifier, up.facts)
            }
            Provider::Docker => {
                let up = Box::pin(Docker::up(spec, registry, progress)).await?;
                (Self::Docker(Box::new(up.docker)), up.proxies, up.verifier, up.facts)
            }
            Provider::External => {
                let up = Box::pin(ExternalServices::up(spec, registry, progress)).await?;
                (Self::External(Box::new(up.rented)), up.proxies, up.verifier, up.facts)
            }
        })
    }
}

fn can_hold(provider: Provider, spec: &EnvironmentSpec<'_>) -> Result<(), EnvironmentError> {
    if !spec.small_disk {
        return Ok(());
    }
    supports(provider, spec.external.as_ref(), &FaultKind::PostgresDiskFull)
        .map_err(|reason| EnvironmentError::Unsupported { what: provider.to_string(), reason })
}

/// Takes a run off the register when its start does not come to its end. Declared before everything it outlives.
struct Registered(Option<Registry>);

impl Drop for Registered {
    fn drop(&mut self) {
        if let Some(registry) = &self.0 {
            registry.close();
        }
    }
}

impl Environment {
    /// Starts the services and the proxies. When it fails, or is dropped halfway, what was started is ended.
    ///
    /// # Errors
    ///
    /// [`EnvironmentError`], whose `help` names the next step.
    pub async fn up(spec: EnvironmentSpec<'_>, progress: &Progress) -> Result<Self, EnvironmentError> {
        let provider = spec.choice.resolve(progress).await?;
        can_hold(provider, &spec)?;
        let registry = Registry::open(spec.run_id).map_err(|source| EnvironmentError::Io {
            doing: "register the run under",
            path: leftovers::runs_folder(),
            source,
        })?;
        let mut registered = Registered(Some(registry.clone()));
        let up = match Services::up(provider, &spec, &registry, progress).await {
            // Only a container that runs could tell. Its run's label has taken it away again.
            Err(why @ EnvironmentError::EngineElsewhere { .. }) if spec.choice == ProviderChoice::Auto => {
                let host = contract::take_host(progress, &why);
                can_hold(host, &spec)?;
                Services::up(host, &spec, &registry, progress).await?
            }
            up => up?,
        };
        let (services, proxies, verifier, facts) = up;
        registered.0 = None;
        let run_id = spec.run_id.to_owned();
        Ok(Self { services: Some(services), proxies, verifier, facts, registry, run_id })
    }

    /// Where the services come from.
    pub fn provider(&self) -> Provider {
        match self.services {
            Some(Services::Docker(_)) => Provider::Docker,
            Some(Services::External(_)) => Provider::External,
            Some(Services::Host(_)) | None => Provider::Host,
        }
    }

    /// What a report says of the services: versions, images, digests.
    pub fn facts(&self) -> &[(String, String)] {
        &self.facts
    }

    /// What this run owns on this machine; the cluster notes its own processes there.
    pub fn registry(&self) -> &Registry {
        &self.registry
    }

    /// How a process reaches the services: through its own proxies, as far as there are some.
    pub fn endpoints(&self, process: ProcessName) -> Endpoints {
        let proxy = |service| self.proxies.address(LinkName { process, service }).ok();
        let direct = &self.verifier;
        let postgres_url = match proxy(Service::Postgres) {
            Some(address) => external::redirect(&direct.postgres_url, address),
            None => direct.postgres_url.clone(),
        };
        let redis_url = match proxy(Service::Redis) {
            Some(address) => external::redirect(&direct.redis_url, address),
            None => direct.redis_url.clone(),
        };
        Endpoints {
            postgres_url: external::name_application(&postgres_url, &process.to_string()),
            redis_url,
            kafka_brokers: proxy(Service::Kafka)
                .map_or_else(|| direct.kafka_brokers.clone(), |address| address.to_string()),
            kafka_options: direct.kafka_options.clone(),
        }
    }

    /// How the harness reaches the services: past every proxy.
    pub fn verifier(&self) -> Endpoints {
        let postgres_url = external::name_application(&self.verifier.postgres_url, "squall");
        Endpoints { postgres_url, ..self.verifier.clone() }
    }

    /// The links: down and up, toxics on and off.
    pub fn proxies(&self) -> &Proxies {
        &self.proxies
    }

    /// Shuts a service down in an orderly way; returns when it has ended.
    ///
    /// # Errors
    ///
    /// [`EnvironmentError::Stuck`] when it had to be killed, [`EnvironmentError::Unsupported`] when it is not ours.
    pub async fn stop(&self, service: Service) -> Result<(), EnvironmentError> {
        match &self.services {
            Some(Services::Host(host)) => host.server(service).stop().await,
            Some(Services::Docker(docker)) => docker.stop(service).await,
            Some(Services::External(_)) | None => Err(not_ours("stop", service)),
        }
    }

    /// Kills a service with SIGKILL; returns when it is gone.
    ///
    /// # Errors
    ///
    /// [`EnvironmentError`] when it lives on, or is not ours.
    pub async fn kill(&self, service: Service) -> Result<(), EnvironmentError> {
        match &self.services {
            Some(Services::Host(host)) => host.server(service).kill().await,
            Some(Services::Docker(docker)) => docker.kill(service).await,
            Some(Services::External(_)) | None => Err(not_ours("kill", service)),
        }
    }

    /// Starts a service that was stopped or killed, on the same port and data; returns when it answers again.
    ///
    /// # Errors
    ///
    /// [`EnvironmentError::Died`] or [`EnvironmentError::NotReady`] when it does not.
    pub async fn start(&self, service: Service) -> Result<(), EnvironmentError> {
        match &self.services {
            Some(Services::Host(host)) => host.server(service).start().await,
            Some(Services::Docker(docker)) => docker.start(service, &self.verifier).await,
            Some(Services::External(_)) | None => Err(not_ours("start", service)),
        }
    }

    /// Freezes a service: connections stay open, nothing answers.
    ///
    /// # Errors
    ///
    /// [`EnvironmentError`] when it is not seen frozen.
    pub async fn pause(&self, service: Service) -> Result<(), EnvironmentError> {
        match &self.services {
            Some(Services::Host(host)) => host.server(service).pause().await,
            Some(Services::Docker(docker)) => docker.pause(service).await,
            Some(Services::External(_)) | None => Err(not_ours("pause", service)),
        }
    }

    /// Thaws a frozen service.
    ///
    /// # Errors
    ///
    /// [`EnvironmentError`] when it is still seen frozen.
    pub async fn unpause(&self, service: Service) -> Result<(), EnvironmentError> {
        match &self.services {
            Some(Services::Host(host)) => host.server(service).unpause().await,
            Some(Services::Docker(docker)) => docker.unpause(service).await,
            Some(Services::External(_)) | None => Err(not_ours("unpause", service)),
        }
    }

    /// Asks a service, past every proxy, in its own protocol: `select 1`, PING, metadata.
    ///
    /// # Errors
    ///
    /// What happened instead of an answer.
    pub async fn probe(&self, service: Service, limit: Duration) -> Result<String, String> {
        probe::ask(service, &self.verifier(), limit).await.map(|answer| answer.said)
    }

    /// Everything a service has written to its log until now.
    ///
    /// # Errors
    ///
    /// [`EnvironmentError`] when it cannot be read, or the service is not ours.
    pub async fn log(&self, service: Service) -> Result<String, EnvironmentError> {
        match &self.services {
            Some(Services::Host(host)) => host.server(service).log(),
            Some(Services::Docker(docker)) => docker.log(service).await,
            Some(Services::External(_)) | None => Err(not_ours("read the log of", service)),
        }
    }

    /// Asks a service through a link, on a connection of its own. Returns the round trip of one question on the open
    /// connection.
    ///
    /// # Errors
    ///
    /// What happened instead of an answer.
    pub async fn probe_link(&self, link: LinkName, limit: Duration) -> Result<Duration, String> {
        self.proxies.address(link).map_err(|error| error.to_string())?;
        let mut endpoints = self.endpoints(link.process);
        // Evidence is not traffic of the cluster: faults on sessions must not take the one for the other.
        endpoints.postgres_url = external::name_application(&endpoints.postgres_url, "squall");
        probe::ask(link.service, &endpoints, limit).await.map(|answer| answer.round_trip)
    }

    /// Ends everything: processes, containers, network, folder, registration.
    ///
    /// # Errors
    ///
    /// Everything that would not go; the rest is ended all the same. What is left stays registered, so that the next run
    /// tries again.
    pub async fn down(mut self) -> Result<(), EnvironmentError> {
        let ended = match self.services.take() {
            Some(Services::Host(host)) => host.down().await,
            Some(Services::Docker(docker)) => Box::pin(docker.down()).await,
            Some(Services::External(rented)) => rented.down().await,
            None => Ok(()),
        };
        self.registry.close();
        ended
    }
}

impl Drop for Environment {
    fn drop(&mut self) {
        let Some(services) = self.services.take() else { return };
        tracing::error!(run = %self.run_id, "the environment was dropped without down(): killing its services");
        if !std::thread::panicking() {
            tell(&format!(
                "squall: the environment of run {} was not taken down in order; killing its services",
                self.run_id
            ));
        }
        drop(services);
        self.registry.close();
    }
}

fn not_ours(what: &str, service: Service) -> EnvironmentError {
    EnvironmentError::Unsupported {
        what: format!("{what} {service}"),
        reason: "the service is managed by somebody else".to_owned(),
    }
}
