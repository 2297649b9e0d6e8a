//! The vRouter against the kernel of this machine, in network namespaces that live as long as the
//! thread of a test. Needs root and iproute2.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod namespace;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use namespace::{Namespace, wait_for};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use viaduct_net::{IfIndex, NextHop, Prefix, Route, RouteSource, feed};
use vrouter::{Config, Handle, LocalState, Masquerade, RouteRow, spawn};

fn prefix(text: &str) -> Prefix {
    text.parse().unwrap()
}

/// A node with two uplinks and the interface of a pod.
struct Node {
    namespace: Namespace,
    runtime: tokio::runtime::Runtime,
    interfaces: BTreeMap<&'static str, IfIndex>,
}

/// A vRouter and what feeds it.
struct Running {
    handle: Handle,
    routes: feed::Writer<Prefix, Option<Route>>,
    local: watch::Sender<Arc<LocalState>>,
    shutdown: CancellationToken,
}

impl Node {
    fn new() -> Self {
        let namespace = Namespace::enter();
        let ip = |arguments: &str| namespace.run("ip", arguments);
        ip("link set lo up");
        ip("link add br0 type bridge");
        ip("link set br0 up");
        for (name, number) in [("up0", 0), ("up1", 1)] {
            ip(&format!("link add {name} type veth peer name {name}p"));
            ip(&format!("link set {name}p master br0 up"));
            ip(&format!("link set {name} up"));
            ip(&format!("address add 192.0.{number}.1/24 dev {name}"));
            ip(&format!("-6 address add 2001:db8:{number}::1/64 dev {name} nodad"));
        }
        ip("link add vd0 type veth peer name vd0p");
        ip("link set vd0 up");
        ip("link set vd0p up");
        let index = |name: &'static str| {
            let line = namespace.run("ip", &format!("-o link show dev {name}"));
            (name, IfIndex(line.split(':').next().unwrap().trim().parse().unwrap()))
        };
        let interfaces = ["up0", "up1", "vd0"].map(index).into();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        Self { namespace, runtime, interfaces }
    }

    fn ip(&self, arguments: &str) -> String {
        self.namespace.run("ip", arguments)
    }

    fn hop(&self, address: &str, interface: &str) -> NextHop {
        NextHop { address: address.parse().unwrap(), interface: self.interfaces[interface] }
    }

    fn start(&self) -> Running {
        self.start_with(None)
    }

    fn start_with(&self, turn: Option<watch::Receiver<bool>>) -> Running {
        let (writer, reader) = feed::feed();
        let (local, receiver) = watch::channel(Arc::new(LocalState::default()));
        let shutdown = CancellationToken::new();
        let uplinks = vec!["up0".into(), "up1".into()];
        let config = Config { uplinks, turn, ..Config::default() };
        let handle = spawn(config, reader, receiver, shutdown.clone()).expect("the vRouter starts");
        Running { handle, routes: writer, local, shutdown }
    }

    fn rows(&self, running: &Running) -> Vec<RouteRow> {
        self.runtime.block_on(running.handle.routes())
    }

    /// Waits until every route that is wanted is in the kernel, and no other.
    fn settled(&self, running: &Running, routes: usize) {
        wait_for("all routes to be installed", || {
            let rows = self.rows(running);
            let wrong = rows.iter().find(|row| !row.wanted || !row.installed);
            let done = wrong.is_none() && rows.len() == routes;
            done.then_some(()).ok_or_else(|| format!("{} routes, {wrong:?}", rows.len()))
        });
    }

    /// Both families, ECMP and single, an IPv4 route over an IPv6 neighbour, a pod and a block.
    fn feed(&self, running: &Running) -> usize {
        let both = [self.hop("192.0.0.2", "up0"), self.hop("192.0.1.2", "up1")];
        let both_v6 = [self.hop("2001:db8::2", "up0"), self.hop("2001:db8:1::2", "up1")];
        running.set("10.1.0.0/26", &both);
        running.set("10.1.0.64/26", &both);
        running.set("10.2.0.0/26", &both[..1]);
        running.set("10.3.0.0/26", &both_v6[..1]);
        running.set("fd00:1::/122", &both_v6);
        running.set("fd00:2::/122", &both_v6[1..]);
        let pods = ["10.9.0.7", "fd00:9::7"].map(|text| (prefix(text), "vd0".to_owned()));
        let blocks = ["10.9.0.0/26", "fd00:9::/122"].map(prefix);
        let state = LocalState {
            blocks: blocks.into(),
            pods: pods.into(),
            complete: true,
            ..LocalState::default()
        };
        running.local.send_replace(Arc::new(state));
        running.routes.synced();
        10
    }

    /// Everything of ours in the kernel, as iproute2 tells it.
    fn ours(&self) -> String {
        let lists = ["-4 route show proto 86", "-6 route show proto 86", "nexthop show"];
        lists.map(|arguments| self.ip(arguments)).concat()
    }

    fn stop(&self, running: Running) {
        running.shutdown.cancel();
        self.runtime.block_on(running.handle.ended());
        assert!(self.rows(&running).is_empty());
    }
}

