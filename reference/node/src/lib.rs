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
//! - [`serve`]: the life of the process; [`http`], [`origins`], [`listener`], [`health`], [`meters`], [`journal`]: its outside
//! - [`config`], [`limits`], [`bugs`]: what it is told, where it stops, how it is wrong on purpose

use chat_protocol::lifecycle::{EXIT_OK, EXIT_PANIC, EXIT_USAGE};
use clap::{Parser, error::ErrorKind};

pub mod bugs;
pub mod bus;
pub mod catch_up;
pub mod config;
pub mod health;
pub mod history;
pub mod http;
pub mod hub;
pub mod journal;
pub mod kafka;
pub mod limits;
pub mod listener;
pub mod meters;
pub mod node;
pub mod origins;
pub mod partition;
pub mod presence;
pub mod recent;
pub mod relay;
pub mod ring;
pub mod room;
pub mod sequencer;
pub mod serve;
pub mod session;

/// The whole program: reads the command line, serves until a signal, and ends the process.
///
/// It ends by `exit`, as the destructors of Kafka clients wait for brokers that may be away.
pub fn run() -> ! {
    // Refused only when there is one already, which is as good.
    drop(rustls::crypto::aws_lc_rs::default_provider().install_default());
    let code = match config::Config::try_parse() {
        Ok(config) => start(config),
        Err(error) => {
            let asked = matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion);
            // Help goes to stdout and complaints to stderr; a closed pipe is no reason to fail otherwise.
            drop(error.print());
            if asked { EXIT_OK } else { EXIT_USAGE }
        }
    };
    std::process::exit(i32::from(code));
}

fn start(config: config::Config) -> u8 {
    journal::open();
    journal::install_panic_hook(&config.name);
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            tracing::error!(%error, "no runtime");
            return EXIT_PANIC;
        }
    };
    match runtime.block_on(serve::serve(config)) {
        Ok(code) => code,
        Err(error) => {
            tracing::error!(%error, "cannot start");
            error.exit_code()
        }
    }
}
