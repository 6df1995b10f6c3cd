//! What is said to Toxiproxy, and what its errors mean.

use std::collections::BTreeMap;

use crate::plan::{Toxic, fault::Direction};

/// Toxiproxy's words for the ways of a direction.
pub(super) fn streams(direction: Direction) -> &'static [&'static str] {
    match direction {
        Direction::Upstream => &["upstream"],
        Direction::Downstream => &["downstream"],
        Direction::Both => &["upstream", "downstream"],
    }
}

/// Toxiproxy's word for a toxic, and its attributes. A black hole is a timeout that never comes.
pub(super) fn wire(toxic: &Toxic) -> (&'static str, BTreeMap<String, u32>) {
    let (kind, attributes): (_, &[(&str, u32)]) = match *toxic {
        Toxic::Latency { latency_ms, jitter_ms } => {
            ("latency", &[("latency", latency_ms), ("jitter", jitter_ms)])
        }
        Toxic::Bandwidth { kbytes_per_s } => ("bandwidth", &[("rate", kbytes_per_s)]),
        Toxic::Slicer { average_bytes, variation_bytes, delay_us } => (
            "slicer",
            &[("average_size", average_bytes), ("size_variation", variation_bytes), ("delay", delay_us)],
        ),
        Toxic::BlackHole => ("timeout", &[("timeout", 0)]),
        Toxic::Reset { after_ms } => ("reset_peer", &[("timeout", after_ms)]),
        Toxic::LimitData { bytes } => ("limit_data", &[("bytes", bytes)]),
        Toxic::SlowClose { delay_ms } => ("slow_close", &[("delay", delay_ms)]),
    };
    (kind, attributes.iter().map(|(name, value)| ((*name).to_owned(), *value)).collect())
}

/// reqwest says "error sending request" and keeps the reason in its sources.
pub(super) fn root_cause(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}
