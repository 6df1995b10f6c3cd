//! One user of the chat: has a session with a node, is in its rooms, sends when the schedule says so, and records all it
//! sees. It loses sessions and comes back to the next node, resuming each room where it was, until it is told to stop.
//!
//! Open loop: a message is sent when it is due whether or not earlier ones were answered. A message that falls due while
//! its user is not in the room (no session, or the room is not entered again yet) is not sent at all, as no answer to it
//! could be judged.
//!
//! One task does everything for a user, one event at a time ([`Participant::step`]); nothing in it waits for the network
//! but that one place.

mod alarm;
mod answers;
mod backoff;
mod in_flight;
mod link;
mod planned;
mod receipts;
mod rooms;

use std::{
    collections::VecDeque,
    net::SocketAddr,
    sync::{Arc, atomic::Ordering::Relaxed},
    time::{Duration, Instant},
};

use chat_protocol::{
    borrowed::Send,
    events::{self, Join, Leave, Resume},
};
use tokio::sync::{mpsc, watch};

use self::{
    alarm::Alarm,
    backoff::Backoff,
    in_flight::{Asked, InFlight},
    link::{Link, News},
    rooms::Rooms,
};
use super::{
    Stage, World,
    client_faults::Script,
    socket_io::{Frame, Session, SessionError, codec::Incoming},
};
use crate::history::{EventKind, Reason};

/// Longest wait for the answer to `join` or `resume`. A resume may read a long way back from Kafka, so it gets more time
/// than a message; a user who waits longer reloads the page.
const ROOM_ANSWER_LIMIT: Duration = Duration::from_secs(15);
/// Longest wait for the answers to `leave` at the end.
const LEAVE_LIMIT: Duration = Duration::from_secs(3);

/// How a message ended, for counting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Fate {
    /// From the due time to the end.
    pub(super) took: Duration,
    pub(super) outcome: Outcome,
}

/// What became of a message that was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    Acked,
    Refused,
    Indeterminate,
}

/// What a participant wakes up for.
enum Event {
    Due(u32),
    News(News),
    Alarm,
    Stage,
}

/// One user.
pub(super) struct Participant {
    user: u32,
    world: Arc<World>,
    due: mpsc::Receiver<u32>,
    stage: watch::Receiver<Stage>,
    /// The node of the session, or of the next one.
    node: usize,
    link: Link,
    rooms: Rooms,
    in_flight: InFlight,
    backoff: Backoff,
    alarm: Alarm,
    /// Fates that [`Self::next_fate`] has not handed out yet.
    fates: VecDeque<Fate>,
    /// Why the server said it is about to disconnect us.
    announced: Option<String>,
    /// Counted in `LiveStats::joined`.
    joined: bool,
    /// What the plan's faults have this user do.
    script: Script,
    /// Nothing is read until then, on purpose. A session that ends meanwhile is not replaced before.
    deaf_until: Option<Instant>,
}

impl Participant {
    pub(super) fn new(
        user: u32,
        world: Arc<World>,
        due: mpsc::Receiver<u32>,
        stage: watch::Receiver<Stage>,
    ) -> Self {
        let now = Instant::now();
        Self {
            user,
            due,
            stage,
            node: usize::from(world.plan.home_node(user)) % world.nodes.len().max(1),
            link: Link::Offline { retry_at: now },
            rooms: Rooms::of(&world.plan, user, now),
            in_flight: InFlight::default(),
            backoff: Backoff::new(world.plan.seed, user),
            alarm: Alarm::new(),
            fates: VecDeque::new(),
            announced: None,
            joined: false,
            script: Script::of(&world.strokes, user),
            deaf_until: None,
            world,
        }
    }

    /// Connects and enters every room; returns when that is done, or when the load ends first.
    pub(super) async fn gather(&mut self) {
        self.alarm.no_later_than(Instant::now());
        while !self.is_over() && !self.rooms.all_in() {
            self.step().await;
        }
    }

    /// Lives on until a message of this user's meets its fate; `None` when the load ends.
    pub(super) async fn next_fate(&mut self) -> Option<Fate> {
        loop {
            if let Some(fate) = self.fates.pop_front() {
                return Some(fate);
            }
            if self.is_over() {
                return None;
            }
            self.step().await;
        }
    }

    /// Leaves every room and the node, in order. After a cancelled run: just goes.
    pub(super) async fn leave(&mut self) {
        // What the pacer still told, and nobody will send.
        while let Ok(message) = self.due.try_recv() {
            self.not_sent(Instant::now(), message);
        }
        if *self.stage.borrow() == Stage::Finishing {
            self.leave_rooms().await;
        }
        if let Link::Online(session) = self.go_offline("the run ended", Reason::RunEnded) {
            session.goodbye().await;
        }
    }

