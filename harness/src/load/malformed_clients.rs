//! Bad clients: they are not users of the plan, and send what no client may: bad frames, and forged proofs of who they are.
//! Each sends one on a connection of its own, notes what the node makes of it, and comes again with the next one, until the
//! fault is over.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use chat_protocol::{
    events::{self, Auth, Code, Join, Joined, Refusal, Reply},
    limits::{BODY_MAX_BYTES, CLIENT_MESSAGE_BYTES},
};
use serde::{Deserialize, de::IgnoredAny};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::{
    Message as WsMessage,
    protocol::frame::{
        Frame as WsFrame,
        coding::{Data, OpCode},
    },
};
use tokio_util::task::AbortOnDropHandle;

use super::{
    World,
    socket_io::{Session, SessionError, codec::Incoming},
};
use crate::{
    history::{EventKind, Reaction},
    plan::{ClientFault, clients::OVERSIZE_BODY},
    wait,
};

/// Pause of one bad client between two frames: six of them send about fifty frames a second.
const EVERY: Duration = Duration::from_millis(100);
/// Longest wait for a session, and for the answer to `join`.
const SESSION_LIMIT: Duration = Duration::from_secs(2);
/// A node that has said nothing by then has ignored the frame. Only for frames that it may ignore.
const ANSWER_LIMIT: Duration = Duration::from_millis(750);
/// A verb must be answered: on a busy machine that may take some seconds.
const VERB_ANSWER_LIMIT: Duration = Duration::from_secs(10);

