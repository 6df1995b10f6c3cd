//! What grows from trial to trial.

use std::{fmt, str::FromStr};

use crate::plan::Plan;

/// More messages a second than any generator here could offer: where a search for a rate ends.
const RATE_MAX: u32 = 1_000_000;

/// What a search varies; everything else stays as the scenario says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dimension {
    /// Messages a second over all users.
    Rate,
    /// Members of each room, at the same rate of messages: every message has more receivers.
    Members,
    /// Users, and rooms with them, so that rooms keep their size.
    Connections,
}

impl Dimension {
    /// All, as they are written on the command line.
    pub const ALL: [Self; 3] = [Self::Rate, Self::Members, Self::Connections];

    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Rate => "rate",
            Self::Members => "members",
            Self::Connections => "connections",
        }
    }

    /// What is counted, for people.
    pub fn unit(self) -> &'static str {
        match self {
            Self::Rate => "messages/s",
            Self::Members => "members a room",
            Self::Connections => "connections",
        }
    }

    /// How much of it a plan has.
    pub fn of(self, plan: &Plan) -> u32 {
        let load = &plan.load;
        match self {
            Self::Rate => rounded(load.rate_per_s),
            Self::Members => {
                rounded(f64::from(load.users) * f64::from(load.rooms_per_user) / f64::from(load.rooms.max(1)))
            }
            Self::Connections => load.users,
        }
        .max(1)
    }

    /// The plan with so much of it.
    #[must_use]
    pub fn set(self, plan: &Plan, load: u32) -> Plan {
        let mut plan = plan.clone();
        let (users, rooms) = (f64::from(plan.load.users), f64::from(plan.load.rooms));
        match self {
            Self::Rate => plan.load.rate_per_s = f64::from(load),
            Self::Members => {
                let rooms_per_user = f64::from(plan.load.rooms_per_user.max(1));
                plan.load.users = rounded(f64::from(load) * rooms / rooms_per_user).max(1);
            }
            Self::Connections => {
                plan.load.users = load;
                let rooms = rounded(rooms * f64::from(load) / users.max(1.0));
                plan.load.rooms = rooms.max(plan.load.rooms_per_user).max(1);
            }
        }
        plan
    }

    /// The most of it that is ever tried, where one process may have so many sockets.
    pub fn ceiling(self, plan: &Plan, users_max: u32) -> u32 {
        match self {
            Self::Rate => RATE_MAX,
            Self::Members => {
                let of_room = f64::from(users_max) * f64::from(plan.load.rooms_per_user.max(1));
                rounded(of_room / f64::from(plan.load.rooms.max(1)) - 0.5)
            }
            Self::Connections => users_max,
        }
        .max(1)
    }
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the cast saturates")]
fn rounded(value: f64) -> u32 {
    value.round() as u32
}

impl fmt::Display for Dimension {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Dimension {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|it| it.name() == text)
            .ok_or_else(|| format!("not one of {}", Self::ALL.map(Self::name).join(", ")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{ArrivalShape, LoadPlan, fixture};

    #[test]
    fn what_is_set_is_what_the_plan_then_has_and_the_rest_stays() {
        let load = LoadPlan {
            users: 150,
            rooms: 6,
            rooms_per_user: 2,
            room_prefix: "r".into(),
            rate_per_s: 400.0,
            arrivals: ArrivalShape::Poisson,
            body_min_bytes: 10,
            body_max_bytes: 20,
            warm_up_ms: 0,
            duration_ms: 1_000,
            ack_timeout_ms: 1_000,
            lateness_p99_max_ms: 50,
            reused_ids_per_1000: 0,
        };
        let plan = fixture::plan(1, 2, load);
        assert_eq!(Dimension::ALL.map(|it| it.of(&plan)), [400, 50, 150]);
        for it in Dimension::ALL {
            assert_eq!(it.of(&it.set(&plan, 120)), 120);
            assert_eq!(it.name().parse(), Ok(it));
        }
        let members = Dimension::Members.set(&plan, 100);
        assert_eq!((members.load.users, members.load.rooms), (300, 6));
        let connections = Dimension::Connections.set(&plan, 1_500);
        assert_eq!((connections.load.users, connections.load.rooms), (1_500, 60));
        assert_eq!(Dimension::Members.of(&connections), 50);
        assert_eq!(Dimension::Members.ceiling(&plan, 1_000), 333);
        assert!("rates".parse::<Dimension>().unwrap_err().contains("rate, members, connections"));
    }
}
