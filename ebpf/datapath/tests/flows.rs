//! How flows from outside live and end, by a clock that the test moves.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod memory;

use std::net::{Ipv4Addr, SocketAddrV4};

use ebpf_abi::{
    ADDRESS_NODE, ADDRESS_VIP, AffinityKey, AffinityValue, BACKEND_DRAINING, BACKEND_LOCAL,
    BackendValue, Counter, PROTOCOL_TCP, PROTOCOL_UDP, PodValue, SCOPE_EXTERNAL,
    SERVICE_LIMITS_SOURCES, SOURCE_BITS_MIN, ServiceKey, ServiceValue, Source, SourceRange,
};
use ebpf_datapath::{Stage, Tuple, Verdict, pod, uplink};
use memory::{Frame, Maps};

const VETH: u32 = 7;
const SECOND: u64 = 1_000_000_000;
const SYN: u8 = 0x02;
const ACK: u8 = 0x10;
const SYN_ACK: u8 = 0x12;
const FIN_ACK: u8 = 0x11;

const CLIENT: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(198, 51, 100, 9), 40000);
const VIP: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(10, 100, 0, 1), 80);
const SECOND_VIP: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(10, 100, 0, 2), 80);
const NODE: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
const POD: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(10, 244, 0, 5), 8080);
const ELSEWHERE: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(10, 244, 1, 5), 8080);

/// A VIP for both protocols over these backends, with ids from 1.
fn maps(backends: &[(SocketAddrV4, u16)]) -> Maps {
    let mut maps = Maps::default();
    maps.addresses.insert((*VIP.ip()).into(), ADDRESS_VIP);
    maps.addresses.insert(NODE.into(), ADDRESS_NODE);
    maps.pods.insert(VETH, PodValue { v4: (*POD.ip()).into(), ..PodValue::default() });
    maps.config.node_v4 = NODE.into();
    (maps.config.nat_port_first, maps.config.nat_port_last) = (61000, 61000);
    for (backend, flags) in backends {
        let (address, port_be) = ((*backend.ip()).into(), backend.port().to_be());
        let id = maps.backends.len() as u32 + 1;
        maps.backends.insert(
            id,
            BackendValue { address, port_be, flags: *flags, ..BackendValue::default() },
        );
        maps.maglev.push(id);
    }
    for protocol in [PROTOCOL_TCP, PROTOCOL_UDP] {
        let (address, port_be) = ((*VIP.ip()).into(), VIP.port().to_be());
        let key = ServiceKey { address, port_be, protocol, scope: SCOPE_EXTERNAL };
        let length = maps.maglev.len() as u32;
        maps.services.insert(key, ServiceValue { length, ..ServiceValue::default() });
    }
    maps
}

/// A frame without data; its checksums are not looked at here.
fn frame(protocol: u8, source: SocketAddrV4, destination: SocketAddrV4, flags: u8) -> Frame {
    let mut bytes = vec![0; 14 + 20 + 20];
    bytes[12..14].copy_from_slice(&[0x08, 0x00]);
    bytes[14] = 0x45;
    bytes[14 + 8] = 64;
    bytes[14 + 9] = protocol;
    bytes[14 + 12..14 + 16].copy_from_slice(&source.ip().octets());
    bytes[14 + 16..14 + 20].copy_from_slice(&destination.ip().octets());
    bytes[34..36].copy_from_slice(&source.port().to_be_bytes());
    bytes[36..38].copy_from_slice(&destination.port().to_be_bytes());
    bytes[34 + 12] = 0x50;
    bytes[34 + 13] = flags;
    Frame(bytes)
}

fn address_at(frame: &Frame, address: usize, port: usize) -> SocketAddrV4 {
    let octets: [u8; 4] = frame.0[address..address + 4].try_into().unwrap();
    let port = u16::from_be_bytes(frame.0[port..port + 2].try_into().unwrap());
    SocketAddrV4::new(octets.into(), port)
}