/// What bad clients send.
#[derive(Debug, Clone)]
enum Bad {
    /// A WebSocket frame, after the handshakes of a well-behaved client.
    Frame(WsMessage),
    /// `send` with a body of so many bytes, in a room the client has joined.
    Body(usize),
    /// Bytes on a bare TCP connection.
    Bytes(&'static [u8]),
    /// Somebody who is not who they say.
    Proof(Auth),
}

type Named = (&'static str, Bad);

fn malformed() -> Vec<Named> {
    let text = |text: &str| Bad::Frame(WsMessage::text(text));
    let invalid_utf8 = WsFrame::message(vec![b'4', b'2', 0xC3, 0x28], OpCode::Data(Data::Text), true);
    vec![
        ("an unknown packet type", text("9hello")),
        ("an empty frame", text("")),
        ("an unknown Socket.IO packet type", text("49")),
        ("an event that is not JSON", text("42[\"send\",{")),
        ("an event without a name", text("42[]")),
        ("an event with a number for a name", text("42[7]")),
        ("a verb without its payload", text("420[\"send\"]")),
        ("a payload of another shape", text("420[\"send\",{\"room\":5}]")),
        ("an ack id beyond all numbers", text("4299999999999999999999999[\"send\",{}]")),
        (
            "a binary event whose attachments never come",
            text("451-[\"send\",{\"_placeholder\":true,\"num\":0}]"),
        ),
        ("binary that nobody announced", Bad::Frame(WsMessage::binary(vec![0_u8, 159, 146, 150]))),
        ("text that is not UTF-8", Bad::Frame(WsMessage::Frame(invalid_utf8))),
        ("bytes that are not HTTP", Bad::Bytes(b"\x16\x03\x01\x02\x00 not http at all\r\n\r\n")),
    ]
}

fn oversize() -> Vec<Named> {
    let frame =
        format!(r#"420["send",{{"room":"r","id":"i","body":"{}"}}]"#, "x".repeat(CLIENT_MESSAGE_BYTES));
    vec![
        (OVERSIZE_BODY, Bad::Body(BODY_MAX_BYTES + 1)),
        ("a text frame above the limit", Bad::Frame(WsMessage::text(frame))),
        (
            "a binary frame above the limit",
            Bad::Frame(WsMessage::binary(vec![7_u8; CLIENT_MESSAGE_BYTES + 1])),
        ),
    ]
}

/// Starts the bad clients of every fault that has some; they stop with their fault, or when dropped.
pub(super) fn start(world: &Arc<World>, zero: Instant) -> Vec<AbortOnDropHandle<()>> {
    let mut tasks = Vec::new();
    for (fault, planned) in (0_u32..).zip(&world.plan.faults) {
        let (clients, frames) = match world.plan.effects(&planned.fault).clients {
            Some(ClientFault::Malformed { clients }) => {
                let forged = world.identity.forged("client-0").into_iter();
                let forged = forged.map(|(name, auth)| (name, Bad::Proof(auth)));
                (clients, Arc::new(malformed().into_iter().chain(forged).collect::<Vec<_>>()))
            }
            Some(ClientFault::Oversize { clients }) => (clients, Arc::new(oversize())),
            Some(
                ClientFault::ReconnectStorm { .. } | ClientFault::Slow { .. } | ClientFault::Crash { .. },
            )
            | None => continue,
        };
        let begins = zero + Duration::from_millis(planned.at_ms);
        let ends = begins + Duration::from_millis(planned.for_ms);
        for number in 0..clients {
            let client =
                BadClient { world: Arc::clone(world), fault, number, frames: Arc::clone(&frames), ends };
            tasks.push(AbortOnDropHandle::new(tokio::spawn(async move {
                wait::pause_until(begins).await;
                client.misbehave().await;
            })));
        }
    }
    tasks
}

struct BadClient {
    world: Arc<World>,
    fault: u32,
    number: u32,
    frames: Arc<Vec<Named>>,
    ends: Instant,
}

impl BadClient {
    async fn misbehave(&self) {
        // Everyone begins elsewhere, so that the first second has seen all frames on all nodes.
        let mut turn = self.number as usize;
        while Instant::now() + ANSWER_LIMIT < self.ends {
            let (name, bad) = &self.frames[turn % self.frames.len()];
            // A whole round of frames on one node, then the next: counts that share a factor would never meet otherwise.
            let node = (self.number as usize + turn / self.frames.len()) % self.world.nodes.len().max(1);
            let treated = self.send(node, bad).await;
            let (fault, frame) = (self.fault, (*name).to_owned());
            self.world.recorder.record(EventKind::BadFrame { fault, frame, treated });
            turn += 1;
            wait::pause(EVERY).await;
        }
    }

    async fn send(&self, node: usize, bad: &Bad) -> Reaction {
        let Some(address) = self.world.nodes.get(node).copied() else { return Reaction::Unreached };
        if let Bad::Bytes(bytes) = bad {
            return match TcpStream::connect(address).await {
                Ok(stream) => bare(stream, bytes).await,
                Err(_) => Reaction::Unreached,
            };
        }
        if let Bad::Proof(auth) = bad {
            return match Session::connect(address, auth, SESSION_LIMIT).await {
                Ok(_) => Reaction::Taken,
                Err(SessionError::Refused(_)) => Reaction::Cut,
                Err(_) => Reaction::Unreached,
            };
        }
        let auth = self.world.identity.prove(format!("client-{}", self.number));
        let Ok(mut session) = Session::connect(address, &auth, SESSION_LIMIT).await else {
            return Reaction::Unreached;
        };
        let sent = match bad {
            Bad::Frame(frame) => session.send_frame(frame.clone()),
            Bad::Body(bytes) => {
                // A room of their own: what bad clients do is no part of any user's ledger.
                let room = format!("{}bad-clients", self.world.plan.load.room_prefix);
                let Ok(join) = session.emit(events::JOIN, &Join { room: room.clone() }) else {
                    return Reaction::Unreached;
                };
                if !matches!(answer::<Joined>(&mut session, join, SESSION_LIMIT).await, Heard::Ok) {
                    return Reaction::Unreached;
                }
                let send = events::Send { room, id: "oversize".into(), body: "x".repeat(*bytes) };
                session.emit(events::SEND, &send).map(|_| ())
            }
            Bad::Bytes(_) | Bad::Proof(_) => Ok(()),
        };
        if sent.is_err() {
            return Reaction::Cut;
        }
        // Every frame that could be answered at all is the first or the second of its session.
        let (ack, limit) = match bad {
            Bad::Body(_) => (1, VERB_ANSWER_LIMIT),
            _ => (0, ANSWER_LIMIT),
        };
        match answer::<IgnoredAny>(&mut session, ack, limit).await {
            Heard::Ok => Reaction::Taken,
            Heard::Refused(code) => Reaction::Refused(code),
            Heard::Nothing => Reaction::Ignored,
            Heard::End => Reaction::Cut,
        }
    }
}

/// What came back.
enum Heard {
    Ok,
    Refused(Code),
    Nothing,
    End,
}

async fn answer<T: for<'a> Deserialize<'a>>(session: &mut Session, ack: i64, limit: Duration) -> Heard {
    let listening = async {
        loop {
            let frame = match session.next().await {
                Ok(frame) => frame,
                Err(SessionError::Codec(_)) => continue,
                Err(_) => return Heard::End,
            };
            match frame.read() {
                Ok(Incoming::Ack { id, json }) if id == ack => {
                    return match serde_json::from_str::<(Reply<T>,)>(&json) {
                        Ok((Reply::Error(Refusal { code, .. }),)) => Heard::Refused(code),
                        _ => Heard::Ok,
                    };
                }
                Ok(Incoming::Disconnected) => return Heard::End,
                _ => {}
            }
        }
    };
    tokio::time::timeout(limit, listening).await.unwrap_or(Heard::Nothing)
}

async fn bare(mut stream: TcpStream, bytes: &[u8]) -> Reaction {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    if stream.write_all(bytes).await.is_err() {
        return Reaction::Cut;
    }
    let mut heard = Vec::new();
    match tokio::time::timeout(ANSWER_LIMIT, stream.read_to_end(&mut heard)).await {
        // Whatever was said, the connection is over.
        Ok(_) => Reaction::Cut,
        Err(_) => Reaction::Ignored,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn oversize_is_above_the_limits_and_malformed_is_not() {
        let bytes = |bad: &Bad| match bad {
            Bad::Frame(frame) => frame.len(),
            Bad::Body(bytes) => *bytes,
            Bad::Bytes(bytes) => bytes.len(),
            Bad::Proof(_) => 0,
        };
        for (name, bad) in malformed() {
            assert!(bytes(&bad) < 200, "{name}");
        }
        for (name, bad) in oversize() {
            let limit = if name == OVERSIZE_BODY { BODY_MAX_BYTES } else { CLIENT_MESSAGE_BYTES };
            assert!(bytes(&bad) > limit, "{name}");
            // The one with a long body must get through the door to be refused inside.
            assert!(name != OVERSIZE_BODY || bytes(&bad) < CLIENT_MESSAGE_BYTES);
        }
    }
}
