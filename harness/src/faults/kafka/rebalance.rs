//! An extra consumer in the writers' consumer group: joins, is given its share of the partitions, reads and throws away, never
//! commits, and leaves. While it is there nobody writes what is in its partitions; when it has gone, the writers go on
//! where PostgreSQL says that writing stopped.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use rdkafka::{
    consumer::{BaseConsumer, Consumer},
    error::KafkaError,
};
use tokio::task::JoinHandle;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::{group, writers_have_everything};
use crate::{
    environment::Endpoints,
    faults::{Fault, FaultError, Seen, SystemUnderTest},
    target::Names,
    wait,
};

/// By this name the broker knows it.
pub(super) const NAME: &str = "squall-extra-consumer";

/// Longest time until the group has taken it in: the writers hear of it at their next heartbeat (2 s), give partitions up
/// and join again, twice.
const WELCOME_LIMIT: Duration = Duration::from_secs(12);
/// How long one poll waits; it looks at once whether it is to leave.
const POLL: Duration = Duration::from_millis(50);
/// Leaving is one request; beyond this the broker is away and finds out by the session time-out.
const LEAVE_LIMIT: Duration = Duration::from_secs(5);

/// A group that an extra consumer has joined.
#[derive(Debug, Default)]
pub(in crate::faults) struct Rebalance {
    extra: Option<ExtraConsumer>,
}

#[async_trait(?Send)]
impl Fault for Rebalance {
    async fn begin(&mut self, sut: &SystemUnderTest) -> Result<(), FaultError> {
        self.extra = Some(join(&sut.environment.verifier(), sut.cluster.names()).await?);
        Ok(())
    }

    /// The broker names the extra consumer among the members of the writers' group, with partitions of its own.
    async fn prove(&self, sut: &SystemUnderTest) -> Seen {
        let (group, _) = group(&sut.environment.verifier(), &sut.cluster).await?;
        let found = group.members.iter().find(|(name, _)| name == NAME);
        match found {
            Some((_, partitions)) if !partitions.is_empty() => Ok(format!(
                "the extra consumer is one of {} members and holds {} partitions",
                group.members.len(),
                partitions.len()
            )),
            Some(_) => Err(format!("the extra consumer holds no partition; the group is {}", group.state)),
            None => Err(format!("the group is {} with {} members", group.state, group.members.len())),
        }
    }

    async fn end(&mut self, _: &SystemUnderTest) -> Result<Option<String>, FaultError> {
        if let Some(extra) = self.extra.take() {
            extra.leave().await;
        }
        Ok(None)
    }

    async fn gone(&self, sut: &SystemUnderTest) -> Seen {
        writers_have_everything(sut).await
    }
}

/// A member of the group until it is told to leave, or dropped.
#[derive(Debug)]
struct ExtraConsumer {
    leave: DropGuard,
    task: JoinHandle<()>,
}

/// Joins the group; returns when partitions have been given.
async fn join(endpoints: &Endpoints, names: &Names) -> Result<ExtraConsumer, FaultError> {
    let consumer = consumer(endpoints, names)?;
    let leave = CancellationToken::new();
    let given = Arc::new(AtomicUsize::new(0));
    let (leaving, count) = (leave.clone(), Arc::clone(&given));
    let task = tokio::task::spawn_blocking(move || {
        while !leaving.is_cancelled() {
            // Records and errors alike are of no interest: an extra consumer is in the way, that is all.
            drop(consumer.poll(POLL));
            let given = consumer.assignment().map_or(0, |list| list.count());
            count.store(given, Ordering::Relaxed);
        }
        // Dropping is what leaves the group.
        drop(consumer);
    });
    let extra = ExtraConsumer { leave: leave.drop_guard(), task };
    let welcome = wait::until("partitions given to the extra consumer", WELCOME_LIMIT, async || match given
        .load(Ordering::Relaxed)
    {
        0 => Err("it has none"),
        count => Ok(count),
    });
    match welcome.await {
        Ok(_) => Ok(extra),
        Err(error) => {
            extra.leave().await;
            Err(FaultError::Missed(error.to_string()))
        }
    }
}

fn consumer(endpoints: &Endpoints, names: &Names) -> Result<BaseConsumer, KafkaError> {
    let mut config = endpoints.kafka_client();
    config
        .set("client.id", NAME)
        .set("group.id", &names.group)
        // Members of one group must agree on how partitions are shared out.
        .set("partition.assignment.strategy", "cooperative-sticky")
        .set("session.timeout.ms", "6000")
        .set("heartbeat.interval.ms", "1000")
        .set("enable.auto.commit", "false")
        .set("enable.auto.offset.store", "false")
        .set("queued.max.messages.kbytes", "256");
    let consumer: BaseConsumer = config.create()?;
    consumer.subscribe(&[&names.topic])?;
    Ok(consumer)
}

impl ExtraConsumer {
    /// Leaves the group.
    async fn leave(self) {
        drop(self.leave);
        if tokio::time::timeout(LEAVE_LIMIT, self.task).await.is_err() {
            tracing::warn!("the extra consumer could not say goodbye to its group");
        }
    }
}
