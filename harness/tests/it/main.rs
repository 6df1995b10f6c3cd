//! The harness's integration tests: one binary, real services, real processes.

mod command_line;
mod environment;
mod ground;
#[cfg(feature = "planted-bugs")]
mod planted;
mod scenarios;
mod stock_client;
mod tidy;
