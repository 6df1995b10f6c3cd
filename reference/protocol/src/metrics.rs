//! Names of the metrics by which an outside observer counts. The others are for people.

/// Counter of a node: sessions that ended, by the label [`REASON`].
pub const SESSIONS_ENDED: &str = "chat_node_sessions_ended_total";
/// Label of [`SESSIONS_ENDED`].
pub const REASON: &str = "reason";
/// Value of [`REASON`]: the transport failed: no goodbye, or a frame above the limit.
pub const TRANSPORT_ERROR: &str = "transport_error";
/// Value of [`REASON`]: a frame could not be read.
pub const MALFORMED: &str = "malformed";
/// Counter of a node: verbs answered with an error, by the label [`CODE`].
pub const VERBS_REFUSED: &str = "chat_node_verbs_refused_total";
/// Label of [`VERBS_REFUSED`]: the error code.
pub const CODE: &str = "code";
