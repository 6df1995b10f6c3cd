//! Squall: drives load at a chat cluster, breaks it on a seeded timeline, and judges what its users lost.

pub mod clock;
pub mod environment;
pub mod exit;
pub mod history;
pub mod plan;
pub mod progress;
pub mod wait;
