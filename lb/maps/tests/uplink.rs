//! The classifiers at work: a client outside reaches services of a node, whose backends are a pod
//! of the node and a host elsewhere.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "support/lab.rs"]
mod lab;
#[expect(dead_code, reason = "shared by several tests, of which each needs a part")]
mod support;

use std::{
    collections::BTreeMap,
    io::{ErrorKind, Read, Write},
    net::{IpAddr, SocketAddr, TcpStream, UdpSocket},
    path::Path,
    thread,
    time::Duration,
};

use ebpf_abi::{
    Address, BACKEND_LOCAL, Counter, NodeConfig, PROTOCOL_TCP, PROTOCOL_UDP, SCOPE_EXTERNAL,
    SERVICE_LIMITS_SOURCES, SOURCE_BITS_MIN, Source, SourceRange,
};
use lab::{CLIENT, ELSEWHERE, Lab, NODE, POD, VIP, answer, ask, at, connect, ip, serve_tcp};
use lb_maps::{DataPlane, PodAddresses};
use support::{Namespace, Services, options, with_bpffs};

const WILDCARD: [&str; 2] = ["0.0.0.0", "::"];

const NAT_PORTS: std::ops::RangeInclusive<u16> = 61000..=61999;

/// Runs `body` with the programs attached at the node's uplink and at the pod.
fn in_lab(body: impl FnOnce(&Lab, &DataPlane, &Path) + Send) {
    with_bpffs(|pin_dir| {
        let lab = Lab::new();
        let data_plane = lab.node.run(|| start(&lab, pin_dir));
        let services = Services::new(&data_plane);
        for family in 0..2 {
            services.node(ip(NODE[family]));
            services.vip(ip(VIP[family]));
        }
        let config = NodeConfig {
            node_v4: Address::from(ip(NODE[0])),
            node_v6: Address::from(ip(NODE[1])),
            nat_port_first: *NAT_PORTS.start(),
            nat_port_last: *NAT_PORTS.end(),
            ..NodeConfig::default()
        };
        data_plane.maps().set_config(&config).unwrap();
        body(&lab, &data_plane, pin_dir);
        lab.node.run(|| DataPlane::remove(pin_dir)).unwrap();
    });
}

/// What a process does when it starts. Must run in the node's namespace.
fn start(lab: &Lab, pin_dir: &Path) -> DataPlane {
    let mut data_plane = DataPlane::load(&options(pin_dir)).unwrap();
    data_plane.attach_uplink(lab.node.ifindex("up0")).unwrap();
    let (IpAddr::V4(v4), IpAddr::V6(v6)) = (ip(POD[0]), ip(POD[1])) else { unreachable!() };
    let pod = PodAddresses { v4: Some(v4), v6: Some(v6) };
    data_plane.attach_pod(lab.node.ifindex("pod0"), pod).unwrap();
    data_plane
}

fn serve_udp(namespace: &Namespace, address: SocketAddr) {
    let socket = namespace.run(|| UdpSocket::bind(address).unwrap());
    thread::spawn(move || {
        let mut buffer = [0; 64];
        while let Ok((_, client)) = socket.recv_from(&mut buffer) {
            let _ = socket.send_to(format!("{} {client}\n", address.port()).as_bytes(), client);
        }
    });
}

fn client_udp(lab: &Lab, service: SocketAddr) -> UdpSocket {
    let local = at(WILDCARD[usize::from(service.is_ipv6())], 0);
    let socket = lab.client.run(|| UdpSocket::bind(local).unwrap());
    socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    socket
}

fn ask_udp(socket: &UdpSocket, service: SocketAddr) -> (u16, SocketAddr) {
    socket.send_to(b"who", service).unwrap();
    let mut buffer = [0; 128];
    let (length, peer) = socket.recv_from(&mut buffer).unwrap();
    assert_eq!(peer, service, "the answer comes from the service");
    answer(&buffer[..length])
}

/// The frontends by which a service is reached from outside: as it is entered, and as it is asked.
fn frontends(family: usize) -> [(SocketAddr, SocketAddr); 2] {
    [
        (at(VIP[family], 80), at(VIP[family], 80)),
        (at(WILDCARD[family], 30080), at(NODE[family], 30080)),
    ]
}

