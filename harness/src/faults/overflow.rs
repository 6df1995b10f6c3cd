//! An output buffer that overflows: nodes read from Redis at a trickle while the channel is flooded, so what Redis holds
//! for them grows over its limit and Redis itself closes their subscriptions.

use std::time::Duration;

use fred::prelude::*;

use crate::{
    environment::toxiproxy::AppliedToxic,
    faults::{FaultError, Field, redis},
    plan::{LinkName, Service, Toxic, fault::Direction},
    wait,
};

/// The limit while the fault is in force, in bytes. The default of 32 MB would take a flood of minutes; a subscriber that
/// reads stays far below this.
const LIMIT_BYTES: u32 = 1024 * 1024;
/// What a choked link lets through; less than the beats and messages of a quiet cluster.
pub(super) const TRICKLE: Toxic = Toxic::Bandwidth { kbytes_per_s: 1 };
/// One publication of the flood. No node takes it for a frame of the bus.
const DROP_BYTES: usize = 64 * 1024;
/// The flood is given up beyond this: the sockets on the way hold some ten megabytes before Redis must.
const FLOOD_MAX_BYTES: usize = 192 * 1024 * 1024;
/// Pause between publications: 13 MB a second, which subscribers that read at all keep up with.
const PACE: Duration = Duration::from_millis(5);

const SETTING: &str = "client-output-buffer-limit";
/// Key that holds, while the fault is in force, how many clients had been closed for their buffers before it.
const BEFORE: &str = "squall:closed-before";
/// How Redis says in its log that it closes such a client.
const CLOSED: &str = "overcoming of output buffer limits";

/// What is to be undone.
#[derive(Debug)]
pub(super) struct Overflow {
    toxics: Vec<AppliedToxic>,
    /// The limits as they were, as Redis writes them.
    limits: String,
}

/// Makes the output buffers of these links overflow; returns when Redis has closed as many subscriptions.
pub(super) async fn inject(field: &Field, links: &[LinkName]) -> Result<Overflow, FaultError> {
    let client = redis::connect(&field.environment.verifier().redis_url).await?;
    let mut overflow = Overflow { toxics: Vec::new(), limits: limits(&client).await? };
    let channel = field.cluster.names().channel.clone();
    let flooded = async {
        let before = closed(field, &client).await?;
        let _: () = client.set(BEFORE, before, None, None, false).await?;
        config(&client, ["SET", SETTING, &format!("pubsub {LIMIT_BYTES} 0 0")]).await?;
        for link in links {
            let applied = field.environment.proxies().add(*link, &TRICKLE, Direction::Downstream).await?;
            overflow.toxics.extend(applied);
        }
        let water = "squall-flood ".repeat(DROP_BYTES / 13);
        let mut poured = 0;
        while poured < FLOOD_MAX_BYTES {
            for _ in 0..16 {
                let _: u64 =
                    client.custom(fred::cmd!("PUBLISH"), vec![channel.as_str(), water.as_str()]).await?;
                poured += water.len();
                wait::pause(PACE).await;
            }
            if closed(field, &client).await? >= before + links.len() as u64 {
                return Ok(());
            }
        }
        Err(FaultError::Missed(format!("{poured} bytes were published, and no output buffer overflowed")))
    }
    .await;
    let closed = client.quit().await;
    match flooded {
        Ok(()) => {
            closed?;
            Ok(overflow)
        }
        Err(error) => {
            if let Err(undone) = undo(field, &overflow).await {
                tracing::warn!(error = %undone, "could not undo an overflow that did not come about");
            }
            Err(error)
        }
    }
}

/// Lets the links flow again and restores the limits.
pub(super) async fn undo(field: &Field, overflow: &Overflow) -> Result<(), FaultError> {
    for toxic in &overflow.toxics {
        field.environment.proxies().remove(toxic).await?;
    }
    let client = redis::connect(&field.environment.verifier().redis_url).await?;
    config(&client, ["SET", SETTING, &overflow.limits]).await?;
    let _: u64 = client.del(BEFORE).await?;
    client.quit().await?;
    Ok(())
}

/// How many clients Redis says it has closed for their output buffers since the fault began (none when there is no such
/// fault), and whether the limit of the fault is in force.
pub(super) async fn look(field: &Field) -> Result<(u64, bool), FaultError> {
    let client = redis::connect(&field.environment.verifier().redis_url).await?;
    let before: Option<u64> = client.get(BEFORE).await?;
    let count = match before {
        Some(before) => closed(field, &client).await?.saturating_sub(before),
        None => 0,
    };
    let lowered = limits(&client).await?.contains(&format!("pubsub {LIMIT_BYTES} 0 0"));
    client.quit().await?;
    Ok((count, lowered))
}

/// Clients closed for their output buffers since Redis started: by its statistics, or, before 7.2, by its log.
async fn closed(field: &Field, client: &Client) -> Result<u64, FaultError> {
    let stats: String = client.custom(fred::cmd!("INFO"), vec!["stats"]).await?;
    let counted = stats.lines().find_map(|line| {
        line.strip_prefix("client_output_buffer_limit_disconnections:")?.trim().parse().ok()
    });
    match counted {
        Some(count) => Ok(count),
        None => {
            let log = field.environment.log(Service::Redis).await?;
            Ok(log.lines().filter(|line| line.contains(CLOSED)).count() as u64)
        }
    }
}

async fn limits(client: &Client) -> Result<String, FaultError> {
    let answer: Vec<String> = client.custom(fred::cmd!("CONFIG"), vec!["GET", SETTING]).await?;
    answer.into_iter().nth(1).ok_or_else(|| FaultError::Missed(format!("this Redis has no {SETTING}")))
}

async fn config<const N: usize>(client: &Client, words: [&str; N]) -> Result<(), FaultError> {
    let _: String = client.custom(fred::cmd!("CONFIG"), words.to_vec()).await?;
    Ok(())
}
