//! Runs the fixtures on the host, against maps and a packet in memory.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod fixture;
mod memory;

use std::path::Path;

use ebpf_abi::{
    ADDRESS_NODE, ADDRESS_SERVICE, ADDRESS_VIP, BACKEND_LOCAL, BackendValue, PROTOCOL_TCP,
    PROTOCOL_UDP, PodValue, SCOPE_EXTERNAL, SERVICE_DROP_WHEN_EMPTY, ServiceKey, ServiceValue,
};
use ebpf_datapath::{Tuple, Verdict, pod, uplink};
use fixture::Fixture;
use memory::{Frame, Maps};

/// The interface number of the pod's veth.
const VETH: u32 = 7;

fn maps_of(fixture: &Fixture) -> Maps {
    let mut maps = Maps::default();
    for (address, kind) in &fixture.addresses {
        let flags = match kind.as_str() {
            "vip" => ADDRESS_SERVICE | ADDRESS_VIP,
            "node" => ADDRESS_NODE,
            _ => panic!("{kind}"),
        };
        maps.addresses.insert((*address).into(), flags);
    }
    for service in &fixture.services {
        let offset = maps.maglev.len() as u32;
        for backend in &service.backends {
            let id = maps.backends.len() as u32 + 1;
            let flags = if backend.local { BACKEND_LOCAL } else { 0 };
            let (address, port_be) = (backend.address.ip().into(), backend.address.port());
            let value = BackendValue {
                address,
                port_be: port_be.to_be(),
                flags,
                ..BackendValue::default()
            };
            maps.backends.insert(id, value);
            maps.maglev.push(id);
        }
        let key = ServiceKey {
            address: service.frontend.ip().into(),
            port_be: service.frontend.port().to_be(),
            protocol: protocol(&service.protocol),
            scope: SCOPE_EXTERNAL,
        };
        let length = service.backends.len() as u32;
        let flags = if service.drop_when_empty { SERVICE_DROP_WHEN_EMPTY } else { 0 };
        let value =
            ServiceValue { offset, length, generation: 1, flags, ..ServiceValue::default() };
        maps.services.insert(key, value);
    }
    let mut pod = PodValue::default();
    for address in &fixture.pod {
        let place = if address.is_ipv4() { &mut pod.v4 } else { &mut pod.v6 };
        *place = (*address).into();
    }
    maps.pods.insert(VETH, pod);
    if let Some(node) = &fixture.node {
        (maps.config.nat_port_first, maps.config.nat_port_last) = node.nat_ports;
        for address in &node.addresses {
            let config = &mut maps.config;
            let place = if address.is_ipv4() { &mut config.node_v4 } else { &mut config.node_v6 };
            *place = (*address).into();
        }
    }
    maps
}

fn protocol(name: &str) -> u8 {
    match name {
        "tcp" => PROTOCOL_TCP,
        "udp" => PROTOCOL_UDP,
        _ => panic!("{name}"),
    }
}

fn describe(verdict: Verdict) -> String {
    match verdict {
        Verdict::Pass => "pass".to_owned(),
        Verdict::Deliver => "deliver".to_owned(),
        Verdict::Forward => "forward".to_owned(),
        Verdict::Return => "return".to_owned(),
        Verdict::Drop(counter) => format!("drop {}", counter.name()),
    }
}

#[test]
fn every_packet_becomes_what_its_fixture_says() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures");
    for (file, fixture) in fixture::all(&folder) {
        let maps = maps_of(&fixture);
        for (number, step) in fixture.packets.iter().enumerate() {
            let place = format!("{file}, packet {number}: {}", fixture.description);
            let mut frame = Frame(fixture::bytes(&step.packet));
            let mut tuple = Tuple::default();
            let verdict = match step.at.as_str() {
                "uplink" => uplink::ingress(&mut frame, &mut tuple, &maps),
                "pod" => pod::ingress(&mut frame, &mut tuple, &maps, VETH),
                at => panic!("{place}: {at}"),
            };
            assert_eq!(describe(verdict), step.verdict, "{place}");
            let expected = step.becomes.as_ref().unwrap_or(&step.packet);
            if !matches!(verdict, Verdict::Drop(_)) {
                let expected = fixture::hexadecimal(&fixture::bytes(expected));
                assert_eq!(fixture::hexadecimal(&frame.0), expected, "{place}");
            }
        }
    }
}