#[test]
fn a_local_backend_sees_the_client() {
    in_lab(|lab, data_plane, _| {
        let mut services = Services::new(data_plane);
        for family in 0..2 {
            let backend = at(POD[family], 8080);
            serve_tcp(&lab.pod, backend);
            serve_udp(&lab.pod, backend);
            for (frontend, asked) in frontends(family) {
                for protocol in [PROTOCOL_TCP, PROTOCOL_UDP] {
                    let backends = [(backend, BACKEND_LOCAL)];
                    services.add(frontend, protocol, SCOPE_EXTERNAL, &backends);
                }
                let mut stream = connect(lab, asked).unwrap();
                let client = stream.local_addr().unwrap();
                assert_eq!(ask(&mut stream), (8080, client), "{asked}");
                let socket = client_udp(lab, asked);
                let port = socket.local_addr().unwrap().port();
                for _ in 0..3 {
                    assert_eq!(ask_udp(&socket, asked), (8080, at(CLIENT[family], port)));
                }
            }
        }
        let counters = data_plane.maps().counters.read().unwrap();
        assert_eq!(counters[&Counter::FlowCreated], 8, "{counters:?}");
        assert_eq!(counters[&Counter::FlowEstablished], 8, "{counters:?}");
        assert!(data_plane.maps().flows_embryonic.entries().unwrap().is_empty());
    });
}

#[test]
fn a_backend_in_the_network_of_the_host_sees_the_client() {
    in_lab(|lab, data_plane, _| {
        let mut services = Services::new(data_plane);
        for family in 0..2 {
            let backend = at(NODE[family], 8080);
            serve_tcp(&lab.node, backend);
            serve_udp(&lab.node, backend);
            for (frontend, asked) in frontends(family) {
                for protocol in [PROTOCOL_TCP, PROTOCOL_UDP] {
                    let backends = [(backend, BACKEND_LOCAL)];
                    services.add(frontend, protocol, SCOPE_EXTERNAL, &backends);
                }
                let mut stream = connect(lab, asked).unwrap();
                let client = stream.local_addr().unwrap();
                assert_eq!(ask(&mut stream), (8080, client), "{asked}");
                let socket = client_udp(lab, asked);
                let port = socket.local_addr().unwrap().port();
                assert_eq!(ask_udp(&socket, asked), (8080, at(CLIENT[family], port)));
            }
            // What is no service's stays as it is.
            let mut stream = connect(lab, backend).unwrap();
            let client = stream.local_addr().unwrap();
            assert_eq!(ask(&mut stream), (8080, client));
        }
    });
}

#[test]
fn a_backend_elsewhere_sees_the_node() {
    in_lab(|lab, data_plane, _| {
        let mut services = Services::new(data_plane);
        for family in 0..2 {
            let backend = at(ELSEWHERE[family], 8080);
            serve_tcp(&lab.other, backend);
            serve_udp(&lab.other, backend);
            for (frontend, asked) in frontends(family) {
                for protocol in [PROTOCOL_TCP, PROTOCOL_UDP] {
                    services.add(frontend, protocol, SCOPE_EXTERNAL, &[(backend, 0)]);
                }
                let mut stream = connect(lab, asked).unwrap();
                let (_, seen) = ask(&mut stream);
                assert_eq!(seen.ip(), ip(NODE[family]), "{asked}");
                assert!(NAT_PORTS.contains(&seen.port()), "{seen}");
                let socket = client_udp(lab, asked);
                for _ in 0..3 {
                    let (_, seen) = ask_udp(&socket, asked);
                    assert_eq!(seen.ip(), ip(NODE[family]), "{asked}");
                    assert!(NAT_PORTS.contains(&seen.port()), "{seen}");
                }
            }
        }
    });
}

#[test]
fn much_data_arrives_whole() {
    in_lab(|lab, data_plane, _| {
        let mut services = Services::new(data_plane);
        for family in 0..2 {
            let places = [(80, &lab.pod, POD, BACKEND_LOCAL), (81, &lab.other, ELSEWHERE, 0)];
            for (port, namespace, address, flags) in places {
                let backend = at(address[family], 8080);
                serve_tcp(namespace, backend);
                let vip = at(VIP[family], port);
                services.add(vip, PROTOCOL_TCP, SCOPE_EXTERNAL, &[(backend, flags)]);
                let mut stream = connect(lab, vip).unwrap();
                let sent: Vec<u8> = (0..4_000_000_u32).map(|n| (n / 7) as u8).collect();
                let mut reader = stream.try_clone().unwrap();
                let expected = sent.len();
                let received = thread::spawn(move || {
                    let mut received = vec![0; expected];
                    reader.read_exact(&mut received).map(|()| received)
                });
                stream.write_all(&sent).unwrap();
                assert!(received.join().unwrap().unwrap() == sent, "{vip}");
            }
        }
    });
}

