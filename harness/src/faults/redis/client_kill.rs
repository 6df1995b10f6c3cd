//! Redis closes the subscriptions of every client, again and again.

use async_trait::async_trait;
use fred::prelude::*;

use super::connect;
use crate::{
    environment::Endpoints,
    faults::{
        Fault, FaultError, PROBE_LIMIT, Seen, SystemUnderTest, YOUNG,
        repeat::{self, Repeating, repeat},
    },
    plan::Service,
};

/// `CLIENT KILL TYPE pubsub`, once a second.
#[derive(Debug, Default)]
pub(in crate::faults) struct ClientKill {
    striking: Option<Repeating>,
}

#[async_trait(?Send)]
impl Fault for ClientKill {
    async fn begin(&mut self, sut: &SystemUnderTest) -> Result<(), FaultError> {
        let at = sut.environment.verifier();
        kill_subscribers(&at).await?;
        self.striking = Some(repeat(move || {
            let at = at.clone();
            async move { kill_subscribers(&at).await }
        }));
        Ok(())
    }

    async fn prove(&self, sut: &SystemUnderTest) -> Seen {
        let at = sut.environment.verifier();
        match subscriber_ages(&at).await.map_err(|error| error.to_string())? {
            (0, _) => Ok("no subscription is left".to_owned()),
            (count, Some(age)) if age <= YOUNG.as_secs() => {
                Ok(format!("the oldest of {count} subscriptions is {age} s old"))
            }
            (count, age) => Err(format!("{count} subscriptions live, the oldest {age:?} s old")),
        }
    }

    async fn end(&mut self, _: &SystemUnderTest) -> Result<Option<String>, FaultError> {
        Ok(repeat::end(&mut self.striking).await)
    }

    async fn gone(&self, sut: &SystemUnderTest) -> Seen {
        sut.environment.probe(Service::Redis, PROBE_LIMIT).await
    }
}

/// Closes the connection of every subscriber; returns how many there were.
async fn kill_subscribers(at: &Endpoints) -> Result<u64, FaultError> {
    let client = connect(at).await?;
    let hit: u64 = client.custom(fred::cmd!("CLIENT"), vec!["KILL", "TYPE", "pubsub"]).await?;
    client.quit().await?;
    Ok(hit)
}

/// Age in seconds of the oldest subscriber's connection, and how many there are.
async fn subscriber_ages(at: &Endpoints) -> Result<(usize, Option<u64>), FaultError> {
    let client = connect(at).await?;
    let list: String = client.custom(fred::cmd!("CLIENT"), vec!["LIST", "TYPE", "pubsub"]).await?;
    client.quit().await?;
    let ages: Vec<u64> = list
        .lines()
        .filter_map(|line| line.split(' ').find_map(|field| field.strip_prefix("age=")))
        .filter_map(|age| age.parse().ok())
        .collect();
    Ok((ages.len(), ages.into_iter().max()))
}
