//! Asks Kafka again and again where the log ends.
//!
//! This gives the first position of every partition at start; it finds messages whose node died after Kafka had them
//! and before the bus did; and it is how the node knows whether Kafka answers.

use std::{sync::Arc, time::Instant};

use chat_protocol::Position;
use rdkafka::{
    Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer},
    error::KafkaResult,
};
use tracing::warn;

use crate::{config::Config, health::Health, hub::Hub, limits};

use super::{BadSettings, consumer};

/// Starts the thread.
///
/// # Errors
///
/// When librdkafka does not take the settings.
pub fn watch(config: &Config, hub: Arc<Hub>, health: Arc<Health>) -> Result<(), BadSettings> {
    let consumer: BaseConsumer = consumer(config, "ends").create()?;
    let (topic, partitions) = (config.topic.clone(), config.partitions);
    std::thread::spawn(move || {
        let mut answered = true;
        loop {
            let asked = Instant::now();
            match ask(&consumer, &topic, partitions) {
                Ok(ends) => {
                    hub.log_ends_at(&ends);
                    if ends.len() == usize::try_from(partitions).unwrap_or(0) {
                        health.kafka_answered();
                    } else if let Some(reason) = too_few(&consumer, &topic, partitions) {
                        health.refused("kafka", reason);
                    }
                    answered = true;
                }
                Err(error) => {
                    health.kafka_failed();
                    if answered {
                        warn!(%error, "kafka does not say where the log ends");
                    }
                    answered = false;
                }
            }
            // The poll serves librdkafka's callbacks, and is the pause until the next question.
            while asked.elapsed() < limits::LOG_END_EVERY {
                drop(consumer.poll(limits::LOG_END_EVERY / 5));
            }
        }
    });
    Ok(())
}

/// Whether the topic has fewer partitions than this node was told of: then a room may live in none. More are no harm, as
/// they may be added while a cluster runs.
fn too_few(consumer: &BaseConsumer, topic: &str, partitions: i32) -> Option<String> {
    let metadata = consumer.fetch_metadata(Some(topic), limits::LOG_QUERY).ok()?;
    let there = metadata.topics().first()?.partitions().len();
    (1..usize::try_from(partitions).unwrap_or(0)).contains(&there).then(|| {
        format!("the topic {topic} has {there} partitions, and this node was told of {partitions}: correct --partitions")
    })
}

/// The ends of all partitions that exist, in one question to each broker.
fn ask(consumer: &BaseConsumer, topic: &str, partitions: i32) -> KafkaResult<Vec<Position>> {
    let mut question = TopicPartitionList::new();
    for partition in 0..partitions {
        question.add_partition_offset(topic, partition, Offset::End)?;
    }
    let answer = consumer.offsets_for_times(question, limits::LOG_QUERY)?;
    let known =
        answer.elements().into_iter().filter_map(|element| match (element.error(), element.offset()) {
            (Ok(()), Offset::Offset(offset)) => Some(Position { partition: element.partition(), offset }),
            _ => None,
        });
    Ok(known.collect())
}
