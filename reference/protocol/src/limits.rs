//! Every limit of the chat protocol, with its unit and its reason.

/// Longest message id a client may choose. Room for a UUID with a prefix; it is stored and indexed with every row.
pub const MESSAGE_ID_MAX_BYTES: usize = 64;

/// Longest room name. Rooms are Kafka keys and part of the primary key of every row.
pub const ROOM_MAX_BYTES: usize = 128;

/// Longest user name.
pub const USER_MAX_BYTES: usize = 64;

/// Longest message body. Far below Kafka's `message.max.bytes` (1 MB), so that no accepted message is refused later.
pub const BODY_MAX_BYTES: usize = 16 * 1024;

/// Most messages in one page of `history`; a page stays well under one WebSocket frame.
pub const HISTORY_PAGE_MAX: usize = 200;

/// Rooms one socket may be in. Bounds the memory a single client can claim on a node.
pub const ROOMS_PER_SOCKET_MAX: usize = 256;

/// How long after its session began a `send` may wait for the `join` or `resume` of its room, in milliseconds. Clients that
/// were offline emit what they kept before they can ask for their rooms; asking takes them one round trip. Afterwards such a
/// `send` is answered `not_member` at once.
pub const EARLY_SENDS_WAIT_MS: u64 = 3_000;

/// Sends of one socket that may wait so. Beyond it a `send` is answered `busy`.
pub const EARLY_SENDS_MAX: usize = 256;

/// Largest WebSocket message a client may send: a body of 16 KiB can take six times that in JSON escapes. A larger one ends
/// the session.
pub const CLIENT_MESSAGE_BYTES: usize = 128 * 1024;
