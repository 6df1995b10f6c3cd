//! Records that the writers set aside.

use chat_protocol::dead_letter::{OFFSET, PARTITION, REASON};
use rdkafka::{
    Message,
    message::{BorrowedMessage, Headers},
};

/// What a dead letter says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadLetter {
    /// Partition and offset of the record that was set aside.
    pub place: Option<(i32, i64)>,
    /// Why it was.
    pub reason: Option<String>,
}

impl DeadLetter {
    /// Reads its headers.
    pub fn of(record: &BorrowedMessage<'_>) -> Self {
        let header = |name: &str| {
            let mut headers = record.headers().into_iter().flat_map(Headers::iter);
            let value = headers.find(|header| header.key == name)?.value?;
            Some(String::from_utf8_lossy(value).into_owned())
        };
        let place = || Some((header(PARTITION)?.parse().ok()?, header(OFFSET)?.parse().ok()?));
        Self { place: place(), reason: header(REASON) }
    }
}
