//! The balancer with its programs in the kernel: services change, and sockets of a cgroup see it.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod host;

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{ErrorKind, Read, Write},
    net::{IpAddr, SocketAddr, TcpListener, TcpStream},
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use ebpf_abi::{ServiceKey, map};
use host::{Host, wait_for};
use lb::{Config, Handle, Node, Pods, Sizes, Snapshot, spawn};
use lb_plan::{Endpoint, Protocol, Service, ServiceName, ServicePort};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use viaduct_api::admin::FrontendStatus;
use viaduct_net::{LossCause, LostNodes};

const CLUSTER_IPS: [&str; 2] = ["10.96.0.1", "fd00:96::1"];
const FOUR: [&str; 3] = ["127.0.1.1", "127.0.1.2", "127.0.1.3"];
const SIX: [&str; 3] = ["fd00:1::1", "fd00:1::2", "fd00:1::3"];

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn endpoint(address: &str, ready: bool) -> Endpoint {
    Endpoint {
        address: ip(address),
        ports: BTreeMap::from([(String::new(), 8080)]),
        node: Some("node-1".to_owned()),
        ready,
        serving: ready,
        terminating: false,
    }
}

fn snapshot(endpoints: Vec<Endpoint>) -> Arc<Snapshot> {
    let service = Service {
        cluster_ips: CLUSTER_IPS.map(ip).into(),
        vips: ["198.51.100.1", "2001:db8:f::1"].map(ip).into(),
        ports: vec![ServicePort {
            name: String::new(),
            protocol: Protocol::Tcp,
            port: 80,
            node_port: Some(30080),
        }],
        endpoints,
        ..Service::default()
    };
    let name = ServiceName { namespace: "default".to_owned(), name: "web".to_owned() };
    Arc::new(Snapshot {
        services: [(name, Arc::new(service))].into(),
        complete: true,
        generation: 1,
    })
}

fn all_ready() -> Vec<Endpoint> {
    FOUR.iter().chain(&SIX).map(|address| endpoint(address, true)).collect()
}

/// Each answers a connection with its own address.
fn serve(host: &Host) {
    for address in SIX {
        host.ip(&format!("address add {address}/128 dev lo nodad"));
    }
    for address in FOUR.into_iter().chain(SIX) {
        let listener = TcpListener::bind(SocketAddr::new(ip(address), 8080)).unwrap();
        thread::spawn(move || {
            for stream in listener.incoming() {
                // The client may have gone.
                let _ = stream.unwrap().write_all(address.as_bytes());
            }
        });
    }
}

/// Who answers at the frontend.
fn ask(address: &str, port: u16) -> Result<String, ErrorKind> {
    let target = SocketAddr::new(ip(address), port);
    let connect = TcpStream::connect_timeout(&target, Duration::from_secs(5));
    let mut stream = connect.map_err(|error| error.kind())?;
    let mut name = String::new();
    stream.read_to_string(&mut name).map_err(|error| error.kind())?;
    Ok(name)
}

fn askers(address: &str, port: u16, times: usize) -> BTreeSet<String> {
    (0..times).map(|_| ask(address, port).unwrap()).collect()
}

struct Running {
    handle: Handle,
    services: watch::Sender<Arc<Snapshot>>,
    lost: watch::Sender<LostNodes>,
    pods: watch::Sender<Arc<Pods>>,
    shutdown: CancellationToken,
    runtime: tokio::runtime::Runtime,
}

impl Running {
    fn start(host: &Host, uplinks: &[&str]) -> Self {
        let addresses = ["127.0.0.1", "::1"].map(ip);
        let node = Node { name: "node-1".to_owned(), addresses: addresses.into() };
        let uplinks = uplinks.iter().map(|name| (*name).to_owned()).collect();
        let mut config = Config::new(node, uplinks, host.cgroup.clone(), host.pins().to_owned());
        config.audit_interval = Duration::from_millis(100);
        config.sizes = Sizes { maglev: 1 << 14, flows_established: 1024, ..Sizes::default() };
        let (services, services_receiver) = watch::channel(Arc::default());
        let (lost, lost_receiver) = watch::channel(LostNodes::default());
        let (pods, pods_receiver) = watch::channel(Arc::default());
        let shutdown = CancellationToken::new();
        let handle =
            spawn(config, services_receiver, lost_receiver, pods_receiver, shutdown.clone())
                .expect("the balancer starts");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        Self { handle, services, lost, pods, shutdown, runtime }
    }

