//! Property tests of all checkers together: a clean run of any size holds; spoiled in any one way, the right checker says
//! so. And the bound on time and memory.

use proptest::prelude::*;

use crate::{
    checkers::{Verdict, check, fixture::Run},
    history::{EventKind, FaultStep, History, Ledger, Lifecycle, Phase, Reason},
};

/// One way to spoil a run: a name, who must notice, and what they must say.
type Spoiler = (&'static str, &'static str, Verdict, fn(Run, u32, u32) -> Run);

const SPOILERS: &[Spoiler] = &[
    ("drop a row", "durability", Verdict::Violated, |run, m, _| {
        run.without(|w| matches!(w, EventKind::InPostgres { message, .. } if *message == m))
    }),
    ("drop a record", "durability", Verdict::Violated, |run, m, _| {
        run.without(|w| matches!(w, EventKind::InKafka { message, .. } if *message == m))
    }),
    ("spoil a body", "durability", Verdict::Violated, |run, m, _| {
        run.replaced(
            |w| matches!(w, EventKind::InPostgres { message, .. } if *message == m),
            Run::row(m, m.into(), false),
        )
    }),
    ("double a row", "exactly-once", Verdict::Violated, |run, m, _| run.with(Run::row(m, m.into(), true))),
    ("double a record", "exactly-once", Verdict::Violated, |run, m, _| run.with(Run::record(m, 1_000_000))),
    ("drop a receipt", "delivery", Verdict::Violated, |run, m, u| run.without(|w| is_receipt(w, m, u))),
    ("drop everything that came later", "delivery", Verdict::Violated, |run, m, u| {
        run.without(|w| matches!(w, EventKind::Received { message, user, .. } if *user == u && *message >= m))
    }),
    ("relay, drop everything that came later", "delivery", Verdict::Violated, |run, m, u| {
        run.relayed().without(
            |w| matches!(w, EventKind::ReceivedUnplaced { message, user } if *user == u && *message >= m),
        )
    }),
    ("say that a room begins later", "delivery", Verdict::Violated, |run, m, u| {
        run.mapped(|what| match what {
            EventKind::Joined { user, room, partition, resumed, .. } if user == u => {
                EventKind::Joined { user, room, partition, offset: i64::from(m) + 1, resumed }
            }
            other => other,
        })
    }),
    ("double a receipt", "exactly-once", Verdict::Violated, |run, m, user| {
        run.with(EventKind::Received { user, message: m, partition: 0, offset: m.into(), replayed: true })
    }),
    ("swap two receipts", "order", Verdict::Violated, |run, m, u| {
        run.swapped(|w| is_receipt(w, m, u), |w| is_receipt(w, m + 1, u))
    }),
    ("a stranger in the room", "isolation", Verdict::Violated, |run, m, _| {
        run.with(EventKind::Received {
            user: 1_000,
            message: m,
            partition: 0,
            offset: m.into(),
            replayed: false,
        })
    }),
    ("do not read Kafka", "durability", Verdict::Unknown, |run, _, _| {
        run.without(|w| matches!(w, EventKind::LedgerRead { ledger: Ledger::Kafka, .. }))
    }),
    ("do not read PostgreSQL", "exactly-once", Verdict::Unknown, |run, _, _| {
        run.without(|w| matches!(w, EventKind::LedgerRead { ledger: Ledger::Postgres, .. }))
    }),
    ("end before rest", "delivery", Verdict::Unknown, |run, _, _| {
        run.without(|w| matches!(w, EventKind::Phase(Phase::Settled)))
    }),
    ("prove no fault", "faults", Verdict::Unknown, |run, _, _| {
        run.without(|w| matches!(w, EventKind::Fault { step: FaultStep::Proved { .. }, .. }))
    }),
    ("never resume", "pause", Verdict::Violated, |run, _, _| {
        run.without(|w| matches!(w, EventKind::Lifecycle { event: Lifecycle::WriterResumed { .. }, .. }))
    }),
    ("relay, drop a record and its row", "durability", Verdict::Violated, |run, m, _| {
        run.relayed().without(|w| match w {
            EventKind::InKafka { message, .. } | EventKind::InPostgres { message, .. } => *message == m,
            _ => false,
        })
    }),
    ("relay, drop a receipt", "delivery", Verdict::Violated, |run, m, u| {
        let receipt = |w: &EventKind| matches!(w, EventKind::ReceivedUnplaced { message, user } if (*message, *user) == (m, u));
        run.relayed().without(receipt)
    }),
    ("relay, double a receipt", "exactly-once", Verdict::Violated, |run, m, user| {
        run.relayed().with(EventKind::ReceivedUnplaced { user, message: m })
    }),
    ("relay, double a record", "exactly-once", Verdict::Violated, |run, m, _| {
        run.relayed().with(Run::record(m, 1_000_000))
    }),
    ("die", "survival", Verdict::Violated, |run, _, _| {
        run.with(EventKind::Exited {
            process: "node-2".into(),
            status: "exit status: 101".into(),
            asked: false,
        })
    }),
];

fn is_receipt(what: &EventKind, m: u32, u: u32) -> bool {
    matches!(what, EventKind::Received { message, user, .. } if (*message, *user) == (m, u))
}