impl Running {
    fn set(&self, text: &str, next_hops: &[NextHop]) {
        let mut next_hops = next_hops.to_vec();
        next_hops.sort();
        let route = Route { next_hops: next_hops.into(), source: RouteSource::Ibgp };
        self.routes.set(prefix(text), Some(route));
    }
}

#[test]
fn whoever_waits_for_its_turn_changes_nothing() {
    let node = Node::new();
    let first = node.start();
    let count = node.feed(&first);
    node.settled(&first, count);
    let (turn, turns) = watch::channel(false);
    let second = node.start_with(Some(turns));
    // One route is gone and another is there, as the one that runs will never know.
    second.set("10.4.0.0/26", &[node.hop("192.0.0.2", "up0")]);
    second.local.send_replace(Arc::new(LocalState { complete: true, ..LocalState::default() }));
    second.routes.synced();
    let before = node.ours();
    // What others change it sees all the same.
    node.ip("route add 198.51.100.0/24 via 192.0.0.9");
    node.runtime.block_on(async {
        let mut underlay = second.handle.underlay();
        let there = prefix("198.51.100.0/24");
        underlay.wait_for(|all| all.iter().any(|route| route.prefix == there)).await.unwrap();
    });
    assert_eq!(node.ours(), before);
    assert_eq!(second.handle.counters().applied, 0);
    node.stop(first);
    turn.send_replace(true);
    node.settled(&second, 1);
    wait_for("the first one's routes to be gone", || {
        let ours = node.ours();
        let left = ours.contains("10.4.0.0/26") && !ours.contains("10.1.0.0/26");
        if left { Ok(()) } else { Err(ours) }
    });
}

#[test]
fn routes_of_both_families_are_installed_and_removed() {
    let node = Node::new();
    let running = node.start();
    let count = node.feed(&running);
    node.settled(&running, count);

    let four = node.ip("-4 route show 10.1.0.0/26");
    assert!(four.contains("proto 86") && four.contains("metric 86"), "{four}");
    assert!(four.contains("nhid"), "{four}");
    assert_eq!(node.ip("-6 route show fd00:1::/122").matches("nhid").count(), 1);
    assert!(node.ip("-4 route show 10.9.0.7").contains("dev vd0"));
    assert!(node.ip("-6 route show fd00:9::7").contains("dev vd0"));
    assert!(node.ip("-4 route show 10.9.0.0/26").contains("blackhole"));
    assert!(node.ip("-6 route show fd00:9::/122").contains("blackhole"));
    // What the kernel would do with a packet.
    assert!(node.ip("route get 10.1.0.5").contains("via 192.0."));
    assert!(node.ip("route get 10.3.0.5").contains("via inet6 2001:db8::2"));
    assert!(node.ip("-6 route get fd00:2::5").contains("via 2001:db8:1::2"));

    for text in ["10.1.0.0/26", "10.1.0.64/26", "10.2.0.0/26", "10.3.0.0/26"] {
        running.routes.set(prefix(text), None);
    }
    for text in ["fd00:1::/122", "fd00:2::/122"] {
        running.routes.set(prefix(text), None);
    }
    running.local.send_replace(Arc::new(LocalState { complete: true, ..LocalState::default() }));
    node.settled(&running, 0);
    wait_for("the kernel to be empty of ours", || {
        let ours = node.ours();
        if ours.is_empty() { Ok(()) } else { Err(ours) }
    });
    assert_eq!(running.handle.counters().failed, 0);
}

