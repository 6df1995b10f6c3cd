//! **Claim: while PostgreSQL is away, writers wait.** A writer that is cut off from PostgreSQL pauses its partitions, does
//! nothing but probe, keeps its place in the consumer group, and resumes by itself when PostgreSQL is back.
//!
//! - *Cut off*: a proved fault stops, kills or freezes PostgreSQL, makes it read-only, locks the table, leaves it without
//!   a connection to give or without room on its disk, or downs or black-holes the writer's link to it. (One that ends
//!   sessions and takes new ones does not: a writer may be connected again before its next batch.)
//! - The outage begins when the injector is done and ends when healing is asked for; between that and the proof that it
//!   is healed either behaviour is right. Faults on one writer are one outage when the next has begun, in this sense,
//!   before the last has ended.
//! - *Pauses in time*: within `writers_pause_within_ms` of the beginning, or of the first message acked into a partition
//!   it holds, if that is later: an idle writer has no way to know.
//! - *Waits*: from its pause to the end of the outage it writes nothing, fails no further write, and does not resume.
//!   A commit seen later than [`LOG_LAG_US`] after the beginning is a write to a database that is not there.
//! - *Keeps its place*: no partitions come or go during the outage. Exempt when a process or Kafka is being broken, too,
//!   or when the plan forces a rebalance in that time (an extra consumer in the group, partitions added): then they may come and
//!   go, and the rest of the claim stands, for whatever the writer holds.
//! - *Resumes in time*: within `writers_resume_within_ms` of the proof that PostgreSQL is back; at all, in any case.
//! - A writer that is not running, or is itself being broken, is exempt. So is one that ends or is broken or cut off again
//!   before its time to resume is up.
//! - A limit that is stated and that no writer had to keep makes the run `unknown`.
//! - That a writer did *not* pause or resume proves nothing in a history that is cut, has holes, or ends before the ledgers
//!   came to rest: that is `unknown`. So is being late, in a history with holes: the line that was in time may be lost.
//!
//! That each record is written once afterwards is [`super::durability`]'s and [`super::exactly_once`]'s to say.
//!
//! **Evidence**: the writers' contractual log lines, stamped by the harness as it reads them; probes by the fault player.
//! **Cannot see** a write that a writer does not log; a row that should not be there would show in the ledgers.
//!
//! **Cost**: linear in log lines and messages, for each outage.

mod outages;
#[cfg(test)]
mod tests;

use crate::{
    checkers::{Case, Checker, Finding, timelines::ProcessTimeline},
    history::{Lifecycle, Phase},
    plan::{Effects, Expect, ProcessName},
};
use outages::{Outage, Outages, first_work, others_broken};

/// Time a log line may need from the writer to the harness on a busy machine.
pub const LOG_LAG_US: u64 = 1_000_000;

/// See the [module](self).
#[derive(Debug)]
pub struct Pause;

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
    /// How often a writer had the time that the plan gives it to pause, or to resume, or did so sooner.
    pauses_judged: u64,
    resumes_judged: u64,
}

impl Tally {
    /// A limit that nothing was held against is no limit that was kept.
    fn demand_what_is_stated(&self, expect: &Expect, finding: &mut Finding) {
        for (limit_ms, name, judged) in [
            (expect.writers_pause_within_ms, "writers_pause_within_ms", self.pauses_judged),
            (expect.writers_resume_within_ms, "writers_resume_within_ms", self.resumes_judged),
        ] {
            if limit_ms.is_some() && judged == 0 {
                finding.unknown(|| format!("{name} is stated, and no writer had to keep it"));
            }
        }
    }
}

