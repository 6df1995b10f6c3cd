//! The recent messages of one partition, in memory.

use std::{collections::VecDeque, sync::Arc};

use chat_protocol::ChatRecord;

use crate::limits;

/// A message and its offset.
pub type Entry = (i64, Arc<ChatRecord>);

/// Every delivered message at or after [`Ring::start`], in order of offsets; what was passed over is not in it.
#[derive(Debug)]
pub struct Ring {
    entries: VecDeque<Entry>,
    bytes: usize,
    start: i64,
}

impl Ring {
    /// An empty ring of a log whose next message will have offset `start`.
    pub fn new(start: i64) -> Self {
        Self { entries: VecDeque::new(), bytes: 0, start }
    }

    /// The first offset the ring answers for.
    pub fn start(&self) -> i64 {
        self.start
    }

    /// Appends a message, and forgets the oldest beyond the limits.
    pub fn push(&mut self, offset: i64, record: Arc<ChatRecord>) {
        self.bytes += size(&record);
        self.entries.push_back((offset, record));
        while self.entries.len() > limits::RING_MESSAGES || self.bytes > limits::RING_BYTES {
            let Some((gone, record)) = self.entries.pop_front() else { break };
            self.bytes -= size(&record);
            self.start = gone + 1;
        }
    }

    /// Puts messages read from the log before everything in the ring, if they end exactly where it starts.
    pub fn warm(&mut self, from: i64, to: i64, older: Vec<Entry>) {
        if to != self.start || from >= to {
            return;
        }
        for (offset, record) in older.into_iter().rev() {
            if self.entries.len() >= limits::RING_MESSAGES || self.bytes + size(&record) > limits::RING_BYTES
            {
                self.start = offset + 1;
                return;
            }
            self.bytes += size(&record);
            self.entries.push_front((offset, record));
        }
        self.start = from;
    }

    /// Up to `most` messages of a room at or after `from`, and the position after the last one looked at; `None` when
    /// the ring no longer has them.
    pub fn of_room(&self, room: &str, from: i64, end: i64, most: usize) -> Option<(Vec<Entry>, i64)> {
        if from < self.start {
            return None;
        }
        let first = self.entries.partition_point(|(offset, _)| *offset < from);
        let mut found = Vec::new();
        for (offset, record) in self.entries.range(first..) {
            if record.room == room {
                if found.len() == most {
                    return Some((found, *offset));
                }
                found.push((*offset, Arc::clone(record)));
            }
        }
        Some((found, end.max(from)))
    }
}

/// What a message takes, roughly: its texts and their headers.
fn size(record: &ChatRecord) -> usize {
    record.id.len() + record.room.len() + record.sender.len() + record.body.len() + 160
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(room: &str) -> Arc<ChatRecord> {
        let text = String::from("x");
        Arc::new(ChatRecord {
            id: text.clone(),
            room: room.into(),
            sender: text.clone(),
            body: text,
            sent_at_ms: 0,
        })
    }

    #[test]
    fn a_full_ring_says_that_it_forgot() {
        let mut ring = Ring::new(0);
        for offset in 0..=i64::try_from(limits::RING_MESSAGES).unwrap() {
            ring.push(offset, record("r"));
        }
        assert_eq!(ring.start(), 1);
        assert!(ring.of_room("r", 0, 10, 10).is_none());
        assert_eq!(ring.of_room("r", 1, 10_000, 2).map(|(found, next)| (found.len(), next)), Some((2, 3)));
    }

    #[test]
    fn older_messages_go_before_the_others_only_without_a_hole() {
        let mut ring = Ring::new(10);
        ring.push(10, record("r"));
        ring.warm(5, 9, vec![(5, record("r"))]);
        assert_eq!(ring.start(), 10);
        ring.warm(5, 10, vec![(5, record("r")), (8, record("s"))]);
        assert_eq!(ring.start(), 5);
        let (found, next) = ring.of_room("r", 5, 11, 9).unwrap();
        assert_eq!(found.iter().map(|(offset, _)| *offset).collect::<Vec<_>>(), [5, 10]);
        assert_eq!(next, 11);
    }
}
