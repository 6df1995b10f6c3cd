//! Creates the topic when it is absent, and sees to it that it takes what this node writes.

use std::time::Duration;

use rdkafka::{
    admin::{AdminClient, AdminOptions, NewTopic, ResourceSpecifier, TopicReplication},
    client::DefaultClientContext,
    error::RDKafkaErrorCode,
};
use tracing::{debug, info, warn};

use crate::{config::Config, health::Health, limits};

use super::{BadSettings, client};

/// As many replicas as the cluster is configured to want (KIP-464).
const CLUSTERS_OWN: i32 = -1;
/// Longest wait for the controller.
const CREATE: Duration = Duration::from_secs(3);
/// Pause before trying again.
const AGAIN: Duration = Duration::from_millis(500);

/// Tries until the topic exists, and then looks at how it is set up now and then. Does not come back.
///
/// # Errors
///
/// When librdkafka does not take the settings.
pub async fn look_after(config: &Config, health: &Health) -> Result<(), BadSettings> {
    let admin: AdminClient<DefaultClientContext> = client(config, "admin").create()?;
    let options = AdminOptions::new().request_timeout(Some(CREATE)).operation_timeout(Some(CREATE));
    create(config, health, &admin, &options).await;
    let mut pace = tokio::time::interval(limits::TOPIC_EVERY);
    pace.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        pace.tick().await;
        // Kafka may be away, or not tell this user: then what is known stands, and the sends will show.
        match most_bytes(&config.topic, &admin, &options).await {
            Some(most) => health.topic_suits(takes(&config.topic, most)),
            None => debug!("the topic's limit is not known"),
        }
    }
}

async fn create(
    config: &Config,
    health: &Health,
    admin: &AdminClient<DefaultClientContext>,
    options: &AdminOptions,
) {
    let mut pace = tokio::time::interval(AGAIN);
    loop {
        pace.tick().await;
        let replicas = TopicReplication::Fixed(config.replicas.unwrap_or(CLUSTERS_OWN));
        let topic = NewTopic::new(&config.topic, config.partitions, replicas);
        match admin.create_topics([&topic], options).await.map(|mut results| results.pop()) {
            Ok(Some(Ok(name))) => {
                info!(topic = %name, partitions = config.partitions, "created the topic");
                return;
            }
            Ok(Some(Err((_, RDKafkaErrorCode::TopicAlreadyExists)))) => return,
            Ok(Some(Err((topic, code)))) => {
                health.refused("kafka", format!("cannot create the topic {topic}: {code}; {}", how(code)));
                // A managed cluster may not let us create topics; if it exists, the ends of the log will show.
                if is_forbidden(code) {
                    return;
                }
            }
            Ok(None) => warn!("cannot create the topic yet"),
            Err(error) => warn!(%error, "cannot create the topic yet"),
        }
    }
}

fn is_forbidden(code: RDKafkaErrorCode) -> bool {
    matches!(code, RDKafkaErrorCode::TopicAuthorizationFailed | RDKafkaErrorCode::ClusterAuthorizationFailed)
}

/// What to do about a topic that cannot be created.
fn how(code: RDKafkaErrorCode) -> &'static str {
    match code {
        RDKafkaErrorCode::InvalidReplicationFactor => "give --replicas, no more than there are brokers",
        _ if is_forbidden(code) => "let this user create it, or create it beforehand",
        _ => "it is tried again",
    }
}

/// Bytes of the largest batch that the topic takes, if Kafka says so.
async fn most_bytes(
    topic: &str,
    admin: &AdminClient<DefaultClientContext>,
    options: &AdminOptions,
) -> Option<usize> {
    let asked = admin.describe_configs([&ResourceSpecifier::Topic(topic)], options).await.ok()?;
    let described = asked.into_iter().next()?.ok()?;
    described.get("max.message.bytes")?.value.as_ref()?.parse().ok()
}

fn takes(topic: &str, most: usize) -> Result<(), String> {
    if most >= limits::RECORD_BYTES {
        return Ok(());
    }
    Err(format!(
        "the topic {topic} takes {most} bytes at a time, and this node writes up to {}: raise max.message.bytes of the topic, or message.max.bytes of the brokers",
        limits::RECORD_BYTES
    ))
}