    async fn leave_rooms(&mut self) {
        let deadline = Instant::now() + LEAVE_LIMIT;
        for slot in self.rooms.slots() {
            let (Link::Online(session), Some(room)) = (&mut self.link, self.rooms.slot(slot)) else { return };
            if room.is_in() {
                let Ok(ack) = session.emit(events::LEAVE, &Leave { room: room.name.clone() }) else { return };
                room.left();
                self.in_flight.ask(ack, Asked::Leave { slot }, deadline);
            }
        }
        self.alarm.no_later_than(deadline);
        while self.in_flight.awaits_rooms()
            && matches!(self.link, Link::Online(_))
            && Instant::now() < deadline
        {
            self.step().await;
        }
    }

    /// Waits for one thing and deals with it.
    async fn step(&mut self) {
        let event = tokio::select! {
            // The schedule first: receipts can wait a microsecond, a due message must not wait for all of them. Neither
            // starves the other: both give way after tokio's budget of operations.
            biased;
            Some(message) = self.due.recv() => Event::Due(message),
            news = self.link.next(), if self.deaf_until.is_none() => Event::News(news),
            () = self.alarm.ring() => Event::Alarm,
            _ = self.stage.changed() => Event::Stage,
        };
        match event {
            Event::Due(message) => self.send(message),
            Event::News(News::Connected(Ok(session))) => self.on_connected(session),
            Event::News(News::Connected(Err(error))) => {
                self.world.stats.trouble(&format!("node-{}: {error}", self.node + 1));
                self.try_next_node();
            }
            Event::News(News::Frame(Ok(frame))) => self.on_frame(&frame),
            Event::News(News::Frame(Err(error))) => self.on_session_end(&error),
            Event::Alarm => {
                self.on_alarm();
                let next = self.next_deadline();
                self.alarm.set_after_ring(next);
                return;
            }
            // Also how a user hears that the schedule has begun.
            Event::Stage => {}
        }
        if let Some(at) = self.next_deadline() {
            self.alarm.no_later_than(at);
        }
    }

    fn is_over(&self) -> bool {
        // A sender that is gone means that nobody wants the load any more.
        matches!(*self.stage.borrow(), Stage::Finishing | Stage::Cancelled)
            || self.stage.has_changed().is_err()
    }

    fn next_deadline(&mut self) -> Option<Instant> {
        let planned = self.next_planned();
        let own = match &self.link {
            Link::Offline { retry_at } => Some(*retry_at),
            Link::Connecting(_) => None,
            Link::Online(session) => {
                // Who does not read hears nothing, and that is no fault of the server's.
                let silent_at = session.silent_at().filter(|_| self.deaf_until.is_none());
                let waits = [silent_at, self.rooms.next_due(), self.in_flight.next_deadline()];
                waits.into_iter().flatten().min()
            }
        };
        own.into_iter().chain(planned).min()
    }

    fn on_alarm(&mut self) {
        let now = Instant::now();
        self.act_on_purpose(now);
        let deaf = self.deaf_until.is_some();
        match &self.link {
            Link::Offline { retry_at } if *retry_at <= now => self.connect(),
            Link::Offline { .. } | Link::Connecting(_) => {}
            Link::Online(session) if !deaf && session.silent_at().is_some_and(|at| at <= now) => {
                let silence = session.silence();
                self.on_session_end(&silence);
            }
            Link::Online(_) => {
                let kept = self.give_up_overdue(now).and_then(|()| self.ask_for_rooms(now));
                if let Err(error) = kept {
                    self.on_session_end(&error);
                }
            }
        }
    }

    fn connect(&mut self) {
        let Some(address) = self.world.nodes.get(self.node).copied() else { return };
        let auth = self.world.identity.prove(self.world.plan.user_name(self.user));
        self.link = Link::connect(address, auth, self.script.receive_bytes());
    }

    fn on_connected(&mut self, session: Box<Session>) {
        self.world.recorder.record(EventKind::Connected { user: self.user, node: self.node_number() });
        self.world.stats.connected.fetch_add(1, Relaxed);
        self.link = Link::Online(session);
        let now = Instant::now();
        self.rooms.start_over(now);
        if let Err(error) = self.ask_for_rooms(now) {
            self.on_session_end(&error);
        }
    }

    /// Asks for every room whose time has come: to enter, or to resume where it was left off.
    fn ask_for_rooms(&mut self, now: Instant) -> Result<(), SessionError> {
        while let Some(slot) = self.rooms.due(now) {
            let (Link::Online(session), Some(room)) = (&mut self.link, self.rooms.slot(slot)) else {
                return Ok(());
            };
            let ack = match room.next {
                Some(position) => session.emit(events::RESUME, &Resume { room: room.name.clone(), position }),
                None => session.emit(events::JOIN, &Join { room: room.name.clone() }),
            }?;
            room.asked();
            let resumed = room.next.is_some();
            self.in_flight.ask(ack, Asked::Enter { slot, resumed }, now + ROOM_ANSWER_LIMIT);
        }
        Ok(())
    }