/// RFC 7999: the kernel drops what comes for it, and tells a sender of its own that it goes nowhere.
#[test]
fn what_a_peer_wants_discarded_is_dropped_until_it_wants_that_no_more() {
    let node = Node::new();
    let running = node.start();
    running.local.send_replace(Arc::new(LocalState { complete: true, ..LocalState::default() }));
    running.routes.synced();
    let hops = [node.hop("192.0.0.2", "up0"), node.hop("2001:db8::2", "up0")];
    let networks = [("10.1.0.0/26", "10.1.0.7/32"), ("fd00:1::/122", "fd00:1::7/128")];
    for ((network, _), hop) in networks.iter().zip(hops) {
        running.set(network, &[hop]);
    }
    node.settled(&running, 2);
    let sends = |text: &str| {
        let to = prefix(text).address();
        let any = if to.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
        let socket = std::net::UdpSocket::bind(any).unwrap();
        socket.send_to(b"x", (to, 9)).map_err(|error| error.kind())
    };
    for (network, host) in networks {
        assert_eq!(sends(host), Ok(1), "over {network}");
        running.set(host, &[]);
    }
    node.settled(&running, 4);
    for (network, host) in networks {
        let family = if host.contains(':') { "-6" } else { "-4" };
        let shown = node.ip(&format!("{family} route show {host}"));
        assert!(shown.starts_with("blackhole") && shown.contains("proto 86"), "{shown}");
        assert_eq!(sends(host), Err(std::io::ErrorKind::InvalidInput), "{host}");
        assert_eq!(sends(network), Ok(1), "beside {host} all goes its way");
    }
    // Another process adopts them, and leaves them until all is known.
    node.stop(running);
    let next = node.start();
    next.local.send_replace(Arc::new(LocalState { complete: true, ..LocalState::default() }));
    for ((network, host), hop) in networks.iter().zip(hops) {
        next.set(network, &[hop]);
        assert_eq!(sends(host), Err(std::io::ErrorKind::InvalidInput), "{host}");
    }
    wait_for("two routes to be wanted", || {
        let rows = node.rows(&next);
        let wanted = rows.iter().filter(|row| row.wanted && row.installed).count();
        (wanted == 2 && rows.len() == 4).then_some(()).ok_or(format!("{rows:?}"))
    });
    next.routes.synced();
    node.settled(&next, 2);
    for (_, host) in networks {
        assert_eq!(sends(host), Ok(1), "{host}");
    }
    assert_eq!(next.handle.counters().failed, 0);
}

/// What sessions over link-local addresses bring: IPv4 by IPv6 neighbours, two of which have one
/// address, each on its link.
#[test]
fn link_local_neighbours_take_both_families() {
    let node = Node::new();
    let running = node.start();
    let both = [node.hop("fe80::2", "up0"), node.hop("fe80::2", "up1")];
    running.set("10.1.0.0/26", &both[..1]);
    running.set("10.2.0.0/26", &both);
    running.set("fd00:1::/122", &both);
    running.local.send_replace(Arc::new(LocalState { complete: true, ..LocalState::default() }));
    running.routes.synced();
    node.settled(&running, 3);

    assert!(node.ip("route get 10.1.0.5").contains("via inet6 fe80::2 dev up0"));
    assert!(node.ip("route get 10.2.0.5").contains("via inet6 fe80::2 dev up"));
    assert!(node.ip("-6 route get fd00:1::5").contains("via fe80::2 dev up"));
    let nexthops = node.ip("nexthop show");
    for interface in ["up0", "up1"] {
        assert!(nexthops.contains(&format!("via fe80::2 dev {interface}")), "{nexthops}");
    }
    assert_eq!(running.handle.counters().failed, 0);
    node.stop(running);
}

#[test]
fn a_successor_adopts_everything_and_changes_nothing() {
    let node = Node::new();
    let first = node.start();
    let count = node.feed(&first);
    node.settled(&first, count);
    let before = node.ours();
    node.stop(first);
    assert_eq!(node.ours(), before, "an orderly stop leaves the kernel alone");

    let monitor = node.namespace.monitor();
    let second = node.start();
    assert_eq!(node.ours(), before, "nothing is purged at the start");
    let count = node.feed(&second);
    node.settled(&second, count);
    assert_eq!(node.ours(), before);
    let said = monitor.stop(&node.namespace);
    let probes = ["1447362558", "1447362559"];
    let touched: Vec<&str> =
        said.lines().filter(|line| !probes.iter().any(|id| line.contains(id))).collect();
    assert!(touched.is_empty(), "{touched:?}");
    assert_eq!(second.handle.counters().applied, 0);
}

