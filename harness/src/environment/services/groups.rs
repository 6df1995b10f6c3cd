//! Consumer groups as the broker describes them to somebody who is no member.

use std::{collections::BTreeSet, time::Duration};

use rdkafka::{
    consumer::{BaseConsumer, Consumer},
    error::{KafkaError, KafkaResult},
};

use crate::environment::contract::Endpoints;

/// One question to the broker is answered within this, or it is away: a busy machine may stall for some seconds.
pub(crate) const QUESTION_LIMIT: Duration = Duration::from_secs(10);

/// A consumer group, described by the broker to a client that is no member.
#[derive(Debug)]
pub struct Group {
    /// `Stable` when nobody is coming or going.
    pub state: String,
    /// Names of the clients and the partitions they were given.
    pub members: Vec<(String, Vec<i32>)>,
}

impl Group {
    /// Every partition that somebody was given.
    pub fn assigned(&self) -> BTreeSet<i32> {
        self.members.iter().flat_map(|(_, partitions)| partitions).copied().collect()
    }
}

/// Asks for a group, and which partitions a topic has.
///
/// # Errors
///
/// What the broker, or its silence, says.
pub async fn describe(
    endpoints: &Endpoints,
    group: &str,
    topic: &str,
) -> Result<(Group, BTreeSet<i32>), String> {
    let (endpoints, name, topic) = (endpoints.clone(), group.to_owned(), topic.to_owned());
    let ask = move || {
        let consumer = consumer(&endpoints)?;
        let all = partitions(&consumer, &topic)?;
        let list = consumer.fetch_group_list(Some(&name), QUESTION_LIMIT)?;
        let described = list.groups().iter().find(|group| group.name() == name).map(|group| {
            let members = group.members().iter().map(|member| {
                let partitions = member.assignment().and_then(assignment).unwrap_or_default();
                (member.client_id().to_owned(), partitions)
            });
            Group { state: group.state().to_owned(), members: members.collect() }
        });
        let nobody = || Group { state: "unknown".to_owned(), members: Vec::new() };
        Ok::<_, KafkaError>((described.unwrap_or_else(nobody), all))
    };
    blocking(ask).await
}

/// The partitions in a member's assignment, as the consumer protocol writes them: a version, then topics, each with its
/// partitions.
fn assignment(bytes: &[u8]) -> Option<Vec<i32>> {
    fn take<'a>(bytes: &mut &'a [u8], count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = bytes.split_at_checked(count)?;
        *bytes = rest;
        Some(taken)
    }
    fn number(bytes: &mut &[u8]) -> Option<i32> {
        Some(i32::from_be_bytes(take(bytes, 4)?.try_into().ok()?))
    }
    let mut rest = bytes;
    take(&mut rest, 2)?;
    let mut partitions = Vec::new();
    for _ in 0..number(&mut rest)? {
        let length = i16::from_be_bytes(take(&mut rest, 2)?.try_into().ok()?);
        take(&mut rest, usize::try_from(length).ok()?)?;
        for _ in 0..number(&mut rest)? {
            partitions.push(number(&mut rest)?);
        }
    }
    Some(partitions)
}

/// A client that reads and is a member of nothing.
pub(crate) fn consumer(endpoints: &Endpoints) -> KafkaResult<BaseConsumer> {
    // Assigned by hand and never committed: the name only satisfies the client.
    let mut config = endpoints.kafka_client();
    config.set("group.id", "squall-probe").set("client.id", "squall-probe");
    config.set("enable.auto.commit", "false").set("fetch.wait.max.ms", "50").create()
}

/// The partitions of a topic.
pub(crate) fn partitions(consumer: &BaseConsumer, topic: &str) -> KafkaResult<BTreeSet<i32>> {
    let metadata = consumer.fetch_metadata(Some(topic), QUESTION_LIMIT)?;
    let partitions = metadata.topics().iter().flat_map(|topic| topic.partitions());
    Ok(partitions.map(|partition| partition.id()).collect())
}

/// Asks a client that blocks, off the runtime.
pub(crate) async fn blocking<T: Send + 'static>(
    ask: impl FnOnce() -> Result<T, KafkaError> + Send + 'static,
) -> Result<T, String> {
    let asked = tokio::task::spawn_blocking(ask).await.map_err(|error| error.to_string())?;
    asked.map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::assignment;

    #[test]
    fn an_assignment_is_read_as_the_protocol_writes_it() {
        let mut bytes = vec![0, 1, 0, 0, 0, 1, 0, 2, b'a', b'b', 0, 0, 0, 2, 0, 0, 0, 5, 0, 0, 0, 11];
        bytes.extend([0, 0, 0, 0]); // user data
        assert_eq!(assignment(&bytes), Some(vec![5, 11]));
        assert_eq!(assignment(&[0, 1, 0, 0, 0, 0]), Some(vec![]));
        assert_eq!(assignment(&[]), None);
    }
}
