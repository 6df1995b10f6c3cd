//! The counters of a node, as Prometheus sees them at `/metrics`.

use chat_protocol::{events::Code, metrics as names};
use metrics::{
    Counter, Gauge, Histogram, counter, describe_counter, describe_gauge, describe_histogram, gauge,
    histogram,
};
use metrics_exporter_prometheus::{BuildError, PrometheusBuilder, PrometheusHandle};
use socketioxide::socket::DisconnectReason;

/// Bounds of the latency buckets, in seconds: from a quick local Kafka to the longest ack time-out.
const SECONDS: [f64; 14] = [0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0];

/// Handles of everything that is counted; looked up once, as a hot path should not search a registry.
#[derive(Clone)]
pub struct Meters {
    /// Sockets connected now.
    pub sockets: Gauge,
    /// Sessions that began.
    pub sessions: Counter,
    /// Sends that were acked.
    pub acked: Counter,
    /// Sends that were refused or not confirmed in time.
    pub refused: Counter,
    /// From the arrival of a send to its ack, in seconds.
    pub ack_seconds: Histogram,
    /// Messages delivered from the node's own sends and the bus.
    pub delivered_live: Counter,
    /// Messages delivered from Kafka, as the live path had a hole.
    pub delivered_from_log: Counter,
    /// Records that are an earlier message, sent again: passed over.
    pub repeated: Counter,
    /// Records of another message under a taken identity: passed over.
    pub conflicts: Counter,
    /// Message events handed to sockets.
    pub receipts: Counter,
    /// Frames published on the bus.
    pub bus_published: Counter,
    /// Frames that were not published: the queue was full, or Redis away.
    pub bus_dropped: Counter,
    /// Frames heard on the bus.
    pub bus_heard: Counter,
    /// Frames that came faster than they were handled.
    pub bus_lagged: Counter,
    /// Members that were caught up, after `resume` or a full buffer.
    pub caught_up_members: Counter,
    /// Members disconnected as too slow.
    pub too_slow: Counter,
    /// Topology `relay`: messages heard on the bus that this node appended to the log.
    pub relayed: Counter,
    /// Topology `relay`: messages heard, and not appended as Kafka did not take them. Their senders have an ack.
    pub relay_lost: Counter,
}

impl std::fmt::Debug for Meters {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Meters").finish_non_exhaustive()
    }
}

/// Installs the recorder of this process.
///
/// # Errors
///
/// When the process has one already.
pub fn install() -> Result<PrometheusHandle, BuildError> {
    PrometheusBuilder::new().set_buckets(&SECONDS)?.install_recorder()
}

/// A client's session ended. Looked up each time: sessions last minutes.
pub fn session_ended(reason: DisconnectReason) {
    counter!(names::SESSIONS_ENDED, names::REASON => reason_label(reason)).increment(1);
}

fn reason_label(reason: DisconnectReason) -> &'static str {
    match reason {
        // Closed in order: by the transport's own close, or by leaving the namespace.
        DisconnectReason::TransportClose => "transport_close",
        DisconnectReason::ClientNSDisconnect => "client_left",
        // Gone without a word, or a frame above the limit: the transport cannot tell us more.
        DisconnectReason::TransportError => names::TRANSPORT_ERROR,
        DisconnectReason::PacketParsingError => names::MALFORMED,
        DisconnectReason::MultipleHttpPollingError => "two_polls",
        DisconnectReason::HeartbeatTimeout => "heartbeat",
        DisconnectReason::ServerNSDisconnect => "disconnected_by_node",
        DisconnectReason::ClosingServer => "node_closing",
    }
}

