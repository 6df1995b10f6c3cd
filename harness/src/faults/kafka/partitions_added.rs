//! The messages topic gets more partitions. They stay: ending only sees to it that the writers have them.

use async_trait::async_trait;
use rdkafka::{
    admin::{AdminClient, AdminOptions, NewPartitions},
    client::DefaultClientContext,
    error::KafkaError,
};

use super::{group, writers_have_everything};
use crate::{
    cluster::Cluster,
    environment::{Endpoints, groups::QUESTION_LIMIT},
    faults::{Fault, FaultError, Seen, SystemUnderTest},
};

/// So many more.
#[derive(Debug)]
pub(in crate::faults) struct PartitionsAdded {
    pub(in crate::faults) partitions: u16,
}

#[async_trait(?Send)]
impl Fault for PartitionsAdded {
    async fn begin(&mut self, sut: &SystemUnderTest) -> Result<(), FaultError> {
        add_partitions(&sut.environment.verifier(), &sut.cluster, self.partitions).await
    }

    /// The broker knows more partitions than the cluster started with.
    async fn prove(&self, sut: &SystemUnderTest) -> Seen {
        let (_, all) = group(&sut.environment.verifier(), &sut.cluster).await?;
        let started = usize::try_from(sut.cluster.plan().cluster.partitions).unwrap_or(0);
        let text = format!("the topic has {} partitions, and had {started} at the start", all.len());
        if all.len() >= started + usize::from(self.partitions) { Ok(text) } else { Err(text) }
    }

    async fn end(&mut self, _: &SystemUnderTest) -> Result<Option<String>, FaultError> {
        Ok(None)
    }

    async fn gone(&self, sut: &SystemUnderTest) -> Seen {
        writers_have_everything(sut).await
    }
}

/// Adds partitions to the messages topic.
async fn add_partitions(endpoints: &Endpoints, cluster: &Cluster, more: u16) -> Result<(), FaultError> {
    let topic = &cluster.names().topic;
    let (_, before) = group(endpoints, cluster).await.map_err(FaultError::Missed)?;
    let admin: AdminClient<DefaultClientContext> = endpoints.kafka_client().create()?;
    let options =
        AdminOptions::new().request_timeout(Some(QUESTION_LIMIT)).operation_timeout(Some(QUESTION_LIMIT));
    let wanted = NewPartitions::new(topic, before.len() + usize::from(more));
    for result in admin.create_partitions([&wanted], &options).await? {
        result.map_err(|(_, code)| KafkaError::AdminOp(code))?;
    }
    Ok(())
}