/// Lets a packet of the client in, and tells where it goes from whom.
fn send(maps: &Maps, protocol: u8, from: SocketAddrV4, flags: u8) -> (SocketAddrV4, SocketAddrV4) {
    let mut frame = frame(protocol, from, VIP, flags);
    let verdict = uplink::ingress(&mut frame, &mut Tuple::default(), maps);
    assert!(matches!(verdict, Verdict::Deliver | Verdict::Forward), "{verdict:?}");
    (address_at(&frame, 26, 34), address_at(&frame, 30, 36))
}

fn verdict_of(maps: &Maps, protocol: u8, from: SocketAddrV4) -> Verdict {
    let mut frame = frame(protocol, from, VIP, SYN);
    uplink::ingress(&mut frame, &mut Tuple::default(), maps)
}

fn reply(maps: &Maps, protocol: u8, flags: u8) -> Verdict {
    let mut frame = frame(protocol, POD, CLIENT, flags);
    pod::ingress(&mut frame, &mut Tuple::default(), maps, VETH)
}

fn count(maps: &Maps, stage: Stage) -> usize {
    maps.flows.borrow().keys().filter(|(found, _)| *found == stage).count()
}

fn pass(maps: &Maps, nanos: u64) {
    maps.now_nanos.set(maps.now_nanos.get() + nanos);
}

#[test]
fn a_flow_is_established_once_its_client_has_heard_the_backend() {
    let maps = maps(&[(POD, BACKEND_LOCAL)]);
    send(&maps, PROTOCOL_TCP, CLIENT, SYN);
    send(&maps, PROTOCOL_TCP, CLIENT, SYN);
    assert_eq!((count(&maps, Stage::Embryonic), count(&maps, Stage::Established)), (2, 0));
    assert_eq!(reply(&maps, PROTOCOL_TCP, SYN_ACK), Verdict::Forward);
    assert_eq!((count(&maps, Stage::Embryonic), count(&maps, Stage::Established)), (2, 0));
    send(&maps, PROTOCOL_TCP, CLIENT, ACK);
    assert_eq!((count(&maps, Stage::Embryonic), count(&maps, Stage::Established)), (0, 2));
    assert_eq!(reply(&maps, PROTOCOL_TCP, ACK), Verdict::Forward);
}

/// A second VIP over the backends of the first.
fn with_second_vip(mut maps: Maps) -> Maps {
    maps.addresses.insert((*SECOND_VIP.ip()).into(), ADDRESS_VIP);
    let (address, port_be) = ((*SECOND_VIP.ip()).into(), SECOND_VIP.port().to_be());
    let key = ServiceKey { address, port_be, protocol: PROTOCOL_TCP, scope: SCOPE_EXTERNAL };
    let length = maps.maglev.len() as u32;
    maps.services.insert(key, ServiceValue { length, ..ServiceValue::default() });
    maps
}

fn open_second(maps: &Maps) -> (Verdict, SocketAddrV4) {
    let mut frame = frame(PROTOCOL_TCP, CLIENT, SECOND_VIP, SYN);
    let verdict = uplink::ingress(&mut frame, &mut Tuple::default(), maps);
    (verdict, address_at(&frame, 30, 36))
}

#[test]
fn one_client_port_towards_two_frontends_goes_to_two_backends() {
    let other = SocketAddrV4::new(Ipv4Addr::new(10, 244, 0, 6), 8080);
    let maps = with_second_vip(maps(&[(POD, BACKEND_LOCAL), (other, BACKEND_LOCAL)]));
    let (_, first) = send(&maps, PROTOCOL_TCP, CLIENT, SYN);
    let (verdict, second) = open_second(&maps);
    assert_eq!(verdict, Verdict::Deliver);
    assert_ne!(first, second, "their packets would be the same");
}

#[test]
fn a_flow_that_is_closing_gives_its_place_to_one_that_opens_where_there_is_no_other() {
    let maps = with_second_vip(maps(&[(POD, BACKEND_LOCAL)]));
    send(&maps, PROTOCOL_TCP, CLIENT, SYN);
    reply(&maps, PROTOCOL_TCP, SYN_ACK);
    send(&maps, PROTOCOL_TCP, CLIENT, ACK);
    assert_eq!(open_second(&maps).0, Verdict::Drop(Counter::DroppedCollision));
    reply(&maps, PROTOCOL_TCP, FIN_ACK);
    send(&maps, PROTOCOL_TCP, CLIENT, FIN_ACK);
    assert_eq!(open_second(&maps), (Verdict::Deliver, POD));
}

