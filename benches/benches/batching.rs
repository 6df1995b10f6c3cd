//! What a writer does to a record before PostgreSQL sees it: decode, check, gather, sort.

use std::{
    hint::black_box,
    time::{Duration, Instant},
};

use chat_benches::samples;
use chat_writer::batch::{Batch, Entry, Limits, ends};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};

const RECORDS: i64 = 500;

fn batch(criterion: &mut Criterion) {
    let payloads = samples::payloads(RECORDS);
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
