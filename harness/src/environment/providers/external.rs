//! The external provider: somebody else's services, by address, with a Toxiproxy of ours in front of what can go
//! through one.

use async_trait::async_trait;
use tempfile::TempDir;

use crate::{
    environment::{
        EnvironmentSpec,
        addresses::authority,
        child::Child,
        contract::{Endpoints, External, Provider, Services, Up},
        error::EnvironmentError,
        manifest::Manifest,
        ports::Ports,
        proxies,
        registry::{Registry, temporary_folder},
        services::{probe, schema::Schema},
    },
    plan::{LinkName, Service},
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
        refuse_unusable(external)?;
        let manifest = Manifest::find_or_install(progress).await?;
        let folder = temporary_folder(spec.run_id, registry)?;
        let mut ports = Ports::default();
        let (toxiproxy, mut proxies, version) =
            proxies::local::start(&manifest.toxiproxy, spec.logs_dir, registry, &mut ports).await?;
        let mut links = Vec::new();
        for service in [Service::Postgres, Service::Redis] {
            if external.proxied(service).is_err() {
                continue;
            }
            let upstream = authority(service, external)?;
            links.extend(
                spec.processes
                    .iter()
                    .map(|process| (LinkName { process: *process, service }, upstream.clone())),
            );
        }
        proxies::local::create_links(&mut proxies, &links, &mut ports).await?;
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
        let services = Box::new(Self { toxiproxy, folder, schema });
        Ok(Up { services, proxies, verifier, facts })
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

#[cfg(test)]
mod tests {
    use super::*;

    fn at(postgres: &str) -> External {
        External::at(postgres, "redis://cache.example/0")
    }

    #[test]
    fn a_name_check_cannot_go_through_a_proxy() {
        let error = refuse_unusable(&at("postgres://u:secret@db/chat?sslmode=verify-full")).unwrap_err();
        assert!(error.to_string().contains("verify-ca") && !error.to_string().contains("secret"), "{error}");
    }
}
