//! The history: everything that happened in a run, in one file, written before anything is judged.
//!
//! [`recorder`] writes it, [`file`] reads it back frame by frame, [`fold`] turns the events into [`index::History`],
//! which is what checkers and reports look at.

pub mod event;
pub mod file;
pub mod fold;
pub mod groups;
pub mod index;
pub mod recorder;

pub use event::{Event, EventKind, FaultStep, Ledger, Lifecycle, Phase, Reaction, Reason};
pub use file::{HistoryError, HistoryFile};
pub use index::{Fate, History};
pub use recorder::{HistoryWriter, Recorder};
