//! Histories that pauses are judged by.

use super::Pause;
use crate::{
    checkers::{
        Verdict,
        fixture::{Run, said},
    },
    history::{EventKind, FaultStep, Lifecycle, Phase},
    plan::{FaultKind, LinkName, PlannedFault, ProcessName, Service},
};

const WRITER: ProcessName = ProcessName::Writer(1);

fn paused(what: &EventKind) -> bool {
    matches!(what, EventKind::Lifecycle { event: Lifecycle::WriterPaused { .. }, .. })
}

fn resumed(what: &EventKind) -> bool {
    matches!(what, EventKind::Lifecycle { event: Lifecycle::WriterResumed { .. }, .. })
}

fn pause() -> EventKind {
    said(Lifecycle::WriterPaused { error: "refused".into() })
}

fn resume() -> EventKind {
    said(Lifecycle::WriterResumed { paused_ms: 1 })
}

fn outage() -> Run {
    let mut run = Run::clean(200).with_postgres_outage(5_000, 8_000);
    run.plan.expect.writers_pause_within_ms = Some(1_000);
    run.plan.expect.writers_resume_within_ms = Some(2_000);
    run
}

#[test]
fn every_way_to_be_wrong() {
    use Verdict::{Holds, Unknown, Violated};
    let proof = |m: &EventKind| matches!(m, EventKind::Fault { step: FaultStep::Proved { .. }, .. });
    let wrote = said(Lifecycle::WriterWrote { records: 3, rows: 3, took_us: 900 });
    let tried = said(Lifecycle::WriterFailed { error: "refused".into() });
    let revoked = said(Lifecycle::WriterRevoked { partitions: "0".into() });
    for (name, run, expected) in [
        ("no such fault", Run::clean(40), Holds),
        ("clean", outage(), Holds),
        ("never paused", outage().without(paused).without(resumed), Violated),
        ("paused late", outage().without(paused).at_ms(7_000, pause()), Violated),
        ("wrote while paused", outage().at_ms(7_000, wrote), Violated),
        ("tried again while paused", outage().at_ms(7_000, tried), Violated),
        ("rebalanced", outage().at_ms(6_500, revoked), Violated),
        ("resumed too early", outage().at_ms(7_000, resume()), Violated),
        ("resumed late", outage().without(resumed).at_ms(12_000, resume()), Violated),
        ("never resumed", outage().without(resumed), Violated),
        ("no proof", outage().without(proof), Unknown),
    ] {
        let finding = run.judged(&Pause);
        assert_eq!(finding.verdict, expected, "{name}: {finding:#?}");
    }
}

#[test]
fn a_limit_that_no_writer_had_to_keep_is_unknown() {
    let mut run = Run::clean(200);
    run.plan.expect.writers_pause_within_ms = Some(1_000);
    assert_eq!(run.judged(&Pause).verdict, Verdict::Unknown, "nothing cuts a writer off");
    let short = |m: &EventKind| paused(m) || resumed(m);
    let mut run = outage().without(short);
    run.plan.expect.writers_pause_within_ms = Some(60_000);
    assert_eq!(run.judged(&Pause).verdict, Verdict::Unknown, "the outage was shorter than the limit");
}

/// PostgreSQL that can be reached and takes no write is away, for a writer.
#[test]
fn a_read_only_or_locked_database_makes_writers_pause() {
    for fault in [FaultKind::PostgresReadOnly, FaultKind::PostgresLock] {
        let mut run = outage();
        run.plan.faults[0].fault = fault;
        let finding = run.judged(&Pause);
        assert!(finding.applicable && finding.verdict == Verdict::Holds, "{finding:#?}");
        assert_eq!(run.without(paused).without(resumed).judged(&Pause).verdict, Verdict::Violated);
    }
    let mut run = Run::clean(200).with_fault(FaultKind::PostgresTerminate, [5_000, 5_050, 8_000, 8_100]);
    assert!(!run.judged(&Pause).applicable, "who ends sessions and takes new ones keeps nobody from storing");
    run.plan.expect.writers_resume_within_ms = Some(1_000);
    assert_eq!(run.judged(&Pause).verdict, Verdict::Unknown);
}

