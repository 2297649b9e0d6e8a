//! The socket programs at work: processes of a cgroup talk to services that no route leads to.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[expect(dead_code, reason = "shared by several tests, of which each needs a part")]
mod support;

use std::{
    collections::BTreeMap,
    io::{ErrorKind, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream, UdpSocket},
    path::Path,
    sync::{Mutex, PoisonError},
    thread,
    time::Duration,
};

use ebpf_abi::{
    BACKEND_DRAINING, BackendValue, PROTOCOL_TCP, PROTOCOL_UDP, SCOPE_INTERNAL, SocketOrigin,
};
use lb_maps::DataPlane;
use support::{Cgroup, Namespace, Services, options, with_bpffs};

const SERVICE_V4: &str = "10.96.0.1:80";
const SERVICE_V6: &str = "[fd00:96::1]:80";
/// What a client of both families calls the first.
const SERVICE_MAPPED: &str = "[::ffff:10.96.0.1]:80";

const BACKENDS_V4: [&str; 3] = ["127.0.1.1:8080", "127.0.1.2:8080", "127.0.1.3:8080"];
const BACKENDS_V6: [&str; 3] = ["[fd00:1::1]:8080", "[fd00:1::2]:8080", "[fd00:1::3]:8080"];

/// Both families, and the mapped spelling, with the backends of each.
const CASES: [(&str, &str, [&str; 3]); 3] = [
    (SERVICE_V4, SERVICE_V4, BACKENDS_V4),
    (SERVICE_V6, SERVICE_V6, BACKENDS_V6),
    (SERVICE_MAPPED, SERVICE_V4, BACKENDS_V4),
];

fn address(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

struct Lab<'a> {
    cgroup: &'a Cgroup,
    pin_dir: &'a Path,
    data_plane: DataPlane,
}

/// Runs `body` in a namespace with nothing but loopback, in a cgroup that has the programs.
fn in_cgroup(body: impl FnOnce(Lab<'_>) + Send) {
    static TURN: Mutex<()> = Mutex::new(());
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    with_bpffs(|pin_dir| {
        let namespace = Namespace::new();
        for backend in BACKENDS_V6 {
            namespace.ip(&format!("address add {}/128 dev lo nodad", address(backend).ip()));
        }
        let cgroup = Cgroup::enter();
        let mut data_plane = DataPlane::load(&options(pin_dir)).unwrap();
        data_plane.attach_cgroup(cgroup.path()).unwrap();
        namespace.run(|| body(Lab { cgroup: &cgroup, pin_dir, data_plane }));
        DataPlane::remove(pin_dir).unwrap();
    });
}

/// Answers each connection with the backend's own address.
fn serve_tcp(backends: &[&str]) {
    for backend in backends {
        let listener = TcpListener::bind(backend).unwrap();
        thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let name = stream.local_addr().unwrap().to_string();
                // The client may have gone.
                let _ = stream.write_all(name.as_bytes());
            }
        });
    }
}

fn serve_udp(backends: &[&str]) {
    for backend in backends {
        let socket = UdpSocket::bind(backend).unwrap();
        thread::spawn(move || {
            let mut buffer = [0; 64];
            while let Ok((_, client)) = socket.recv_from(&mut buffer) {
                let name = socket.local_addr().unwrap().to_string();
                let _ = socket.send_to(name.as_bytes(), client);
            }
        });
    }
}

fn with_flags(backends: &[&str], flags: u16) -> Vec<(SocketAddr, u16)> {
    backends.iter().map(|backend| (address(backend), flags)).collect()
}

fn add_services(services: &mut Services, protocol: u8) -> BTreeMap<&'static str, Vec<u32>> {
    let mut ids = BTreeMap::new();
    for (service, backends) in [(SERVICE_V4, BACKENDS_V4), (SERVICE_V6, BACKENDS_V6)] {
        services.cluster_ip(address(service).ip());
        let backends = with_flags(&backends, 0);
        ids.insert(service, services.add(address(service), protocol, SCOPE_INTERNAL, &backends));
    }
    ids
}

fn ask_tcp(service: &str) -> (String, SocketAddr) {
    let mut stream = TcpStream::connect(service).unwrap();
    let peer = stream.peer_addr().unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    (answer, peer)
}

fn client_udp(service: &str) -> UdpSocket {
    let local = if address(service).is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
    let socket = UdpSocket::bind(local).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    socket
}

fn ask_udp(socket: &UdpSocket, service: &str) -> (String, SocketAddr) {
    socket.send_to(b"who", service).unwrap();
    let mut buffer = [0; 64];
    let (length, peer) = socket.recv_from(&mut buffer).unwrap();
    (String::from_utf8(buffer[..length].to_vec()).unwrap(), peer)
}

