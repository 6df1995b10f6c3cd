//! The label that everything of one run carries, its network, and the removal of whatever carries it.

use std::{collections::HashMap, thread, time::Duration};

use testcontainers::bollard::{
    Docker,
    errors::Error,
    models::NetworkCreateRequest,
    query_parameters::{ListContainersOptions, ListNetworksOptions, RemoveContainerOptions},
};

use super::engine;
use crate::{
    environment::{error::EnvironmentError, registry::Registry},
    wait,
};

/// Value: the run's id.
const RUN: &str = "squall.run";

/// Value: the harness's pid, for people who wonder whose container that is.
const PID: &str = "squall.pid";

/// How long the engine may take to let go of containers and network.
const REMOVE_LIMIT: Duration = Duration::from_secs(30);

/// The labels of a run.
pub(super) fn labels(run_id: &str) -> [(String, String); 2] {
    [(RUN.to_owned(), run_id.to_owned()), (PID.to_owned(), std::process::id().to_string())]
}

/// Owns whatever carries a run's label. Dropped without [`Labelled::remove`], it removes it all the same.
/// Registered until it is gone.
#[derive(Debug)]
pub(super) struct Labelled {
    run_id: Option<String>,
    registry: Registry,
}

impl Labelled {
    /// Makes the run's network, which has the run's id for a name.
    pub(super) async fn create_network(
        engine: &Docker,
        run_id: &str,
        registry: &Registry,
    ) -> Result<Self, EnvironmentError> {
        registry.note_docker();
        let owner = Self { run_id: Some(run_id.to_owned()), registry: registry.clone() };
        let request = NetworkCreateRequest {
            name: run_id.to_owned(),
            driver: Some("bridge".to_owned()),
            labels: Some(HashMap::from(labels(run_id))),
            ..NetworkCreateRequest::default()
        };
        engine.create_network(request).await.map_err(|error| refused("make a network", &error))?;
        Ok(owner)
    }

    /// Removes everything, and waits until it is gone.
    pub(super) async fn remove(mut self) -> Result<(), EnvironmentError> {
        match self.run_id.take() {
            Some(run_id) => {
                remove_labelled(&run_id).await?;
                self.registry.forget_docker();
                Ok(())
            }
            None => Ok(()),
        }
    }
}

impl Drop for Labelled {
    fn drop(&mut self) {
        let Some(run_id) = self.run_id.take() else { return };
        let registry = self.registry.clone();
        // A runtime of its own, on a thread of its own: we may be anywhere, even on the only thread of the other one.
        let removal = thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            let outcome = runtime.map_err(|error| error.to_string()).and_then(|runtime| {
                runtime.block_on(remove_labelled(&run_id)).map_err(|error| error.to_string())
            });
            match outcome {
                Ok(()) => registry.forget_docker(),
                Err(error) => {
                    tracing::error!(run = %run_id, %error, "could not remove the run's containers");
                }
            }
        });
        let _ = removal.join();
    }
}

/// Removes all containers and networks of a run. There may be none.
pub(crate) async fn remove_labelled(run_id: &str) -> Result<(), EnvironmentError> {
    let engine = engine().await?;
    let filters = HashMap::from([("label".to_owned(), vec![format!("{RUN}={run_id}")])]);
    // Again and again: a container whose creation was under way when its maker was cancelled appears a moment later.
    wait::until(&format!("containers of {run_id} gone"), REMOVE_LIMIT, async || {
        remove_once(&engine, &filters).await
    })
    .await
    .map_err(|error| EnvironmentError::Engine {
        doing: format!("remove the containers and the network labelled {RUN}={run_id}"),
        detail: error.last,
    })
}

async fn remove_once(engine: &Docker, filters: &HashMap<String, Vec<String>>) -> Result<(), String> {
    let text = |error: Error| error.to_string();
    let options = ListContainersOptions {
        all: true,
        filters: Some(filters.clone()),
        ..ListContainersOptions::default()
    };
    let containers = engine.list_containers(Some(options)).await.map_err(text)?;
    let removals = containers.iter().filter_map(|container| container.id.as_deref()).map(|id| {
        let options = RemoveContainerOptions { force: true, v: true, ..RemoveContainerOptions::default() };
        async move { gone(engine.remove_container(id, Some(options)).await) }
    });
    futures_util::future::try_join_all(removals).await.map_err(text)?;
    let options = ListNetworksOptions { filters: Some(filters.clone()) };
    for network in engine.list_networks(Some(options)).await.map_err(text)? {
        if let Some(id) = &network.id {
            gone(engine.remove_network(id).await).map_err(text)?;
        }
    }
    if containers.is_empty() { Ok(()) } else { Err(format!("{} containers were there", containers.len())) }
}

/// What is not there needs no removal, nor one that is being removed already.
fn gone(outcome: Result<(), Error>) -> Result<(), Error> {
    match outcome {
        Err(Error::DockerResponseServerError { status_code: 404 | 409, .. }) => Ok(()),
        other => other,
    }
}

/// An engine's refusal as our error.
pub(super) fn refused(doing: &str, error: &dyn std::error::Error) -> EnvironmentError {
    EnvironmentError::Engine { doing: doing.to_owned(), detail: error.to_string() }
}
