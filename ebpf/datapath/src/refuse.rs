//! The answers for ports that no one serves: RST, and ICMP port unreachable.

use ebpf_abi::{Counter, FlowValue, PROTOCOL_TCP, ReplyBudget};

use crate::{
    Difference, Flows, Layer4Sum, Packet, Tuple, Verdict,
    checksum::Sum,
    parse::{ETHERNET, TCP_ACK, TCP_FIN, TCP_RST, TCP_SYN},
    rewrite::{set_hops, translate},
};

/// Refusals that each CPU sends in a second: above it a flood is only counted.
const REFUSALS_PER_SECOND: u64 = 1000;
const HOPS: u8 = 64;

/// Turns the packet into its refusal.
#[inline(never)]
pub(crate) fn answer<P: Packet, S: Flows>(packet: &mut P, state: &S, tuple: &Tuple) -> Verdict {
    // RFC 9293 §3.10.7.1: an RST is not answered.
    if tuple.resets() || !is_from_one_to_one(packet, tuple) {
        return Verdict::Drop(Counter::RefusedSilently);
    }
    let second = state.now_nanos() / 1_000_000_000;
    let allowed = state.visit_budget(|budget| {
        if budget.second != second {
            *budget = ReplyBudget { second, sent: 0 };
        }
        budget.sent += 1;
        budget.sent <= REFUSALS_PER_SECOND
    });
    // Options and extension headers would have to be quoted, or left out of the sums.
    let plain = tuple.layer4 == ETHERNET + if tuple.v4 { 20 } else { 40 };
    if allowed != Some(true) || !plain {
        return Verdict::Drop(Counter::RefusedSilently);
    }
    let written = if tuple.key.protocol == PROTOCOL_TCP {
        let back = FlowValue {
            source: tuple.key.destination,
            destination: tuple.key.source,
            source_port_be: tuple.key.destination_port_be,
            destination_port_be: tuple.key.source_port_be,
            ..FlowValue::default()
        };
        // Hops of its own (RFC 1122 §3.2.1.7): the segment may have used up its.
        reset(packet, tuple) && translate(packet, tuple, &back) && set_hops(packet, tuple, HOPS)
    } else if tuple.v4 {
        unreachable_v4(packet, tuple)
    } else {
        unreachable_v6(packet)
    };
    if written && turn_round(packet) {
        state.count(Counter::Refused);
        Verdict::Return
    } else {
        Verdict::Drop(Counter::DroppedMalformed)
    }
}

/// Whether one host sent it, in a frame to one: what else is not answered (RFC 1122 §3.2.2, RFC 4443
/// §2.4 (e), RFC 9293 §3.9.2.3).
#[inline(never)]
fn is_from_one_to_one<P: Packet>(packet: &P, tuple: &Tuple) -> bool {
    let Some([frame]) = packet.load::<1>(0) else { return false };
    let [a, b, c, d] = tuple.key.source.words_be;
    let from_one = if tuple.v4 {
        !matches!(d.to_ne_bytes()[0], 0 | 127 | 224..)
    } else {
        // A group, the unspecified address, and that of the loopback.
        a.to_ne_bytes()[0] != 0xff && (a | b | c != 0 || u32::from_be(d) > 1)
    };
    // The least bit of a frame's destination says that it is a group's.
    from_one && frame & 1 == 0
}

/// Swaps the addresses of the frame.
#[inline(always)]
fn turn_round<P: Packet>(packet: &mut P) -> bool {
    let (Some(destination), Some(source)) = (packet.load::<6>(0), packet.load::<6>(6)) else {
        return false;
    };
    packet.store(0, &source, false) && packet.store(6, &destination, false)
}

/// Makes the segment's header that of its RST, but for addresses and ports (RFC 9293 §3.10.7.1).
/// Options and data stay as they are, so that the checksum can follow by differences: where it is
/// left to the device, what is in the packet is no checksum yet, and no program can change that.
/// Receivers ignore both in an RST.
#[inline(never)]
fn reset<P: Packet>(packet: &mut P, tuple: &Tuple) -> bool {
    let Some(old) = packet.load::<12>(tuple.layer4 + 4) else { return false };
    let header = u32::from(old[8] >> 4) * 4;
    if header < 20 {
        return false;
    }
    let sequence = u32::from_be_bytes([old[0], old[1], old[2], old[3]]);
    let acknowledged = u32::from_be_bytes([old[4], old[5], old[6], old[7]]);
    let (sequence, acknowledged, flags) = if tuple.tcp_flags & TCP_ACK != 0 {
        (acknowledged, 0, TCP_RST)
    } else {
        let Some(length) = segment_length(packet, tuple, header) else { return false };
        (0, sequence.wrapping_add(length), TCP_RST | TCP_ACK)
    };
    let [s0, s1, s2, s3] = sequence.to_be_bytes();
    let [a0, a1, a2, a3] = acknowledged.to_be_bytes();
    let new = [s0, s1, s2, s3, a0, a1, a2, a3, old[8] & 0xf0, flags, 0, 0];
    let word = |bytes: &[u8; 12], at: usize| {
        u32::from_ne_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
    };
    let difference = Difference::default()
        .word32(word(&old, 0), word(&new, 0))
        .word32(word(&old, 4), word(&new, 4))
        .word32(word(&old, 8), word(&new, 8));
    let sum = Layer4Sum { pseudo_header: false, zero_is_none: false, never_zero: false };
    packet.mend_layer4(tuple.layer4 + 16, difference, sum)
        && packet.store(tuple.layer4 + 4, &new, false)
}

