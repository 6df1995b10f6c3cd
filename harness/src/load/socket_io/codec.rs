//! Text frames in and out: Engine.IO 4 around Socket.IO 5, as far as a chat client needs them.
//!
//! The grammar is that of socketioxide's own crates. One shape is read by hand: a `message` event arrives once for each
//! member of a room, so it is recognised by its prefix and handed on as a slice of the frame, without a copy.

use engineioxide_core::{OpenPacket, Packet as EnginePacket, ProtocolVersion, Str};
use serde::{Deserialize, Serialize};
use socketioxide_core::{
    Value,
    packet::{Packet, PacketData},
    parser::{Parse, ParseConfig, ParserState},
};
use socketioxide_parser_common::CommonParser;

/// The answer to a ping.
pub const PONG: &str = "3";
/// Leaves the default namespace: the orderly goodbye.
pub const GOODBYE: &str = "41";

/// How a `message` event without an ack begins (Engine.IO message, Socket.IO event).
const MESSAGE_PREFIX: &str = "42[\"message\",";

/// A text frame, understood.
#[derive(Debug)]
pub enum Incoming<'frame> {
    /// The transport is open; heartbeat terms.
    Open(OpenPacket),
    /// The namespace took us in.
    Connected,
    /// The namespace refused us; its message.
    ConnectError(String),
    /// A `message` event: its one argument, as JSON.
    Message(&'frame str),
    /// Any other event: its name, and the whole JSON array.
    Event {
        /// Name.
        name: String,
        /// `["name", argument, …]`.
        json: Str,
    },
    /// The answer to an event of ours.
    Ack {
        /// The id we gave.
        id: i64,
        /// `[answer]`.
        json: Str,
    },
    /// The server asks whether we live; answer [`PONG`].
    Ping,
    /// The server put us out of the namespace, or closes the transport.
    Disconnected,
    /// Means nothing to us and asks for nothing.
    Nothing,
}

/// A frame that is not Socket.IO.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("failed to read a frame ({why}): {start}")]
pub struct CodecError {
    /// What was wrong.
    pub why: String,
    /// The beginning of the frame.
    pub start: String,
}

/// As much of a bad frame as is worth reporting.
const BAD_FRAME_SHOWN_CHARS: usize = 80;

impl CodecError {
    fn new(why: impl std::fmt::Display, frame: &str) -> Self {
        Self { why: why.to_string(), start: frame.chars().take(BAD_FRAME_SHOWN_CHARS).collect() }
    }
}

/// Reads one text frame.
///
/// # Errors
///
/// [`CodecError`] when it is not a packet of ours to read.
pub fn read(frame: &str) -> Result<Incoming<'_>, CodecError> {
    if let Some(argument) = frame.strip_prefix(MESSAGE_PREFIX).and_then(|rest| rest.strip_suffix(']')) {
        return Ok(Incoming::Message(argument));
    }
    // engineioxide is a server's library: it never reads an open packet.
    if let Some(terms) = frame.strip_prefix('0') {
        return serde_json::from_str(terms)
            .map(Incoming::Open)
            .map_err(|error| CodecError::new(error, frame));
    }
    match EnginePacket::parse(ProtocolVersion::V4, Str::copy_from_slice(frame)) {
        Ok(EnginePacket::Message(packet)) => read_socket_packet(packet, frame),
        Ok(EnginePacket::Ping) => Ok(Incoming::Ping),
        Ok(EnginePacket::Close) => Ok(Incoming::Disconnected),
        Ok(_) => Ok(Incoming::Nothing),
        Err(error) => Err(CodecError::new(error, frame)),
    }
}

fn read_socket_packet(packet: Str, frame: &str) -> Result<Incoming<'_>, CodecError> {
    // The common parser does not read CONNECT_ERROR, which only servers send.
    if let Some(json) = packet.strip_prefix('4') {
        #[derive(Deserialize)]
        struct Refused {
            message: String,
        }
        let message = serde_json::from_str::<Refused>(json).map_or_else(|_| json.to_owned(), |it| it.message);
        return Ok(Incoming::ConnectError(message));
    }
    let parsed = CommonParser
        .decode_str(&ParseConfig::default(), &ParserState::default(), packet)
        .map_err(|error| CodecError::new(format!("{error:?}"), frame))?;
    let text = |value: Value| match value {
        Value::Str(text, _) => Ok(text),
        Value::Bytes(_) => Err(CodecError::new("binary payload", frame)),
    };
    Ok(match parsed.inner {
        PacketData::Connect(_) => Incoming::Connected,
        PacketData::Disconnect => Incoming::Disconnected,
        PacketData::EventAck(value, id) => Incoming::Ack { id, json: text(value)? },
        PacketData::Event(value, _) => {
            let name =
                CommonParser.read_event(&value).map_err(|error| CodecError::new(error, frame))?.to_owned();
            Incoming::Event { name, json: text(value)? }
        }
        _ => return Err(CodecError::new("not sent by a chat server", frame)),
    })
}

