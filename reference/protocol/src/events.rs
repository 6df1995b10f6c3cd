//! Socket.IO events: what a client emits, what it gets as the ack, and what the server emits.
//!
//! Every verb takes one JSON object and is acked with one JSON object: either `{"ok": …}` or
//! `{"error": {"code": …, "message": …}}` ([`Reply`]). A stock socket.io-client 4.x needs nothing else:
//!
//! ```js
//! const socket = io("http://127.0.0.1:8080", { auth: { user: "ann" } });
//! await socket.emitWithAck("join", { room: "lobby" });
//! // {"ok":{"room":"lobby","position":{"partition":7,"offset":42}}}
//! await socket.emitWithAck("send", { room: "lobby", id: "m-1", body: "hello" });
//! // {"ok":{"id":"m-1","position":{"partition":7,"offset":42}}}
//! ```

use serde::{Deserialize, Serialize};

use crate::{ChatRecord, Position};

/// Client verb: enter a room. Payload [`Join`], ack [`Joined`].
pub const JOIN: &str = "join";
/// Client verb: leave a room. Payload [`Leave`], ack [`Left`].
pub const LEAVE: &str = "leave";
/// Client verb: send a message. Payload [`Send`], ack [`Sent`].
pub const SEND: &str = "send";
/// Client verb: come back to a room and get what was missed. Payload [`Resume`], ack [`Joined`].
pub const RESUME: &str = "resume";
/// Client verb: page backwards through a room. Payload [`History`], ack [`HistoryPage`].
pub const HISTORY: &str = "history";
/// Client verb and server event: somebody is typing. Payload [`Typing`]; not acked with anything but `{"ok":{}}`.
pub const TYPING: &str = "typing";
/// Client verb: who is here (on any node). Payload [`Join`], ack [`Members`]. Server event: [`PresenceChange`].
pub const PRESENCE: &str = "presence";
/// Server event: a message of a room the socket is in. Payload [`Message`].
pub const MESSAGE: &str = "message";
/// Server event: why the server is about to disconnect this socket. Payload [`Refusal`].
pub const ERROR: &str = "error";

/// The `auth` object of the Socket.IO connect packet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Auth {
    /// Who the client is, signed ([`crate::token`]).
    Token {
        /// The token.
        token: String,
    },
    /// Who the client says it is. Only a node in development mode believes that.
    Name {
        /// The user.
        user: String,
    },
}

/// The ack of every verb.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reply<T> {
    /// Done.
    Ok(T),
    /// Not done; nothing happened unless [`Code::Unavailable`] says otherwise.
    Error(Refusal),
}

/// Why a verb was not carried out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// For programs.
    pub code: Code,
    /// For people.
    pub message: String,
}

/// Reasons of a [`Refusal`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Code {
    /// The payload is not what the verb takes, or breaks a limit. Sending it again will not help.
    Invalid,
    /// The socket is not a member of the room: join it, and send again with the same id. A `send` that comes early in a
    /// session, as those do that a client kept while it was offline, has waited for that already
    /// ([`crate::limits::EARLY_SENDS_WAIT_MS`]). Nothing was written.
    NotMember,
    /// This sender used the id in this room already, for a message with another body, which stands. Sending it again will
    /// not help; a new id will. Nothing was written, unless both were sent at once: then the second may be in the log, and
    /// is passed over by everybody who reads it.
    Conflict,
    /// The node is at a named limit (too many sends in flight). Nothing was written; try again later.
    Busy,
    /// This client sends more messages or bytes a second than the node takes from one. Nothing was written; slow down, and
    /// try again later.
    RateLimited,
    /// Kafka (in the topology `relay`: Redis) did not confirm in time: the message **may** be in the log. Try again with
    /// the same id.
    Unavailable,
    /// The node is draining before it stops. Nothing was written; reconnect.
    Draining,
    /// This client read too slowly for too long and is being disconnected; resume from the last position seen.
    TooSlow,
    /// The position asked for is no longer (or not yet) in the log.
    OutOfRange,
}

