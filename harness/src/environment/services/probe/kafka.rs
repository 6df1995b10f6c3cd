//! Kafka asked for its brokers. Without encryption by hand, in one round trip; else through librdkafka.

use std::time::{Duration, Instant};

use rdkafka::{
    ClientConfig,
    producer::{BaseProducer, Producer},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use super::Answer;
use crate::environment::contract::Endpoints;

/// Longest answer accepted: a list of a few brokers and no topics takes some hundred bytes.
const ANSWER_LIMIT_BYTES: usize = 1024 * 1024;

/// Metadata request, version 4: the oldest that lets us ask for no topics without making any.
const METADATA: (i16, i16) = (3, 4);

pub(super) async fn ask(at: &Endpoints, limit: Duration) -> Result<Answer, String> {
    if at.kafka_options.is_empty() {
        let first = at.kafka_brokers.split(',').next().unwrap_or_default();
        return by_hand(first).await;
    }
    by_library(at.clone(), limit).await
}

async fn by_hand(address: &str) -> Result<Answer, String> {
    let mut stream = TcpStream::connect(address).await.map_err(|error| error.to_string())?;
    let asked = Instant::now();
    stream.write_all(&request()).await.map_err(|error| error.to_string())?;
    let length = stream.read_i32().await.map_err(|error| error.to_string())?;
    let length = usize::try_from(length).ok().filter(|length| *length <= ANSWER_LIMIT_BYTES);
    let mut answer = vec![0; length.ok_or("it does not speak Kafka's protocol")?];
    stream.read_exact(&mut answer).await.map_err(|error| error.to_string())?;
    let round_trip = asked.elapsed();
    match brokers(&answer).ok_or("it answered something else than metadata")? {
        0 => Err("no broker is registered yet".to_owned()),
        count => Ok(Answer { said: format!("{count} broker(s) in the metadata"), round_trip }),
    }
}

/// The request with its length in front: header version 1, no topics, none to be created.
fn request() -> Vec<u8> {
    let client = b"squall-probe";
    let mut body = Vec::new();
    body.extend(METADATA.0.to_be_bytes());
    body.extend(METADATA.1.to_be_bytes());
    body.extend(1_i32.to_be_bytes()); // correlation id
    body.extend((client.len() as i16).to_be_bytes());
    body.extend(client);
    body.extend(0_i32.to_be_bytes()); // topics
    body.push(0); // allow_auto_topic_creation
    let mut message = (body.len() as i32).to_be_bytes().to_vec();
    message.append(&mut body);
    message
}

/// How many brokers an answer lists: correlation id, throttle time, then the array of brokers.
fn brokers(answer: &[u8]) -> Option<i32> {
    let correlation = i32::from_be_bytes(answer.get(..4)?.try_into().ok()?);
    let count = i32::from_be_bytes(answer.get(8..12)?.try_into().ok()?);
    (correlation == 1).then_some(count)
}

async fn by_library(at: Endpoints, limit: Duration) -> Result<Answer, String> {
    let asked = Instant::now();
    let asking = tokio::task::spawn_blocking(move || {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &at.kafka_brokers).set("log_level", "2");
        config.extend(at.kafka_options);
        // A producer without messages: unlike a consumer, it is dropped at once when no broker answers.
        let client: BaseProducer = config.create().map_err(|error| error.to_string())?;
        let metadata = client.client().fetch_metadata(None, limit).map_err(|error| error.to_string())?;
        Ok(metadata.brokers().len())
    });
    match asking.await.map_err(|error| error.to_string())? {
        Ok(0) => Err("no broker is registered".to_owned()),
        Ok(count) => {
            Ok(Answer { said: format!("{count} broker(s) in the metadata"), round_trip: asked.elapsed() })
        }
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_request_says_its_own_length() {
        let message = request();
        let length = i32::from_be_bytes(message[..4].try_into().unwrap());
        assert_eq!(usize::try_from(length).unwrap(), message.len() - 4);
    }

    #[test]
    fn an_answer_to_another_question_is_no_answer() {
        assert_eq!(brokers(&[0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 1]), None);
        assert_eq!(brokers(&[0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 3]), Some(3));
        assert_eq!(brokers(&[0, 0]), None);
    }
}
