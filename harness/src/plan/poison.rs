//! Poison: records that somebody else puts into the messages topic and that no table can hold. What they look like is
//! part of the plan, so that whoever reads a ledger afterwards knows them again.

use chat_protocol::{ChatRecord, limits};

/// Stands in the value of every poison record, and in nothing that the load sends.
const MARK: &str = "squall-poison";

/// A way for a record to be poison.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Poison {
    /// A chat record in order, but for U+0000 in its body: no text column takes it.
    Nul,
    /// A chat record whose id is longer than the protocol allows.
    LongId,
    /// A chat record whose body is longer than the protocol allows.
    LongBody,
    /// No chat record at all.
    NotJson,
}

impl Poison {
    /// Every way.
    pub const ALL: [Self; 4] = [Self::Nul, Self::LongId, Self::LongBody, Self::NotJson];

    /// The value of a record of this sort for a room; `number` tells it from the others.
    pub fn value(self, room: &str, number: u32) -> Vec<u8> {
        let id = format!("{MARK}-{number}");
        let record = |id: String, body: String| {
            let record =
                ChatRecord { id, room: room.to_owned(), sender: "stranger".to_owned(), body, sent_at_ms: 0 };
            // A record of strings and a number has no way to fail.
            serde_json::to_vec(&record).unwrap_or_default()
        };
        match self {
            Self::Nul => record(id, "before\0after".to_owned()),
            Self::LongId => {
                let padding = "x".repeat(limits::MESSAGE_ID_MAX_BYTES);
                record(format!("{id}-{padding}"), "an id beyond the limit".to_owned())
            }
            Self::LongBody => record(id, "x".repeat(limits::BODY_MAX_BYTES + 1)),
            Self::NotJson => format!("{MARK} {number}: not even JSON \u{fffd}{{").into_bytes(),
        }
    }
}

/// Whether the value of a record is poison of ours.
pub fn is_poison(value: &[u8]) -> bool {
    value.windows(MARK.len()).any(|window| window == MARK.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_poison_is_known_again_and_refused_by_the_protocol() {
        for poison in Poison::ALL {
            let value = poison.value("room-1", 7);
            assert!(is_poison(&value), "{poison:?}");
            assert!(ChatRecord::read(&value).is_err(), "{poison:?}");
        }
        assert!(serde_json::from_slice::<ChatRecord>(&Poison::Nul.value("room-1", 7)).is_ok());
        assert!(!is_poison(b"{\"id\":\"m7\"}"));
    }
}
