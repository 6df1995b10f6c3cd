//! The Redis bus: the fast path between nodes.
//!
//! Nothing here has to arrive. Whatever the bus loses leaves a gap in the offsets, and the node that misses it reads
//! Kafka. So the publisher drops instead of waiting, and the subscriber would rather begin anew than wonder.

use std::{path::Path, time::Duration};

use fred::{
    clients::{Client, WithOptions},
    error::{Error, ErrorKind},
    interfaces::ClientLike,
    types::{
        Builder,
        config::{
            Config as RedisConfig, Options, ReconnectPolicy, TcpConfig, TlsConfig, TlsConnector,
            UnresponsiveConfig,
        },
    },
};
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, pem::PemObject},
};

use crate::{config::Config, health::Health, limits};

pub mod publisher;
pub mod subscriber;

/// Longest wait for a connection or an answer of Redis.
const ANSWER: Duration = Duration::from_secs(1);

/// Pause between attempts to reach Redis, in milliseconds: short, as every pause is one in which peers read Kafka, or, in
/// the topology `relay`, nothing can be sent.
const REDIAL_MS: u32 = 200;

/// A client that sends: it connects when it can and reconnects until the process ends, and says at once when Redis is
/// away, instead of after it came back. Must be called inside the runtime.
pub(crate) fn sender(config: &Config) -> Result<WithOptions<Client>, Error> {
    let client = builder(config, false)?.set_policy(ReconnectPolicy::new_constant(0, REDIAL_MS)).build()?;
    // Never joined: it ends with the process.
    drop(client.connect());
    let options =
        Options { fail_fast: true, timeout: Some(ANSWER), max_attempts: Some(1), ..Options::default() };
    Ok(client.with_options(&options))
}

/// What both clients have in common. One that does not fail fast asks its policy even for the first connection, and
/// without a policy it then never connects at all.
fn builder(config: &Config, fail_fast: bool) -> Result<Builder, Error> {
    let mut redis = RedisConfig::from_url(&config.redis_url)?;
    if redis.tls.is_some()
        && let Some(ca) = &config.redis_ca
    {
        redis.tls = Some(trusting(ca)?);
    }
    redis.fail_fast = fail_fast;
    let mut builder = Builder::from_config(redis);
    builder
        .with_connection_config(|connection| {
            connection.connection_timeout = ANSWER;
            connection.internal_command_timeout = ANSWER;
            connection.max_command_attempts = 1;
            connection.max_command_buffer_len = limits::BUS_QUEUE * 2;
            // A black hole answers nothing and resets nothing.
            connection.unresponsive =
                UnresponsiveConfig { max_timeout: Some(ANSWER * 2), interval: ANSWER / 2 };
            connection.tcp = TcpConfig { nodelay: Some(true), ..TcpConfig::default() };
        })
        .with_performance_config(|performance| {
            performance.default_command_timeout = ANSWER;
            // The default of 32 loses messages in every burst.
            performance.broadcast_channel_capacity = limits::BUS_INBOUND;
        });
    Ok(builder)
}

/// Keeps what Redis said against us, if that is what an error is, and what would change its mind.
fn tell(error: &Error, channel: &str, health: &Health) {
    let said = error.details();
    if said.starts_with("NOPERM") {
        health.refused("redis", format!("{said}; grant it: ACL SETUSER <user> &{channel}"));
    } else if *error.kind() == ErrorKind::Auth {
        health.refused("redis", said.to_owned());
    }
}

/// TLS that trusts the authorities in a file, and no others.
fn trusting(ca: &Path) -> Result<TlsConfig, Error> {
    let unusable = |why: String| Error::new(ErrorKind::Tls, format!("the CA file {}: {why}", ca.display()));
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(ca).map_err(|error| unusable(error.to_string()))? {
        let certificate = certificate.map_err(|error| unusable(error.to_string()))?;
        roots.add(certificate).map_err(|error| unusable(error.to_string()))?;
    }
    if roots.is_empty() {
        return Err(unusable("it holds no certificate".to_owned()));
    }
    let tls = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    Ok(TlsConnector::from(tls).into())
}
