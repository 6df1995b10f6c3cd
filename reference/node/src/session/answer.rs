//! The ack of a verb.

use std::{sync::Arc, time::Instant};

use chat_protocol::events::{Code, Refusal, Reply};
use serde::Serialize;
use socketioxide::{
    SendError, SocketError,
    adapter::LocalAdapter,
    extract::AckSender,
    handler::{FromMessageParts, Value},
    socket::Socket,
};

use tokio::sync::Semaphore;

use crate::{limits, meters};

/// Where the ack of one verb goes. It is given exactly once.
pub(crate) struct Answer {
    socket: Arc<Socket>,
    ack: Option<i64>,
    /// Places for acks of this socket that wait for room in its buffer.
    waiting: Arc<Semaphore>,
}

impl std::fmt::Debug for Answer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Answer").field("socket", &self.socket.id).field("ack", &self.ack).finish()
    }
}

impl Answer {
    pub(crate) fn new(socket: Arc<Socket>, ack: Option<i64>, waiting: Arc<Semaphore>) -> Self {
        Self { socket, ack, waiting }
    }

    /// Done.
    pub(crate) fn ok<T: Serialize + std::marker::Send + Sync + 'static>(self, value: T) {
        self.ok_then(value, || ());
    }

    /// Done; `then` once the client has been told, or has not read for too long to be told. Not for one that is shown out.
    pub(crate) fn ok_then<T: Serialize + std::marker::Send + Sync + 'static>(
        self,
        value: T,
        then: impl FnOnce() + std::marker::Send + 'static,
    ) {
        self.give(Reply::Ok(value), then);
    }

    /// Not done.
    pub(crate) fn refuse(self, code: Code, message: &str) {
        meters::verb_refused(code);
        self.give(Reply::<()>::Error(Refusal { code, message: message.to_owned() }), || ());
    }

    fn give<T: Serialize + std::marker::Send + Sync + 'static>(
        self,
        reply: Reply<T>,
        then: impl FnOnce() + std::marker::Send + 'static,
    ) {
        if self.try_give(&reply) {
            return then();
        }
        // The socket's buffer is full of messages. An ack is not lost for that; it waits as long as a slow client may. One
        // that goes on asking and does not read what it is told has had its acks, and is shown out.
        let Ok(place) = Arc::clone(&self.waiting).try_acquire_owned() else {
            meters::too_many_acks();
            // Refused while the buffer is full; then the write deadline of the connection ends it.
            let _ = Arc::clone(&self.socket).disconnect();
            return;
        };
        tokio::spawn(async move {
            let _place = place;
            let since = Instant::now();
            let mut pace = tokio::time::interval(limits::FULL_SOCKET_RETRY);
            while since.elapsed() < limits::SLOW_CLIENT_PATIENCE {
                pace.tick().await;
                if self.try_give(&reply) {
                    break;
                }
            }
            then();
        });
    }

    /// False if the buffer is full.
    fn try_give<T: Serialize>(&self, reply: &Reply<T>) -> bool {
        // socketioxide's sender can be used once; the extractor makes another.
        let mut nothing = Value::Bytes(bytes::Bytes::new());
        let Ok(sender) = AckSender::<LocalAdapter>::from_message_parts(&self.socket, &mut nothing, &self.ack);
        !matches!(sender.send(reply), Err(SendError::Socket(SocketError::InternalChannelFull)))
    }
}
