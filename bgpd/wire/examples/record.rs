//! `record ADDRESS:PORT ASN SHUTDOWN…` takes one BGP connection, agrees to all that it is offered, and
//! writes down what it is told: `tests/golden/record.sh` says how. After the first quiet it asks for all
//! of IPv4 again, and after the next it runs the command SHUTDOWN to hear the last words.

use std::{
    env, io,
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    process::Command,
    time::{Duration, Instant},
};

use bgp_wire::{
    AfiSafi, Capability, EXTENDED_MESSAGE_LEN, GracefulRestart, GracefulRestartFamily, HoldTime,
    Message, MessageType, Open, RouteRefresh, first_frame,
};
use bytes::{Bytes, BytesMut};
use viaduct_net::{Asn, Family};

const QUIET: Duration = Duration::from_secs(4);

fn main() -> io::Result<()> {
    let words: Vec<_> = env::args().skip(1).collect();
    let [address, asn, shutdown @ ..] = words.as_slice() else {
        return Err(io::Error::other("expected: record ADDRESS:PORT ASN SHUTDOWN…"));
    };
    let asn = asn.parse().map_err(io::Error::other)?;
    let (mut stream, _) = TcpListener::bind(address)?.accept()?;
    stream.set_read_timeout(Some(Duration::from_millis(200)))?;
    let mut said = BytesMut::new();
    open(asn).encode(&mut said);
    Message::encode_keepalive(&mut said);
    stream.write_all(&said)?;

    let mut octets = listen(&mut stream)?;
    let mut refresh = BytesMut::new();
    RouteRefresh::request(Family::V4).encode(&mut refresh);
    stream.write_all(&refresh)?;
    octets.extend(listen(&mut stream)?);
    if let [program, arguments @ ..] = shutdown {
        Command::new(program).args(arguments).stdout(io::stderr()).status()?;
    }
    octets.extend(listen(&mut stream)?);
    write_down(&octets)
}

/// Every capability that changes what is said.
fn open(asn: u32) -> Open {
    let families = [AfiSafi::IPV4_UNICAST, AfiSafi::IPV6_UNICAST];
    let unknown =
        |code, value: &'static [u8]| Capability::Unknown { code, value: Bytes::from_static(value) };
    let mut capabilities: Vec<_> = families.map(Capability::Multiprotocol).to_vec();
    capabilities.extend([
        Capability::RouteRefresh,
        // RFC 8950: next hops of IPv6 for IPv4 unicast.
        unknown(5, &[0, 1, 0, 1, 0, 2]),
        Capability::ExtendedMessage,
        Capability::GracefulRestart(GracefulRestart {
            restart_state: false,
            notification: true,
            restart_time_secs: 120,
            families: families
                .map(|family| GracefulRestartFamily { family, forwarding: true })
                .to_vec(),
        }),
        Capability::FourOctetAs(Asn::new(asn)),
        // RFC 7911: several paths of both families are taken.
        unknown(69, &[0, 1, 1, 1, 0, 2, 1, 1]),
        Capability::EnhancedRouteRefresh,
    ]);
    let hold_time = HoldTime::from_secs(90).unwrap_or(HoldTime::INFINITE);
    let router_id = viaduct_net::RouterId::from_u32(0xc000_0202);
    let router_id = router_id.unwrap_or_else(|| viaduct_net::RouterId::from_name("record"));
    Open { asn: Asn::new(asn), hold_time, router_id, capabilities }
}

/// All that comes until nothing has come for a while.
fn listen(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    let mut all = Vec::new();
    let mut last = Instant::now();
    let mut part = [0; 65536];
    while last.elapsed() < QUIET {
        match stream.read(&mut part) {
            Ok(0) => break,
            Ok(count) => {
                all.extend(&part[..count]);
                last = Instant::now();
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => break,
            Err(error) => return Err(error),
        }
    }
    Ok(all)
}

/// A line for each message, under its name; KEEPALIVEs but the first say nothing new.
fn write_down(mut octets: &[u8]) -> io::Result<()> {
    let mut keepalives = 0;
    while let Ok(Some(frame)) = first_frame(octets, EXTENDED_MESSAGE_LEN) {
        let (whole, rest) = octets.split_at(frame.whole_len());
        octets = rest;
        keepalives += usize::from(frame.kind == MessageType::Keepalive);
        if frame.kind != MessageType::Keepalive || keepalives == 1 {
            let digits: String = whole.iter().map(|octet| format!("{octet:02x}")).collect();
            println!("# {:?}\n{digits}", frame.kind);
        }
    }
    if octets.is_empty() { Ok(()) } else { Err(io::Error::other("half a message is left")) }
}
