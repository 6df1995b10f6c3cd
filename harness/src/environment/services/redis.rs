//! How Redis is set up, whoever runs it.

/// Settings that differ from the defaults, as arguments: no persistence, as Pub/Sub needs none.
pub(crate) const SETTINGS: [&str; 6] = ["--save", "", "--appendonly", "no", "--daemonize", "no"];

/// Without password and TLS: it listens on this machine alone.
pub(crate) fn url(port: u16) -> String {
    format!("redis://127.0.0.1:{port}")
}