    /// Sends a message that is due.
    fn send(&mut self, message: u32) {
        let at = Instant::now();
        let world = Arc::clone(&self.world);
        let arrival = world.arrivals.list.get(message as usize);
        let room = arrival.and_then(|arrival| self.rooms.by_index(arrival.room)).filter(|room| room.is_in());
        let (Link::Online(session), Some(room)) = (&mut self.link, room) else {
            return self.not_sent(at, message);
        };
        let id = world.arrivals.id(message);
        let body = world.bodies.get(&world.arrivals, message);
        let emitted =
            session.emit(events::SEND, &Send { room: room.name.as_str().into(), id: id.into(), body });
        if matches!(emitted, Err(SessionError::Stalled)) {
            self.not_sent(at, message);
        } else {
            world.recorder.record_at(at, EventKind::Sent { message });
            world.stats.count_sent(self.since_due(at, message));
        }
        match emitted {
            Ok(ack) => {
                let deadline = at + Duration::from_millis(world.plan.load.ack_timeout_ms);
                self.in_flight.ask(ack, Asked::Send { message, given_up: false }, deadline);
            }
            Err(error) => {
                // A transport that failed may have carried the message first.
                if !matches!(error, SessionError::Stalled) {
                    self.open_fate(at, message, Reason::Disconnected);
                }
                self.on_session_end(&error);
            }
        }
    }

    fn not_sent(&mut self, at: Instant, message: u32) {
        self.world.recorder.record_at(at, EventKind::NotSent { message });
        self.world.stats.not_sent.fetch_add(1, Relaxed);
    }

    fn on_frame(&mut self, frame: &Frame) {
        let at = frame.at;
        match frame.read() {
            Ok(Incoming::Message(json)) => self.on_message(at, json),
            Ok(Incoming::Ack { id, json }) => self.on_ack(at, id, &json),
            Ok(Incoming::Event { name, json }) => self.on_event(&name, &json),
            Ok(Incoming::Disconnected) => self.on_session_end(&SessionError::Disconnected),
            Ok(Incoming::Ping | Incoming::Nothing) => {}
            Ok(Incoming::Open(_) | Incoming::Connected | Incoming::ConnectError(_)) => {
                self.unexplained(at, "a handshake in the middle of a session".to_owned());
            }
            Err(error) => self.unexplained(at, error.to_string()),
        }
    }

    fn on_session_end(&mut self, error: &SessionError) {
        let why = match self.announced.take() {
            Some(reason) => format!("{error} ({reason})"),
            None => error.to_string(),
        };
        self.world.stats.disconnects.fetch_add(1, Relaxed);
        self.world.stats.trouble(&format!("node-{}: {why}", self.node + 1));
        self.go_offline(&why, Reason::Disconnected);
        self.try_next_node();
    }

    fn try_next_node(&mut self) {
        self.node = (self.node + 1) % self.world.nodes.len().max(1);
        let soon = Instant::now() + self.backoff.next();
        // A user who was cut off for not reading is still on a bad line, and comes back when that is over.
        let retry_at = self.deaf_until.take().map_or(soon, |until| until.max(soon));
        self.link = Link::Offline { retry_at };
    }

    /// Ends the session, if there is one, and closes the books on it. Returns what there was.
    fn go_offline(&mut self, why: &str, open: Reason) -> Link {
        let offline = Link::Offline { retry_at: Instant::now() };
        let link = std::mem::replace(&mut self.link, offline);
        if link.is_online() {
            let disconnected =
                EventKind::Disconnected { user: self.user, node: self.node_number(), why: why.to_owned() };
            self.world.recorder.record(disconnected);
            self.world.stats.connected.fetch_sub(1, Relaxed);
            self.set_joined(false);
            let now = Instant::now();
            for message in self.in_flight.end() {
                self.open_fate(now, message, open);
            }
            self.rooms.start_over(now);
        }
        link
    }

    fn set_joined(&mut self, joined: bool) {
        if self.joined != joined {
            self.joined = joined;
            let counter = &self.world.stats.joined;
            if joined {
                counter.fetch_add(1, Relaxed)
            } else {
                counter.fetch_sub(1, Relaxed)
            };
        }
    }

    fn node_number(&self) -> u16 {
        u16::try_from(self.node).unwrap_or(u16::MAX)
    }
}

impl std::fmt::Debug for Participant {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Participant")
            .field("user", &self.user)
            .field("node", &self.node)
            .finish_non_exhaustive()
    }
}

/// The addresses users may connect to, by node.
pub(super) type Nodes = Vec<SocketAddr>;
