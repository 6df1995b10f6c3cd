//! **Claim: after each heal, users are soon back to normal** (within `expect.recover_within_ms`, where stated).
//!
//! - *Quiet*: the moment a fault is shown healed and no other is in force. One that was never shown healed is in force to
//!   the end.
//! - *Normal*: the first moment from which, for [`NORMAL_FOR_S`] seconds on end, at least nine in ten of the messages
//!   due in each second are acked, and their median ack latency is at most twice the median before the first fault (or
//!   [`NORMAL_SLACK_US`] above it: twice very little is still very little). Messages that could not even leave count
//!   as not acked: that is what users feel.
//! - *Outage*: the longest time without any ack, from the fault until normal.
//! - *First ack*: the first ack after quiet. It says that something works; *normal* says that it works for all.
//!
//! If the next fault, the end of the load or the end of the history comes before a verdict is possible, it is *not
//! measured*; with a stated limit that is `unknown`, as nobody can tell. Without one, it is `unknown` only if users had
//! [`WATCHED_ENOUGH_US`] without a fault and were still not back to normal: nobody said how soon, but that was not soon.
//! In a history that is cut, has holes, or ends before the ledgers came to rest, acks that are not there prove nothing.
//!
//! Nodes that are cut off must say so soon (`expect.nodes_detect_within_ms`, where stated): see [`super::notice`].
//!
//! **Evidence**: due times and acks, by one clock. **Cannot see** who suffered: one node of three may be slow for longer
//! than a median shows; [`super::latency`] shows the tail.
//!
//! **Cost**: a sweep over the messages after each heal.

use crate::{
    checkers::{Case, Checker, Finding, detection},
    history::Fate,
};

/// Seconds for which things must be normal to count as normal.
pub const NORMAL_FOR_S: u64 = 3;
/// Messages of every ten that must be acked.
const NORMAL_ACKED_OF_TEN: u64 = 9;
/// Median latency above the one from before that is normal all the same: no user feels it, and a busy machine makes as much
/// of it as the generator's own lateness may be.
const NORMAL_SLACK_US: u64 = 50_000;
/// Time without a fault after which users who are not back to normal are not just getting over one. Most of the catalogue
/// is back within five seconds, and its scenarios leave about ten of load after the last heal.
pub const WATCHED_ENOUGH_US: u64 = 10_000_000;
/// Grain of the search for the first normal moment.
const STEP_US: u64 = 100_000;
const SECOND_US: u64 = 1_000_000;

/// How users fared after one fault.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Recovered {
    /// From the fault's beginning until users were back to normal; what counts outside faults leave out. Users who never
    /// are get [`WATCHED_ENOUGH_US`]: what is still wrong after that is no fault's doing any more.
    pub disturbed: Option<(u64, u64)>,
    /// When the fault was healed and no other was in force.
    pub quiet_us: Option<u64>,
    /// First ack after that.
    pub first_ack_us: Option<u64>,
    /// First normal moment after that.
    pub normal_us: Option<u64>,
    /// Until when normality was looked for.
    pub watched_us: u64,
    /// Longest time without an ack, from the fault until normal.
    pub outage_us: u64,
    /// Messages due meanwhile that were refused.
    pub refused: u64,
    /// Messages due meanwhile whose fate is open.
    pub open: u64,
    /// Messages due meanwhile that could not leave.
    pub not_sent: u64,
}

/// See the [module](self).
#[derive(Debug)]
pub struct Recovery;