impl Checker for Pause {
    fn name(&self) -> &'static str {
        "pause"
    }

    fn claim(&self) -> &'static str {
        "writers cut off from PostgreSQL pause, only probe, keep their partitions, and resume by themselves"
    }

    fn when_unknown(&self) -> &'static str {
        "let the outage last longer (for_s), so that a writer has time to pause"
    }

    fn judge(&self, case: &Case<'_>, finding: &mut Finding) {
        let mut cut_off: Vec<ProcessName> =
            case.windows.iter().flat_map(|window| window.effects.cannot_store()).collect();
        cut_off.sort_unstable();
        cut_off.dedup();
        if cut_off.is_empty() {
            finding.not_applicable("no planned fault keeps a writer from storing");
            Tally::default().demand_what_is_stated(&case.plan.expect, finding);
            return;
        }
        let mut tally = Tally::default();
        for name in cut_off {
            let writer = ProcessTimeline::of(case.history, name);
            let outages = Outages::of(case, name, finding);
            for (index, outage) in outages.proved.iter().enumerate() {
                let next_us = outages.next_us(index, &writer, before_the_end(case));
                judge_outage(case, &writer, outage, next_us, &mut tally, finding);
            }
        }
        if tally.outages > 0 && tally.broken == tally.outages {
            finding.not_applicable("every writer that was kept from storing was itself being broken");
            tally.demand_what_is_stated(&case.plan.expect, finding);
            return;
        }
        if tally.pauses == 0 {
            finding.unknown(|| "no writer was seen to pause: there is nothing the claim is about".to_owned());
        }
        tally.demand_what_is_stated(&case.plan.expect, finding);
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

fn judge_outage(
    case: &Case<'_>,
    writer: &ProcessTimeline<'_>,
    outage: &Outage,
    next_us: Option<u64>,
    tally: &mut Tally,
    finding: &mut Finding,
) {
    tally.outages += 1;
    let name = writer.name;
    let broken = others_broken(case, outage, |effects| effects.breaks(name));
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
                tally.pauses_judged += 1;
                finding.violated_unless(case.incomplete(), || {
                    format!("{}: {name} did not pause in {} ms", outage.name, had_us / 1_000)
                });
            }
            _ => finding.note(|| {
                format!("{}: {name} did not pause in the {} ms it had", outage.name, had_us / 1_000)
            }),
        }
        judge_writes(case, writer, outage, outage.from_us + LOG_LAG_US, finding);
        return;
    };

    tally.pauses += 1;
    tally.pauses_judged += 1;
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
        finding.violated_unless(holes(case), || {
            format!("{}: {name} paused only after {} ms", outage.name, took_us / 1_000)
        });
    }
    judge_writes(case, writer, outage, pause.paused_us.max(outage.asked_us), finding);
    judge_resume(case, writer, outage, pause.resumed_us, next_us, tally, finding);
}

/// Judges when a writer resumed; `next_us` is when something else may have kept it from resuming.
fn judge_resume(
    case: &Case<'_>,
    writer: &ProcessTimeline<'_>,
    outage: &Outage,
    resumed_us: Option<u64>,
    next_us: Option<u64>,
    tally: &mut Tally,
    finding: &mut Finding,
) {
    let name = writer.name;
    if let Some(resumed_us) = resumed_us.filter(|resumed_us| *resumed_us < outage.heal_asked_us) {
        let later = writer.said(resumed_us + 1, outage.heal_asked_us);
        let again = later.filter(|(_, event)| matches!(event, Lifecycle::WriterPaused { .. })).count();
        let at = case.at(resumed_us);
        tally.resumes_judged += 1;
        finding.violated(|| {
            format!(
                "{}: {name} resumed at {at}, before the heal, and paused {again} times again",
                outage.name
            )
        });
        return;
    }
    let limit_us = case.plan.expect.writers_resume_within_ms.map(|limit| limit.saturating_mul(1_000));
    let too_long = |took_us: u64| limit_us.is_some_and(|limit_us| took_us > limit_us);
    if let Some(resumed_us) =
        resumed_us.filter(|resumed_us| next_us.is_none_or(|next_us| *resumed_us <= next_us))
    {
        tally.resumes_judged += 1;
        let took_us = resumed_us.saturating_sub(outage.healed_us);
        tally.slowest_resume_us = tally.slowest_resume_us.max(took_us);
        if too_long(took_us) {
            finding.violated_unless(holes(case), || {
                format!("{}: {name} resumed only {} ms after the heal", outage.name, took_us / 1_000)
            });
        }
        return;
    }
    match next_us.map(|next_us| next_us.saturating_sub(outage.healed_us)) {
        Some(had_us) if too_long(had_us) => {
            tally.resumes_judged += 1;
            finding.violated_unless(case.incomplete(), || {
                format!("{}: {name} did not resume in the {} ms it had", outage.name, had_us / 1_000)
            });
        }
        Some(_) => finding
            .note(|| format!("{}: {name} was broken or cut off again before it could resume", outage.name)),
        None => {
            tally.resumes_judged += 1;
            finding.violated_unless(case.incomplete(), || format!("{}: {name} never resumed", outage.name));
        }
    }
}

/// Why a line that came late may not have been the first, if that is so.
fn holes(case: &Case<'_>) -> Option<String> {
    case.history.holes().map(str::to_owned)
}

/// The end of the time in which an exit is a fault's doing and not the taking down of the cluster.
fn before_the_end(case: &Case<'_>) -> u64 {
    case.history.phase(Phase::Healed).unwrap_or(u64::MAX)
}

fn judge_writes(
    case: &Case<'_>,
    writer: &ProcessTimeline<'_>,
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

fn judge_partitions(case: &Case<'_>, writer: &ProcessTimeline<'_>, outage: &Outage, finding: &mut Finding) {
    if others_broken(case, outage, Effects::disturbs_the_group) {
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
