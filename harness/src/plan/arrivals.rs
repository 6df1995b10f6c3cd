//! The open-loop schedule: when each message is due, from whom, to which room, with which body. A pure function of the
//! plan, computed before the clock starts, so a slow server cannot slow the questions down (coordinated omission).

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::{ArrivalShape, Plan};

/// One message that is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Arrival {
    /// When, in microseconds after the start of the load.
    pub due_us: u64,
    /// From whom.
    pub user: u32,
    /// To which room (the user is a member).
    pub room: u32,
    /// Length of the body.
    pub body_bytes: u32,
}

/// The whole schedule; a message's number is its index here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Arrivals {
    /// Sorted by `due_us`.
    pub list: Vec<Arrival>,
    seed: u64,
}

impl Arrivals {
    /// Draws the schedule from the plan's seed. Equal plans give equal schedules on every machine.
    pub fn of(plan: &Plan) -> Self {
        let load = &plan.load;
        let mut rng = ChaCha8Rng::seed_from_u64(plan.seed ^ 0x5eed_a441_7a15);
        let mut list = Vec::new();
        let gap_us = 1_000_000.0 / load.rate_per_s.max(0.001);
        let end_us = load.duration_ms.saturating_mul(1_000);
        #[expect(clippy::cast_precision_loss, reason = "a schedule is far shorter than 2^52 microseconds")]
        let end = end_us as f64;
        let mut at = 0.0_f64;
        if load.users == 0 || load.rooms == 0 || load.rooms_per_user == 0 {
            return Self { list, seed: plan.seed };
        }
        loop {
            at += match load.arrivals {
                ArrivalShape::Uniform => gap_us,
                // Inverse transform; 1 - u is in (0, 1], so the logarithm is finite.
                ArrivalShape::Poisson => -(1.0 - rng.random::<f64>()).ln() * gap_us,
            };
            if at >= end {
                break;
            }
            let user = rng.random_range(0..load.users);
            let nth = rng.random_range(0..load.rooms_per_user.min(load.rooms));
            let room = plan.rooms_of(user).nth(nth as usize).unwrap_or(0);
            let body_bytes =
                rng.random_range(load.body_min_bytes..=load.body_max_bytes.max(load.body_min_bytes));
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 <= at < end_us")]
            list.push(Arrival { due_us: at as u64, user, room, body_bytes });
        }
        Self { list, seed: plan.seed }
    }

    /// The body of a message: text drawn from the seed and the message's number, so any ledger can be compared with it
    /// without storing it.
    pub fn body(&self, message: u32) -> String {
        const WORDS: [&str; 16] = [
            "rain", "wind", "squall", "front", "gust", "hail", "cloud", "storm", "calm", "tide", "swell",
            "fog", "frost", "sleet", "thunder", "\u{2603}",
        ];
        let bytes = self.list.get(message as usize).map_or(0, |arrival| arrival.body_bytes) as usize;
        let mut rng = ChaCha8Rng::seed_from_u64(self.seed.rotate_left(17) ^ u64::from(message));
        let mut body = format!("#{message}");
        while body.len() < bytes {
            body.push(' ');
            body.push_str(WORDS[rng.random_range(0..WORDS.len())]);
        }
        body
    }
}