impl Checker for Recovery {
    fn name(&self) -> &'static str {
        "recovery"
    }

    fn claim(&self) -> &'static str {
        "after each heal, acks are soon back at their rate and latency"
    }

    fn when_unknown(&self) -> &'static str {
        "leave more load after the last heal: raise duration_s, or lower the limit under [expect]"
    }

    fn judge(&self, case: &Case<'_>, finding: &mut Finding) {
        if case.windows.is_empty() {
            finding.not_applicable("no fault was planned");
            return;
        }
        let (mut slowest_us, mut longest_us, mut measured) = (0, 0, 0_u64);
        let limit_us = case.plan.expect.recover_within_ms.map(|limit| limit.saturating_mul(1_000));
        for (window, after) in case.windows.iter().zip(&case.recovered) {
            longest_us = longest_us.max(after.outage_us);
            let Some(quiet_us) = after.quiet_us else {
                let why = match window.ended_us() {
                    Some(_) => "healed while another fault was in force that was never shown healed",
                    None => "never shown healed",
                };
                finding.unknown(|| format!("{}: {why}", window.name));
                continue;
            };
            let took_us = after.normal_us.map(|normal_us| normal_us - quiet_us);
            let watched_us = after.watched_us.saturating_sub(quiet_us);
            match (took_us, limit_us) {
                (Some(took_us), Some(limit_us)) if took_us > limit_us => {
                    finding.violated_unless(acks_lack(case, quiet_us + limit_us), || {
                        format!("{}: normal only {} ms after the heal", window.name, took_us / 1_000)
                    });
                }
                (Some(took_us), _) => finding.note(|| {
                    let outage_ms = after.outage_us / 1_000;
                    format!(
                        "{}: normal {} ms after the heal; {outage_ms} ms without an ack",
                        window.name,
                        took_us / 1_000
                    )
                }),
                (None, Some(limit_us)) if watched_us >= limit_us + NORMAL_FOR_S * SECOND_US => {
                    finding.violated_unless(case.incomplete(), || {
                        format!("{}: not normal {} ms after the heal", window.name, watched_us / 1_000)
                    });
                }
                (None, Some(_)) => finding.unknown(|| {
                    format!(
                        "{}: only {} ms of load without a fault were left to see it recover",
                        window.name,
                        watched_us / 1_000
                    )
                }),
                (None, None) if watched_us >= WATCHED_ENOUGH_US => finding.unknown(|| {
                    format!("{}: still not normal {} ms after the heal", window.name, watched_us / 1_000)
                }),
                (None, None) => finding.note(|| {
                    format!(
                        "{}: not seen to be normal within the {} ms watched",
                        window.name,
                        watched_us / 1_000
                    )
                }),
            }
            if let Some(took_us) = took_us {
                measured += 1;
                slowest_us = slowest_us.max(took_us);
            }
        }
        finding.count("faults", case.windows.len() as u64);
        finding.count("back_to_normal", measured);
        finding.count("slowest_recovery_ms", slowest_us / 1_000);
        finding.count("longest_outage_ms", longest_us / 1_000);
        let noticed = detection::judge(case, finding);
        finding.summary = format!(
            "{measured} of {} faults seen to be over, {} ms after the heal; {} ms without an ack",
            case.windows.len(),
            slowest_us / 1_000,
            longest_us / 1_000
        );
        if let Some(noticed) = noticed {
            finding.summary.push_str(&noticed);
        }
    }
}

/// Why users may have been normal at a time at which they do not look so, if that is so: acks are lost, or were still to come
/// when the history ended.
fn acks_lack(case: &Case<'_>, at_us: u64) -> Option<String> {
    let timeout_us = case.plan.load.ack_timeout_ms.saturating_mul(1_000);
    let known_us = at_us.saturating_add(NORMAL_FOR_S * SECOND_US).saturating_add(timeout_us);
    let open = || case.incomplete().filter(|_| case.history.last_us() < known_us);
    case.history.holes().map(str::to_owned).or_else(open)
}

/// Works out how users fared after each fault, in the order of `case.windows`.
pub fn recovered(case: &Case<'_>) -> Vec<Recovered> {
    if case.windows.is_empty() {
        return Vec::new();
    }
    let first_us = case.windows.iter().filter_map(super::windows::Window::began_us).min().unwrap_or(u64::MAX);
    let before = latencies(case, case.warm_us(), first_us);
    // Too little before the first fault to know what normal is: then only the rate can tell.
    let normal_us = if before.0.len() >= 10 { median(before.0) } else { None };
    let mut acks: Vec<u64> =
        (0..case.history.messages()).filter_map(|message| case.history.outcome(message).acked_us()).collect();
    acks.sort_unstable();
    (0..case.windows.len()).map(|fault| after(case, fault, normal_us, &acks)).collect()
}

