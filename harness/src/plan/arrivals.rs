//! The open-loop schedule: when each message is due, from whom, to which room, with which body. A pure function of the
//! plan, computed before the clock starts, so a slow server cannot slow the questions down (coordinated omission).

use std::collections::HashMap;

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
    /// The message whose id a message carries, for those that do not carry their own.
    owners: HashMap<u32, u32>,
    /// The other way round: each id is taken once at most.
    takers: HashMap<u32, u32>,
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
            return Self::with_own_ids(list, plan.seed);
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
        let mut arrivals = Self::with_own_ids(list, plan.seed);
        arrivals.reuse_ids(load.reused_ids_per_1000);
        arrivals
    }

    fn with_own_ids(list: Vec<Arrival>, seed: u64) -> Self {
        Self { list, owners: HashMap::new(), takers: HashMap::new(), seed }
    }

    /// Gives some messages the id of the message before them in their room, if another user sent that one: near enough for
    /// every cluster to remember the first. An id is taken once at most, so that room, sender and id still name one message.
    fn reuse_ids(&mut self, per_1000: u32) {
        // A generator of its own: the schedule is the same whatever the share.
        let mut rng = ChaCha8Rng::seed_from_u64(self.seed ^ 0x0001_d50f_07e5);
        let mut last_in: HashMap<u32, u32> = HashMap::new();
        for (message, arrival) in (0_u32..).zip(&self.list) {
            let before = last_in.insert(arrival.room, message);
            if rng.random_range(0..1_000) >= per_1000 {
                continue;
            }
            let other = before.filter(|before| self.list[*before as usize].user != arrival.user);
            if let Some(owner) = other.filter(|owner| !self.owners.contains_key(owner)) {
                self.owners.insert(message, owner);
                self.takers.insert(owner, message);
            }
        }
    }

    /// With a message that carries the id of another.
    #[cfg(test)]
    #[must_use]
    pub(crate) fn with_reused_id(mut self, message: u32, owner: u32) -> Self {
        self.owners.insert(message, owner);
        self.takers.insert(owner, message);
        self
    }

    /// The id that a message is sent with.
    pub fn id(&self, message: u32) -> String {
        Plan::message_name(self.owners.get(&message).copied().unwrap_or(message))
    }

    /// The message whose id this one carries, if that is not its own.
    pub fn owner(&self, message: u32) -> Option<u32> {
        self.owners.get(&message).copied()
    }

    /// The message that this user was to send with this id, to whatever room.
    pub fn sent_by(&self, user: u32, id: &str) -> Option<u32> {
        let owner = Plan::message_named(id)?;
        let by = |message: &u32| self.list.get(*message as usize).is_some_and(|arrival| arrival.user == user);
        let own = Some(owner).filter(|owner| !self.owners.contains_key(owner)).filter(by);
        own.or_else(|| self.takers.get(&owner).copied().filter(by))
    }

    /// Several short schedules with silence between them: one begins at each of `starts_ms` and is `length_ms` long. The
    /// n-th is drawn from the plan's seed and n alone, whenever it begins. `starts_ms` must ascend without overlap.
    pub fn in_slices(plan: &Plan, starts_ms: &[u64], length_ms: u64) -> Self {
        let mut list = Vec::new();
        for (nth, start_ms) in (0_u64..).zip(starts_ms) {
            let mut slice = plan.clone();
            slice.seed = plan.seed.wrapping_add(nth);
            slice.load.duration_ms = length_ms;
            let drawn = Self::of(&slice).list.into_iter();
            list.extend(drawn.map(|it| Arrival { due_us: it.due_us + start_ms * 1_000, ..it }));
        }
        Self::with_own_ids(list, plan.seed)
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::plan::{LoadPlan, fixture::plan};

    prop_compose! {
        fn any_plan()(
            seed in any::<u64>(),
            nodes in 0_u16..5,
            users in 0_u32..200,
            rooms in 0_u32..40,
            rooms_per_user in 0_u32..50,
            rate_per_s in 1.0_f64..2_000.0,
            uniform in any::<bool>(),
            body_min_bytes in 0_u32..64,
            body_max_bytes in 0_u32..512,
            duration_ms in 0_u64..1_000,
        ) -> Plan {
            let arrivals = if uniform { ArrivalShape::Uniform } else { ArrivalShape::Poisson };
            let room_prefix = "room-".to_owned();
            let (warm_up_ms, ack_timeout_ms, lateness_p99_max_ms, reused_ids_per_1000) = (0, 1_000, 50, 100);
            plan(seed, nodes, LoadPlan {
                users, rooms, rooms_per_user, room_prefix, rate_per_s, arrivals, body_min_bytes, body_max_bytes,
                warm_up_ms, duration_ms, ack_timeout_ms, lateness_p99_max_ms, reused_ids_per_1000,
            })
        }
    }

    proptest! {
        // Schedules are long; a quarter of the usual cases keeps a debug build under a second.
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn a_schedule_is_sorted_within_its_length_and_from_members_only(plan in any_plan()) {
            let arrivals = Arrivals::of(&plan);
            prop_assert!(arrivals.list.is_sorted_by_key(|arrival| arrival.due_us));
            for arrival in &arrivals.list {
                prop_assert!(arrival.due_us < plan.load.duration_ms * 1_000);
                prop_assert!(arrival.user < plan.load.users);
                prop_assert!(plan.rooms_of(arrival.user).any(|room| room == arrival.room));
                prop_assert!(arrival.body_bytes >= plan.load.body_min_bytes);
                prop_assert!(arrival.body_bytes <= plan.load.body_max_bytes.max(plan.load.body_min_bytes));
            }
        }

        /// Any machine, any time: equal plans give equal schedules and bodies, and another seed another schedule.
        #[test]
        fn a_schedule_follows_from_the_plan_alone(plan in any_plan()) {
            let arrivals = Arrivals::of(&plan);
            let again = Arrivals::of(&plan.clone());
            prop_assert_eq!(&arrivals, &again);
            for message in (0..u32::try_from(arrivals.list.len()).unwrap()).step_by(97) {
                prop_assert_eq!(arrivals.body(message), again.body(message));
            }
            let other = Arrivals::of(&Plan { seed: plan.seed.wrapping_add(1), ..plan });
            prop_assert!(arrivals.list.len() < 2 || arrivals.list != other.list);
        }

        /// Two loads that take turns send the same, each in its own time.
        #[test]
        fn slices_are_the_same_whenever_they_begin(plan in any_plan()) {
            let length_ms = plan.load.duration_ms;
            let one = Arrivals::in_slices(&plan, &[0, 3_000], length_ms);
            let other = Arrivals::in_slices(&plan, &[1_500, 6_000], length_ms);
            prop_assert!(one.list.is_sorted_by_key(|arrival| arrival.due_us));
            prop_assert_eq!(one.list.len(), other.list.len());
            for (a, b) in one.list.iter().zip(&other.list) {
                let later_us = if a.due_us < 3_000_000 { 1_500_000 } else { 3_000_000 };
                prop_assert_eq!(Arrival { due_us: a.due_us + later_us, ..*a }, *b);
            }
        }

        /// Room, sender and id name one message, also where an id is another's; about as many are as were asked for.
        #[test]
        fn a_message_is_known_by_its_room_its_sender_and_its_id(plan in any_plan()) {
            let arrivals = Arrivals::of(&plan);
            let mut known = std::collections::HashSet::new();
            for (message, arrival) in (0_u32..).zip(&arrivals.list) {
                let id = arrivals.id(message);
                prop_assert_eq!(arrivals.sent_by(arrival.user, &id), Some(message));
                prop_assert!(known.insert((arrival.room, arrival.user, id)));
                if let Some(owner) = arrivals.owner(message) {
                    let other = arrivals.list[owner as usize];
                    prop_assert!(owner < message && other.room == arrival.room && other.user != arrival.user);
                    prop_assert_eq!(arrivals.id(owner), arrivals.id(message));
                    prop_assert_eq!(arrivals.sent_by(arrival.user, &Plan::message_name(message)), None);
                }
            }
            prop_assert!(arrivals.owners.len() <= arrivals.list.len() / 5 + 20, "{}", arrivals.owners.len());
        }

        /// What the node's door demands of a body (chat-protocol), the schedule keeps, and no two bodies are alike.
        #[test]
        fn bodies_are_acceptable_to_every_ledger_and_name_their_message(plan in any_plan()) {
            let arrivals = Arrivals::of(&plan);
            for message in (0..u32::try_from(arrivals.list.len()).unwrap()).step_by(61) {
                let body = arrivals.body(message);
                let needed = arrivals.list[message as usize].body_bytes as usize;
                // At most one word and a blank more than asked for.
                prop_assert!((needed..needed + 12).contains(&body.len().max(needed)), "{} for {needed}", body.len());
                prop_assert!(!body.contains('\0'));
                let rest = body.strip_prefix(&format!("#{message}"));
                prop_assert!(rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(' ')), "{}", body);
            }
        }

        /// Over a long schedule the rate is what was asked for: within five standard deviations for Poisson, to the
        /// message for uniform.
        #[test]
        fn the_rate_is_kept(seed in any::<u64>(), rate in 50.0_f64..500.0, uniform in any::<bool>()) {
            let seconds = 20.0;
            let arrivals = if uniform { ArrivalShape::Uniform } else { ArrivalShape::Poisson };
            let plan = plan(seed, 2, LoadPlan {
                users: 10, rooms: 3, rooms_per_user: 1, room_prefix: String::new(), rate_per_s: rate, arrivals,
                body_min_bytes: 1, body_max_bytes: 1, warm_up_ms: 0, duration_ms: 20_000, ack_timeout_ms: 1,
                lateness_p99_max_ms: 50, reused_ids_per_1000: 0,
            });
            let count = Arrivals::of(&plan).list.len() as f64;
            let off = (count - rate * seconds).abs();
            let allowed = if uniform { 1.5 } else { 5.0 * (rate * seconds).sqrt() };
            prop_assert!(off <= allowed, "{count} messages at {rate}/s");
        }
    }
}
