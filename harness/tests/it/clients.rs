//! Faults on clients: each scenario holds with the fault proved from outside, and the proof fails for users who behave.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use harness::{
    checkers::Verdict,
    faults,
    history::{FaultStep, History, Phase, Reaction, index::UserEvent},
    load::{LiveStats, Load, LoadTargets},
    plan::{Arrivals, FaultKind, Plan},
    wait,
};
use tokio_util::sync::CancellationToken;

use crate::testbed;

/// Runs a shipped scenario at the load of the tests; it must hold.
async fn holds(name: &str, seed: u64) -> (Plan, History) {
    let out = tempfile::tempdir().unwrap();
    let finished = testbed::held(name, seed, out.path()).await;
    let faults = finished.judged.judgement().finding("faults").unwrap();
    assert!(faults.applicable && faults.verdict == Verdict::Holds, "{faults:#?}");
    let plan = finished.folder.plan().unwrap();
    let history = History::read(&plan, &finished.folder.history()).unwrap();
    for fault in 0..plan.faults.len() {
        for (_, step) in history.fault(fault) {
            if let FaultStep::Proved { evidence } | FaultStep::Healed { evidence } = step {
                println!("{name}: {evidence}");
            }
        }
    }
    (plan, history)
}

/// When a fault begins and ends, in the history's time.
fn span(plan: &Plan, history: &History, fault: usize) -> (u64, u64) {
    let load_us = history.phase(Phase::Load).unwrap();
    let planned = &plan.faults[fault];
    (load_us + planned.at_ms * 1_000, load_us + (planned.at_ms + planned.for_ms) * 1_000)
}

/// Sessions that a user lost within a span, and rooms resumed from its beginning on.
fn lost_and_resumed(history: &History, user: u32, span: (u64, u64)) -> (usize, usize) {
    let within = |at_us: u64, end: u64| span.0 <= at_us && at_us <= end;
    let lost = history.steps_of(user).filter(|step| {
        matches!(step.what, UserEvent::Disconnected { .. }) && within(step.at_us, span.1 + 2_000_000)
    });
    let resumed = history.steps_of(user).filter(|step| {
        matches!(step.what, UserEvent::Joined { resumed: true, .. }) && within(step.at_us, u64::MAX)
    });
    (lost.count(), resumed.count())
}

/// p99, in milliseconds from the due time, of what these users received of the messages due within a span.
fn receipt_ms(
    plan: &Plan,
    history: &History,
    users: &BTreeSet<u32>,
    span: (u64, u64),
    percentile: usize,
) -> u64 {
    let (arrivals, load_us) = (Arrivals::of(plan), history.phase(Phase::Load).unwrap());
    let mut all: Vec<u64> = Vec::new();
    for user in users {
        for receipt in history.received_by(*user) {
            let due_us = load_us + arrivals.list[receipt.message as usize].due_us;
            if span.0 <= due_us && due_us < span.1 {
                all.push(receipt.at_us.saturating_sub(due_us) / 1_000);
            }
        }
    }
    all.sort_unstable();
    all[(all.len() - 1) * percentile / 100]
}

/// Users who vanish without a goodbye come back and miss nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn users_who_vanish_come_back_and_miss_nothing() {
    let _alone = testbed::alone().await;
    let (plan, history) = holds("client-crash", 41).await;
    let (struck, span) = (plan.struck_users(&plan.faults[0]), span(&plan, &history, 0));
    assert_eq!(struck.len(), 8, "a third of 24");
    for user in 0..plan.load.users {
        let expected = if struck.contains(&user) { (1, 2) } else { (0, 0) };
        assert_eq!(lost_and_resumed(&history, user, span), expected, "user {user}");
    }
}

/// Most users redial at once, again and again, and miss nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn users_who_redial_all_at_once_miss_nothing() {
    let _alone = testbed::alone().await;
    let (plan, history) = holds("reconnect-storm", 42).await;
    let (struck, span) = (plan.struck_users(&plan.faults[0]), span(&plan, &history, 0));
    assert_eq!(struck.len(), 20, "four fifths of 24");
    for user in &struck {
        let (lost, resumed) = lost_and_resumed(&history, *user, span);
        assert!(lost >= 2 && resumed >= 2, "user {user}: {lost} sessions lost, {resumed} rooms resumed");
    }
}

