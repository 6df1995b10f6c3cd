//! Faults of Kafka's topic and of the writers' group, done and looked at on clients of their own past every proxy.

mod partitions_added;
mod poison;
mod rebalance;

use std::collections::BTreeSet;

pub(super) use self::{partitions_added::PartitionsAdded, poison::PoisonRecords, rebalance::Rebalance};
use super::Seen;
use crate::{
    cluster::Cluster,
    environment::{
        Endpoints,
        groups::{self, Group},
    },
    faults::SystemUnderTest,
};

/// The writers' group, and which partitions the topic has.
async fn group(endpoints: &Endpoints, cluster: &Cluster) -> Result<(Group, BTreeSet<i32>), String> {
    groups::describe(endpoints, &cluster.names().group, &cluster.names().topic).await
}

/// The group is at rest, the extra consumer is no member, and every partition there is has been given to a writer.
async fn writers_have_everything(sut: &SystemUnderTest) -> Seen {
    let (group, all) = group(&sut.environment.verifier(), &sut.cluster).await?;
    if group.state != "Stable" {
        return Err(format!("the group is {}", group.state));
    }
    if group.members.iter().any(|(name, _)| name == rebalance::NAME) {
        return Err("the extra consumer is still a member".to_owned());
    }
    let assigned = group.assigned();
    match all.difference(&assigned).count() {
        0 => Ok(format!("{} writers hold all {} partitions", group.members.len(), all.len())),
        missing => Err(format!("{missing} of {} partitions are given to nobody", all.len())),
    }
}
