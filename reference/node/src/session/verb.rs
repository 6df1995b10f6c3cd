//! The verbs a client may use, and the queue they wait in.

use std::{sync::Arc, time::Instant};

use chat_protocol::events::{self, Code, History, Join, Leave, Resume, Send, Typing};
use serde::de::DeserializeOwned;
use socketioxide::{
    adapter::LocalAdapter,
    extract::TryData,
    handler::{FromMessageParts, MessageHandler, Value},
    socket::Socket,
};
use tokio::sync::{Semaphore, mpsc};

use super::answer::Answer;

/// A verb and what it takes.
#[derive(Debug)]
pub(super) enum Verb {
    Join(Join),
    Leave(Leave),
    Send(Send),
    Resume(Resume),
    History(History),
    Typing(Typing),
    Presence(Join),
}

/// A verb without what it takes.
#[derive(Debug, Clone, Copy)]
pub(super) enum Kind {
    Join,
    Leave,
    Send,
    Resume,
    History,
    Typing,
    Presence,
}

impl Verb {
    pub(super) const KINDS: [Kind; 7] =
        [Kind::Join, Kind::Leave, Kind::Send, Kind::Resume, Kind::History, Kind::Typing, Kind::Presence];
}

impl Kind {
    /// Its Socket.IO event.
    pub(super) fn event(self) -> &'static str {
        match self {
            Self::Join => events::JOIN,
            Self::Leave => events::LEAVE,
            Self::Send => events::SEND,
            Self::Resume => events::RESUME,
            Self::History => events::HISTORY,
            Self::Typing => events::TYPING,
            Self::Presence => events::PRESENCE,
        }
    }

    fn read(self, socket: &Arc<Socket>, value: &mut Value) -> Result<Verb, String> {
        match self {
            Self::Join => payload(socket, value).map(Verb::Join),
            Self::Leave => payload(socket, value).map(Verb::Leave),
            Self::Send => payload(socket, value).map(Verb::Send),
            Self::Resume => payload(socket, value).map(Verb::Resume),
            Self::History => payload(socket, value).map(Verb::History),
            Self::Typing => payload(socket, value).map(Verb::Typing),
            Self::Presence => payload(socket, value).map(Verb::Presence),
        }
    }
}

fn payload<T: DeserializeOwned>(socket: &Arc<Socket>, value: &mut Value) -> Result<T, String> {
    let Ok(TryData(read)) = TryData::<T>::from_message_parts(socket, value, &None);
    read.map_err(|error| error.to_string())
}

/// A verb that was asked for.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) verb: Verb,
    pub(super) answer: Answer,
    pub(super) at: Instant,
}

/// Puts verbs of one kind into the queue of their socket.
pub(super) struct Queue {
    kind: Kind,
    asked: mpsc::Sender<Box<Asked>>,
    waiting: Arc<Semaphore>,
}

impl Queue {
    /// `waiting` is one for all kinds of a socket.
    pub(super) fn new(kind: Kind, asked: mpsc::Sender<Box<Asked>>, waiting: Arc<Semaphore>) -> Self {
        Self { kind, asked, waiting }
    }
}

/// Marks our implementation of [`MessageHandler`] among those socketioxide has for functions.
pub(super) struct InOrder;

impl MessageHandler<LocalAdapter, InOrder> for Queue {
    /// Called by the connection itself, one event after the other: this is where the order is still known.
    fn call(&self, socket: Arc<Socket>, mut value: Value, ack: Option<i64>) {
        let read = self.kind.read(&socket, &mut value);
        let answer = Answer::new(socket, ack, Arc::clone(&self.waiting));
        match read {
            Ok(verb) => {
                let asked = Box::new(Asked { verb, answer, at: Instant::now() });
                if let Err(full) = self.asked.try_send(asked) {
                    full.into_inner().answer.refuse(Code::Busy, "too many verbs of this socket are waiting");
                }
            }
            Err(why) => answer.refuse(Code::Invalid, &format!("{}: {why}", self.kind.event())),
        }
    }
}
