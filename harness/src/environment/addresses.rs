//! Addresses of services as URLs: the place they name, and the same address through a proxy.

use std::{borrow::Cow, net::SocketAddr};

use url::Url;

use super::{contract::External, error::EnvironmentError};
use crate::plan::Service;

/// Where PostgreSQL listens when an address does not say.
pub(crate) const POSTGRES_PORT: u16 = 5432;
/// Where Redis does.
pub(crate) const REDIS_PORT: u16 = 6379;
/// Where Kafka does.
pub(crate) const KAFKA_PORT: u16 = 9092;

/// `host:port` of a managed service.
///
/// # Errors
///
/// [`EnvironmentError::Address`] without the address itself, as it holds a password.
pub(crate) fn authority(service: Service, external: &External) -> Result<String, EnvironmentError> {
    let (address, schemes, port): (_, &[&str], _) = match service {
        Service::Postgres => (&external.postgres_url, &["postgres", "postgresql"], POSTGRES_PORT),
        Service::Redis | Service::Kafka => {
            (&external.redis_url, &["redis", "rediss", "valkey", "valkeys"], REDIS_PORT)
        }
    };
    let unusable = |reason: String| EnvironmentError::Address { what: service.name(), reason };
    let url =
        Url::parse(address).map_err(|error| unusable(format!("it is not a URL of one host: {error}")))?;
    if !schemes.contains(&url.scheme()) {
        // Whatever stands there may be the beginning of a password.
        return Err(unusable(format!("it does not begin with {}://", schemes[0])));
    }
    let elsewhere = |key: &str| service == Service::Postgres && ["host", "hostaddr", "port"].contains(&key);
    if url.query_pairs().any(|(key, _)| elsewhere(&key)) {
        return Err(unusable("host and port belong before the path, not behind the `?`".to_owned()));
    }
    match url.host_str() {
        Some(host) if !host.is_empty() && !host.contains(',') => {
            Ok(format!("{host}:{}", url.port().unwrap_or(port)))
        }
        _ => Err(unusable("it must name one host".to_owned())),
    }
}

/// Whether a PostgreSQL client compares the certificate with the name.
pub(crate) fn verifies_name(postgres_url: &str) -> bool {
    let mode = |(key, value): &(Cow<'_, str>, Cow<'_, str>)| {
        ["sslmode", "ssl-mode"].contains(&key.as_ref()) && value.eq_ignore_ascii_case("verify-full")
    };
    Url::parse(postgres_url).is_ok_and(|url| url.query_pairs().any(|pair| mode(&pair)))
}

/// Whether a Redis client uses TLS; it then always compares the certificate with the name.
pub(crate) fn encrypted(redis_url: &str) -> bool {
    redis_url.starts_with("rediss://") || redis_url.starts_with("valkeys://")
}

/// The same URL, through a proxy.
pub(crate) fn redirect(address: &str, proxy: SocketAddr) -> String {
    let redirected = || {
        let mut url = Url::parse(address).ok()?;
        url.set_host(Some(&proxy.ip().to_string())).ok()?;
        url.set_port(Some(proxy.port())).ok()?;
        Some(url.to_string())
    };
    redirected().unwrap_or_else(|| address.to_owned())
}

/// The same PostgreSQL URL, with a name that `pg_stat_activity` shows; a name that was there gives way.
pub(crate) fn name_application(address: &str, name: &str) -> String {
    with_parameter(address, "application_name", name)
}

/// The same URL with a parameter; one of that name that was there gives way.
pub(crate) fn with_parameter(address: &str, key: &str, value: &str) -> String {
    let Ok(mut url) = Url::parse(address) else { return address.to_owned() };
    let kept: Vec<(String, String)> = url
        .query_pairs()
        .filter(|(name, _)| name != key)
        .map(|(name, value)| (name.into(), value.into()))
        .collect();
    url.query_pairs_mut().clear().extend_pairs(kept).append_pair(key, value);
    url.to_string()
}

/// The same URL without its password, for people.
pub fn without_password(address: &str) -> String {
    let Ok(mut url) = Url::parse(address) else { return "(an address that is not a URL)".to_owned() };
    if url.password().is_some() {
        // Refused for URLs that can have none.
        let _ = url.set_password(Some("***"));
    }
    url.to_string()
}

/// `host:port` of each of Kafka's bootstrap servers, as librdkafka reads them: with a protocol in front or not, the port
/// said or not.
pub(crate) fn bootstrap(brokers: &str) -> Vec<String> {
    let one = |entry: &str| {
        let entry = entry.split_once("://").map_or(entry, |(_, address)| address);
        let named = entry.rsplit_once(']').map_or(entry, |(_, port)| port).contains(':');
        if named { entry.to_owned() } else { format!("{entry}:{KAFKA_PORT}") }
    };
    brokers.split(',').map(str::trim).filter(|entry| !entry.is_empty()).map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(postgres: &str) -> External {
        External::at(postgres, "redis://cache.example/0")
    }

    #[test]
    fn a_url_is_redirected_and_keeps_the_rest() {
        let proxy = "127.0.0.1:20001".parse().unwrap();
        let url = "postgres://avnadmin:p%40ss@pg.example.com:23456/defaultdb?sslmode=require";
        assert_eq!(
            redirect(url, proxy),
            "postgres://avnadmin:p%40ss@127.0.0.1:20001/defaultdb?sslmode=require"
        );
        assert_eq!(redirect("redis://cache.example", proxy), "redis://127.0.0.1:20001");
    }

    #[test]
    fn the_default_port_is_added() {
        assert_eq!(
            authority(Service::Postgres, &at("postgres://u:p@db.example/chat")).unwrap(),
            "db.example:5432"
        );
        assert_eq!(authority(Service::Postgres, &at("postgres://u:p@[::1]:99/chat")).unwrap(), "[::1]:99");
        assert_eq!(authority(Service::Redis, &at("postgres://x/y")).unwrap(), "cache.example:6379");
    }

    #[test]
    fn bootstrap_servers_are_read_as_librdkafka_reads_them() {
        let read = bootstrap("127.0.0.1:1, PLAINTEXT://h:9093,localhost,[::1],SASL_SSL://[::1]:7,");
        assert_eq!(read, ["127.0.0.1:1", "h:9093", "localhost:9092", "[::1]:9092", "[::1]:7"]);
    }

    #[test]
    fn a_password_is_not_for_people() {
        assert_eq!(without_password("redis://u:p%40ss@h:1/0"), "redis://u:***@h:1/0");
        assert_eq!(without_password("redis://h"), "redis://h");
    }

    #[test]
    fn the_application_name_is_replaced() {
        assert_eq!(name_application("postgres://h/d", "node-1"), "postgres://h/d?application_name=node-1");
        let named = name_application("postgres://h/d?application_name=a&sslmode=require", "b");
        assert_eq!(named, "postgres://h/d?sslmode=require&application_name=b");
    }
}
