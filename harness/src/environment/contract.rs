//! What the three providers have in common: how one is chosen, what it promises, and what it cannot do.

use std::{fmt, net::IpAddr, path::PathBuf, str::FromStr};

use async_trait::async_trait;
use chat_process::kafka::authorities;
use rdkafka::ClientConfig;

use super::{
    addresses::{authority, bootstrap, encrypted, verifies_name},
    error::EnvironmentError,
    names::{Hosts, Named, split},
    preload::NSS_WRAPPER,
    proxies::Proxies,
};
use crate::plan::Service;

/// Which provider the user asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ProviderChoice {
    /// Docker where an engine answers whose ports can be reached, else the host.
    #[default]
    Auto,
    /// Containers.
    Docker,
    /// Child processes.
    Host,
    /// Managed services, by address.
    External,
}

impl FromStr for ProviderChoice {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "auto" => Ok(Self::Auto),
            "docker" => Ok(Self::Docker),
            "host" => Ok(Self::Host),
            "external" => Ok(Self::External),
            _ => Err(format!("`{text}` is not a provider; there are auto, docker, host and external")),
        }
    }
}

impl fmt::Display for ProviderChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Auto => "auto",
            Self::Docker => "docker",
            Self::Host => "host",
            Self::External => "external",
        })
    }
}

/// Where the services really come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Provider {
    /// Containers.
    Docker,
    /// Child processes.
    Host,
    /// Managed services, by address.
    External,
}

impl Provider {
    /// As in reports and on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Docker => "docker",
            Self::Host => "host",
            Self::External => "external",
        }
    }
}

impl fmt::Display for Provider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// How to reach the services.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Endpoints {
    /// `postgres://user:password@host:port/database?…`
    pub postgres_url: String,
    /// `redis://…` or `rediss://…`
    pub redis_url: String,
    /// Authorities that may have signed Redis's certificate, as a PEM file; the system's where nothing is said.
    pub redis_ca: Option<PathBuf>,
    /// `host:port[,host:port…]`
    pub kafka_brokers: String,
    /// librdkafka properties beyond the brokers: TLS, SASL.
    pub kafka_options: Vec<(String, String)>,
    /// Where names lead that the system's resolver must not be asked for.
    pub hosts: Hosts,
    /// The name in Redis's certificate, where the address is not by that name.
    pub redis_name: Option<String>,
}

impl Endpoints {
    /// What every Kafka client of the harness begins with: where, and how secured.
    pub fn kafka_client(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &self.kafka_brokers).set("ssl.ca.location", authorities());
        for (key, value) in &self.kafka_options {
            config.set(key, value);
        }
        config
    }
}

/// Addresses of managed services.
#[derive(Clone, PartialEq, Eq)]
pub struct External {
    /// As in [`Endpoints`].
    pub postgres_url: String,
    /// As in [`Endpoints`].
    pub redis_url: String,
    /// As in [`Endpoints`].
    pub redis_ca: Option<PathBuf>,
    /// As in [`Endpoints`].
    pub kafka_brokers: String,
    /// As in [`Endpoints`].
    pub kafka_options: Vec<(String, String)>,
}

impl fmt::Debug for External {
    /// Without the passwords.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("External").field("kafka_brokers", &self.kafka_brokers).finish_non_exhaustive()
    }
}

impl External {
    /// Managed services at these addresses, for tests.
    #[cfg(test)]
    pub(crate) fn at(postgres_url: &str, redis_url: &str) -> Self {
        Self {
            postgres_url: postgres_url.to_owned(),
            redis_url: redis_url.to_owned(),
            redis_ca: None,
            kafka_brokers: "kafka.example:9092".to_owned(),
            kafka_options: Vec::new(),
        }
    }

    /// How the processes get to a managed service through a proxy.
    ///
    /// # Errors
    ///
    /// Why they cannot.
    pub(crate) fn way(&self, service: Service) -> Result<Way, String> {
        let place = match service {
            Service::Kafka => bootstrap(&self.kafka_brokers).into_iter().next(),
            Service::Postgres if !verifies_name(&self.postgres_url) => return Ok(Way::ByAddress),
            Service::Redis if !encrypted(&self.redis_url) => return Ok(Way::ByAddress),
            Service::Postgres | Service::Redis => authority(service, self).ok(),
        };
        let host = place.as_deref().and_then(split).map(|(host, _)| host.trim_matches(['[', ']']).to_owned());
        match host {
            Some(host) if host.parse::<IpAddr>().is_ok() => {
                Err(format!("clients go by the name, and {host} is none: give {service}'s host name"))
            }
            Some(_) => NSS_WRAPPER.library().map(|_| Way::ByName).map_err(|missing| {
                format!("clients go by the name, and {missing}; {}", NSS_WRAPPER.how_to_get)
            }),
            None => Err("its address names no host".to_owned()),
        }
    }
}

/// How a proxy gets between a process and a managed service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// The process is given the proxy's address.
    ByAddress,
    /// The process is given the service's name, which leads it to the proxy.
    ByName,
}

/// Running services, whoever runs them. Dropped without [`Services::down`], they are ended all the same.
#[async_trait(?Send)]
pub(crate) trait Services: fmt::Debug + Send + Sync {
    /// Who runs them.
    fn provider(&self) -> Provider;

    /// Shuts one down in an orderly way; returns when it has ended.
    async fn stop(&self, service: Service) -> Result<(), EnvironmentError>;

    /// Kills one with SIGKILL; returns when it is gone.
    async fn kill(&self, service: Service) -> Result<(), EnvironmentError>;

    /// Starts one that was stopped or killed, on the same port and data; returns when it answers at its address.
    async fn start(&self, service: Service, at: &Endpoints) -> Result<(), EnvironmentError>;

    /// Freezes one: connections stay open, nothing answers.
    async fn pause(&self, service: Service) -> Result<(), EnvironmentError>;

    /// Thaws a frozen one.
    async fn unpause(&self, service: Service) -> Result<(), EnvironmentError>;

    /// The processes on this machine that services and proxies consist of: a name, and the pid of whoever started the rest.
    /// None of services that run elsewhere.
    fn pids(&self) -> Vec<(String, u32)> {
        Vec::new()
    }

    /// Everything one has written to its log until now.
    async fn log(&self, service: Service) -> Result<String, EnvironmentError>;

    /// Ends all of them, and whatever was made for them.
    async fn down(self: Box<Self>) -> Result<(), EnvironmentError>;
}

/// Services that have come up.
pub(crate) struct Up {
    pub(crate) services: Box<dyn Services>,
    pub(crate) proxies: Proxies,
    /// Past every proxy.
    pub(crate) verifier: Endpoints,
    /// Services that are reached by name.
    pub(crate) named: Named,
    /// Versions and images, for the report.
    pub(crate) facts: Vec<(String, String)>,
}
