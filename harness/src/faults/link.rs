//! Faults on links, and what a probe sees of a link: whether it accepts, whether a question through it is answered, and
//! how fast.
//!
//! A link that refuses, one that is silent and one that cuts are three different things, and each fault must show its
//! own: a black hole is not proved by a link that another fault holds down.

mod down;
mod half_close;
mod loss;
mod ramp;
mod toxic;
mod transfer_probe;

use std::time::{Duration, Instant};

use tokio::net::TcpStream;

pub(super) use self::{down::Down, half_close::HalfClose, loss::PacketLoss, toxic::LinkToxic};
use super::{PROBE_LIMIT, SystemUnderTest};
use crate::plan::LinkName;

/// A round trip through a healthy proxy stays below this even on a busy two-core machine.
const HEALTHY_ROUND_TRIP: Duration = Duration::from_millis(1_000);

/// What a probe met on one link.
struct Observation {
    /// Whether the near end took a connection.
    accepts: Result<(), String>,
    /// The round trip of one question, or what came instead.
    answer: Result<Duration, String>,
    /// True when nothing came for as long as the probe waits.
    silent: bool,
}

async fn observe(link: LinkName, sut: &SystemUnderTest, limit: Duration) -> Observation {
    let accepts = async {
        let address = sut.environment.proxies().address(link).map_err(|error| error.to_string())?;
        match tokio::time::timeout(PROBE_LIMIT, TcpStream::connect(address)).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err("neither accepts nor refuses".to_owned()),
        }
    };
    let accepts = accepts.await;
    let asked = Instant::now();
    let answer = sut.environment.probe_link(link, limit).await;
    let silent = answer.is_err() && asked.elapsed() >= limit.mul_f64(0.95);
    Observation { accepts, answer, silent }
}

/// Looks for links that are up again. Toxics of other faults may keep them from answering.
async fn up(links: &[LinkName], sut: &SystemUnderTest) -> Result<String, String> {
    well(links, sut, |seen| seen.accepts.clone()).await
}

/// Looks for links that answer quickly, or have an excuse: something else is in force on them.
async fn well(
    links: &[LinkName],
    sut: &SystemUnderTest,
    least: impl Fn(&Observation) -> Result<(), String>,
) -> Result<String, String> {
    let observations =
        links.iter().map(|link| async move { (*link, observe(*link, sut, PROBE_LIMIT).await) });
    let mut texts = Vec::new();
    for (link, seen) in futures_util::future::join_all(observations).await {
        least(&seen).map_err(|error| format!("{link} {error}"))?;
        let ill = match &seen.answer {
            Ok(took) if *took < HEALTHY_ROUND_TRIP => {
                texts.push(format!("{link} answers in {} ms", took.as_millis()));
                continue;
            }
            Ok(took) => format!("{link} still takes {} ms", took.as_millis()),
            Err(error) => format!("{link} {error}"),
        };
        match others(link, sut).await? {
            Some(others) => texts.push(format!("{link} is rid of it; {others}")),
            None => return Err(ill),
        }
    }
    short(texts)
}

/// What the proxy says is in force on a link. The fault that asks has taken its own off by then, and read that back.
async fn others(link: LinkName, sut: &SystemUnderTest) -> Result<Option<String>, String> {
    let state = sut.environment.proxies().state(link).await.map_err(|error| error.to_string())?;
    if !state.enabled {
        return Ok(Some("another fault holds it down".to_owned()));
    }
    let toxics: Vec<String> = state.toxics.iter().map(ToString::to_string).collect();
    Ok((!toxics.is_empty()).then(|| format!("other faults leave {} on it", toxics.join(" and "))))
}

async fn each(
    links: &[LinkName],
    sut: &SystemUnderTest,
    limit: Duration,
    judge: impl Fn(LinkName, Observation) -> Result<String, String>,
) -> Result<String, String> {
    let observations = links.iter().map(|link| async move { (*link, observe(*link, sut, limit).await) });
    let mut texts = Vec::new();
    for (link, seen) in futures_util::future::join_all(observations).await {
        match judge(link, seen) {
            Ok(text) => texts.push(format!("{link} {text}")),
            Err(text) => return Err(format!("{link} {text}")),
        }
    }
    short(texts)
}

/// The first lines stand for all.
fn short(texts: Vec<String>) -> Result<String, String> {
    match texts.as_slice() {
        [] => Err("no link was probed".to_owned()),
        [_] | [_, _] => Ok(texts.join("; ")),
        [first, rest @ ..] => Ok(format!("{first}; so do {} more links", rest.len())),
    }
}
