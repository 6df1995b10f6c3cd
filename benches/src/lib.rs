//! Benchmarks live in `benches/`: `cargo bench -p chat-benches`. This library is empty on purpose.
