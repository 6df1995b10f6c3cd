//! **Claim: while PostgreSQL is away, writers wait.** A writer that is cut off from PostgreSQL pauses its partitions, does
//! nothing but probe, keeps its place in the consumer group, and resumes by itself when PostgreSQL is back.
//!
//! - *Cut off*: a proved fault stops, kills or freezes PostgreSQL, leaves it without a connection to give or without
//!   room on its disk, or downs or black-holes the writer's link to it.
//!   Overlapping faults on one writer are one outage.
//! - The outage begins when the injector is done and ends when healing is asked for; between that and the proof that it
//!   is healed either behaviour is right.
//! - *Pauses in time*: within `writers_pause_within_ms` of the beginning, or of the first message acked into a partition
//!   it holds, if that is later: an idle writer has no way to know.
//! - *Waits*: from its pause to the end of the outage it writes nothing, fails no further write, and does not resume.
//!   A commit seen later than [`LOG_LAG_US`] after the beginning is a write to a database that is not there.
//! - *Keeps its place*: no partitions come or go during the outage. Exempt when a process or Kafka is being broken, too,
//!   or when the plan forces a rebalance in that time (a stranger in the group, partitions added): then they may come and
//!   go, and the rest of the claim stands, for whatever the writer holds.
//! - *Resumes in time*: within `writers_resume_within_ms` of the proof that PostgreSQL is back; at all, in any case.
//! - A writer that is not running, or is itself being broken, is exempt. So is one whose next outage begins first.
//!
//! That each record is written once afterwards is [`super::durability`]'s and [`super::exactly_once`]'s to say.
//!
//! **Evidence**: the writers' contractual log lines, stamped by the harness as it reads them; probes by the fault player.
//! **Cannot see** a write that a writer does not log; a row that should not be there would show in the ledgers.
//!
//! **Cost**: linear in log lines and messages, for each outage.

use crate::{
    checkers::{Case, Checker, Finding, lives::ProcessLife, windows},
    history::{Lifecycle, Phase},
    plan::{FaultKind, ProcessName, Service},
};

/// Time a log line may need from the writer to the harness on a busy machine.
pub const LOG_LAG_US: u64 = 1_000_000;

/// See the [module](self).
#[derive(Debug)]
pub struct Pause;

/// A time in which one writer cannot reach PostgreSQL.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Outage {
    name: String,
    asked_us: u64,
    from_us: u64,
    heal_asked_us: u64,
    healed_us: u64,
}

#[derive(Debug, Default)]
struct Tally {
    outages: u64,
    pauses: u64,
    probes: u64,
    exempt: u64,
    /// Of the exempt: the writer itself was broken by the plan.
    broken: u64,
    slowest_pause_us: u64,
    slowest_resume_us: u64,
}

impl Checker for Pause {
    fn name(&self) -> &'static str {
        "pause"
    }

    fn claim(&self) -> &'static str {
        "writers cut off from PostgreSQL pause, only probe, keep their partitions, and resume by themselves"
    }

    fn judge(&self, case: &Case<'_>, finding: &mut Finding) {
        let mut cut_off: Vec<ProcessName> = case
            .plan
            .faults
            .iter()
            .flat_map(|fault| windows::writers_cut_off(case.plan, &fault.fault))
            .collect();
        cut_off.sort_unstable();
        cut_off.dedup();
        if cut_off.is_empty() {
            finding.not_applicable("no planned fault cuts a writer off from PostgreSQL");
            return;
        }
        let mut tally = Tally::default();
        for name in cut_off {
            let writer = ProcessLife::of(case.history, name);
            let outages = outages(case, name, finding);
            for (index, outage) in outages.iter().enumerate() {
                let next_us = outages.get(index + 1).map(|next| next.asked_us);
                judge_outage(case, &writer, outage, next_us, &mut tally, finding);
            }
        }
        if tally.outages > 0 && tally.broken == tally.outages {
            finding.not_applicable("every writer that was cut off from PostgreSQL was itself being broken");
            return;
        }
        if tally.pauses == 0 {
            finding.unknown(|| "no writer was seen to pause: there is nothing the claim is about".to_owned());
        }
        if let Some(doubt) = case.history.doubts().first() {
            finding.unknown(|| doubt.clone());
        }
        finding.count("outages", tally.outages);
        finding.count("pauses", tally.pauses);
        finding.count("probes", tally.probes);
        finding.count("exempt", tally.exempt);
        finding.count("slowest_pause_ms", tally.slowest_pause_us / 1_000);
        finding.count("slowest_resume_ms", tally.slowest_resume_us / 1_000);
        finding.summary = format!(
            "{} pauses in {} outages, within {} ms; {} probes; resumed within {} ms of the heal",
            tally.pauses,
            tally.outages,
            tally.slowest_pause_us / 1_000,
            tally.probes,
            tally.slowest_resume_us / 1_000
        );
    }
}

