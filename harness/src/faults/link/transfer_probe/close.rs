//! How long a close takes to reach the other side: the service hangs up (downstream), or we do (upstream).

use std::time::{Duration, Instant};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use super::{LIMIT, Way, transfer};
use crate::{
    environment::Endpoints,
    plan::{Service, fault::Direction},
};

/// A close is delayed by a single timer, which never fires early.
const SHARE: f64 = 0.9;

/// `Ok` when a close of this way takes as long as the toxic delays it.
///
/// Downstream, the service is told something that makes it hang up. Upstream, we end our side and wait for the end of the
/// other: the proxy hands our end on after the delay, closes the connection to the service, and that comes back to us.
/// On the way back it passes a toxic on the other direction, too.
pub(super) async fn observe(
    service: Service,
    way: Way,
    direction: Direction,
    delay: Duration,
    at: &Endpoints,
) -> Result<String, String> {
    let turns = if way == Way::Upstream && direction == Direction::Both { 2 } else { 1 };
    let least = (delay * turns).mul_f64(SHARE);
    let address = transfer::address(service, at)?;
    // Not to be closed yet when the time has passed is all there is to be seen.
    let closed = tokio::time::timeout(LIMIT.min(least), close(service, way, &address)).await;
    match closed {
        Err(_) => Ok(format!("a close {way} is not there after {} ms", LIMIT.min(least).as_millis())),
        Ok(Ok(took)) if took >= least => Ok(format!("a close {way} takes {} ms", took.as_millis())),
        Ok(Ok(took)) => Err(format!("a close {way} takes only {} ms", took.as_millis())),
        Ok(Err(error)) => Err(error.to_string()),
    }
}

async fn close(service: Service, way: Way, address: &str) -> Result<Duration, std::io::Error> {
    let mut stream = TcpStream::connect(address).await?;
    let began = Instant::now();
    match way {
        Way::Upstream => stream.shutdown().await?,
        Way::Downstream => stream.write_all(farewell(service)).await?,
    }
    let mut rest = Vec::new();
    match stream.read_to_end(&mut rest).await {
        Ok(_) => Ok(began.elapsed()),
        // However rude, it is a close.
        Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => Ok(began.elapsed()),
        Err(error) => Err(error),
    }
}

/// What makes a service hang up: a start-up message of no known version, QUIT, a request of impossible length.
fn farewell(service: Service) -> &'static [u8] {
    match service {
        Service::Postgres => b"\0\0\0\x08\0\0\0\0",
        Service::Redis => b"QUIT\r\n",
        Service::Kafka => b"\xff\xff\xff\xff",
    }
}
