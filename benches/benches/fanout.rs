//! What order costs a node: a thousand messages through one partition's sequencer, in order, in disorder, and twice.

use std::{hint::black_box, sync::Arc, time::Instant};

use chat_benches::samples;
use chat_node::sequencer::{Sequencer, Via};
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};

const MESSAGES: i64 = 1_000;

fn sequence(criterion: &mut Criterion) {
    let (ordered, swapped, twice) =
        (samples::in_order(MESSAGES), samples::swapped(MESSAGES), samples::twice(MESSAGES));
    let mut group = criterion.benchmark_group("sequencer");
    group.throughput(Throughput::Elements(MESSAGES.unsigned_abs()));
    for (name, input) in
        [("in order", &ordered), ("neighbours swapped", &swapped), ("everything twice", &twice)]
    {
        group.bench_function(name, |b| {
            b.iter_batched(
                || (Sequencer::new(0), Vec::with_capacity(input.len())),
                |(mut sequencer, mut out)| {
                    let now = Instant::now();
                    for (offset, record) in input {
                        sequencer.offer(*offset, Arc::clone(record), Via::Bus, now, &mut out);
                    }
                    black_box(out.len())
                },
                BatchSize::SmallInput,
            );
        });
    }
    group.finish();
}

criterion_group!(benches, sequence);
criterion_main!(benches);