/// Writes the CONNECT packet for the default namespace.
///
/// # Errors
///
/// [`CodecError`] when `auth` cannot be JSON.
pub fn connect(auth: &impl Serialize) -> Result<String, CodecError> {
    let auth = serde_json::to_string(auth).map_err(|error| CodecError::new(error, "CONNECT"))?;
    Ok(write(Packet::connect("/", Some(Value::Str(auth.into(), None)))))
}

/// Writes an event that asks for an ack.
///
/// # Errors
///
/// [`CodecError`] when the payload cannot be JSON.
pub fn event(name: &str, payload: &impl Serialize, ack: i64) -> Result<String, CodecError> {
    let value =
        CommonParser.encode_value(payload, Some(name)).map_err(|error| CodecError::new(error, name))?;
    let mut packet = Packet::event("/", value);
    packet.inner.set_ack_id(ack);
    Ok(write(packet))
}

fn write(packet: Packet) -> String {
    match CommonParser.encode(packet) {
        Value::Str(text, _) => EnginePacket::Message(text).into(),
        // The common parser writes text only; this arm keeps the compiler content without a panic.
        Value::Bytes(_) => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use chat_protocol::events::{Auth, Join};

    use super::*;

    #[test]
    fn what_is_written_is_what_a_stock_client_writes() {
        assert_eq!(connect(&Auth::Name { user: "ann".into() }).unwrap(), r#"40{"user":"ann"}"#);
        let join = Join { room: "r\"1".into() };
        assert_eq!(event("join", &join, 0).unwrap(), r#"420["join",{"room":"r\"1"}]"#);
        assert_eq!(event("join", &join, 123).unwrap(), r#"42123["join",{"room":"r\"1"}]"#);
    }

    #[test]
    fn the_open_packet_carries_the_heartbeat_terms() {
        let frame = r#"0{"sid":"AAAAAAAAAAAAAAAA","upgrades":[],"pingInterval":300,"pingTimeout":200,"maxPayload":1000}"#;
        let Incoming::Open(terms) = read(frame).unwrap() else { panic!("not an open packet") };
        assert_eq!(terms.ping_interval.as_millis(), 300);
        assert_eq!(terms.ping_timeout.as_millis(), 200);
    }

    #[test]
    fn a_message_event_is_a_slice_of_the_frame() {
        let frame = r#"42["message",{"a":[1,2]}]"#;
        assert!(matches!(read(frame).unwrap(), Incoming::Message(r#"{"a":[1,2]}"#)));
    }

    #[test]
    fn acks_events_and_endings_are_told_apart() {
        assert!(matches!(read("2").unwrap(), Incoming::Ping));
        assert!(matches!(read("1").unwrap(), Incoming::Disconnected));
        assert!(matches!(read("41").unwrap(), Incoming::Disconnected));
        assert!(matches!(read("6").unwrap(), Incoming::Nothing));
        assert!(matches!(read(r#"40{"sid":"x"}"#).unwrap(), Incoming::Connected));
        assert!(matches!(read(r#"44{"message":"no"}"#).unwrap(), Incoming::ConnectError(why) if why == "no"));
        let ack = read(r#"4317[{"ok":{}}]"#).unwrap();
        assert!(
            matches!(ack, Incoming::Ack { id: 17, ref json } if json.as_str() == r#"[{"ok":{}}]"#),
            "{ack:?}"
        );
        let event = read(r#"42["presence",{"user":"a"}]"#).unwrap();
        assert!(matches!(event, Incoming::Event { ref name, .. } if name == "presence"), "{event:?}");
    }

    #[test]
    fn rubbish_is_an_error_and_never_a_panic() {
        for frame in ["", "9", "4", "49", "4\u{e9}", "0{", "43[", "42", "4512-[", "\u{2603}"] {
            assert!(read(frame).is_err(), "{frame:?} was understood");
        }
    }
}
