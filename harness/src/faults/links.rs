//! Evidence on links: whether a link accepts, whether a question through it is answered, and how fast.
//!
//! A link that refuses, one that is silent and one that cuts are three different things, and each fault must show its
//! own: a black hole is not proved by a link that another fault holds down.

use std::time::{Duration, Instant};

use futures_util::{StreamExt, stream};
use tokio::net::TcpStream;

use crate::{
    faults::{Field, bulk, evidence::PROBE_LIMIT},
    plan::{LinkName, Service, Toxic, fault::Direction},
};

/// A round trip through a healthy proxy stays below this even on a busy two-core machine.
const HEALTHY_ROUND_TRIP: Duration = Duration::from_millis(1_000);

/// A probe of a slow link waits no longer than this.
const SLOW_PROBE_LIMIT: Duration = Duration::from_millis(3_500);

/// Round trips before PostgreSQL answers its first question: TLS refused, start-up, three of the password, the question.
const POSTGRES_TRIPS: u32 = 7;

/// Bulk probes of healthy links at once: together they must not be what makes the links slow.
const BULK_AT_ONCE: usize = 2;

/// What a probe met on one link.
struct Seen {
    /// Whether the near end took a connection.
    accepts: Result<(), String>,
    /// The round trip of one question, or what came instead.
    answer: Result<Duration, String>,
    /// True when nothing came for as long as the probe waits.
    silent: bool,
}

async fn look(link: LinkName, field: &Field, limit: Duration) -> Seen {
    let accepts = async {
        let address = field.environment.proxies().address(link).map_err(|error| error.to_string())?;
        match tokio::time::timeout(PROBE_LIMIT, TcpStream::connect(address)).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err("neither accepts nor refuses".to_owned()),
        }
    };
    let accepts = accepts.await;
    let asked = Instant::now();
    let answer = field.environment.probe_link(link, limit).await;
    let silent = answer.is_err() && asked.elapsed() >= limit.mul_f64(0.95);
    Seen { accepts, answer, silent }
}

/// Looks for links that are down: they refuse.
pub(super) async fn down(links: &[LinkName], field: &Field) -> Result<String, String> {
    each(links, field, PROBE_LIMIT, |_, seen| match (seen.accepts, seen.answer) {
        (Err(error), Err(_)) => Ok(format!("refused: {error}")),
        (Ok(()), Err(error)) => Err(format!("accepts, though it does not answer: {error}")),
        (_, Ok(took)) => Err(format!("answered in {} ms", took.as_millis())),
    })
    .await
}

/// Looks for links that are up again. Toxics of other faults may keep them from answering.
pub(super) async fn up(links: &[LinkName], field: &Field) -> Result<String, String> {
    well(links, field, |seen| seen.accepts.clone()).await
}

/// Looks for a toxic on every one of the links.
pub(super) async fn prove(
    links: &[LinkName],
    toxic: &Toxic,
    direction: Direction,
    field: &Field,
) -> Result<String, String> {
    match toxic {
        Toxic::Latency { latency_ms, jitter_ms } => {
            latency(links, *latency_ms, *jitter_ms, direction, field).await
        }
        Toxic::BlackHole | Toxic::Reset { .. } => {
            let silence = matches!(toxic, Toxic::BlackHole);
            each(links, field, PROBE_LIMIT, |_, seen| match (seen.accepts, seen.answer) {
                (Ok(()), Err(error)) if seen.silent == silence => Ok(format!("accepts, and then: {error}")),
                (Ok(()), Err(error)) if silence => Err(format!("is cut, not silent: {error}")),
                (Ok(()), Err(error)) => Err(format!("is silent, not cut: {error}")),
                (Err(error), _) => Err(format!("does not even accept: {error}")),
                (_, Ok(took)) => Err(format!("answers in {} ms", took.as_millis())),
            })
            .await
        }
        Toxic::Bandwidth { .. }
        | Toxic::Slicer { .. }
        | Toxic::LimitData { .. }
        | Toxic::SlowClose { .. } => {
            let looks = links
                .iter()
                .map(|link| async move { bulk::prove(*link, toxic, direction, &ends(*link, field)).await });
            let seen: Result<Vec<String>, String> =
                futures_util::future::join_all(looks).await.into_iter().collect();
            short(seen?)
        }
    }
}

fn ends(link: LinkName, field: &Field) -> bulk::Ends {
    bulk::Ends { through: field.environment.endpoints(link.process), past: field.environment.verifier() }
}