fn after(case: &Case<'_>, fault: usize, normal_latency_us: Option<u64>, acks: &[u64]) -> Recovered {
    let Some(began_us) = case.windows[fault].began_us() else { return Recovered::default() };
    let Some(healed_us) = case.windows[fault].ended_us() else {
        return Recovered { disturbed: Some((began_us, u64::MAX)), ..Recovered::default() };
    };
    let Some(quiet_us) = quiet_after(case, healed_us) else {
        return Recovered { disturbed: Some((began_us, u64::MAX)), ..Recovered::default() };
    };
    let next_us =
        case.windows.iter().filter_map(super::windows::Window::began_us).filter(|at| *at > quiet_us).min();
    // What the history did not live to see was not watched.
    let end_us = case.load_end_us().min(case.history.last_us());
    let watched_us = end_us.min(next_us.unwrap_or(u64::MAX)).max(quiet_us);
    let normal_us = first_normal(case, quiet_us, watched_us, normal_latency_us);
    let until_us = normal_us.unwrap_or(watched_us);
    let disturbed_until_us =
        normal_us.unwrap_or_else(|| watched_us.min(quiet_us.saturating_add(WATCHED_ENOUGH_US)));
    let mut after = Recovered {
        disturbed: Some((began_us, disturbed_until_us)),
        quiet_us: Some(quiet_us),
        first_ack_us: acks.get(acks.partition_point(|at| *at < quiet_us)).copied(),
        normal_us,
        watched_us,
        outage_us: longest_gap(acks, began_us, until_us),
        ..Recovered::default()
    };
    for message in due_between(case, began_us, until_us) {
        match case.history.outcome(message).fate() {
            Fate::Refused(_) => after.refused += 1,
            Fate::NotSent => after.not_sent += 1,
            Fate::Acked => {}
            Fate::Unseen | Fate::Unanswered | Fate::Indeterminate(_) => after.open += 1,
        }
    }
    after
}

/// The first moment at or after `from_us` at which no fault is in force; `None` when one stays to the end.
fn quiet_after(case: &Case<'_>, from_us: u64) -> Option<u64> {
    let mut quiet_us = from_us;
    loop {
        let later = case.windows.iter().filter_map(|window| {
            let ended_us = window.ended_us().unwrap_or(u64::MAX);
            (window.began_us()? <= quiet_us && ended_us > quiet_us).then_some(ended_us)
        });
        match later.max() {
            Some(u64::MAX) => return None,
            Some(ended_us) => quiet_us = ended_us,
            None => return Some(quiet_us),
        }
    }
}

fn first_normal(case: &Case<'_>, quiet_us: u64, watched_us: u64, normal_us: Option<u64>) -> Option<u64> {
    let is_normal = |from_us: u64| {
        (0..NORMAL_FOR_S).all(|second| {
            let from_us = from_us + second * SECOND_US;
            let (latencies, due) = latencies(case, from_us, from_us + SECOND_US);
            let enough = latencies.len() as u64 * 10 >= due * NORMAL_ACKED_OF_TEN;
            let quick = match (normal_us, median(latencies)) {
                (Some(normal_us), Some(now_us)) => now_us <= (2 * normal_us).max(normal_us + NORMAL_SLACK_US),
                _ => true,
            };
            enough && quick
        })
    };
    let last_us = watched_us.checked_sub(NORMAL_FOR_S * SECOND_US)?;
    let mut at_us = quiet_us;
    while at_us <= last_us {
        if is_normal(at_us) {
            return Some(at_us);
        }
        at_us += STEP_US;
    }
    None
}

/// Ack latencies, from the intended time, of the messages due in a span; and how many were due.
fn latencies(case: &Case<'_>, from_us: u64, to_us: u64) -> (Vec<u64>, u64) {
    let due = due_between(case, from_us, to_us);
    let count = u64::from(due.end - due.start);
    let latency =
        |message| Some(case.history.outcome(message).acked_us()?.saturating_sub(case.due_us(message)?));
    (due.filter_map(latency).collect(), count)
}

/// Messages due in a span.
fn due_between(case: &Case<'_>, from_us: u64, to_us: u64) -> std::ops::Range<u32> {
    let load_us = case.load_us();
    let index = |at_us: u64| {
        let offset_us = at_us.saturating_sub(load_us);
        let index = case.arrivals.list.partition_point(|arrival| arrival.due_us < offset_us);
        u32::try_from(index).unwrap_or(u32::MAX)
    };
    index(from_us)..index(to_us).max(index(from_us))
}

fn median(mut values: Vec<u64>) -> Option<u64> {
    let middle = values.len() / 2;
    (!values.is_empty()).then(|| *values.select_nth_unstable(middle).1)
}

/// The longest time between acks within a span, its ends included.
fn longest_gap(acks: &[u64], from_us: u64, to_us: u64) -> u64 {
    let within = &acks[acks.partition_point(|at| *at < from_us)..acks.partition_point(|at| *at < to_us)];
    let (mut last_us, mut longest_us) = (from_us, 0);
    for at_us in within.iter().copied().chain([to_us]) {
        longest_us = longest_us.max(at_us.saturating_sub(last_us));
        last_us = at_us;
    }
    longest_us
}

