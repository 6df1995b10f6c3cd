//! Faults may overlap, but not on the same thing: what is stopped cannot be stopped again, and whichever of the two ends
//! first would heal the other.

use super::provable::seconds;
use crate::plan::{FaultKind, LinkName, PlannedFault, ProcessName, Service};

/// What one fault at a time may hold. Toxics are not here: each has a name of its own at the proxy, and any number of
/// them may lie on one link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Held {
    Service(Service),
    Link(LinkName),
    Process(ProcessName),
    Clock(ProcessName),
    /// A setting, a table or a file system of PostgreSQL.
    Postgres(&'static str),
    OutputBuffer,
}

/// Why two faults cannot be in force together; nothing when they can, or never are.
pub(super) fn clash(one: &PlannedFault, other: &PlannedFault) -> Option<String> {
    let together = one.at_ms < other.at_ms + other.for_ms && other.at_ms < one.at_ms + one.for_ms;
    if !together {
        return None;
    }
    let theirs = held(&other.fault);
    held(&one.fault).iter().any(|thing| theirs.contains(thing)).then(|| {
        format!(
            "`{}` at {} s and `{}` at {} s overlap on the same thing: whichever ends first would heal the other",
            one.fault,
            seconds(one.at_ms),
            other.fault,
            seconds(other.at_ms)
        )
    })
}

fn held(fault: &FaultKind) -> Vec<Held> {
    match fault {
        FaultKind::ServiceStop { service }
        | FaultKind::ServiceKill { service }
        | FaultKind::ServicePause { service } => vec![Held::Service(*service)],
        FaultKind::LinkDown { links } | FaultKind::LinkHalfClose { links } => {
            links.iter().map(|link| Held::Link(*link)).collect()
        }
        FaultKind::ProcessKill { processes }
        | FaultKind::ProcessTerminate { processes }
        | FaultKind::ProcessPause { processes }
        | FaultKind::RollingRestart { processes, .. } => {
            processes.iter().map(|process| Held::Process(*process)).collect()
        }
        FaultKind::ProcessClockSkew { processes, .. } => {
            processes.iter().map(|process| Held::Clock(*process)).collect()
        }
        FaultKind::PostgresReadOnly => vec![Held::Postgres("read-only")],
        FaultKind::PostgresLock => vec![Held::Postgres("lock")],
        FaultKind::PostgresConnectionLimit => vec![Held::Postgres("slots")],
        FaultKind::PostgresDiskFull => vec![Held::Postgres("disk")],
        FaultKind::RedisOutputBuffer { .. } => vec![Held::OutputBuffer],
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
        let at_5_for_5 = |kind| fault(5_000, 5_000, kind);
        for (one, other, clashes) in [
            (fault(0, 6_000, stop()), at_5_for_5(pause()), true),
            (fault(0, 5_000, stop()), at_5_for_5(pause()), false),
            (fault(0, 60_000, kill(2)), at_5_for_5(roll), true),
            (fault(0, 60_000, kill(1)), at_5_for_5(kill(2)), false),
            (fault(0, 60_000, kill(1)), at_5_for_5(stop()), false),
            (fault(0, 60_000, FaultKind::PostgresLock), at_5_for_5(FaultKind::PostgresReadOnly), false),
        ] {
            assert_eq!(clash(&one, &other).is_some(), clashes, "{one:?} {other:?}");
            assert_eq!(clash(&other, &one).is_some(), clashes, "{other:?} {one:?}");
        }
    }
}