/// A verb was answered with an error. Looked up each time: refusals are rare, or the least of a node's troubles.
pub fn verb_refused(code: Code) {
    let label = match code {
        Code::Invalid => "invalid",
        Code::NotMember => "not_member",
        Code::Conflict => "conflict",
        Code::Busy => "busy",
        Code::RateLimited => "rate_limited",
        Code::Unavailable => "unavailable",
        Code::Draining => "draining",
        Code::TooSlow => "too_slow",
        Code::OutOfRange => "out_of_range",
    };
    counter!(names::VERBS_REFUSED, names::CODE => label).increment(1);
}

/// An ack was dropped, as too many of its socket wait already ([`crate::limits::ACKS_WAITING`]).
pub fn too_many_acks() {
    counter!("chat_node_acks_dropped_total").increment(1);
}

/// A connection was not taken: too many of one address, or a page of an origin that is not ours.
pub fn connection_refused(why: &'static str) {
    counter!("chat_node_connections_refused_total", "why" => why).increment(1);
}

/// A connection was reset, as its peer took nothing for [`crate::limits::WRITE_PATIENCE`].
pub fn stalled_write() {
    counter!("chat_node_stalled_writes_total").increment(1);
}

impl Default for Meters {
    fn default() -> Self {
        describe_gauge!("chat_node_sockets", "Sockets connected now");
        describe_counter!("chat_node_sends_total", "Sends, by result");
        describe_histogram!("chat_node_ack_seconds", "From the arrival of a send to its ack");
        describe_counter!(
            "chat_node_delivered_total",
            "Messages that took their place in the order, by path"
        );
        describe_counter!(
            "chat_node_passed_over_total",
            "Records of the log that reach nobody, as their identity is taken"
        );
        describe_counter!("chat_node_receipts_total", "Message events handed to sockets");
        describe_counter!("chat_node_bus_frames_total", "Frames on the Redis bus, by fate");
        describe_counter!(
            "chat_node_members_caught_up_total",
            "Members caught up after resume or a full buffer"
        );
        describe_counter!("chat_node_too_slow_total", "Members disconnected as too slow");
        describe_counter!("chat_node_relayed_total", "Messages relayed from Redis to Kafka, by fate");
        describe_counter!("chat_node_sessions_total", "Sessions that began");
        describe_counter!(names::SESSIONS_ENDED, "Sessions that ended, by reason");
        describe_counter!(names::VERBS_REFUSED, "Verbs answered with an error, by code");
        describe_counter!(
            "chat_node_acks_dropped_total",
            "Acks dropped, their client asking on without reading"
        );
        describe_counter!("chat_node_connections_refused_total", "Connections not taken, by reason");
        describe_counter!(
            "chat_node_stalled_writes_total",
            "Connections reset as their peer took nothing for too long"
        );
        Self {
            sockets: gauge!("chat_node_sockets"),
            sessions: counter!("chat_node_sessions_total"),
            acked: counter!("chat_node_sends_total", "result" => "acked"),
            refused: counter!("chat_node_sends_total", "result" => "refused"),
            ack_seconds: histogram!("chat_node_ack_seconds"),
            delivered_live: counter!("chat_node_delivered_total", "path" => "live"),
            delivered_from_log: counter!("chat_node_delivered_total", "path" => "log"),
            repeated: counter!("chat_node_passed_over_total", "why" => "repeated"),
            conflicts: counter!("chat_node_passed_over_total", "why" => "conflict"),
            receipts: counter!("chat_node_receipts_total"),
            bus_published: counter!("chat_node_bus_frames_total", "fate" => "published"),
            bus_dropped: counter!("chat_node_bus_frames_total", "fate" => "dropped"),
            bus_heard: counter!("chat_node_bus_frames_total", "fate" => "heard"),
            bus_lagged: counter!("chat_node_bus_frames_total", "fate" => "lagged"),
            caught_up_members: counter!("chat_node_members_caught_up_total"),
            too_slow: counter!("chat_node_too_slow_total"),
            relayed: counter!("chat_node_relayed_total", "fate" => "written"),
            relay_lost: counter!("chat_node_relayed_total", "fate" => "lost"),
        }
    }
}
