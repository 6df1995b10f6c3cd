//! How soon nodes notice that they are cut off, and how soon they are whole again: part of [`super::recovery`].
//!
//! - *Cut off*: every node of a fault that takes Redis or Kafka away from it altogether: the service is stopped, killed
//!   or frozen, or the node's link is down or a black hole, or Redis closes its subscriptions. (PostgreSQL is not asked
//!   for: a node without it is degraded, not unready.) A node that does not run when the fault begins, ends before it is
//!   over, or that another fault ends, freezes or restarts meanwhile, is left out.
//! - *Noticed*: its readiness names the service as missing. Counted from the moment the injector was done.
//! - *Whole*: it is ready, from then on. Counted from the moment the fault was shown healed.
//!
//! `expect.nodes_detect_within_ms` is violated by a node that notices later, or not at all though the fault lasted so long.
//! If the fault was healed, or the history ends, before the time was up, nobody can tell; nor from a line that is missing
//! in a history that is cut, has holes, or ends before the ledgers came to rest.
//!
//! **Evidence**: the contractual `readiness` lines of the nodes' logs, by the clock of the run, as they are read: a node
//! writes one within 100 ms of the change.

use crate::{
    checkers::{Case, Finding, timelines::ProcessTimeline, windows::Window},
    history::{Lifecycle, Phase},
    plan::{Effects, Plan, ProcessName, Service},
};

/// One node under one fault.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Detected {
    /// Which node.
    pub node: String,
    /// When it noticed, after the injection.
    pub after_us: Option<u64>,
    /// When it was whole, after the heal.
    pub whole_us: Option<u64>,
}

/// Judges and describes every fault that cuts nodes off. Returns what it adds to the summary, if there was one.
pub(super) fn judge(case: &Case<'_>, finding: &mut Finding) -> Option<String> {
    let limit_us = case.plan.expect.nodes_detect_within_ms.map(|limit| limit.saturating_mul(1_000));
    let (mut candidates, mut seen, mut slowest_us) = (0_u64, 0_u64, 0);
    let mut whole_us = Some(0);
    for window in &case.windows {
        let cut_off = cut_off(case.plan, &window.effects);
        if cut_off.is_empty() {
            continue;
        }
        candidates += 1;
        let each = cut_off.iter().map(|(service, nodes)| noticed(case, window, *service, nodes));
        let noticed: Option<Vec<Detected>> = each.collect::<Option<Vec<_>>>().map(|each| each.concat());
        let noticed = noticed.ok_or("not shown in force").and_then(|noticed| {
            if noticed.is_empty() {
                Err("every node that it cuts off was itself broken")
            } else {
                Ok(noticed)
            }
        });
        let noticed = match noticed {
            Ok(noticed) => noticed,
            Err(why) => {
                if limit_us.is_some() {
                    finding.unknown(|| format!("{}: {why}, so nobody could notice", window.name));
                }
                continue;
            }
        };
        let (took, whole) = (slowest(&noticed, |one| one.after_us), slowest(&noticed, |one| one.whole_us));
        seen += u64::from(took.is_some());
        slowest_us = slowest_us.max(took.unwrap_or(0));
        // Of nodes that were never whole again nobody may read a time.
        whole_us = whole_us.zip(whole).map(|(slowest, this)| slowest.max(this));
        finding.note(|| describe(window, &noticed, took, whole));
        if let Some(limit_us) = limit_us {
            judge_limit(case, window, &noticed, limit_us, finding);
        }
    }
    if seen > 0 {
        finding.count("slowest_detection_ms", slowest_us / 1_000);
        if let Some(whole_us) = whole_us {
            finding.count("slowest_ready_again_ms", whole_us / 1_000);
        }
    }
    if limit_us.is_some() && candidates == 0 {
        finding.unknown(|| "no fault cuts a node off from Redis or Kafka: nothing to notice".to_owned());
    }
    (seen > 0).then(|| {
        let whole = match whole_us {
            Some(whole_us) => format!("ready again {} ms after the heal", whole_us / 1_000),
            None => "not all seen ready again".to_owned(),
        };
        format!("; nodes noticed within {} ms, {whole}", slowest_us / 1_000)
    })
}