#[test]
fn connections_spread_over_the_backends_and_show_the_service() {
    in_cgroup(|lab| {
        let mut services = Services::new(&lab.data_plane);
        add_services(&mut services, PROTOCOL_TCP);
        serve_tcp(&BACKENDS_V4);
        serve_tcp(&BACKENDS_V6);
        for (asked, _, backends) in CASES {
            let mut counts = BTreeMap::<String, u32>::new();
            for _ in 0..300 {
                let (backend, peer) = ask_tcp(asked);
                assert_eq!(peer, address(asked), "getpeername");
                *counts.entry(backend).or_default() += 1;
            }
            for backend in backends {
                let count = counts[backend];
                assert!((60..=141).contains(&count), "{asked}: {counts:?}");
            }
        }
    });
}

#[test]
fn a_service_without_backends_refuses() {
    in_cgroup(|lab| {
        let mut services = Services::new(&lab.data_plane);
        for (asked, service, _) in CASES {
            services.cluster_ip(address(service).ip());
            for protocol in [PROTOCOL_TCP, PROTOCOL_UDP] {
                services.add(address(service), protocol, SCOPE_INTERNAL, &[]);
            }
            let error = TcpStream::connect(asked).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::ConnectionRefused, "{asked}");
            let socket = client_udp(asked);
            let error = socket.send_to(b"who", asked).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::ConnectionRefused, "{asked} sendto");
            let error = socket.connect(asked).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::ConnectionRefused, "{asked} connect");
        }
    });
}

#[test]
fn a_port_that_no_service_has_refuses() {
    in_cgroup(|lab| {
        let mut services = Services::new(&lab.data_plane);
        add_services(&mut services, PROTOCOL_TCP);
        for closed in ["10.96.0.1:81", "[fd00:96::1]:81", "[::ffff:10.96.0.1]:81"] {
            let error = TcpStream::connect(closed).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::ConnectionRefused, "{closed}");
        }
    });
}

#[test]
fn an_unconnected_udp_socket_keeps_its_backend_until_that_drains() {
    in_cgroup(|lab| {
        let mut services = Services::new(&lab.data_plane);
        let ids = add_services(&mut services, PROTOCOL_UDP);
        serve_udp(&BACKENDS_V4);
        serve_udp(&BACKENDS_V6);
        for (asked, service, backends) in CASES {
            let socket = client_udp(asked);
            let (first, peer) = ask_udp(&socket, asked);
            assert_eq!(peer, address(asked), "recvfrom");
            for _ in 0..20 {
                assert_eq!(ask_udp(&socket, asked), (first.clone(), address(asked)));
            }
            // Others go elsewhere: of 60 sockets all on one backend there is no chance.
            let others: BTreeMap<_, _> =
                (0..60).map(|_| ask_udp(&client_udp(asked), asked)).collect();
            assert_eq!(others.len(), 3, "{others:?}");

            let place = backends.iter().position(|backend| *backend == first).unwrap();
            let backend = address(&first);
            let draining = BackendValue {
                address: backend.ip().into(),
                port_be: backend.port().to_be(),
                flags: BACKEND_DRAINING,
                ..BackendValue::default()
            };
            let maps = lab.data_plane.maps();
            let id = ids[service][place];
            let before = maps.backends.lookup(&id).unwrap().unwrap();
            maps.backends.upsert(&id, &draining).unwrap();
            // The table still names it, so the choice may fall on it again; with each send anew.
            let moved = (0..100).any(|_| ask_udp(&socket, asked).0 != first);
            assert!(moved, "{asked}: stays on a backend that drains");
            maps.backends.upsert(&id, &before).unwrap();
        }
    });
}

#[test]
fn a_connected_udp_socket_shows_the_service() {
    in_cgroup(|lab| {
        let mut services = Services::new(&lab.data_plane);
        add_services(&mut services, PROTOCOL_UDP);
        serve_udp(&BACKENDS_V4);
        serve_udp(&BACKENDS_V6);
        for (asked, _, backends) in CASES {
            let socket = client_udp(asked);
            socket.connect(asked).unwrap();
            assert_eq!(socket.peer_addr().unwrap(), address(asked), "getpeername");
            socket.send(b"who").unwrap();
            let mut buffer = [0; 64];
            let (length, peer) = socket.recv_from(&mut buffer).unwrap();
            assert_eq!(peer, address(asked), "recvfrom");
            let answer = String::from_utf8(buffer[..length].to_vec()).unwrap();
            assert!(backends.contains(&answer.as_str()), "{answer}");
        }
    });
}

