//! Links that misbehave: a toxic of Toxiproxy's on each, which may grow to its strength.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use futures_util::{StreamExt, stream};
use tokio_util::task::AbortOnDropHandle;

use super::{each, others, ramp, short, transfer_probe, well};
use crate::{
    environment::AppliedToxic,
    faults::{Fault, FaultError, PROBE_LIMIT, Seen, SystemUnderTest, each::each as undo},
    plan::{LinkName, Service, Toxic, fault::Direction},
};

/// A probe of a slow link waits no longer than this.
const SLOW_PROBE_LIMIT: Duration = Duration::from_millis(3_500);

/// Round trips before PostgreSQL answers its first question: TLS refused, start-up, three of the password, the question.
const POSTGRES_TRIPS: u32 = 7;

/// Bulk probes of healthy links at once: together they must not be what makes the links slow.
const BULK_AT_ONCE: usize = 2;

/// A toxic of this fault on its links; others may be there beside it.
#[derive(Debug)]
pub(in crate::faults) struct LinkToxic {
    links: Vec<LinkName>,
    toxic: Toxic,
    direction: Direction,
    /// It grows to its strength over this time.
    ramp: Option<Duration>,
    applied: Vec<AppliedToxic>,
    growing: Option<AbortOnDropHandle<()>>,
}

impl LinkToxic {
    pub(in crate::faults) fn new(
        links: Vec<LinkName>,
        toxic: Toxic,
        direction: Direction,
        ramp_ms: u64,
    ) -> Self {
        let ramp = (ramp_ms > 0).then(|| Duration::from_millis(ramp_ms));
        Self { links, toxic, direction, ramp, applied: Vec::new(), growing: None }
    }
}

#[async_trait(?Send)]
impl Fault for LinkToxic {
    async fn begin(&mut self, sut: &SystemUnderTest) -> Result<(), FaultError> {
        let proxies = sut.environment.proxies();
        let first = if self.ramp.is_some() { ramp::first(&self.toxic) } else { self.toxic.clone() };
        for link in &self.links {
            self.applied.extend(proxies.add(*link, &first, self.direction).await?);
        }
        let environment = &sut.environment;
        self.growing = self
            .ramp
            .map(|over| ramp::grow(Arc::clone(environment), self.applied.clone(), self.toxic.clone(), over));
        Ok(())
    }

    async fn grown(&mut self) {
        ramp::grown(&mut self.growing).await;
    }

    async fn prove(&self, sut: &SystemUnderTest) -> Seen {
        let Self { links, toxic, direction, .. } = self;
        match toxic {
            Toxic::Latency { latency_ms, jitter_ms } => {
                latency(links, *latency_ms, *jitter_ms, *direction, sut).await
            }
            Toxic::BlackHole | Toxic::Reset { .. } => {
                let silence = matches!(toxic, Toxic::BlackHole);
                each(links, sut, PROBE_LIMIT, |_, seen| match (seen.accepts, seen.answer) {
                    (Ok(()), Err(error)) if seen.silent == silence => {
                        Ok(format!("accepts, and then: {error}"))
                    }
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
                let observations = links.iter().map(|link| async move {
                    transfer_probe::prove(*link, toxic, *direction, &ends(*link, sut)).await
                });
                let seen: Result<Vec<String>, String> =
                    futures_util::future::join_all(observations).await.into_iter().collect();
                short(seen?)
            }
        }
    }

    async fn end(&mut self, sut: &SystemUnderTest) -> Result<Option<String>, FaultError> {
        ramp::cut(self.growing.take()).await;
        let proxies = sut.environment.proxies();
        let take_off = async |toxic: &AppliedToxic| Ok(proxies.remove(toxic).await?);
        undo(&self.applied, take_off).await.map(|()| None)
    }

    /// Other faults may be in force on the same links; then they are named, and what they hide is theirs to show when
    /// they end.
    async fn gone(&self, sut: &SystemUnderTest) -> Seen {
        let Self { links, toxic, direction, .. } = self;
        let seen = well(links, sut, |_| Ok(())).await?;
        if transfer_probe::shows(toxic) {
            let mut observations = stream::iter(links.to_vec())
                .map(|link| async move {
                    if others(link, sut).await?.is_some() {
                        return Ok(());
                    }
                    transfer_probe::gone(link, toxic, *direction, &ends(link, sut)).await
                })
                .buffer_unordered(BULK_AT_ONCE);
            while let Some(looked) = observations.next().await {
                looked?;
            }
        }
        Ok(seen)
    }
}

fn ends(link: LinkName, sut: &SystemUnderTest) -> transfer_probe::Ends {
    transfer_probe::Ends { through: sut.environment.through(link.process), past: sut.environment.verifier() }
}

async fn latency(
    links: &[LinkName],
    latency_ms: u32,
    jitter_ms: u32,
    direction: Direction,
    sut: &SystemUnderTest,
) -> Result<String, String> {
    // Jitter may take away as much as it adds; both directions are each held back once per round trip.
    let turns = if direction == Direction::Both { 2 } else { 1 };
    let least = Duration::from_millis(u64::from(latency_ms.saturating_sub(jitter_ms)) * turns);
    let most = Duration::from_millis(u64::from(latency_ms.saturating_add(jitter_ms)) * turns);
    let postgres = links.iter().any(|link| link.service == Service::Postgres);
    let trips = if postgres { POSTGRES_TRIPS } else { 1 };
    let limit = SLOW_PROBE_LIMIT.min(PROBE_LIMIT + most * trips);
    each(links, sut, limit, |link, seen| {
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
