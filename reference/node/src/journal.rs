//! The log: one JSON object a line on stdout, and the lifecycle events in it.

use chat_protocol::lifecycle::{EXIT_PANIC, LOG_TARGET, LifecycleEvent};
use tracing_subscriber::EnvFilter;

/// Writes a lifecycle event: `emit!(process, LifecycleEvent::Listening, addr = %addr)`.
macro_rules! emit {
    ($process:expr, $event:expr $(, $($field:tt)*)?) => {
        ::tracing::info!(target: ::chat_protocol::lifecycle::LOG_TARGET, event = $crate::journal::event_name($event), process = %$process $(, $($field)*)?)
    };
}
pub(crate) use emit;

/// The name of an event as it stands in the log.
pub fn event_name(event: LifecycleEvent) -> String {
    match serde_json::to_value(event) {
        Ok(serde_json::Value::String(name)) => name,
        // An enum without fields is always a string.
        _ => String::from("unknown"),
    }
}

/// Opens the log. `RUST_LOG` chooses what else people see beside the lifecycle events.
pub fn open() {
    let mut filter = EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| EnvFilter::new("info,fred=error,librdkafka=error,rdkafka=error"));
    if let Ok(contract) = format!("{LOG_TARGET}=info").parse() {
        filter = filter.add_directive(contract);
    }
    let opened = tracing_subscriber::fmt()
        .json()
        .flatten_event(true)
        .with_current_span(false)
        .with_span_list(false)
        .with_env_filter(filter)
        .try_init();
    // A second call in one process (tests) keeps the first log.
    drop(opened);
}

/// Makes a panic anywhere the end of the process: a node that lost a thread would go on with half its promises.
pub fn install_panic_hook(process: &str) {
    let process = process.to_owned();
    std::panic::set_hook(Box::new(move |panic| {
        emit!(process, LifecycleEvent::Panicked, message = %panic);
        std::process::exit(i32::from(EXIT_PANIC));
    }));
}
