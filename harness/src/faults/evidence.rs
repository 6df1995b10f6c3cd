//! Evidence: does an independent probe see the fault? Every probe opens connections of its own; none asks the injector.

use std::time::Duration;

use crate::{
    faults::{Field, bulk, postgres, redis},
    plan::{FaultKind, LinkName, Service, Toxic, fault::Direction},
};

/// How long a probe waits for an answer before silence is what it saw. A healthy round trip is a few milliseconds.
pub const PROBE_LIMIT: Duration = Duration::from_millis(1_500);

/// A round trip through a healthy proxy stays below this even on a busy two-core machine.
const HEALTHY_ROUND_TRIP: Duration = Duration::from_millis(1_000);

/// A session or subscription is young if it began at most this long ago: the blow that ended its predecessor is recent.
const YOUNG_S: f64 = 3.0;

/// Looks for the fault. `Ok` tells what shows it; `Err` tells what was seen instead.
///
/// # Errors
///
/// What the probe saw in place of the fault.
pub async fn prove(kind: &FaultKind, field: &Field) -> Result<String, String> {
    match kind {
        FaultKind::ServiceStop { service }
        | FaultKind::ServiceKill { service }
        | FaultKind::ServicePause { service } => unreachable_service(*service, field).await,
        FaultKind::LinkDown { links } => {
            each_link(links, field, |seen| match seen {
                Err(error) => Ok(format!("refused: {error}")),
                Ok(took) => Err(format!("answered in {} ms", took.as_millis())),
            })
            .await
        }
        FaultKind::LinkToxic { links, toxic, direction } => {
            prove_toxic(links, toxic, *direction, field).await
        }
        FaultKind::ProcessKill { processes } | FaultKind::ProcessTerminate { processes } => {
            let mut seen = Vec::new();
            for process in processes {
                seen.push(field.cluster.look_gone(*process).await?);
            }
            Ok(seen.join("; "))
        }
        FaultKind::ProcessPause { processes } => {
            let mut seen = Vec::new();
            for process in processes {
                seen.push(field.cluster.look_frozen(*process).await?);
            }
            Ok(seen.join("; "))
        }
        FaultKind::RedisClientKill => {
            let url = field.environment.verifier().redis_url;
            match redis::subscriber_ages(&url).await.map_err(|error| error.to_string())? {
                (0, _) => Ok("no subscription is left".to_owned()),
                (count, Some(age)) if f64_of(age) <= YOUNG_S => {
                    Ok(format!("the oldest of {count} subscriptions is {age} s old"))
                }
                (count, age) => Err(format!("{count} subscriptions live, the oldest {age:?} s old")),
            }
        }
        FaultKind::PostgresTerminate => {
            let url = field.environment.verifier().postgres_url;
            match postgres::session_ages(&url).await.map_err(|error| error.to_string())? {
                (0, _) => Ok("no session is left".to_owned()),
                (count, Some(age)) if age <= YOUNG_S => {
                    Ok(format!("the oldest of {count} sessions is {age:.1} s old"))
                }
                (count, age) => Err(format!("{count} sessions live, the oldest {age:?} s old")),
            }
        }
        FaultKind::PostgresReadOnly => {
            let url = field.environment.verifier().postgres_url;
            match postgres::is_read_only(&url).await.map_err(|error| error.to_string())? {
                true => Ok("a new session is read-only".to_owned()),
                false => Err("a new session may write".to_owned()),
            }
        }
        FaultKind::PostgresLock => {
            let url = field.environment.verifier().postgres_url;
            match postgres::messages_locked(&url).await.map_err(|error| error.to_string())? {
                (true, waiting) => {
                    Ok(format!("pg_locks shows the exclusive lock, {waiting} sessions wait for it"))
                }
                (false, _) => Err("pg_locks shows no exclusive lock on messages".to_owned()),
            }
        }
    }
}

