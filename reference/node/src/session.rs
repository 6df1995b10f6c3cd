//! One connected client: its identity, its rooms, and its verbs in the order they came.
//!
//! socketioxide spawns a task for each event, so handlers overtake each other, and an event that comes before its
//! handler is registered is lost. Here the handlers are registered by the connect *middleware*, before the client hears
//! that it is connected; they only put the verb into a queue, in the order of arrival; and one task per socket takes
//! them out.

use std::{collections::HashSet, sync::Arc, time::Instant};

use chat_protocol::{bus::BusFrame, events::Auth, limits::USER_MAX_BYTES};
use socketioxide::{
    SocketIo,
    extract::{SocketRef, TryData},
    handler::ConnectHandler,
    socket::DisconnectReason,
};
use tokio::{
    sync::{Semaphore, mpsc},
    time::sleep_until,
};
use tokio_util::sync::CancellationToken;

use crate::{identity, limits, meters, node::Node};

pub(crate) mod answer;
mod early;
pub mod late;
mod rate;
pub(crate) mod send;
mod verb;
mod verbs;

use early::EarlySends;
use rate::Allowance;
use verb::{Asked, Queue, Verb};

/// Why a client was not let in; it reads this as the message of its `connect_error`.
#[derive(Debug, thiserror::Error)]
enum NotLetIn {
    #[error("auth must be an object with a token, or in development mode with a user")]
    NoUser,
    #[error(transparent)]
    Unknown(#[from] identity::Unknown),
    #[error("the user name must be 1 to {USER_MAX_BYTES} bytes, without U+0000")]
    BadUser,
    #[error("this node is draining; connect to another one")]
    Draining,
}

/// What the middleware leaves for the session.
#[derive(Clone)]
struct Admission {
    user: Arc<str>,
    verbs: Arc<std::sync::Mutex<Option<mpsc::Receiver<Box<Asked>>>>>,
    gone: CancellationToken,
}

/// Lets clients in at the namespace `/`.
pub fn serve(io: &SocketIo, node: Arc<Node>) {
    let (admitting, beginning) = (Arc::clone(&node), node);
    let admit = move |socket: SocketRef, auth: TryData<Auth>| {
        let node = Arc::clone(&admitting);
        async move { admit(&node, &socket, auth) }
    };
    let begin = move |socket: SocketRef| {
        let node = Arc::clone(&beginning);
        async move { begin(node, socket).await }
    };
    io.ns("/", begin.with(admit));
}

fn admit(node: &Node, socket: &SocketRef, TryData(auth): TryData<Auth>) -> Result<(), NotLetIn> {
    if node.health.draining() {
        return Err(NotLetIn::Draining);
    }
    let user = identity::user_of(&node.config, auth.map_err(|_| NotLetIn::NoUser)?)?;
    if user.is_empty() || user.len() > USER_MAX_BYTES || user.contains('\0') {
        return Err(NotLetIn::BadUser);
    }
    // Of boxes: a channel has room for 32 from the beginning, and most clients ask for little.
    let (queue, verbs) = mpsc::channel(limits::VERBS_PER_SOCKET);
    let gone = CancellationToken::new();
    let waiting = Arc::new(Semaphore::new(limits::ACKS_WAITING));
    for kind in Verb::KINDS {
        socket.on(kind.event(), Queue::new(kind, queue.clone(), Arc::clone(&waiting)));
    }
    let left = gone.clone();
    socket.on_disconnect(move |reason: DisconnectReason| async move {
        meters::session_ended(reason);
        left.cancel();
    });
    let verbs = Arc::new(std::sync::Mutex::new(Some(verbs)));
    socket.extensions.insert(Admission { user: Arc::from(user), verbs, gone });
    Ok(())
}

async fn begin(node: Arc<Node>, socket: SocketRef) {
    let Some(Admission { user, verbs, gone }) = socket.extensions.get::<Admission>() else { return };
    let verbs = verbs.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take();
    let Some(mut verbs) = verbs else { return };
    node.meters.sockets.increment(1.0);
    node.meters.sessions.increment(1);
    let (early, allowance) = (EarlySends::of_session(), Allowance::new(&node.config, Instant::now()));
    let mut session = Session { node, socket, user, rooms: HashSet::new(), early, allowance };
    // Leaving is the session's own last act, so a verb that was being carried out cannot enter a room after that.
    loop {
        let overdue_at = session.early.overdue_at();
        tokio::select! {
            () = gone.cancelled() => break,
            () = sleep_until(overdue_at.unwrap_or_else(Instant::now).into()), if overdue_at.is_some() => {
                session.give_up_early();
            }
            asked = verbs.recv() => match asked {
                Some(asked) => Box::pin(session.carry_out(*asked)).await,
                None => break,
            },
        }
    }
    session.leave_all();
    session.node.meters.sockets.decrement(1.0);
}

/// A client that was let in.
struct Session {
    node: Arc<Node>,
    socket: SocketRef,
    user: Arc<str>,
    rooms: HashSet<String>,
    /// Sends that wait for their rooms.
    early: EarlySends,
    /// What it may send.
    allowance: Allowance,
}

impl Session {
    fn leave(&mut self, room: &str) {
        if self.rooms.remove(room) {
            self.node.hub.home(room).1.leave(room, self.socket.id);
            if self.node.presence.leave(room, &self.user) {
                self.tell_presence(room, false);
            }
        }
    }

    fn leave_all(&mut self) {
        for room in self.rooms.clone() {
            self.leave(&room);
        }
    }

    fn entered(&mut self, room: &str) {
        if self.rooms.insert(room.to_owned()) && self.node.presence.enter(room, &self.user) {
            self.tell_presence(room, true);
        }
    }

    fn tell_presence(&self, room: &str, online: bool) {
        let (room, user) = (room.to_owned(), self.user.to_string());
        self.node.bus.publish(BusFrame::Presence { room, user, online });
    }
}

/// Tells the other nodes now and then who is here. Never ends.
pub async fn refresh_presence(node: Arc<Node>) {
    let mut pace = tokio::time::interval(limits::PRESENCE_EVERY);
    loop {
        pace.tick().await;
        for (room, user) in node.presence.refresh() {
            node.bus.publish(BusFrame::Presence { room, user, online: true });
        }
    }
}
