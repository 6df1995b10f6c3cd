//! Which message of the plan an entry of a ledger carries.

use crate::plan::{Arrivals, Plan};

/// The planned message with this id, if it was to go to this room, from this sender.
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
    let message = Plan::message_of(id);
    let planned = message.and_then(|message| Some((message, arrivals.list.get(message as usize)?)));
    let Some((message, arrival)) = planned.filter(|(_, arrival)| plan.room_name(arrival.room) == room) else {
        return Err(format!("{room}/{id}"));
    };
    let user = plan.user_name(arrival.user);
    if user == sender {
        Ok(message)
    } else {
        Err(format!("{room}/{id} with sender {sender}, sent by {user}"))
    }
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
        ];
        let entry = |room, id, sender| message(&plan, &arrivals, room, id, sender);
        assert_eq!(entry("run-7-3", "m1", "user-6"), Ok(1));
        for (room, id, sender, why) in [
            ("run-7-3", "m1", "user-5", "run-7-3/m1 with sender user-5, sent by user-6"),
            ("run-7-3", "m1", "", "run-7-3/m1 with sender , sent by user-6"),
            ("run-7-2", "m1", "user-6", "run-7-2/m1"),
            ("run-8-3", "m1", "user-6", "run-8-3/m1"),
            ("run-7-3", "m2", "user-6", "run-7-3/m2"),
            ("run-7-3", "x", "user-6", "run-7-3/x"),
        ] {
            assert_eq!(entry(room, id, sender), Err(why.to_owned()));
        }
    }
}
