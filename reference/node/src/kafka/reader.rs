//! Reads pieces of the log for members that are further behind than memory reaches.
//!
//! One thread, one piece at a time: catch-ups share Kafka fairly, and a storm of them cannot open a storm of connections.

use std::{collections::HashSet, sync::Arc, time::Instant};

use chat_protocol::ChatRecord;
use rdkafka::{
    Message, Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer},
    error::KafkaError,
};
use tokio::sync::{mpsc, oneshot};

use crate::{config::Config, limits, ring::Entry};

use super::{BadSettings, consumer, is_timeout};

/// Why a piece of the log could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The log no longer has it.
    #[error("the position is no longer in the log")]
    OutOfRange,
    /// Kafka did not answer in time.
    #[error("Kafka did not answer in time")]
    TimedOut,
    /// The reader's queue is full.
    #[error("too many reads of the log are waiting")]
    Busy,
    /// Kafka answered with an error.
    #[error(transparent)]
    Kafka(#[from] KafkaError),
}

/// A piece of the log.
#[derive(Debug)]
pub struct Read {
    /// The messages asked for, without what was said before.
    pub entries: Vec<Entry>,
    /// Where to go on.
    pub next: i64,
    /// Senders and ids of the messages of the room that stand before the piece, as far as it looked back.
    pub before: Vec<(String, String)>,
}

/// Which messages of the log are wanted.
#[derive(Debug, Clone)]
pub struct Piece {
    /// Partition.
    pub partition: i32,
    /// First offset.
    pub from: i64,
    /// One past the last offset.
    pub to: i64,
    /// Of one room, or of all.
    pub room: Option<String>,
    /// At most so many.
    pub most: usize,
    /// So many records before `from` are read along, to recognise a retry of a message that stands there.
    pub look_back: i64,
}

/// The first and the next offset of a partition.
#[derive(Debug, Clone, Copy)]
pub struct Extent {
    /// First offset the log still has.
    pub low: i64,
    /// One past the last.
    pub high: i64,
}

enum Request {
    Read { piece: Piece, reply: oneshot::Sender<Result<Read, ReadError>> },
    Extent { partition: i32, reply: oneshot::Sender<Result<Extent, ReadError>> },
}

/// A handle of the reader's thread.
#[derive(Debug, Clone)]
pub struct LogReader {
    requests: mpsc::Sender<Request>,
}

impl LogReader {
    /// Starts the thread.
    ///
    /// # Errors
    ///
    /// When librdkafka does not take the settings.
    pub fn start(config: &Config) -> Result<Self, BadSettings> {
        let consumer: BaseConsumer = consumer(config, "reader").create()?;
        let topic = config.topic.clone();
        let (requests, mut queue) = mpsc::channel(limits::LOG_READS_QUEUED);
        std::thread::spawn(move || {
            while let Some(request) = queue.blocking_recv() {
                // A requester that went away is no reason to stop.
                match request {
                    Request::Read { piece, reply } => {
                        if !reply.is_closed() {
                            drop(reply.send(read(&consumer, &topic, &piece)));
                        }
                    }
                    Request::Extent { partition, reply } => {
                        drop(reply.send(extent(&consumer, &topic, partition)))
                    }
                }
            }
        });
        Ok(Self { requests })
    }

    /// Reads a piece, or its beginning.
    ///
    /// # Errors
    ///
    /// See [`ReadError`].
    pub async fn read(&self, piece: Piece) -> Result<Read, ReadError> {
        let (reply, answer) = oneshot::channel();
        self.ask(Request::Read { piece, reply }, answer).await
    }

    /// What the log has of a partition.
    ///
    /// # Errors
    ///
    /// See [`ReadError`].
    pub async fn extent(&self, partition: i32) -> Result<Extent, ReadError> {
        let (reply, answer) = oneshot::channel();
        self.ask(Request::Extent { partition, reply }, answer).await
    }

    async fn ask<T>(
        &self,
        request: Request,
        answer: oneshot::Receiver<Result<T, ReadError>>,
    ) -> Result<T, ReadError> {
        self.requests.try_send(request).map_err(|_| ReadError::Busy)?;
        answer.await.unwrap_or(Err(ReadError::TimedOut))
    }
}

fn extent(consumer: &BaseConsumer, topic: &str, partition: i32) -> Result<Extent, ReadError> {
    let (low, high) = consumer.fetch_watermarks(topic, partition, limits::LOG_QUERY)?;
    Ok(Extent { low, high })
}

fn read(consumer: &BaseConsumer, topic: &str, piece: &Piece) -> Result<Read, ReadError> {
    let start = (piece.from - piece.look_back).max(0);
    let mut assignment = TopicPartitionList::new();
    assignment.add_partition_offset(topic, piece.partition, Offset::Offset(start))?;
    consumer.assign(&assignment)?;
    let found = collect(consumer, start, piece);
    consumer.unassign()?;
    found
}

fn collect(consumer: &BaseConsumer, start: i64, piece: &Piece) -> Result<Read, ReadError> {
    let deadline = Instant::now() + limits::LOG_READ;
    let mut seen: HashSet<(String, String, String)> = HashSet::new();
    let mut read = Read { entries: Vec::new(), next: piece.from, before: Vec::new() };
    let mut first = true;
    while read.next < piece.to && read.entries.len() < piece.most {
        let left = deadline.saturating_duration_since(Instant::now());
        let message = match consumer.poll(left) {
            // What was found until now is progress.
            None if read.next > piece.from => return Ok(read),
            None => return Err(ReadError::TimedOut),
            Some(Err(error)) if is_timeout(&error) => continue,
            Some(Err(error)) => return Err(error.into()),
            Some(Ok(message)) => message,
        };
        let offset = message.offset();
        // What librdkafka had fetched for an earlier request.
        if message.partition() != piece.partition || offset < start {
            continue;
        }
        if first && offset > piece.from {
            return Err(ReadError::OutOfRange);
        }
        first = false;
        if offset >= piece.to {
            read.next = piece.to;
            break;
        }
        let record = message.payload().and_then(|bytes| ChatRecord::read(bytes).ok());
        let wanted = offset >= piece.from;
        if let Some(record) = record
            && piece.room.as_ref().is_none_or(|room| record.room == *room)
            && seen.insert((record.room.clone(), record.sender.clone(), record.id.clone()))
        {
            if wanted {
                read.entries.push((offset, Arc::new(record)));
            } else {
                read.before.push((record.sender, record.id));
            }
        }
        if wanted {
            read.next = offset + 1;
        }
    }
    Ok(read)
}
