//! What is written and read most, without taking its text out of where it stands: a node encodes a message once for a room,
//! and a client in a crowd reads it once for each member. On the wire they are what their namesakes are; the tests below keep
//! them so.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use crate::{ChatRecord, Position};

/// [`events::Send`](crate::events::Send), borrowed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Send<'a> {
    /// Room.
    #[serde(borrow)]
    pub room: Cow<'a, str>,
    /// The sender's own id.
    #[serde(borrow)]
    pub id: Cow<'a, str>,
    /// The text.
    #[serde(borrow)]
    pub body: Cow<'a, str>,
}

/// [`events::Message`](crate::events::Message), borrowed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message<'a> {
    /// Where it stands in the log.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub position: Option<Position>,
    /// The message itself.
    #[serde(borrow)]
    pub record: Record<'a>,
    /// True when it was delivered by catch-up.
    #[serde(default)]
    pub replayed: bool,
}

/// [`ChatRecord`], borrowed. A string with escapes becomes an owned one when it is read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record<'a> {
    /// The sender's own id.
    #[serde(borrow)]
    pub id: Cow<'a, str>,
    /// Room.
    #[serde(borrow)]
    pub room: Cow<'a, str>,
    /// User who sent it.
    #[serde(borrow)]
    pub sender: Cow<'a, str>,
    /// The text.
    #[serde(borrow)]
    pub body: Cow<'a, str>,
    /// Wall clock of the node that accepted it, in milliseconds since the Unix epoch.
    pub sent_at_ms: i64,
}

impl<'a> From<&'a ChatRecord> for Record<'a> {
    fn from(record: &'a ChatRecord) -> Self {
        let ChatRecord { id, room, sender, body, sent_at_ms } = record;
        Self {
            id: id.into(),
            room: room.into(),
            sender: sender.into(),
            body: body.into(),
            sent_at_ms: *sent_at_ms,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::events;

    proptest! {
        #[test]
        fn on_the_wire_they_are_what_their_namesakes_are(
            [id, room, sender, body] in prop::array::uniform4(".*"),
            sent_at_ms in any::<i64>(),
            position in prop::option::of(any::<(i32, i64)>()),
            replayed in any::<bool>(),
        ) {
            let position = position.map(|(partition, offset)| Position { partition, offset });
            let owned = events::Send { room: room.clone(), id: id.clone(), body: body.clone() };
            let send = Send { room: room.as_str().into(), id: id.as_str().into(), body: body.as_str().into() };
            let text = serde_json::to_string(&send).unwrap();
            prop_assert_eq!(&text, &serde_json::to_string(&owned).unwrap());
            prop_assert_eq!(serde_json::from_str::<Send<'_>>(&text).unwrap(), send);

            let record = ChatRecord { id, room, sender, body, sent_at_ms };
            let message = Message { position, record: Record::from(&record), replayed };
            let text = serde_json::to_string(&message).unwrap();
            let owned = events::Message { position, record: record.clone(), replayed };
            prop_assert_eq!(&text, &serde_json::to_string(&owned).unwrap());
            prop_assert_eq!(serde_json::from_str::<Message<'_>>(&text).unwrap(), message);
        }
    }

    #[test]
    fn what_has_no_escapes_is_not_copied() {
        let text = r#"{"record":{"id":"m-1","room":"lobby","sender":"ann","body":"hello","sent_at_ms":7}}"#;
        let message: Message<'_> = serde_json::from_str(text).unwrap();
        assert!(matches!(message.record.body, Cow::Borrowed("hello")), "{message:?}");
    }
}
