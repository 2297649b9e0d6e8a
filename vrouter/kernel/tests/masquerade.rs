//! Masquerade with real packets: a pod, its node and a host outside, each in a network namespace.
//! Needs root, iproute2 and nftables.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    fs::File,
    io::{Read, Write},
    net::{IpAddr, SocketAddr, TcpListener, TcpStream},
    os::fd::AsRawFd,
    process::{Command, Stdio},
    thread,
    time::Duration,
};

use ebpf_abi::SERVICE_MARK;
use nix::sched::{CloneFlags, setns, unshare};
use tokio::runtime;
use viaduct_net::Prefix;
use vrouter_kernel::masquerade::Masquerade;

/// Ports at the host outside; packets to the second bear the mark of service traffic.
const PLAIN: u16 = 9001;
const MARKED: u16 = 9002;

const POD: [&str; 2] = ["10.244.0.7", "fd00:244::7"];
const NODE: [&str; 2] = ["203.0.113.1", "2001:db8:113::1"];
const OUTSIDE: [&str; 2] = ["203.0.113.9", "2001:db8:113::9"];
/// The host outside has it too, but it counts as the cluster's.
const CLUSTER: [&str; 2] = ["10.96.5.5", "fd00:96::5"];

/// A network namespace that lives as long as this does.
struct Namespace(File);

impl Namespace {
    fn new() -> Self {
        let make = || {
            unshare(CloneFlags::CLONE_NEWNET).expect("a network namespace, which needs root");
            File::open("/proc/thread-self/ns/net").unwrap()
        };
        Self(thread::spawn(make).join().unwrap())
    }

    fn enter(&self) {
        setns(&self.0, CloneFlags::CLONE_NEWNET).unwrap();
    }

    fn run<T: Send>(&self, body: impl FnOnce() -> T + Send) -> T {
        let inside = || {
            self.enter();
            body()
        };
        thread::scope(|scope| scope.spawn(inside).join().unwrap())
    }

    /// Feeds lines to `ip -batch -` or `nft -f -`.
    fn feed(&self, program: &str, argument: &str, lines: &str) {
        self.run(|| {
            let mut child = Command::new(program)
                .args([argument, "-"])
                .stdin(Stdio::piped())
                .spawn()
                .unwrap_or_else(|error| panic!("{program}: {error}"));
            child.stdin.take().unwrap().write_all(lines.as_bytes()).unwrap();
            assert!(child.wait().unwrap().success(), "{program}: {lines}");
        });
    }

    fn ip(&self, lines: &str) {
        self.feed("ip", "-batch", lines);
    }

    /// As `ip` takes it.
    fn path(&self) -> String {
        format!("/proc/{}/fd/{}", std::process::id(), self.0.as_raw_fd())
    }

    /// Tells every client at this address and port the address it sees of it.
    fn serve(&self, address: &str, port: u16) {
        let address = SocketAddr::new(address.parse().unwrap(), port);
        let listener = self.run(|| TcpListener::bind(address).unwrap());
        thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let seen = stream.peer_addr().unwrap().ip().to_string();
                // The client may have gone.
                let _ = stream.write_all(seen.as_bytes());
            }
        });
    }

    /// The address by which this namespace is seen there.
    fn seen_at(&self, address: &str, port: u16) -> String {
        let target = SocketAddr::new(address.parse::<IpAddr>().unwrap(), port);
        self.run(|| {
            let mut stream = TcpStream::connect_timeout(&target, Duration::from_secs(10)).unwrap();
            let mut seen = String::new();
            stream.read_to_string(&mut seen).unwrap();
            seen
        })
    }
}

struct Lab {
    pod: Namespace,
    node: Namespace,
    _outside: Namespace,
}

impl Lab {
    fn new() -> Self {
        let [pod, node, outside] = [(); 3].map(|()| Namespace::new());
        node.ip(&format!(
            "link add vp type veth peer name eth0 netns {}\n\
             link add vo type veth peer name eth0 netns {}\n\
             link set vp up\nlink set vo up\n\
             address add 10.244.0.1/24 dev vp\n\
             address add {}/24 dev vo\n\
             route add {} via {}\n",
            pod.path(),
            outside.path(),
            NODE[0],
            CLUSTER[0],
            OUTSIDE[0],
        ));
        node.ip(&format!(
            "address add fd00:244::1/64 dev vp nodad\n\
             address add {}/64 dev vo nodad\n\
             route add {} via {}\n",
            NODE[1], CLUSTER[1], OUTSIDE[1],
        ));
        pod.ip(&format!(
            "link set eth0 up\n\
             address add {}/24 dev eth0\naddress add {}/64 dev eth0 nodad\n\
             route add default via 10.244.0.1\nroute add default via fd00:244::1\n",
            POD[0], POD[1],
        ));
        outside.ip(&format!(
            "link set lo up\nlink set eth0 up\n\
             address add {}/24 dev eth0\naddress add {}/64 dev eth0 nodad\n\
             address add {}/32 dev lo\naddress add {}/128 dev lo nodad\n\
             route add 10.244.0.0/16 via {}\nroute add fd00:244::/32 via {}\n",
            OUTSIDE[0], OUTSIDE[1], CLUSTER[0], CLUSTER[1], NODE[0], NODE[1],
        ));
        node.run(|| vrouter_kernel::prepare(&["vo".to_owned()]).unwrap());
        node.feed(
            "nft",
            "-f",
            &format!(
                "table inet other {{\n chain service {{\n\
                 type filter hook prerouting priority mangle;\n\
                 tcp dport {MARKED} meta mark set {SERVICE_MARK}\n }}\n}}\n"
            ),
        );
        for address in OUTSIDE.into_iter().chain(CLUSTER) {
            outside.serve(address, PLAIN);
            outside.serve(address, MARKED);
        }
        Self { pod, node, _outside: outside }
    }

    fn apply(&self, masquerade: &Masquerade) {
        self.node.run(|| {
            let runtime = runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(masquerade.apply()).unwrap();
        });
    }
}

#[test]
fn only_what_leaves_the_cluster_takes_the_address_of_the_node() {
    let lab = Lab::new();
    let prefixes = |all: [&str; 2]| all.map(|text| text.parse::<Prefix>().unwrap()).into();
    let masquerade = Masquerade {
        pod_cidrs: prefixes(["10.244.0.0/16", "fd00:244::/32"]),
        cluster_cidrs: prefixes(["10.0.0.0/8", "fd00::/16"]),
    };
    // Twice, for replacing is the same as making.
    for _ in 0..2 {
        lab.apply(&masquerade);
        for family in [0, 1] {
            let (outside, cluster) = (OUTSIDE[family], CLUSTER[family]);
            assert_eq!(lab.pod.seen_at(outside, PLAIN), NODE[family], "leaves the cluster");
            assert_eq!(lab.pod.seen_at(cluster, PLAIN), POD[family], "stays in the cluster");
            assert_eq!(lab.pod.seen_at(outside, MARKED), POD[family], "is service traffic");
            assert_eq!(lab.node.seen_at(outside, PLAIN), NODE[family]);
        }
    }
    lab.apply(&Masquerade::default());
    for family in [0, 1] {
        assert_eq!(lab.pod.seen_at(OUTSIDE[family], PLAIN), POD[family], "without the table");
    }
}
