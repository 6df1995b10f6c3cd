//! Capacity: the highest load that still meets its objectives. Pure: trials go in as values, the next load to try and the
//! answer come out.
//!
//! ```text
//!  Search::next ──load, length──→ run::capacity (live) ──Trial──→ Trial::outcome ──→ Search::take
//!        └──Done──→ Bounds ──of three searches──→ Capacity ──→ terminal, Markdown, JSON, page with the curve
//! ```
//!
//! The search is MLRsearch (RFC 9971), with stated objectives where that counts lost packets. A capacity is an interval and no
//! number: a load that met the objectives, and the next one that did not. One search may be misled by a bad moment of the
//! machine, so three are made, each on services and a cluster of its own, and the middle one is the answer.

pub mod dimension;
pub mod report;
pub mod search;
pub mod trial;

pub use dimension::Dimension;
pub use report::{Capacity, Searched};
pub use search::{Bounds, Search, Step, Verdict};
pub use trial::{Objectives, Outcome, Trial};
