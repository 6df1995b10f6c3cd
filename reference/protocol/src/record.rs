//! The value of a Kafka record, and what makes a message acceptable.

use serde::{Deserialize, Serialize};

use crate::limits;

/// One chat message as it stands in the Kafka log (JSON; the record's key is the room).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChatRecord {
    /// Id chosen by the client, unique among the messages of its sender in the room.
    pub id: String,
    /// Room the message was sent to.
    pub room: String,
    /// User who sent it.
    pub sender: String,
    /// The text.
    pub body: String,
    /// Wall clock of the node that accepted it, in milliseconds since the Unix epoch. For people, not for order.
    pub sent_at_ms: i64,
}

/// What a message is known by, in every ledger. A record with the same three is the same message, sent again; if its body
/// is another one, the first record stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Identity<'a> {
    /// Room.
    pub room: &'a str,
    /// User who sent it.
    pub sender: &'a str,
    /// The sender's id for it.
    pub id: &'a str,
}

/// Why a message can be in no ledger.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unacceptable {
    /// The id is empty or longer than [`limits::MESSAGE_ID_MAX_BYTES`].
    #[error("the message id must be 1 to {} bytes", limits::MESSAGE_ID_MAX_BYTES)]
    Id,
    /// The room is empty or longer than [`limits::ROOM_MAX_BYTES`].
    #[error("the room must be 1 to {} bytes", limits::ROOM_MAX_BYTES)]
    Room,
    /// The sender's name is empty or longer than [`limits::USER_MAX_BYTES`].
    #[error("the user name must be 1 to {} bytes", limits::USER_MAX_BYTES)]
    Sender,
    /// The body is empty or longer than [`limits::BODY_MAX_BYTES`].
    #[error("the body must be 1 to {} bytes", limits::BODY_MAX_BYTES)]
    Body,
    /// PostgreSQL's `text` cannot hold U+0000. Nodes refuse it at the door; a writer that meets one sends it to the
    /// dead-letter topic.
    #[error("the message contains U+0000, which no text column can hold")]
    Nul,
}

/// Why the value of a Kafka record is no message.
#[derive(Debug, thiserror::Error)]
pub enum Unreadable {
    /// It is not the JSON of a [`ChatRecord`].
    #[error("not a chat record: {0}")]
    NotARecord(#[from] serde_json::Error),
    /// It breaks a rule.
    #[error(transparent)]
    Unacceptable(#[from] Unacceptable),
}

impl ChatRecord {
    /// Reads the value of a Kafka record and checks it. Nodes and writers both read the log by this, so that what
    /// cannot become a row is not delivered either, whoever put it there.
    ///
    /// # Errors
    ///
    /// What is wrong with it.
    pub fn read(value: &[u8]) -> Result<Self, Unreadable> {
        let record: Self = serde_json::from_slice(value)?;
        record.check()?;
        Ok(record)
    }

    /// What it is known by.
    pub fn identity(&self) -> Identity<'_> {
        Identity { room: &self.room, sender: &self.sender, id: &self.id }
    }

    /// Checks what every ledger must be able to hold.
    ///
    /// # Errors
    ///
    /// The first rule the record breaks.
    pub fn check(&self) -> Result<(), Unacceptable> {
        let within = |text: &str, max: usize| !text.is_empty() && text.len() <= max;
        if !within(&self.id, limits::MESSAGE_ID_MAX_BYTES) {
            return Err(Unacceptable::Id);
        }
        if !within(&self.room, limits::ROOM_MAX_BYTES) {
            return Err(Unacceptable::Room);
        }
        if !within(&self.sender, limits::USER_MAX_BYTES) {
            return Err(Unacceptable::Sender);
        }
        if !within(&self.body, limits::BODY_MAX_BYTES) {
            return Err(Unacceptable::Body);
        }
        if [&self.id, &self.room, &self.sender, &self.body].iter().any(|text| text.contains('\0')) {
            return Err(Unacceptable::Nul);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(body: &str) -> ChatRecord {
        ChatRecord {
            id: "m1".into(),
            room: "r".into(),
            sender: "ann".into(),
            body: body.into(),
            sent_at_ms: 0,
        }
    }

    #[test]
    fn a_body_is_checked_for_size_and_for_what_postgres_cannot_hold() {
        assert_eq!(record("hello").check(), Ok(()));
        assert_eq!(record("").check(), Err(Unacceptable::Body));
        assert_eq!(record(&"x".repeat(limits::BODY_MAX_BYTES + 1)).check(), Err(Unacceptable::Body));
        assert_eq!(record("a\0b").check(), Err(Unacceptable::Nul));
    }
}
