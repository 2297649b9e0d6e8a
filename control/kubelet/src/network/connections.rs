//! Whether requests from others are under way in a pod, by what the kernel says of its sockets.

use std::{
    collections::BTreeSet,
    fs::File,
    io::{self, Read},
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

/// Of each table; a line is 150 bytes.
const TABLE_BYTES_MAX: u64 = 8 << 20;

/// Whether anybody is connected to a socket that the pod of this process listens on. Connections
/// of a pod with itself are not counted: they end with what they are for.
pub(super) fn are_under_way(pid: i32) -> io::Result<bool> {
    let mut text = String::new();
    for table in ["tcp", "tcp6"] {
        match File::open(format!("/proc/{pid}/net/{table}")) {
            Ok(file) => file.take(TABLE_BYTES_MAX).read_to_string(&mut text).map(drop)?,
            // A kernel without IPv6.
            Err(error) if error.kind() == io::ErrorKind::NotFound && table == "tcp6" => {}
            Err(error) => return Err(error),
        }
    }
    Ok(any_inbound(&text))
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Listen,
    /// A request may be on its way in, or an answer on its way out.
    UnderWay,
    Over,
}

/// Numbers of `include/net/tcp_states.h`.
fn state(number: u8) -> State {
    match number {
        0x0A => State::Listen,
        // ESTABLISHED, SYN_RECV, FIN_WAIT1, CLOSE_WAIT, LAST_ACK, CLOSING.
        0x01 | 0x03 | 0x04 | 0x08 | 0x09 | 0x0B => State::UnderWay,
        _ => State::Over,
    }
}

fn any_inbound(tables: &str) -> bool {
    let sockets: Vec<Socket> = tables.lines().filter_map(Socket::parse).collect();
    let listening: BTreeSet<u16> =
        sockets.iter().filter(|s| s.state == State::Listen).map(|s| s.port).collect();
    sockets.iter().any(|socket| {
        socket.state == State::UnderWay
            && listening.contains(&socket.port)
            && !socket.peer.to_canonical().is_loopback()
    })
}

struct Socket {
    port: u16,
    peer: IpAddr,
    state: State,
}

impl Socket {
    /// `sl: LOCAL:PORT REMOTE:PORT STATE ...`, all hexadecimal; `None` for the heading.
    fn parse(line: &str) -> Option<Self> {
        let mut fields = line.split_whitespace().skip(1);
        let (_, port) = fields.next()?.split_once(':')?;
        let (peer, _) = fields.next()?.split_once(':')?;
        let number = u8::from_str_radix(fields.next()?, 16).ok()?;
        let port = u16::from_str_radix(port, 16).ok()?;
        Some(Self { port, peer: address(peer)?, state: state(number) })
    }
}

/// Words of 32 bits, each printed as the machine reads it.
fn address(hex: &str) -> Option<IpAddr> {
    let word = |at: usize| -> Option<[u8; 4]> {
        let digits = hex.get(at * 8..at * 8 + 8)?;
        Some(u32::from_str_radix(digits, 16).ok()?.to_ne_bytes())
    };
    match hex.len() {
        8 => Some(IpAddr::V4(Ipv4Addr::from(word(0)?))),
        32 => {
            let mut bytes = [0; 16];
            for (at, part) in bytes.chunks_exact_mut(4).enumerate() {
                part.copy_from_slice(&word(at)?);
            }
            Some(IpAddr::V6(Ipv6Addr::from(bytes)))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io::Write,
        net::{TcpListener, TcpStream},
    };

    use super::*;

    const HEADING: &str = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when";
    const LISTENS: &str = "   0: 00000000000000000000000000000000:1F90 00000000000000000000000000000000:0000 0A 0:0 0:0";

    fn under_way(lines: &[&str]) -> bool {
        let mut text = format!("{HEADING}\n{LISTENS}\n");
        lines.iter().for_each(|line| text.push_str(&format!("{line}\n")));
        any_inbound(&text)
    }

    #[test]
    fn connections_of_others_count_while_they_may_carry_a_request() {
        let of = |state: &str| {
            format!("   1: 0500000A:1F90 0600000A:C350 {state} 00000000:00000000 00:0 0 0 0")
        };
        assert!(!under_way(&[]));
        for (state, expected) in
            [("01", true), ("03", true), ("04", true), ("06", false), ("08", true), ("0A", false)]
        {
            assert_eq!(under_way(&[&of(state)]), expected, "{state}");
        }
        let outbound = "   1: 0500000A:C351 0600000A:1F90 01 00000000:00000000 00:0 0 0 0";
        assert!(!under_way(&[outbound]));
        let mapped_loopback = "   1: 0000000000000000FFFF00000100007F:1F90 0000000000000000FFFF00000100007F:C350 01 0:0 0:0";
        assert!(!under_way(&[mapped_loopback]));
        let v6 = "   1: B80D0120000000000000000001000000:1F90 B80D0120000000000000000002000000:C350 01 0:0 0:0";
        assert!(under_way(&[v6]));
    }

    #[test]
    fn addresses_are_as_the_kernel_prints_them() {
        if cfg!(target_endian = "little") {
            assert_eq!(address("0100007F"), Some("127.0.0.1".parse().unwrap()));
            let v6 = "B80D0120000000000000000001000000";
            assert_eq!(address(v6), Some("2001:db8::1".parse().unwrap()));
        }
        assert_eq!(address("01"), None);
    }

    #[test]
    fn the_kernels_own_table_is_read() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        stream.write_all(b"x").unwrap();
        // Whatever else goes on in this namespace, it is understood.
        are_under_way(std::process::id().cast_signed()).unwrap();
    }
}
