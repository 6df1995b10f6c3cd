//! What the load's tests share.

use crate::plan::{ArrivalShape, LoadPlan, Plan, fixture};

/// A small plan: `users` in two of `rooms` rooms each.
pub(super) fn plan(users: u32, rooms: u32, rate_per_s: f64, duration_ms: u64) -> Plan {
    let load = LoadPlan {
        users,
        rooms,
        rooms_per_user: 2,
        room_prefix: "room-".into(),
        rate_per_s,
        arrivals: ArrivalShape::Poisson,
        body_min_bytes: 16,
        body_max_bytes: 300,
        warm_up_ms: 0,
        duration_ms,
        ack_timeout_ms: 2_000,
        lateness_p99_max_ms: 50,
        reused_ids_per_1000: 0,
    };
    Plan { settle_limit_ms: 1_000, ..fixture::plan(42, 2, load) }
}