    /// Sets the services and waits until the maps hold them.
    fn set(&self, snapshot: Arc<Snapshot>) {
        let updates = self.handle.counters().updates;
        self.services.send_replace(snapshot);
        wait_for("the services to be in the maps", || {
            let counters = self.handle.counters();
            (counters.updates > updates).then_some(()).ok_or(format!("{counters:?}"))
        });
    }

    fn stop(self) {
        self.shutdown.cancel();
        self.runtime.block_on(self.handle.ended());
        assert!(self.runtime.block_on(self.handle.services()).is_empty());
    }
}

#[test]
fn sockets_follow_the_services() {
    let host = Host::enter();
    serve(&host);
    let running = Running::start(&host, &["lo"]);
    running.set(snapshot(all_ready()));
    for (address, backends) in CLUSTER_IPS.into_iter().zip([FOUR, SIX]) {
        assert_eq!(askers(address, 80, 60), backends.map(str::to_owned).into(), "{address}");
        assert_eq!(ask(address, 81), Err(ErrorKind::ConnectionRefused));
    }
    for (address, backends) in [("127.0.0.1", FOUR), ("::1", SIX)] {
        assert_eq!(askers(address, 30080, 60), backends.map(str::to_owned).into(), "{address}");
    }
    let vips = ["198.51.100.1", "2001:db8:f::1"];
    assert_eq!(*running.handle.vips().borrow(), vips.map(ip).into());

    let mut one_left: Vec<Endpoint> = all_ready();
    for endpoint in
        one_left.iter_mut().filter(|one| ![ip(FOUR[1]), ip(SIX[2])].contains(&one.address))
    {
        *endpoint = Endpoint { ready: false, serving: false, ..endpoint.clone() };
    }
    running.set(snapshot(one_left));
    assert_eq!(askers(vips[0], 80, 20), BTreeSet::from([FOUR[1].to_owned()]));
    assert_eq!(askers(CLUSTER_IPS[1], 80, 20), BTreeSet::from([SIX[2].to_owned()]));

    let rows = running.runtime.block_on(running.handle.services());
    assert_eq!(rows.len(), 1);
    assert_eq!(rows[0].frontends.len(), 6, "{rows:?}");
    assert!(rows[0].frontends.iter().all(|frontend| frontend.programmed));
    let states: Vec<&str> =
        rows[0].frontends[0].backends.iter().map(|backend| backend.state.as_str()).collect();
    assert_eq!(states.iter().filter(|state| **state == "active").count(), 1, "{rows:?}");

    running.set(snapshot(Vec::new()));
    for address in CLUSTER_IPS.into_iter().chain(vips) {
        assert_eq!(ask(address, 80), Err(ErrorKind::ConnectionRefused), "{address}");
    }
    assert!(running.handle.vips().borrow().is_empty());
    let problems = running.runtime.block_on(running.handle.problems());
    assert!(problems.is_empty(), "{problems:?}");
    assert!(running.handle.counters().last_update > Duration::ZERO);
}