/// A writer's outages, in order, overlapping ones merged.
fn outages(case: &Case<'_>, writer: ProcessName, finding: &mut Finding) -> Vec<Outage> {
    let mut outages: Vec<Outage> = Vec::new();
    for window in &case.windows {
        let fault = &case.plan.faults[window.fault].fault;
        if !windows::writers_cut_off(case.plan, fault).contains(&writer) {
            continue;
        }
        let times = (window.proved.as_ref(), window.heal_asked_us, window.ended_us());
        let (Some((proved_us, _)), Some(heal_asked_us), Some(healed_us)) = times else {
            finding.unknown(|| format!("{}: no proof of when it began and ended", window.name));
            continue;
        };
        let from_us = window.injected_us.unwrap_or(*proved_us);
        let asked_us = window.asked_us.unwrap_or(from_us);
        outages.push(Outage { name: window.name.clone(), asked_us, from_us, heal_asked_us, healed_us });
    }
    outages.sort_by_key(|outage| outage.asked_us);
    let mut merged: Vec<Outage> = Vec::new();
    for outage in outages {
        match merged.last_mut() {
            Some(last) if outage.asked_us <= last.healed_us => {
                last.heal_asked_us = last.heal_asked_us.max(outage.heal_asked_us);
                last.healed_us = last.healed_us.max(outage.healed_us);
            }
            _ => merged.push(outage),
        }
    }
    merged
}

fn judge_outage(
    case: &Case<'_>,
    writer: &ProcessLife<'_>,
    outage: &Outage,
    next_us: Option<u64>,
    tally: &mut Tally,
    finding: &mut Finding,
) {
    tally.outages += 1;
    let name = writer.name;
    let broken = others_broken(case, outage, |fault| names(fault, name));
    if broken || !writer.ran_at(outage.from_us) || writer.ended_between(outage.asked_us, outage.healed_us) {
        tally.exempt += 1;
        tally.broken += u64::from(broken);
        finding.note(|| format!("{}: {name} was not running throughout, and is exempt", outage.name));
        return;
    }
    judge_partitions(case, writer, outage, finding);

    let pauses = writer.pauses();
    let pause = pauses.iter().find(|pause| {
        let open_at =
            pause.paused_us < outage.asked_us && pause.resumed_us.is_none_or(|at| at >= outage.from_us);
        // A writer that ended while it paused took the pause with it: the next life begins without.
        let open_at = open_at && !writer.ended_between(pause.paused_us, outage.asked_us);
        // A pause that was over before the injector was done was none of this outage.
        let within = (outage.asked_us..=outage.healed_us).contains(&pause.paused_us)
            && pause.resumed_us.is_none_or(|at| at >= outage.from_us);
        open_at || within
    });
    let limit_us = case.plan.expect.writers_pause_within_ms.map(|limit| limit.saturating_mul(1_000));
    let Some(pause) = pause else {
        // An idle writer has no way to know that PostgreSQL is away.
        let Some(noticed_us) = first_work(case, writer, outage) else {
            tally.exempt += 1;
            finding.note(|| format!("{}: {name} had nothing to write, and is exempt", outage.name));
            return;
        };
        let had_us = outage.heal_asked_us.saturating_sub(noticed_us);
        match limit_us {
            Some(limit_us) if had_us > limit_us + LOG_LAG_US => {
                finding
                    .violated(|| format!("{}: {name} did not pause in {} ms", outage.name, had_us / 1_000));
            }
            _ => finding.note(|| {
                format!("{}: {name} did not pause in the {} ms it had", outage.name, had_us / 1_000)
            }),
        }
        judge_writes(case, writer, outage, outage.from_us + LOG_LAG_US, finding);
        return;
    };

    tally.pauses += 1;
    tally.probes += pause.probes;
    // A writer may pause while PostgreSQL is still being stopped; then the clock runs from the asking, or from the last
    // write that PostgreSQL took after it (to take every connection takes a while, and is felt at its end).
    let began_us = if pause.paused_us <= outage.from_us {
        let wrote = |(at_us, event): (u64, &Lifecycle)| {
            matches!(event, Lifecycle::WriterWrote { .. }).then_some(at_us)
        };
        writer.said(outage.asked_us, pause.paused_us).filter_map(wrote).last().unwrap_or(outage.asked_us)
    } else {
        first_work(case, writer, outage).unwrap_or(pause.paused_us).max(outage.from_us)
    };
    let took_us = pause.paused_us.saturating_sub(began_us);
    tally.slowest_pause_us = tally.slowest_pause_us.max(took_us);
    if limit_us.is_some_and(|limit_us| took_us > limit_us) {
        finding.violated(|| format!("{}: {name} paused only after {} ms", outage.name, took_us / 1_000));
    }
    judge_writes(case, writer, outage, pause.paused_us.max(outage.asked_us), finding);
    match pause.resumed_us {
        Some(resumed_us) if resumed_us < outage.heal_asked_us => {
            let later = writer.said(resumed_us + 1, outage.heal_asked_us);
            let again = later.filter(|(_, event)| matches!(event, Lifecycle::WriterPaused { .. })).count();
            let at = case.at(resumed_us);
            finding.violated(|| {
                format!(
                    "{}: {name} resumed at {at}, before the heal, and paused {again} times again",
                    outage.name
                )
            });
        }
        Some(resumed_us) => {
            let took_us = resumed_us.saturating_sub(outage.healed_us);
            tally.slowest_resume_us = tally.slowest_resume_us.max(took_us);
            let limit_us = case.plan.expect.writers_resume_within_ms.map(|limit| limit.saturating_mul(1_000));
            if limit_us.is_some_and(|limit_us| took_us > limit_us) {
                finding.violated(|| {
                    format!("{}: {name} resumed only {} ms after the heal", outage.name, took_us / 1_000)
                });
            }
        }
        None if next_us.is_some() || writer.ended_between(outage.healed_us, before_the_end(case)) => {
            finding.note(|| format!("{}: {name} was broken again before it could resume", outage.name));
        }
        None => finding.violated(|| format!("{}: {name} never resumed", outage.name)),
    }
}

