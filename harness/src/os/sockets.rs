//! The system's table of TCP connections over IPv4, and which of them a process holds.

use std::net::{SocketAddr, SocketAddrV4};

use procfs::{
    net::TcpState,
    process::{FDTarget, Process},
};

/// One side of an established connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Socket {
    /// Port on this side.
    pub local_port: u16,
    /// The other side.
    pub remote: SocketAddrV4,
    /// Bytes written and not yet taken by the other side.
    pub unsent_bytes: u64,
    /// The number by which a process's descriptors name it.
    pub inode: u64,
}

/// All that are established; none where there is no such table.
pub fn established() -> Vec<Socket> {
    let table = procfs::net::tcp().unwrap_or_default().into_iter();
    let open = table.filter(|entry| entry.state == TcpState::Established);
    open.filter_map(|entry| match entry.remote_address {
        SocketAddr::V4(remote) => Some(Socket {
            local_port: entry.local_address.port(),
            remote,
            unsent_bytes: u64::from(entry.tx_queue),
            inode: entry.inode,
        }),
        SocketAddr::V6(_) => None,
    })
    .collect()
}

/// Descriptors of a process that are sockets, each with its inode; none of a process that has ended.
pub fn held_by(pid: u32) -> Vec<(i32, u64)> {
    let process = i32::try_from(pid).ok().and_then(|pid| Process::new(pid).ok());
    let held = process.and_then(|process| process.fd().ok()).into_iter().flatten().flatten();
    held.filter_map(|descriptor| match descriptor.target {
        FDTarget::Socket(inode) => Some((descriptor.fd, inode)),
        _ => None,
    })
    .collect()
}

/// The far ends of a process's established connections, over IPv4 and IPv6.
pub fn remotes_of(pid: u32) -> Vec<SocketAddr> {
    let held: Vec<u64> = held_by(pid).into_iter().map(|(_, inode)| inode).collect();
    let tables = [procfs::net::tcp(), procfs::net::tcp6()];
    let open =
        tables.into_iter().flat_map(Result::unwrap_or_default).filter(|it| it.state == TcpState::Established);
    open.filter(|entry| held.contains(&entry.inode))
        .map(|entry| SocketAddr::new(entry.remote_address.ip().to_canonical(), entry.remote_address.port()))
        .collect()
}

#[cfg(test)]
mod tests {
    use std::{
        io::Write,
        net::{Ipv4Addr, TcpListener, TcpStream},
    };

    use super::*;

    #[test]
    fn a_peer_that_does_not_read_shows_and_one_that_is_gone_does_not() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (mut server, _) = listener.accept().unwrap();
        let (local, remote) = (server.local_addr().unwrap().port(), client.local_addr().unwrap().port());
        let seen =
            || established().into_iter().find(|it| (it.local_port, it.remote.port()) == (local, remote));
        assert_eq!(seen().unwrap().unsent_bytes, 0);
        assert_eq!(*seen().unwrap().remote.ip(), Ipv4Addr::LOCALHOST);
        server.set_nonblocking(true).unwrap();
        while server.write(&[0; 64 * 1024]).is_ok() {}
        assert!(seen().unwrap().unsent_bytes > 64 * 1024, "{:?}", seen());
        drop(client);
        // It went with unread data, so the connection was reset at once.
        assert_eq!(seen(), None);
    }
}
