//! Brings one member of one room up to date: after `resume`, or after its buffer was full.
//!
//! The member keeps nothing but a position. What it misses is taken from the ring of the partition, or from Kafka when
//! the ring has forgotten it, so a member that is far behind costs no memory, and nobody waits for it.

use std::{collections::HashSet, sync::Arc, time::Instant};

use chat_protocol::{
    Position,
    events::{self, Code, Refusal},
};
use socketioxide::{SendError, SocketError, extract::SocketRef};
use tokio::time::interval;

use crate::{
    hub::Hub,
    kafka::reader::{Piece, ReadError},
    limits::{CATCH_UP_BATCH, FULL_SOCKET_RETRY, LOOK_BACK_RECORDS, RECENT_IDS, SLOW_CLIENT_PATIENCE},
    partition::Missed,
    room::{Behind, Straggler, replayed},
};

/// Why a catch-up ended without reaching the present.
#[derive(Debug)]
enum Stop {
    /// The socket is gone.
    Closed,
    /// The member has left, or has resumed or joined anew: another catch-up, or none, is its business.
    Superseded,
    /// The client did not read for too long.
    TooSlow,
    /// The log no longer has what is missing.
    OutOfRange,
}

/// Catches a member up until it is live, has left, or has to be disconnected.
pub async fn run(hub: Arc<Hub>, straggler: Straggler) {
    let socket = straggler.socket.clone();
    match bring(&hub, straggler).await {
        Ok(()) | Err(Stop::Closed | Stop::Superseded) => {}
        Err(Stop::TooSlow) => {
            hub.meters().too_slow.increment(1);
            part(socket, Code::TooSlow, "this client read too slowly; resume from the last position seen")
                .await;
        }
        Err(Stop::OutOfRange) => {
            part(socket, Code::OutOfRange, "the log no longer has what this client missed").await;
        }
    }
}

/// Topology `relay`: a member whose buffer was full has missed a message, and nothing could bring it. It is told, instead
/// of going on with a hole.
pub async fn dismiss(hub: Arc<Hub>, socket: SocketRef) {
    hub.meters().too_slow.increment(1);
    part(socket, Code::TooSlow, "this client read too slowly; what it missed is in the history").await;
}

async fn bring(hub: &Arc<Hub>, straggler: Straggler) -> Result<(), Stop> {
    let Straggler { socket, room, from, why, ticket, since } = straggler;
    let mut from = from.offset;
    let mut patience = Patience { why, since };
    let mut seen = HashSet::new();
    let mut looked_back = false;
    let mut pace = interval(FULL_SOCKET_RETRY);
    pace.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let (id, partition) = hub.home(&room);
    loop {
        let (entries, next) = match partition.missed(&room, socket.id, ticket, from) {
            Missed::CaughtUp | Missed::Left => return Ok(()),
            Missed::NotYet => {
                pace.tick().await;
                if !socket.connected() {
                    return Err(Stop::Closed);
                }
                continue;
            }
            Missed::Messages(entries, next) => (entries, next),
            Missed::InLog(to) => match hub.reader().read(piece(id, from, to, &room, !looked_back)).await {
                Ok(read) => {
                    looked_back = true;
                    seen.extend(read.before);
                    (read.entries, read.next)
                }
                Err(ReadError::OutOfRange) => return Err(Stop::OutOfRange),
                // Kafka is away: the member waits for it, as it would for a live message.
                Err(_) => {
                    pace.tick().await;
                    if !socket.connected() {
                        return Err(Stop::Closed);
                    }
                    continue;
                }
            },
        };
        for entry in &entries {
            // The ring has no second record of a message, the log may.
            if !seen.insert((entry.1.sender.clone(), entry.1.id.clone())) {
                continue;
            }
            let message = replayed(Position { partition: id, offset: entry.0 }, &entry.1);
            // Under the lock of the partition, so that no verb of this member comes between the question and the message.
            let hand_over =
                || partition.for_member(&room, socket.id, ticket, || socket.emit(events::MESSAGE, &message));
            emit(hand_over, &mut patience, &mut pace).await?;
            hub.meters().receipts.increment(1);
        }
        from = next;
        if seen.len() > RECENT_IDS {
            seen.clear();
        }
    }
}

fn piece(partition: i32, from: i64, to: i64, room: &str, first: bool) -> Piece {
    // Later pieces need not look back: what stands before them was in this catch-up, or was looked at by the first.
    let look_back = if first { LOOK_BACK_RECORDS } else { 0 };
    Piece { partition, from, to, room: Some(room.to_owned()), most: CATCH_UP_BATCH, look_back }
}

/// How long a full socket may stay full.
struct Patience {
    why: Behind,
    /// For a slow member: since it fell behind. For a resuming one: since it last took a message, as a long way to the
    /// present is not its fault.
    since: Instant,
}

/// Hands a message over, as soon as the socket takes it.
async fn emit(
    hand_over: impl Fn() -> Option<Result<(), SendError>>,
    patience: &mut Patience,
    pace: &mut tokio::time::Interval,
) -> Result<(), Stop> {
    loop {
        match hand_over() {
            None => return Err(Stop::Superseded),
            Some(Ok(())) => {
                if patience.why == Behind::Resuming {
                    patience.since = Instant::now();
                }
                return Ok(());
            }
            Some(Err(SendError::Socket(SocketError::InternalChannelFull))) => {
                if patience.since.elapsed() > SLOW_CLIENT_PATIENCE {
                    return Err(Stop::TooSlow);
                }
                pace.tick().await;
            }
            Some(Err(_)) => return Err(Stop::Closed),
        }
    }
}

/// Disconnects a socket and says why, as far as it can still be told. socketioxide refuses both while the buffer is
/// full; a client that takes nothing at all is ended by the write deadline of its connection.
async fn part(socket: SocketRef, code: Code, message: &str) {
    let refusal = Refusal { code, message: message.to_owned() };
    let mut pace = interval(FULL_SOCKET_RETRY);
    let mut told = false;
    while socket.connected() {
        told = told || socket.emit(events::ERROR, &refusal).is_ok();
        if told && socket.clone().disconnect().is_ok() {
            return;
        }
        pace.tick().await;
    }
}
