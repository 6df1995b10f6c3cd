//! What is held in memory and when it is due. Pure: told the time, never asks for it.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use chat_protocol::{ChatRecord, Position};

/// One record of the log, decoded as far as it can be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Where it stands.
    pub position: Position,
    /// The key as it was, for the dead-letter topic.
    pub key: Option<Vec<u8>>,
    /// The value as it was, for the dead-letter topic.
    pub payload: Option<Vec<u8>>,
    /// The message, or why it cannot become a row.
    pub content: Result<ChatRecord, String>,
}

impl Entry {
    /// Decodes and checks a record.
    pub fn read(position: Position, key: Option<&[u8]>, payload: Option<&[u8]>) -> Self {
        let content = match payload {
            None => Err("the record has no value".to_owned()),
            Some(bytes) => ChatRecord::read(bytes).map_err(|error| error.to_string()),
        };
        Self { position, key: key.map(Into::into), payload: payload.map(Into::into), content }
    }

    fn bytes(&self) -> usize {
        self.payload.as_ref().map_or(0, Vec::len)
    }
}

/// When a batch is due, whichever comes first.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Records in it.
    pub records: usize,
    /// Bytes of payload in it.
    pub bytes: usize,
    /// Age of its oldest record.
    pub age: Duration,
}

/// Records that were read and not yet written.
#[derive(Debug)]
pub struct Batch {
    limits: Limits,
    entries: Vec<Entry>,
    bytes: usize,
    due: Option<Instant>,
}

impl Batch {
    /// An empty batch.
    pub fn new(limits: Limits) -> Self {
        Self { limits, entries: Vec::new(), bytes: 0, due: None }
    }

    /// Adds a record read at `now`.
    pub fn push(&mut self, entry: Entry, now: Instant) {
        self.due.get_or_insert(now + self.limits.age);
        self.bytes += entry.bytes();
        self.entries.push(entry);
        if self.is_full() {
            self.due = Some(now);
        }
    }

    /// An empty one with the same limits.
    pub fn another(&self) -> Self {
        Self::new(self.limits)
    }

    /// True if no more should be added.
    pub fn is_full(&self) -> bool {
        self.entries.len() >= self.limits.records || self.bytes >= self.limits.bytes
    }

    /// True if it holds nothing.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// When its oldest record has waited long enough, or no more should be added; `None` if it is empty.
    pub fn due(&self) -> Option<Instant> {
        self.due
    }

    /// Takes everything, by partition and offset. The fixed order lets two writers that meet on the same rows (a frozen
    /// one woke up) queue for their locks instead of dead-locking, and makes any part of the result a run of
    /// consecutive records per partition.
    pub fn take(&mut self) -> Vec<Entry> {
        let mut entries = std::mem::take(&mut self.entries);
        self.bytes = 0;
        self.due = None;
        entries.sort_by_key(|entry| entry.position);
        entries
    }

    /// Drops the records of partitions that are gone.
    pub fn forget(&mut self, partitions: &[i32]) {
        self.entries.retain(|entry| !partitions.contains(&entry.position.partition));
        self.bytes = self.entries.iter().map(Entry::bytes).sum();
        if self.entries.is_empty() {
            self.due = None;
        }
    }
}

