//! What benchmarks of parts are fed with.

use std::sync::Arc;

use chat_protocol::{ChatRecord, Position};

/// Somebody's message of 180 bytes.
pub fn record(number: i64) -> ChatRecord {
    ChatRecord {
        id: format!("m{number}"),
        room: format!("room-{}", number % 12),
        sender: "user-42".to_owned(),
        body: "squall front gust hail cloud storm calm tide ".repeat(4),
        sent_at_ms: 1_700_000_000_000,
    }
}

/// Records as a writer reads them from Kafka: twelve partitions in turn.
pub fn payloads(records: i64) -> Vec<(Position, Vec<u8>)> {
    let payload = |number: i64| {
        let position = Position { partition: i32::try_from(number % 12).unwrap_or(0), offset: number / 12 };
        (position, serde_json::to_vec(&record(number)).unwrap_or_default())
    };
    (0..records).map(payload).collect()
}

/// Messages of one partition, by offset.
pub type Sequence = Vec<(i64, Arc<ChatRecord>)>;

/// In the order of the log.
pub fn in_order(messages: i64) -> Sequence {
    (0..messages).map(|number| (number, Arc::new(record(number)))).collect()
}

/// Neighbours swapped: what two nodes racing on the bus look like.
pub fn swapped(messages: i64) -> Sequence {
    let mut sequence = in_order(messages);
    sequence.chunks_mut(2).for_each(<[_]>::reverse);
    sequence
}

/// Each one twice: by the bus, and by the log.
pub fn twice(messages: i64) -> Sequence {
    in_order(messages).into_iter().flat_map(|pair| [pair.clone(), pair]).collect()
}