/// Numbers that the segment takes: its data, SYN and FIN. `None` where it ends within its header.
#[inline(always)]
fn segment_length<P: Packet>(packet: &P, tuple: &Tuple, tcp_header: u32) -> Option<u32> {
    let length =
        if tuple.v4 { packet.load::<2>(ETHERNET + 2)? } else { packet.load(ETHERNET + 4)? };
    let header = if tuple.v4 { 20 } else { 0 };
    let data =
        u32::from(u16::from_be_bytes(length)).checked_sub(header)?.checked_sub(tcp_header)?;
    let controls =
        u32::from(tuple.tcp_flags & TCP_SYN != 0) + u32::from(tuple.tcp_flags & TCP_FIN != 0);
    Some(data + controls)
}

/// RFC 792: destination unreachable, port unreachable, with the header and eight octets of the
/// datagram.
#[inline(never)]
fn unreachable_v4<P: Packet>(packet: &mut P, tuple: &Tuple) -> bool {
    const LENGTH: u32 = 20 + 8 + 20 + 8;
    const ICMP: u32 = ETHERNET + 20;
    const ICMP_HEAD: [u8; 4] = [3, 3, 0, 0];
    if !packet.resize(ETHERNET + LENGTH) {
        return false;
    }
    // Back to front, so that nothing is written over before it was moved.
    let mut sum = Sum::default().bytes(&ICMP_HEAD);
    if !copy(packet, ETHERNET, ICMP + 8, 5, &mut sum) || !copy(packet, ICMP, ICMP + 28, 2, &mut sum)
    {
        return false;
    }
    let [sum0, sum1] = sum.checksum().to_be_bytes();
    let [l0, l1] = (LENGTH as u16).to_be_bytes();
    let head = [0x45, 0, l0, l1, 0, 0, 0x40, 0, HOPS, 1];
    let [s0, s1, s2, s3] = tuple.key.destination.v4_be().to_ne_bytes();
    let [d0, d1, d2, d3] = tuple.key.source.v4_be().to_ne_bytes();
    let addresses = [s0, s1, s2, s3, d0, d1, d2, d3];
    let ip_sum = Sum::default().bytes(&head).bytes(&addresses).checksum().to_be_bytes();
    packet.store(ETHERNET, &head, false)
        && packet.store(ETHERNET + 10, &ip_sum, false)
        && packet.store(ETHERNET + 12, &addresses, false)
        && packet.store(ICMP, &[3, 3, sum0, sum1, 0, 0, 0, 0], false)
}

/// RFC 4443 §3.1: destination unreachable, port unreachable. The quotation is as short as that of
/// IPv4; a host finds the socket by it, and a refusal is not to be larger than need be.
#[inline(never)]
fn unreachable_v6<P: Packet>(packet: &mut P) -> bool {
    const PAYLOAD: u16 = 8 + 40 + 8;
    const ICMP: u32 = ETHERNET + 40;
    const ICMP_V6: u8 = 58;
    const ICMP_HEAD: [u8; 4] = [1, 4, 0, 0];
    if !packet.resize(ICMP + u32::from(PAYLOAD)) {
        return false;
    }
    let mut sum = Sum::default().bytes(&ICMP_HEAD).word(PAYLOAD).word(u16::from(ICMP_V6));
    if !copy(packet, ETHERNET, ICMP + 8, 10, &mut sum)
        || !copy(packet, ICMP, ICMP + 48, 2, &mut sum)
        // The quotation's addresses, turned round; this sums the pseudo header (RFC 8200 §8.1).
        || !copy(packet, ICMP + 8 + 24, ETHERNET + 8, 4, &mut sum)
        || !copy(packet, ICMP + 8 + 8, ETHERNET + 24, 4, &mut sum)
    {
        return false;
    }
    let [sum0, sum1] = sum.checksum().to_be_bytes();
    let [l0, l1] = PAYLOAD.to_be_bytes();
    packet.store(ETHERNET, &[0x60, 0, 0, 0, l0, l1, ICMP_V6, HOPS], false)
        && packet.store(ICMP, &[1, 4, sum0, sum1, 0, 0, 0, 0], false)
}

/// Copies words within the packet, and adds them to the sum.
#[inline(never)]
fn copy<P: Packet>(packet: &mut P, from: u32, to: u32, words: u32, sum: &mut Sum) -> bool {
    for index in 0..words {
        let Some(word) = packet.load::<4>(from + index * 4) else { return false };
        *sum = sum.bytes(&word);
        if !packet.store(to + index * 4, &word, false) {
            return false;
        }
    }
    true
}
