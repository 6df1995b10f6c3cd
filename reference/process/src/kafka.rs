//! Kafka clients: what every one begins with, and what of librdkafka's own log is worth a line.

use rdkafka::{
    ClientConfig,
    client::ClientContext,
    config::RDKafkaLogLevel,
    consumer::ConsumerContext,
    error::{KafkaError, RDKafkaErrorCode},
};

/// What every client begins with: where, how eager to come back, and how secured. `options` win.
pub fn client(brokers: &str, client_id: &str, options: &[(String, String)]) -> ClientConfig {
    let mut client = ClientConfig::new();
    client
        .set("bootstrap.servers", brokers)
        .set("client.id", client_id)
        .set("ssl.ca.location", authorities())
        // After an outage the defaults wait up to ten seconds before they try again.
        .set("reconnect.backoff.ms", "50")
        .set("reconnect.backoff.max.ms", "1000")
        .set("retry.backoff.max.ms", "1000")
        // A connection that was black-holed without a reset is noticed by this; the default is a minute.
        .set("socket.timeout.ms", "6000")
        .set("socket.connection.setup.timeout.ms", "3000")
        .set("socket.keepalive.enable", "true")
        // A topic or partition that appears is seen within this; the default is five minutes.
        .set("topic.metadata.refresh.interval.ms", "5000")
        .set("log.connection.close", "false");
    for (key, value) in options {
        client.set(key, value);
    }
    client
}

/// Where librdkafka is to look for authorities, as everything else here does: in the file that the caller names, or in what
/// the system has. By itself it looks where the OpenSSL that is built into it would have been installed.
fn authorities() -> String {
    let named = std::env::var("SSL_CERT_FILE").ok().filter(|named| !named.is_empty());
    named.unwrap_or_else(|| "probe".to_owned())
}

/// Reads `KEY=VALUE`, a librdkafka setting. A value may hold commas, and a password may end in a space.
///
/// # Errors
///
/// There is no `=`, or no key.
pub fn option(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.trim().is_empty() => Ok((key.trim().to_owned(), value.to_owned())),
        _ => Err("must be KEY=VALUE".to_owned()),
    }
}

/// Logs as [`log`] and [`log_error`] do, for clients that need nothing else of a context.
#[derive(Debug)]
pub struct Quiet;

impl ClientContext for Quiet {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, line: &str) {
        log(level, facility, line);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        log_error(&error, reason);
    }
}

impl ConsumerContext for Quiet {}

/// Passes a line of librdkafka's own log on.
pub fn log(level: RDKafkaLogLevel, facility: &str, line: &str) {
    match level {
        // One for each connection attempt, and one for each partition of a refused commit. The process tells both in its
        // own words: `readiness` says that Kafka is away, and the commit callback says why a commit was refused.
        _ if facility == "FAIL" || facility == "COMMITFAIL" => tracing::debug!(facility, line, "librdkafka"),
        RDKafkaLogLevel::Emerg
        | RDKafkaLogLevel::Alert
        | RDKafkaLogLevel::Critical
        | RDKafkaLogLevel::Error => tracing::error!(facility, line, "librdkafka"),
        RDKafkaLogLevel::Warning => tracing::warn!(facility, line, "librdkafka"),
        RDKafkaLogLevel::Notice => tracing::info!(facility, line, "librdkafka"),
        RDKafkaLogLevel::Info | RDKafkaLogLevel::Debug => tracing::debug!(facility, line, "librdkafka"),
    }
}

/// Tells of an error that librdkafka deals with by itself.
pub fn log_error(error: &KafkaError, reason: &str) {
    if is_outage(error) {
        tracing::debug!(%error, reason, "kafka");
    } else {
        tracing::warn!(%error, reason, "kafka");
    }
}

/// True for what is said many times a second while the brokers are away. `readiness` says it once.
pub fn is_outage(error: &KafkaError) -> bool {
    matches!(
        error.rdkafka_error_code(),
        Some(
            RDKafkaErrorCode::AllBrokersDown
                | RDKafkaErrorCode::BrokerTransportFailure
                | RDKafkaErrorCode::OperationTimedOut
                | RDKafkaErrorCode::Resolve
        )
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_option_is_one_option_commas_and_all() {
        let pair = |key: &str, value: &str| Ok((key.to_owned(), value.to_owned()));
        assert_eq!(option("debug=broker,security"), pair("debug", "broker,security"));
        assert_eq!(option("sasl.password=a=b "), pair("sasl.password", "a=b "));
        assert!(option("sasl.password").is_err() && option("=x").is_err());
    }
}
