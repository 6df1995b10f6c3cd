//! Kafka asked for its brokers. Without encryption by hand, in one round trip; else through librdkafka.

use std::{
    net::SocketAddr,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use futures_util::future::select_ok;
use rdkafka::{
    ClientContext,
    error::{KafkaError, RDKafkaErrorCode},
    message::DeliveryResult,
    producer::{BaseProducer, Producer, ProducerContext},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use super::Answer;
use crate::environment::{addresses::bootstrap, contract::Endpoints};

/// A question that waits for its answer looks up after twice this whether there is any hope of one, and then is asked again
/// for twice as long, as an answer that is slow needs.
const FIRST_SLICE: Duration = Duration::from_millis(50);

/// Errors that librdkafka tells of between two looks, each in a poll of its own: two for each broker that goes.
const ERRORS_AT_ONCE: u32 = 16;

/// How long a server that refuses may go on doing so: its name may have a second address (`localhost` has, usually), which
/// the client tries next.
const SECOND_ADDRESS: Duration = Duration::from_millis(500);

/// Longest answer accepted: a list of a few brokers and no topics takes some hundred bytes.
const ANSWER_LIMIT_BYTES: usize = 1024 * 1024;

/// Metadata request, version 4: the oldest that lets us ask for no topics without making any.
const METADATA: (i16, i16) = (3, 4);

pub(super) async fn ask(at: &Endpoints, limit: Duration) -> Result<Answer, String> {
    if !at.kafka_options.is_empty() {
        return by_library(at, limit).await;
    }
    // As a client does, which is content with any of them.
    let asked = bootstrap(&at.kafka_brokers).into_iter().map(|address| Box::pin(by_hand(address)));
    let asked: Vec<_> = asked.collect();
    if asked.is_empty() {
        return Err("no bootstrap server is named".to_owned());
    }
    select_ok(asked).await.map(|(answer, _)| answer)
}

async fn by_hand(address: String) -> Result<Answer, String> {
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

async fn by_library(at: &Endpoints, limit: Duration) -> Result<Answer, String> {
    let asked = Instant::now();
    let count = metadata(at, limit).await?.len();
    Ok(Answer { said: format!("{count} broker(s) in the metadata"), round_trip: asked.elapsed() })
}

/// `host:port` of every broker, as the cluster advertises them to whoever asks at these addresses.
pub(crate) async fn metadata(at: &Endpoints, limit: Duration) -> Result<Vec<String>, String> {
    let mut config = at.kafka_client();
    config.set("log_level", "2").set("reconnect.backoff.ms", "50");
    let one_address = |place: &String| place.parse::<SocketAddr>().is_ok();
    let addresses = bootstrap(&at.kafka_brokers).iter().all(one_address);
    let patience = if addresses { Duration::ZERO } else { SECOND_ADDRESS };
    let asking = tokio::task::spawn_blocking(move || {
        let deadline = Instant::now() + limit;
        // A producer without messages: unlike a consumer, it is dropped at once when no broker answers.
        let client: BaseProducer<Reasons> =
            config.create_with_context(Reasons::default()).map_err(|error| error.to_string())?;
        let mut slice = FIRST_SLICE;
        loop {
            slice = (slice * 2).min(deadline.saturating_duration_since(Instant::now()));
            match client.client().fetch_metadata(None, slice) {
                Ok(metadata) => {
                    let brokers = metadata.brokers().iter();
                    return Ok(brokers.map(|it| format!("{}:{}", it.host(), it.port())).collect());
                }
                Err(error) => {
                    // The error of the question never says why; what the client met meanwhile does.
                    (0..ERRORS_AT_ONCE).for_each(|_| client.poll(Duration::ZERO));
                    if let Some(reason) = client.context().hopeless(patience) {
                        return Err(reason);
                    }
                    if Instant::now() >= deadline {
                        return Err(client.context().last().unwrap_or_else(|| error.to_string()));
                    }
                }
            }
        }
    });
    let brokers: Vec<String> = asking.await.map_err(|error| error.to_string())??;
    if brokers.is_empty() { Err("no broker is registered".to_owned()) } else { Ok(brokers) }
}

/// What librdkafka tells of an error that it met, and when.
#[derive(Debug)]
struct Met {
    at: Instant,
    code: Option<RDKafkaErrorCode>,
    reason: String,
}

/// All of them, in order.
#[derive(Debug, Default)]
struct Reasons(Mutex<Vec<Met>>);

impl Reasons {
    fn told(&self) -> MutexGuard<'_, Vec<Met>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Why waiting longer would not help: whom we ask is not whom we trust, or does not let us in, or nobody has been there
    /// for so long.
    fn hopeless(&self, patience: Duration) -> Option<String> {
        let told = self.told();
        let refused = told
            .iter()
            .find(|met| matches!(met.code, Some(RDKafkaErrorCode::SSL | RDKafkaErrorCode::Authentication)));
        let nobody = told.iter().find(|met| met.code == Some(RDKafkaErrorCode::AllBrokersDown));
        let gone = nobody.filter(|met| met.at.elapsed() >= patience);
        refused.or_else(|| gone.and(told.first())).map(|met| met.reason.clone())
    }

    fn last(&self) -> Option<String> {
        self.told().last().map(|met| met.reason.clone())
    }
}

impl ClientContext for Reasons {
    fn error(&self, error: KafkaError, reason: &str) {
        let met = Met { at: Instant::now(), code: error.rdkafka_error_code(), reason: reason.to_owned() };
        self.told().push(met);
    }
}

impl ProducerContext for Reasons {
    type DeliveryOpaque = ();
    fn delivery(&self, _: &DeliveryResult<'_>, (): ()) {}
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
