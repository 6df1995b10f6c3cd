//! Connections that end themselves when their peer does not read.
//!
//! socketioxide has no way to end a connection whose TCP peer has stopped reading: `disconnect()` is refused while the
//! socket's buffer is full, and the ping time-out waits for the same lock as the stalled write. So the write itself gets
//! a deadline. It counts as `chat_node_stalled_writes_total`; a peer that does not read cannot be told more than the reset
//! of its connection.

use std::{
    collections::{HashMap, hash_map::Entry},
    future::Future,
    io::{self, IoSlice},
    net::{IpAddr, SocketAddr},
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll, Waker},
};

use axum::serve::Listener;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpSocket, TcpStream},
    time::{Instant, Sleep, sleep_until},
};

use crate::{
    limits::{UNSENT_BYTES_PER_SOCKET, WRITE_PATIENCE},
    meters,
};

/// Connections that may wait to be accepted: a node's worth of users who all come back at once.
const BACKLOG: u32 = 4_096;

/// The whole answer to a connection too many.
const TOO_MANY: &[u8] = b"HTTP/1.1 429 Too Many Requests\r\nconnection: close\r\ncontent-length: 36\r\n\r\n\
    too many connections of this address";

/// How many connections each address has.
type Counts = Arc<Mutex<HashMap<IpAddr, usize>>>;

/// Accepts connections with a write deadline and a bounded send buffer.
#[derive(Debug)]
pub struct Deadlined {
    listener: TcpListener,
    /// Zero for no limit.
    per_address: usize,
    counts: Counts,
}

impl Deadlined {
    /// Listens at an address, and takes so many connections of each other one; any number, for zero.
    ///
    /// # Errors
    ///
    /// When the address is not to be had. Must be called inside the runtime.
    pub fn bind(addr: SocketAddr, per_address: usize) -> io::Result<Self> {
        let socket = if addr.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
        socket.set_reuseaddr(true)?;
        // Accepted connections inherit it.
        socket.set_send_buffer_size(UNSENT_BYTES_PER_SOCKET)?;
        socket.bind(addr)?;
        Ok(Self { listener: socket.listen(BACKLOG)?, per_address, counts: Counts::default() })
    }

    /// Where it listens.
    ///
    /// # Errors
    ///
    /// As the system says.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

impl Listener for Deadlined {
    type Io = Connection;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Connection, SocketAddr) {
        loop {
            let (stream, addr) = Listener::accept(&mut self.listener).await;
            let Some(counted) = Counted::take(&self.counts, addr.ip(), self.per_address) else {
                meters::connection_refused("address");
                // As far as a fresh connection takes it at once; whoever has too many is not waited for.
                drop(stream.try_write(TOO_MANY));
                continue;
            };
            // Chat messages are small and should not wait for each other.
            drop(stream.set_nodelay(true));
            return (Connection { stream, stalled: None, given_up: false, reader: None, counted }, addr);
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

/// A TCP stream whose writes fail when they make no progress for [`WRITE_PATIENCE`].
#[derive(Debug)]
pub struct Connection {
    stream: TcpStream,
    /// Runs while a write waits.
    stalled: Option<Pin<Box<Sleep>>>,
    given_up: bool,
    /// Who waits for something to read, and has to be told when the connection is given up.
    reader: Option<Waker>,
    /// Gives its place back when it goes.
    #[expect(dead_code, reason = "held for what its end does")]
    counted: Counted,
}

/// One connection among those of its address.
#[derive(Debug)]
struct Counted {
    counts: Counts,
    address: IpAddr,
}

impl Counted {
    /// `None` if the address has as many as it may.
    fn take(counts: &Counts, address: IpAddr, most: usize) -> Option<Self> {
        let mut known = counts.lock().unwrap_or_else(PoisonError::into_inner);
        let count = known.entry(address).or_default();
        if most > 0 && *count >= most {
            return None;
        }
        *count += 1;
        Some(Self { counts: Arc::clone(counts), address })
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        let mut known = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        if let Entry::Occupied(mut count) = known.entry(self.address) {
            *count.get_mut() -= 1;
            if *count.get() == 0 {
                count.remove();
            }
        }
    }
}

impl Connection {
    fn judge<T>(&mut self, cx: &mut Context<'_>, write: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if self.given_up {
            return Poll::Ready(Err(does_not_read()));
        }
        if write.is_ready() {
            self.stalled = None;
            return write;
        }
        let deadline =
            self.stalled.get_or_insert_with(|| Box::pin(sleep_until(Instant::now() + WRITE_PATIENCE)));
        if deadline.as_mut().poll(cx).is_pending() {
            return Poll::Pending;
        }
        self.given_up = true;
        meters::stalled_write();
        // Closing reset-wise frees what the kernel holds for the peer; an orderly close would offer it for minutes more.
        drop(self.stream.set_zero_linger());
        if let Some(reader) = self.reader.take() {
            reader.wake();
        }
        Poll::Ready(Err(does_not_read()))
    }
}

fn does_not_read() -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, "the peer does not read")
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.given_up {
            return Poll::Ready(Err(does_not_read()));
        }
        let read = Pin::new(&mut self.stream).poll_read(cx, buf);
        if read.is_pending() && !self.reader.as_ref().is_some_and(|reader| reader.will_wake(cx.waker())) {
            self.reader = Some(cx.waker().clone());
        }
        read
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let write = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.judge(cx, write)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let write = Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
        self.judge(cx, write)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // Not judged: a TCP stream has nothing to flush and always says that it is ready, which is no progress.
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
