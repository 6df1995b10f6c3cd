//! JSON logs on stdout, the lifecycle events among them, and the panic hook.

use std::sync::OnceLock;

use chat_protocol::lifecycle::{EXIT_PANIC, LOG_TARGET};
use tracing_subscriber::EnvFilter;

static PROCESS: OnceLock<String> = OnceLock::new();

/// Starts logging and makes a panic anywhere the end of the process: one that lost a thread would go on with half its
/// promises. `RUST_LOG` chooses what else people see beside the lifecycle events, `quiet` what they see without it. Later
/// calls change nothing.
pub fn start(process: &str, quiet: &str) {
    if PROCESS.set(process.to_owned()).is_err() {
        return;
    }
    let mut filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(quiet));
    if let Ok(contract) = format!("{LOG_TARGET}=info").parse() {
        filter = filter.add_directive(contract);
    }
    let subscriber = tracing_subscriber::fmt()
        .json()
        .flatten_event(true)
        .with_current_span(false)
        .with_span_list(false)
        .with_env_filter(filter)
        .with_ansi(false);
    // Fails only if the embedding program (a test) has a subscriber already; then that one is meant.
    drop(subscriber.try_init());
    std::panic::set_hook(Box::new(|panic| {
        let at = panic.location().map(ToString::to_string).unwrap_or_default();
        let message = panic.payload_as_str().unwrap_or("(no message)");
        crate::emit!(Panicked, message = format!("{message} at {at}"));
        std::process::exit(i32::from(EXIT_PANIC));
    }));
}

/// The name of this process, as in `--name`.
pub fn process() -> &'static str {
    PROCESS.get().map_or("unnamed", String::as_str)
}

/// Writes a lifecycle event: `emit!(WriterPaused, partitions = …, error = …)`. The caller has `tracing` and
/// `chat_protocol`.
#[macro_export]
macro_rules! emit {
    ($event:ident $(, $($field:tt)+)?) => {
        ::tracing::info!(
            target: ::chat_protocol::lifecycle::LOG_TARGET,
            event = ::chat_protocol::lifecycle::LifecycleEvent::$event.name(),
            process = $crate::telemetry::process(),
            $($($field)+)?
        )
    };
}
