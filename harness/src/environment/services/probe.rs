//! Does a service answer, in its own protocol, and how fast? Used for readiness, and as evidence that a fault bit.

pub(crate) mod kafka;

use std::time::{Duration, Instant};

use fred::prelude::{Builder, ClientLike, ReconnectPolicy};
use sqlx::{Connection, PgConnection};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use url::Url;

use crate::{
    environment::{addresses::REDIS_PORT, contract::Endpoints},
    plan::Service,
};

/// What a service said, and how long one question and its answer took on a connection that was open already.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) said: String,
    pub(crate) round_trip: Duration,
}

/// Asks a service once, on a connection of its own, within a limit.
pub(crate) async fn ask(service: Service, at: &Endpoints, limit: Duration) -> Result<Answer, String> {
    let answer = async {
        match service {
            Service::Postgres => postgres(&at.postgres_url).await,
            Service::Redis => redis(at, limit).await,
            Service::Kafka => kafka::ask(at, limit).await,
        }
    };
    match tokio::time::timeout(limit, answer).await {
        Ok(answer) => answer,
        Err(_) => Err(format!("{service} did not answer within {} ms", limit.as_millis())),
    }
}

/// Longest answer to one readiness probe; a refused connection is answered at once, and the probe is repeated.
const READY_PROBE_LIMIT: Duration = Duration::from_secs(2);

/// [`ask`], in the form that readiness wants.
pub(crate) async fn answers(service: Service, at: &Endpoints) -> Result<(), String> {
    ask(service, at, READY_PROBE_LIMIT).await.map(drop)
}

async fn postgres(url: &str) -> Result<Answer, String> {
    let mut connection = PgConnection::connect(url).await.map_err(|error| error.to_string())?;
    let asked = Instant::now();
    // Not prepared: one message there, one back.
    sqlx::raw_sql("select 1").execute(&mut connection).await.map_err(|error| error.to_string())?;
    let round_trip = asked.elapsed();
    // A polite end, so that the server's log stays readable; it is not waited for.
    let _ = tokio::time::timeout(Duration::from_millis(50), connection.close()).await;
    Ok(Answer { said: "select 1 answered".to_owned(), round_trip })
}

async fn redis(at: &Endpoints, limit: Duration) -> Result<Answer, String> {
    match plain_redis(&at.redis_url) {
        Some(address) => redis_ping(&address).await,
        None => redis_client(at, limit).await,
    }
}

/// `host:port` of a Redis that wants neither TLS nor a password.
fn plain_redis(url: &str) -> Option<String> {
    let url = Url::parse(url).ok()?;
    let plain = ["redis", "valkey"].contains(&url.scheme())
        && url.username().is_empty()
        && url.password().is_none()
        && ["", "/"].contains(&url.path())
        && url.query().is_none();
    let host = url.host_str().filter(|_| plain)?;
    Some(format!("{host}:{}", url.port().unwrap_or(REDIS_PORT)))
}

/// One PING by hand: a client library asks a dozen questions first, and each would pass through the fault.
async fn redis_ping(address: &str) -> Result<Answer, String> {
    let mut stream = TcpStream::connect(address).await.map_err(|error| error.to_string())?;
    let asked = Instant::now();
    stream.write_all(b"PING\r\n").await.map_err(|error| error.to_string())?;
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n") {
        let mut chunk = [0; 128];
        match stream.read(&mut chunk).await.map_err(|error| error.to_string())? {
            0 => return Err("the connection was closed".to_owned()),
            read => answer.extend_from_slice(&chunk[..read]),
        }
    }
    let round_trip = asked.elapsed();
    match String::from_utf8_lossy(&answer).trim_end() {
        "+PONG" => Ok(Answer { said: "PONG".to_owned(), round_trip }),
        other => Err(other.to_owned()),
    }
}

async fn redis_client(at: &Endpoints, limit: Duration) -> Result<Answer, String> {
    let config = super::redis::config(at).map_err(|error| error.to_string())?;
    let mut builder = Builder::from_config(config);
    builder.set_policy(ReconnectPolicy::new_constant(1, 100)).with_connection_config(|connection| {
        connection.connection_timeout = limit;
        connection.internal_command_timeout = limit;
    });
    let client = builder.build().map_err(|error| error.to_string())?;
    client.init().await.map_err(|error| error.to_string())?;
    let asked = Instant::now();
    let pong = client.ping::<String>(None).await.map_err(|error| error.to_string());
    let round_trip = asked.elapsed();
    let _ = tokio::time::timeout(limit, client.quit()).await;
    pong.map(|said| Answer { said, round_trip })
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    #[test]
    fn what_clients_take_for_an_address_the_probe_does_too() {
        let plain = |url: &str| plain_redis(url);
        for url in ["redis://localhost", "redis://localhost/", "redis://localhost:6379", "valkey://localhost"]
        {
            assert_eq!(plain(url).as_deref(), Some("localhost:6379"), "{url}");
        }
        assert_eq!(plain("redis://[::1]:7000").as_deref(), Some("[::1]:7000"));
        for url in ["redis://:pw@h", "redis://user:p%40ss@h", "redis://h/3", "rediss://h", "valkeys://h"] {
            assert_eq!(plain(url), None, "{url}");
            let at = Endpoints { redis_url: url.to_owned(), ..Endpoints::default() };
            super::super::redis::config(&at).unwrap();
        }
    }

    /// Encrypted addresses of a server that does not speak TLS: an error like any other. With two providers of
    /// cryptography compiled in and none chosen, rustls panics instead.
    #[tokio::test]
    async fn an_encrypted_address_that_fails_is_an_error_and_no_panic() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let server = tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                // `S`: PostgreSQL's yes to TLS. Then no handshake.
                let _ = stream.write_all(b"S").await;
            }
        });
        let at = |query: &str| Endpoints {
            postgres_url: format!("postgres://u:p@127.0.0.1:{port}/chat?sslmode={query}"),
            redis_url: format!("rediss://127.0.0.1:{port}"),
            ..Endpoints::default()
        };
        for mode in ["require", "verify-ca", "verify-full"] {
            ask(Service::Postgres, &at(mode), Duration::from_secs(20)).await.unwrap_err();
        }
        ask(Service::Redis, &at("require"), Duration::from_secs(20)).await.unwrap_err();
        server.abort();
    }
}
