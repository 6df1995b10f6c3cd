//! Faults may overlap, but not on the same thing: what is stopped cannot be stopped again, and whichever of the two ends
//! first would heal the other. Nor may one end the service that the other is undone with.

use super::{faults::Bounds, provable::seconds};
use crate::plan::{Effects, PlannedFault, effects::Clash};

/// Why two faults cannot be in force together; nothing when they can, or never are.
pub(super) fn clash(bounds: &Bounds, one: &PlannedFault, other: &PlannedFault) -> Option<String> {
    let together = one.at_ms < other.at_ms + other.for_ms && other.at_ms < one.at_ms + one.for_ms;
    if !together {
        return None;
    }
    let effects = |planned: &PlannedFault| Effects::of(bounds.nodes, bounds.writers, &planned.fault);
    let why = match effects(one).clash(&effects(other))? {
        Clash::SameThing => "overlap on the same thing: whichever ends first would heal the other",
        Clash::NeedsIt => "overlap, and one is done and undone with the service that the other takes away",
    };
    Some(format!(
        "`{}` at {} s and `{}` at {} s {why}",
        one.fault,
        seconds(one.at_ms),
        other.fault,
        seconds(other.at_ms)
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{FaultKind, ProcessName, Service};

    fn fault(at_ms: u64, for_ms: u64, fault: FaultKind) -> PlannedFault {
        PlannedFault { at_ms, for_ms, fault }
    }

    #[test]
    fn only_the_same_thing_at_the_same_time_clashes() {
        let stop = || FaultKind::ServiceStop { service: Service::Redis };
        let pause = || FaultKind::ServicePause { service: Service::Redis };
        let kill = |n| FaultKind::ProcessKill { processes: vec![ProcessName::Node(n)] };
        let roll = FaultKind::RollingRestart {
            processes: vec![ProcessName::Node(1), ProcessName::Node(2)],
            gap_ms: 0,
        };
        let stop_postgres = || FaultKind::ServiceStop { service: Service::Postgres };
        let bounds = Bounds { nodes: 3, writers: 2, duration_ms: 60_000 };
        let at_5_for_5 = |kind| fault(5_000, 5_000, kind);
        for (one, other, clashes) in [
            (fault(0, 6_000, stop()), at_5_for_5(pause()), true),
            (fault(0, 5_000, stop()), at_5_for_5(pause()), false),
            (fault(0, 60_000, kill(2)), at_5_for_5(roll), true),
            (fault(0, 60_000, kill(1)), at_5_for_5(kill(2)), false),
            (fault(0, 60_000, kill(1)), at_5_for_5(stop()), false),
            (fault(0, 60_000, FaultKind::PostgresLock), at_5_for_5(FaultKind::PostgresReadOnly), false),
            // A setting that is held when its server is stopped is there for good.
            (fault(0, 60_000, FaultKind::PostgresReadOnly), at_5_for_5(stop_postgres()), true),
            (fault(0, 60_000, FaultKind::PostgresDiskFull), at_5_for_5(stop_postgres()), true),
            (fault(0, 60_000, FaultKind::PostgresDiskFull), at_5_for_5(stop()), false),
            (fault(0, 60_000, FaultKind::RedisClientKill), at_5_for_5(stop()), true),
        ] {
            assert_eq!(clash(&bounds, &one, &other).is_some(), clashes, "{one:?} {other:?}");
            assert_eq!(clash(&bounds, &other, &one).is_some(), clashes, "{other:?} {one:?}");
        }
    }
}