/// Open connections by the frontend that was asked for.
fn open(lab: &Lab<'_>) -> BTreeMap<(SocketAddr, u8), usize> {
    let mut open = BTreeMap::new();
    let count = |_cookie, origin: SocketOrigin| {
        let frontend = SocketAddr::new(origin.address.into(), u16::from_be(origin.port_be));
        *open.entry((frontend, origin.protocol)).or_default() += 1;
    };
    lab.data_plane.maps().connections.visit(count).unwrap();
    open
}

#[test]
fn a_connection_is_known_while_its_socket_is_open() {
    in_cgroup(|lab| {
        assert_eq!(lab.data_plane.no_release(), None);
        let mut services = Services::new(&lab.data_plane);
        add_services(&mut services, PROTOCOL_TCP);
        add_services(&mut services, PROTOCOL_UDP);
        serve_tcp(&BACKENDS_V4);
        serve_tcp(&BACKENDS_V6);
        let connect_udp = |service| {
            let socket = client_udp(service);
            socket.connect(service).unwrap();
            socket
        };
        for (asked, service, _) in CASES {
            let streams: Vec<_> = (0..7).map(|_| TcpStream::connect(asked).unwrap()).collect();
            let copy = streams[0].try_clone().unwrap();
            let sockets: Vec<_> = (0..5).map(|_| connect_udp(asked)).collect();
            let (tcp, udp) = ((address(service), PROTOCOL_TCP), (address(service), PROTOCOL_UDP));
            assert_eq!(open(&lab), [(tcp, 7), (udp, 5)].into(), "{asked}");
            drop((streams, sockets));
            assert_eq!(open(&lab), [(tcp, 1)].into(), "{asked}: one has another descriptor");
            drop(copy);
            assert!(open(&lab).is_empty(), "{asked}: {:?}", open(&lab));
        }
    });
}

#[test]
fn a_connection_that_failed_or_went_elsewhere_is_forgotten() {
    in_cgroup(|lab| {
        let mut services = Services::new(&lab.data_plane);
        add_services(&mut services, PROTOCOL_TCP);
        add_services(&mut services, PROTOCOL_UDP);
        for (asked, _, _) in CASES {
            // Nobody listens; the kernel takes the peer from the socket before it is closed.
            let error = TcpStream::connect(asked).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::ConnectionRefused, "{asked}");
            assert!(open(&lab).is_empty(), "{asked}: {:?}", open(&lab));
        }
        let socket = client_udp(SERVICE_V4);
        for _ in 0..20 {
            socket.connect(SERVICE_V4).unwrap();
        }
        assert_eq!(open(&lab).values().sum::<usize>(), 1, "a socket has one peer");
        socket.connect("127.0.0.9:53").unwrap();
        assert_eq!(socket.peer_addr().unwrap(), address("127.0.0.9:53"), "getpeername");
        drop(socket);
        assert!(open(&lab).is_empty(), "{:?}", open(&lab));
    });
}

/// What the programs add to a connect and close, by sockets that send nothing meanwhile.
#[test]
#[ignore = "measures: run it by name with --release, --ignored and --nocapture"]
fn what_a_connect_and_close_cost() {
    const TIMES: u32 = 200_000;
    let measure = |target: &str| {
        let begun = std::time::Instant::now();
        for _ in 0..TIMES {
            UdpSocket::bind("0.0.0.0:0").unwrap().connect(target).unwrap();
        }
        begun.elapsed() / TIMES
    };
    in_cgroup(|lab| {
        let mut services = Services::new(&lab.data_plane);
        add_services(&mut services, PROTOCOL_UDP);
        for _ in 0..5 {
            println!("service {:?}, other {:?}", measure(SERVICE_V4), measure("127.0.0.9:53"));
        }
        DataPlane::remove(lab.pin_dir).unwrap();
        println!("without programs: other {:?}", measure("127.0.0.9:53"));
    });
}

#[test]
fn a_node_port_is_found_by_every_address_of_the_node_and_by_no_other() {
    in_cgroup(|lab| {
        let mut services = Services::new(&lab.data_plane);
        let cases = [
            ("0.0.0.0:30080", "127.0.0.1:30080", "127.0.0.9:30080", BACKENDS_V4),
            ("[::]:30080", "[::1]:30080", "[fd00:1::2]:30080", BACKENDS_V6),
        ];
        serve_tcp(&BACKENDS_V4);
        serve_tcp(&BACKENDS_V6);
        for (wildcard, node, other, backends) in cases {
            let backends = with_flags(&backends, 0);
            services.node(address(node).ip());
            services.add(address(wildcard), PROTOCOL_TCP, SCOPE_INTERNAL, &backends);
            assert_eq!(ask_tcp(node).1, address(node));
            // Refused by the host itself, where nothing listens.
            let error = TcpStream::connect(other).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::ConnectionRefused, "{other}");
        }
        let refused = lab.data_plane.maps().counters.read().unwrap();
        assert_eq!(refused[&ebpf_abi::Counter::SocketRefused], 0);
    });
}

