//! Squall: drives load at a chat cluster, breaks it on a seeded timeline, and judges what its users lost.

pub mod capacity;
pub mod checkers;
pub mod cli;
pub mod clock;
pub mod cluster;
pub mod environment;
pub mod exit;
pub mod faults;
pub mod gate;
pub mod history;
pub mod load;
pub mod os;
pub mod plan;
pub mod progress;
pub mod report;
pub mod run;
pub mod scenario;
pub mod shipped;
pub mod shrink;
pub mod surroundings;
pub mod target;
pub mod verifier;
pub mod wait;
