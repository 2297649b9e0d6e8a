use ebpf_abi::{Address, FlowKey, PROTOCOL_TCP, PROTOCOL_UDP};

use crate::Packet;

/// Length of the Ethernet header. Tags of VLANs are in the buffer's metadata by then.
pub(crate) const ETHERNET: u32 = 14;
const ETHERTYPE_V4: u16 = 0x0800;
const ETHERTYPE_V6: u16 = 0x86dd;

/// Extension headers that we look behind; a packet with more of them is none of ours.
const EXTENSION_HEADERS_MAX: u32 = 6;
const HOP_BY_HOP: u8 = 0;
const ROUTING: u8 = 43;
const FRAGMENT: u8 = 44;
const AUTHENTICATION: u8 = 51;
const DESTINATION_OPTIONS: u8 = 60;

pub(crate) const TCP_FIN: u8 = 0x01;
pub(crate) const TCP_SYN: u8 = 0x02;
pub(crate) const TCP_RST: u8 = 0x04;
pub(crate) const TCP_ACK: u8 = 0x10;

/// What the headers of a TCP segment or UDP datagram say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tuple {
    pub key: FlowKey,
    /// Where the header of TCP or UDP begins in the frame.
    pub layer4: u32,
    pub v4: bool,
    /// TTL or hop limit.
    pub hops: u8,
    /// Flags of TCP; 0 of UDP.
    pub tcp_flags: u8,
}

impl Tuple {
    /// A SYN that opens a connection.
    #[inline(always)]
    pub fn opens(&self) -> bool {
        self.tcp_flags & (TCP_SYN | TCP_ACK) == TCP_SYN
    }

    #[inline(always)]
    pub fn closes(&self) -> bool {
        self.tcp_flags & (TCP_FIN | TCP_RST) != 0
    }

    #[inline(always)]
    pub fn resets(&self) -> bool {
        self.tcp_flags & TCP_RST != 0
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parsed {
    /// The tuple is filled.
    Flow,
    /// A fragment to the tuple's destination. The first has ports and the others do not, so none
    /// is told apart (RFC 791 §3.2, RFC 8200 §4.5).
    Fragment,
    /// Another protocol, or a frame that ends too early.
    Other,
}

/// Reads the headers into `tuple`, which the caller has made: a frame of the kernel's stack has
/// no room for copies.
#[inline(never)]
pub fn parse<P: Packet>(packet: &P, tuple: &mut Tuple) -> Parsed {
    let Some(ethertype) = packet.load::<2>(12) else { return Parsed::Other };
    let parsed = match u16::from_be_bytes(ethertype) {
        ETHERTYPE_V4 => parse_v4(packet, tuple),
        ETHERTYPE_V6 => parse_v6(packet, tuple),
        _ => None,
    };
    parsed.unwrap_or(Parsed::Other)
}

#[inline(always)]
fn parse_v4<P: Packet>(packet: &P, tuple: &mut Tuple) -> Option<Parsed> {
    let header = packet.load::<20>(ETHERNET)?;
    let length = u32::from(header[0] & 0x0f) * 4;
    if header[0] >> 4 != 4 || length < 20 {
        return None;
    }
    tuple.v4 = true;
    tuple.hops = header[8];
    tuple.key.protocol = header[9];
    tuple.key.source =
        Address::from_v4_be(u32::from_ne_bytes([header[12], header[13], header[14], header[15]]));
    tuple.key.destination =
        Address::from_v4_be(u32::from_ne_bytes([header[16], header[17], header[18], header[19]]));
    // More-fragments, or an offset.
    if u16::from_be_bytes([header[6], header[7]]) & 0x3fff != 0 {
        return Some(Parsed::Fragment);
    }
    tuple.layer4 = ETHERNET + length;
    parse_layer4(packet, tuple)
}

#[inline(always)]
fn parse_v6<P: Packet>(packet: &P, tuple: &mut Tuple) -> Option<Parsed> {
    let header = packet.load::<8>(ETHERNET)?;
    if header[0] >> 4 != 6 {
        return None;
    }
    tuple.v4 = false;
    tuple.hops = header[7];
    tuple.key.source = Address::from_octets(packet.load::<16>(ETHERNET + 8)?);
    tuple.key.destination = Address::from_octets(packet.load::<16>(ETHERNET + 24)?);
    // A mapped address on the wire belongs to no one, and would be taken for IPv4 in the maps.
    if tuple.key.source.is_v4() || tuple.key.destination.is_v4() {
        return None;
    }
    let mut protocol = header[6];
    let mut offset = ETHERNET + 40;
    for _ in 0..EXTENSION_HEADERS_MAX {
        match protocol {
            FRAGMENT => return Some(Parsed::Fragment),
            HOP_BY_HOP | ROUTING | DESTINATION_OPTIONS | AUTHENTICATION => {
                let [next, length] = packet.load::<2>(offset)?;
                offset += match protocol {
                    AUTHENTICATION => (u32::from(length) + 2) * 4,
                    _ => (u32::from(length) + 1) * 8,
                };
                protocol = next;
            }
            _ => break,
        }
    }
    tuple.key.protocol = protocol;
    tuple.layer4 = offset;
    parse_layer4(packet, tuple)
}

#[inline(always)]
fn parse_layer4<P: Packet>(packet: &P, tuple: &mut Tuple) -> Option<Parsed> {
    tuple.tcp_flags = match tuple.key.protocol {
        PROTOCOL_TCP => {
            let [flags] = packet.load::<1>(tuple.layer4 + 13)?;
            flags
        }
        PROTOCOL_UDP => 0,
        _ => return None,
    };
    let ports = packet.load::<4>(tuple.layer4)?;
    tuple.key.source_port_be = u16::from_ne_bytes([ports[0], ports[1]]);
    tuple.key.destination_port_be = u16::from_ne_bytes([ports[2], ports[3]]);
    Some(Parsed::Flow)
}
