//! Which message of the plan an entry of a ledger carries.

use crate::plan::{Arrivals, Plan};

/// The planned message of this room, sender and id.
///
/// # Errors
///
/// What the plan does not explain about the entry.
pub(super) fn message(
    plan: &Plan,
    arrivals: &Arrivals,
    room: &str,
    id: &str,
    sender: &str,
) -> Result<u32, String> {
    let there = |message: &u32| {
        let arrival = arrivals.list.get(*message as usize);
        arrival.is_some_and(|arrival| plan.room_name(arrival.room) == room)
    };
    let planned = Plan::user_named(sender).and_then(|sender| arrivals.sent_by(sender, id));
    planned.filter(there).ok_or_else(|| format!("{room}/{id} with sender {sender}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{Arrival, ArrivalShape, LoadPlan, fixture};

    fn plan() -> Plan {
        let load = LoadPlan {
            users: 10,
            rooms: 4,
            rooms_per_user: 1,
            room_prefix: "run-7-".into(),
            rate_per_s: 1.0,
            arrivals: ArrivalShape::Uniform,
            body_min_bytes: 1,
            body_max_bytes: 1,
            warm_up_ms: 0,
            duration_ms: 2_000,
            ack_timeout_ms: 1_000,
            lateness_p99_max_ms: 50,
            reused_ids_per_1000: 0,
        };
        fixture::plan(1, 2, load)
    }

    #[test]
    fn an_entry_is_a_message_of_the_plan_with_its_id_its_room_and_its_sender() {
        let plan = plan();
        let mut arrivals = Arrivals::of(&plan);
        arrivals.list = vec![
            Arrival { due_us: 0, user: 5, room: 2, body_bytes: 1 },
            Arrival { due_us: 1, user: 6, room: 3, body_bytes: 1 },
            Arrival { due_us: 2, user: 5, room: 3, body_bytes: 1 },
        ];
        let arrivals = arrivals.with_reused_id(2, 1);
        let entry = |room, id, sender| message(&plan, &arrivals, room, id, sender);
        assert_eq!(entry("run-7-3", "m1", "user-6"), Ok(1));
        assert_eq!(entry("run-7-3", "m1", "user-5"), Ok(2), "sent with the id of message 1");
        for (room, id, sender) in [
            ("run-7-3", "m1", "user-7"),
            ("run-7-3", "m1", ""),
            ("run-7-3", "m2", "user-5"),
            ("run-7-2", "m1", "user-6"),
            ("run-8-3", "m1", "user-6"),
            ("run-7-3", "m2", "user-6"),
            ("run-7-3", "x", "user-6"),
        ] {
            assert_eq!(entry(room, id, sender), Err(format!("{room}/{id} with sender {sender}")));
        }
    }
}
