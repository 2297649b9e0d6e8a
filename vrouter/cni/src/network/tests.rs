//! On real namespaces. They belong to threads of the test and go with them, whatever happens.

use std::{
    io,
    net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket},
    path::Path,
    process::Command,
    sync::mpsc,
    thread,
};

use nix::{
    sched::{CloneFlags, unshare},
    unistd::gettid,
};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::{bind, plugin, serve};

type Job = Box<dyn FnOnce() + Send>;

/// A thread in a network namespace of its own, which is a pod.
struct PodThread {
    jobs: Option<mpsc::Sender<Job>>,
    thread: Option<thread::JoinHandle<()>>,
    netns: PathBuf,
}

impl PodThread {
    fn start() -> Self {
        let (jobs, work) = mpsc::channel::<Job>();
        let (tell, told) = mpsc::channel();
        let thread = thread::spawn(move || {
            unshare(CloneFlags::CLONE_NEWNET).expect("needs root");
            tell.send(gettid()).unwrap();
            work.into_iter().for_each(|job| job());
        });
        let netns = format!("/proc/{}/task/{}/ns/net", std::process::id(), told.recv().unwrap());
        Self { jobs: Some(jobs), thread: Some(thread), netns: netns.into() }
    }

    fn run<T: Send + 'static>(&self, job: impl FnOnce() -> T + Send + 'static) -> T {
        let (tell, told) = mpsc::channel();
        let job = Box::new(move || tell.send(job()).unwrap());
        self.jobs.as_ref().unwrap().send(job).unwrap();
        told.recv().unwrap()
    }

    fn shell(&self, script: &str) -> (bool, String) {
        let script = script.to_owned();
        self.run(move || shell(&script))
    }
}

impl Drop for PodThread {
    fn drop(&mut self) {
        self.jobs.take();
        let _joined = self.thread.take().map(thread::JoinHandle::join);
    }
}

fn shell(script: &str) -> (bool, String) {
    let output = Command::new("sh").args(["-ec", script]).output().unwrap();
    let text = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8(text).unwrap())
}

fn must(script: &str) -> String {
    let (ok, text) = shell(script);
    assert!(ok, "{script}: {text}");
    text
}

/// Runs `test` on a thread in a namespace of its own, which is the node.
fn on_node(test: impl AsyncFnOnce(Node) + Send + 'static) {
    let run = move || {
        unshare(CloneFlags::CLONE_NEWNET).expect("needs root");
        must(
            "ip link set lo up; ip address add 192.0.2.1/32 dev lo; ip address add 2001:db8::1/128 dev lo",
        );
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(test(Node::new()));
    };
    if let Err(panic) = thread::spawn(run).join() {
        std::panic::resume_unwind(panic);
    }
}

struct Node {
    dir: TempDir,
    blocks: watch::Sender<Vec<Prefix>>,
}

impl Node {
    fn new() -> Self {
        let blocks = ["10.244.0.0/26", "fd00:10:244::/122"].map(|text| text.parse().unwrap());
        Self { dir: tempfile::tempdir().unwrap(), blocks: watch::Sender::new(blocks.into()) }
    }

    async fn network(&self) -> PodNetwork {
        self.network_that_waits(Duration::from_millis(10)).await
    }

    async fn network_that_waits(&self, block_wait: Duration) -> PodNetwork {
        let config = PodNetworkConfig {
            state_dir: self.dir.path().join("state"),
            uplink_mtu: 1400,
            families: Family::ALL.into(),
            block_wait,
            service_mark: Some(Mark { value: 0x5644_0001, mask: u32::MAX }),
        };
        PodNetwork::start(config, self.blocks.subscribe()).await.unwrap()
    }

    fn stored(&self) -> Value {
        let text = std::fs::read(self.dir.path().join("state/pods.json")).unwrap();
        serde_json::from_slice(&text).unwrap()
    }
}

fn owner(name: &str) -> Owner {
    Owner { container_id: name.into(), ifname: "eth0".into() }
}

fn request(name: &str, pod: &PodThread) -> AddRequest {
    AddRequest { owner: owner(name), netns: pod.netns.clone(), pod: None }
}

fn assert_pings(pod: &PodThread, to: IpAddr) {
    let (ok, text) = pod.shell(&format!("ping -c 1 -W 2 {to}"));
    assert!(ok, "{to}: {text}");
}

