//! Redis: no persistence, as pub/sub needs none.

use nix::sys::signal::Signal;

use super::{StartContext, server::Server};
use crate::{
    environment::{
        child::ChildSpec,
        contract::Endpoints,
        error::EnvironmentError,
        launch::{launch, with_another_port},
        services::{probe::answers, redis},
    },
    plan::Service,
};

/// Redis, running.
pub(super) struct Up {
    pub(super) server: Server,
    pub(super) port: u16,
    pub(super) version: String,
}

pub(super) async fn up(site: &StartContext<'_>, port: u16) -> Result<Up, EnvironmentError> {
    let folder = site.folder.join("redis");
    std::fs::create_dir_all(&folder).map_err(|source| EnvironmentError::Io {
        doing: "make the folder",
        path: folder.clone(),
        source,
    })?;
    with_another_port("redis", port, async |port| {
        let own = ["--bind".to_owned(), "127.0.0.1".to_owned(), "--port".to_owned(), port.to_string()];
        let spec = ChildSpec {
            name: "redis".to_owned(),
            program: site.manifest.redis_server.clone(),
            args: own.into_iter().chain(redis::SETTINGS.map(str::to_owned)).collect(),
            env: Vec::new(),
            user: None,
            folder: Some(folder.clone()),
            log: site.logs.join("redis.log"),
        };
        let at = Endpoints { redis_url: redis::url(port), ..Endpoints::default() };
        let (child, ()) = launch(&spec, site.registry, async || answers(Service::Redis, &at).await).await?;
        let version = version(child.log());
        let server = Server::new(Service::Redis, spec, Signal::SIGTERM, at, site.registry, child);
        Ok(Up { server, port, version })
    })
    .await
}

/// From the line it greets with: `Redis version=7.0.15, bits=64, …`.
fn version(log: &std::path::Path) -> String {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    let version = text.split("Redis version=").nth(1).and_then(|rest| rest.split(',').next());
    version.unwrap_or("unknown").to_owned()
}
