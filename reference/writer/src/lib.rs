//! chat-writer: copies the Kafka log of chat messages into PostgreSQL.
//!
//! It promises three things, each kept by one part of the code:
//!
//! 1. **Every record of the log becomes exactly one row**, whatever dies in between. Rows and the offset that follows
//!    them move in one statement ([`store`]), and a record seen twice conflicts with itself. Kafka's own committed
//!    offsets are only a courtesy to people who look at the lag.
//! 2. **While PostgreSQL is away nothing is lost and nobody is disturbed**: partitions are paused, the consumer is still
//!    polled (so the group does not rebalance), PostgreSQL is probed with [`backoff`], and reading goes on at the first
//!    record that was not written ([`writer`]).
//! 3. **A record that PostgreSQL will never take does not stop its neighbours**: it goes to the dead-letter topic with
//!    the reason ([`dead_letter`], [`blame`]).
//!
//! # Layout
//!
//! - [`config`]: flags and environment variables, and every limit with its unit and reason
//! - [`process`]: a process's life: signals, health server, drain, exit code
//! - [`health`]: `/healthz`, `/readyz`, `/metrics`
//! - [`consumer`]: the Kafka consumer, whose rebalances are answered by the writer's own loop
//! - [`broker`]: creates the topics; watches lag and Kafka's health from a connection of its own
//! - [`positions`]: where each partition stands (pure)
//! - [`batch`]: what is held and when it is due (pure)
//! - [`blame`]: whose fault a failed write is (pure)
//! - [`backoff`]: when to ask PostgreSQL again (pure)
//! - [`store`]: PostgreSQL: the one write statement, the liveness check, the probe
//! - [`dead_letter`]: the Kafka topic of records that cannot be stored
//! - [`writer`]: the loop that ties these together
//! - [`bugs`]: known defects, compiled only for testing the harness

pub mod backoff;
pub mod batch;
pub mod blame;
pub mod broker;
pub mod bugs;
pub mod config;
pub mod consumer;
pub mod dead_letter;
pub mod health;
pub mod positions;
pub mod process;
pub mod store;
pub mod writer;

pub use process::run;
