//! The life of a node: put together, listen, run, drain.

use std::{
    io,
    sync::Arc,
    time::{Duration, Instant},
};

use axum::middleware;
use chat_process::emit;
use chat_protocol::{
    Topology,
    lifecycle::{EXIT_OK, EXIT_UNAVAILABLE, EXIT_USAGE},
    limits::CLIENT_MESSAGE_BYTES,
};
use metrics_exporter_prometheus::PrometheusHandle;
use socketioxide::{SocketIo, TransportType};
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::Semaphore,
    time::{interval, timeout},
};
use tracing::{error, warn};

use crate::{
    bugs::{Bug, TINY_SOCKET_BUFFER},
    bus::{self, publisher::Bus},
    config::Config,
    head,
    health::{self, Health},
    history::Archive,
    http,
    hub::Hub,
    kafka::{
        self, BadSettings,
        producer::Producer,
        reader::{LogReader, Piece},
    },
    limits,
    listener::Deadlined,
    meters::{self, Meters},
    node::Node,
    origins,
    presence::Presence,
    relay::Relay,
    session::{self, late::LateProducer},
};

/// Why a node did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The address is taken, or not ours.
    #[error("cannot listen on {0}: {1}")]
    Listen(std::net::SocketAddr, #[source] io::Error),
    /// A librdkafka setting is wrong.
    #[error(transparent)]
    Kafka(#[from] BadSettings),
    /// The Redis URL is wrong.
    #[error("Redis settings: {0}")]
    Redis(#[from] fred::error::Error),
    /// The process cannot hear signals, or count.
    #[error("cannot set the process up: {0}")]
    Process(#[from] io::Error),
    /// Any name would be believed, of anybody.
    #[error(
        "no token key, and {0} is not this machine's own: give CHAT_NODE_TOKEN_KEYS, or --development-anywhere to believe any name"
    )]
    Development(std::net::SocketAddr),
    /// A second recorder in one process.
    #[error("metrics: {0}")]
    Metrics(#[from] metrics_exporter_prometheus::BuildError),
}

impl StartError {
    /// The exit code that says whose fault it is.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Kafka(_) | Self::Redis(_) | Self::Development(_) => EXIT_USAGE,
            Self::Listen(..) | Self::Process(_) | Self::Metrics(_) => EXIT_UNAVAILABLE,
        }
    }
}

/// Runs a node until it is told to stop.
///
/// # Errors
///
/// When it cannot start; that a dependency is away is no such reason.
pub async fn serve(config: Config) -> Result<u8, StartError> {
    if config.development() {
        if !config.listen.ip().is_loopback() && !config.development_anywhere {
            return Err(StartError::Development(config.listen));
        }
        warn!(
            "DEVELOPMENT MODE: any name is believed, and /dev/token signs any; give CHAT_NODE_TOKEN_KEYS to end this"
        );
    }
    // Signals first: whoever sees `listening` may already stop us.
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let listener = Deadlined::bind(config.listen, config.connections_per_address)
        .map_err(|error| StartError::Listen(config.listen, error))?;
    let addr = listener.local_addr()?;
    let metrics = meters::install()?;

    let node = assemble(config)?;
    start_tasks(&node, metrics.clone())?;

    let packets =
        if node.bugs.has(Bug::DropWhenFull) { TINY_SOCKET_BUFFER } else { limits::PACKETS_PER_SOCKET };
    let (layer, io) = SocketIo::builder()
        .max_buffer_size(packets)
        .max_payload(u64::try_from(CLIENT_MESSAGE_BYTES).unwrap_or(u64::MAX))
        .ws_max_message_size(CLIENT_MESSAGE_BYTES)
        .ws_max_frame_size(CLIENT_MESSAGE_BYTES)
        .ws_read_buffer_size(limits::READ_BUFFER_BYTES)
        .transports([TransportType::Polling, TransportType::Websocket])
        .build_layer();
    session::serve(&io, Arc::clone(&node));
    let (health, sockets) = (Arc::clone(&node.health), io.clone());
    tokio::spawn(async move {
        health.until_broken().await;
        // To another node, which they are let in by.
        sockets.close().await;
    });
    let origins = node.config.origins.clone();
    let routes = http::routes(&node.config, Arc::clone(&node.health), metrics)
        .layer(layer)
        .layer(middleware::from_fn_with_state(Arc::clone(&node.health), http::only_whole))
        .layer(middleware::map_request(head::own))
        .layer(origins::cors(&origins))
        .layer(middleware::from_fn_with_state(origins, origins::only_listed));
    emit!(Listening, addr = %addr);
    let server = tokio::spawn(async move {
        if let Err(error) = axum::serve(listener, routes).await {
            error!(%error, "stopped listening");
        }
    });

    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    drain(&node, &io).await;
    server.abort();
    emit!(Stopped);
    Ok(EXIT_OK)
}