/// Some messages stay without an ack; of these, some are in the ledgers all the same.
fn with_open_messages(run: Run, every: u32) -> Run {
    run.mapped(|what| match what {
        EventKind::Acked { message, .. } if message % every == 0 && message > 2 => {
            EventKind::Indeterminate { message, why: Reason::Timeout }
        }
        other => other,
    })
    .without(|what| match what {
        EventKind::InKafka { message, .. }
        | EventKind::InPostgres { message, .. }
        | EventKind::Received { message, .. } => message % (2 * every) == 0 && *message > 2,
        _ => false,
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(60) })]

    #[test]
    fn a_clean_run_holds_whatever_its_size(messages in 120_u32..300, every in 20_u32..60) {
        let run = with_open_messages(Run::clean(messages).with_postgres_outage(4_000, 6_000), every);
        for run in [run.clone(), run.relayed()] {
            let judgement = check(&run.plan, &run.arrivals, &run.history());
            prop_assert_eq!(judgement.verdict, Verdict::Holds, "{:#?}", judgement);
            prop_assert!(judgement.gaps.is_empty(), "{:#?}", judgement.gaps);
        }
    }

    #[test]
    fn spoiled_in_any_one_way_the_right_checker_says_so(which in 0..SPOILERS.len(), m in 0_u32..110, user in 0_u32..4) {
        let (name, checker, expected, spoil) = SPOILERS[which];
        let run = spoil(Run::clean(120).with_postgres_outage(4_000, 6_000), m, user);
        let judgement = check(&run.plan, &run.arrivals, &run.history());
        let finding = judgement.finding(checker).expect("the checker");
        prop_assert_eq!(finding.verdict, expected, "{}: {:#?}", name, finding);
        prop_assert_eq!(judgement.verdict, expected, "{}: {:#?}", name, judgement);
    }
}

/// A million messages with ten receipts each: within 30 s and 2 GiB in a release build. Run with
/// `cargo test --release -p harness --lib million -- --ignored --nocapture`.
#[test]
#[ignore = "takes half a gigabyte and, in a debug build, a minute"]
fn a_million_messages_are_judged_within_the_bounds() {
    const MESSAGES: u32 = 1_000_000;
    let mut run = Run::clean(10);
    run.plan.load.users = 10;
    run.plan.load.duration_ms = 1_000_000;
    run.arrivals.list = (0..MESSAGES)
        .map(|m| crate::plan::Arrival { due_us: u64::from(m) * 1_000, user: m % 10, room: 0, body_bytes: 20 })
        .collect();
    let began = std::time::Instant::now();
    let history = History::from_events(&run.plan, big(MESSAGES));
    println!("folded {} events in {:?}", history.events(), began.elapsed());
    let judgement = check(&run.plan, &run.arrivals, &history);
    println!("judged after {:?}", began.elapsed());
    let status = procfs::process::Process::myself().and_then(|process| process.status());
    let peak_kib = status.ok().and_then(|status| status.vmhwm).unwrap_or(0);
    println!("at most {peak_kib} KiB");
    for checker in ["durability", "exactly-once", "delivery", "order", "isolation"] {
        let finding = judgement.finding(checker).expect("the checker");
        assert_eq!(finding.verdict, Verdict::Holds, "{finding:#?}");
    }
    assert_eq!(judgement.finding("delivery").unwrap().counts["owed"], u64::from(MESSAGES) * 10);
    assert!(peak_kib < 2 << 20, "{peak_kib} KiB");
    if !cfg!(debug_assertions) {
        assert!(began.elapsed().as_secs() < 30, "{:?}", began.elapsed());
    }
}

fn big(messages: u32) -> impl Iterator<Item = crate::history::Event> {
    use crate::checkers::fixture::at;
    let leaves = (0..10).map(|user| at(u64::MAX / 2, EventKind::Left { user, room: 0 }));
    let joins = (0..10)
        .map(|user| at(1, EventKind::Joined { user, room: 0, partition: 0, offset: 0, resumed: false }));
    let phases =
        [at(1_000_000, EventKind::Phase(Phase::Load)), at(u64::MAX / 2, EventKind::Phase(Phase::Settled))];
    let lives = (0..messages).flat_map(|message| {
        let (due_us, offset) = (1_000_000 + u64::from(message) * 1_000, i64::from(message));
        let receipts = (0..10).map(move |user| {
            at(due_us + 900, EventKind::Received { user, message, partition: 0, offset, replayed: false })
        });
        [
            at(due_us, EventKind::Sent { message }),
            at(due_us + 500, EventKind::Acked { message, partition: 0, offset }),
        ]
        .into_iter()
        .chain(receipts)
    });
    let found = (0..messages)
        .flat_map(|m| [Run::record(m, m.into()), Run::row(m, m.into(), true)])
        .map(|what| at(u64::MAX / 2, what));
    let read = [Ledger::Kafka, Ledger::Postgres, Ledger::DeadLetters]
        .map(|ledger| at(u64::MAX / 2, EventKind::LedgerRead { ledger, entries: 0 }));
    joins.chain(phases).chain(lives).chain(leaves).chain(found).chain(read)
}
