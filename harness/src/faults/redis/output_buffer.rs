//! An output buffer that overflows: nodes read from Redis at a trickle while the channel is flooded, so what Redis holds
//! for them grows over its limit and Redis itself closes their subscriptions.

use std::time::Duration;

use async_trait::async_trait;
use fred::prelude::*;

use super::connect;
use crate::{
    faults::{Fault, FaultError, Seen, SystemUnderTest, link::LinkToxic},
    plan::{LinkName, Service, Toxic, fault::Direction},
    wait,
};

/// The limit while the fault is in force, in bytes. The default of 32 MB would take a flood of minutes; a subscriber that
/// reads stays far below this.
const LIMIT_BYTES: u32 = 1024 * 1024;
/// What a choked link lets through; less than the beats and messages of a quiet cluster.
const TRICKLE: Toxic = Toxic::Bandwidth { kbytes_per_s: 1 };
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

/// Links choked and a limit lowered until an output buffer overflowed.
#[derive(Debug)]
pub(in crate::faults) struct OutputBuffer {
    links: Vec<LinkName>,
    choke: LinkToxic,
    /// The limits as they were, as Redis writes them.
    limits: Option<String>,
}

impl OutputBuffer {
    pub(in crate::faults) fn new(links: Vec<LinkName>) -> Self {
        let choke = LinkToxic::new(links.clone(), TRICKLE, Direction::Downstream, 0);
        Self { links, choke, limits: None }
    }

    /// Publishes until Redis has closed as many subscriptions as there are links.
    async fn flood(&self, sut: &SystemUnderTest, client: &Client, before: u64) -> Result<(), FaultError> {
        let channel = sut.cluster.names().channel.as_str();
        let water = "squall-flood ".repeat(DROP_BYTES / 13);
        let mut poured = 0;
        while poured < FLOOD_MAX_BYTES {
            for _ in 0..16 {
                let _: u64 = client.custom(fred::cmd!("PUBLISH"), vec![channel, water.as_str()]).await?;
                poured += water.len();
                wait::pause(PACE).await;
            }
            if closed(sut, client).await? >= before + self.links.len() as u64 {
                return Ok(());
            }
        }
        Err(FaultError::Missed(format!("{poured} bytes were published, and no output buffer overflowed")))
    }
}

#[async_trait(?Send)]
impl Fault for OutputBuffer {
    /// Returns when Redis has closed the subscriptions.
    async fn begin(&mut self, sut: &SystemUnderTest) -> Result<(), FaultError> {
        let client = connect(&sut.environment.verifier()).await?;
        self.limits = Some(limits(&client).await?);
        let before = closed(sut, &client).await?;
        let _: () = client.set(BEFORE, before, None, None, false).await?;
        config(&client, ["SET", SETTING, &format!("pubsub {LIMIT_BYTES} 0 0")]).await?;
        self.choke.begin(sut).await?;
        let flooded = self.flood(sut, &client, before).await;
        client.quit().await?;
        flooded
    }

    /// Redis counts clients that it closed for their output buffers.
    async fn prove(&self, sut: &SystemUnderTest) -> Seen {
        let (count, lowered) = observe(sut).await.map_err(|error| error.to_string())?;
        if count >= self.links.len() as u64 && lowered {
            Ok(format!("Redis closed {count} clients for their output buffers"))
        } else {
            Err(format!("Redis closed {count} clients for their output buffers; limit lowered: {lowered}"))
        }
    }

    /// Lets the links flow again and restores the limits.
    async fn end(&mut self, sut: &SystemUnderTest) -> Result<Option<String>, FaultError> {
        let links = self.choke.end(sut).await;
        if let Some(limits) = self.limits.take() {
            let client = connect(&sut.environment.verifier()).await?;
            config(&client, ["SET", SETTING, &limits]).await?;
            let _: u64 = client.del(BEFORE).await?;
            client.quit().await?;
        }
        links
    }

    async fn gone(&self, sut: &SystemUnderTest) -> Seen {
        if observe(sut).await.map_err(|error| error.to_string())?.1 {
            return Err("the limit of output buffers is still lowered".to_owned());
        }
        let links = self.choke.gone(sut).await?;
        Ok(format!("the limit of output buffers is as before; {links}"))
    }
}

/// How many clients Redis says it has closed for their output buffers since the fault began (none when there is no such
/// fault), and whether the limit of the fault is in force.
async fn observe(sut: &SystemUnderTest) -> Result<(u64, bool), FaultError> {
    let client = connect(&sut.environment.verifier()).await?;
    let before: Option<u64> = client.get(BEFORE).await?;
    let count = match before {
        Some(before) => closed(sut, &client).await?.saturating_sub(before),
        None => 0,
    };
    let lowered = limits(&client).await?.contains(&format!("pubsub {LIMIT_BYTES} 0 0"));
    client.quit().await?;
    Ok((count, lowered))
}

/// Clients closed for their output buffers since Redis started: by its statistics, or, before 7.2, by its log.
async fn closed(sut: &SystemUnderTest, client: &Client) -> Result<u64, FaultError> {
    let stats: String = client.custom(fred::cmd!("INFO"), vec!["stats"]).await?;
    let counted = stats.lines().find_map(|line| {
        line.strip_prefix("client_output_buffer_limit_disconnections:")?.trim().parse().ok()
    });
    match counted {
        Some(count) => Ok(count),
        None => {
            let log = sut.environment.log(Service::Redis).await?;
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
