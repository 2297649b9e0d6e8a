//! The server in a network namespace of its own, asked by dig, with dnsmasq as the name server of
//! the node. Needs root.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    collections::BTreeMap,
    io::{self, Read, Write},
    net::{IpAddr, TcpStream, UdpSocket},
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use control_dns::{
    Config, Endpoint, Handle, Key, Port, Service, ServiceKind, Slice, Zone, ZoneConfig, bind, spawn,
};
use domain::base::{Message, MessageBuilder, Name, Rtype, iana::Rcode};
use nix::sched::{CloneFlags, unshare};
use tokio_util::sync::CancellationToken;

const V4: &str = "169.254.20.10";
const V6: &str = "fd00:20::10";
const PETS: usize = 100;

/// A server in a namespace, and the name servers beside it.
struct Node {
    handle: Handle,
    folder: tempfile::TempDir,
    servers: Vec<Child>,
}

impl Drop for Node {
    fn drop(&mut self) {
        for server in &mut self.servers {
            let _ = server.kill();
            let _ = server.wait();
        }
    }
}

/// Runs a test in a thread with a network namespace of its own, and the server in a runtime of its
/// own there: what the test does may block.
fn in_namespace(name_servers: &[&str], test: impl FnOnce(&mut Node) + Send) {
    std::thread::scope(|scope| {
        let run = scope.spawn(|| {
            unshare(CloneFlags::CLONE_NEWNET).expect("these tests need root");
            run("ip", &["link", "set", "lo", "up"]);
            run("ip", &["address", "add", V4, "dev", "lo", "scope", "host"]);
            run("ip", &["address", "add", V6, "dev", "lo", "nodad"]);
            // Its threads are made by this one, and so stand in its namespace.
            let runtime = tokio::runtime::Builder::new_multi_thread()
                .worker_threads(1)
                .enable_all()
                .build()
                .unwrap();
            let folder = tempfile::tempdir().unwrap();
            let resolv_conf = folder.path().join("resolv.conf");
            let lines = name_servers.iter().map(|server| format!("nameserver {server}\n"));
            std::fs::write(&resolv_conf, lines.collect::<String>()).unwrap();
            let mut servers = Vec::new();
            if name_servers.contains(&"127.0.0.2") {
                servers.push(dnsmasq("127.0.0.2", &[]));
            }
            if name_servers.contains(&"127.0.0.4") {
                servers.push(dnsmasq("127.0.0.4", &["--server=169.254.20.10"]));
            }
            let stop = CancellationToken::new();
            let handle = runtime.block_on(async { serve(resolv_conf, stop.clone()) });
            test(&mut Node { handle, folder, servers });
            stop.cancel();
        });
        if let Err(panic) = run.join() {
            std::panic::resume_unwind(panic);
        }
    });
}

fn run(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{program} {arguments:?}: {output:?}");
    text
}

/// dnsmasq, once it answers.
fn dnsmasq(address: &str, more: &[&str]) -> Child {
    let long = format!("--txt-record=long.example.com{}", ",0123456789abcdef0123456789".repeat(60));
    let child = Command::new("dnsmasq")
        .args(["--keep-in-foreground", "--conf-file=/dev/null", "--no-resolv", "--no-hosts"])
        .args(["--bind-interfaces", "--except-interface=nothing", "--pid-file", "--user=root"])
        .arg(format!("--listen-address={address}"))
        .args(["--host-record=www.example.com,192.0.2.7,2001:db8::7,60", "--local=/example.com/"])
        .args([long.as_str(), "--edns-packet-max=1232"])
        .args(more)
        .stdout(Stdio::null())
        .spawn()
        .expect("dnsmasq: is dnsmasq-base installed? (make deps-test)");
    let at = format!("@{address}");
    let begun = Instant::now();
    while !dig(&[&at, "+time=1", "+tries=1", "www.example.com"]).contains("status: NOERROR") {
        assert!(begun.elapsed() < Duration::from_secs(20), "dnsmasq does not answer");
        std::thread::sleep(Duration::from_millis(20));
    }
    child
}

fn serve(resolv_conf: PathBuf, stop: CancellationToken) -> Handle {
    let addresses: Vec<IpAddr> = [V4, V6].map(|text| text.parse().unwrap()).into();
    let config = Config {
        zone: ZoneConfig { domain: "cluster.local".into(), addresses: addresses.clone() },
        resolv_conf,
    };
    spawn(config, bind(&addresses).unwrap(), |_| {}, stop).unwrap()
}

