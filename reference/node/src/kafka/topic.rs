//! Creates the topic when it is absent.

use std::time::Duration;

use rdkafka::{
    admin::{AdminClient, AdminOptions, NewTopic, TopicReplication},
    client::DefaultClientContext,
    error::RDKafkaErrorCode,
};
use tracing::{info, warn};

use crate::config::Config;

use super::{BadSettings, client};

/// Longest wait for the controller.
const CREATE: Duration = Duration::from_secs(3);
/// Pause before trying again.
const AGAIN: Duration = Duration::from_millis(500);

/// Tries until the topic exists.
///
/// # Errors
///
/// When librdkafka does not take the settings.
pub async fn ensure(config: &Config) -> Result<(), BadSettings> {
    let admin: AdminClient<DefaultClientContext> = client(config, "admin").create()?;
    let options = AdminOptions::new().request_timeout(Some(CREATE)).operation_timeout(Some(CREATE));
    let mut pace = tokio::time::interval(AGAIN);
    loop {
        pace.tick().await;
        let topic = NewTopic::new(&config.topic, config.partitions, TopicReplication::Fixed(config.replicas));
        match admin.create_topics([&topic], &options).await.map(|mut results| results.pop()) {
            Ok(Some(Ok(name))) => {
                info!(topic = %name, partitions = config.partitions, "created the topic");
                break;
            }
            Ok(Some(Err((_, RDKafkaErrorCode::TopicAlreadyExists)))) => break,
            // A managed cluster may not let us create topics; if it exists, the ends of the log will show.
            Ok(Some(Err((_, code)))) => warn!(%code, "cannot create the topic yet"),
            Ok(None) => warn!("cannot create the topic yet"),
            Err(error) => warn!(%error, "cannot create the topic yet"),
        }
    }
    // Dropping the client may block while brokers are away.
    drop(tokio::task::spawn_blocking(move || drop(admin)));
    Ok(())
}