/// Whoever waits for an endpoint to leave the services hears of it once the maps are written, and
/// at the end of his time where it stays because there is no other.
#[test]
fn an_endpoint_is_withdrawn_when_new_flows_go_elsewhere() {
    let host = Host::enter();
    serve(&host);
    let running = Running::start(&host, &["lo"]);
    let of = |addresses: &[&str]| addresses.iter().copied().map(ip).collect::<BTreeSet<IpAddr>>();
    let ask_of = |addresses: &[&str], wait| {
        running.runtime.block_on(running.handle.withdrawn(of(addresses), wait))
    };
    let found = ask_of(&["192.0.2.9"], Duration::ZERO);
    assert!(found.endpoint && !found.withdrawn, "not all services are known yet: {found:?}");
    running.set(snapshot(all_ready()));
    let found = ask_of(&["192.0.2.9"], Duration::ZERO);
    assert!(!found.endpoint && found.withdrawn, "{found:?}");
    let both = [FOUR[0], SIX[0]];
    let found = ask_of(&both, Duration::from_millis(50));
    assert!(found.endpoint && !found.withdrawn, "{found:?}");

    let handle = running.handle.clone();
    let addresses = of(&both);
    let wait = running
        .runtime
        .spawn(async move { handle.withdrawn(addresses, Duration::from_secs(60)).await });
    // One of the two does not do.
    let terminating = |endpoint: &mut Endpoint| {
        endpoint.ready = false;
        endpoint.terminating = true;
    };
    let mut endpoints = all_ready();
    terminating(&mut endpoints[0]);
    running.set(snapshot(endpoints.clone()));
    running.runtime.block_on(async { tokio::task::yield_now().await });
    assert!(!wait.is_finished());
    terminating(&mut endpoints[3]);
    running.services.send_replace(snapshot(endpoints.clone()));
    let found = running.runtime.block_on(wait).unwrap();
    assert!(found.endpoint && found.withdrawn, "{found:?}");
    assert!(!askers(CLUSTER_IPS[0], 80, 30).contains(FOUR[0]));

    endpoints.iter_mut().for_each(terminating);
    running.set(snapshot(endpoints));
    let found = ask_of(&both, Duration::from_millis(50));
    assert!(!found.withdrawn, "the last ones are used while they serve: {found:?}");
}

/// The way of a loss from the outside: seen by the next connection, told to the operator, and over
/// when the node has stayed for a while.
#[test]
fn a_lost_node_gets_no_new_connection_until_it_has_stayed_for_a_while() {
    let host = Host::enter();
    serve(&host);
    let running = Running::start(&host, &["lo"]);
    let mut endpoints = all_ready();
    for third in [2, 5] {
        endpoints[third].node = Some("node-2".to_owned());
    }
    running.set(snapshot(endpoints));
    let lose = |nodes: &[&str]| {
        let nodes = nodes.iter().map(|node| ((*node).to_owned(), LossCause::Bfd));
        running.lost.send_replace(Arc::new(nodes.collect()));
    };
    let masked = |count: u64| {
        wait_for("the mask", || {
            let counters = running.handle.counters();
            (counters.masked_backends == count).then_some(()).ok_or(format!("{counters:?}"))
        });
    };
    // Of both families.
    lose(&["node-2", "node-9"]);
    masked(2);
    for (address, backends) in CLUSTER_IPS.into_iter().zip([FOUR, SIX]) {
        let left = backends[..2].iter().map(|one| (*one).to_owned()).collect();
        assert_eq!(askers(address, 80, 60), left, "{address}");
    }
    let row = || {
        let rows = running.runtime.block_on(running.handle.services());
        let mut backends = rows[0].frontends.iter().flat_map(|frontend| &frontend.backends);
        let backend = backends.find(|one| one.address.ip() == ip(FOUR[2]));
        let backend = backend.unwrap().clone();
        (backend.state, backend.why.unwrap_or_default())
    };
    assert_eq!(row(), ("masked".to_owned(), "node node-2 lost (BFD)".to_owned()));
    let counters = running.handle.counters();
    assert_eq!((counters.masks, counters.masked_nodes), (2, 2));
    assert!(running.runtime.block_on(running.handle.problems()).is_empty());

    // A change of services does not undo it.
    let mut fewer = all_ready();
    for one in &mut fewer {
        one.node = Some(if one.address == ip(FOUR[0]) { "node-1" } else { "node-2" }.to_owned());
    }
    running.set(snapshot(fewer));
    let problems = running.runtime.block_on(running.handle.problems());
    let expected = "of 3 backends of default/web are on nodes that are lost";
    assert!(problems.iter().any(|problem| problem.contains(expected)), "{problems:?}");
    assert_eq!(askers(CLUSTER_IPS[0], 80, 60).len(), 3, "two of three are too many");
    let (state, why) = row();
    assert_eq!(state, "active");
    assert_eq!(why, "node node-2 lost (BFD), as 2 of 3 are");
    let mut endpoints = all_ready();
    endpoints[2].node = Some("node-2".to_owned());
    running.set(snapshot(endpoints));
    masked(1);

    let back = Instant::now();
    lose(&[]);
    wait_for("the node to be on its way back", || {
        let (state, why) = row();
        (state == "masked" && why.contains("is back")).then_some(()).ok_or(why)
    });
    masked(0);
    assert!(back.elapsed() >= Duration::from_secs(3), "{:?}", back.elapsed());
    assert_eq!(askers(CLUSTER_IPS[0], 80, 60).len(), 3);
    assert_eq!(row(), ("active".to_owned(), String::new()));
    assert_eq!(running.handle.counters().masks, 2);
}