/// A service of every kind.
fn fill(zone: &mut Zone) {
    let service = |kind| Some(Service { kind, ports: Vec::new() });
    let ips = ["10.96.0.10", "fd00:96::a"].map(|text| text.parse().unwrap());
    zone.set_service(&Key::new("a", "web"), service(ServiceKind::ClusterIp(ips.into())));
    let headless = ServiceKind::Headless { publish_not_ready: false };
    zone.set_service(&Key::new("a", "pets"), service(headless));
    let external = ServiceKind::ExternalName("www.example.com".into());
    zone.set_service(&Key::new("a", "out"), service(external));
    let endpoint = |number: usize| Endpoint {
        address: IpAddr::from([10, 244, 0, number as u8]),
        label: format!("pet-{number}"),
        ready: true,
    };
    let slice = Slice {
        service: Key::new("a", "pets"),
        ports: vec![Port { name: "http".into(), protocol: "tcp".into(), number: 80 }],
        endpoints: (0..PETS).map(endpoint).collect(),
    };
    zone.set_slice(&Key::new("a", "pets-1"), Some(slice));
    zone.set_complete();
}

impl Node {
    fn fill(&self) {
        self.handle.change(fill);
    }

    fn metric(&self, name: &str) -> u64 {
        let text = self.handle.metrics();
        let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        value.and_then(|value| value.parse().ok()).unwrap_or_else(|| panic!("{name} in {text}"))
    }
}

