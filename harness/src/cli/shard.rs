//! `--shard i/n`: one of n parts of a list, for CI machines that work side by side.

use std::str::FromStr;

/// Part `part` of `of`, counted from one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Shard {
    part: usize,
    of: usize,
}

impl Shard {
    /// The items that are this shard's: every n-th, so that neighbours of similar names and lengths are spread.
    pub(super) fn of<T>(self, items: Vec<T>) -> Vec<T> {
        items.into_iter().skip(self.part - 1).step_by(self.of).collect()
    }
}

impl FromStr for Shard {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is not a shard; write 1/3, 2/3 or 3/3 for a third each");
        let (part, of) = text.split_once('/').ok_or_else(wrong)?;
        let (part, of) = (part.parse().map_err(|_| wrong())?, of.parse().map_err(|_| wrong())?);
        if (1..=of).contains(&part) { Ok(Self { part, of }) } else { Err(wrong()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shards_are_a_partition() {
        for of in 1..8 {
            let mut all: Vec<u32> = (1..=of)
                .flat_map(|part| format!("{part}/{of}").parse::<Shard>().unwrap().of((0..35).collect()))
                .collect();
            all.sort_unstable();
            assert_eq!(all, (0..35).collect::<Vec<_>>());
        }
    }

    #[test]
    fn a_shard_that_is_none_is_refused() {
        for text in ["", "1", "0/2", "3/2", "1/0", "a/b", "1/2/3", "-1/2"] {
            assert!(text.parse::<Shard>().is_err(), "{text}");
        }
    }
}