fn veths() -> String {
    must("ip -o link show type veth")
}

#[test]
fn pods_reach_each_other_and_the_node() {
    on_node(async |node| {
        let network = node.network().await;
        let (a, b) = (PodThread::start(), PodThread::start());
        let in_a = network.add(request("a", &a)).await.unwrap();
        let in_b = network.add(request("b", &b)).await.unwrap();
        assert_eq!(in_a.addresses.len(), 2);
        for to in &in_b.addresses {
            assert_pings(&a, *to);
        }
        for to in &in_a.addresses {
            assert_pings(&b, *to);
            must(&format!("ping -c 1 -W 2 {to}"));
        }
        for to in ["192.0.2.1", "2001:db8::1"] {
            assert_pings(&a, to.parse().unwrap());
        }
        let (_, link) = a.shell("ip link show eth0; ip -6 address show dev eth0");
        assert!(link.contains("mtu 1400") && !link.contains("tentative"), "{link}");
        let routes = must("ip route show proto 86; ip -6 route show proto 86");
        assert_eq!(routes.lines().count(), 4, "{routes}");
        // As the vRouter makes them, which owns them too.
        assert!(routes.lines().all(|route| route.contains(" metric 86")), "{routes}");
        assert_eq!(network.pods().borrow().len(), 4);
        for (prefix, veth) in network.pods().borrow().iter() {
            assert!(routes.contains(veth), "{prefix} {routes}");
        }
    });
}

/// Datagrams keep their order here, so once the second has come the first never will.
fn receive(socket: &UdpSocket) -> (String, SocketAddr) {
    socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    let mut buffer = [0; 64];
    let (len, from) = socket.recv_from(&mut buffer).unwrap();
    (String::from_utf8(buffer[..len].into()).unwrap(), from)
}

#[test]
fn a_forged_source_is_dropped() {
    on_node(async |node| {
        let network = node.network().await;
        let (a, b) = (PodThread::start(), PodThread::start());
        network.add(request("a", &a)).await.unwrap();
        let in_b = network.add(request("b", &b)).await.unwrap();
        for (to, forged) in in_b.addresses.iter().zip(["192.0.2.1", "2001:db8::1"]) {
            let to = SocketAddr::new(*to, 9000);
            let receiver = b.run(move || UdpSocket::bind(to).unwrap());
            let (ok, text) = a.shell(&format!(
                "ip address add {forged} dev lo nodad || ip address add {forged} dev lo"
            ));
            assert!(ok, "{text}");
            let forged: IpAddr = forged.parse().unwrap();
            a.run(move || {
                let liar = UdpSocket::bind((forged, 0)).unwrap();
                liar.send_to(b"forged", to).unwrap();
                let any = if to.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
                UdpSocket::bind(any).unwrap().send_to(b"own", to).unwrap();
            });
            assert_eq!(receive(&receiver).0, "own");
        }
        let counter = must("nft list counter inet viaduct_pods spoofed");
        assert!(!counter.contains("packets 0 "), "{counter}");
    });
}

#[test]
fn a_pod_cannot_speak_bgp_or_bfd_to_a_node() {
    on_node(async |node| {
        let network = node.network().await;
        let a = PodThread::start();
        network.add(request("a", &a)).await.unwrap();
        for address in ["192.0.2.1", "2001:db8::1"] {
            let address: IpAddr = address.parse().unwrap();
            let (bgp, other) = (
                TcpListener::bind((address, 179)).unwrap(),
                TcpListener::bind((address, 180)).unwrap(),
            );
            let connect = move |port| {
                TcpStream::connect_timeout(&(address, port).into(), Duration::from_millis(300))
            };
            a.run(move || connect(180)).expect("any other port is open");
            let refused = a.run(move || connect(179)).unwrap_err();
            assert_eq!(refused.kind(), io::ErrorKind::TimedOut);
            drop((bgp, other));
            for port in [3784, 3785, 4784] {
                let bfd = UdpSocket::bind((address, port)).unwrap();
                let other = UdpSocket::bind((address, 9000)).unwrap();
                a.run(move || {
                    let any = if address.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
                    let socket = UdpSocket::bind(any).unwrap();
                    socket.send_to(b"bfd", (address, port)).unwrap();
                    socket.send_to(b"other", (address, 9000)).unwrap();
                });
                assert_eq!(receive(&other).0, "other");
                bfd.set_nonblocking(true).unwrap();
                assert!(bfd.recv(&mut [0; 8]).is_err(), "port {port}");
            }
        }
    });
}

