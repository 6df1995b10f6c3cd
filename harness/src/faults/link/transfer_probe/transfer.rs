//! Bytes of a known number through a link, one way: the other carries next to nothing meanwhile.

use std::{
    fmt, io,
    time::{Duration, Instant},
};

use sqlx::PgConnection;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::{environment::Endpoints, faults::postgres, plan::Service};

/// Longest client id in one Kafka request; the protocol allows 32,767 bytes.
const CLIENT_ID_BYTES: u32 = 30_000;
/// Kafka's answer to `ApiVersions` takes at least this many bytes: some sixty requests it knows, six bytes each.
const API_VERSIONS_BYTES: u32 = 300;
/// Questions asked at once to make Kafka talk.
const QUESTIONS: u32 = 64;
/// Largest single answer read into memory.
const ANSWER_BYTES: usize = 1024 * 1024;

/// One way through a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::faults) enum Way {
    /// From the process to the service.
    Upstream,
    /// From the service to the process.
    Downstream,
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Upstream => "upstream",
            Self::Downstream => "downstream",
        })
    }
}

/// Why bytes did not arrive.
#[derive(Debug, thiserror::Error)]
pub(in crate::faults) enum Failed {
    /// Nobody accepts: the link is down.
    #[error("refused: {0}")]
    Refused(String),
    /// The connection was there, and ended.
    #[error("cut: {0}")]
    Cut(String),
    /// The connection is there, and nothing came in this time.
    #[error("nothing within {} ms", .0.as_millis())]
    Silent(Duration),
    /// The service said something else.
    #[error("{0}")]
    Other(String),
}

impl From<io::Error> for Failed {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::ConnectionRefused => Self::Refused(error.to_string()),
            _ => Self::Cut(error.to_string()),
        }
    }
}

impl From<sqlx::Error> for Failed {
    fn from(error: sqlx::Error) -> Self {
        match error {
            sqlx::Error::Io(error) => error.into(),
            sqlx::Error::Protocol(error) => Self::Cut(error),
            other => Self::Other(other.to_string()),
        }
    }
}

/// A connection of our own on which the service has answered once.
pub(in crate::faults) enum Session {
    Postgres(Box<PgConnection>),
    Redis(TcpStream),
    Kafka(TcpStream),
}

impl Session {
    pub(in crate::faults) async fn open(
        service: Service,
        at: &Endpoints,
        limit: Duration,
    ) -> Result<Self, Failed> {
        let open = async {
            match service {
                Service::Postgres => Ok(Self::Postgres(Box::new(postgres::connect(&at.postgres_url).await?))),
                Service::Redis => redis(at).await.map(Self::Redis),
                Service::Kafka => {
                    let address = address(service, at).map_err(Failed::Other)?;
                    let mut stream = TcpStream::connect(address).await?;
                    ask_kafka(&mut stream, &api_versions(0), 1).await?;
                    Ok(Self::Kafka(stream))
                }
            }
        };
        tokio::time::timeout(limit, open).await.unwrap_or(Err(Failed::Silent(limit)))
    }

    /// Carries at least this many bytes one way; returns how long it took.
    pub(in crate::faults) async fn carry(
        &mut self,
        way: Way,
        bytes: u32,
        limit: Duration,
    ) -> Result<Duration, Failed> {
        let began = Instant::now();
        let carry = async {
            match self {
                Self::Postgres(session) => through_postgres(session, way, bytes).await,
                Self::Redis(stream) => through_redis(stream, way, bytes).await,
                Self::Kafka(stream) => through_kafka(stream, way, bytes).await,
            }
        };
        tokio::time::timeout(limit, carry).await.unwrap_or(Err(Failed::Silent(limit)))?;
        Ok(began.elapsed())
    }
}

/// `host:port` of a service.
pub(super) fn address(service: Service, at: &Endpoints) -> Result<String, String> {
    let url = match service {
        Service::Postgres => &at.postgres_url,
        Service::Redis => &at.redis_url,
        Service::Kafka => {
            return Ok(at.kafka_brokers.split(',').next().unwrap_or_default().to_owned());
        }
    };
    let url = reqwest::Url::parse(url).map_err(|error| error.to_string())?;
    let default = if service == Service::Redis { 6379 } else { 5432 };
    let host = url.host_str().ok_or("the address names no host")?;
    Ok(format!("{host}:{}", url.port().unwrap_or(default)))
}

async fn through_postgres(session: &mut PgConnection, way: Way, bytes: u32) -> Result<(), Failed> {
    let count = i32::try_from(bytes).unwrap_or(i32::MAX);
    match way {
        Way::Upstream => {
            let text = "x".repeat(bytes as usize);
            let seen: i32 =
                sqlx::query_scalar("select length($1)").bind(text).fetch_one(&mut *session).await?;
            if seen != count {
                return Err(Failed::Other(format!("PostgreSQL saw {seen} bytes")));
            }
        }
        Way::Downstream => {
            let text: String =
                sqlx::query_scalar("select repeat('x', $1)").bind(count).fetch_one(&mut *session).await?;
            if text.len() != bytes as usize {
                return Err(Failed::Other(format!("PostgreSQL sent {} bytes", text.len())));
            }
        }
    }
    Ok(())
}