fn judge_limit(case: &Case<'_>, window: &Window, noticed: &[Detected], limit_us: u64, finding: &mut Finding) {
    let lasted_us = lasted_us(case, window);
    for Detected { node, after_us, .. } in noticed {
        match after_us {
            // An earlier line may have fallen into a hole of the history.
            Some(after_us) if *after_us > limit_us => {
                finding.violated_unless(case.history.holes().map(str::to_owned), || {
                    format!("{}: {node} noticed only after {} ms", window.name, after_us / 1_000)
                });
            }
            Some(_) => {}
            None if lasted_us < limit_us => finding.unknown(|| {
                format!("{}: over after {} ms, before {node} had to notice", window.name, lasted_us / 1_000)
            }),
            None => finding.violated_unless(case.incomplete(), || {
                format!("{}: {node} did not notice in {} ms", window.name, lasted_us / 1_000)
            }),
        }
    }
}

fn describe(window: &Window, noticed: &[Detected], took: Option<u64>, whole: Option<u64>) -> String {
    let missed = noticed.iter().filter(|one| one.after_us.is_none()).count();
    let all = noticed.len();
    let took = match took {
        Some(took) if missed == 0 => {
            format!("all {all} nodes noticed, the slowest after {} ms", took / 1_000)
        }
        Some(took) => {
            format!("{} of {all} nodes noticed, the slowest after {} ms", all - missed, took / 1_000)
        }
        None => format!("none of {all} nodes noticed"),
    };
    let whole = match whole {
        Some(whole) => format!("ready again {} ms after the heal", whole / 1_000),
        None => "not seen ready again".to_owned(),
    };
    format!("{}: {took}; {whole}", window.name)
}

fn slowest(noticed: &[Detected], time: impl Fn(&Detected) -> Option<u64>) -> Option<u64> {
    noticed.iter().filter_map(time).max()
}

/// How long a fault was seen in force.
fn lasted_us(case: &Case<'_>, window: &Window) -> u64 {
    let from_us = window.injected_us.unwrap_or(u64::MAX);
    let to_us = window.heal_asked_us.or(window.ended_us()).unwrap_or(case.history.last_us());
    to_us.saturating_sub(from_us)
}

/// How the nodes fared under one fault that they could notice; `None` when the fault was not shown in force.
fn noticed(
    case: &Case<'_>,
    window: &Window,
    service: Service,
    nodes: &[ProcessName],
) -> Option<Vec<Detected>> {
    window.proved.as_ref()?;
    let (asked_us, injected_us) = (window.began_us()?, window.injected_us?);
    let heal_asked_us = window.heal_asked_us.or(window.ended_us()).unwrap_or(u64::MAX);
    let healed_us = window.ended_us().unwrap_or(u64::MAX);
    // At the end of the run every node ends; that is no reason to leave it out.
    let over_us = window.ended_us().or(case.history.phase(Phase::Healed)).unwrap_or(case.history.last_us());
    let mut all = Vec::new();
    for node in nodes {
        let timeline = ProcessTimeline::of(case.history, *node);
        let broken = case.windows.iter().any(|other| {
            other.effects.broken().any(|broken| broken == *node) && other.touches(asked_us, over_us)
        });
        if broken || !timeline.ran_at(injected_us) || timeline.ended_between(asked_us, over_us) {
            continue;
        }
        let said = || {
            timeline.said(0, u64::MAX).filter_map(|(at_us, event)| match event {
                Lifecycle::Readiness { ready, missing } => Some((at_us, *ready, missing)),
                _ => None,
            })
        };
        let misses = |missing: &str| missing.split(',').any(|name| name == service.name());
        let before = said().take_while(|(at_us, ..)| *at_us < asked_us).last();
        let after_us = match before {
            // It is cut off already, and knows.
            Some((_, _, missing)) if misses(missing) => Some(0),
            _ => said()
                .find(|(at_us, _, missing)| *at_us >= asked_us && *at_us <= healed_us && misses(missing))
                .map(|(at_us, ..)| at_us.saturating_sub(injected_us)),
        };
        let at_heal = said().take_while(|(at_us, ..)| *at_us < heal_asked_us).last();
        let whole_us = match at_heal {
            Some((_, true, _)) => Some(0),
            _ => said()
                .find(|(at_us, ready, _)| *ready && *at_us >= heal_asked_us)
                .map(|(at_us, ..)| at_us.saturating_sub(healed_us)),
        };
        all.push(Detected { node: node.to_string(), after_us, whole_us });
    }
    Some(all)
}

