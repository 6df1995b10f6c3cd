//! What node and writer have in common as processes.
//!
//! - [`start`]: cryptography, arguments, the exit code of wrong ones
//! - [`telemetry`]: JSON logs on stdout, the lifecycle events among them, the panic hook
//! - [`kafka`]: what every Kafka client begins with, and what of librdkafka's own log is worth a line
//! - [`postgres`]: its address, and what to do when its certificate is not trusted
//! - [`alive`]: the answer of `/healthz`

pub mod kafka;
pub mod postgres;
pub mod start;
pub mod telemetry;

use std::time::SystemTime;

use axum::{http::header::DATE, response::IntoResponse};

/// The answer of `/healthz`: the process runs. Nothing that a restart of it would not mend belongs here. With a `Date` of its
/// own: the server keeps one for a second by the wall clock, and so for long when that is set back.
pub async fn alive() -> impl IntoResponse {
    ([(DATE, httpdate::fmt_http_date(SystemTime::now()))], "ok\n")
}