#[test]
fn a_flood_leaves_established_flows_alone() {
    let maps = maps(&[(POD, BACKEND_LOCAL)]);
    send(&maps, PROTOCOL_TCP, CLIENT, SYN);
    reply(&maps, PROTOCOL_TCP, SYN_ACK);
    send(&maps, PROTOCOL_TCP, CLIENT, ACK);
    for port in 1000..2000 {
        send(&maps, PROTOCOL_TCP, SocketAddrV4::new(*CLIENT.ip(), port), SYN);
    }
    assert_eq!((count(&maps, Stage::Embryonic), count(&maps, Stage::Established)), (2000, 2));
}

#[test]
fn a_syn_begins_anew_after_the_end_or_when_the_backend_is_gone() {
    let mut maps = maps(&[(POD, BACKEND_LOCAL)]);
    send(&maps, PROTOCOL_TCP, CLIENT, SYN);
    reply(&maps, PROTOCOL_TCP, SYN_ACK);
    send(&maps, PROTOCOL_TCP, CLIENT, ACK);
    // In the midst of the connection it goes where the connection goes.
    send(&maps, PROTOCOL_TCP, CLIENT, SYN);
    assert_eq!(count(&maps, Stage::Established), 2);
    reply(&maps, PROTOCOL_TCP, FIN_ACK);
    send(&maps, PROTOCOL_TCP, CLIENT, SYN);
    assert_eq!((count(&maps, Stage::Embryonic), count(&maps, Stage::Established)), (2, 0));

    // The table is renewed to lead elsewhere; what goes on, goes on; what begins, begins there.
    let (address, port_be) = ((*ELSEWHERE.ip()).into(), ELSEWHERE.port().to_be());
    maps.backends.insert(2, BackendValue { address, port_be, ..BackendValue::default() });
    maps.maglev = vec![2];
    maps.backends.get_mut(&1).unwrap().flags |= BACKEND_DRAINING;
    assert_eq!(send(&maps, PROTOCOL_TCP, CLIENT, ACK).1, POD);
    assert_eq!(send(&maps, PROTOCOL_TCP, CLIENT, SYN).1, ELSEWHERE);
}

#[test]
fn a_datagram_begins_anew_when_its_backend_drains_or_after_silence() {
    let mut maps = maps(&[(POD, BACKEND_LOCAL), (ELSEWHERE, 0)]);
    maps.maglev = vec![1, 1];
    assert_eq!(send(&maps, PROTOCOL_UDP, CLIENT, 0).1, POD);
    maps.maglev = vec![2, 2];
    pass(&maps, 100 * SECOND);
    assert_eq!(send(&maps, PROTOCOL_UDP, CLIENT, 0).1, POD, "a flow keeps its backend");
    pass(&maps, 121 * SECOND);
    assert_eq!(send(&maps, PROTOCOL_UDP, CLIENT, 0).1, ELSEWHERE, "after silence");
    maps.maglev = vec![1, 1];
    maps.backends.get_mut(&2).unwrap().flags |= BACKEND_DRAINING;
    assert_eq!(send(&maps, PROTOCOL_UDP, CLIENT, 0).1, POD, "off a backend that drains");
}

#[test]
fn a_port_is_given_out_again_when_its_flow_is_over() {
    let maps = maps(&[(ELSEWHERE, 0)]);
    let other = SocketAddrV4::new(*CLIENT.ip(), 40001);
    let node = SocketAddrV4::new(NODE, 61000);
    assert_eq!(send(&maps, PROTOCOL_UDP, CLIENT, 0), (node, ELSEWHERE));
    assert_eq!(verdict_of(&maps, PROTOCOL_UDP, other), Verdict::Drop(Counter::DroppedNoPort));
    pass(&maps, 31 * SECOND);
    assert_eq!(send(&maps, PROTOCOL_UDP, other, 0), (node, ELSEWHERE));
    // The first flow has lost its port, and does not go on under that of another.
    assert_eq!(verdict_of(&maps, PROTOCOL_UDP, CLIENT), Verdict::Drop(Counter::DroppedNoPort));
    assert_eq!(verdict_of(&maps, PROTOCOL_TCP, CLIENT), Verdict::Forward, "TCP has its own ports");
}

