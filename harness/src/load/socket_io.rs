//! A thin Socket.IO client: one WebSocket, one namespace, events with acks. It does what a stock socket.io-client does and
//! nothing on its own: no reconnecting, no buffering of events while away. Those are decisions of a participant.
//!
//! A session is driven by one task that calls [`Session::next`] in a loop; nothing here spawns. [`Session::emit`] never
//! waits: what the kernel will not take is kept here, up to a limit, and written while `next` waits.

pub mod codec;

use std::{
    net::SocketAddr,
    pin::Pin,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use futures_util::{Sink, Stream};
use serde::Serialize;
use tokio::net::{TcpSocket, TcpStream};
use tokio_tungstenite::{
    WebSocketStream, client_async_with_config,
    tungstenite::{
        Error as WsError, Message as WsMessage, Utf8Bytes,
        protocol::{CloseFrame, WebSocketConfig},
    },
};

use codec::{CodecError, Incoming};

/// Bytes read from a socket at once. One frame of a chat message fits; 5,000 sessions cost 20 MiB.
const READ_BUFFER_BYTES: usize = 4 * 1024;
/// Bytes that may wait for a server that does not read. A stock client buffers without a limit; a generator must not, and
/// sixty-four of the longest messages are far more than a person types before the heartbeat gives up.
const UNSENT_MAX_BYTES: usize = 1024 * 1024;
/// Largest frame taken from a server: many times the longest message with its envelope.
const FRAME_MAX_BYTES: usize = 1024 * 1024;
/// Longest wait for a socket to take the goodbye.
const GOODBYE_LIMIT: Duration = Duration::from_millis(500);

/// Why there is no session, or no longer.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    /// The transport failed.
    #[error("transport: {0}")]
    Transport(#[source] Box<WsError>),
    /// The TCP connection was not made.
    #[error("connect: {0}")]
    Connect(#[source] std::io::Error),
    /// The server closed the transport.
    #[error("closed by the server{reason}")]
    Closed {
        /// From its close frame, if it sent one.
        reason: String,
    },
    /// The server left the namespace.
    #[error("disconnected by the server")]
    Disconnected,
    /// The server did not take us in.
    #[error("refused: {0}")]
    Refused(String),
    /// Nothing came for longer than `pingInterval + pingTimeout`.
    #[error("nothing heard for {0} ms")]
    Silent(u128),
    /// The server reads nothing and too much waits for it.
    #[error("{UNSENT_MAX_BYTES} bytes wait for a server that does not read")]
    Stalled,
    /// The server speaks something else.
    #[error(transparent)]
    Codec(#[from] CodecError),
    /// The handshake took too long.
    #[error("no session within {0} ms")]
    Slow(u128),
}

impl From<WsError> for SessionError {
    fn from(error: WsError) -> Self {
        match error {
            WsError::ConnectionClosed | WsError::AlreadyClosed => Self::Closed { reason: String::new() },
            WsError::WriteBufferFull(_) => Self::Stalled,
            error => Self::Transport(Box::new(error)),
        }
    }
}

/// A text frame and when it was there to be read.
#[derive(Debug)]
pub struct Frame {
    /// Stamped before anything looks into the frame.
    pub at: Instant,
    text: Utf8Bytes,
}

impl Frame {
    /// Understands the frame; borrows from it.
    ///
    /// # Errors
    ///
    /// [`CodecError`].
    pub fn read(&self) -> Result<Incoming<'_>, CodecError> {
        codec::read(self.text.as_str())
    }
}

/// An open Socket.IO session on the default namespace.
#[derive(Debug)]
pub struct Session {
    socket: WebSocketStream<TcpStream>,
    /// `pingInterval + pingTimeout`: longer silence means a dead server.
    silence_limit: Duration,
    heard_at: Instant,
    next_ack: i64,
    /// Something may still have to be flushed.
    unflushed: bool,
}

impl Session {
    /// Connects over WebSocket and enters the default namespace with `auth`.
    ///
    /// # Errors
    ///
    /// [`SessionError`], at the latest after `limit`.
    pub async fn connect(
        address: SocketAddr,
        auth: &impl Serialize,
        limit: Duration,
    ) -> Result<Self, SessionError> {
        Self::connect_with(address, auth, limit, None).await
    }

    /// [`Session::connect`] with a receive buffer of a fixed size (the kernel doubles it), where one is given.
    ///
    /// # Errors
    ///
    /// [`SessionError`], at the latest after `limit`.
    pub async fn connect_with(
        address: SocketAddr,
        auth: &impl Serialize,
        limit: Duration,
        receive_bytes: Option<u32>,
    ) -> Result<Self, SessionError> {
        let shaken = tokio::time::timeout(limit, Self::shake_hands(address, auth, receive_bytes)).await;
        shaken.unwrap_or_else(|_| Err(SessionError::Slow(limit.as_millis())))
    }

    async fn shake_hands(
        address: SocketAddr,
        auth: &impl Serialize,
        receive_bytes: Option<u32>,
    ) -> Result<Self, SessionError> {
        let stream = dial(address, receive_bytes).await.map_err(SessionError::Connect)?;
        // Latency is what is measured: Nagle would be part of it.
        stream.set_nodelay(true).map_err(SessionError::Connect)?;
        let config = WebSocketConfig::default()
            .read_buffer_size(READ_BUFFER_BYTES)
            // Every event is written at once; only what the kernel refuses waits.
            .write_buffer_size(0)
            .max_write_buffer_size(UNSENT_MAX_BYTES)
            .max_message_size(Some(FRAME_MAX_BYTES))
            .max_frame_size(Some(FRAME_MAX_BYTES));
        let url = format!("ws://{address}/socket.io/?EIO=4&transport=websocket");
        let (socket, _) = client_async_with_config(url, stream, Some(config)).await?;
        let heard_at = Instant::now();
        let mut session =
            Self { socket, silence_limit: Duration::MAX, heard_at, next_ack: 0, unflushed: false };

        match session.next().await?.read()? {
            Incoming::Open(terms) => session.silence_limit = terms.ping_interval + terms.ping_timeout,
            other => {
                return Err(CodecError { why: "no open packet".into(), start: format!("{other:?}") }.into());
            }
        }
        session.write(codec::connect(auth)?)?;
        match session.next().await?.read()? {
            Incoming::Connected => Ok(session),
            Incoming::ConnectError(why) => Err(SessionError::Refused(why)),
            other => Err(CodecError { why: "no CONNECT".into(), start: format!("{other:?}") }.into()),
        }
    }

    /// Waits for the next frame that is not a heartbeat; answers those by itself. Cancel safe.
    ///
    /// # Errors
    ///
    /// [`SessionError`]: the session is over.
    pub async fn next(&mut self) -> Result<Frame, SessionError> {
        std::future::poll_fn(|context| self.poll_next(context)).await
    }

    fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Result<Frame, SessionError>> {
        loop {
            if self.unflushed {
                match Pin::new(&mut self.socket).poll_flush(context) {
                    Poll::Ready(Ok(())) => self.unflushed = false,
                    Poll::Ready(Err(error)) => return Poll::Ready(Err(error.into())),
                    Poll::Pending => {}
                }
            }
            let message = match Pin::new(&mut self.socket).poll_next(context) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(None) => return Poll::Ready(Err(SessionError::Closed { reason: String::new() })),
                Poll::Ready(Some(message)) => message?,
            };
            let at = Instant::now();
            self.heard_at = at;
            match message {
                WsMessage::Text(text) if text.as_str() == "2" => self.write(codec::PONG.to_owned())?,
                WsMessage::Text(text) => return Poll::Ready(Ok(Frame { at, text })),
                WsMessage::Close(frame) => return Poll::Ready(Err(closed(frame))),
                // The chat sends no binary; WebSocket's own pings are answered by the library.
                _ => {}
            }
        }
    }

    /// Hands an event to the socket and returns the id its ack will carry. Never waits.
    ///
    /// # Errors
    ///
    /// [`SessionError`]: the session is over.
    pub fn emit(&mut self, event: &str, payload: &impl Serialize) -> Result<i64, SessionError> {
        let ack = self.next_ack;
        self.write(codec::event(event, payload, ack)?)?;
        self.next_ack += 1;
        Ok(ack)
    }

    /// When the server counts as dead, unless something is heard before.
    pub fn silent_at(&self) -> Option<Instant> {
        self.heard_at.checked_add(self.silence_limit)
    }

    /// What to say of a server that was silent for too long.
    pub fn silence(&self) -> SessionError {
        SessionError::Silent(self.heard_at.elapsed().as_millis())
    }

    /// Hands a frame of any kind to the socket, as it is. Never waits.
    ///
    /// # Errors
    ///
    /// [`SessionError`]: the session is over.
    pub fn send_frame(&mut self, frame: WsMessage) -> Result<(), SessionError> {
        self.unflushed = true;
        Pin::new(&mut self.socket).start_send(frame).map_err(SessionError::from)
    }

    /// Somebody who did not read for a while reads again: silence is counted from now.
    pub fn listen_again(&mut self) {
        self.heard_at = Instant::now();
    }

    /// Is gone without a goodbye: no close frame, no DISCONNECT; by RST, or by the FIN of a closed socket.
    pub fn vanish(self, reset: bool) {
        if reset && let Err(error) = self.socket.get_ref().set_zero_linger() {
            tracing::debug!(%error, "a reset became an orderly close");
        }
        drop(self);
    }

    /// Leaves in order: out of the namespace, then a close frame. Does not wait for the server's agreement.
    pub async fn goodbye(mut self) {
        let said = async {
            self.write(codec::GOODBYE.to_owned())?;
            self.socket.close(None).await.map_err(SessionError::from)
        };
        // The session is over whether or not the server heard it.
        let _ = tokio::time::timeout(GOODBYE_LIMIT, said).await;
    }

    fn write(&mut self, text: String) -> Result<(), SessionError> {
        self.send_frame(WsMessage::text(text))
    }
}

async fn dial(address: SocketAddr, receive_bytes: Option<u32>) -> std::io::Result<TcpStream> {
    let Some(bytes) = receive_bytes else { return TcpStream::connect(address).await };
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    // Before connecting: the size decides what window is offered.
    socket.set_recv_buffer_size(bytes)?;
    socket.connect(address).await
}

fn closed(frame: Option<CloseFrame>) -> SessionError {
    let reason =
        frame.map(|frame| format!(": {} {}", u16::from(frame.code), frame.reason)).unwrap_or_default();
    SessionError::Closed { reason }
}

#[cfg(test)]
mod tests;
