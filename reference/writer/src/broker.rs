//! Kafka apart from the records: creates the topics, and watches Kafka's health and the lag.
//!
//! It has a connection of its own, outside the group, on a thread of its own, since librdkafka's metadata calls block;
//! neither a slow answer here nor a pause there disturbs the other.

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use chat_process::kafka::Quiet;
use metrics::gauge;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use tokio_util::sync::CancellationToken;

use crate::config::Config;
use crate::health::Status;

/// How often Kafka is looked at while it answers; how stale the lag on `/metrics` may be.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// How often while it does not answer, or the topics are not there yet: a start waits for this.
const LOOK_AGAIN: Duration = Duration::from_millis(250);

/// How long one look may take.
const LOOK_TIMEOUT: Duration = Duration::from_secs(1);

/// How long creating the topics may take.
const CREATE_TIMEOUT: Duration = Duration::from_secs(10);

/// Starts the watcher. The thread ends within a second or so of `stop`; nothing waits for it.
///
/// # Errors
///
/// An option is unknown or wrong, or no thread could be started.
pub fn watch(config: Arc<Config>, status: Arc<Status>, stop: CancellationToken) -> std::io::Result<()> {
    let runtime = tokio::runtime::Handle::current();
    thread::Builder::new().name("kafka-watch".to_owned()).spawn(move || {
        let watcher = config.kafka_client().create_with_context(Quiet);
        let watcher: BaseConsumer<Quiet> = match watcher {
            Ok(watcher) => watcher,
            Err(error) => return tracing::error!(%error, "kafka watcher"),
        };
        let mut created = false;
        while !stop.is_cancelled() {
            let looked = look(&watcher, &config, &status);
            status.set_kafka(looked.is_ok());
            if looked.is_ok() && !created {
                match runtime.block_on(create_topics(&config)) {
                    Ok(()) => created = true,
                    Err(error) => tracing::warn!(%error, "creating topics"),
                }
            }
            let pause = if created && looked.is_ok() { LOOK_EVERY } else { LOOK_AGAIN };
            let _ = runtime.block_on(async { tokio::time::timeout(pause, stop.cancelled()).await });
        }
    })?;
    Ok(())
}

fn look(watcher: &BaseConsumer<Quiet>, config: &Config, status: &Status) -> KafkaResult<()> {
    // Serves librdkafka's error events; without a group nothing else arrives.
    let _ = watcher.poll(Duration::ZERO);
    watcher.fetch_metadata(Some(&config.topic), LOOK_TIMEOUT)?;
    for (partition, next) in status.places() {
        let (_, end) = watcher.fetch_watermarks(&config.topic, partition, LOOK_TIMEOUT)?;
        #[expect(
            clippy::cast_precision_loss,
            reason = "a lag beyond 2^53 records would be the smaller problem"
        )]
        gauge!("chat_writer_lag_records", "partition" => partition.to_string())
            .set((end - next).max(0) as f64);
    }
    Ok(())
}

async fn create_topics(config: &Config) -> KafkaResult<()> {
    let admin: AdminClient<Quiet> = config.kafka_client().create_with_context(Quiet)?;
    // -1: as many replicas as the cluster is configured to want.
    let topics = [
        NewTopic::new(&config.topic, config.partitions, TopicReplication::Fixed(-1)),
        NewTopic::new(&config.dead_letter_topic, 1, TopicReplication::Fixed(-1)),
    ];
    let options =
        AdminOptions::new().operation_timeout(Some(CREATE_TIMEOUT)).request_timeout(Some(CREATE_TIMEOUT));
    for outcome in admin.create_topics(&topics, &options).await? {
        match outcome {
            Ok(topic) => tracing::info!(topic, "created"),
            Err((_, RDKafkaErrorCode::TopicAlreadyExists)) => {}
            // Managed services often forbid it; then the topics must be there, and usually are.
            Err((
                topic,
                RDKafkaErrorCode::TopicAuthorizationFailed | RDKafkaErrorCode::ClusterAuthorizationFailed,
            )) => {
                tracing::warn!(topic, "not allowed to create topics; expecting it to exist");
            }
            Err((_, code)) => return Err(KafkaError::AdminOp(code)),
        }
    }
    Ok(())
}
