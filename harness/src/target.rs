//! What the harness knows of the system under test, in one room: its programs and flags, where it says that it is ready, the
//! lines of its log and the counters that are part of the contract, what it calls its topics, and its rows. Another chat
//! under test begins here; what its clients speak is `load`'s.

pub mod reference;

pub use reference::{Names, dead_letter::DeadLetter, metrics::ClientCounters};
