use ebpf_abi::{Counter, FlowValue, PROTOCOL_UDP};

use crate::{Difference, Layer4Sum, Packet, Services, Tuple, Verdict, parse::ETHERNET};

/// Writes the addresses and ports of `flow` into the packet and mends its checksums; `false` where
/// the packet cannot be written, and is then in no state to be sent.
#[inline(never)]
pub(crate) fn translate<P: Packet>(packet: &mut P, tuple: &Tuple, flow: &FlowValue) -> bool {
    let addresses = Difference::default()
        .address(tuple.key.source, flow.source)
        .address(tuple.key.destination, flow.destination);
    let ports = Difference::default()
        .word16(tuple.key.source_port_be, flow.source_port_be)
        .word16(tuple.key.destination_port_be, flow.destination_port_be);
    let udp = tuple.key.protocol == PROTOCOL_UDP;
    let checksum = tuple.layer4 + if udp { 6 } else { 16 };
    let sum =
        |pseudo_header| Layer4Sum { pseudo_header, zero_is_none: udp && tuple.v4, never_zero: udp };

    packet.mend_layer4(checksum, addresses, sum(true))
        && packet.mend_layer4(checksum, ports, sum(false))
        && store_ports(packet, tuple.layer4, flow)
        && if tuple.v4 {
            packet.mend_layer3(ETHERNET + 10, addresses)
                && packet.store(ETHERNET + 12, &flow.source.v4_be().to_ne_bytes(), false)
                && packet.store(ETHERNET + 16, &flow.destination.v4_be().to_ne_bytes(), false)
        } else {
            packet.store(ETHERNET + 8, &flow.source.octets(), true)
                && packet.store(ETHERNET + 24, &flow.destination.octets(), true)
        }
}

#[inline(always)]
fn store_ports<P: Packet>(packet: &mut P, layer4: u32, flow: &FlowValue) -> bool {
    let [a, b] = flow.source_port_be.to_ne_bytes();
    let [c, d] = flow.destination_port_be.to_ne_bytes();
    packet.store(layer4, &[a, b, c, d], false)
}

/// Writes how many hops are left to the packet.
#[inline(always)]
#[must_use]
pub(crate) fn set_hops<P: Packet>(packet: &mut P, tuple: &Tuple, hops: u8) -> bool {
    if tuple.v4 {
        let difference = Difference::default().word16(
            u16::from_ne_bytes([tuple.hops, tuple.key.protocol]),
            u16::from_ne_bytes([hops, tuple.key.protocol]),
        );
        packet.mend_layer3(ETHERNET + 10, difference) && packet.store(ETHERNET + 8, &[hops], false)
    } else {
        packet.store(ETHERNET + 7, &[hops], true)
    }
}

/// Translates a packet that passes the stack by, takes its hop (RFC 1812 §5.3.1, RFC 8200 §3), and
/// counts it. The tuple becomes that of the packet as it leaves.
#[inline(always)]
pub(crate) fn forward<P: Packet, S: Services>(
    packet: &mut P,
    state: &S,
    tuple: &mut Tuple,
    flow: &FlowValue,
    counter: Counter,
) -> Verdict {
    if tuple.hops <= 1 {
        return Verdict::Drop(Counter::DroppedTtl);
    }
    let hops = tuple.hops - 1;
    if !translate(packet, tuple, flow) || !set_hops(packet, tuple, hops) {
        return Verdict::Drop(Counter::DroppedMalformed);
    }
    state.count(counter);
    tuple.hops = hops;
    tuple.key.source = flow.source;
    tuple.key.destination = flow.destination;
    tuple.key.source_port_be = flow.source_port_be;
    tuple.key.destination_port_be = flow.destination_port_be;
    Verdict::Forward
}