#[cfg(test)]
mod tests {
    use super::Recovery;
    use crate::{
        checkers::{Verdict, fixture::Run},
        history::{EventKind, Phase, Reason},
        plan::{FaultKind, Service},
    };

    /// A run of 20 s in which PostgreSQL is away from 5 s to 8 s.
    fn outage() -> Run {
        Run::clean(200).with_postgres_outage(5_000, 8_000)
    }

    /// Messages (ten a second) due in the given tenths of a second stay without an ack.
    fn unacked(run: Run, which: std::ops::Range<u32>) -> Run {
        run.mapped(|what| match what {
            EventKind::Acked { message, .. } if which.contains(&message) => {
                EventKind::Indeterminate { message, why: Reason::Timeout }
            }
            other => other,
        })
    }

    #[test]
    fn every_way_to_be_wrong() {
        use Verdict::{Holds, Unknown, Violated};
        let limited = |mut run: Run, limit| {
            run.plan.expect.recover_within_ms = limit;
            run
        };
        for (name, run, expected) in [
            ("no fault", limited(Run::clean(40), Some(1)), Holds),
            ("never disturbed", limited(outage(), Some(1_000)), Holds),
            ("back in time", limited(unacked(outage(), 50..90), Some(1_500)), Holds),
            ("back too late", limited(unacked(outage(), 50..110), Some(1_500)), Violated),
            ("back late, nobody minds", limited(unacked(outage(), 50..110), None), Holds),
            ("never back", limited(unacked(outage(), 50..200), Some(1_500)), Violated),
            (
                "never back, too little time to tell",
                limited(unacked(outage(), 50..200), Some(11_000)),
                Unknown,
            ),
        ] {
            let finding = run.judged(&Recovery);
            assert_eq!(finding.verdict, expected, "{name}: {finding:#?}");
        }
    }

    #[test]
    fn what_was_not_watched_convicts_nobody() {
        use Verdict::{Unknown, Violated};
        let run = |limit_ms, which| {
            let mut run = unacked(outage(), which);
            run.plan.expect.recover_within_ms = Some(limit_ms);
            run
        };
        let settled = |m: &EventKind| matches!(m, EventKind::Phase(Phase::Settled));
        // PostgreSQL is back, and nobody is better off, as Redis is still away.
        let redis = FaultKind::ServiceStop { service: Service::Redis };
        for (name, run, expected) in [
            ("killed 2 s after the heal", run(1_500, 50..200).until_ms(10_500), Unknown),
            ("not at rest", run(1_500, 50..200).without(settled), Unknown),
            ("holes", run(1_500, 50..200).with_holes(), Unknown),
            ("late, and holes", run(1_500, 50..110).with_holes(), Unknown),
            ("late, and killed before late acks", run(1_500, 50..110).until_ms(15_000), Unknown),
            ("late, and killed later", run(1_500, 50..110).until_ms(19_000), Violated),
            ("late, and not at rest", run(1_500, 50..110).without(settled), Violated),
            (
                "another fault stays",
                run(1_500, 50..200).with_fault(redis, [6_000, 6_100, 9_000, 9_100]).never_healed(1),
                Unknown,
            ),
        ] {
            let finding = run.judged(&Recovery);
            assert_eq!(finding.verdict, expected, "{name}: {finding:#?}");
        }
    }

    #[test]
    fn only_what_the_history_saw_was_watched() {
        let mut run = Run::clean(600).with_postgres_outage(15_000, 19_500).until_ms(22_000);
        run.plan.expect.recover_within_ms = Some(10_000);
        let finding = run.judged(&Recovery);
        assert_eq!(finding.verdict, Verdict::Unknown, "{finding:#?}");
        assert!(finding.details[0].text.contains("only 2000 ms of load"), "{finding:#?}");
    }

    #[test]
    fn without_a_limit_users_who_never_come_back_are_unknown_once_they_had_time() {
        let finding = unacked(outage(), 50..200).judged(&Recovery);
        assert_eq!(finding.verdict, Verdict::Unknown, "{finding:#?}");
        let short = Run::clean(150).with_postgres_outage(5_000, 8_000);
        let finding = unacked(short, 50..150).judged(&Recovery);
        assert_eq!(finding.verdict, Verdict::Holds, "{finding:#?}");
    }

    #[test]
    fn the_outage_is_the_longest_time_without_an_ack() {
        let finding = unacked(outage(), 50..90).judged(&Recovery);
        let outage_ms = finding.counts["longest_outage_ms"];
        assert!((3_900..=4_200).contains(&outage_ms), "{finding:#?}");
    }
}