/// By hand, as a client library asks a dozen questions first. `rediss://` is never asked this way (`supports`).
async fn redis(at: &Endpoints) -> Result<TcpStream, Failed> {
    let mut stream = TcpStream::connect(address(Service::Redis, at).map_err(Failed::Other)?).await?;
    let parsed = reqwest::Url::parse(&at.redis_url).map_err(|error| Failed::Other(error.to_string()))?;
    if let Some(password) = parsed.password() {
        let user = if parsed.username().is_empty() { "default" } else { parsed.username() };
        stream.write_all(&command(&[b"AUTH", user.as_bytes(), password.as_bytes()])).await?;
        line(&mut stream).await?;
    }
    stream.write_all(&command(&[b"PING"])).await?;
    line(&mut stream).await?;
    Ok(stream)
}

/// A publication that nobody listens to carries bytes up; a script that repeats a letter carries them down.
async fn through_redis(stream: &mut TcpStream, way: Way, bytes: u32) -> Result<(), Failed> {
    match way {
        Way::Upstream => {
            let body = vec![b'x'; bytes as usize];
            stream.write_all(&command(&[b"PUBLISH", b"squall.probe", &body])).await?;
            line(stream).await?;
        }
        Way::Downstream => {
            let count = bytes.to_string();
            let script = b"return string.rep('x', ARGV[1])";
            stream.write_all(&command(&[b"EVAL", script, b"0", count.as_bytes()])).await?;
            if line(stream).await? != format!("${count}") {
                return Err(Failed::Other("Redis announced another length".to_owned()));
            }
            let mut rest = vec![0; bytes as usize + 2];
            stream.read_exact(&mut rest).await?;
        }
    }
    Ok(())
}

/// A command of the Redis protocol.
fn command(words: &[&[u8]]) -> Vec<u8> {
    let mut text = format!("*{}\r\n", words.len()).into_bytes();
    for word in words {
        text.extend(format!("${}\r\n", word.len()).into_bytes());
        text.extend_from_slice(word);
        text.extend_from_slice(b"\r\n");
    }
    text
}

/// One line of an answer, without its end.
async fn line(stream: &mut TcpStream) -> Result<String, Failed> {
    let mut text = Vec::new();
    while !text.ends_with(b"\r\n") {
        text.push(stream.read_u8().await?);
    }
    text.truncate(text.len() - 2);
    let text = String::from_utf8_lossy(&text).into_owned();
    if text.starts_with('-') { Err(Failed::Other(text)) } else { Ok(text) }
}

/// A long client id carries bytes up; many questions carry bytes down.
async fn through_kafka(stream: &mut TcpStream, way: Way, bytes: u32) -> Result<(), Failed> {
    let mut left = bytes;
    while left > 0 {
        let carried = match way {
            Way::Upstream => {
                let request = api_versions(left.min(CLIENT_ID_BYTES));
                ask_kafka(stream, &request, 1).await?;
                u32::try_from(request.len()).unwrap_or(u32::MAX)
            }
            Way::Downstream => {
                let questions = (left / API_VERSIONS_BYTES).clamp(1, QUESTIONS);
                ask_kafka(stream, &api_versions(0).repeat(questions as usize), questions).await?
            }
        };
        left = left.saturating_sub(carried);
    }
    Ok(())
}

/// Sends requests and reads their answers; returns the bytes of the answers.
async fn ask_kafka(stream: &mut TcpStream, requests: &[u8], answers: u32) -> Result<u32, Failed> {
    stream.write_all(requests).await?;
    let mut bytes = 0;
    for _ in 0..answers {
        let length = stream.read_i32().await?;
        let length = usize::try_from(length).ok().filter(|length| *length <= ANSWER_BYTES);
        let length = length.ok_or_else(|| Failed::Other("it does not speak Kafka's protocol".to_owned()))?;
        let mut answer = vec![0; length];
        stream.read_exact(&mut answer).await?;
        bytes += u32::try_from(length + 4).unwrap_or(u32::MAX);
    }
    Ok(bytes)
}

/// An `ApiVersions` request, version 0, with a client id of this length. Its length is in front.
fn api_versions(client_id_bytes: u32) -> Vec<u8> {
    let client = "x".repeat(client_id_bytes as usize);
    let mut body = Vec::with_capacity(client.len() + 14);
    body.extend(18_i16.to_be_bytes()); // ApiVersions
    body.extend(0_i16.to_be_bytes()); // its version
    body.extend(1_i32.to_be_bytes()); // correlation id
    body.extend(i16::try_from(client.len()).unwrap_or(i16::MAX).to_be_bytes());
    body.extend(client.as_bytes());
    let mut request = i32::try_from(body.len()).unwrap_or(i32::MAX).to_be_bytes().to_vec();
    request.append(&mut body);
    request
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_say_their_own_length() {
        let request = api_versions(CLIENT_ID_BYTES);
        assert_eq!(i32::from_be_bytes(request[..4].try_into().unwrap()) as usize, request.len() - 4);
        assert_eq!(command(&[b"PING"]), b"*1\r\n$4\r\nPING\r\n");
    }

    #[test]
    fn addresses_are_found_in_urls() {
        let at = Endpoints {
            postgres_url: "postgres://chat:secret@127.0.0.1:20001/chat?sslmode=disable".to_owned(),
            redis_url: "redis://127.0.0.1".to_owned(),
            kafka_brokers: "127.0.0.1:20003,127.0.0.1:20004".to_owned(),
            ..Endpoints::default()
        };
        assert_eq!(address(Service::Postgres, &at).unwrap(), "127.0.0.1:20001");
        assert_eq!(address(Service::Redis, &at).unwrap(), "127.0.0.1:6379");
        assert_eq!(address(Service::Kafka, &at).unwrap(), "127.0.0.1:20003");
    }
}
