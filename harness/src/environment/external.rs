//! The external provider: somebody else's services, by address, with a Toxiproxy of ours in front of what can go
//! through one.

use std::net::SocketAddr;

use tempfile::TempDir;

use super::{
    EnvironmentSpec,
    child::Child,
    contract::{Endpoints, External},
    error::EnvironmentError,
    host::{create_links, end_toxiproxy, start_toxiproxy, temporary_folder},
    leftovers::Registry,
    manifest::Manifest,
    ports::Ports,
    probe,
    schema::Schema,
    toxiproxy::Proxies,
};
use crate::{
    plan::{LinkName, Service},
    progress::Progress,
};

/// Longest first answer of a service that may be far away.
pub(super) const FIRST_ANSWER_LIMIT: std::time::Duration = std::time::Duration::from_secs(15);

/// What we run ourselves beside the rented services. Ends in this order.
#[derive(Debug)]
pub(super) struct ExternalServices {
    toxiproxy: Child,
    folder: TempDir,
    schema: Schema,
}

/// What an environment needs to know of its provider.
pub(super) struct Started {
    pub(super) rented: ExternalServices,
    pub(super) proxies: Proxies,
    pub(super) verifier: Endpoints,
    pub(super) facts: Vec<(String, String)>,
}

impl ExternalServices {
    pub(super) async fn up(
        spec: &EnvironmentSpec<'_>,
        registry: &Registry,
        progress: &Progress,
    ) -> Result<Started, EnvironmentError> {
        let external = spec.external.as_ref().ok_or(EnvironmentError::NoAddresses)?;
        refuse_unusable(external)?;
        let manifest = Manifest::find_or_install(progress).await?;
        let folder = temporary_folder(spec.run_id, registry)?;
        let mut ports = Ports::default();
        let (toxiproxy, mut proxies, version) =
            start_toxiproxy(&manifest.toxiproxy, spec.logs_dir, registry, &mut ports).await?;
        let mut links = Vec::new();
        for service in [Service::Postgres, Service::Redis] {
            if proxied(Some(external), service).is_err() {
                continue;
            }
            let upstream = authority(service, external)?;
            links.extend(
                spec.processes
                    .iter()
                    .map(|process| (LinkName { process: *process, service }, upstream.clone())),
            );
        }
        create_links(&mut proxies, &links, &mut ports).await?;
        let mut verifier = Endpoints {
            postgres_url: external.postgres_url.clone(),
            redis_url: external.redis_url.clone(),
            kafka_brokers: external.kafka_brokers.clone(),
            kafka_options: external.kafka_options.clone(),
        };
        for service in Service::ALL {
            progress.now(format!("asking {service}"));
            probe::ask(service, &verifier, FIRST_ANSWER_LIMIT)
                .await
                .map_err(|reason| EnvironmentError::Address { what: service.name(), reason })?;
        }
        let schema = Schema::create(&external.postgres_url, spec.run_id).await?;
        verifier.postgres_url = schema.url();
        let facts = vec![("toxiproxy".to_owned(), version)];
        Ok(Started { rented: Self { toxiproxy, folder, schema }, proxies, verifier, facts })
    }

    pub(super) async fn down(self) -> Result<(), EnvironmentError> {
        let dropped = self.schema.drop().await;
        let toxiproxy = end_toxiproxy(&self.toxiproxy).await;
        let path = self.folder.path().to_owned();
        let removed =
            self.folder.close().map_err(|source| EnvironmentError::Io { doing: "remove", path, source });
        EnvironmentError::of_all([toxiproxy, removed, dropped])
    }
}

/// Whether a managed service is reached through our proxies.
pub(super) fn proxied(external: Option<&External>, service: Service) -> Result<(), &'static str> {
    match service {
        Service::Kafka => Err("Kafka clients follow the addresses that the brokers advertise"),
        Service::Redis if external.is_some_and(|external| external.redis_url.starts_with("rediss://")) => {
            Err("with TLS, Redis clients compare the certificate with the name they connected to")
        }
        Service::Redis | Service::Postgres => Ok(()),
    }
}

fn refuse_unusable(external: &External) -> Result<(), EnvironmentError> {
    for service in [Service::Postgres, Service::Redis] {
        authority(service, external)?;
    }
    if external.postgres_url.contains("sslmode=verify-full") {
        return Err(EnvironmentError::Address {
            what: "postgres",
            reason: "sslmode=verify-full compares the certificate with the name, and the cluster connects to a proxy \
                     on 127.0.0.1; use sslmode=verify-ca or sslmode=require"
                .to_owned(),
        });
    }
    Ok(())
}

