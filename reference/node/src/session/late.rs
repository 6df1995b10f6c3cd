//! Planted bug `ack-before-produce`: the ack first, with a guessed position, and the log later, perhaps.

use std::{
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use chat_protocol::{ChatRecord, Position, events::Sent};
use tokio::sync::mpsc;

use crate::{
    bugs::{Bug, LATE_PRODUCE_BUFFER, LATE_PRODUCE_FORGETS_EVERY, LATE_PRODUCE_MS, wronged},
    node::Node,
    sequencer::Via,
};

use super::answer::Answer;

/// Produces late, from a buffer that overflows.
#[derive(Debug, Default)]
pub struct LateProducer {
    buffer: OnceLock<mpsc::Sender<(Instant, i32, ChatRecord)>>,
    sent: AtomicU64,
}

impl LateProducer {
    pub(super) fn send(&self, node: &Arc<Node>, partition: i32, record: ChatRecord, answer: Answer) {
        let guess = node.hub.partition(partition).and_then(crate::partition::Partition::next).unwrap_or(0);
        node.meters.acked.increment(1);
        // Every one: where it will stand, if it ever does, is a guess.
        wronged(Bug::AckBeforeProduce, &record);
        answer.ok(Sent { id: record.id.clone(), position: Some(Position { partition, offset: guess }) });
        if (self.sent.fetch_add(1, Ordering::Relaxed) + 1).is_multiple_of(LATE_PRODUCE_FORGETS_EVERY) {
            return;
        }
        let buffer = self.buffer.get_or_init(|| {
            let (buffer, queue) = mpsc::channel(LATE_PRODUCE_BUFFER);
            tokio::spawn(produce(Arc::clone(node), queue));
            buffer
        });
        drop(buffer.try_send((Instant::now() + Duration::from_millis(LATE_PRODUCE_MS), partition, record)));
    }
}

async fn produce(node: Arc<Node>, mut queue: mpsc::Receiver<(Instant, i32, ChatRecord)>) {
    while let Some((due, partition, record)) = queue.recv().await {
        tokio::time::sleep_until(due.into()).await;
        let Ok(confirmation) = node.producer.enqueue(partition, &record) else { continue };
        let node = Arc::clone(&node);
        tokio::spawn(async move {
            if let Ok(Ok(position)) = confirmation.await {
                let record = Arc::new(record);
                node.hub.offer(position, Arc::clone(&record), Via::Own);
                node.bus.message(position, &record);
            }
        });
    }
}
