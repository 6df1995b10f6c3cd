//! Which entries of a column belong to which key. Two flat arrays instead of a map of vectors: four bytes an entry, and
//! the entries of one key lie side by side.

/// An index from a small number (a message, a user) to the entries of a column that carry it, in file order.
#[derive(Debug, Clone, Default)]
pub struct Groups {
    /// Where each key's entries begin in `order`; one more than there are keys.
    starts: Vec<u32>,
    order: Vec<u32>,
}

impl Groups {
    /// Builds the index by counting: two passes over the keys, no comparison. Keys at or beyond `count` are left out.
    pub fn of(count: usize, keys: impl Iterator<Item = u32> + Clone) -> Self {
        let mut starts = vec![0_u32; count + 1];
        for key in keys.clone() {
            if let Some(slot) = starts.get_mut(key as usize + 1) {
                *slot += 1;
            }
        }
        let mut sum = 0;
        for slot in &mut starts {
            sum += *slot;
            *slot = sum;
        }
        let mut next = starts.clone();
        let mut order = vec![0_u32; sum as usize];
        for (entry, key) in keys.enumerate() {
            if (key as usize) < count {
                let slot = &mut next[key as usize];
                // A column never has 2^32 entries: at 32 bytes each it would not fit into memory first.
                order[*slot as usize] = u32::try_from(entry).unwrap_or(u32::MAX);
                *slot += 1;
            }
        }
        Self { starts, order }
    }

    /// The entries of a key, in file order; empty for an unknown key.
    pub fn get(&self, key: u32) -> &[u32] {
        let key = key as usize;
        match (self.starts.get(key), self.starts.get(key + 1)) {
            (Some(from), Some(to)) => &self.order[*from as usize..*to as usize],
            _ => &[],
        }
    }

    /// Keys there are.
    pub fn keys(&self) -> u32 {
        u32::try_from(self.starts.len().saturating_sub(1)).unwrap_or(u32::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_of_a_key_stay_in_file_order_and_foreign_keys_are_left_out() {
        let groups = Groups::of(3, [2, 0, 2, 9, 0].into_iter());
        assert_eq!(groups.get(0), [1, 4]);
        assert_eq!(groups.get(1), [0_u32; 0]);
        assert_eq!(groups.get(2), [0, 2]);
        assert_eq!(groups.get(9), [0_u32; 0]);
        assert_eq!(Groups::default().get(0), [0_u32; 0]);
    }
}
