//! The way from one user to a node, in its three states.

use std::{
    future::Future,
    net::SocketAddr,
    pin::Pin,
    time::{Duration, Instant},
};

use chat_protocol::events::Auth;

use crate::load::socket_io::{Frame, Session, SessionError};

/// Longest wait for a session: TCP, WebSocket and namespace together. A black-holed node must not hold a user for long.
const CONNECT_LIMIT: Duration = Duration::from_secs(5);

type Attempt = Pin<Box<dyn Future<Output = Result<Box<Session>, SessionError>> + Send>>;

/// The way to a node.
pub(super) enum Link {
    /// There is none; try at this instant.
    Offline {
        retry_at: Instant,
    },
    Connecting(Attempt),
    /// Boxed: two states out of three have no session, and most users of a large run idle.
    Online(Box<Session>),
}

/// What came over a link.
pub(super) enum News {
    Connected(Result<Box<Session>, SessionError>),
    Frame(Result<Frame, SessionError>),
}

impl Link {
    /// Begins to connect, with a receive buffer of that size, or of the system's choice.
    pub(super) fn connect(address: SocketAddr, auth: Auth, receive_bytes: Option<u32>) -> Self {
        Self::Connecting(Box::pin(async move {
            Session::connect_with(address, &auth, CONNECT_LIMIT, receive_bytes).await.map(Box::new)
        }))
    }

    /// Waits for what comes from the node. Cancel safe: an attempt to connect goes on where it was.
    pub(super) async fn next(&mut self) -> News {
        match self {
            Self::Offline { .. } => std::future::pending().await,
            Self::Connecting(attempt) => News::Connected(attempt.await),
            Self::Online(session) => News::Frame(session.next().await),
        }
    }

    pub(super) fn is_online(&self) -> bool {
        matches!(self, Self::Online(_))
    }
}