#[test]
fn flows_spread_over_the_backends() {
    in_lab(|lab, data_plane, _| {
        let mut services = Services::new(data_plane);
        for family in 0..2 {
            let backends = [
                (at(POD[family], 8081), BACKEND_LOCAL),
                (at(POD[family], 8082), BACKEND_LOCAL),
                (at(ELSEWHERE[family], 8083), 0),
            ];
            for (backend, flags) in backends {
                let place = if flags == BACKEND_LOCAL { &lab.pod } else { &lab.other };
                serve_tcp(place, backend);
            }
            let vip = at(VIP[family], 80);
            services.add(vip, PROTOCOL_TCP, SCOPE_EXTERNAL, &backends);
            let mut counts = BTreeMap::<u16, u32>::new();
            for _ in 0..300 {
                let (port, _) = ask(&mut connect(lab, vip).unwrap());
                *counts.entry(port).or_default() += 1;
            }
            for port in 8081..=8083 {
                assert!((60..=141).contains(&counts[&port]), "{vip}: {counts:?}");
            }
        }
    });
}

#[test]
fn what_no_one_serves_is_refused_at_once() {
    in_lab(|lab, data_plane, _| {
        let mut services = Services::new(data_plane);
        for family in 0..2 {
            for (frontend, _) in frontends(family) {
                for protocol in [PROTOCOL_TCP, PROTOCOL_UDP] {
                    services.add(frontend, protocol, SCOPE_EXTERNAL, &[]);
                }
            }
            let asked = [at(VIP[family], 80), at(NODE[family], 30080), at(VIP[family], 81)];
            for asked in asked {
                let error = connect(lab, asked).unwrap_err();
                assert_eq!(error.kind(), ErrorKind::ConnectionRefused, "{asked} tcp");
                // An ICMP error reaches a connected socket only.
                let socket = client_udp(lab, asked);
                lab.client.run(|| socket.connect(asked).unwrap());
                socket.send(b"who").unwrap();
                let error = socket.recv(&mut [0; 16]).unwrap_err();
                assert_eq!(error.kind(), ErrorKind::ConnectionRefused, "{asked} udp");
            }
        }
        let counters = data_plane.maps().counters.read().unwrap();
        assert_eq!(counters[&Counter::Refused], 12, "{counters:?}");
    });
}

#[test]
fn a_pod_is_reached_and_answers_without_translation() {
    in_lab(|lab, data_plane, _| {
        for address in POD {
            let pod = at(address, 8080);
            serve_tcp(&lab.pod, pod);
            let mut stream = connect(lab, pod).unwrap();
            let client = stream.local_addr().unwrap();
            assert_eq!(ask(&mut stream), (8080, client));
        }
        let counters = data_plane.maps().counters.read().unwrap();
        assert!(counters.values().all(|count| *count == 0), "{counters:?}");
    });
}

#[test]
fn a_new_process_adopts_flows_and_links() {
    in_lab(|lab, data_plane, pin_dir| {
        let mut services = Services::new(data_plane);
        let mut held = Vec::new();
        for family in 0..2 {
            let places = [(80, &lab.pod, POD, BACKEND_LOCAL), (81, &lab.other, ELSEWHERE, 0)];
            for (port, namespace, address, flags) in places {
                let backend = at(address[family], 8080);
                serve_tcp(namespace, backend);
                let vip = at(VIP[family], port);
                services.add(vip, PROTOCOL_TCP, SCOPE_EXTERNAL, &[(backend, flags)]);
                let mut stream = connect(lab, vip).unwrap();
                let seen = ask(&mut stream);
                held.push((stream, seen, vip));
            }
        }
        for _ in 0..3 {
            let adopted = lab.node.run(|| start(lab, pin_dir));
            for (stream, seen, vip) in &mut held {
                assert_eq!(ask(stream), *seen, "the connection goes on");
                ask(&mut connect(lab, *vip).unwrap());
            }
            let pods = adopted.attached_pods().unwrap();
            assert_eq!(pods.into_iter().collect::<Vec<_>>(), [lab.node.ifindex("pod0")]);
        }
    });
}

