//! Faults of Redis itself, done and looked at on connections of their own past every proxy.

mod client_kill;
mod output_buffer;

use std::time::Duration;

use fred::prelude::*;

pub(super) use self::{client_kill::ClientKill, output_buffer::OutputBuffer};
use super::FaultError;
use crate::environment::{Endpoints, redis_config};

/// Redis answers within this, or it is away: a busy machine may stall for some seconds.
const ANSWER_LIMIT: Duration = Duration::from_secs(10);

async fn connect(at: &Endpoints) -> Result<Client, FaultError> {
    let mut config = redis_config(at)?;
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
