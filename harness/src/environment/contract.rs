//! What the three providers have in common: how one is chosen, what it promises, and what it cannot do.

use std::{fmt, str::FromStr};

use async_trait::async_trait;
use rdkafka::ClientConfig;

use super::{error::EnvironmentError, proxies::Proxies};
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
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoints {
    /// `postgres://user:password@host:port/database?…`
    pub postgres_url: String,
    /// `redis://…` or `rediss://…`
    pub redis_url: String,
    /// `host:port[,host:port…]`
    pub kafka_brokers: String,
    /// librdkafka properties beyond the brokers: TLS, SASL.
    pub kafka_options: Vec<(String, String)>,
}

impl Endpoints {
    /// No address at all, to be filled in.
    pub(crate) fn nowhere() -> Self {
        Self {
            postgres_url: String::new(),
            redis_url: String::new(),
            kafka_brokers: String::new(),
            kafka_options: Vec::new(),
        }
    }

    /// What every Kafka client of the harness begins with: where, and how secured.
    pub fn kafka_client(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &self.kafka_brokers);
        for (key, value) in &self.kafka_options {
            config.set(key, value);
        }
        config
    }
}

/// Addresses of managed services.
#[derive(Clone, PartialEq, Eq)]
pub struct External {
    /// As in [`Endpoints`]. `sslmode=verify-full` cannot go through a proxy, whose name is not the certificate's.
    pub postgres_url: String,
    /// As in [`Endpoints`]. `rediss://` is not proxied: clients always compare its certificate with the name.
    pub redis_url: String,
    /// As in [`Endpoints`]. Never proxied: clients follow the addresses that the brokers advertise.
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
            kafka_brokers: "kafka.example:9092".to_owned(),
            kafka_options: Vec::new(),
        }
    }

    /// Whether a managed service is reached through our proxies.
    pub(crate) fn proxied(&self, service: Service) -> Result<(), &'static str> {
        match service {
            Service::Kafka => Err("Kafka clients follow the addresses that the brokers advertise"),
            Service::Redis if self.redis_url.starts_with("rediss://") => {
                Err("with TLS, Redis clients compare the certificate with the name they connected to")
            }
            Service::Redis | Service::Postgres => Ok(()),
        }
    }
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
    /// Versions and images, for the report.
    pub(crate) facts: Vec<(String, String)>,
}
