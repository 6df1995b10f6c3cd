//! What a writer does to a record before PostgreSQL sees it: decode, check, gather, sort.

use std::{
    hint::black_box,
    time::{Duration, Instant},
};

use chat_protocol::{ChatRecord, Position};
use chat_writer::batch::{Batch, Entry, Limits, ends};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};

const RECORDS: i64 = 500;

fn batch(criterion: &mut Criterion) {
    let payloads: Vec<(Position, Vec<u8>)> = (0..RECORDS)
        .map(|number| {
            let record = ChatRecord {
                id: format!("m{number}"),
                room: format!("room-{}", number % 12),
                sender: "user-42".to_owned(),
                body: "squall front gust hail cloud storm calm tide ".repeat(4),
                sent_at_ms: 0,
            };
            let partition = i32::try_from(number % 12).unwrap_or(0);
            (Position { partition, offset: number / 12 }, serde_json::to_vec(&record).unwrap_or_default())
        })
        .collect();
    let limits = Limits { records: 500, bytes: 1 << 20, age: Duration::from_millis(50) };
    let mut group = criterion.benchmark_group("batching");
    group.throughput(Throughput::Elements(RECORDS.unsigned_abs()));
    group.bench_function("a full batch", |b| {
        b.iter(|| {
            let (mut batch, now) = (Batch::new(limits), Instant::now());
            for (position, payload) in &payloads {
                batch.push(Entry::read(*position, None, Some(payload)), now);
            }
            let entries = batch.take();
            black_box((ends(&entries), entries.len()))
        });
    });
    group.finish();
}

criterion_group!(benches, batch);
criterion_main!(benches);