#[test]
fn detaching_is_idempotent_and_survives_the_interface() {
    in_lab(|lab, _, pin_dir| {
        let veth = lab.node.ifindex("pod0");
        let mut data_plane = lab.node.run(|| start(lab, pin_dir));
        lab.node.ip("link delete pod0");
        lab.node.run(|| {
            data_plane.detach_pod(veth).unwrap();
            data_plane.detach_pod(veth).unwrap();
        });
        assert!(data_plane.attached_pods().unwrap().is_empty());
        assert!(data_plane.maps().pods.entries().unwrap().is_empty());
        assert_eq!(data_plane.attached_uplinks().unwrap().len(), 1);
        let uplink = lab.node.ifindex("up0");
        lab.node.run(|| data_plane.detach_uplink(uplink)).unwrap();
        assert!(data_plane.attached_uplinks().unwrap().is_empty());
        let links = pin_dir.join(format!("v{}/links", ebpf_abi::ABI_VERSION));
        assert_eq!(std::fs::read_dir(&links).unwrap().count(), 0);
    });
}

#[test]
fn a_client_outside_keeps_its_backend_where_the_service_asks_for_it() {
    in_lab(|lab, data_plane, _| {
        let mut services = Services::new(data_plane);
        for family in 0..2 {
            let ports = 8080..8084;
            let backends: Vec<_> =
                ports.map(|port| (at(POD[family], port), BACKEND_LOCAL)).collect();
            for (backend, _) in &backends {
                serve_tcp(&lab.pod, *backend);
            }
            let vip = at(VIP[family], 80);
            services.add(vip, PROTOCOL_TCP, SCOPE_EXTERNAL, &backends);
            let asked = || -> Vec<u16> {
                (0..30).map(|_| ask(&mut connect(lab, vip).unwrap()).0).collect()
            };
            let spread = asked();
            assert!(spread.iter().any(|port| *port != spread[0]), "{spread:?}");
            services.change(vip, PROTOCOL_TCP, SCOPE_EXTERNAL, |value| {
                (value.service, value.affinity_seconds) = (7, 600);
            });
            let kept = asked();
            assert!(kept.iter().all(|port| *port == kept[0]), "{kept:?}");
        }
        assert_eq!(data_plane.maps().affinity.entries().unwrap().len(), 2);
    });
}

#[test]
fn a_service_may_be_for_some_sources_only() {
    in_lab(|lab, data_plane, _| {
        let mut services = Services::new(data_plane);
        let maps = data_plane.maps();
        let range = |service, prefix: &str, length: u32| {
            let bits = if ip(prefix).is_ipv4() { 96 } else { 0 } + length;
            let source = Source { service, address: ip(prefix).into() };
            SourceRange { prefix_length: SOURCE_BITS_MIN + bits, source }
        };
        let near = [("198.51.100.0", 24), ("fd00:c::", 64)];
        for family in 0..2 {
            let backend = at(POD[family], 8080);
            serve_tcp(&lab.pod, backend);
            let vip = at(VIP[family], 80);
            services.add(vip, PROTOCOL_TCP, SCOPE_EXTERNAL, &[(backend, BACKEND_LOCAL)]);
            let mut open = connect(lab, vip).unwrap();
            services.change(vip, PROTOCOL_TCP, SCOPE_EXTERNAL, |value| {
                (value.service, value.flags) = (7, SERVICE_LIMITS_SOURCES);
            });
            // Another service's range is none of its own.
            let (prefix, length) = near[family];
            maps.sources.upsert(&range(8, prefix, length), &1).unwrap();
            let wait = Duration::from_millis(100);
            let error = lab.client.run(|| TcpStream::connect_timeout(&vip, wait)).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::TimedOut, "silence");
            assert_eq!(ask(&mut open).0, 8080, "what is open goes on");
            maps.sources.upsert(&range(7, prefix, length), &1).unwrap();
            assert_eq!(ask(&mut connect(lab, vip).unwrap()).0, 8080);
        }
        let counters = maps.counters.read().unwrap();
        assert!(counters[&Counter::DroppedSource] >= 2, "{counters:?}");
    });
}