/// Users who do not read are cut off and miss nothing, and nobody else feels it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn users_who_do_not_read_are_cut_off_and_slow_nobody_down() {
    let _alone = testbed::alone().await;
    let (plan, history) = holds("slow-readers", 43).await;
    let (struck, span) = (plan.struck_users(&plan.faults[0]), span(&plan, &history, 0));
    let mut others: BTreeSet<u32> = (0..plan.load.users).collect();
    others.retain(|user| !struck.contains(user));
    let cut = struck.iter().filter(|user| lost_and_resumed(&history, **user, span).0 > 0).count();
    println!("{cut} of {} slow readers were cut off", struck.len());
    assert!(cut * 2 >= struck.len(), "{cut} of {} were cut off", struck.len());
    assert!(others.iter().all(|user| lost_and_resumed(&history, *user, span).0 == 0), "others were cut off");
    let slow_ms = receipt_ms(&plan, &history, &struck, span, 99);
    // One stall of the machine may reach one receipt in ten, not more; and on a slow one, all are slow alike.
    let others_ms = receipt_ms(&plan, &history, &others, span, 90);
    println!(
        "while a quarter does not read: receipt p90 {others_ms} ms for the others, p99 {slow_ms} ms for them"
    );
    assert!(slow_ms > 3_000, "the slow ones were not slow: {slow_ms} ms");
    assert!(others_ms * 3 < slow_ms, "the others were slowed down: {others_ms} ms");
}

/// Frames that break the protocol cost their sender the connection, and nobody else anything.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bad_frames_are_refused_and_hurt_nobody() {
    let _alone = testbed::alone().await;
    let (plan, history) = holds("bad-frames", 44).await;
    for bad in history.bad_frames() {
        println!("{} times {}: {:?}", bad.times, bad.frame, bad.treated);
    }
    let kinds: BTreeSet<&str> = history.bad_frames().iter().map(|bad| bad.frame.as_str()).collect();
    assert_eq!(kinds.len(), 22, "every kind was sent");
    assert!(history.bad_frames().iter().all(|bad| bad.treated != Reaction::Taken));
    let lost = (0..plan.load.users).map(|user| lost_and_resumed(&history, user, span(&plan, &history, 0)).0);
    assert_eq!(lost.sum::<usize>(), 0, "users lost sessions");
}

/// With users who behave, none of the proofs comes about: the same load, connected and talking, and no fault in it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_fault_on_clients_is_seen_among_users_who_behave() {
    let _alone = testbed::alone().await;
    let out = tempfile::tempdir().unwrap();
    let mut plan = testbed::quiet(45, 2);
    plan.load.duration_ms = 20_000;
    assert!(plan.faults.is_empty());
    let deployment = testbed::Deployment::up("clients", &plan, out.path()).await;
    let sut = &deployment.sut;

    let kinds = [
        FaultKind::ClientReconnectStorm { share_percent: 50, redial_every_ms: 500 },
        FaultKind::ClientSlow { share_percent: 30 },
        FaultKind::ClientCrash { share_percent: 30 },
        FaultKind::ClientMalformed { clients: 4 },
        FaultKind::ClientOversize { clients: 4 },
    ];
    let mut wrong = Vec::new();
    // Nobody is there yet.
    for kind in &kinds {
        let active = faults::inject(kind, sut).await.unwrap();
        if let Ok(seen) = active.prove(sut).await {
            wrong.push(format!("{kind}: seen without any client: {seen}"));
        }
        drop(active);
    }
    let arrivals = Arc::new(Arrivals::of(&plan));
    let mut load = Load::gather(
        Arc::new(plan.clone()),
        arrivals,
        LoadTargets { nodes: sut.cluster.node_addresses() },
        deployment.recorder.clone(),
        Arc::new(LiveStats::default()),
        CancellationToken::new(),
    )
    .await
    .unwrap();
    let looking = async {
        for kind in &kinds {
            let active = faults::inject(kind, sut).await.unwrap();
            let seen =
                wait::until("evidence", Duration::from_millis(2_500), async || active.prove(sut).await);
            match seen.await {
                Ok(seen) => wrong.push(format!("{kind}: seen among users who behave: {seen}")),
                Err(error) => println!("{kind}: not seen: {}", error.last),
            }
            if let Err(error) = active.heal(sut).await {
                wrong.push(format!("{kind}: not seen to be gone: {error}"));
            }
        }
    };
    let (scheduled, ()) = tokio::join!(load.schedule(std::time::Instant::now()), looking);
    scheduled.unwrap();
    load.finish().await.unwrap();

    deployment.down().await;
    assert!(wrong.is_empty(), "{wrong:#?}");
}
