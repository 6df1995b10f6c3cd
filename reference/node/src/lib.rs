//! A Socket.IO chat server that appends to Kafka, tells its peers through Redis, and delivers without loss.
//!
//! # Layout, in the order of a message
//!
//! - [`session`]: one connected client, its verbs in order; `session/send.rs` is the way of a message
//! - [`kafka`]: the log; writing ([`kafka::producer`]), following where the live path has a hole ([`kafka::tail`]),
//!   reading pieces ([`kafka::reader`]), asking how far it reaches ([`kafka::ends`])
//! - [`bus`]: Redis, the fast path to the other nodes
//! - [`sequencer`]: turns all of it into the order of the log, exactly once; [`recent`] knows what was said before
//! - [`partition`], [`room`], [`ring`]: one lock over the order, the members and the recent messages
//! - [`catch_up`]: members that are behind, after `resume` or because they read slowly
//! - [`relay`]: the other topology, in which all of this but delivery is left aside
//! - [`hub`]: all partitions; [`presence`], [`history`]: the smaller verbs
//! - [`serve`]: the life of the process; [`http`], [`page`], [`origins`], [`identity`], [`listener`], [`health`], [`meters`]: its outside
//! - [`config`], [`limits`], [`bugs`]: what it is told, where it stops, how it is wrong on purpose

use chat_protocol::lifecycle::EXIT_PANIC;

pub mod bugs;
pub mod bus;
pub mod catch_up;
pub mod config;
pub mod head;
pub mod health;
pub mod history;
pub mod http;
pub mod hub;
pub mod identity;
pub mod kafka;
pub mod limits;
pub mod listener;
pub mod meters;
pub mod node;
pub mod origins;
pub mod page;
pub mod partition;
pub mod presence;
pub mod recent;
pub mod relay;
pub mod ring;
pub mod room;
pub mod sequencer;
pub mod serve;
pub mod session;

/// What people see of the log without `RUST_LOG`: the clients' own logs repeat what readiness says.
const QUIET: &str = "info,fred=error,librdkafka=error,rdkafka=error";

/// The whole program: reads the command line, serves until a signal, and ends the process.
///
/// It ends by `exit`, as the destructors of Kafka clients wait for brokers that may be away.
pub fn run() -> ! {
    let code = chat_process::start::parse().map_or_else(|code| code, start);
    std::process::exit(i32::from(code));
}

fn start(config: config::Config) -> u8 {
    chat_process::telemetry::start(&config.name, QUIET);
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            tracing::error!(%error, "no runtime");
            return EXIT_PANIC;
        }
    };
    let served = runtime.block_on(serve::serve(config));
    // Dropped, it would wait for every blocking task, and for what its tasks own: a Kafka client waits for its threads.
    runtime.shutdown_background();
    match served {
        Ok(code) => code,
        Err(error) => {
            tracing::error!(%error, "cannot start");
            error.exit_code()
        }
    }
}