#[test]
fn open_connections_are_counted_by_frontend_and_backend() {
    let host = Host::enter();
    serve(&host);
    let running = Running::start(&host, &["lo"]);
    running.set(snapshot(all_ready()));
    let counts = || -> BTreeMap<SocketAddr, BTreeMap<SocketAddr, u64>> {
        let rows = running.runtime.block_on(running.handle.services());
        assert!(!rows[0].connections_approximate);
        let of = |frontend: &FrontendStatus| {
            let open = frontend.backends.iter().filter(|backend| backend.connections > 0);
            (frontend.address, open.map(|one| (one.address, one.connections)).collect())
        };
        rows[0].frontends.iter().map(of).collect()
    };
    let mut held = Vec::new();
    let mut expected = BTreeMap::<SocketAddr, BTreeMap<SocketAddr, u64>>::new();
    for (asked, frontend) in
        [("10.96.0.1:80", "10.96.0.1:80"), ("[::1]:30080", "[::]:30080"), ("198.51.100.1:80", "")]
    {
        for _ in 0..10 {
            let mut stream = TcpStream::connect(asked).unwrap();
            let mut name = [0; 16];
            let length = stream.read(&mut name).unwrap();
            let backend = SocketAddr::new(ip(str::from_utf8(&name[..length]).unwrap()), 8080);
            let frontend = if frontend.is_empty() { asked } else { frontend };
            let of_frontend = expected.entry(frontend.parse().unwrap()).or_default();
            *of_frontend.entry(backend).or_default() += 1;
            held.push(stream);
        }
    }
    wait_for("30 open connections", || {
        let counts = counts();
        let right = counts.iter().all(|(frontend, open)| {
            expected.get(frontend).map_or(open.is_empty(), |expected| expected == open)
        });
        right.then_some(()).ok_or(format!("{counts:?}, not {expected:?}"))
    });
    drop(held);
    wait_for("no open connection", || {
        let counts = counts();
        counts.values().all(BTreeMap::is_empty).then_some(()).ok_or(format!("{counts:?}"))
    });
}

#[test]
fn services_outlive_the_daemon_and_its_successor_writes_nothing() {
    let host = Host::enter();
    serve(&host);
    let running = Running::start(&host, &["lo"]);
    running.set(snapshot(all_ready()));
    running.stop();
    assert_eq!(askers(CLUSTER_IPS[0], 80, 30).len(), 3);

    let successor = Running::start(&host, &["lo"]);
    assert_eq!(successor.handle.vips().borrow().len(), 2, "what was announced stays so");
    assert_eq!(askers(CLUSTER_IPS[1], 80, 30).len(), 3, "before the services are known");
    successor.set(snapshot(all_ready()));
    assert_eq!(successor.handle.counters().writes, 0);
    assert_eq!(askers(CLUSTER_IPS[0], 80, 30).len(), 3);
}

