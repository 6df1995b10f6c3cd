//! Evidence for what is done to the services from inside: their own statistics, a consumer's reading, a refused log-in.

use std::time::Duration;

use super::{PROBE_LIMIT, YOUNG_S};
use crate::{
    faults::{Field, disk, kafka, overflow, postgres, slots, stranger},
    plan::LinkName,
};

/// Poison older than this was seen to be set aside by an earlier look, or will be missed by the checkers.
const RECENT: Duration = Duration::from_secs(60);

/// Every process asks for a session through its own link, as its own role, and is refused for want of a slot.
pub(super) async fn no_connection(field: &Field) -> Result<String, String> {
    let asking = sessions(field).await;
    let count = asking.len();
    for (process, session) in asking {
        match session {
            Err(Some(error)) if slots::is_too_many(&error) => {}
            Err(Some(error)) => return Err(format!("{process}: {error}")),
            Err(None) => return Err(format!("{process}: no answer")),
            Ok(()) => return Err(format!("{process} can have a session")),
        }
    }
    Ok(format!("{count} links asked for a session and got {}", slots::TOO_MANY))
}

/// Every process can have a session through its own link.
pub(super) async fn connections_again(field: &Field) -> Result<String, String> {
    let asking = sessions(field).await;
    let count = asking.len();
    for (process, session) in asking {
        if let Err(error) = session {
            let why = error.map_or_else(|| "no answer".to_owned(), |error| error.to_string());
            return Err(format!("{process}: {why}"));
        }
    }
    Ok(format!("a session can be had through each of {count} links"))
}

/// Asks for a session through each process's link. Without an error: no answer in time.
async fn sessions(field: &Field) -> Vec<(String, Result<(), Option<sqlx::Error>>)> {
    let processes = field.cluster.plan().processes();
    let asking = processes.into_iter().map(|process| async move {
        let url = field.environment.endpoints(process).postgres_url;
        let session = tokio::time::timeout(PROBE_LIMIT, postgres::connect(&url)).await;
        let asked = match session {
            Ok(Ok(session)) => {
                // Given back at once: the next to ask may be a writer.
                drop(sqlx::Connection::close(session).await);
                Ok(())
            }
            Ok(Err(error)) => Err(Some(error)),
            Err(_) => Err(None),
        };
        (process.to_string(), asked)
    });
    futures_util::future::join_all(asking).await
}

/// A table of some blocks cannot be made where the messages are.
pub(super) async fn no_room(field: &Field) -> Result<String, String> {
    match disk::probe(&field.environment.verifier().postgres_url).await {
        Ok(()) => Err("a table of some blocks can be made where the messages are".to_owned()),
        Err(error) => match error.as_database_error().and_then(|error| error.code()) {
            Some(code) if code == disk::FULL => Ok(format!("a new table gets {code}: {error}")),
            _ => Err(error.to_string()),
        },
    }
}

/// Redis counts clients that it closed for their output buffers.
pub(super) async fn overflowed(links: &[LinkName], field: &Field) -> Result<String, String> {
    let (count, lowered) = overflow::look(field).await.map_err(|error| error.to_string())?;
    if count >= links.len() as u64 && lowered {
        Ok(format!("Redis closed {count} clients for their output buffers"))
    } else {
        Err(format!("Redis closed {count} clients for their output buffers; limit lowered: {lowered}"))
    }
}

/// The limit of the output buffers is no longer ours.
pub(super) async fn buffers_as_before(field: &Field) -> Result<String, String> {
    match overflow::look(field).await.map_err(|error| error.to_string())? {
        (_, true) => Err("the limit of output buffers is still lowered".to_owned()),
        (_, false) => Ok("the limit of output buffers is as before".to_owned()),
    }
}

/// A round of poison stands in the log, young, and as much of it is among the dead letters.
pub(super) async fn poisoned(field: &Field) -> Result<String, String> {
    let young = Duration::from_secs_f64(YOUNG_S);
    let seen = kafka::poisoned(&field.environment.verifier(), &field.cluster, young).await?;
    let (in_log, set_aside) = (seen.in_log.len(), seen.set_aside.len());
    let text =
        format!("{in_log} young poison records in the log, {set_aside} of them among the dead letters");
    let round = kafka::ROUND as usize;
    if in_log >= round && set_aside >= round { Ok(text) } else { Err(text) }
}

/// Whatever poison is in the log is among the dead letters.
pub(super) async fn all_set_aside(field: &Field) -> Result<String, String> {
    let seen = kafka::poisoned(&field.environment.verifier(), &field.cluster, RECENT).await?;
    match seen.in_log.difference(&seen.set_aside).next() {
        None => Ok(format!("{} poison records, all among the dead letters", seen.in_log.len())),
        Some((partition, offset)) => {
            Err(format!("the poison at {partition}@{offset} is not among the dead letters"))
        }
    }
}

/// The broker names the stranger among the members of the writers' group, with partitions of its own.
pub(super) async fn stranger(field: &Field) -> Result<String, String> {
    let (group, _) = kafka::group(&field.environment.verifier(), &field.cluster).await?;
    let found = group.members.iter().find(|(name, _)| name == stranger::NAME);
    match found {
        Some((_, partitions)) if !partitions.is_empty() => Ok(format!(
            "the stranger is one of {} members and holds {} partitions",
            group.members.len(),
            partitions.len()
        )),
        Some(_) => Err(format!("the stranger holds no partition; the group is {}", group.state)),
        None => Err(format!("the group is {} with {} members", group.state, group.members.len())),
    }
}

/// The broker knows more partitions than the cluster started with.
pub(super) async fn more_partitions(more: u16, field: &Field) -> Result<String, String> {
    let (_, all) = kafka::group(&field.environment.verifier(), &field.cluster).await?;
    let started = usize::try_from(field.cluster.plan().cluster.partitions).unwrap_or(0);
    let text = format!("the topic has {} partitions, and had {started} at the start", all.len());
    if all.len() >= started + usize::from(more) { Ok(text) } else { Err(text) }
}

/// The group is at rest, the stranger is no member, and every partition there is has been given to a writer.
pub(super) async fn writers_have_everything(field: &Field) -> Result<String, String> {
    let (group, all) = kafka::group(&field.environment.verifier(), &field.cluster).await?;
    if group.state != "Stable" {
        return Err(format!("the group is {}", group.state));
    }
    if group.members.iter().any(|(name, _)| name == stranger::NAME) {
        return Err("the stranger is still a member".to_owned());
    }
    let assigned = group.assigned();
    match all.difference(&assigned).count() {
        0 => Ok(format!("{} writers hold all {} partitions", group.members.len(), all.len())),
        missing => Err(format!("{missing} of {} partitions are given to nobody", all.len())),
    }
}
