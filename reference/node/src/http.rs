//! The HTTP side of the one port: health, metrics, and the page at `/`. Socket.IO shares it.

use std::sync::Arc;

use axum::{
    Json, Router,
    extract::State,
    http::{StatusCode, header},
    response::{Html, IntoResponse},
    routing::get,
};
use metrics_exporter_prometheus::PrometheusHandle;

use crate::health::{Health, Readiness};

/// What the browser gets at `/`.
const PAGE: &str = include_str!("../web/index.html");

#[derive(Clone)]
struct Known {
    health: Arc<Health>,
    metrics: PrometheusHandle,
}

/// The routes.
pub fn routes(health: Arc<Health>, metrics: PrometheusHandle) -> Router {
    Router::new()
        .route("/", get(|| async { Html(PAGE) }))
        .route("/healthz", get(chat_process::alive))
        .route("/readyz", get(readyz))
        .route("/metrics", get(render))
        .with_state(Known { health, metrics })
}

async fn readyz(State(known): State<Known>) -> (StatusCode, Json<Readiness>) {
    let readiness = known.health.readiness();
    let status = if readiness.ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(readiness))
}

async fn render(State(known): State<Known>) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], known.metrics.render())
}