#[test]
fn what_someone_else_writes_to_the_maps_is_mended() {
    let host = Host::enter();
    serve(&host);
    let running = Running::start(&host, &["lo"]);
    running.set(snapshot(all_ready()));
    let options = lb_maps::Options { pin_dir: host.pins().to_owned(), sizes: Sizes::default() };
    let maps = lb_maps::DataPlane::load(&options).unwrap().maps();
    let key = ServiceKey {
        address: ip(CLUSTER_IPS[0]).into(),
        port_be: 80_u16.to_be(),
        protocol: ebpf_abi::PROTOCOL_TCP,
        scope: ebpf_abi::SCOPE_INTERNAL,
    };
    let damages: [fn(&lb_maps::Maps, &ServiceKey); 3] = [
        |maps, key| assert!(maps.services.delete(key).unwrap()),
        |maps, key| {
            let value = maps.services.lookup(key).unwrap().unwrap();
            maps.maglev.write(value.offset, &[0; 8]).unwrap();
        },
        |maps, _| {
            let ids = maps.backends.entries().unwrap();
            let id = ids.keys().find(|id| **id != 0).unwrap();
            assert!(maps.backends.delete(id).unwrap());
        },
    ];
    for damage in damages {
        let mended = running.handle.counters().mended;
        damage(&maps, &key);
        wait_for(&format!("mending of {}", map::SERVICES), || {
            let counters = running.handle.counters();
            (counters.mended > mended).then_some(()).ok_or(format!("{counters:?}"))
        });
        wait_for("all backends to answer again", || {
            let heard: BTreeSet<_> = (0..30).map(|_| ask(CLUSTER_IPS[0], 80)).collect();
            let well = heard.len() == 3 && heard.iter().all(Result::is_ok);
            well.then_some(()).ok_or(format!("{heard:?}"))
        });
    }
}

#[test]
fn pods_are_attached_when_their_interface_comes_and_detached_when_they_go() {
    let host = Host::enter();
    let running = Running::start(&host, &["lo"]);
    let options = lb_maps::Options { pin_dir: host.pins().to_owned(), sizes: Sizes::default() };
    let plane = lb_maps::DataPlane::load(&options).unwrap();
    let interfaces =
        ["10.244.0.7/32", "fd00:244::7/128"].map(|text| (text.parse().unwrap(), "vd0".to_owned()));
    let pods = Pods { interfaces: interfaces.into(), complete: true };
    running.pods.send_replace(Arc::new(pods));
    host.ip("link add vd0 type veth peer name vd0p");
    wait_for("the pod to be attached", || {
        let attached = plane.attached_pods().unwrap();
        (attached.len() == 1).then_some(()).ok_or(format!("{attached:?}"))
    });
    let entered: Vec<_> = plane.maps().pods.entries().unwrap().into_values().collect();
    assert_eq!(IpAddr::from(entered[0].v4), ip("10.244.0.7"));
    assert_eq!(IpAddr::from(entered[0].v6), ip("fd00:244::7"));

    running.pods.send_replace(Arc::new(Pods::default()));
    running.pods.send_replace(Arc::new(Pods { complete: true, ..Pods::default() }));
    wait_for("the pod to be detached", || {
        let attached = plane.attached_pods().unwrap();
        attached.is_empty().then_some(()).ok_or(format!("{attached:?}"))
    });
}

#[test]
fn an_error_at_the_start_says_what_is_wrong() {
    let host = Host::enter();
    let config = |uplink: &str| {
        let node = Node::default();
        Config::new(node, vec![uplink.to_owned()], host.cgroup.clone(), host.pins().to_owned())
    };
    let start = |config: Config| {
        let (services, pods) = (watch::channel(Arc::default()).1, watch::channel(Arc::default()).1);
        let lost = watch::channel(LostNodes::default()).1;
        spawn(config, services, lost, pods, CancellationToken::new())
            .map(drop)
            .unwrap_err()
            .to_string()
    };
    assert!(start(config("eth9")).contains("eth9"));
    let wrong = Config { pin_dir: "/proc/viaduct".into(), ..config("lo") };
    assert!(start(wrong).contains("bpf filesystem"));
}
