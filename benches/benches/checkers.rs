//! What judging costs: a clean run of ten thousand messages with ten receipts each, folded and judged.

use std::hint::black_box;

use criterion::{Criterion, SamplingMode, Throughput, criterion_group, criterion_main};
use harness::{
    checkers,
    history::{Event, EventKind, History, Ledger, Phase},
    plan::{Arrivals, Plan},
    scenario::{Choices, Scenario},
};

const USERS: u32 = 10;

fn plan() -> Plan {
    let text = "title = \"bench\"\n[load]\nusers = 10\nrooms = 1\nrate_per_s = 1000\nduration_s = 10\n\
                arrivals = \"uniform\"\n";
    let planned = Scenario::plan("bench", "bench.toml", text, &Choices { seed: 1, ..Choices::default() });
    planned.unwrap_or_else(|error| unreachable!("the text above is a scenario: {error}"))
}

fn events(arrivals: &Arrivals) -> Vec<Event> {
    const LOAD_US: u64 = 1_000_000;
    let at = |at_us, what| Event { at_us, what };
    let mut events: Vec<Event> = (0..USERS)
        .map(|user| at(1, EventKind::Joined { user, room: 0, partition: 0, offset: 0, resumed: false }))
        .collect();
    events.push(at(LOAD_US, EventKind::Phase(Phase::Load)));
    let mut end_us = LOAD_US;
    for (message, arrival) in (0_u32..).zip(&arrivals.list) {
        let (sent_us, offset) = (LOAD_US + arrival.due_us, i64::from(message));
        events.push(at(sent_us, EventKind::Sent { message }));
        events.push(at(sent_us + 500, EventKind::Acked { message, partition: 0, offset }));
        events.extend((0..USERS).map(|user| {
            at(sent_us + 900, EventKind::Received { user, message, partition: 0, offset, replayed: false })
        }));
        end_us = sent_us + 1_000;
    }
    events.push(at(end_us, EventKind::Phase(Phase::Settled)));
    for (message, _) in (0_u32..).zip(&arrivals.list) {
        let (partition, offset, body_ok) = (0, i64::from(message), true);
        events.push(at(end_us, EventKind::InKafka { message, partition, offset, body_ok }));
        events.push(at(end_us, EventKind::InPostgres { message, partition, offset, body_ok }));
    }
    let entries = arrivals.list.len() as u64;
    events.push(at(end_us, EventKind::LedgerRead { ledger: Ledger::Kafka, entries }));
    events.push(at(end_us, EventKind::LedgerRead { ledger: Ledger::Postgres, entries }));
    events.push(at(end_us, EventKind::LedgerRead { ledger: Ledger::DeadLetters, entries: 0 }));
    events
}

fn judge(criterion: &mut Criterion) {
    let plan = plan();
    let arrivals = Arrivals::of(&plan);
    let events = events(&arrivals);
    let history = History::from_events(&plan, events.iter().cloned());
    let mut group = criterion.benchmark_group("checkers");
    group.sampling_mode(SamplingMode::Flat).sample_size(20);
    group.throughput(Throughput::Elements(arrivals.list.len() as u64));
    group.bench_function("fold a history", |b| {
        b.iter(|| History::from_events(&plan, black_box(&events).iter().cloned()))
    });
    group.bench_function("judge it", |b| b.iter(|| checkers::check(&plan, &arrivals, black_box(&history))));
    group.finish();
}

criterion_group!(benches, judge);
criterion_main!(benches);