#[test]
fn what_is_left_over_goes_once_all_is_known() {
    let node = Node::new();
    let first = node.start();
    let count = node.feed(&first);
    node.settled(&first, count);
    node.stop(first);
    let second = node.start();
    second.set("10.1.0.0/26", &[node.hop("192.0.0.2", "up0"), node.hop("192.0.1.2", "up1")]);
    wait_for("the one route to be wanted", || {
        let rows = node.rows(&second);
        let wanted = rows.iter().filter(|row| row.wanted).count();
        (wanted == 1).then_some(()).ok_or(format!("{rows:?}"))
    });
    assert_eq!(node.rows(&second).len(), count, "the rest stays until all is known");
    second.routes.synced();
    second.local.send_replace(Arc::new(LocalState { complete: true, ..LocalState::default() }));
    node.settled(&second, 1);
    let nexthops = node.ip("nexthop show");
    assert_eq!(nexthops.lines().count(), 3, "{nexthops}");
}

#[test]
fn what_someone_else_removes_is_mended_at_once() {
    let node = Node::new();
    let running = node.start();
    let count = node.feed(&running);
    node.settled(&running, count);
    let whole = node.ours();
    let back = |what: &str| {
        wait_for(what, || {
            let ours = node.ours();
            if ours == whole { Ok(()) } else { Err(ours) }
        });
    };
    for (number, damage) in [
        "-4 route del 10.1.0.0/26",
        "-6 route del fd00:1::/122",
        "-4 route del 10.9.0.7",
        "-6 route del fd00:9::7",
        "-4 route del blackhole 10.9.0.0/26",
        "-4 route replace 10.2.0.0/26 via 192.0.1.9 proto 86 metric 86",
        "-4 route add 10.99.0.0/24 via 192.0.1.9 proto 86 metric 86",
    ]
    .into_iter()
    .enumerate()
    {
        node.ip(damage);
        back(damage);
        let mended = running.handle.counters().mended;
        assert!(mended > number as u64, "{mended} mended after {damage}");
    }
    // Ids may be others after these, so what is compared is where packets go.
    let nexthops = node.ip("nexthop show");
    let (groups, objects): (Vec<&str>, Vec<&str>) =
        nexthops.lines().partition(|line| line.contains("group"));
    for line in [groups[0], objects[0]] {
        let id = line.split_whitespace().nth(1).unwrap();
        let mended = running.handle.counters().mended;
        node.ip(&format!("nexthop del id {id}"));
        wait_for("the nexthop to be mended", || {
            let counters = running.handle.counters();
            (counters.mended > mended).then_some(()).ok_or(format!("{counters:?}"))
        });
        node.settled(&running, count);
    }
    assert!(node.ip("-4 route show 10.2.0.0/26").contains("nhid"));
    assert_eq!(running.handle.counters().failed, 0);
}

#[test]
fn routes_follow_their_links() {
    let node = Node::new();
    let running = node.start();
    let count = node.feed(&running);
    node.settled(&running, count);
    node.ip("link set up0 down");
    wait_for("the routes over the link to wait", || {
        let rows = node.rows(&running);
        let missing: Vec<Prefix> =
            rows.iter().filter(|row| !row.installed).map(|row| row.prefix).collect();
        let expected = ["10.2.0.0/26", "10.3.0.0/26"].map(prefix);
        (missing == expected).then_some(()).ok_or(format!("{missing:?}"))
    });
    assert!(node.ip("route get 10.1.0.5").contains("via 192.0.1.2"));
    let underlay = running.handle.underlay();
    assert!(underlay.borrow().iter().all(|route| route.prefix != prefix("192.0.0.0/24")));

    node.ip("link set up0 up");
    // The kernel drops a link's global IPv6 addresses with it.
    node.ip("-6 address add 2001:db8:0::1/64 dev up0 nodad");
    node.settled(&running, count);
    node.ip("link set up0p down");
    wait_for("the loss of carrier to be heard", || {
        let rows = node.rows(&running);
        let lost = rows.iter().any(|row| row.prefix == prefix("10.2.0.0/26") && !row.installed);
        lost.then_some(()).ok_or(format!("{rows:?}"))
    });
    node.ip("link set up0p up");
    node.settled(&running, count);
}