/// What dig prints, also where it got no answer.
fn dig(arguments: &[&str]) -> String {
    let output = Command::new("dig").args(arguments).output();
    let output = output.expect("dig: is bind9-dnsutils installed? (make deps-test)");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn short(arguments: &[&str]) -> Vec<String> {
    let at = format!("@{V4}");
    let text = dig(&[&["+short", at.as_str()], arguments].concat());
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    lines.sort();
    lines
}

fn status(arguments: &[&str]) -> String {
    let at = format!("@{V4}");
    let text = dig(&[&[at.as_str()], arguments].concat());
    let status = text.split("status: ").nth(1).and_then(|rest| rest.split(',').next());
    status.map_or(text.clone(), str::to_owned)
}

#[test]
fn both_transports_in_both_families() {
    in_namespace(&[], |node| {
        let name = "web.a.svc.cluster.local";
        assert_eq!(status(&[name]), "SERVFAIL", "nothing is known yet");
        node.fill();
        for server in [V4, V6] {
            for transport in ["+notcp", "+tcp"] {
                let at = format!("@{server}");
                let text = dig(&[&at, transport, name, "AAAA"]);
                assert!(text.contains("IN\tAAAA\tfd00:96::a"), "{server} {transport}: {text}");
                assert!(text.contains(" qr aa rd ra;"), "{text}");
            }
        }
        assert_eq!(status(&["no.a.svc.cluster.local"]), "NXDOMAIN");
        assert_eq!(status(&["version.bind", "CH", "TXT"]), "REFUSED");
        assert_eq!(status(&["+edns=1", "+noednsnegotiation", name]), "BADVERS");
        assert!(node.handle.problems().is_empty());
    });
}

/// As after a restart, when somebody else held the socket meanwhile.
#[test]
fn queries_that_waited_are_answered_from_what_is_known() {
    in_namespace(&[], |node| {
        let address: IpAddr = "127.0.0.53".parse().unwrap();
        let sockets = bind(&[address]).unwrap();
        let client = UdpSocket::bind("127.0.0.1:0").unwrap();
        client.connect((address, 53)).unwrap();
        client.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        for id in 0..100 {
            let name = "web.a.svc.cluster.local";
            let mut query = MessageBuilder::new_vec();
            query.header_mut().set_id(id);
            let mut query = query.question();
            query.push((Name::vec_from_str(name).unwrap(), Rtype::A)).unwrap();
            client.send(&query.finish()).unwrap();
        }
        let config = Config {
            zone: ZoneConfig { domain: "cluster.local".into(), addresses: vec![address] },
            resolv_conf: node.folder.path().join("resolv.conf"),
        };
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let stop = CancellationToken::new();
        let _serving = runtime.block_on(async { spawn(config, sockets, fill, stop).unwrap() });
        let mut buffer = [0; 512];
        for _ in 0..100 {
            let len = client.recv(&mut buffer).unwrap();
            let answer = Message::from_octets(&buffer[..len]).unwrap();
            assert_eq!(answer.header().rcode(), Rcode::NOERROR);
            assert_eq!(answer.header_counts().ancount(), 1);
        }
    });
}

#[test]
fn what_does_not_fit_comes_over_tcp() {
    in_namespace(&[], |node| {
        node.fill();
        let name = "pets.a.svc.cluster.local";
        let cut = dig(&[&format!("@{V4}"), "+noedns", "+ignore", name]);
        assert!(cut.contains(" tc "), "{cut}");
        assert_eq!(short(&["+noedns", name]).len(), PETS);
        assert_eq!(short(&["+bufsize=1232", name]).len(), PETS);
        assert!(node.metric("viaduct_dns_truncated_total") >= 3);
    });
}

#[test]
fn other_names_are_asked_of_the_nodes_name_servers() {
    // Nobody is at the first; the second is asked then, and from then on first.
    in_namespace(&["127.0.0.3", "127.0.0.2"], |node| {
        node.fill();
        assert_eq!(short(&["www.example.com"]), ["192.0.2.7"]);
        assert_eq!(short(&["www.example.com", "AAAA"]), ["2001:db8::7"]);
        assert_eq!(status(&["no.example.com"]), "NXDOMAIN");
        assert_eq!(short(&["-x", "192.0.2.7"]), ["www.example.com."]);
        assert_eq!(short(&["out.a.svc.cluster.local"]), ["192.0.2.7", "www.example.com."]);
        assert_eq!(short(&["long.example.com", "TXT"]).len(), 1, "over TCP on both sides");
        assert!(node.metric("viaduct_dns_cache_hits_total") >= 1);

        // What was said holds for as long as it was said to, also without the one who said it.
        for server in &mut node.servers {
            server.kill().unwrap();
            server.wait().unwrap();
        }
        assert_eq!(short(&["www.example.com"]), ["192.0.2.7"]);
        let begun = Instant::now();
        assert_eq!(status(&["+tries=1", "+time=20", "other.example.com"]), "SERVFAIL");
        assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
        // Names of the cluster do not wait for them.
        assert_eq!(short(&["web.a.svc.cluster.local"]), ["10.96.0.10"]);
        assert_eq!(node.metric("viaduct_dns_forward_failures_total"), 1);
    });
}

#[test]
fn a_name_server_that_asks_us_is_not_asked() {
    in_namespace(&[V4, "127.0.0.4"], |node| {
        node.fill();
        let begun = Instant::now();
        while node.handle.problems().is_empty() {
            assert!(begun.elapsed() < Duration::from_secs(20), "the circle is not seen");
            std::thread::sleep(Duration::from_millis(20));
        }
        let problems = node.handle.problems();
        let file = node.folder.path().join("resolv.conf").display().to_string();
        assert!(problems[0].contains(&file), "{problems:?}");
        assert_eq!(status(&["www.elsewhere.test"]), "SERVFAIL");
        assert_eq!(short(&["web.a.svc.cluster.local"]), ["10.96.0.10"]);
    });
}

/// Bytes without a pattern, the same in every run.
fn noise(seed: &mut u64, len: usize) -> Vec<u8> {
    let mut next = || {
        *seed ^= *seed << 13;
        *seed ^= *seed >> 7;
        *seed ^= *seed << 17;
        (*seed >> 32) as u8
    };
    (0..len).map(|_| next()).collect()
}

#[test]
fn nonsense_costs_nobody_an_answer() {
    in_namespace(&[], |node| {
        node.fill();
        let mut seed = 0x1234_5678_9abc_def1;
        let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
        for number in 0..5000 {
            let mut bytes = noise(&mut seed, number % 700);
            // Every other one has the header of a query, so that what follows is read, too.
            if number % 2 == 0 && bytes.len() > 12 {
                bytes[2..12].copy_from_slice(&[1, 0, 0, 1, 0, 0, 0, 0, 0, 1]);
            }
            socket.send_to(&bytes, (V4, 53)).unwrap();
        }
        // Connections that say nothing, nonsense, or half of something.
        let mut held = Vec::new();
        for number in 0..60 {
            let Ok(mut stream) = TcpStream::connect((V4, 53)) else { continue };
            let _ = stream.write_all(&noise(&mut seed, number % 4));
            held.push(stream);
        }
        let mut fates = BTreeMap::<bool, usize>::new();
        for stream in &mut held {
            stream.set_read_timeout(Some(Duration::from_millis(10))).unwrap();
            // What was ended before its bytes were read is reset.
            let read = stream.read(&mut [0; 64]);
            let open = match read {
                Ok(len) => len > 0,
                Err(error) => error.kind() == io::ErrorKind::WouldBlock,
            };
            *fates.entry(open).or_default() += 1;
        }
        assert!(fates.get(&true).is_none_or(|open| *open <= 32), "{fates:?}");
        // From another address there is a place, and over UDP always.
        assert_eq!(short(&["web.a.svc.cluster.local"]), ["10.96.0.10"]);
        let over_tcp = dig(&["+short", "+tcp", &format!("@{V6}"), "web.a.svc.cluster.local"]);
        assert_eq!(over_tcp.trim(), "10.96.0.10");
        assert!(node.handle.problems().is_empty(), "{:?}", node.handle.problems());
    });
}

#[test]
fn connections_that_say_nothing_end() {
    in_namespace(&[], |node| {
        node.fill();
        let mut stream = TcpStream::connect((V4, 53)).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        let begun = Instant::now();
        assert_eq!(stream.read(&mut [0; 16]).unwrap(), 0);
        assert!(begun.elapsed() >= Duration::from_secs(9), "{:?}", begun.elapsed());
    });
}