/// The nodes that a fault cuts off altogether from a service they cannot do without, or whose sessions that service ends;
/// one entry a service.
fn cut_off(plan: &Plan, effects: &Effects) -> Vec<(Service, Vec<ProcessName>)> {
    let nodes = (1..=plan.cluster.nodes).map(ProcessName::Node);
    // They serve history from PostgreSQL, and are ready without.
    let needed = [Service::Redis, Service::Kafka].into_iter();
    let each = needed.map(|service| {
        let all_lose_sessions = effects.ends_sessions == Some(service);
        let cut: Vec<ProcessName> = effects.cut_off_from(service).collect();
        let nodes = nodes.clone().filter(|node| all_lose_sessions || cut.contains(node));
        (service, nodes.collect::<Vec<_>>())
    });
    each.filter(|(_, nodes)| !nodes.is_empty()).collect()
}

#[cfg(test)]
mod tests {
    use crate::{
        checkers::{Detail, Verdict, fixture::Run, recovery::Recovery},
        history::{EventKind, FaultStep, Lifecycle, Phase},
        plan::{FaultKind, PlannedFault, ProcessName, Service},
    };

    fn readiness(node: &str, missing: &str) -> EventKind {
        let event = Lifecycle::Readiness { ready: missing.is_empty(), missing: missing.to_owned() };
        EventKind::Lifecycle { process: node.to_owned(), event }
    }

    /// Redis is away from 5 s to 8 s; two nodes say so at the given times, and are ready 400 ms after the heal.
    fn outage(limit_ms: Option<u64>, noticed_ms: [Option<u64>; 2]) -> Run {
        let mut run = Run::clean(200);
        run.plan.expect.nodes_detect_within_ms = limit_ms;
        let fault = FaultKind::ServiceStop { service: Service::Redis };
        run.plan.faults.push(PlannedFault { at_ms: 5_000, for_ms: 3_000, fault });
        let step = |step| EventKind::Fault { fault: 0, step };
        run = run
            .at_ms(4_900, step(FaultStep::Asked))
            .at_ms(5_000, step(FaultStep::Injected))
            .at_ms(5_060, step(FaultStep::Proved { evidence: "connection refused".into() }))
            .at_ms(8_000, step(FaultStep::HealAsked))
            .at_ms(8_100, step(FaultStep::Healed { evidence: "PONG".into() }));
        for (node, at_ms) in ["node-1", "node-2"].into_iter().zip(noticed_ms) {
            run = run.at_ms(0, readiness(node, ""));
            if let Some(at_ms) = at_ms {
                run = run.at_ms(at_ms, readiness(node, "redis")).at_ms(8_500, readiness(node, ""));
            }
        }
        run
    }

    #[test]
    fn every_way_to_be_wrong() {
        use Verdict::{Holds, Unknown, Violated};
        for (name, run, expected) in [
            ("in time", outage(Some(2_000), [Some(5_600), Some(6_100)]), Holds),
            ("while it was injected", outage(Some(100), [Some(4_950), Some(5_000)]), Holds),
            ("one too late", outage(Some(1_000), [Some(5_600), Some(6_100)]), Violated),
            ("one never", outage(Some(1_000), [Some(5_600), None]), Violated),
            ("one never, and nobody minds", outage(None, [Some(5_600), None]), Holds),
            ("healed too soon to tell", outage(Some(3_500), [Some(5_600), None]), Unknown),
            (
                "not proved",
                outage(Some(1_000), [Some(5_600), Some(5_600)])
                    .without(|what| matches!(what, EventKind::Fault { step: FaultStep::Proved { .. }, .. })),
                Unknown,
            ),
        ] {
            let finding = run.judged(&Recovery);
            assert_eq!(finding.verdict, expected, "{name}: {finding:#?}");
        }
    }

