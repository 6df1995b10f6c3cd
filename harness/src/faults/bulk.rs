//! Evidence for toxics that a small round trip does not feel: a transfer of known size, and a close.

use std::time::{Duration, Instant};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::{
    environment::Endpoints,
    faults::{postgres, redis},
    plan::{LinkName, Service, Toxic},
};

/// Size of the transfer: takes a visible time at any bandwidth worth calling a fault, and none without.
const TRANSFER_BYTES: u32 = 32 * 1024;
/// A transfer that takes longer than this is cut off: it has shown what it had to show.
const TRANSFER_LIMIT: Duration = Duration::from_secs(3);
/// Toxics are not exact; a transfer counts when it takes at least this share of what the arithmetic says.
const SHARE: f64 = 0.5;

/// Looks for a toxic on one link. `Ok` tells what shows it.
pub(super) async fn prove(link: LinkName, toxic: &Toxic, at: &Endpoints) -> Result<String, String> {
    match toxic {
        Toxic::SlowClose { delay_ms } => {
            let took = close(link.service, at).await?;
            compare(link, "a close", took, Duration::from_millis(u64::from(*delay_ms)))
        }
        Toxic::LimitData { bytes } => match transfer(link.service, at).await {
            Err(error) => Ok(format!("{link}: a transfer of {TRANSFER_BYTES} bytes was cut: {error}")),
            Ok(took) => Err(format!(
                "{link}: {TRANSFER_BYTES} bytes passed in {} ms, beyond the limit of {bytes}",
                took.as_millis()
            )),
        },
        Toxic::Bandwidth { kbytes_per_s } => {
            let expected = f64::from(TRANSFER_BYTES) / 1_000.0 / f64::from((*kbytes_per_s).max(1));
            slow(link, at, Duration::from_secs_f64(expected)).await
        }
        Toxic::Slicer { average_bytes, delay_us, .. } => {
            let slices = f64::from(TRANSFER_BYTES) / f64::from((*average_bytes).max(1));
            slow(link, at, Duration::from_secs_f64(slices * f64::from(*delay_us) / 1e6)).await
        }
        _ => Err(format!("{link}: a transfer does not show this toxic")),
    }
}

async fn slow(link: LinkName, at: &Endpoints, expected: Duration) -> Result<String, String> {
    match transfer(link.service, at).await {
        Ok(took) => compare(link, "a transfer", took, expected),
        Err(error) if expected >= TRANSFER_LIMIT => Ok(format!("{link}: a transfer does not end: {error}")),
        Err(error) => Err(format!("{link}: the transfer failed: {error}")),
    }
}

fn compare(link: LinkName, what: &str, took: Duration, expected: Duration) -> Result<String, String> {
    let seen = format!("{link}: {what} takes {} ms", took.as_millis());
    if took >= expected.mul_f64(SHARE) { Ok(seen) } else { Err(seen) }
}

async fn transfer(service: Service, at: &Endpoints) -> Result<Duration, String> {
    let began = Instant::now();
    let moved = async {
        match service {
            Service::Postgres => {
                postgres::transfer(&at.postgres_url, TRANSFER_BYTES).await.map_err(|e| e.to_string())
            }
            Service::Redis => redis::transfer(&at.redis_url, TRANSFER_BYTES).await.map_err(|e| e.to_string()),
            Service::Kafka => {
                Err("Kafka has no answer of a known size; use latency or black-hole there".to_owned())
            }
        }
    };
    tokio::time::timeout(TRANSFER_LIMIT, moved).await.map_err(|_| "it does not end".to_owned())??;
    Ok(began.elapsed())
}

/// From "the service closes" to "the client sees it": each service is told something that makes it hang up.
async fn close(service: Service, at: &Endpoints) -> Result<Duration, String> {
    let (url, farewell): (&str, &[u8]) = match service {
        Service::Postgres => (&at.postgres_url, b"\0\0\0\x08\0\0\0\0"),
        Service::Redis => (&at.redis_url, b"QUIT\r\n"),
        Service::Kafka => (&at.kafka_brokers, b"\xff\xff\xff\xff"),
    };
    let address = url.rsplit_once('@').map_or(url, |(_, rest)| rest);
    let address = address.rsplit_once("//").map_or(address, |(_, rest)| rest);
    let address = address.split(['/', ',', '?']).next().unwrap_or(address);
    let closed = async {
        let mut stream = TcpStream::connect(address).await?;
        stream.write_all(farewell).await?;
        let began = Instant::now();
        let mut rest = Vec::new();
        stream.read_to_end(&mut rest).await?;
        Ok::<_, std::io::Error>(began.elapsed())
    };
    let closed =
        tokio::time::timeout(TRANSFER_LIMIT, closed).await.map_err(|_| "it does not close".to_owned())?;
    closed.map_err(|error| error.to_string())
}
