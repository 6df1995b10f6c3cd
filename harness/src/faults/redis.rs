//! What is done to Redis from inside, on a connection of its own past every proxy.

use std::time::Duration;

use fred::prelude::*;

use super::FaultError;

/// Redis answers within this, or it is away: a busy machine may stall for some seconds.
const ANSWER_LIMIT: Duration = Duration::from_secs(10);

pub(super) async fn connect(url: &str) -> Result<Client, FaultError> {
    let mut config = Config::from_url(url)?;
    config.fail_fast = true;
    let client = Builder::from_config(config)
        .with_connection_config(|connection| {
            connection.connection_timeout = ANSWER_LIMIT;
            connection.internal_command_timeout = ANSWER_LIMIT;
            connection.max_command_attempts = 1;
        })
        .build()?;
    client.init().await?;
    Ok(client)
}

/// Closes the connection of every subscriber; returns how many there were.
pub(super) async fn kill_subscribers(url: &str) -> Result<u64, FaultError> {
    let client = connect(url).await?;
    let hit: u64 = client.custom(fred::cmd!("CLIENT"), vec!["KILL", "TYPE", "pubsub"]).await?;
    client.quit().await?;
    Ok(hit)
}

/// Age in seconds of the oldest subscriber's connection, and how many there are.
pub(super) async fn subscriber_ages(url: &str) -> Result<(usize, Option<u64>), FaultError> {
    let client = connect(url).await?;
    let list: String = client.custom(fred::cmd!("CLIENT"), vec!["LIST", "TYPE", "pubsub"]).await?;
    client.quit().await?;
    let ages: Vec<u64> = list
        .lines()
        .filter_map(|line| line.split(' ').find_map(|field| field.strip_prefix("age=")))
        .filter_map(|age| age.parse().ok())
        .collect();
    Ok((ages.len(), ages.into_iter().max()))
}