/// The end of the time in which an exit is a fault's doing and not the taking down of the cluster.
fn before_the_end(case: &Case<'_>) -> u64 {
    case.history.phase(Phase::Healed).unwrap_or(u64::MAX)
}

fn judge_writes(
    case: &Case<'_>,
    writer: &ProcessLife<'_>,
    outage: &Outage,
    from_us: u64,
    finding: &mut Finding,
) {
    let name = writer.name;
    for (at_us, event) in writer.said(from_us.saturating_add(1), outage.heal_asked_us.saturating_sub(1)) {
        let at = case.at(at_us);
        match event {
            Lifecycle::WriterWrote { records, .. } => {
                finding.violated(|| format!("{}: {name} wrote {records} records at {at}", outage.name));
            }
            Lifecycle::WriterFailed { error } if at_us > outage.from_us + LOG_LAG_US => {
                let paused = writer.pauses().iter().any(|pause| pause.paused_us < at_us);
                if paused {
                    finding.violated(|| format!("{}: {name} tried to write at {at}: {error}", outage.name));
                }
            }
            _ => {}
        }
    }
}

fn judge_partitions(case: &Case<'_>, writer: &ProcessLife<'_>, outage: &Outage, finding: &mut Finding) {
    let breaks_the_group = |fault: &FaultKind| match fault {
        FaultKind::ProcessKill { processes }
        | FaultKind::ProcessTerminate { processes }
        | FaultKind::ProcessPause { processes }
        | FaultKind::RollingRestart { processes, .. } => {
            processes.iter().any(|process| matches!(process, ProcessName::Writer(_)))
        }
        FaultKind::ServiceStop { service }
        | FaultKind::ServiceKill { service }
        | FaultKind::ServicePause { service } => *service == Service::Kafka,
        FaultKind::LinkDown { links }
        | FaultKind::LinkToxic { links, .. }
        | FaultKind::LinkHalfClose { links } => links.iter().any(|link| link.service == Service::Kafka),
        FaultKind::KafkaRebalance | FaultKind::KafkaPartitionsAdded { .. } => true,
        _ => false,
    };
    if others_broken(case, outage, breaks_the_group) {
        return;
    }
    let name = writer.name;
    for (at_us, event) in writer.said(outage.from_us, outage.heal_asked_us) {
        let what = match event {
            Lifecycle::WriterAssigned { partitions } => format!("was given partitions {partitions}"),
            Lifecycle::WriterRevoked { partitions } => format!("lost partitions {partitions}"),
            _ => continue,
        };
        finding.violated(|| format!("{}: {name} {what} at {} (rebalance)", outage.name, case.at(at_us)));
    }
}

