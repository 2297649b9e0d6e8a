//! Runs the fixtures of `ebpf-datapath` on the programs in the kernel.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "../../../ebpf/datapath/tests/fixture/mod.rs"]
mod fixture;
#[expect(dead_code, reason = "shared by several tests, of which each needs a part")]
mod support;

use std::{net::IpAddr, path::Path};

use ebpf_abi::{
    Address, BACKEND_LOCAL, Counter, NodeConfig, PROTOCOL_TCP, PROTOCOL_UDP, PodValue,
    SCOPE_EXTERNAL, SERVICE_DROP_WHEN_EMPTY, SERVICE_MARK, ServiceKey,
};
use fixture::Fixture;
use lb_maps::{DataPlane, Interface};
use support::{Namespace, Services, options, with_bpffs};
use viaduct_net::IfIndex;

const ACTION_UNSPEC: i32 = -1;
const ACTION_OK: i32 = 0;
const ACTION_SHOT: i32 = 2;
const ACTION_REDIRECT: i32 = 7;

/// A namespace that routes everything to where the fixtures' clients and backends are.
fn namespace() -> Namespace {
    let namespace = Namespace::new();
    for device in ["up0", "pod0"] {
        namespace.ip(&format!("link add {device} type veth peer name {device}-peer"));
        namespace.ip(&format!("link set {device}-peer up"));
        namespace.ip(&format!("link set {device} up"));
    }
    namespace.sysctl("net.ipv4.ip_forward", "1");
    namespace.sysctl("net.ipv6.conf.all.forwarding", "1");
    namespace.ip("address add 192.0.2.1/24 dev up0");
    namespace.ip("address add 2001:db8:a::1/64 dev up0 nodad");
    namespace.ip("route add default via 192.0.2.254");
    namespace.ip("route add default via 2001:db8:a::254");
    namespace
}

fn fill(data_plane: &DataPlane, fixture: &Fixture, pod0: IfIndex) {
    let maps = data_plane.maps();
    let mut services = Services::new(data_plane);
    for (address, kind) in &fixture.addresses {
        match kind.as_str() {
            "vip" => services.vip(*address),
            "node" => services.node(*address),
            _ => panic!("{kind}"),
        }
    }
    for service in &fixture.services {
        let protocol = match service.protocol.as_str() {
            "tcp" => PROTOCOL_TCP,
            "udp" => PROTOCOL_UDP,
            protocol => panic!("{protocol}"),
        };
        let flags = |local| if local { BACKEND_LOCAL } else { 0 };
        let backends: Vec<_> =
            service.backends.iter().map(|b| (b.address, flags(b.local))).collect();
        services.add(service.frontend, protocol, SCOPE_EXTERNAL, &backends);
        if service.drop_when_empty {
            let key = ServiceKey {
                address: service.frontend.ip().into(),
                port_be: service.frontend.port().to_be(),
                protocol,
                scope: SCOPE_EXTERNAL,
            };
            let mut value = maps.services.lookup(&key).unwrap().unwrap();
            value.flags = SERVICE_DROP_WHEN_EMPTY;
            maps.services.upsert(&key, &value).unwrap();
        }
    }
    let of = |addresses: &[IpAddr], v4: bool| {
        let address = addresses.iter().find(|address| address.is_ipv4() == v4);
        address.map(|address| Address::from(*address)).unwrap_or_default()
    };
    let pod = PodValue { v4: of(&fixture.pod, true), v6: of(&fixture.pod, false) };
    maps.pods.upsert(&pod0.0, &pod).unwrap();
    if let Some(node) = &fixture.node {
        let config = NodeConfig {
            node_v4: of(&node.addresses, true),
            node_v6: of(&node.addresses, false),
            nat_port_first: node.nat_ports.0,
            nat_port_last: node.nat_ports.1,
            ..NodeConfig::default()
        };
        maps.set_config(&config).unwrap();
    }
}

/// The verdict as the fixtures name it. Forwarding and returning are the same action; which of
/// them it was is in the counters, as is why a packet was dropped.
fn describe(action: i32, mark: u32, before: &[(Counter, u64)], after: &[(Counter, u64)]) -> String {
    let counted = |counter| {
        before.iter().zip(after).any(|(before, after)| before.0 == counter && before.1 != after.1)
    };
    match action {
        ACTION_UNSPEC => "pass".to_owned(),
        ACTION_OK if mark == SERVICE_MARK => "deliver".to_owned(),
        ACTION_REDIRECT if counted(Counter::Refused) => "return".to_owned(),
        ACTION_REDIRECT if mark == SERVICE_MARK => "forward".to_owned(),
        ACTION_SHOT => {
            let drops = after.iter().map(|(counter, _)| *counter).filter(|counter| {
                counter.name().starts_with("dropped_") || *counter == Counter::RefusedSilently
            });
            let names: Vec<_> = drops.filter(|c| counted(*c)).map(Counter::name).collect();
            format!("drop {}", names.join(" "))
        }
        _ => format!("action {action}, mark {mark:#x}"),
    }
}

/// Such a frame reaches a classifier from a wire, but the kernel takes none for a test run.
fn ends_within_ip(frame: &[u8]) -> bool {
    match frame {
        [_, _, _, _, _, _, _, _, _, _, _, _, 0x08, 0x00, rest @ ..] => rest.len() < 20,
        [_, _, _, _, _, _, _, _, _, _, _, _, 0x86, 0xdd, rest @ ..] => rest.len() < 40,
        _ => false,
    }
}

#[test]
fn every_packet_becomes_what_its_fixture_says() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../ebpf/datapath/fixtures");
    with_bpffs(|pin_dir| {
        let namespace = namespace();
        let (up0, pod0) = (namespace.ifindex("up0"), namespace.ifindex("pod0"));
        for (file, fixture) in fixture::all(&folder) {
            // A bpf filesystem takes no dots in names.
            let pin_dir = pin_dir.join(file.trim_end_matches(".json"));
            let mut data_plane = DataPlane::load(&options(&pin_dir)).unwrap();
            fill(&data_plane, &fixture, pod0);
            let counters = data_plane.maps().counters;
            let read = || counters.read().unwrap().into_iter().collect::<Vec<_>>();
            for (number, step) in fixture.packets.iter().enumerate() {
                let place = format!("{file}, packet {number}: {}", fixture.description);
                let (interface, ifindex) = match step.at.as_str() {
                    "uplink" => (Interface::Uplink, up0),
                    "pod" => (Interface::Pod, pod0),
                    at => panic!("{place}: {at}"),
                };
                let frame = fixture::bytes(&step.packet);
                if ends_within_ip(&frame) {
                    continue;
                }
                let before = read();
                let run = namespace.run(|| data_plane.test_run(interface, ifindex, &frame));
                let run = run.unwrap_or_else(|error| panic!("{place}: {error:?}"));
                let verdict = describe(run.action, run.mark, &before, &read());
                assert_eq!(verdict, step.verdict, "{place}");
                let expected = step.becomes.as_ref().unwrap_or(&step.packet);
                if run.action != ACTION_SHOT {
                    let expected = fixture::hexadecimal(&fixture::bytes(expected));
                    assert_eq!(fixture::hexadecimal(&run.frame), expected, "{place}");
                }
            }
            DataPlane::remove(&pin_dir).unwrap();
        }
    });
}