#[test]
fn an_entry_that_was_evicted_comes_back() {
    let maps = maps(&[(POD, BACKEND_LOCAL)]);
    send(&maps, PROTOCOL_TCP, CLIENT, SYN);
    reply(&maps, PROTOCOL_TCP, SYN_ACK);
    send(&maps, PROTOCOL_TCP, CLIENT, ACK);
    let of_backend = |(_, key): &(Stage, ebpf_abi::FlowKey)| key.source == (*POD.ip()).into();

    maps.flows.borrow_mut().retain(|key, _| !of_backend(key));
    assert_eq!(reply(&maps, PROTOCOL_TCP, ACK), Verdict::Pass, "not known any more");
    // The client hears nothing and sends again.
    pass(&maps, SECOND);
    send(&maps, PROTOCOL_TCP, CLIENT, ACK);
    assert_eq!(reply(&maps, PROTOCOL_TCP, ACK), Verdict::Forward);

    maps.flows.borrow_mut().retain(|key, _| of_backend(key));
    assert_eq!(send(&maps, PROTOCOL_TCP, CLIENT, ACK).1, POD, "the table leads there again");
    assert_eq!(reply(&maps, PROTOCOL_TCP, ACK), Verdict::Forward);
}

#[test]
fn how_long_a_flow_may_be_silent_is_configured() {
    let other = SocketAddrV4::new(Ipv4Addr::new(10, 244, 0, 6), 8080);
    // Whether the other backend gets the flow after this silence, and so whether it is a new one.
    let chooses_anew = |configured: u32, silent: u64| {
        let mut maps = maps(&[(POD, BACKEND_LOCAL)]);
        maps.config.udp_idle_seconds = configured;
        send(&maps, PROTOCOL_UDP, CLIENT, 0);
        reply(&maps, PROTOCOL_UDP, 0);
        let (address, port_be) = ((*other.ip()).into(), other.port().to_be());
        let flags = BACKEND_LOCAL;
        maps.backends.insert(2, BackendValue { address, port_be, flags, node: 0 });
        maps.maglev = vec![2];
        pass(&maps, silent * SECOND);
        send(&maps, PROTOCOL_UDP, CLIENT, 0).1 == other
    };
    assert_eq!([chooses_anew(0, 119), chooses_anew(0, 121)], [false, true], "RFC 4787 §4.3");
    assert_eq!([chooses_anew(300, 299), chooses_anew(300, 301)], [false, true]);
}

#[test]
fn a_flow_knows_its_service() {
    let mut maps = maps(&[(POD, BACKEND_LOCAL)]);
    for service in maps.services.values_mut() {
        service.service = 7;
    }
    send(&maps, PROTOCOL_TCP, CLIENT, SYN);
    let flows = maps.flows.borrow();
    let services: Vec<u32> = flows.values().map(|flow| flow.service).collect();
    assert_eq!(services, [7, 7], "in both directions");
}

/// Forty backends of this node, a client of which may keep one for so long.
fn with_affinity(seconds: u32) -> Maps {
    let pods = (1..=40).map(|last| SocketAddrV4::new(Ipv4Addr::new(10, 244, 0, last), 8080));
    let mut maps = maps(&pods.map(|pod| (pod, BACKEND_LOCAL)).collect::<Vec<_>>());
    for service in maps.services.values_mut() {
        (service.service, service.affinity_seconds) = (7, seconds);
    }
    maps
}

