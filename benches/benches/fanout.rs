//! What order costs a node: a thousand messages through one partition's sequencer, in order, in disorder, and twice.

use std::{hint::black_box, sync::Arc, time::Instant};

use chat_node::sequencer::{Sequencer, Via};
use chat_protocol::ChatRecord;
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};

const MESSAGES: i64 = 1_000;

fn record(number: i64) -> Arc<ChatRecord> {
    Arc::new(ChatRecord {
        id: format!("m{number}"),
        room: "room-7".to_owned(),
        sender: "user-42".to_owned(),
        body: "squall".to_owned(),
        sent_at_ms: 0,
    })
}

fn sequence(criterion: &mut Criterion) {
    let records: Vec<_> = (0..MESSAGES).map(|number| (number, record(number))).collect();
    // Neighbours swapped: what two nodes racing on the bus look like.
    let mut swapped = records.clone();
    swapped.chunks_mut(2).for_each(<[_]>::reverse);
    let twice: Vec<_> = records.iter().flat_map(|pair| [pair.clone(), pair.clone()]).collect();
    let mut group = criterion.benchmark_group("sequencer");
    group.throughput(Throughput::Elements(MESSAGES.unsigned_abs()));
    for (name, input) in
        [("in order", &records), ("neighbours swapped", &swapped), ("everything twice", &twice)]
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
