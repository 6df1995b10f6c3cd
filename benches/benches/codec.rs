//! What a message costs on the wire: the Kafka record, the frame on the Redis bus, the event to a member; and beside it what
//! copying the same bytes does.

use chat_benches::samples;
use chat_node::room;
use chat_protocol::{ChatRecord, Position, bus::BusFrame};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use std::hint::black_box;

fn codec(criterion: &mut Criterion) {
    let (record, position) = (samples::record(123_456), Position { partition: 7, offset: 123_456 });
    let bytes = serde_json::to_vec(&record).unwrap_or_default();
    let frame = BusFrame::Message { position, record: record.clone() };
    let framed = serde_json::to_vec(&frame).unwrap_or_default();
    let mut group = criterion.benchmark_group("codec");
    group.throughput(Throughput::Bytes(bytes.len() as u64));
    group.bench_function("limit: a copy of the record", |b| b.iter(|| black_box(&bytes).clone()));
    group.bench_function("record to Kafka", |b| b.iter(|| serde_json::to_vec(black_box(&record))));
    group.bench_function("record from Kafka", |b| {
        b.iter(|| serde_json::from_slice::<ChatRecord>(black_box(&bytes)))
    });
    group.bench_function("frame to the bus", |b| b.iter(|| serde_json::to_vec(black_box(&frame))));
    group.bench_function("frame from the bus", |b| {
        b.iter(|| serde_json::from_slice::<BusFrame>(black_box(&framed)))
    });
    group.bench_function("event to members", |b| {
        b.iter(|| room::encode(Some(position), black_box(&record), false))
    });
    group.bench_function("checks of a record", |b| b.iter(|| black_box(&record).check()));
    group.finish();
}

criterion_group!(benches, codec);
criterion_main!(benches);
