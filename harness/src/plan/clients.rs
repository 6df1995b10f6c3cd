//! Which users a fault on clients strikes: drawn from the seed, so that equal plans strike equal users.

use std::collections::BTreeSet;

use rand::{SeedableRng, seq::index};
use rand_chacha::ChaCha8Rng;

use crate::plan::{ClientFault, Plan, PlannedFault};

/// Name of the one frame of bad clients that is not a broken frame: a `send` whose body is above the limit. It must be
/// answered `invalid`.
pub const OVERSIZE_BODY: &str = "a body above the limit";

impl Plan {
    /// The users that a fault strikes; none when it is no fault on users. A share that is not nothing strikes at least one.
    ///
    /// The start of the fault is part of the draw and its place in the list is not: a fault that is repeated strikes
    /// others each time, and leaving another fault out of the plan changes nothing.
    pub fn struck_users(&self, planned: &PlannedFault) -> BTreeSet<u32> {
        let users = self.load.users;
        let percent = self.effects(&planned.fault).clients.and_then(ClientFault::struck_percent);
        let Some(percent) = percent.filter(|_| users > 0) else {
            return BTreeSet::new();
        };
        let struck = u64::from(users) * u64::from(percent.min(100));
        let struck = u32::try_from(struck.div_ceil(100)).unwrap_or(users).min(users);
        let mut rng = ChaCha8Rng::seed_from_u64(self.seed.rotate_left(17) ^ planned.at_ms ^ 0xC11E_4275);
        index::sample(&mut rng, users as usize, struck as usize)
            .into_iter()
            .filter_map(|user| u32::try_from(user).ok())
            .collect()
    }
}
