//! The system's table of TCP connections over IPv4, as in `/proc/net/tcp`.

use std::net::Ipv4Addr;

/// One side of an established connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Socket {
    pub(super) local_port: u16,
    pub(super) remote: Ipv4Addr,
    pub(super) remote_port: u16,
    /// Bytes written and not yet taken by the other side.
    pub(super) unsent_bytes: u64,
    /// The number by which `/proc/PID/fd` names it.
    pub(super) inode: u64,
}

/// All that are established; none where there is no such table.
pub(super) fn established() -> Vec<Socket> {
    let table = std::fs::read_to_string("/proc/net/tcp").unwrap_or_default();
    table.lines().skip(1).filter_map(read).collect()
}

/// `0: 0100007F:1F90 0100007F:D2F4 01 00000000:00000000 …`: local, remote, state, tx_queue:rx_queue, all in hex;
/// four fields on, the inode.
fn read(line: &str) -> Option<Socket> {
    const ESTABLISHED: &str = "01";
    let mut fields = line.split_whitespace().skip(1);
    let (local, remote) = (end(fields.next()?)?, end(fields.next()?)?);
    if fields.next()? != ESTABLISHED {
        return None;
    }
    let (unsent, _) = fields.next()?.split_once(':')?;
    let inode = fields.nth(4)?.parse().ok()?;
    Some(Socket {
        local_port: local.1,
        remote: remote.0,
        remote_port: remote.1,
        unsent_bytes: u64::from_str_radix(unsent, 16).ok()?,
        inode,
    })
}

/// `0100007F:1F90`: the address as this machine holds its four bytes in a word, and the port as a number.
fn end(text: &str) -> Option<(Ipv4Addr, u16)> {
    let (address, port) = text.rsplit_once(':')?;
    let address = u32::from_str_radix(address, 16).ok()?.to_ne_bytes();
    Some((address.into(), u16::from_str_radix(port, 16).ok()?))
}

#[cfg(test)]
mod tests {
    use std::{
        io::Write,
        net::{TcpListener, TcpStream},
    };

    use super::*;

    #[test]
    fn a_peer_that_does_not_read_shows_and_one_that_is_gone_does_not() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (mut server, _) = listener.accept().unwrap();
        let (local, remote) = (server.local_addr().unwrap().port(), client.local_addr().unwrap().port());
        let seen = || established().into_iter().find(|it| (it.local_port, it.remote_port) == (local, remote));
        assert_eq!(seen().unwrap().unsent_bytes, 0);
        assert_eq!(seen().unwrap().remote, Ipv4Addr::LOCALHOST);
        server.set_nonblocking(true).unwrap();
        while server.write(&[0; 64 * 1024]).is_ok() {}
        assert!(seen().unwrap().unsent_bytes > 64 * 1024, "{:?}", seen());
        drop(client);
        // It went with unread data, so the connection was reset at once.
        assert_eq!(seen(), None);
    }
}