/// Payload of [`JOIN`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Join {
    /// Room to enter.
    pub room: String,
}

/// Ack of [`JOIN`] and [`RESUME`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Joined {
    /// The room.
    pub room: String,
    /// Every message of the room at or after this position will be delivered to this socket, exactly once and in order.
    /// Give it to [`RESUME`] if nothing has been received since. Absent in the topology `relay`, which has none to give.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub position: Option<Position>,
}

/// Payload of [`LEAVE`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Leave {
    /// Room to leave.
    pub room: String,
}

/// Ack of [`LEAVE`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Left {
    /// The room.
    pub room: String,
}

/// Payload of [`SEND`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Send {
    /// Room; the socket must be a member.
    pub room: String,
    /// The sender's own id: the same one sent twice by one user to one room is one message.
    pub id: String,
    /// The text.
    pub body: String,
}

/// Ack of [`SEND`]: the message is in the log; in the topology `relay`, Redis has taken it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sent {
    /// The client's id.
    pub id: String,
    /// Where it stands in the log. Absent in the topology `relay`: nobody knows yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub position: Option<Position>,
}

/// Payload of [`RESUME`]: "I have seen everything of this room **before** this position."
///
/// After a received message at offset `n`, that is offset `n + 1`. What was missed arrives as ordinary [`MESSAGE`]
/// events with `replayed: true`, followed by live ones, with no hole and no repetition. In the topology `relay` the
/// position is ignored: this is a [`JOIN`], and what was missed is gone, but for [`HISTORY`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resume {
    /// Room to come back to.
    pub room: String,
    /// First position not yet seen.
    pub position: Position,
}

/// Server event [`MESSAGE`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// Where it stands in the log. Absent for live messages of the topology `relay`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub position: Option<Position>,
    /// The message itself.
    pub record: ChatRecord,
    /// True when it was delivered by catch-up (from Kafka), false when live.
    #[serde(default)]
    pub replayed: bool,
}

/// Payload of [`HISTORY`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct History {
    /// Room.
    pub room: String,
    /// Messages strictly before this offset; absent for the newest page.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<i64>,
    /// How many, at most [`crate::limits::HISTORY_PAGE_MAX`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<usize>,
}

/// Ack of [`HISTORY`]: oldest first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HistoryPage {
    /// The messages.
    pub messages: Vec<Message>,
    /// Give this as `before` for the page before; absent at the beginning of the room.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<i64>,
}

/// Payload of [`TYPING`], both ways; the server fills in the user.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Typing {
    /// Room.
    pub room: String,
    /// Who types; ignored from clients.
    #[serde(default)]
    pub user: String,
}

/// Ack of [`PRESENCE`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Members {
    /// The room.
    pub room: String,
    /// Users that this node knows to be in it, sorted.
    pub users: Vec<String>,
}

/// Server event [`PRESENCE`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PresenceChange {
    /// Room.
    pub room: String,
    /// User.
    pub user: String,
    /// True for joined.
    pub online: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replies_have_the_documented_shape() {
        let ok = Reply::Ok(Sent { id: "m".into(), position: Some(Position { partition: 1, offset: 2 }) });
        assert_eq!(
            serde_json::to_string(&ok).unwrap(),
            r#"{"ok":{"id":"m","position":{"partition":1,"offset":2}}}"#
        );
        let taken = Reply::Ok(Sent { id: "m".into(), position: None });
        assert_eq!(serde_json::to_string(&taken).unwrap(), r#"{"ok":{"id":"m"}}"#);
        assert_eq!(serde_json::from_str::<Reply<Sent>>(r#"{"ok":{"id":"m"}}"#).unwrap(), taken);
        let error: Reply<Sent> =
            Reply::Error(Refusal { code: Code::NotMember, message: "join first".into() });
        assert_eq!(
            serde_json::to_string(&error).unwrap(),
            r#"{"error":{"code":"not_member","message":"join first"}}"#
        );
    }
}
