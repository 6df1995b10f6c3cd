//! The history: everything that happened in a run, in one file, written before anything is judged.

pub mod event;
pub mod recorder;

pub use event::{Event, FaultStep, Ledger, Lifecycle, Phase, What, Why};
pub use recorder::{HistoryWriter, Recorder};