    #[test]
    fn what_is_missing_from_a_partial_history_convicts_nobody() {
        use Verdict::{Unknown, Violated};
        let settled = |m: &EventKind| matches!(m, EventKind::Phase(Phase::Settled));
        let late = || outage(Some(1_000), [Some(5_600), Some(6_100)]);
        let never = || outage(Some(1_000), [Some(5_600), None]);
        for (name, run, expected) in [
            ("killed before it had to notice", never().until_ms(5_700), Unknown),
            ("killed while Redis was away", never().until_ms(7_500), Unknown),
            ("never, and not at rest", never().without(settled), Unknown),
            ("never, and holes", never().with_holes(), Unknown),
            ("late, and holes", late().with_holes(), Unknown),
            ("late, and not at rest", late().without(settled), Violated),
        ] {
            let finding = run.judged(&Recovery);
            assert_eq!(finding.verdict, expected, "{name}: {finding:#?}");
        }
    }

    #[test]
    fn a_fault_without_an_end_lasted_as_long_as_the_history() {
        let finding = outage(Some(1_000), [Some(5_600), None]).until_ms(5_700).judged(&Recovery);
        let said = |detail: &Detail| detail.text.contains("before node-2 had to notice");
        assert!(finding.details.iter().any(said), "{finding:#?}");
    }

    #[test]
    fn a_node_that_another_fault_breaks_is_left_out() {
        use Verdict::{Holds, Unknown, Violated};
        let two = || vec![ProcessName::Node(2)];
        let both = || vec![ProcessName::Node(1), ProcessName::Node(2)];
        let exited =
            || EventKind::Exited { process: "node-2".into(), status: "signal SIGKILL".into(), asked: true };
        let started = || EventKind::Started { process: "node-2".into(), pid: 7 };
        let killed = |run: Run| {
            run.with_fault(FaultKind::ProcessKill { processes: two() }, [3_000, 3_050, 8_000, 8_200])
                .at_ms(3_020, exited())
                .at_ms(8_050, started())
        };
        let frozen = |run: Run, processes, heal_ms| {
            let times = [3_000, 3_050, heal_ms, heal_ms + 50];
            run.with_fault(FaultKind::ProcessPause { processes }, times)
        };
        let late = || outage(Some(1_000), [Some(5_600), Some(7_500)]);
        let never = || outage(Some(1_000), [Some(5_600), None]);
        for (name, run, expected) in [
            ("dead when Redis went", killed(late()), Holds),
            (
                "dead since, with no fault to tell",
                late().at_ms(3_020, exited()).at_ms(7_000, started()),
                Holds,
            ),
            ("frozen", frozen(never(), two(), 6_000), Holds),
            ("thawed before", frozen(never(), two(), 4_000), Violated),
            ("nobody left", frozen(never(), both(), 6_000), Unknown),
        ] {
            let finding = run.judged(&Recovery);
            assert_eq!(finding.verdict, expected, "{name}: {finding:#?}");
        }
    }

    #[test]
    fn the_slowest_node_is_named_with_its_times() {
        let finding = outage(None, [Some(5_600), Some(6_100)]).judged(&Recovery);
        assert_eq!(
            (finding.counts["slowest_detection_ms"], finding.counts["slowest_ready_again_ms"]),
            (1_100, 400)
        );
        let said = "all 2 nodes noticed, the slowest after 1100 ms; ready again 400 ms after the heal";
        assert!(finding.details.iter().any(|detail| detail.text.contains(said)), "{finding:#?}");
    }

    #[test]
    fn a_node_that_cannot_notice_is_not_judged() {
        let mut run = Run::clean(200).with_postgres_outage(5_000, 8_000);
        run.plan.expect.nodes_detect_within_ms = Some(1_000);
        let finding = run.judged(&Recovery);
        assert_eq!(finding.verdict, Verdict::Unknown, "{finding:#?}");
    }
}