/// True when another fault of the given sort touches an outage, or the ten seconds before it: a consumer group needs that
/// long to notice a member that is gone.
fn others_broken(case: &Case<'_>, outage: &Outage, sort: impl Fn(&FaultKind) -> bool) -> bool {
    const GROUP_NOTICES_US: u64 = 10_000_000;
    case.windows.iter().any(|window| {
        let began_us = window.began_us().unwrap_or(u64::MAX);
        let ended_us = window.ended_us().unwrap_or(u64::MAX).saturating_add(GROUP_NOTICES_US);
        sort(&case.plan.faults[window.fault].fault)
            && began_us <= outage.healed_us
            && ended_us >= outage.asked_us
    })
}

/// True when a fault is done to this very process.
fn names(fault: &FaultKind, process: ProcessName) -> bool {
    match fault {
        FaultKind::ProcessKill { processes }
        | FaultKind::ProcessTerminate { processes }
        | FaultKind::ProcessPause { processes } => processes.contains(&process),
        _ => false,
    }
}

/// The first ack, during an outage, of a message in a partition that the writer holds.
fn first_work(case: &Case<'_>, writer: &ProcessLife<'_>, outage: &Outage) -> Option<u64> {
    let held = writer.partitions_at(outage.from_us);
    let mine = |partition: i32| held.as_ref().is_none_or(|held| held.contains(&partition));
    (0..case.history.messages())
        .filter_map(|message| {
            let life = case.history.life(message);
            let (at_us, (partition, _)) = (life.acked_us()?, case.place(message)?);
            ((outage.from_us..outage.heal_asked_us).contains(&at_us) && mine(partition)).then_some(at_us)
        })
        .min()
}

#[cfg(test)]
mod tests {
    use super::Pause;
    use crate::{
        checkers::{
            Verdict,
            fixture::{Run, said},
        },
        history::{FaultStep, Lifecycle, What},
        plan::{FaultKind, PlannedFault, ProcessName},
    };

    fn outage() -> Run {
        let mut run = Run::clean(200).with_postgres_outage(5_000, 8_000);
        run.plan.expect.writers_pause_within_ms = Some(1_000);
        run.plan.expect.writers_resume_within_ms = Some(2_000);
        run
    }

    #[test]
    fn every_way_to_be_wrong() {
        use Verdict::{Holds, Unknown, Violated};
        let paused = |m: &What| matches!(m, What::Lifecycle { event: Lifecycle::WriterPaused { .. }, .. });
        let resumed = |m: &What| matches!(m, What::Lifecycle { event: Lifecycle::WriterResumed { .. }, .. });
        let proof = |m: &What| matches!(m, What::Fault { step: FaultStep::Proved { .. }, .. });
        let wrote = said(Lifecycle::WriterWrote { records: 3, rows: 3, took_us: 900 });
        let pause = said(Lifecycle::WriterPaused { error: "refused".into() });
        let resume = said(Lifecycle::WriterResumed { paused_ms: 1 });
        let tried = said(Lifecycle::WriterFailed { error: "refused".into() });
        let revoked = said(Lifecycle::WriterRevoked { partitions: "0".into() });
        for (name, run, expected) in [
            ("no such fault", Run::clean(40), Holds),
            ("clean", outage(), Holds),
            ("never paused", outage().without(paused).without(resumed), Violated),
            ("paused late", outage().without(paused).at_ms(7_000, pause), Violated),
            ("wrote while paused", outage().at_ms(7_000, wrote), Violated),
            ("tried again while paused", outage().at_ms(7_000, tried), Violated),
            ("rebalanced", outage().at_ms(6_500, revoked), Violated),
            ("resumed too early", outage().at_ms(7_000, resume.clone()), Violated),
            ("resumed late", outage().without(resumed).at_ms(12_000, resume), Violated),
            ("never resumed", outage().without(resumed), Violated),
            ("no proof", outage().without(proof), Unknown),
        ] {
            let finding = run.judged(&Pause);
            assert_eq!(finding.verdict, expected, "{name}: {finding:#?}");
        }
    }