#[test]
fn what_is_no_service_is_left_alone() {
    in_cgroup(|lab| {
        let mut services = Services::new(&lab.data_plane);
        add_services(&mut services, PROTOCOL_TCP);
        serve_tcp(&BACKENDS_V4);
        serve_tcp(&BACKENDS_V6);
        for backend in BACKENDS_V4.into_iter().chain(BACKENDS_V6) {
            assert_eq!(ask_tcp(backend), (backend.to_owned(), address(backend)));
        }
    });
}

#[test]
fn a_new_process_adopts_maps_and_links() {
    in_cgroup(|lab| {
        let mut services = Services::new(&lab.data_plane);
        add_services(&mut services, PROTOCOL_TCP);
        serve_tcp(&BACKENDS_V4);
        let before = programs_of(lab.cgroup.path());
        let held = TcpStream::connect(SERVICE_V4).unwrap();
        drop(lab.data_plane);
        // Between the processes.
        ask_tcp(SERVICE_V4);

        let mut adopted = DataPlane::load(&options(lab.pin_dir)).unwrap();
        adopted.attach_cgroup(lab.cgroup.path()).unwrap();
        assert_eq!(programs_of(lab.cgroup.path()), before, "the running programs stay");
        assert_eq!(adopted.maps().services.entries().unwrap().len(), 2);
        assert_eq!(held.peer_addr().unwrap(), address(SERVICE_V4), "sockets are remembered");
        ask_tcp(SERVICE_V4);

        DataPlane::remove(lab.pin_dir).unwrap();
        assert!(programs_of(lab.cgroup.path()).is_empty());
    });
}

#[test]
fn the_pin_folder_must_be_on_a_bpf_filesystem() {
    let folder = tempfile::tempdir().unwrap();
    let error = DataPlane::load(&options(&folder.path().join("pins"))).unwrap_err();
    assert!(error.to_string().contains("not on a bpf filesystem"), "{error}");
    assert!(!folder.path().join("pins").exists());
}

/// The ids of the programs attached to a cgroup, as another tool sees them.
fn programs_of(cgroup: &Path) -> Vec<u64> {
    let output = std::process::Command::new("bpftool")
        .args(["--json", "cgroup", "show"])
        .arg(cgroup)
        .output()
        .expect("bpftool is installed");
    let text = String::from_utf8(output.stdout).unwrap();
    let mut ids: Vec<u64> = text
        .split("\"id\":")
        .skip(1)
        .map(|rest| rest.split(|c: char| !c.is_ascii_digit()).next().unwrap().parse().unwrap())
        .collect();
    ids.sort_unstable();
    ids
}

#[test]
fn a_client_keeps_its_backend_where_the_service_asks_for_it() {
    in_cgroup(|lab| {
        let mut services = Services::new(&lab.data_plane);
        let maps = lab.data_plane.maps();
        let ids = add_services(&mut services, PROTOCOL_TCP);
        serve_tcp(&BACKENDS_V4);
        serve_tcp(&BACKENDS_V6);
        for service in [SERVICE_V4, SERVICE_V6] {
            services.change(address(service), PROTOCOL_TCP, SCOPE_INTERNAL, |value| {
                (value.service, value.affinity_seconds) = (7, 600);
            });
        }
        for (asked, service, backends) in CASES {
            let (first, peer) = ask_tcp(asked);
            assert_eq!(peer, address(asked), "getpeername");
            // Of 30 on one backend by chance there is no chance.
            assert!((0..30).all(|_| ask_tcp(asked).0 == first), "{asked}");

            // It takes no new flows, so that the client is led elsewhere, and stays there.
            let place = backends.iter().position(|one| *one == first).unwrap();
            let id = ids[service][place];
            let before = maps.backends.lookup(&id).unwrap().unwrap();
            let draining = BackendValue { flags: BACKEND_DRAINING, ..before };
            maps.backends.upsert(&id, &draining).unwrap();
            let moved = (0..100).map(|_| ask_tcp(asked).0).find(|one| *one != first).unwrap();
            assert!((0..30).all(|_| ask_tcp(asked).0 == moved), "{asked}");
            maps.backends.upsert(&id, &before).unwrap();
        }
        // One client, though it has asked for two families.
        let entries = maps.affinity.entries().unwrap();
        let keys: Vec<_> = entries.keys().map(|key| (key.service, key.scope, key.v4)).collect();
        assert_eq!(keys, [(7, SCOPE_INTERNAL, 0), (7, SCOPE_INTERNAL, 1)]);
    });
}
