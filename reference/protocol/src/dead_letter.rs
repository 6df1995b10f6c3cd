//! A dead letter: the record as it was (key and value), with these headers. One that the broker finds too large goes without
//! key and value.

/// Why the record was set aside.
pub const REASON: &str = "reason";
/// The topic it came from.
pub const TOPIC: &str = "topic";
/// The partition it came from, in decimal.
pub const PARTITION: &str = "partition";
/// Its offset there, in decimal.
pub const OFFSET: &str = "offset";
/// How many bytes of key and value were left out, in decimal; absent when none were.
pub const LEFT_OUT_BYTES: &str = "left_out_bytes";