#[test]
fn add_twice_is_add_once() {
    on_node(async |node| {
        let network = node.network().await;
        let a = PodThread::start();
        let first = network.add(request("a", &a)).await.unwrap();
        let before = veths();
        assert_eq!(network.add(request("a", &a)).await.unwrap(), first);
        // The same pair, not one like it: the indexes stand in front of the lines.
        assert_eq!(veths(), before);
        network.check(&owner("a"), a.netns.clone()).await.unwrap();
        a.shell("ip address flush dev eth0");
        let damaged = network.check(&owner("a"), a.netns.clone()).await;
        assert!(matches!(damaged, Err(PodNetworkError::Check { .. })), "{damaged:?}");
    });
}

#[test]
fn what_fails_half_way_leaves_nothing() {
    on_node(async |node| {
        let network = node.network().await;
        let a = PodThread::start();
        // The name is taken inside the pod.
        let (ok, text) = a.shell("ip link add eth0 type veth peer name other");
        assert!(ok, "{text}");
        let error = network.add(request("a", &a)).await.unwrap_err();
        assert!(matches!(error, PodNetworkError::Wire { .. }), "{error}");
        let nowhere = AddRequest { netns: "/nowhere".into(), ..request("b", &a) };
        let error = network.add(nowhere).await.unwrap_err();
        assert!(matches!(error, PodNetworkError::NoNetns(_)), "{error}");
        assert_eq!(veths(), "");
        assert!(network.pods().borrow().is_empty());
        assert_eq!(node.stored()["attachments"], json!([]));
        assert_eq!(node.stored()["ipam"]["allocations"], json!([]));
        assert!(!must("nft list table inet viaduct_pods").contains("vdp"));
        a.shell("ip link delete eth0");
        network.add(request("a", &a)).await.unwrap();
    });
}

#[test]
fn a_restart_keeps_pods_and_mends_what_they_lack() {
    on_node(async |node| {
        let network = node.network().await;
        let pods = ["a", "b"].map(|name| (name, PodThread::start()));
        let mut before = Vec::new();
        for (name, pod) in &pods {
            before.push(network.add(request(name, pod)).await.unwrap());
        }
        drop(network);
        let links = veths();
        let lost = before[0].addresses[0];
        must(&format!("ip route delete {lost}; nft delete table inet viaduct_pods"));

        let network = node.network().await;
        assert_eq!(network.attachments().await, before);
        assert_eq!(network.counters().adopted, 2);
        assert_eq!(veths(), links);
        assert_eq!(network.pods().borrow().len(), 4);
        assert_pings(&pods[1].1, lost);
        assert!(must("nft list table inet viaduct_pods").contains(&before[0].host_ifname));
        let third = PodThread::start();
        let third = network.add(request("c", &third)).await.unwrap();
        assert!(before.iter().all(|pod| pod.addresses[0] != third.addresses[0]));

        // Someone takes a pair away while we are not there: the pod gets it again, as it was.
        drop(network);
        must(&format!("ip link delete {}", before[1].host_ifname));
        let _network = node.network().await;
        for to in &before[1].addresses {
            assert_pings(&pods[0].1, *to);
        }
    });
}

/// What the kernel tells of routes, links and addresses while `work` runs.
async fn watching(work: impl AsyncFnOnce()) -> Vec<String> {
    use std::io::BufRead;
    let mut monitor = Command::new("ip")
        .args(["-oneline", "monitor", "route", "link", "address", "neigh"])
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = io::BufReader::new(monitor.stdout.take().unwrap()).lines();
    let mut mark = |address: &str| {
        must(&format!("ip route add blackhole {address}"));
        let told = lines.by_ref().map(Result::unwrap);
        told.take_while(|line| !line.contains(address)).collect::<Vec<_>>()
    };
    // Eth 0 is rtnetlink; the groups follow its number and the port, which is the process's.
    let port = monitor.id().to_string();
    let listens = || {
        let sockets = std::fs::read_to_string("/proc/thread-self/net/netlink").unwrap();
        sockets.lines().skip(1).any(|line| {
            let fields: Vec<&str> = line.split_ascii_whitespace().collect();
            fields[1] == "0" && fields[2] == port && fields[3] != "00000000"
        })
    };
    while !listens() {
        tokio::task::yield_now().await;
    }
    mark("203.0.113.1");
    work().await;
    let seen = mark("203.0.113.2");
    monitor.kill().unwrap();
    monitor.wait().unwrap();
    seen
}

