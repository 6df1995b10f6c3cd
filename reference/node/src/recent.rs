//! A bounded memory of what was said in a partition: by it a message that is sent again is known, and one that is another
//! message under a used id.

use std::{
    collections::{HashMap, VecDeque},
    hash::{BuildHasher, RandomState},
};

use chat_protocol::ChatRecord;

use crate::limits::RECENT_IDS;

/// What is remembered of a message's identity (room, sender, id).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Known {
    /// Nothing.
    New,
    /// The same message.
    Again,
    /// A message with another body.
    Conflict,
}

/// The last [`RECENT_IDS`] messages, and those that are on their way.
#[derive(Debug, Default)]
pub struct RecentIds {
    /// The body that stands, by identity.
    said: HashMap<u128, u64>,
    order: VecDeque<u128>,
    /// The body on its way, and how many sends of it: claimed here and not in the log yet.
    claimed: HashMap<u128, (u64, usize)>,
    hashers: (RandomState, RandomState),
    blind: bool,
}

impl RecentIds {
    /// Planted bug `ids-without-sender`: an id is used up for everybody by whoever has it first, whatever the message.
    pub fn blind(mut self) -> Self {
        self.blind = true;
        self
    }

    /// What is known of a message, said or on its way.
    #[cfg(test)]
    fn look(&self, record: &ChatRecord) -> Known {
        let (key, body) = self.of(record);
        self.known(key, body)
    }

    /// Remembers a message that was said. What was known of it before stands.
    pub fn insert(&mut self, record: &ChatRecord) -> Known {
        let (key, body) = self.of(record);
        let known = Self::compare(self.said.get(&key), body);
        if known == Known::New {
            self.said.insert(key, body);
            self.order.push_back(key);
            if self.order.len() > RECENT_IDS
                && let Some(oldest) = self.order.pop_front()
            {
                self.said.remove(&oldest);
            }
        }
        known
    }

    /// Takes the identity for a message that is about to be sent, until [`Self::release`]; not if it is another's.
    pub fn claim(&mut self, record: &ChatRecord) -> Known {
        let (key, body) = self.of(record);
        let known = self.known(key, body);
        if known != Known::Conflict {
            self.claimed.entry(key).or_insert((body, 0)).1 += 1;
        }
        known
    }

    /// A message that was claimed is said, or will not be. Returns what is known of it now.
    pub fn release(&mut self, record: &ChatRecord) -> Known {
        let (key, body) = self.of(record);
        if let Some((_, sends)) = self.claimed.get_mut(&key) {
            *sends -= 1;
            if *sends == 0 {
                self.claimed.remove(&key);
            }
        }
        self.known(key, body)
    }

    fn known(&self, key: u128, body: u64) -> Known {
        let standing = self.said.get(&key).or_else(|| self.claimed.get(&key).map(|(body, _)| body));
        Self::compare(standing, body)
    }

    fn compare(standing: Option<&u64>, body: u64) -> Known {
        match standing {
            None => Known::New,
            Some(standing) if *standing == body => Known::Again,
            Some(_) => Known::Conflict,
        }
    }

    /// Keyed hashes instead of the texts: 24 bytes a message, and no chance worth naming that two identities agree.
    fn of(&self, record: &ChatRecord) -> (u128, u64) {
        let mut identity = record.identity();
        if self.blind {
            identity.sender = "";
        }
        let key = u128::from(self.hashers.0.hash_one(identity)) << 64
            | u128::from(self.hashers.1.hash_one(identity));
        (key, if self.blind { 0 } else { self.hashers.0.hash_one(&record.body) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(sender: &str, id: &str, body: &str) -> ChatRecord {
        ChatRecord {
            id: id.into(),
            room: "r".into(),
            sender: sender.into(),
            body: body.into(),
            sent_at_ms: 0,
        }
    }

    #[test]
    fn an_id_is_its_senders_own_and_belongs_to_one_body() {
        let mut recent = RecentIds::default();
        assert_eq!(recent.insert(&record("ann", "1", "hello")), Known::New);
        assert_eq!(recent.insert(&record("bob", "1", "hello")), Known::New);
        assert_eq!(recent.insert(&record("ann", "1", "hello")), Known::Again);
        assert_eq!(recent.insert(&record("ann", "1", "other")), Known::Conflict);
        assert_eq!(recent.look(&record("ann", "1", "hello")), Known::Again, "the first one stands");
    }

    #[test]
    fn what_is_on_its_way_holds_its_identity_until_all_of_its_sends_are_done() {
        let mut recent = RecentIds::default();
        let (first, other) = (record("ann", "1", "hello"), record("ann", "1", "other"));
        assert_eq!(recent.claim(&first), Known::New);
        assert_eq!(recent.claim(&first), Known::Again);
        assert_eq!(recent.claim(&other), Known::Conflict);
        recent.release(&first);
        assert_eq!(recent.look(&other), Known::Conflict);
        recent.release(&first);
        assert_eq!(recent.look(&other), Known::New, "it never got into the log");
        assert_eq!(recent.insert(&first), Known::New, "a claim is no message");
    }

    #[test]
    fn the_oldest_are_forgotten() {
        let mut recent = RecentIds::default();
        for n in 0..=RECENT_IDS {
            assert_eq!(recent.insert(&record("ann", &n.to_string(), "x")), Known::New);
        }
        assert_eq!(recent.look(&record("ann", "0", "other")), Known::New);
        assert_eq!(recent.look(&record("ann", "1", "other")), Known::Conflict);
    }
}
