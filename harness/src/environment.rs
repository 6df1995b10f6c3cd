//! The environment: the services the cluster rents, and a proxy on every link to them.
//!
//! Three providers, one contract: containers, child processes, or somebody else's services by address. Everything
//! listens on ports that were free a moment ago; nothing is fixed, so runs stand side by side. An environment is a value:
//! [`Environment::down`] ends it and says what went wrong, and dropping it ends it all the same.

pub mod child;
pub mod contract;
pub mod doctor;
pub mod error;
pub mod leftovers;
pub mod preload;
pub mod proxies;
pub mod registry;
pub mod services;
pub mod supports;

mod addresses;
mod launch;
mod manifest;
mod names;
mod netfilter;
pub(crate) mod ports;
mod providers;

use std::{net::SocketAddr, path::Path, time::Duration};

pub use self::{
    addresses::without_password,
    child::{Child, ChildSpec, Stdout},
    contract::{Endpoints, External, Provider, ProviderChoice},
    doctor::{Check, doctor},
    error::EnvironmentError,
    leftovers::sweep,
    names::{Hosts, hosts_file},
    proxies::{AppliedToxic, LinkState, Proxies, ProxyError, ToxicState},
    registry::Registry,
    services::{disk::TABLESPACE, groups, redis::config as redis_config, schema::Schema},
    supports::{supports, supports_all},
};
use self::{
    addresses::{name_application, redirect},
    contract::{Services, Up},
    names::Named,
    services::probe,
};
use crate::{
    os::sockets,
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
    services: Option<Box<dyn Services>>,
    provider: Provider,
    proxies: Proxies,
    verifier: Endpoints,
    named: Named,
    facts: Vec<(String, String)>,
    registry: Registry,
    run_id: String,
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
            path: registry::runs_folder(),
            source,
        })?;
        let mut registered = Registered(Some(registry.clone()));
        let up = match providers::up(provider, &spec, &registry, progress).await {
            // Only a container that runs could tell. Its run's label has taken it away again.
            Err(why @ EnvironmentError::EngineElsewhere { .. }) if spec.choice == ProviderChoice::Auto => {
                let host = providers::take_host(progress, &why);
                can_hold(host, &spec)?;
                providers::up(host, &spec, &registry, progress).await?
            }
            up => up?,
        };
        let Up { services, proxies, verifier, named, facts } = up;
        registered.0 = None;
        let run_id = spec.run_id.to_owned();
        let provider = services.provider();
        Ok(Self { services: Some(services), provider, proxies, verifier, named, facts, registry, run_id })
    }

    /// Where the services come from.
    pub fn provider(&self) -> Provider {
        self.provider
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
        let address = |service| self.proxies.address(LinkName { process, service }).ok();
        let proxy = |service| address(service).filter(|_| self.named.place(service).is_none());
        let direct = &self.verifier;
        let postgres_url = match proxy(Service::Postgres) {
            Some(address) => redirect(&direct.postgres_url, address),
            None => direct.postgres_url.clone(),
        };
        let redis_url = match proxy(Service::Redis) {
            Some(address) => redirect(&direct.redis_url, address),
            None => direct.redis_url.clone(),
        };
        Endpoints {
            postgres_url: name_application(&postgres_url, &process.to_string()),
            redis_url,
            // By name: as the broker advertises itself, or clients would begin past their proxies.
            kafka_brokers: proxy(Service::Kafka)
                .map(|address| address.to_string())
                .or_else(|| self.named.place(Service::Kafka).map(str::to_owned))
                .unwrap_or_else(|| direct.kafka_brokers.clone()),
            hosts: self.named.hosts(process),
            ..direct.clone()
        }
    }

    /// The same ways for clients of the harness.
    pub fn through(&self, process: ProcessName) -> Endpoints {
        self.named.by_address(process, self.endpoints(process))
    }

    /// Whether every link that faults are planned on goes through a proxy: what a managed service is like shows only when
    /// it is asked.
    ///
    /// # Errors
    ///
    /// A sentence that names the link and the reason.
    pub fn reaches(&self, faults: &[PlannedFault]) -> Result<(), String> {
        for link in faults.iter().flat_map(|planned| supports::links_of(&planned.fault)) {
            if let Some(reason) = self.named.unreached(link.service) {
                return Err(format!("{link} does not go through a proxy: {reason}"));
            }
        }
        Ok(())
    }

    /// Connections of a process to services that it reaches by name, and which went past its proxies. The canary of that
    /// way: a library that was not loaded, or a client with a resolver of its own, shows here.
    pub fn past_proxies(&self, process: ProcessName, pid: u32) -> Vec<SocketAddr> {
        let named = Service::ALL.into_iter().filter_map(|service| self.named.listen(process, service));
        let proxies: Vec<SocketAddr> = named.collect();
        let mut remotes = sockets::remotes_of(pid);
        remotes.retain(|to| !proxies.contains(to) && proxies.iter().any(|proxy| proxy.port() == to.port()));
        remotes
    }

    /// How the harness reaches the services: past every proxy.
    pub fn verifier(&self) -> Endpoints {
        let postgres_url = name_application(&self.verifier.postgres_url, "squall");
        Endpoints { postgres_url, ..self.verifier.clone() }
    }

    /// The links: down and up, toxics on and off.
    pub fn proxies(&self) -> &Proxies {
        &self.proxies
    }

    /// What services and proxies consist of on this machine: a name, and the pid of whoever started the rest. Those that
    /// run elsewhere have none.
    pub fn pids(&self) -> Vec<(String, u32)> {
        self.services.as_deref().map(Services::pids).unwrap_or_default()
    }

    fn services(&self) -> Result<&dyn Services, EnvironmentError> {
        self.services.as_deref().ok_or_else(|| EnvironmentError::Unsupported {
            what: "using the services".to_owned(),
            reason: "they were taken down".to_owned(),
        })
    }

    /// Shuts a service down in an orderly way; returns when it has ended.
    ///
    /// # Errors
    ///
    /// [`EnvironmentError::Stuck`] when it had to be killed, [`EnvironmentError::Unsupported`] when it is not ours.
    pub async fn stop(&self, service: Service) -> Result<(), EnvironmentError> {
        self.services()?.stop(service).await
    }

    /// Kills a service with SIGKILL; returns when it is gone.
    ///
    /// # Errors
    ///
    /// [`EnvironmentError`] when it lives on, or is not ours.
    pub async fn kill(&self, service: Service) -> Result<(), EnvironmentError> {
        self.services()?.kill(service).await
    }

    /// Starts a service that was stopped or killed, on the same port and data; returns when it answers again.
    ///
    /// # Errors
    ///
    /// [`EnvironmentError::Died`] or [`EnvironmentError::NotReady`] when it does not.
    pub async fn start(&self, service: Service) -> Result<(), EnvironmentError> {
        self.services()?.start(service, &self.verifier).await
    }

    /// Freezes a service: connections stay open, nothing answers.
    ///
    /// # Errors
    ///
    /// [`EnvironmentError`] when it is not seen frozen.
    pub async fn pause(&self, service: Service) -> Result<(), EnvironmentError> {
        self.services()?.pause(service).await
    }

    /// Thaws a frozen service.
    ///
    /// # Errors
    ///
    /// [`EnvironmentError`] when it is still seen frozen.
    pub async fn unpause(&self, service: Service) -> Result<(), EnvironmentError> {
        self.services()?.unpause(service).await
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
        self.services()?.log(service).await
    }

    /// Asks a service through a link, on a connection of its own. Returns the round trip of one question on the open
    /// connection.
    ///
    /// # Errors
    ///
    /// What happened instead of an answer.
    pub async fn probe_link(&self, link: LinkName, limit: Duration) -> Result<Duration, String> {
        self.proxies.address(link).map_err(|error| error.to_string())?;
        let mut endpoints = self.through(link.process);
        // Evidence is not traffic of the cluster: faults on sessions must not take the one for the other.
        endpoints.postgres_url = name_application(&endpoints.postgres_url, "squall");
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
            Some(services) => services.down().await,
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