#[test]
fn a_pod_gets_its_route_when_its_interface_comes() {
    let node = Node::new();
    let running = node.start();
    let state = LocalState {
        pods: [(prefix("10.9.0.8"), "vd1".to_owned())].into(),
        complete: true,
        ..LocalState::default()
    };
    running.local.send_replace(Arc::new(state));
    running.routes.synced();
    node.ip("link add vd1 type veth peer name vd1p");
    node.ip("link set vd1 up");
    node.settled(&running, 1);
    assert!(node.ip("-4 route show 10.9.0.8").contains("dev vd1"));
    node.ip("link del vd1");
    wait_for("the route to wait again", || {
        let rows = node.rows(&running);
        (!rows[0].installed).then_some(()).ok_or(format!("{rows:?}"))
    });
}

#[test]
fn a_refused_route_is_there_as_soon_as_it_can_be() {
    let node = Node::new();
    let running = node.start();
    running.set("10.1.0.0/26", &[node.hop("192.0.7.2", "up0")]);
    running.set("10.2.0.0/26", &[node.hop("192.0.0.2", "up0")]);
    running.routes.synced();
    // The kernel knows no way to the neighbour.
    wait_for("some refusals", || {
        let counters = running.handle.counters();
        (counters.failed > 8).then_some(()).ok_or(format!("{counters:?}"))
    });
    assert!(node.ip("-4 route show 10.2.0.0/26").contains("nhid"), "the other is not held up");
    let problems = || node.runtime.block_on(running.handle.problems());
    assert!(problems().iter().any(|text| text.contains("192.0.7.2")), "{:?}", problems());
    node.ip("address add 192.0.7.1/24 dev up0");
    node.settled(&running, 2);
    assert_eq!(problems(), [] as [&str; 0]);
    node.ip("link set up1p down");
    running.set("10.3.0.0/26", &[node.hop("192.0.1.2", "up1")]);
    wait_for("the waiting route to be told of", || {
        let problems = problems();
        let told = problems.iter().any(|text| text.contains("10.3.0.0/26"));
        told.then_some(()).ok_or(format!("{problems:?}"))
    });
}

#[test]
fn a_lost_neighbour_leaves_its_groups() {
    let node = Node::new();
    let running = node.start();
    let count = node.feed(&running);
    node.settled(&running, count);
    let neighbour = node.hop("192.0.1.2", "up1");
    let applied = running.handle.counters().applied;
    node.runtime.block_on(running.handle.neighbour_lost(neighbour));
    wait_for("the neighbour to leave", || {
        let shown = node.ip("route get 10.1.0.5") + &node.ip("nexthop show");
        (!shown.contains("192.0.1.2")).then_some(()).ok_or(shown)
    });
    assert_eq!(running.handle.counters().applied, applied + 1, "one deletion");
    node.runtime.block_on(running.handle.neighbour_back(neighbour));
    wait_for("the neighbour to be back", || {
        let shown = node.ip("nexthop show");
        shown.contains("192.0.1.2").then_some(()).ok_or(shown)
    });
    node.settled(&running, count);
}

#[test]
fn the_underlay_is_what_is_not_ours() {
    let node = Node::new();
    node.ip("route add default via 192.0.0.254 metric 5");
    node.ip("route add 198.51.100.0/24 nexthop via 192.0.0.3 nexthop via 192.0.1.3");
    node.ip("nexthop add id 77 via 192.0.0.4 dev up0");
    node.ip("route add 203.0.113.0/24 nhid 77");
    node.ip("-6 route add 2001:db8:ffff::/48 via 2001:db8::9");
    node.ip("address add 10.7.7.7/24 dev vd0");
    let running = node.start();
    let count = node.feed(&running);
    node.settled(&running, count);
    let mut underlay = running.handle.underlay();
    let text = |underlay: &viaduct_net::Underlay| -> Vec<String> {
        let line = |route: &viaduct_net::UnderlayRoute| {
            let name = node.interfaces.iter().find(|(_, index)| **index == route.interface);
            let gateway = route.gateway.map(|gateway| format!(" via {gateway}"));
            let name = name.map_or("?", |(name, _)| *name);
            format!("{}{} dev {name}", route.prefix, gateway.unwrap_or_default())
        };
        underlay.iter().map(line).collect()
    };
    let expected = [
        "0.0.0.0/0 via 192.0.0.254 dev up0",
        "192.0.0.0/24 dev up0",
        "192.0.1.0/24 dev up1",
        "198.51.100.0/24 via 192.0.0.3 dev up0",
        "198.51.100.0/24 via 192.0.1.3 dev up1",
        "203.0.113.0/24 via 192.0.0.4 dev up0",
        "2001:db8::/64 dev up0",
        "2001:db8:1::/64 dev up1",
        "2001:db8:ffff::/48 via 2001:db8::9 dev up0",
    ];
    assert_eq!(text(&underlay.borrow_and_update()), expected);

    node.ip("route del 203.0.113.0/24");
    node.runtime.block_on(async {
        let changed = tokio::time::timeout(Duration::from_secs(10), underlay.changed());
        changed.await.expect("a change is told").unwrap();
    });
    assert_eq!(underlay.borrow().len(), expected.len() - 1);
}