#[test]
fn a_restart_changes_nothing_that_is_right() {
    on_node(async |node| {
        let network = node.network().await;
        let pods = ["a", "b"].map(|name| (name, PodThread::start()));
        for (name, pod) in &pods {
            network.add(request(name, pod)).await.unwrap();
        }
        // What comes up by itself after the links, such as multicast routes, is there.
        assert_pings(&pods[0].1, network.attachments().await[1].addresses[0]);
        drop(network);
        let told = watching(async || {
            assert_eq!(node.network().await.counters().adopted, 2);
        })
        .await;
        assert_eq!(told, [""; 0]);
    });
}

#[test]
fn a_pod_whose_add_was_cut_short_is_rolled_back() {
    on_node(async |node| {
        let network = node.network().await;
        let a = PodThread::start();
        network.add(request("a", &a)).await.unwrap();
        drop(network);
        let mut stored = node.stored();
        stored["attachments"][0]["complete"] = false.into();
        let path = node.dir.path().join("state/pods.json");
        std::fs::write(&path, stored.to_string()).unwrap();
        let network = node.network().await;
        assert_eq!(veths(), "");
        assert!(network.attachments().await.is_empty());
        assert_eq!(network.usage().await[0].used, 0);
        network.add(request("a", &a)).await.unwrap();
    });
}

