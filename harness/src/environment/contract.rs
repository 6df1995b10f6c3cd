//! What the three providers have in common: how one is chosen, what it promises, and what it cannot do.

use std::{fmt, str::FromStr};

use super::{docker, error::EnvironmentError, external};
use crate::plan::{FaultKind, LinkName, Service};

/// Which provider the user asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ProviderChoice {
    /// Docker where an engine answers, else the host.
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
            _ => Err(format!("`{text}` is no provider; there are auto, docker, host and external")),
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

impl ProviderChoice {
    /// Which provider this machine makes of it.
    ///
    /// # Errors
    ///
    /// [`EnvironmentError::NoEngine`] when Docker was asked for and does not answer.
    pub async fn resolve(self) -> Result<Provider, EnvironmentError> {
        match self {
            Self::Host => Ok(Provider::Host),
            Self::External => Ok(Provider::External),
            Self::Docker => docker::engine().await.map(|_| Provider::Docker),
            Self::Auto => Ok(docker::engine().await.map_or(Provider::Host, |_| Provider::Docker)),
        }
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

/// Whether a provider can do what a fault needs; asked when a scenario is planned, before anything starts.
///
/// # Errors
///
/// A sentence that names the fault and the reason.
pub fn supports(provider: Provider, external: Option<&External>, fault: &FaultKind) -> Result<(), String> {
    if provider != Provider::External {
        return Ok(());
    }
    match fault {
        FaultKind::ServiceStop { service } => managed("service-stop", *service),
        FaultKind::ServiceKill { service } => managed("service-kill", *service),
        FaultKind::ServicePause { service } => managed("service-pause", *service),
        FaultKind::LinkDown { links } => proxied("link-down", external, links),
        FaultKind::LinkToxic { links, .. } => proxied("link-toxic", external, links),
        // These need rights over everybody's sessions, and would strike everybody who shares the service.
        FaultKind::RedisClientKill => {
            refused("redis-client-kill", "it would disconnect every user of the Redis")
        }
        FaultKind::PostgresTerminate => refused("postgres-terminate", "it needs a superuser"),
        FaultKind::PostgresReadOnly => refused("postgres-read-only", "it needs a superuser"),
        FaultKind::PostgresLock
        | FaultKind::ClientReconnectStorm { .. }
        | FaultKind::ClientSlow { .. }
        | FaultKind::ClientCrash { .. }
        | FaultKind::ClientMalformed { .. }
        | FaultKind::ClientOversize { .. }
        | FaultKind::ProcessKill { .. }
        | FaultKind::ProcessTerminate { .. }
        | FaultKind::ProcessPause { .. }
        | FaultKind::RollingRestart { .. }
        | FaultKind::ProcessClockSkew { .. } => Ok(()),
    }
}

fn managed(fault: &str, service: Service) -> Result<(), String> {
    refused(
        fault,
        &format!("{service} is managed by somebody else, and cannot be stopped, killed or frozen from here"),
    )
}

fn proxied(fault: &str, external: Option<&External>, links: &[LinkName]) -> Result<(), String> {
    for link in links {
        if let Err(reason) = external::proxied(external, link.service) {
            return refused(fault, &format!("{link} does not go through a proxy: {reason}"));
        }
    }
    Ok(())
}

fn refused(fault: &str, reason: &str) -> Result<(), String> {
    Err(format!("the external provider cannot do {fault}: {reason}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn external(redis: &str) -> External {
        External {
            postgres_url: "postgres://u:p@db.example:5432/chat?sslmode=require".to_owned(),
            redis_url: redis.to_owned(),
            kafka_brokers: "kafka.example:9092".to_owned(),
            kafka_options: Vec::new(),
        }
    }

    #[test]
    fn a_managed_service_is_not_stopped() {
        let fault = FaultKind::ServiceStop { service: Service::Postgres };
        let refusal = supports(Provider::External, Some(&external("redis://r:1")), &fault).unwrap_err();
        assert!(refusal.contains("service-stop") && refusal.contains("postgres"), "{refusal}");
        assert_eq!(supports(Provider::Host, None, &fault), Ok(()));
    }

    #[test]
    fn links_are_cut_where_they_are_proxied() {
        let cut = |link: &str| FaultKind::LinkDown { links: vec![link.parse().unwrap()] };
        let plain = external("redis://cache.example:6379");
        let encrypted = external("rediss://cache.example:6379");
        assert_eq!(supports(Provider::External, Some(&plain), &cut("node-1->redis")), Ok(()));
        assert_eq!(supports(Provider::External, Some(&plain), &cut("node-1->postgres")), Ok(()));
        let refusal = supports(Provider::External, Some(&plain), &cut("node-1->kafka")).unwrap_err();
        assert!(refusal.contains("node-1->kafka"), "{refusal}");
        assert!(supports(Provider::External, Some(&encrypted), &cut("node-1->redis")).is_err());
    }
}
