//! The HTTP side of the one port: health, metrics, and the chat page at `/`. Socket.IO shares it.

use std::{collections::BTreeMap, sync::Arc};

use axum::{
    Json, Router,
    extract::{Request, State},
    http::{StatusCode, header},
    middleware::Next,
    response::{IntoResponse, Response},
    routing::get,
};
use chat_protocol::Topology;
use metrics_exporter_prometheus::PrometheusHandle;
use serde::Serialize;

use crate::{
    config::Config,
    health::{Health, Readiness},
    identity::{self, SignIn},
    page,
};

#[derive(Clone)]
struct Known {
    name: Arc<str>,
    topology: Topology,
    sign_in: SignIn,
    health: Arc<Health>,
    metrics: PrometheusHandle,
}

/// The body of `/about`: for the chat page, which tells people which node they are on and what does not work just now.
#[derive(Debug, Serialize)]
struct About {
    node: Arc<str>,
    topology: Topology,
    sign_in: SignIn,
    #[serde(flatten)]
    readiness: Readiness,
}

/// The routes.
pub fn routes(config: &Config, health: Arc<Health>, metrics: PrometheusHandle) -> Router {
    let (name, topology) = (Arc::from(config.name.as_str()), config.topology);
    page::routes()
        .merge(identity::routes(config))
        .route("/about", get(about))
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .route("/metrics", get(render))
        .with_state(Known { name, topology, sign_in: SignIn::of(config), health, metrics })
}

/// Lets nobody talk to a node that is broken. Here, and not where sessions begin: a client that its transport failed comes
/// back by itself, to another node.
pub async fn only_whole(State(health): State<Arc<Health>>, request: Request, next: Next) -> Response {
    match health.broken() {
        Some(reason) if request.uri().path().starts_with("/socket.io") => restart(reason),
        _ => next.run(request).await,
    }
}

fn restart(reason: &str) -> Response {
    (StatusCode::SERVICE_UNAVAILABLE, format!("restart this node: {reason}\n")).into_response()
}

/// 200 while this process runs, and a restart of it would mend nothing.
async fn healthz(State(known): State<Known>) -> Response {
    match known.health.broken() {
        None => chat_process::alive().await.into_response(),
        Some(reason) => restart(reason),
    }
}

/// 200 whatever is missing: it is an answer, not a probe.
async fn about(State(known): State<Known>) -> Json<About> {
    let Known { name, topology, sign_in, health, .. } = known;
    // Reasons are for those who run it, and name what they have.
    let readiness = Readiness { reasons: BTreeMap::new(), ..health.readiness() };
    Json(About { node: name, topology, sign_in, readiness })
}

async fn readyz(State(known): State<Known>) -> (StatusCode, Json<Readiness>) {
    let readiness = known.health.readiness();
    let status = if readiness.ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(readiness))
}

async fn render(State(known): State<Known>) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], known.metrics.render())
}