#[test]
fn what_is_gone_is_reclaimed() {
    on_node(async |node| {
        let network = node.network().await;
        network.del(&owner("never seen")).await.unwrap();
        let [a, b, c] = ["a", "b", "c"].map(|_| PodThread::start());
        for (name, pod) in [("a", &a), ("b", &b), ("c", &c)] {
            network.add(request(name, pod)).await.unwrap();
        }
        network.del(&owner("a")).await.unwrap();
        network.del(&owner("a")).await.unwrap();
        network.gc(&BTreeSet::from([owner("b")])).await.unwrap();
        let left = network.attachments().await;
        assert_eq!(left.iter().map(|pod| &pod.owner).collect::<Vec<_>>(), [&owner("b")]);
        assert_eq!(veths().lines().count(), 1);
        assert_eq!(network.pods().borrow().len(), 2);
        drop(network);

        // With the pod's namespace its pair goes, but not within a stated time.
        drop(b);
        let gone = || (veths().is_empty()).then_some(());
        let until = std::time::Instant::now() + Duration::from_secs(10);
        while gone().is_none() {
            assert!(std::time::Instant::now() < until, "the namespace stays");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let network = node.network().await;
        assert!(network.attachments().await.is_empty());
        assert_eq!(network.counters().reclaimed, 1);
    });
}

#[test]
fn without_blocks_a_runtime_is_to_try_again() {
    on_node(async |node| {
        node.blocks.send_replace(vec!["10.244.0.0/26".parse().unwrap()]);
        let network = node.network().await;
        assert!(network.status().is_err());
        let a = PodThread::start();
        let error = network.add(request("a", &a)).await.unwrap_err();
        assert!(matches!(error, PodNetworkError::Allocate(AllocateError::NoBlock(Family::V6))));
    });
}

/// The plugin as a runtime runs it, but for the process around it.
async fn run_plugin(
    socket: &Path,
    command: &str,
    netns: &Path,
    more: Value,
) -> Result<Option<Value>, (String, crate::CniError)> {
    let mut conf = json!({"cniVersion": "1.1.0", "name": "viaduct", "socket": socket});
    for (key, value) in more.as_object().unwrap() {
        conf[key] = value.clone();
    }
    let environment = BTreeMap::from([
        ("CNI_COMMAND", command.to_owned()),
        ("CNI_CONTAINERID", "c1".to_owned()),
        ("CNI_IFNAME", "eth0".to_owned()),
        ("CNI_NETNS", netns.to_string_lossy().into_owned()),
        ("CNI_ARGS", "IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME=web-1".to_owned()),
    ]);
    let run = move || {
        plugin::run(|name| environment.get(name).cloned(), conf.to_string().as_bytes(), plugin::ask)
    };
    tokio::task::spawn_blocking(run).await.unwrap()
}

#[test]
fn a_runtime_adds_checks_and_deletes_by_the_socket() {
    use std::os::unix::fs::PermissionsExt;
    on_node(async |node| {
        let network = node.network().await;
        let socket = node.dir.path().join("run/cni.sock");
        let a = PodThread::start();
        let away = run_plugin(&socket, "ADD", &a.netns, json!({})).await.unwrap_err().1;
        assert_eq!(away.code, crate::code::TRY_AGAIN_LATER);
        let away = run_plugin(&socket, "STATUS", &a.netns, json!({})).await.unwrap_err().1;
        assert_eq!(away.code, crate::code::NOT_AVAILABLE);

        let listener = bind(&socket).unwrap();
        let server = tokio::spawn(serve(listener, network.clone(), CancellationToken::new()));
        assert_eq!(std::fs::metadata(&socket).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(matches!(bind(&socket), Err(crate::ServeError::InUse(_))));
        let result = run_plugin(&socket, "ADD", &a.netns, json!({})).await.unwrap().unwrap();
        assert_eq!(result["ips"][1]["address"], "fd00:10:244::1/128");
        let pod = network.attachments().await[0].pod.clone().unwrap();
        assert_eq!((pod.namespace.as_str(), pod.name.as_str()), ("default", "web-1"));
        let before = json!({"prevResult": result});
        run_plugin(&socket, "CHECK", &a.netns, before.clone()).await.unwrap();
        run_plugin(&socket, "STATUS", &a.netns, json!({})).await.unwrap();
        let live = json!({"cni.dev/valid-attachments": [{"containerID": "c1", "ifname": "eth0"}]});
        run_plugin(&socket, "GC", &a.netns, live).await.unwrap();
        assert_eq!(network.attachments().await.len(), 1);
        let nowhere = Path::new("/nowhere");
        run_plugin(&socket, "DEL", nowhere, before).await.unwrap();
        let unknown = run_plugin(&socket, "CHECK", &a.netns, json!({"prevResult": {}})).await;
        assert_eq!(unknown.unwrap_err().1.code, crate::code::UNKNOWN_CONTAINER);
        let invalid = run_plugin(&socket, "ADD", nowhere, json!({})).await.unwrap_err().1;
        assert_eq!(invalid.code, crate::code::INVALID_ENVIRONMENT);
        server.abort();
    });
}

/// One process takes the place of another: who was let in is answered by the one, who comes later by
/// the other, and meanwhile nobody is refused.
#[test]
fn a_server_that_is_replaced_loses_no_request() {
    use std::os::fd::AsFd;
    on_node(async |node| {
        let blocks = node.blocks.send_replace(Vec::new());
        let network = node.network_that_waits(Duration::from_secs(60)).await;
        let socket = node.dir.path().join("run/cni.sock");
        let listener = bind(&socket).unwrap();
        let other = listener.as_fd().try_clone_to_owned().unwrap();
        let stop = CancellationToken::new();
        let first = tokio::spawn(serve(listener, network.clone(), stop.clone()));
        let pod = PodThread::start();
        let ask = |command: &'static str| {
            let (socket, netns) = (socket.clone(), pod.netns.clone());
            tokio::spawn(async move { run_plugin(&socket, command, &netns, json!({})).await })
        };
        let idle = node.blocks.receiver_count();
        let add = ask("ADD");
        while node.blocks.receiver_count() == idle {
            tokio::task::yield_now().await;
        }
        stop.cancel();
        node.blocks.send_replace(blocks);
        first.await.unwrap().unwrap();
        assert_eq!(add.await.unwrap().unwrap().unwrap()["ips"][0]["address"], "10.244.0.1/32");
        let status = ask("STATUS");
        let listener = tokio::net::UnixListener::from_std(other.into()).unwrap();
        let second = tokio::spawn(serve(listener, network, CancellationToken::new()));
        status.await.unwrap().unwrap();
        second.abort();
    });
}
