//! The order of one partition: the heart of the node.
//!
//! Messages come from three sides: the node's own sends (with the offset Kafka gave them), the Redis bus (with the
//! offset Kafka gave them to another node), and Kafka itself. Each of the three may be late, repeat itself, or be
//! silent. A [`Sequencer`] turns them into what the log says: every message, exactly once, in the order of offsets.
//!
//! - An offset below `next` was delivered: drop it.
//! - The offset `next` is delivered, and with it whatever waited for it.
//! - A higher offset waits. If what is missing does not come within [`GAP_PATIENCE`], [`Sequencer::behind`] says so,
//!   and somebody reads Kafka from `next` and brings it with [`Sequencer::tail`].
//! - What Kafka says is the truth: when its reader jumps over offsets, there is nothing there to wait for.
//!
//! Two records of one message (a client tried again after a lost ack) are told apart by nobody here: [`crate::recent`] does.
//!
//! Nothing here waits, reads a clock or takes a lock, so all of it is tested by interleaving inputs at random.

use std::{collections::BTreeMap, sync::Arc, time::Instant};

use chat_protocol::ChatRecord;

use crate::limits::{GAP_PATIENCE, REORDER_MESSAGES};

/// Which way a message came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Via {
    /// Sent by a client of this node.
    Own,
    /// Heard on the Redis bus.
    Bus,
    /// Read from Kafka.
    Tail,
}

/// A message whose turn has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    /// Its offset.
    pub offset: i64,
    /// The message.
    pub record: Arc<ChatRecord>,
    /// Which way it came.
    pub via: Via,
}

/// What became of an offered message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Offered {
    /// Its turn has come.
    Taken,
    /// Waits for its predecessors.
    Waiting,
    /// It was here before.
    Stale,
    /// No room to wait. It will be read from Kafka.
    Refused,
}

/// The state of one partition.
#[derive(Debug)]
pub struct Sequencer {
    next: i64,
    waiting: BTreeMap<i64, (Arc<ChatRecord>, Via)>,
    /// One past the highest offset known to exist.
    known_end: i64,
    /// A target that was known to exist at an instant, and has not been reached since.
    missing: Option<(i64, Instant)>,
    check: bool,
}

impl Sequencer {
    /// A sequencer that will deliver from `next` on.
    pub fn new(next: i64) -> Self {
        Self { next, waiting: BTreeMap::new(), known_end: next, missing: None, check: true }
    }

    /// Planted bug `no-dedupe`: deliver everything.
    pub fn without_checks(mut self) -> Self {
        self.check = false;
        self
    }

    /// The next offset to be delivered; everything below it was.
    pub fn next(&self) -> i64 {
        self.next
    }

    /// A message from the node itself or from the bus.
    pub fn offer(
        &mut self,
        offset: i64,
        record: Arc<ChatRecord>,
        via: Via,
        now: Instant,
        out: &mut Vec<Delivery>,
    ) -> Offered {
        if !self.check {
            self.next = self.next.max(offset + 1);
            out.push(Delivery { offset, record, via });
            return Offered::Taken;
        }
        if offset < self.next {
            return Offered::Stale;
        }
        if offset == self.next {
            self.deliver(offset, record, via, out);
            self.drain(out);
            self.settle(now);
            return Offered::Taken;
        }
        self.exists_until(offset + 1, now);
        if self.waiting.contains_key(&offset) {
            return Offered::Stale;
        }
        if self.waiting.len() >= REORDER_MESSAGES {
            return Offered::Refused;
        }
        self.waiting.insert(offset, (record, via));
        Offered::Waiting
    }

    /// What Kafka has at `offset`; `None` for a record that is no chat message. The reader reads every offset in order,
    /// so whatever lies between `next` and `offset` does not exist.
    pub fn tail(
        &mut self,
        offset: i64,
        record: Option<Arc<ChatRecord>>,
        now: Instant,
        out: &mut Vec<Delivery>,
    ) {
        if !self.check {
            self.next = self.next.max(offset + 1);
            out.extend(record.map(|record| Delivery { offset, record, via: Via::Tail }));
            return;
        }
        if offset < self.next {
            return;
        }
        while let Some(entry) = self.waiting.first_entry() {
            let earlier = *entry.key();
            if earlier > offset {
                break;
            }
            let (kept, via) = entry.remove();
            // Only a log that was cut and written again could differ here, and then the log is right.
            if earlier < offset {
                self.deliver(earlier, kept, via, out);
            }
        }
        match record {
            Some(record) => self.deliver(offset, record, Via::Tail, out),
            None => self.next = offset + 1,
        }
        self.drain(out);
        self.settle(now);
    }

    /// Somebody knows that the log reaches to `end` (one past its last offset). `since` may lie ahead: evidence that
    /// says less about when the message should have been here gives it more time.
    pub fn exists_until(&mut self, end: i64, since: Instant) {
        self.known_end = self.known_end.max(end);
        if self.known_end > self.next && self.missing.is_none_or(|(_, known)| since < known) {
            self.missing = Some((self.known_end, since));
        }
        self.settle(since);
    }

    /// Whether something known to exist has been missing for longer than [`GAP_PATIENCE`].
    pub fn behind(&self, now: Instant) -> bool {
        self.missing.is_some_and(|(_, since)| now.saturating_duration_since(since) > GAP_PATIENCE)
    }

    /// Planted bug `no-resubscribe`: jump over what is missing instead of reading it.
    pub fn give_up(&mut self, now: Instant, out: &mut Vec<Delivery>) {
        self.next = self.waiting.first_key_value().map_or(self.known_end, |(offset, _)| *offset);
        self.drain(out);
        self.settle(now);
    }

    fn deliver(&mut self, offset: i64, record: Arc<ChatRecord>, via: Via, out: &mut Vec<Delivery>) {
        self.next = offset + 1;
        out.push(Delivery { offset, record, via });
    }

    fn drain(&mut self, out: &mut Vec<Delivery>) {
        while let Some((record, via)) = self.waiting.remove(&self.next) {
            self.deliver(self.next, record, via, out);
        }
    }

    /// Starts the clock of a new gap; a gap that was filled up to its target gives way to the next one, so that a
    /// steady flow, in which there is always something on its way, never counts as being behind.
    fn settle(&mut self, now: Instant) {
        self.known_end = self.known_end.max(self.next);
        if self.missing.is_some_and(|(target, _)| self.next < target) {
            return;
        }
        self.missing = (self.known_end > self.next).then_some((self.known_end, now));
    }
}

#[cfg(test)]
mod tests;