/// `host:port` of a service.
fn authority(service: Service, external: &External) -> Result<String, EnvironmentError> {
    let (url, schemes, port): (_, &[&str], _) = match service {
        Service::Postgres => (&external.postgres_url, &["postgres", "postgresql"], "5432"),
        Service::Redis | Service::Kafka => (&external.redis_url, &["redis", "rediss"], "6379"),
    };
    // The address itself holds a password: it is not repeated in the message.
    let unusable = |reason: String| EnvironmentError::Address { what: service.name(), reason };
    let parts = Parts::of(url).ok_or_else(|| unusable("it is not a URL".to_owned()))?;
    if !schemes.contains(&parts.scheme) {
        return Err(unusable(format!("it begins with {}://, not {}://", parts.scheme, schemes[0])));
    }
    if parts.host.is_empty() || parts.host.contains(',') {
        return Err(unusable("it must name one host".to_owned()));
    }
    let bare = parts.host.rsplit(']').next().unwrap_or_default();
    Ok(if bare.contains(':') { parts.host.to_owned() } else { format!("{}:{port}", parts.host) })
}

/// A URL in the pieces we handle. Not decoded: what is not ours goes through unchanged.
struct Parts<'a> {
    scheme: &'a str,
    /// With its `@`, when there is one.
    credentials: &'a str,
    host: &'a str,
    /// Path, query and fragment.
    rest: &'a str,
}

impl<'a> Parts<'a> {
    fn of(url: &'a str) -> Option<Self> {
        let (scheme, after) = url.split_once("://")?;
        let (authority, rest) = after.split_at(after.find(['/', '?', '#']).unwrap_or(after.len()));
        let (credentials, host) = authority.split_at(authority.rfind('@').map_or(0, |at| at + 1));
        Some(Self { scheme, credentials, host, rest })
    }
}

/// The same URL, through a proxy.
pub(super) fn redirect(url: &str, proxy: SocketAddr) -> String {
    match Parts::of(url) {
        Some(parts) => format!("{}://{}{proxy}{}", parts.scheme, parts.credentials, parts.rest),
        None => url.to_owned(),
    }
}

/// The same PostgreSQL URL, with a name that `pg_stat_activity` shows; a name that was there gives way.
pub(super) fn name_application(url: &str, name: &str) -> String {
    let (base, query) = url.split_once('?').unwrap_or((url, ""));
    let kept = query.split('&').filter(|pair| !pair.is_empty() && !pair.starts_with("application_name="));
    let query: Vec<String> = kept.map(str::to_owned).chain([format!("application_name={name}")]).collect();
    format!("{base}?{}", query.join("&"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(postgres: &str) -> External {
        External {
            postgres_url: postgres.to_owned(),
            redis_url: "redis://cache.example/0".to_owned(),
            kafka_brokers: "kafka.example:9092".to_owned(),
            kafka_options: Vec::new(),
        }
    }

    #[test]
    fn a_url_is_redirected_and_keeps_the_rest() {
        let proxy = "127.0.0.1:20001".parse().unwrap();
        let url = "postgres://avnadmin:p%40ss@pg.example.com:23456/defaultdb?sslmode=require";
        assert_eq!(
            redirect(url, proxy),
            "postgres://avnadmin:p%40ss@127.0.0.1:20001/defaultdb?sslmode=require"
        );
        assert_eq!(redirect("redis://cache.example", proxy), "redis://127.0.0.1:20001");
    }

    #[test]
    fn the_default_port_is_added() {
        assert_eq!(
            authority(Service::Postgres, &at("postgres://u:p@db.example/chat")).unwrap(),
            "db.example:5432"
        );
        assert_eq!(authority(Service::Postgres, &at("postgres://u:p@[::1]:99/chat")).unwrap(), "[::1]:99");
        assert_eq!(authority(Service::Redis, &at("postgres://x/y")).unwrap(), "cache.example:6379");
    }

    #[test]
    fn a_name_check_cannot_go_through_a_proxy() {
        let error = refuse_unusable(&at("postgres://u:secret@db/chat?sslmode=verify-full")).unwrap_err();
        assert!(error.to_string().contains("verify-ca") && !error.to_string().contains("secret"), "{error}");
    }

    #[test]
    fn the_application_name_is_replaced() {
        assert_eq!(name_application("postgres://h/d", "node-1"), "postgres://h/d?application_name=node-1");
        let named = name_application("postgres://h/d?application_name=a&sslmode=require", "b");
        assert_eq!(named, "postgres://h/d?sslmode=require&application_name=b");
    }
}