    #[test]
    fn a_planned_rebalance_may_move_partitions_and_excuses_nothing_else() {
        use Verdict::{Holds, Violated};
        let revoked = said(Lifecycle::WriterRevoked { partitions: "0".into() });
        let wrote = said(Lifecycle::WriterWrote { records: 3, rows: 3, took_us: 900 });
        let resumed = |m: &What| matches!(m, What::Lifecycle { event: Lifecycle::WriterResumed { .. }, .. });
        let both = || {
            let mut run = outage();
            let fault = FaultKind::KafkaRebalance;
            run.plan.faults.push(PlannedFault { at_ms: 6_000, for_ms: 1_000, fault });
            let step = |step| What::Fault { fault: 1, step };
            run.at_ms(6_000, step(FaultStep::Asked))
                .at_ms(6_400, revoked.clone())
                .at_ms(6_500, step(FaultStep::Proved { evidence: "a member".into() }))
                .at_ms(7_000, step(FaultStep::HealAsked))
                .at_ms(7_200, step(FaultStep::Healed { evidence: "no member".into() }))
        };
        for (name, run, expected) in [
            ("both", both(), Holds),
            ("wrote while paused", both().at_ms(7_000, wrote.clone()), Violated),
            ("never resumed", both().without(resumed), Violated),
        ] {
            let finding = run.judged(&Pause);
            assert_eq!(finding.verdict, expected, "{name}: {finding:#?}");
        }
    }

    #[test]
    fn an_injector_that_takes_its_time_does_not_make_the_writer_late() {
        let begun = |m: &What| {
            let step = matches!(m, What::Fault { step: FaultStep::Injected | FaultStep::Proved { .. }, .. });
            step || matches!(m, What::Lifecycle { event: Lifecycle::WriterPaused { .. }, .. })
        };
        let slow = || {
            outage()
                .without(begun)
                .at_ms(7_000, said(Lifecycle::WriterPaused { error: "refused".into() }))
                .at_ms(7_100, What::Fault { fault: 0, step: FaultStep::Injected })
                .at_ms(7_150, What::Fault { fault: 0, step: FaultStep::Proved { evidence: "53300".into() } })
        };
        let wrote = said(Lifecycle::WriterWrote { records: 3, rows: 3, took_us: 900 });
        assert_eq!(slow().at_ms(6_900, wrote).judged(&Pause).verdict, Verdict::Holds);
        assert_eq!(slow().judged(&Pause).verdict, Verdict::Violated);
    }

    #[test]
    fn a_writer_with_nothing_to_do_or_that_is_dead_is_exempt() {
        let dead = What::Exited { process: "writer-1".into(), status: "signal: 9".into(), asked: true };
        let silent = |run: Run| {
            run.without(|m| matches!(m, What::Lifecycle { event: Lifecycle::WriterPaused { .. }, .. }))
        };
        let run = silent(outage()).at_ms(5_100, dead);
        let finding = run.judged(&Pause);
        // Exempt, and so without evidence: unknown rather than violated.
        assert_eq!((finding.verdict, finding.counts["exempt"]), (Verdict::Unknown, 1), "{finding:#?}");
    }

    #[test]
    fn a_pause_ends_with_the_life_of_its_writer() {
        let exited = What::Exited { process: "writer-1".into(), status: "signal: 9".into(), asked: true };
        let started = |m: &What| matches!(m, What::Started { process, .. } if process.as_str() == "writer-1");
        let run = outage();
        let again = run.events.iter().find(|event| started(&event.what)).unwrap().what.clone();
        // Long before the outage it paused, was killed, and came back; then it did everything right.
        let run = run
            .at_ms(1_000, said(Lifecycle::WriterPaused { error: "refused".into() }))
            .at_ms(1_500, exited)
            .at_ms(1_900, again);
        let finding = run.judged(&Pause);
        assert_eq!(finding.verdict, Verdict::Holds, "{finding:#?}");
    }

    #[test]
    fn a_writer_that_the_plan_breaks_has_no_pause_to_show() {
        let silent =
            outage().without(|m| matches!(m, What::Lifecycle { event: Lifecycle::WriterPaused { .. }, .. }));
        let mut run = silent;
        let fault = FaultKind::ProcessKill { processes: vec![ProcessName::Writer(1)] };
        run.plan.faults.push(PlannedFault { at_ms: 5_200, for_ms: 2_300, fault });
        let evidence = || "seen".to_owned();
        for (at_ms, step) in [
            (5_200, FaultStep::Asked),
            (5_210, FaultStep::Injected),
            (5_220, FaultStep::Proved { evidence: evidence() }),
            (7_500, FaultStep::HealAsked),
            (7_600, FaultStep::Healed { evidence: evidence() }),
        ] {
            run = run.at_ms(at_ms, What::Fault { fault: 1, step });
        }
        let finding = run.judged(&Pause);
        assert_eq!((finding.verdict, finding.applicable), (Verdict::Holds, false), "{finding:#?}");
    }
}
