//! Which image plays which role: the one named by the user, else the official one, else a drop-in built on this machine.

use std::env;

use testcontainers::bollard::Docker;

use crate::plan::Service;

/// What a container is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    Postgres,
    Redis,
    Kafka,
    Toxiproxy,
}

impl Role {
    pub(crate) const ALL: [Self; 4] = [Self::Postgres, Self::Redis, Self::Kafka, Self::Toxiproxy];

    pub(crate) fn of(service: Service) -> Self {
        match service {
            Service::Postgres => Self::Postgres,
            Service::Redis => Self::Redis,
            Service::Kafka => Self::Kafka,
        }
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Postgres => "postgres",
            Self::Redis => "redis",
            Self::Kafka => "kafka",
            Self::Toxiproxy => "toxiproxy",
        }
    }

    /// The variable that names another image.
    fn variable(self) -> &'static str {
        match self {
            Self::Postgres => "SQUALL_POSTGRES_IMAGE",
            Self::Redis => "SQUALL_REDIS_IMAGE",
            Self::Kafka => "SQUALL_KAFKA_IMAGE",
            Self::Toxiproxy => "SQUALL_TOXIPROXY_IMAGE",
        }
    }

    fn official(self) -> &'static str {
        match self {
            Self::Postgres => "postgres:17",
            Self::Redis => "redis:7",
            Self::Kafka => "apache/kafka:4.1.0",
            Self::Toxiproxy => "ghcr.io/shopify/toxiproxy:2.12.0",
        }
    }

    /// Built by `harness/services/images/build`, with the same contract.
    fn drop_in(self) -> String {
        format!("squall/{}:local", self.name())
    }
}

/// An image, chosen.
#[derive(Debug, Clone)]
pub(crate) struct Image {
    /// `name:tag`.
    pub(crate) name: String,
    /// Its digest, when it is on this machine; else it must be pulled.
    pub(crate) found: Option<String>,
    /// Why it was chosen, where that is not plain.
    pub(crate) why: Option<&'static str>,
}

impl Image {
    /// Name and tag, as testcontainers wants them.
    pub(crate) fn parts(&self) -> (&str, &str) {
        // A colon before the last slash belongs to a registry's port.
        match self.name.rsplit_once(':') {
            Some((name, tag)) if !tag.contains('/') => (name, tag),
            _ => (&self.name, "latest"),
        }
    }
}

/// One image per role.
#[derive(Debug, Clone)]
pub(crate) struct Images {
    pub(crate) postgres: Image,
    pub(crate) redis: Image,
    pub(crate) kafka: Image,
    pub(crate) toxiproxy: Image,
}

impl Images {
    /// Those that are not on this machine.
    pub(crate) fn to_be_pulled(&self) -> impl Iterator<Item = &str> {
        let all = [&self.postgres, &self.redis, &self.kafka, &self.toxiproxy];
        all.into_iter().filter(|image| image.found.is_none()).map(|image| image.name.as_str())
    }

    /// Chooses for every role.
    pub(crate) async fn choose(engine: &Docker) -> Self {
        let (postgres, redis, kafka, toxiproxy) = tokio::join!(
            choose(engine, Role::Postgres),
            choose(engine, Role::Redis),
            choose(engine, Role::Kafka),
            choose(engine, Role::Toxiproxy),
        );
        Self { postgres, redis, kafka, toxiproxy }
    }

    /// The one of a role.
    pub(crate) fn of(&self, role: Role) -> &Image {
        match role {
            Role::Postgres => &self.postgres,
            Role::Redis => &self.redis,
            Role::Kafka => &self.kafka,
            Role::Toxiproxy => &self.toxiproxy,
        }
    }
}

async fn choose(engine: &Docker, role: Role) -> Image {
    if let Some(name) = env::var(role.variable()).ok().filter(|name| !name.is_empty()) {
        let found = digest(engine, &name).await;
        return Image { name, found, why: Some("named by the environment") };
    }
    let official =
        Image { name: role.official().to_owned(), found: digest(engine, role.official()).await, why: None };
    if official.found.is_some() {
        return official;
    }
    let drop_in = role.drop_in();
    match digest(engine, &drop_in).await {
        Some(found) => {
            let why = "a drop-in built on this machine, as the official image is not on it";
            Image { name: drop_in, found: Some(found), why: Some(why) }
        }
        None => official,
    }
}

/// What identifies an image on this machine: the registry's digest, or for one that was built here its id.
async fn digest(engine: &Docker, name: &str) -> Option<String> {
    let image = engine.inspect_image(name).await.ok()?;
    let pulled = image.repo_digests.and_then(|digests| digests.into_iter().next());
    Some(pulled.or(image.id).unwrap_or_else(|| "unknown".to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_registry_s_port_is_no_tag() {
        let image = |name: &str| Image { name: name.to_owned(), found: None, why: None };
        assert_eq!(image("postgres:17").parts(), ("postgres", "17"));
        assert_eq!(image("registry:5000/kafka").parts(), ("registry:5000/kafka", "latest"));
        assert_eq!(image("registry:5000/kafka:4").parts(), ("registry:5000/kafka", "4"));
    }
}
