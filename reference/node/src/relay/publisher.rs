//! Publishes messages in the order they are given, and says of each whether Redis took it.
//!
//! Beside the bus's own publisher and not through it: that one drops what Redis does not take and tells nobody, as the
//! log knows better. Here Redis's answer is what an ack rests on.

use chat_protocol::bus::BusFrame;
use fred::{
    clients::{Client, WithOptions},
    interfaces::PubsubInterface,
};
use futures_util::stream::{FuturesUnordered, StreamExt};
use tokio::sync::{mpsc, oneshot};

use crate::limits;

/// Why a message was not published, or may not have been.
#[derive(Debug, thiserror::Error)]
pub enum NotPublished {
    /// The queue is full. Nothing was written.
    #[error("too many messages wait for Redis")]
    Full,
    /// Redis is away, or did not answer: then it may have taken the message all the same.
    #[error("Redis did not take the message: {0}")]
    Redis(#[from] fred::error::Error),
    /// No answer within the ack time-out.
    #[error("Redis did not confirm in time")]
    TimedOut,
}

/// Redis's answer.
pub type Taken = oneshot::Receiver<Result<(), NotPublished>>;

struct Waiting {
    text: String,
    answer: oneshot::Sender<Result<(), NotPublished>>,
}

/// A handle of the publisher's task.
#[derive(Debug, Clone)]
pub struct Publisher {
    waiting: mpsc::Sender<Waiting>,
}

impl std::fmt::Debug for Waiting {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Waiting").field("bytes", &self.text.len()).finish_non_exhaustive()
    }
}

impl Publisher {
    /// Starts the task.
    pub fn start(client: WithOptions<Client>, channel: &str) -> Self {
        let (waiting, queue) = mpsc::channel(limits::BUS_QUEUE);
        tokio::spawn(publish(client, channel.to_owned(), queue));
        Self { waiting }
    }

    /// Puts a frame into the queue.
    ///
    /// # Errors
    ///
    /// [`NotPublished::Full`] when there is no room.
    pub fn publish(&self, frame: &BusFrame) -> Result<Taken, NotPublished> {
        // A frame of strings and numbers always has a JSON form.
        let text = serde_json::to_string(frame).unwrap_or_default();
        let (answer, taken) = oneshot::channel();
        self.waiting.try_send(Waiting { text, answer }).map_err(|_| NotPublished::Full)?;
        Ok(taken)
    }
}

async fn publish(client: WithOptions<Client>, channel: String, mut queue: mpsc::Receiver<Waiting>) {
    let mut in_flight = FuturesUnordered::new();
    loop {
        let Waiting { text, answer } = tokio::select! {
            waiting = queue.recv(), if in_flight.len() < limits::BUS_IN_FLIGHT => match waiting {
                Some(waiting) => waiting,
                None => return,
            },
            Some(()) = in_flight.next(), if !in_flight.is_empty() => continue,
        };
        // Its sender was told `unavailable` while it waited here: then let nothing be written.
        if answer.is_closed() {
            continue;
        }
        let published = client.publish::<i64, _, _>(channel.as_str(), text);
        in_flight.push(async move {
            // How many heard it is not asked: Redis took it, and that is all this topology promises.
            let outcome = published.await.map(|_heard| ()).map_err(NotPublished::from);
            // A sender that no longer waits is no reason to stop.
            drop(answer.send(outcome));
        });
    }
}
