//! Where a message stands in the log, and which partition a room lives in.

use serde::{Deserialize, Serialize};

/// The place of a message in the Kafka log. Within one partition, offsets give the total order of delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Position {
    /// Kafka partition.
    pub partition: i32,
    /// Kafka offset within the partition.
    pub offset: i64,
}

/// The partition a room lives in: FNV-1a of its name, modulo the number of partitions the cluster *started* with.
///
/// Chosen by us and not by a Kafka partitioner, so that every client library and every node agrees, and so that adding
/// partitions to the topic later does not move a room (and lose its order) while it is being talked in.
///
/// # Panics
///
/// Never: a count of zero is treated as one.
pub fn partition_of(room: &str, partitions: i32) -> i32 {
    let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
    for byte in room.as_bytes() {
        hash ^= u64::from(*byte);
        hash = hash.wrapping_mul(0x0100_0000_01b3);
    }
    let count = u64::try_from(partitions.max(1)).unwrap_or(1);
    // The low bits of FNV-1a alone spread short names badly.
    i32::try_from((hash ^ (hash >> 32)) % count).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_room_always_lives_in_the_same_partition_and_rooms_spread() {
        let mut seen = [0_u32; 12];
        for n in 0..1_200 {
            let p = partition_of(&format!("room-{n}"), 12);
            assert_eq!(p, partition_of(&format!("room-{n}"), 12));
            seen[p as usize] += 1;
        }
        assert!(seen.iter().all(|n| (60..=140).contains(n)), "{seen:?}");
    }
}
