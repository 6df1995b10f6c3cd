//! Half-closed connections: what the service says has ended, what the process says still passes.
//!
//! No proxy can do it for us (Toxiproxy closes both ways as soon as one side ends), so it is done at the process's own
//! socket: it is borrowed (`pidfd_getfd`, which the parent of a process may do) and its receiving side is shut down. To
//! the process that is the service's FIN; towards the service nothing has happened. A connection counts as struck when it
//! is gone from the system's table, as the process took the hint, or is still in it and a look at it says end of stream.

use std::{collections::BTreeMap, net::SocketAddr};

use async_trait::async_trait;

use super::up;
use crate::{
    faults::{
        Fault, FaultError, Seen, SystemUnderTest,
        repeat::{self, Repeating, repeat},
    },
    os::sockets::{self, Socket},
    plan::LinkName,
};

/// Links whose connections end on the service's side, again and again: a process reconnects at once.
#[derive(Debug)]
pub(in crate::faults) struct HalfClose {
    links: Vec<LinkName>,
    before: Option<Before>,
    striking: Option<Repeating>,
}

/// The connections of links before the fault.
#[derive(Debug)]
struct Before(BTreeMap<LinkName, Vec<Connection>>);

/// One open connection, at its process's end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Connection {
    pid: u32,
    /// Its number in the process.
    fd: i32,
    inode: u64,
    /// The link's proxy.
    to: SocketAddr,
}

impl HalfClose {
    pub(in crate::faults) fn new(links: Vec<LinkName>) -> Self {
        Self { links, before: None, striking: None }
    }
}

#[async_trait(?Send)]
impl Fault for HalfClose {
    async fn begin(&mut self, sut: &SystemUnderTest) -> Result<(), FaultError> {
        let before = observe(sut, &self.links).await?;
        if half_close(before.0.values().flatten())? == 0 {
            return Err(FaultError::Missed("the links have no open connection to half-close".to_owned()));
        }
        self.before = Some(before);
        let (sut, links) = (sut.clone(), self.links.clone());
        self.striking = Some(repeat(move || {
            let (sut, links) = (sut.clone(), links.clone());
            async move {
                let now = observe(&sut, &links).await?;
                half_close(now.0.values().flatten())
            }
        }));
        Ok(())
    }

    async fn prove(&self, _: &SystemUnderTest) -> Seen {
        let before = self.before.as_ref().ok_or("nobody looked at the connections before the fault")?;
        before.prove()
    }

    async fn end(&mut self, _: &SystemUnderTest) -> Result<Option<String>, FaultError> {
        Ok(repeat::end(&mut self.striking).await)
    }

    async fn gone(&self, sut: &SystemUnderTest) -> Seen {
        up(&self.links, sut).await
    }
}

async fn observe(sut: &SystemUnderTest, links: &[LinkName]) -> Result<Before, FaultError> {
    let pids: BTreeMap<_, _> = sut.cluster.pids().await.into_iter().collect();
    let table = sockets::established();
    let mut before = BTreeMap::new();
    for link in links {
        let to = sut.environment.proxies().address(*link)?;
        let open = pids.get(&link.process).map(|pid| connections(*pid, to, &table));
        before.insert(*link, open.unwrap_or_default());
    }
    Ok(Before(before))
}

/// Those that a process has open to an address.
fn connections(pid: u32, to: SocketAddr, table: &[Socket]) -> Vec<Connection> {
    let held = sockets::held_by(pid).into_iter();
    held.filter(|(_, inode)| {
        let mut there = table.iter().filter(|socket| socket.inode == *inode);
        there.any(|socket| SocketAddr::from(socket.remote) == to)
    })
    .map(|(fd, inode)| Connection { pid, fd, inode, to })
    .collect()
}

/// Half-closes connections; returns how many were still open.
fn half_close<'a>(connections: impl Iterator<Item = &'a Connection>) -> Result<u64, FaultError> {
    let mut hits = 0;
    for connection in connections {
        match borrowed::half_close(connection) {
            Ok(true) => hits += 1,
            Ok(false) => {}
            Err(error) => return Err(FaultError::NotBorrowed { pid: connection.pid, error }),
        }
    }
    Ok(hits)
}

