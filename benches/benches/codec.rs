//! What a message costs on the wire: the Kafka record, the frame on the Redis bus, the event to a member.

use chat_protocol::{ChatRecord, Position, bus::BusFrame, events::Message};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use std::hint::black_box;

fn record() -> ChatRecord {
    ChatRecord {
        id: "m123456".to_owned(),
        room: "room-7".to_owned(),
        sender: "user-42".to_owned(),
        body: "squall front gust hail cloud storm calm tide ".repeat(4),
        sent_at_ms: 1_700_000_000_000,
    }
}

fn codec(criterion: &mut Criterion) {
    let (record, position) = (record(), Position { partition: 7, offset: 123_456 });
    let bytes = serde_json::to_vec(&record).unwrap_or_default();
    let frame = BusFrame::Message { position, record: record.clone() };
    let framed = serde_json::to_vec(&frame).unwrap_or_default();
    let event = Message { position: Some(position), record: record.clone(), replayed: false };
    let mut group = criterion.benchmark_group("codec");
    group.throughput(Throughput::Bytes(bytes.len() as u64));
    group.bench_function("record to Kafka", |b| b.iter(|| serde_json::to_vec(black_box(&record))));
    group.bench_function("record from Kafka", |b| {
        b.iter(|| serde_json::from_slice::<ChatRecord>(black_box(&bytes)))
    });
    group.bench_function("frame to the bus", |b| b.iter(|| serde_json::to_vec(black_box(&frame))));
    group.bench_function("frame from the bus", |b| {
        b.iter(|| serde_json::from_slice::<BusFrame>(black_box(&framed)))
    });
    group.bench_function("event to members", |b| b.iter(|| serde_json::to_string(black_box(&event))));
    group.bench_function("checks of a record", |b| b.iter(|| black_box(&record).check()));
    group.finish();
}

criterion_group!(benches, codec);
criterion_main!(benches);
