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

/// Answers in a row by which the log is shorter than it was. One could be that of a broker that has just become its leader.
const SHORTER_BEFORE_IT_IS_SO: u32 = 3;

/// Starts the thread.
///
/// # Errors
///
/// When librdkafka does not take the settings.
pub fn watch(config: &Config, hub: Arc<Hub>, health: Arc<Health>) -> Result<(), BadSettings> {
    let consumer: BaseConsumer = consumer(config, "ends").create()?;
    let (topic, partitions) = (config.topic.clone(), config.partitions);
    std::thread::spawn(move || {
        let (mut answered, mut shorter) = (true, 0);
        loop {
            let asked = Instant::now();
            // Before the question: what is delivered while it is answered is no contradiction to the answer.
            let had = hub.positions();
            match ask(&consumer, &topic, partitions) {
                Ok(ends) => {
                    hub.log_ends_at(&ends);
                    let cut = below(&had, &ends);
                    shorter = if cut.is_some() { shorter + 1 } else { 0 };
                    if let Some((had, end)) = cut {
                        health.kafka_failed();
                        if shorter >= SHORTER_BEFORE_IT_IS_SO && health.broken().is_none() {
                            health.broke(made_anew(&topic, had, &format!("the log ends at {}", end.offset)));
                        }
                    } else if ends.len() == usize::try_from(partitions).unwrap_or(0) {
                        health.kafka_answered();
                    } else if let Some(reason) = amiss(&consumer, &topic, partitions, !had.is_empty()) {
                        health.kafka_failed();
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

/// A partition that ends before what was delivered of it: where this node stood, and where it ends.
fn below(had: &[Position], ends: &[Position]) -> Option<(Position, Position)> {
    let shorter = |had: &Position| {
        let end = ends.iter().find(|end| end.partition == had.partition)?;
        (end.offset < had.offset).then_some((*had, *end))
    };
    had.iter().find_map(shorter)
}

/// What to say of a log that is no longer the one this node has delivered from.
pub(crate) fn made_anew(topic: &str, at: Position, seen: &str) -> String {
    format!(
        "the topic {topic} was deleted and made anew, or cut: at offset {} of partition {} {seen}",
        at.offset, at.partition
    )
}

/// What is wrong with the topic, if it is missing, or has fewer partitions than this node was told of: then a room may live in
/// none. More are no harm, as they may be added while a cluster runs.
fn amiss(consumer: &BaseConsumer, topic: &str, partitions: i32, was_there: bool) -> Option<String> {
    let metadata = consumer.fetch_metadata(Some(topic), limits::LOG_QUERY).ok()?;
    match metadata.topics().first()?.partitions().len() {
        // Before it was there, it is about to be made.
        0 => was_there.then(|| format!("the topic {topic} is gone: make it anew, and restart the nodes")),
        there => (there < usize::try_from(partitions).unwrap_or(0)).then(|| {
            format!("the topic {topic} has {there} partitions, and this node was told of {partitions}: correct --partitions")
        }),
    }
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