/// The offset that follows the last record of each partition.
pub fn ends(entries: &[Entry]) -> BTreeMap<i32, i64> {
    let mut ends = BTreeMap::new();
    for entry in entries {
        let end = ends.entry(entry.position.partition).or_insert(0);
        *end = (*end).max(entry.position.offset + 1);
    }
    ends
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn entry(partition: i32, offset: i64, bytes: usize) -> Entry {
        Entry {
            position: Position { partition, offset },
            key: None,
            payload: Some(vec![b'x'; bytes]),
            content: Err(String::new()),
        }
    }

    fn limits() -> Limits {
        Limits { records: 10, bytes: 1_000, age: Duration::from_millis(50) }
    }

    #[test]
    fn a_record_that_cannot_be_a_row_says_why() {
        let at = Position { partition: 0, offset: 0 };
        let reason = |payload: Option<&[u8]>| Entry::read(at, None, payload).content.unwrap_err();
        assert!(reason(None).contains("no value"));
        assert!(reason(Some(b"{")).contains("not a chat record"));
        assert!(reason(Some(b"\xff\xfe")).contains("not a chat record"));
        let with = |body: &str| {
            format!(r#"{{"id":"m","room":"r","sender":"ann","body":"{body}","sent_at_ms":1}}"#).into_bytes()
        };
        assert!(reason(Some(&with("a\\u0000b"))).contains("U+0000"));
        assert!(reason(Some(&with("\\ud800"))).contains("not a chat record"));
        assert!(reason(Some(&with(&"x".repeat(20_000)))).contains("body"));
        assert!(Entry::read(at, None, Some(&with("hello"))).content.is_ok());
    }

    #[test]
    fn the_oldest_record_sets_the_clock() {
        let mut batch = Batch::new(limits());
        let start = Instant::now();
        batch.push(entry(0, 0, 1), start);
        batch.push(entry(0, 1, 1), start + Duration::from_millis(40));
        assert_eq!(batch.due(), Some(start + Duration::from_millis(50)));
        batch.take();
        assert_eq!(batch.due(), None);
        batch.push(entry(0, 2, 1), start + Duration::from_millis(60));
        assert_eq!(batch.due(), Some(start + Duration::from_millis(110)));
        batch.push(entry(0, 3, 1_000), start + Duration::from_millis(70));
        assert_eq!((batch.is_full(), batch.due()), (true, Some(start + Duration::from_millis(70))));
    }

    #[test]
    fn forgetting_a_partition_keeps_the_others() {
        let mut batch = Batch::new(limits());
        let now = Instant::now();
        batch.push(entry(0, 0, 10), now);
        batch.push(entry(1, 0, 10), now);
        batch.forget(&[0]);
        assert!(batch.due().is_some());
        assert_eq!(batch.take(), [entry(1, 0, 10)]);
        batch.push(entry(0, 1, 10), now);
        batch.forget(&[0, 1]);
        assert_eq!((batch.is_empty(), batch.due()), (true, None));
    }

    proptest! {
        /// Whatever arrives, in whatever order: what comes out is what went in, each once and in the order of the log;
        /// no batch exceeds a limit by more than its last record; ends are one past the last of each partition.
        #[test]
        fn batches_cut_the_log_without_losing_repeating_or_reordering(
            arrivals in prop::collection::vec((0..4_i32, 1..400_usize), 0..200)
        ) {
            let mut batch = Batch::new(limits());
            let mut next = BTreeMap::<i32, i64>::new();
            let mut written = BTreeMap::<i32, Vec<i64>>::new();
            let flush = |batch: &mut Batch, written: &mut BTreeMap<i32, Vec<i64>>| {
                let entries = batch.take();
                let bytes: usize = entries.iter().map(Entry::bytes).sum();
                prop_assert!(entries.len() <= 10);
                prop_assert!(bytes < 1_000 + 400);
                for (partition, end) in ends(&entries) {
                    let last = entries.iter().rfind(|e| e.position.partition == partition).unwrap();
                    prop_assert_eq!(end, last.position.offset + 1);
                }
                for entry in entries {
                    written.entry(entry.position.partition).or_default().push(entry.position.offset);
                }
                Ok(())
            };
            let now = Instant::now();
            for (partition, bytes) in arrivals {
                let offset = next.entry(partition).or_insert(0);
                batch.push(entry(partition, *offset, bytes), now);
                *offset += 1;
                if batch.is_full() {
                    flush(&mut batch, &mut written)?;
                }
            }
            flush(&mut batch, &mut written)?;
            for (partition, count) in next {
                prop_assert_eq!(&written[&partition], &(0..count).collect::<Vec<_>>());
            }
        }
    }
}
