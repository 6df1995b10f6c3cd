//! The Redis bus: the fast path between nodes.
//!
//! Nothing here has to arrive. Whatever the bus loses leaves a gap in the offsets, and the node that misses it reads
//! Kafka. So the publisher drops instead of waiting, and the subscriber would rather begin anew than wonder.

use std::time::Duration;

use fred::{
    error::Error,
    types::{
        Builder,
        config::{Config as RedisConfig, TcpConfig, UnresponsiveConfig},
    },
};

use crate::{config::Config, limits};

pub mod publisher;
pub mod subscriber;

/// Longest wait for a connection or an answer of Redis.
pub(crate) const ANSWER: Duration = Duration::from_secs(1);

/// What both clients have in common. One that does not fail fast asks its policy even for the first connection, and
/// without a policy it then never connects at all.
pub(crate) fn builder(config: &Config, fail_fast: bool) -> Result<Builder, Error> {
    let mut redis = RedisConfig::from_url(&config.redis_url)?;
    redis.fail_fast = fail_fast;
    let mut builder = Builder::from_config(redis);
    builder
        .with_connection_config(|connection| {
            connection.connection_timeout = ANSWER;
            connection.internal_command_timeout = ANSWER;
            connection.max_command_attempts = 1;
            connection.max_command_buffer_len = limits::BUS_QUEUE * 2;
            // A black hole answers nothing and resets nothing.
            connection.unresponsive =
                UnresponsiveConfig { max_timeout: Some(ANSWER * 2), interval: ANSWER / 2 };
            connection.tcp = TcpConfig { nodelay: Some(true), ..TcpConfig::default() };
        })
        .with_performance_config(|performance| {
            performance.default_command_timeout = ANSWER;
            // The default of 32 loses messages in every burst.
            performance.broadcast_channel_capacity = limits::BUS_INBOUND;
        });
    Ok(builder)
}