#[test]
fn a_planned_rebalance_may_move_partitions_and_excuses_nothing_else() {
    use Verdict::{Holds, Violated};
    let revoked = said(Lifecycle::WriterRevoked { partitions: "0".into() });
    let wrote = said(Lifecycle::WriterWrote { records: 3, rows: 3, took_us: 900 });
    let both = || {
        let mut run = outage();
        let fault = FaultKind::KafkaRebalance;
        run.plan.faults.push(PlannedFault { at_ms: 6_000, for_ms: 1_000, fault });
        let step = |step| EventKind::Fault { fault: 1, step };
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
    let begun = |m: &EventKind| {
        let step = matches!(m, EventKind::Fault { step: FaultStep::Injected | FaultStep::Proved { .. }, .. });
        step || matches!(m, EventKind::Lifecycle { event: Lifecycle::WriterPaused { .. }, .. })
    };
    let slow = || {
        outage()
            .without(begun)
            .at_ms(7_000, said(Lifecycle::WriterPaused { error: "refused".into() }))
            .at_ms(7_100, EventKind::Fault { fault: 0, step: FaultStep::Injected })
            .at_ms(7_150, EventKind::Fault { fault: 0, step: FaultStep::Proved { evidence: "53300".into() } })
    };
    let wrote = said(Lifecycle::WriterWrote { records: 3, rows: 3, took_us: 900 });
    assert_eq!(slow().at_ms(6_900, wrote).judged(&Pause).verdict, Verdict::Holds);
    assert_eq!(slow().judged(&Pause).verdict, Verdict::Violated);
}

#[test]
fn a_writer_with_nothing_to_do_or_that_is_dead_is_exempt() {
    let dead = EventKind::Exited { process: "writer-1".into(), status: "signal: 9".into(), asked: true };
    let silent = |run: Run| {
        run.without(|m| matches!(m, EventKind::Lifecycle { event: Lifecycle::WriterPaused { .. }, .. }))
    };
    let run = silent(outage()).at_ms(5_100, dead);
    let finding = run.judged(&Pause);
    // Exempt, and so without evidence: unknown rather than violated.
    assert_eq!((finding.verdict, finding.counts["exempt"]), (Verdict::Unknown, 1), "{finding:#?}");
}

#[test]
fn a_pause_ends_with_the_life_of_its_writer() {
    let exited = EventKind::Exited { process: "writer-1".into(), status: "signal: 9".into(), asked: true };
    let started =
        |m: &EventKind| matches!(m, EventKind::Started { process, .. } if process.as_str() == "writer-1");
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
        outage().without(|m| matches!(m, EventKind::Lifecycle { event: Lifecycle::WriterPaused { .. }, .. }));
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
        run = run.at_ms(at_ms, EventKind::Fault { fault: 1, step });
    }
    let stated = run.judged(&Pause);
    assert_eq!((stated.verdict, stated.applicable), (Verdict::Unknown, false), "{stated:#?}");
    let expect = &mut run.plan.expect;
    (expect.writers_pause_within_ms, expect.writers_resume_within_ms) = (None, None);
    let finding = run.judged(&Pause);
    assert_eq!((finding.verdict, finding.applicable), (Verdict::Holds, false), "{finding:#?}");
}

#[test]
fn what_is_missing_from_a_partial_history_convicts_nobody() {
    use Verdict::{Unknown, Violated};
    let settled = |m: &EventKind| matches!(m, EventKind::Phase(Phase::Settled));
    let silent = || outage().without(paused).without(resumed);
    let late = || outage().without(resumed).at_ms(12_000, resume());
    let moving = EventKind::Unsettled { why: "rows came".into() };
    for (name, run, expected) in [
        ("killed right after the heal", outage().until_ms(8_500), Unknown),
        ("killed while PostgreSQL was away", outage().until_ms(7_000), Unknown),
        ("never paused, and not at rest", silent().without(settled), Unknown),
        ("never paused, and holes", silent().with_holes(), Unknown),
        ("never resumed, and holes", outage().without(resumed).with_holes(), Unknown),
        ("resumed late, and holes", late().with_holes(), Unknown),
        ("resumed late, and not at rest", late().without(settled), Violated),
        ("resumed late, and things still moved", late().with(moving), Violated),
        ("resumed too early, and holes", outage().at_ms(7_000, resume()).with_holes(), Violated),
    ] {
        let finding = run.judged(&Pause);
        assert_eq!(finding.verdict, expected, "{name}: {finding:#?}");
    }
}

#[test]
fn an_outage_ends_with_its_heal_though_the_next_is_being_injected() {
    let link_down =
        || FaultKind::LinkDown { links: vec![LinkName { process: WRITER, service: Service::Postgres }] };
    // The link is down from 10 s to 14 s, and the writer is back before no connection is left at 15.5 s.
    let run = |injected_ms| {
        let mut run = Run::clean(300)
            .with_fault(link_down(), [9_990, 10_000, 14_000, 14_050])
            .with_fault(FaultKind::PostgresConnectionLimit, [13_500, injected_ms, 19_000, 19_200])
            .without(|m| matches!(m, EventKind::Lifecycle { event: Lifecycle::WriterWrote { .. }, .. }))
            .at_ms(10_200, pause())
            .at_ms(14_100, resume())
            .at_ms(15_300, pause())
            .at_ms(19_400, resume());
        run.plan.expect.writers_resume_within_ms = Some(2_000);
        run
    };
    let finding = run(15_500).judged(&Pause);
    assert_eq!(finding.verdict, Verdict::Holds, "{finding:#?}");
    assert_eq!((finding.counts["outages"], finding.counts["pauses"]), (2, 2), "{finding:#?}");
    // Had the next been in force before the link was healed, resuming would have been wrong.
    let finding = run(13_600).judged(&Pause);
    assert_eq!((finding.verdict, finding.counts["outages"]), (Verdict::Violated, 1), "{finding:#?}");
}

#[test]
fn a_writer_that_is_kept_from_resuming_is_exempt_unless_it_had_its_time() {
    use Verdict::{Holds, Unknown, Violated};
    let frozen = || FaultKind::ProcessPause { processes: vec![WRITER] };
    let postgres = || FaultKind::ServicePause { service: Service::Postgres };
    let wrote =
        |m: &EventKind| matches!(m, EventKind::Lifecycle { event: Lifecycle::WriterWrote { .. }, .. });
    let late = |at_ms| outage().without(resumed).without(wrote).at_ms(at_ms, resume());
    for (name, run, expected) in [
        // Exempt, and so nobody had to keep the limit that is stated.
        ("frozen again", late(12_500).with_fault(frozen(), [8_900, 9_000, 12_000, 12_050]), Unknown),
        ("away again", late(12_500).with_fault(postgres(), [8_900, 9_000, 12_000, 12_050]), Holds),
        (
            "away again, too late",
            late(18_500).with_fault(postgres(), [14_900, 15_000, 18_000, 18_050]),
            Violated,
        ),
        (
            "away for other reasons, never healed",
            outage().without(resumed).with_fault(postgres(), [7_000, 7_100, 12_000, 12_500]).never_healed(1),
            Unknown,
        ),
    ] {
        let finding = run.judged(&Pause);
        assert_eq!(finding.verdict, expected, "{name}: {finding:#?}");
    }
}