async fn latency(
    links: &[LinkName],
    latency_ms: u32,
    jitter_ms: u32,
    direction: Direction,
    field: &Field,
) -> Result<String, String> {
    // Jitter may take away as much as it adds; both directions are each held back once per round trip.
    let turns = if direction == Direction::Both { 2 } else { 1 };
    let least = Duration::from_millis(u64::from(latency_ms.saturating_sub(jitter_ms)) * turns);
    let most = Duration::from_millis(u64::from(latency_ms.saturating_add(jitter_ms)) * turns);
    let postgres = links.iter().any(|link| link.service == Service::Postgres);
    let trips = if postgres { POSTGRES_TRIPS } else { 1 };
    let limit = SLOW_PROBE_LIMIT.min(PROBE_LIMIT + most * trips);
    each(links, field, limit, |link, seen| {
        let trips = if link.service == Service::Postgres { POSTGRES_TRIPS } else { 1 };
        match (seen.accepts, seen.answer) {
            (_, Ok(took)) if took >= least => Ok(format!("a round trip takes {} ms", took.as_millis())),
            (_, Ok(took)) => Err(format!("a round trip takes only {} ms", took.as_millis())),
            // Silence shows a latency only where its arithmetic leaves no answer within the limit.
            (Ok(()), Err(error)) if seen.silent && least * trips >= limit => {
                Ok(format!("no round trip within the probe's limit: {error}"))
            }
            (Ok(()), Err(error)) => Err(format!("does not answer: {error}")),
            (Err(error), Err(_)) => Err(format!("does not even accept: {error}")),
        }
    })
    .await
}

/// The contrary of [`prove`]. Other faults may be in force on the same links; then they are named, and what they hide is
/// theirs to show when they end.
pub(super) async fn gone(
    links: &[LinkName],
    toxic: &Toxic,
    direction: Direction,
    field: &Field,
) -> Result<String, String> {
    let seen = well(links, field, |_| Ok(())).await?;
    if bulk::shows(toxic) {
        let mut looks = stream::iter(links.to_vec())
            .map(|link| async move {
                if others(link, field).await?.is_some() {
                    return Ok(());
                }
                bulk::gone(link, toxic, direction, &ends(link, field)).await
            })
            .buffer_unordered(BULK_AT_ONCE);
        while let Some(looked) = looks.next().await {
            looked?;
        }
    }
    Ok(seen)
}

/// Looks for links that answer quickly, or have an excuse: something else is in force on them.
async fn well(
    links: &[LinkName],
    field: &Field,
    least: impl Fn(&Seen) -> Result<(), String>,
) -> Result<String, String> {
    let looks = links.iter().map(|link| async move { (*link, look(*link, field, PROBE_LIMIT).await) });
    let mut texts = Vec::new();
    for (link, seen) in futures_util::future::join_all(looks).await {
        least(&seen).map_err(|error| format!("{link} {error}"))?;
        let ill = match &seen.answer {
            Ok(took) if *took < HEALTHY_ROUND_TRIP => {
                texts.push(format!("{link} answers in {} ms", took.as_millis()));
                continue;
            }
            Ok(took) => format!("{link} still takes {} ms", took.as_millis()),
            Err(error) => format!("{link} {error}"),
        };
        match others(link, field).await? {
            Some(others) => texts.push(format!("{link} is rid of it; {others}")),
            None => return Err(ill),
        }
    }
    short(texts)
}

/// What the proxy says is in force on a link. The fault that asks has taken its own off by then, and read that back.
async fn others(link: LinkName, field: &Field) -> Result<Option<String>, String> {
    let state = field.environment.proxies().state(link).await.map_err(|error| error.to_string())?;
    if !state.enabled {
        return Ok(Some("another fault holds it down".to_owned()));
    }
    let toxics: Vec<String> = state.toxics.iter().map(ToString::to_string).collect();
    Ok((!toxics.is_empty()).then(|| format!("other faults leave {} on it", toxics.join(" and "))))
}

async fn each(
    links: &[LinkName],
    field: &Field,
    limit: Duration,
    judge: impl Fn(LinkName, Seen) -> Result<String, String>,
) -> Result<String, String> {
    let looks = links.iter().map(|link| async move { (*link, look(*link, field, limit).await) });
    let mut texts = Vec::new();
    for (link, seen) in futures_util::future::join_all(looks).await {
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
