//! A node with a pod, a client outside, and a host elsewhere that is a backend too.
//!
//! ```text
//! client ── router ── node ── pod      client 198.51.100.9, node 192.0.2.1, pod 10.244.0.5
//!              └───── other            other 203.0.113.2, with a backend 10.244.1.5
//! ```

use std::{
    io::{Read, Write},
    net::{IpAddr, SocketAddr, TcpListener, TcpStream},
    thread,
    time::Duration,
};

use crate::support::Namespace;

pub(crate) const CLIENT: [&str; 2] = ["198.51.100.9", "fd00:c::9"];
pub(crate) const NODE: [&str; 2] = ["192.0.2.1", "fd00:a::1"];
pub(crate) const POD: [&str; 2] = ["10.244.0.5", "fd00:244::5"];
pub(crate) const ELSEWHERE: [&str; 2] = ["10.244.1.5", "fd00:244:1::5"];
pub(crate) const VIP: [&str; 2] = ["10.100.0.1", "fd00:100::1"];
pub(crate) fn at(address: &str, port: u16) -> SocketAddr {
    SocketAddr::new(address.parse().unwrap(), port)
}

pub(crate) fn ip(address: &str) -> IpAddr {
    address.parse().unwrap()
}

pub(crate) struct Lab {
    pub(crate) client: Namespace,
    pub(crate) node: Namespace,
    pub(crate) pod: Namespace,
    pub(crate) other: Namespace,
    _router: Namespace,
}

impl Lab {
    pub(crate) fn new() -> Self {
        let [client, router, node, pod, other] = std::array::from_fn(|_| Namespace::new());
        let link = |from: &Namespace, name: &str, to: &Namespace, peer: &str| {
            from.ip(&format!("link add {name} type veth peer name {peer} netns {}", to.path()));
            for (namespace, name) in [(from, name), (to, peer)] {
                namespace.sysctl(&format!("net.ipv6.conf.{name}.accept_dad"), "0");
                namespace.ip(&format!("link set {name} up"));
            }
        };
        for namespace in [&router, &node] {
            namespace.sysctl("net.ipv4.ip_forward", "1");
            namespace.sysctl("net.ipv6.conf.all.forwarding", "1");
        }
        link(&router, "client", &client, "eth0");
        link(&router, "node", &node, "up0");
        link(&router, "other", &other, "eth0");
        link(&node, "pod0", &pod, "eth0");

        for (name, namespace, device, v4, v6) in [
            ("client", &client, "eth0", "198.51.100", "fd00:c:"),
            ("node", &node, "up0", "192.0.2", "fd00:a:"),
            ("other", &other, "eth0", "203.0.113", "fd00:b:"),
        ] {
            let host = match name {
                "client" => 9,
                "node" => 1,
                _ => 2,
            };
            router.ip(&format!("address add {v4}.254/24 dev {name}"));
            router.ip(&format!("address add {v6}:254/64 dev {name} nodad"));
            namespace.ip(&format!("address add {v4}.{host}/24 dev {device}"));
            namespace.ip(&format!("address add {v6}:{host}/64 dev {device} nodad"));
            namespace.ip(&format!("route add default via {v4}.254"));
            namespace.ip(&format!("route add default via {v6}:254"));
        }
        for family in 0..2 {
            let length = [32, 128][family];
            let other_node = ["203.0.113.2", "fd00:b::2"][family];
            for address in [POD[family], VIP[family]] {
                router.ip(&format!("route add {address}/{length} via {}", NODE[family]));
            }
            router.ip(&format!("route add {}/{length} via {other_node}", ELSEWHERE[family]));
            other.ip(&format!("address add {}/{length} dev lo", ELSEWHERE[family]));
            node.ip(&format!("route add {}/{length} dev pod0", POD[family]));
            pod.ip(&format!("address add {}/{length} dev eth0", POD[family]));
        }
        // As on a real host: what comes from one of its own addresses is refused.
        for name in ["all", "up0", "pod0"] {
            node.sysctl(&format!("net.ipv4.conf.{name}.rp_filter"), "1");
        }
        node.ip("address add 169.254.1.1/32 dev pod0 scope link");
        node.ip("address add fe80::1/64 dev pod0 nodad");
        pod.ip("route add 169.254.1.1 dev eth0 scope link");
        pod.ip("route add default via 169.254.1.1 dev eth0");
        pod.ip("route add default via fe80::1 dev eth0");
        Self { client, node, pod, other, _router: router }
    }
}

/// Answers each line of a connection with the server's port and the client's address.
pub(crate) fn serve_tcp(namespace: &Namespace, address: SocketAddr) {
    let listener = namespace.run(|| TcpListener::bind(address).unwrap());
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            thread::spawn(move || {
                let peer = stream.peer_addr().unwrap();
                let mut buffer = vec![0; 1 << 16];
                while let Ok(length @ 1..) = stream.read(&mut buffer) {
                    let text = format!("{} {peer}\n", address.port());
                    // A long question wants its own length back.
                    let answer = if length > 64 { &buffer[..length] } else { text.as_bytes() };
                    if stream.write_all(answer).is_err() {
                        break;
                    }
                }
            });
        }
    });
}

pub(crate) fn connect(lab: &Lab, service: SocketAddr) -> std::io::Result<TcpStream> {
    let stream = lab.client.run(|| TcpStream::connect_timeout(&service, Duration::from_secs(5)))?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    Ok(stream)
}

/// The server's port and the client as the server saw it.
pub(crate) fn ask(stream: &mut TcpStream) -> (u16, SocketAddr) {
    stream.write_all(b"who").unwrap();
    let mut buffer = [0; 128];
    let length = stream.read(&mut buffer).unwrap();
    answer(&buffer[..length])
}

pub(crate) fn answer(bytes: &[u8]) -> (u16, SocketAddr) {
    let text = std::str::from_utf8(bytes).unwrap();
    let (port, client) = text.trim().split_once(' ').unwrap();
    (port.parse().unwrap(), client.parse().unwrap())
}
