//! How PostgreSQL is set up, whoever runs it.

use rand::{Rng, distr::Alphanumeric};

/// The superuser; the harness and the cluster both are it, as in the official image.
pub(crate) const USER: &str = "squall";

/// The database.
pub(crate) const DATABASE: &str = "chat";

/// Letters of the password: more than anybody guesses while a run lasts.
const PASSWORD_LENGTH: usize = 24;

/// Settings that differ from the defaults, each as `name=value`.
pub(crate) const SETTINGS: [&str; 4] = [
    // Room for a dozen processes with pools of ten, and for the harness beside them.
    "max_connections=200",
    // Compiling queries costs more than any of ours takes.
    "jit=off",
    // A checkpoint in the middle of a short run is noise.
    "checkpoint_timeout=30min",
    "max_wal_size=2GB",
];

/// A password for one run.
pub(crate) fn draw_password() -> String {
    rand::rng().sample_iter(Alphanumeric).take(PASSWORD_LENGTH).map(char::from).collect()
}

/// Without TLS: on this machine it would only be one more question before each connection.
pub(crate) fn url(port: u16, password: &str, database: &str) -> String {
    format!("postgres://{USER}:{password}@127.0.0.1:{port}/{database}?sslmode=disable")
}