/// Looks for health where the fault was. `Ok` tells what shows it.
///
/// # Errors
///
/// What is still wrong.
pub async fn gone(kind: &FaultKind, field: &Field) -> Result<String, String> {
    match kind {
        FaultKind::ServiceStop { service }
        | FaultKind::ServiceKill { service }
        | FaultKind::ServicePause { service } => field.environment.probe(*service, PROBE_LIMIT).await,
        FaultKind::LinkDown { links } | FaultKind::LinkToxic { links, .. } => {
            each_link(links, field, |seen| match seen {
                Ok(took) if took < HEALTHY_ROUND_TRIP => Ok(format!("answers in {} ms", took.as_millis())),
                Ok(took) => Err(format!("still takes {} ms", took.as_millis())),
                Err(error) => Err(error),
            })
            .await
        }
        FaultKind::ProcessKill { processes }
        | FaultKind::ProcessTerminate { processes }
        | FaultKind::ProcessPause { processes } => {
            let mut seen = Vec::new();
            for process in processes {
                seen.push(field.cluster.look_alive(*process).await?);
            }
            Ok(seen.join("; "))
        }
        FaultKind::RedisClientKill => field.environment.probe(Service::Redis, PROBE_LIMIT).await,
        FaultKind::PostgresTerminate => field.environment.probe(Service::Postgres, PROBE_LIMIT).await,
        FaultKind::PostgresReadOnly | FaultKind::PostgresLock => match prove_quickly(kind, field).await {
            Ok(still) => Err(still),
            Err(health) => Ok(health),
        },
    }
}

/// [`prove`] boxed, as [`gone`] turns it round.
fn prove_quickly<'a>(
    kind: &'a FaultKind,
    field: &'a Field,
) -> std::pin::Pin<Box<dyn Future<Output = Result<String, String>> + Send + 'a>> {
    Box::pin(prove(kind, field))
}

async fn unreachable_service(service: Service, field: &Field) -> Result<String, String> {
    match field.environment.probe(service, PROBE_LIMIT).await {
        Err(error) => Ok(format!("{service} does not answer: {error}")),
        Ok(answer) => Err(format!("{service} answers: {answer}")),
    }
}

async fn prove_toxic(
    links: &[LinkName],
    toxic: &Toxic,
    direction: Direction,
    field: &Field,
) -> Result<String, String> {
    match toxic {
        Toxic::Latency { latency_ms, jitter_ms } => {
            // Jitter may take away as much as it adds; both directions are each held back once per round trip.
            let each = latency_ms.saturating_sub(*jitter_ms);
            let turns = if direction == Direction::Both { 2 } else { 1 };
            let least = Duration::from_millis(u64::from(each) * turns);
            each_link(links, field, |seen| match seen {
                Ok(took) if took >= least => Ok(format!("a round trip takes {} ms", took.as_millis())),
                Ok(took) => Err(format!("a round trip takes only {} ms", took.as_millis())),
                Err(error) => Ok(format!("no round trip within the probe's limit: {error}")),
            })
            .await
        }
        Toxic::BlackHole | Toxic::Reset { .. } => {
            each_link(links, field, |seen| match seen {
                Err(error) => Ok(error),
                Ok(took) => Err(format!("a round trip succeeds in {} ms", took.as_millis())),
            })
            .await
        }
        Toxic::Bandwidth { .. }
        | Toxic::Slicer { .. }
        | Toxic::LimitData { .. }
        | Toxic::SlowClose { .. } => {
            let mut seen = Vec::new();
            for link in links {
                seen.push(bulk::prove(*link, toxic, &field.environment.endpoints(link.process)).await?);
            }
            Ok(seen.join("; "))
        }
    }
}

async fn each_link(
    links: &[LinkName],
    field: &Field,
    judge: impl Fn(Result<Duration, String>) -> Result<String, String>,
) -> Result<String, String> {
    let probes = links
        .iter()
        .map(|link| async move { (link, field.environment.probe_link(*link, PROBE_LIMIT).await) });
    let mut seen = Vec::new();
    for (link, probed) in futures_util::future::join_all(probes).await {
        match judge(probed) {
            Ok(text) => seen.push(format!("{link} {text}")),
            Err(text) => return Err(format!("{link} {text}")),
        }
    }
    Ok(match seen.len() {
        0 => return Err("no link was probed".to_owned()),
        1..=2 => seen.join("; "),
        n => format!("{}; so do {} more links", seen[0], n - 1),
    })
}

fn f64_of(seconds: u64) -> f64 {
    u32::try_from(seconds).map_or(f64::MAX, f64::from)
}
