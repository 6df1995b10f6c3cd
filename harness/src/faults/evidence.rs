//! Evidence: does an independent probe see the fault? Every probe opens connections of its own; none asks the injector.

mod services;

use std::time::Duration;

use crate::{
    faults::{Field, links, overflow, postgres, redis, rolling},
    plan::{FaultKind, ProcessName, Service, fault::Direction},
};

/// How long a probe waits for an answer before silence is what it saw. A healthy round trip is a few milliseconds.
pub const PROBE_LIMIT: Duration = Duration::from_millis(1_500);

/// A session or subscription is young if it began at most this long ago: the blow that ended its predecessor is recent.
const YOUNG_S: f64 = 3.0;

/// Connections come and go by themselves: only beside what was there before does it mean anything.
const NO_BEFORE: &str =
    "connections that come and go are looked for beside those that were there before the fault";

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
        FaultKind::LinkDown { links } => links::down(links, field).await,
        FaultKind::LinkToxic { links, toxic, direction, .. } => {
            links::prove(links, toxic, *direction, field).await
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
        FaultKind::RollingRestart { processes, .. } => rolling::away(processes, field).await,
        FaultKind::ProcessClockSkew { processes, offset_s } => clocks(processes, *offset_s, field).await,
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
        FaultKind::PostgresConnectionLimit => services::no_connection(field).await,
        FaultKind::PostgresDiskFull => services::no_room(field).await,
        FaultKind::RedisOutputBuffer { links } => services::overflowed(links, field).await,
        FaultKind::KafkaPoison => services::poisoned(field).await,
        FaultKind::KafkaRebalance => services::stranger(field).await,
        FaultKind::KafkaPartitionsAdded { partitions } => services::more_partitions(*partitions, field).await,
        FaultKind::LinkHalfClose { .. }
        | FaultKind::ClientReconnectStorm { .. }
        | FaultKind::ClientSlow { .. }
        | FaultKind::ClientCrash { .. }
        | FaultKind::ClientMalformed { .. }
        | FaultKind::ClientOversize { .. } => Err(NO_BEFORE.to_owned()),
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
        FaultKind::LinkDown { links } | FaultKind::LinkHalfClose { links } => links::up(links, field).await,
        FaultKind::LinkToxic { links, toxic, direction, .. } => {
            links::gone(links, toxic, *direction, field).await
        }
        FaultKind::ProcessKill { processes }
        | FaultKind::ProcessTerminate { processes }
        | FaultKind::ProcessPause { processes }
        | FaultKind::RollingRestart { processes, .. } => {
            let mut seen = Vec::new();
            for process in processes {
                seen.push(field.cluster.look_alive(*process).await?);
            }
            Ok(seen.join("; "))
        }
        FaultKind::ProcessClockSkew { processes, .. } => clocks(processes, 0, field).await,
        FaultKind::RedisClientKill => field.environment.probe(Service::Redis, PROBE_LIMIT).await,
        FaultKind::PostgresTerminate => field.environment.probe(Service::Postgres, PROBE_LIMIT).await,
        FaultKind::PostgresConnectionLimit => services::connections_again(field).await,
        FaultKind::RedisOutputBuffer { links } => {
            let limits = services::buffers_as_before(field).await?;
            let links = links::gone(links, &overflow::TRICKLE, Direction::Downstream, field).await?;
            Ok(format!("{limits}; {links}"))
        }
        FaultKind::KafkaPoison => services::all_set_aside(field).await,
        FaultKind::KafkaRebalance | FaultKind::KafkaPartitionsAdded { .. } => {
            services::writers_have_everything(field).await
        }
        FaultKind::PostgresReadOnly | FaultKind::PostgresLock | FaultKind::PostgresDiskFull => {
            match prove_quickly(kind, field).await {
                Ok(still) => Err(still),
                Err(health) => Ok(health),
            }
        }
        FaultKind::ClientReconnectStorm { .. }
        | FaultKind::ClientSlow { .. }
        | FaultKind::ClientCrash { .. }
        | FaultKind::ClientMalformed { .. }
        | FaultKind::ClientOversize { .. } => Err(NO_BEFORE.to_owned()),
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

/// A `Date` is exact to a second, and kept for a second.
const CLOCK_SLACK_S: i64 = 2;

/// Looks for wall clocks that are off by so much.
async fn clocks(processes: &[ProcessName], offset_s: i64, field: &Field) -> Result<String, String> {
    let mut seen = Vec::new();
    for process in processes {
        let off_s = field.cluster.look_clock(*process).await?;
        let text = format!("{process} dates its answers {off_s:+} s from our clock");
        if (off_s - offset_s).abs() > CLOCK_SLACK_S {
            return Err(text);
        }
        seen.push(text);
    }
    Ok(seen.join("; "))
}

fn f64_of(seconds: u64) -> f64 {
    u32::try_from(seconds).map_or(f64::MAX, f64::from)
}