fn assemble(config: Config) -> Result<Arc<Node>, StartError> {
    let bugs = config.bugs();
    let health = Arc::new(Health::of(config.topology));
    let meters = Meters::default();
    let reader = LogReader::start(&config)?;
    let relay = match config.topology {
        Topology::DurableFirst => None,
        Topology::Relay => Some(Relay::start(&config, Arc::clone(&health))?),
    };
    Ok(Arc::new(Node {
        bugs,
        hub: Arc::new(Hub::new(config.partitions, bugs, reader, meters.clone())),
        producer: Producer::new(&config, Arc::clone(&health))?,
        bus: Bus::start(&config, meters.clone(), Arc::clone(&health))?,
        archive: Archive::new(config.postgres_url.as_ref()),
        presence: Presence::default(),
        meters,
        sends: Arc::new(Semaphore::new(limits::SENDS_IN_FLIGHT)),
        histories: Arc::new(Semaphore::new(limits::HISTORY_IN_FLIGHT)),
        relay,
        late: bugs.has(Bug::AckBeforeProduce).then(LateProducer::default),
        health,
        config,
    }))
}

fn start_tasks(node: &Arc<Node>, metrics: PrometheusHandle) -> Result<(), StartError> {
    kafka::ends::watch(&node.config, Arc::clone(&node.hub), Arc::clone(&node.health))?;
    if node.relay.is_none() {
        // What makes `durable-first` whole: nothing of the log reaches members in the topology `relay`.
        kafka::tail::follow(&node.config, Arc::clone(&node.hub), Arc::clone(&node.health))?;
        tokio::spawn(warm_up(Arc::clone(&node.hub)));
    }
    let (config, health) = (node.config.clone(), Arc::clone(&node.health));
    tokio::spawn(async move {
        if let Err(error) = kafka::topic::look_after(&config, &health).await {
            warn!(%error, "cannot create the topic");
        }
    });
    tokio::spawn(bus::subscriber::run(Arc::clone(node)));
    tokio::spawn(session::refresh_presence(Arc::clone(node)));
    tokio::spawn(node.archive.clone().watch(Arc::clone(&node.health)));
    tokio::spawn(health::report(Arc::clone(&node.health)));
    tokio::spawn(async move {
        // Histograms keep every sample until somebody folds them.
        let mut pace = interval(Duration::from_secs(5));
        loop {
            pace.tick().await;
            metrics.run_upkeep();
        }
    });
    Ok(())
}

/// Reads the end of the log into memory once, so that clients of a node that was restarted can resume without Kafka.
async fn warm_up(hub: Arc<Hub>) {
    if hub.started().wait_for(|started| *started).await.is_err() {
        return;
    }
    for id in 0..hub.count() {
        let Some(end) = hub.partition(id).and_then(|partition| partition.starts_at()) else { continue };
        let Ok(extent) = hub.reader().extent(id).await else { continue };
        let from = (end - limits::WARM_UP_RECORDS).max(extent.low);
        if from >= end {
            continue;
        }
        let piece = Piece { partition: id, from, to: end, room: None, most: usize::MAX, look_back: 0 };
        match hub.reader().read(piece).await {
            Ok(read) if read.next == end => hub.warm(id, from, end, read.entries),
            // It was only to save time.
            Ok(_) => {}
            Err(error) => tracing::debug!(%error, partition = id, "did not read the recent log"),
        }
    }
}

/// Ends gracefully, in this order: no new sends; what was accepted is confirmed and acked; clients are let go, in a way
/// that makes them reconnect elsewhere. Everything together takes at most the time given.
async fn drain(node: &Arc<Node>, io: &SocketIo) {
    let deadline = Instant::now() + node.config.drain();
    emit!(Draining);
    node.health.drain();

    // A fifth of the time stays for the clients.
    let for_sends = node.config.drain() * 4 / 5;
    let all = u32::try_from(limits::SENDS_IN_FLIGHT).unwrap_or(u32::MAX);
    let finished = timeout(for_sends, node.sends.acquire_many(all)).await;
    if finished.is_err() {
        let unconfirmed = limits::SENDS_IN_FLIGHT - node.sends.available_permits();
        warn!(unconfirmed, "Kafka did not confirm everything in time; those messages were not acked");
    }
    // Before the flush: what is still heard would be put into the queue, and another node can have it from here on.
    if let Some(relay) = &node.relay {
        drop(timeout(deadline.saturating_duration_since(Instant::now()), relay.resign()).await);
    }
    let left = deadline.saturating_duration_since(Instant::now());
    let producer = node.producer.clone();
    // librdkafka blocks. In a thread that nobody waits for beyond the deadline.
    let flush = tokio::task::spawn_blocking(move || producer.flush(left / 2));
    drop(timeout(left / 2, flush).await);

    // Closing the transport, not the namespace: a client that is told "disconnect" by the server does not come back.
    let left = deadline.saturating_duration_since(Instant::now());
    drop(timeout(left, io.close()).await);
}
