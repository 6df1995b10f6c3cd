//! The bodies of all messages of a schedule: what is sent, and what every receipt is compared with.
//!
//! Bodies are drawn before the clock starts, so that drawing them never delays a send. A schedule too large for that is
//! drawn as it goes, once for the send and once for the first receipt; only a checksum is kept then.

use std::{
    borrow::Cow,
    sync::atomic::{AtomicU64, Ordering},
};

use crate::plan::Arrivals;

/// Text kept in memory at most; also about two seconds of drawing before a run.
pub(super) const PREPARED_MAX_BYTES: u64 = 256 * 1024 * 1024;

/// Marks a checksum as known: the low half is the CRC-32, which may be zero.
const KNOWN: u64 = 1 << 32;

/// Every body of a schedule.
#[derive(Debug)]
pub(super) enum Bodies {
    /// All of them, end to end.
    Prepared {
        /// The texts.
        text: String,
        /// Where each one ends.
        ends: Vec<usize>,
    },
    /// Drawn when asked for; checksums remembered.
    Drawn {
        /// CRC-32 with [`KNOWN`], or zero while nobody has asked.
        checksums: Vec<AtomicU64>,
    },
}

impl Bodies {
    /// Prepares the bodies of a schedule if their text takes at most `max_bytes`.
    pub(super) fn of(arrivals: &Arrivals, max_bytes: u64) -> Self {
        let total: u64 = arrivals.list.iter().map(|arrival| u64::from(arrival.body_bytes)).sum();
        if total > max_bytes {
            return Self::Drawn { checksums: arrivals.list.iter().map(|_| AtomicU64::new(0)).collect() };
        }
        let mut text = String::with_capacity(usize::try_from(total).unwrap_or(0));
        let ends = (0_u32..)
            .zip(&arrivals.list)
            .map(|(message, _)| {
                text.push_str(&arrivals.body(message));
                text.len()
            })
            .collect();
        Self::Prepared { text, ends }
    }

    /// The body of a message.
    pub(super) fn get<'a>(&'a self, arrivals: &Arrivals, message: u32) -> Cow<'a, str> {
        match self.prepared(message) {
            Some(body) => Cow::Borrowed(body),
            None => Cow::Owned(arrivals.body(message)),
        }
    }

    /// True when `body` is what the plan says `message` carries.
    pub(super) fn matches(&self, arrivals: &Arrivals, message: u32, body: &str) -> bool {
        match self {
            Self::Prepared { .. } => self.prepared(message) == Some(body),
            Self::Drawn { checksums } => {
                let Some(slot) = checksums.get(message as usize) else { return false };
                let mut known = slot.load(Ordering::Relaxed);
                if known == 0 {
                    known = KNOWN | u64::from(crc32fast::hash(arrivals.body(message).as_bytes()));
                    slot.store(known, Ordering::Relaxed);
                }
                known == KNOWN | u64::from(crc32fast::hash(body.as_bytes()))
            }
        }
    }

    fn prepared(&self, message: u32) -> Option<&str> {
        let Self::Prepared { text, ends } = self else { return None };
        let end = *ends.get(message as usize)?;
        let start =
            (message as usize).checked_sub(1).and_then(|before| ends.get(before)).copied().unwrap_or(0);
        text.get(start..end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::tests::plan;

    /// Both ways of keeping bodies must say the same as the schedule they come from.
    #[test]
    fn prepared_and_drawn_bodies_agree_with_the_schedule() {
        let arrivals = Arrivals::of(&plan(10, 4, 500.0, 200));
        for bodies in [Bodies::of(&arrivals, u64::MAX), Bodies::of(&arrivals, 0)] {
            for message in 0..u32::try_from(arrivals.list.len()).unwrap() {
                let body = arrivals.body(message);
                assert_eq!(bodies.get(&arrivals, message), body.as_str());
                assert!(bodies.matches(&arrivals, message, &body));
                assert!(!bodies.matches(&arrivals, message, &body[1..]));
            }
            assert!(!bodies.matches(&arrivals, u32::MAX, ""));
        }
    }
}
