//! Where each assigned partition stands. Pure.
//!
//! librdkafka forgets what it had fetched when a partition is paused, and a seek can race with a rebalance. So the
//! writer does not take it on trust that reading goes on where writing stopped: it knows the offset that must come next
//! and compares.

use std::collections::BTreeMap;

/// What to do with a record that has just been read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admit {
    /// Keep it: it is the next one (or a repeated one, which changes nothing).
    Take,
    /// Drop it and seek back to this offset: records before it have not been seen.
    SeekTo(i64),
    /// Keep it, though offsets from this one on are missing even after a seek: the log no longer holds them (retention
    /// or compaction). Worth an error in the log of this process.
    TakeAfterHole(i64),
    /// Drop it: the partition is not ours any more.
    NotOurs,
}

#[derive(Debug, Clone, Copy, Default)]
struct Place {
    /// The offset that must be read next; unknown until the first record if PostgreSQL and Kafka knew nothing.
    next: Option<i64>,
    /// A seek to `next` has been tried once already.
    sought: bool,
}

/// The assigned partitions.
#[derive(Debug, Default)]
pub struct Positions {
    places: BTreeMap<i32, Place>,
}

impl Positions {
    /// A partition is ours, to be read from `next` on.
    pub fn start(&mut self, partition: i32, next: Option<i64>) {
        self.places.insert(partition, Place { next, sought: false });
    }

    /// A partition is not ours any more.
    pub fn remove(&mut self, partition: i32) {
        self.places.remove(&partition);
    }

    /// The assigned partitions, in order.
    pub fn partitions(&self) -> Vec<i32> {
        self.places.keys().copied().collect()
    }

    /// True if nothing is assigned.
    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// Judges a record that was read, and moves on past it if it is to be kept.
    pub fn admit(&mut self, partition: i32, offset: i64) -> Admit {
        let Some(place) = self.places.get_mut(&partition) else { return Admit::NotOurs };
        let verdict = match place.next {
            Some(next) if offset > next && !place.sought => {
                place.sought = true;
                return Admit::SeekTo(next);
            }
            Some(next) if offset > next => Admit::TakeAfterHole(next),
            // Lower than expected: the log was cut or the seek landed early. A repeated row changes nothing.
            _ => Admit::Take,
        };
        *place = Place { next: Some(offset + 1), sought: false };
        verdict
    }
}

/// `[1, 2, 5]` as the contract writes it: `1,2,5`.
pub fn listed(partitions: &[i32]) -> String {
    partitions.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_gap_is_asked_for_once_and_then_believed() {
        let mut positions = Positions::default();
        positions.start(3, Some(10));
        assert_eq!(positions.admit(3, 12), Admit::SeekTo(10));
        assert_eq!(positions.admit(3, 12), Admit::TakeAfterHole(10));
        assert_eq!(positions.admit(3, 13), Admit::Take);
        assert_eq!(positions.admit(3, 20), Admit::SeekTo(14));
        assert_eq!(positions.admit(3, 14), Admit::Take);
    }

    #[test]
    fn what_is_not_ours_is_dropped_and_what_is_unknown_begins_anywhere() {
        let mut positions = Positions::default();
        assert_eq!(positions.admit(0, 5), Admit::NotOurs);
        positions.start(0, None);
        assert_eq!(positions.admit(0, 5), Admit::Take);
        assert_eq!(positions.admit(0, 6), Admit::Take);
        positions.remove(0);
        assert_eq!(positions.admit(0, 7), Admit::NotOurs);
    }

    proptest! {
        /// A log whose reader jumps about: as long as seeks are honoured, every offset is taken.
        #[test]
        fn nothing_is_skipped_while_the_log_holds_it(jumps in prop::collection::vec(0..20_i64, 0..50)) {
            let mut positions = Positions::default();
            positions.start(0, Some(0));
            let mut taken = std::collections::BTreeSet::new();
            let mut reader = 0;
            for jump in jumps {
                let offset = reader + jump;
                match positions.admit(0, offset) {
                    Admit::SeekTo(next) => {
                        reader = next;
                        prop_assert_eq!(positions.admit(0, reader), Admit::Take);
                        taken.insert(reader);
                        reader += 1;
                    }
                    Admit::Take => {
                        taken.insert(offset);
                        reader = offset + 1;
                    }
                    other => prop_assert!(false, "{:?}", other),
                }
            }
            prop_assert_eq!(taken.len() as i64, reader);
        }
    }
}
