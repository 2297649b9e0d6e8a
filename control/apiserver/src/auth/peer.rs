//! Whose process is at the other end of a loopback connection.
//!
//! The plain port asks for no credentials, so it serves the machine's own root alone. The kernel's
//! table of sockets says who made the other end.

use std::{
    fs, io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    path::Path,
};

/// The user that owns the socket `peer`, which is connected to `local` in the network namespace
/// whose tables are in the folder `sockets`; `None` where the peer is not of this machine or its
/// owner cannot be told.
pub(crate) fn uid(peer: SocketAddr, local: SocketAddr, sockets: &Path) -> io::Result<Option<u32>> {
    if !canonical(peer).ip().is_loopback() || !canonical(local).ip().is_loopback() {
        return Ok(None);
    }
    for table in ["tcp", "tcp6"] {
        match fs::read_to_string(sockets.join(table)) {
            // The socket's own view: our peer is its local address.
            Ok(text) => {
                if let Some(uid) = owner(&text, canonical(peer), canonical(local)) {
                    return Ok(Some(uid));
                }
            }
            // Without IPv6 in the kernel there is no such table.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(None)
}

/// An IPv4 address that an IPv6 socket sees is still an IPv4 address.
fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

fn owner(table: &str, local: SocketAddr, remote: SocketAddr) -> Option<u32> {
    table.lines().skip(1).find_map(|line| {
        let mut fields = line.split_ascii_whitespace();
        let (own, other) = (fields.nth(1)?, fields.next()?);
        if address(own)? != local || address(other)? != remote {
            return None;
        }
        // st, tx:rx, tr:when, retransmits; then uid, timeout and inode.
        let uid = fields.nth(4)?.parse().ok()?;
        let inode: u64 = fields.nth(1)?.parse().ok()?;
        // A socket that its process has closed is shown with uid 0 and inode 0, whoever made it.
        (inode != 0).then_some(uid)
    })
}

/// `0100007F:1F90`: words of 32 bits in the host's order, as the kernel prints them.
fn address(text: &str) -> Option<SocketAddr> {
    let (ip, port) = text.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    let word = |at: usize| {
        let word = ip.get(at..at + 8)?;
        u32::from_str_radix(word, 16).ok().map(u32::to_ne_bytes)
    };
    let ip = match ip.len() {
        8 => IpAddr::from(Ipv4Addr::from(word(0)?)),
        32 => {
            let mut octets = [0; 16];
            for (n, four) in octets.chunks_exact_mut(4).enumerate() {
                four.copy_from_slice(&word(n * 8)?);
            }
            IpAddr::from(Ipv6Addr::from(octets))
        }
        _ => return None,
    };
    Some(SocketAddr::new(ip.to_canonical(), port))
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::*;

    const OWN: &str = "/proc/self/net";

    fn pair(listen: &str) -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind(listen).unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        (client, listener.accept().unwrap().0)
    }

    #[test]
    fn our_own_connection_is_ours() {
        for listen in ["127.0.0.1:0", "[::1]:0"] {
            let (client, server) = pair(listen);
            let found =
                uid(server.peer_addr().unwrap(), server.local_addr().unwrap(), Path::new(OWN))
                    .unwrap();
            assert_eq!(found, Some(nix::unistd::geteuid().as_raw()), "{listen}");
            drop(client);
        }
    }

    #[test]
    fn who_has_gone_is_nobody() {
        // Its socket lingers without an owner, and the table would call that root.
        let (client, server) = pair("127.0.0.1:0");
        drop(client);
        let found =
            uid(server.peer_addr().unwrap(), server.local_addr().unwrap(), Path::new(OWN)).unwrap();
        assert_eq!(found, None);
    }

    #[test]
    #[cfg(target_endian = "little")]
    fn the_table_is_read() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n   \
            0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 11 1\n   \
            1: 0100007F:C350 0100007F:1F90 01 00000000:00000000 00:00000000 00000000  1000        0 12 1\n   \
            2: 0100007F:C351 0100007F:1F90 06 00000000:00000000 03:00000000 00000000     0        0 0 3\n";
        let server = "127.0.0.1:8080".parse().unwrap();
        assert_eq!(owner(table, "127.0.0.1:50000".parse().unwrap(), server), Some(1000));
        assert_eq!(owner(table, "127.0.0.1:50001".parse().unwrap(), server), None);
        assert_eq!(owner(table, "127.0.0.1:50002".parse().unwrap(), server), None);
        let mapped = "0000000000000000FFFF00000100007F:0050";
        assert_eq!(address(mapped), Some("127.0.0.1:80".parse().unwrap()));
        let one = "00000000000000000000000001000000:0050";
        assert_eq!(address(one), Some("[::1]:80".parse().unwrap()));
    }
}
