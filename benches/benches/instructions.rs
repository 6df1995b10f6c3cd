//! The micro gate: instructions of the parts that every message passes, counted by valgrind. Two builds of the same source
//! count the same on any machine, so that a change of a few per cent shows where a clock would not see it.
//!
//! `.ci/instructions BASELINE` compares this tree with a commit. Needs valgrind and `gungraun-runner`, which it installs.
#![expect(missing_docs, reason = "the macros make public functions that nobody calls")]

use std::{
    hint::black_box,
    time::{Duration, Instant},
};

use chat_benches::samples::{self, Sequence};
use chat_node::{
    room,
    sequencer::{Sequencer, Via},
};
use chat_protocol::{ChatRecord, Position, bus::BusFrame};
use chat_writer::batch::{Batch, Entry, Limits, ends};
use gungraun::{Callgrind, EventKind::Ir, prelude::*};
use harness::history::{Event, EventKind, recorder};

/// Room for what allocators and hash seeds make of one run or another.
const FLOOR_PERCENT: f64 = 2.0;
const HERE: Position = Position { partition: 7, offset: 123_456 };

fn record() -> ChatRecord {
    samples::record(HERE.offset)
}

fn bytes() -> Vec<u8> {
    serde_json::to_vec(&record()).unwrap_or_default()
}

fn bus_frame() -> BusFrame {
    BusFrame::Message { position: HERE, record: record() }
}

fn bus_bytes() -> Vec<u8> {
    serde_json::to_vec(&bus_frame()).unwrap_or_default()
}

fn batch() -> (Batch, Vec<(Position, Vec<u8>)>) {
    let limits = Limits { records: 500, bytes: 1 << 20, age: Duration::from_millis(50) };
    (Batch::new(limits), samples::payloads(500))
}

fn sequencer(sequence: Sequence) -> (Sequencer, Sequence) {
    (Sequencer::new(0), sequence)
}

fn receipts() -> (Vec<Event>, Vec<u8>) {
    let receipt = |message: u32| EventKind::Received {
        user: message % 1_000,
        message,
        partition: 3,
        offset: i64::from(message),
        replayed: false,
    };
    let events = (0..4_096).map(|message| Event { at_us: u64::from(message) * 25, what: receipt(message) });
    (events.collect(), Vec::with_capacity(1 << 17))
}

#[library_benchmark]
#[bench::one(bytes())]
fn limit_copy_of_a_record(bytes: Vec<u8>) -> Vec<u8> {
    black_box(bytes.clone())
}

#[library_benchmark]
#[bench::one(record())]
fn record_to_kafka(record: ChatRecord) -> Vec<u8> {
    serde_json::to_vec(&black_box(record)).unwrap_or_default()
}

#[library_benchmark]
#[bench::one(bytes())]
fn record_from_kafka(bytes: Vec<u8>) -> Option<ChatRecord> {
    serde_json::from_slice(&black_box(bytes)).ok()
}

#[library_benchmark]
#[bench::one(bus_frame())]
fn frame_to_the_bus(frame: BusFrame) -> Vec<u8> {
    serde_json::to_vec(&black_box(frame)).unwrap_or_default()
}

#[library_benchmark]
#[bench::one(bus_bytes())]
fn frame_from_the_bus(bytes: Vec<u8>) -> Option<BusFrame> {
    serde_json::from_slice(&black_box(bytes)).ok()
}

#[library_benchmark]
#[bench::one(record())]
fn event_to_members(record: ChatRecord) -> usize {
    room::encode(Some(HERE), &black_box(record), false).map_or(0, |event| event.get().len())
}

#[library_benchmark]
#[bench::in_order(sequencer(samples::in_order(1_000)))]
#[bench::neighbours_swapped(sequencer(samples::swapped(1_000)))]
#[bench::everything_twice(sequencer(samples::twice(1_000)))]
fn sequence((mut sequencer, messages): (Sequencer, Sequence)) -> usize {
    let (now, mut out) = (Instant::now(), Vec::with_capacity(messages.len()));
    for (offset, record) in messages {
        sequencer.offer(offset, record, Via::Bus, now, &mut out);
    }
    black_box(out).len()
}

#[library_benchmark]
#[bench::of_500(batch())]
fn gather_a_batch((mut batch, payloads): (Batch, Vec<(Position, Vec<u8>)>)) -> usize {
    let now = Instant::now();
    for (position, payload) in &payloads {
        batch.push(Entry::read(*position, None, Some(payload)), now);
    }
    let entries = batch.take();
    black_box(ends(&entries));
    entries.len()
}

#[library_benchmark]
#[bench::of_4096(receipts())]
fn write_history((events, buffer): (Vec<Event>, Vec<u8>)) -> usize {
    recorder::frame(&black_box(events), buffer).map_or(0, |frame| frame.len())
}

library_benchmark_group!(
    name = codec,
    benchmarks = [
        limit_copy_of_a_record,
        record_to_kafka,
        record_from_kafka,
        frame_to_the_bus,
        frame_from_the_bus,
        event_to_members
    ]
);
library_benchmark_group!(name = parts, benchmarks = [sequence, gather_a_batch, write_history]);

main!(
    config = LibraryBenchmarkConfig::default().tool(Callgrind::default().soft_limits([(Ir, FLOOR_PERCENT)])),
    library_benchmark_groups = [codec, parts]
);