#[test]
fn the_namespace_is_made_a_router() {
    let node = Node::new();
    let read = |name: &str| {
        std::fs::read_to_string(format!("/proc/sys/net/{name}")).unwrap().trim().to_owned()
    };
    let write = |name: &str, value: &str| {
        std::fs::write(format!("/proc/sys/net/{name}"), value).unwrap();
    };
    write("ipv4/conf/up0/rp_filter", "1");
    write("ipv4/conf/up1/rp_filter", "0");
    write("ipv4/conf/vd0/rp_filter", "1");
    write("ipv6/conf/up0/accept_ra", "1");
    write("ipv6/conf/up1/accept_ra", "0");
    let _running = node.start();
    assert_eq!(read("ipv4/ip_forward"), "1");
    assert_eq!(read("ipv6/conf/all/forwarding"), "1");
    assert_eq!(read("ipv6/conf/up0/accept_ra"), "2");
    assert_eq!(read("ipv6/conf/up1/accept_ra"), "0");
    let filters = ["up0", "up1", "vd0"].map(|name| read(&format!("ipv4/conf/{name}/rp_filter")));
    assert_eq!(filters, ["2", "0", "1"], "only a strict uplink is loosened");
}

#[test]
fn masquerade_is_one_table_that_follows_its_input() {
    let node = Node::new();
    let running = node.start();
    let masquerade = Masquerade {
        pod_cidrs: ["10.9.0.0/16", "fd00:9::/64"].map(prefix).into(),
        cluster_cidrs: ["10.0.0.0/8", "fd00::/16"].map(prefix).into(),
    };
    let state = LocalState { masquerade, complete: true, ..LocalState::default() };
    running.local.send_replace(Arc::new(state));
    let list = || node.namespace.run("nft", "list ruleset");
    wait_for("the table", || {
        let shown = list();
        shown.contains("table inet viaduct_masquerade").then_some(()).ok_or(shown)
    });
    let shown = list();
    for part in ["10.0.0.0/8", "fd00:9::/64", "0x56440001", "masquerade"] {
        assert!(shown.contains(part), "{part} in {shown}");
    }
    running.local.send_replace(Arc::new(LocalState { complete: true, ..LocalState::default() }));
    wait_for("the table to go", || {
        let shown = list();
        if shown.contains("viaduct") { Err(shown) } else { Ok(()) }
    });
}

#[test]
fn thousands_of_routes_go_in_and_out() {
    const COUNT: u32 = 5000;
    let node = Node::new();
    let running = node.start();
    let both = [node.hop("192.0.0.2", "up0"), node.hop("192.0.1.2", "up1")];
    let both_v6 = [node.hop("2001:db8::2", "up0"), node.hop("2001:db8:1::2", "up1")];
    let all = || (0..COUNT).map(|number| (number >> 8, number & 0xff));
    for (high, low) in all() {
        running.set(&format!("10.{high}.{low}.0/24"), &both);
        running.set(&format!("fd00:{high:x}:{low:x}::/48"), &both_v6);
    }
    running.routes.synced();
    node.settled(&running, 2 * COUNT as usize);
    for family in ["-4", "-6"] {
        let shown = node.ip(&format!("{family} route show proto 86"));
        assert_eq!(shown.matches("nhid").count(), COUNT as usize);
    }
    assert_eq!(node.ip("nexthop show").lines().count(), 6, "they share their nexthops");
    // A flood of notifications is no more than one reason to look.
    node.ip("-4 route flush proto 86");
    node.settled(&running, 2 * COUNT as usize);
    wait_for("every route to be counted as mended", || {
        let counters = running.handle.counters();
        (counters.mended >= u64::from(COUNT)).then_some(()).ok_or(format!("{counters:?}"))
    });
    for (high, low) in all() {
        running.routes.set(prefix(&format!("10.{high}.{low}.0/24")), None);
        running.routes.set(prefix(&format!("fd00:{high:x}:{low:x}::/48")), None);
    }
    node.settled(&running, 0);
    assert_eq!(running.handle.counters().failed, 0);
}