/// Where flows from so many ports of an address go.
fn backends_of(maps: &Maps, client: Ipv4Addr, ports: std::ops::Range<u16>) -> Vec<SocketAddrV4> {
    let mut found: Vec<SocketAddrV4> = ports
        .map(|port| send(maps, PROTOCOL_TCP, SocketAddrV4::new(client, port), SYN).1)
        .collect();
    found.sort_unstable();
    found.dedup();
    found
}

#[test]
fn a_client_keeps_its_backend_where_the_service_asks_for_it() {
    let client = *CLIENT.ip();
    assert!(backends_of(&with_affinity(0), client, 1000..1050).len() > 10, "each flow chooses");
    let mut maps = with_affinity(600);
    let kept = backends_of(&maps, client, 1000..1050);
    assert_eq!(kept.len(), 1);
    let others: Vec<_> =
        (1..=50).map(|last| backends_of(&maps, Ipv4Addr::new(203, 0, 113, last), 1..2)).collect();
    assert!(others.iter().any(|other| *other != kept), "another client is another");
    // Each new flow extends the time.
    for port in 2000..2010 {
        pass(&maps, 599 * SECOND);
        assert_eq!(backends_of(&maps, client, port..port + 1), kept);
    }

    // One that takes no new flows is given up for another, though the table still names it.
    let ours = |(key, value): (&AffinityKey, &AffinityValue)| {
        (key.client == client.into()).then_some(value.backend)
    };
    let backend = maps.affinity.borrow().iter().find_map(ours).unwrap();
    maps.backends.get_mut(&backend).unwrap().flags |= BACKEND_DRAINING;
    let other = if backend == 1 { 2 } else { 1 };
    maps.maglev.iter_mut().filter(|id| **id == backend).for_each(|id| *id = other);
    let moved = backends_of(&maps, client, 4001..4030);
    assert_eq!(moved.len(), 1);
    assert_ne!(moved, kept);
}

#[test]
fn affinity_ends_with_its_time() {
    let maps = with_affinity(10);
    send(&maps, PROTOCOL_TCP, CLIENT, SYN);
    let seen = || maps.affinity.borrow().values().next().unwrap().last_seen_nanos;
    let first = seen();
    pass(&maps, 11 * SECOND);
    let hashed = |port| {
        let without = with_affinity(0);
        send(&without, PROTOCOL_TCP, SocketAddrV4::new(*CLIENT.ip(), port), SYN).1
    };
    let port = (1000..).find(|port| hashed(*port) != hashed(CLIENT.port())).unwrap();
    let (_, backend) = send(&maps, PROTOCOL_TCP, SocketAddrV4::new(*CLIENT.ip(), port), SYN);
    assert_eq!(backend, hashed(port), "as the table says");
    assert!(seen() > first);
}

#[test]
fn a_service_may_be_for_some_sources_only() {
    let mut maps = maps(&[(POD, BACKEND_LOCAL)]);
    for service in maps.services.values_mut() {
        (service.service, service.flags) = (7, SERVICE_LIMITS_SOURCES);
    }
    let range = |service, address: [u8; 4], length: u32| SourceRange {
        prefix_length: SOURCE_BITS_MIN + 96 + length,
        source: Source { service, address: Ipv4Addr::from(address).into() },
    };
    // Another service's range is none of ours.
    maps.sources = vec![range(7, [198, 51, 100, 0], 28), range(8, [0; 4], 0)];
    let inside = SocketAddrV4::new(Ipv4Addr::new(198, 51, 100, 15), 1000);
    let outside = SocketAddrV4::new(Ipv4Addr::new(198, 51, 100, 16), 1000);
    assert_eq!(verdict_of(&maps, PROTOCOL_TCP, inside), Verdict::Deliver);
    let refused = Verdict::Drop(Counter::DroppedSource);
    assert_eq!(verdict_of(&maps, PROTOCOL_TCP, outside), refused);
    assert_eq!(verdict_of(&maps, PROTOCOL_UDP, outside), refused);
    // Nor does it learn that there is nobody.
    maps.services.values_mut().for_each(|service| service.length = 0);
    assert_eq!(verdict_of(&maps, PROTOCOL_TCP, outside), refused);
}
