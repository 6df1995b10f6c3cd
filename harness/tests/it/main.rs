//! The harness's integration tests: one binary, real services, real processes.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]
#![expect(clippy::print_stdout, reason = "a failed run shows its summary with the test's output")]

mod build;
mod capacity;
mod clients;
mod command_line;
mod compose;
mod decoders;
mod drain;
mod environment;
mod evidence;
mod installed;
mod log;
mod npm;
mod page;
mod planted;
mod pooler;
mod relay;
mod scenarios;
mod services;
mod shells;
mod stock_client;
mod testbed;
mod tidy;
mod tls;
mod trend;
mod writer;