impl Before {
    /// Every connection from before is gone or at its end.
    fn prove(&self) -> Result<String, String> {
        let table = sockets::established();
        let mut seen = Vec::new();
        for (link, before) in &self.0 {
            let (mut closed, mut ended) = (0, 0);
            for connection in before {
                if !table.iter().any(|socket| socket.inode == connection.inode) {
                    closed += 1;
                } else if borrowed::at_its_end(connection).map_err(|error| error.to_string())? {
                    ended += 1;
                }
            }
            let count = before.len();
            let text = format!(
                "of {count} connections of {link} {closed} were closed by {} and {ended} are at their end",
                link.process
            );
            if closed + ended < count {
                return Err(text);
            }
            if count > 0 {
                seen.push(text);
            }
        }
        if seen.is_empty() { Err("there was no connection".to_owned()) } else { Ok(seen.join("; ")) }
    }
}

/// Another process's socket, for the length of one call.
#[cfg(target_os = "linux")]
mod borrowed {
    use std::{io, os::fd::OwnedFd};

    use rustix::{
        io::Errno,
        net::{RecvFlags, Shutdown, getpeername, recv, shutdown},
        process::{Pid, PidfdFlags, PidfdGetfdFlags, pidfd_getfd, pidfd_open},
    };

    use super::Connection;

    /// `None` when it is closed by now, and its number perhaps given to another.
    fn borrow(connection: &Connection) -> io::Result<Option<OwnedFd>> {
        let pid = i32::try_from(connection.pid).ok().and_then(Pid::from_raw);
        let pid = pid.ok_or(io::ErrorKind::InvalidInput)?;
        let lent = pidfd_open(pid, PidfdFlags::empty())
            .and_then(|process| pidfd_getfd(process, connection.fd, PidfdGetfdFlags::empty()));
        match lent {
            Ok(socket) => {
                let peer = getpeername(&socket)
                    .ok()
                    .flatten()
                    .and_then(|peer| std::net::SocketAddr::try_from(peer).ok());
                Ok((peer == Some(connection.to)).then_some(socket))
            }
            Err(Errno::BADF | Errno::SRCH) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// False when it was closed already.
    pub(super) fn half_close(connection: &Connection) -> io::Result<bool> {
        let Some(socket) = borrow(connection)? else { return Ok(false) };
        match shutdown(&socket, Shutdown::Read) {
            Ok(()) => Ok(true),
            Err(Errno::NOTCONN) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Whether there is nothing more to be read, nor will be.
    pub(super) fn at_its_end(connection: &Connection) -> io::Result<bool> {
        let Some(socket) = borrow(connection)? else { return Ok(true) };
        let mut byte = [0_u8; 1];
        match recv(&socket, &mut byte, RecvFlags::PEEK | RecvFlags::DONTWAIT) {
            Ok((read, _)) => Ok(read == 0),
            Err(Errno::AGAIN) => Ok(false),
            // Reset, which is an end too.
            Err(_) => Ok(true),
        }
    }
}

#[cfg(not(target_os = "linux"))]
mod borrowed {
    use std::io;

    use super::Connection;

    pub(super) fn half_close(_: &Connection) -> io::Result<bool> {
        Err(io::ErrorKind::Unsupported.into())
    }

    pub(super) fn at_its_end(_: &Connection) -> io::Result<bool> {
        Err(io::ErrorKind::Unsupported.into())
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io::{Read, Write},
        net::{TcpListener, TcpStream},
    };

    use super::*;

    #[test]
    fn one_way_ends_and_the_other_goes_on() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let to = listener.local_addr().unwrap();
        let mut process = TcpStream::connect(to).unwrap();
        let (mut service, _) = listener.accept().unwrap();
        let open = connections(std::process::id(), to, &sockets::established());
        assert_eq!(open.len(), 1, "{open:?}");
        let before = Before(BTreeMap::from([("node-1->redis".parse().unwrap(), open.clone())]));
        assert!(before.prove().is_err(), "nothing was done yet");

        assert_eq!(half_close(open.iter()).unwrap(), 1);
        assert_eq!(process.read(&mut [0; 8]).unwrap(), 0, "the process reads the end");
        process.write_all(b"still").unwrap();
        let mut heard = [0; 5];
        service.read_exact(&mut heard).unwrap();
        assert_eq!(&heard, b"still");
        before.prove().unwrap();

        drop(process);
        assert_eq!(half_close(open.iter()).unwrap(), 0, "it is closed");
        assert!(before.prove().unwrap().contains("1 were closed"));
        let nobody = Before(BTreeMap::from([("node-1->redis".parse().unwrap(), Vec::new())]));
        assert!(nobody.prove().is_err(), "what was not there proves nothing");
    }
}
