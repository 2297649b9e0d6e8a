//! What most tests begin with: a node beside a BIRD, or two nodes of ours in one namespace.

use std::{net::IpAddr, sync::Arc};

use bgp_speaker::Config;

use super::{
    bird::Bird,
    frr::{Frr, FrrConfig},
    netns::{Netns, ip, isolated},
    node::{Node, PORT, config, v4, v6},
};

/// What the node beside a BIRD announces, and what that announces.
pub(crate) const OWN: [&str; 2] = ["10.1.0.0/24", "fd00:1::/64"];
pub(crate) const BIRDS: [&str; 2] = ["198.51.100.0/24", "2001:db8:ff00::/40"];

/// The same of any other maker's daemon.
pub(crate) const OTHERS: [&str; 2] = BIRDS;

/// What each node of a [`pair`] announces.
pub(crate) const PAIR: [&[&str]; 2] =
    [&["10.1.0.0/24", "fd00:1::/64"], &["10.2.0.0/24", "fd00:2::/64"]];

/// A test on one thread, in a namespace of its own with a link to another: 192.0.2.1 and 192.0.2.2,
/// 2001:db8::1 and 2001:db8::2.
pub(crate) fn linked(test: impl AsyncFnOnce(Arc<Netns>) + Send + 'static) {
    isolated(move || {
        let netns = Arc::new(Netns::new());
        netns.link(1, 2);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(test(netns));
    });
}

/// BIRD as 192.0.2.2 in `asn`, with one static route of each family to tell, `options` in the
/// protocol of the session, and `globals` beside it.
pub(crate) fn bird_config(asn: u32, peer_asn: u32, options: &str, globals: &str) -> String {
    format!(
        "router id 192.0.2.2;
         log stderr all;
         protocol device {{ scan time 1; }}
         protocol static static4 {{ ipv4; route {v4_route} blackhole; }}
         protocol static static6 {{ ipv6; route {v6_route} blackhole; }}
         template bgp common {{
             local 192.0.2.2 port {PORT} as {asn};
             hold time 9;
             connect retry time 1;
             connect delay time 1;
             error wait time 1, 2;
             graceful restart on;
             graceful restart time 30;
             ipv4 {{ import all; export where source = RTS_STATIC; }};
             ipv6 {{ import all; export where source = RTS_STATIC; }};
         }}
         protocol bgp viaduct from common {{ neighbor 192.0.2.1 port {PORT} as {peer_asn}; {options} }}
         {globals}",
        v4_route = BIRDS[0],
        v6_route = BIRDS[1],
    )
}

/// A BIRD of `asn` and a node of `peer_asn` with a session, both in sync, on one thread.
pub(crate) fn with_bird(
    asn: u32,
    peer_asn: u32,
    test: impl AsyncFnOnce(Bird, Node) + Send + 'static,
) {
    with_bird_and("", asn, config(1, peer_asn, &[(v4(2), asn)]), test);
}

/// The same, with options in BIRD's protocol and a configuration of ours.
pub(crate) fn with_bird_and(
    options: &str,
    asn: u32,
    ours: Config,
    test: impl AsyncFnOnce(Bird, Node) + Send + 'static,
) {
    let theirs = bird_config(asn, ours.asn.to_u32(), options, "");
    with_bird_of(theirs, ours, test);
}

/// The same where BIRD sees its peer in another AS: its own and that.
pub(crate) fn with_bird_as(
    (asn, peer_asn): (u32, u32),
    ours: Config,
    test: impl AsyncFnOnce(Bird, Node) + Send + 'static,
) {
    with_bird_of(bird_config(asn, peer_asn, "", ""), ours, test);
}

/// The same with all of BIRD's configuration.
pub(crate) fn with_bird_of(
    theirs: String,
    ours: Config,
    test: impl AsyncFnOnce(Bird, Node) + Send + 'static,
) {
    linked(async move |netns| {
        let bird = Bird::start(netns, &theirs);
        let node = Node::start(ours, &OWN);
        node.wait("bird's routes", async |node| {
            node.hops(BIRDS[0]) == [v4(2)] && node.hops(BIRDS[1]) == [v6(2)]
        })
        .await;
        bird.wait_for_ours(&node).await;
        test(bird, node).await;
    });
}

/// FRR as 192.0.2.2 in AS 65001 and a node, which has it as its peer, with a session, both in sync.
/// `options` are more lines of the neighbour 192.0.2.1, which is what each of them begins with;
/// `bfdd` is what that daemon reads.
pub(crate) fn with_frr(
    options: &'static str,
    bfdd: &'static str,
    ours: Config,
    test: impl AsyncFnOnce(Frr, Node) + Send + 'static,
) {
    let bgpd = frr_config(65001, ours.asn.to_u32(), options, "");
    linked(async move |netns| {
        let frr = Frr::start(netns, FrrConfig { bgpd: &bgpd, bfdd });
        let node = Node::start(ours, &OWN);
        node.wait("frr's routes", async |node| {
            node.hops(OTHERS[0]) == [v4(2)] && node.hops(OTHERS[1]) == [v6(2)]
        })
        .await;
        node.wait("frr has ours", async |_| frr.has_ours()).await;
        test(frr, node).await;
    });
}

/// FRR's bgpd in `asn`, with `globals` below its own.
pub(crate) fn frr_config(asn: u32, peer_asn: u32, options: &str, globals: &str) -> String {
    let mut neighbor = format!(
        "remote-as {peer_asn}
         port {PORT}
         timers 3 9
         timers connect 1
         "
    );
    neighbor.push_str(options);
    let lines = neighbor.lines().map(str::trim).filter(|line| !line.is_empty());
    let neighbor: String = lines.map(|line| format!(" neighbor 192.0.2.1 {line}\n")).collect();
    let [v4_route, v6_route] = OTHERS;
    format!(
        "router bgp {asn}
 bgp router-id 192.0.2.2
 no bgp ebgp-requires-policy
 no bgp network import-check
{neighbor} address-family ipv4 unicast
  network {v4_route}
 exit-address-family
 address-family ipv6 unicast
  network {v6_route}
  neighbor 192.0.2.1 activate
 exit-address-family
exit
{globals}
"
    )
}

impl Frr {
    /// The routes of both families.
    pub(crate) fn routes(&self) -> String {
        self.ask("show bgp ipv4 unicast\nshow bgp ipv6 unicast")
    }

    pub(crate) fn has_ours(&self) -> bool {
        let routes = self.routes();
        OWN.iter().all(|own| routes.contains(own))
    }
}

impl Bird {
    pub(crate) fn has_ours(&self) -> bool {
        let routes = self.routes();
        OWN.iter().all(|own| routes.contains(own))
    }

    pub(crate) async fn wait_for_ours(&self, node: &Node) {
        node.wait("bird has ours", async |_| self.has_ours()).await;
    }
}

/// Gives the numbers' addresses to loopback and runs the test on one thread, for the namespace is
/// the thread's.
pub(crate) fn with_addresses(numbers: &'static [u8], test: impl AsyncFnOnce() + Send + 'static) {
    isolated(move || {
        for number in numbers {
            ip(&format!("addr add 192.0.2.{number}/32 dev lo"));
            ip(&format!("addr add 2001:db8::{number}/128 dev lo nodad"));
        }
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(test());
    });
}

pub(crate) async fn pair(address: fn(u8) -> IpAddr) -> (Node, Node) {
    let a = Node::start(config(1, 64512, &[(address(2), 64512)]), PAIR[0]);
    let b = Node::start(config(2, 64512, &[(address(1), 64512)]), PAIR[1]);
    a.wait("a knows b's", async |a| a.hops("10.2.0.0/24") == [v4(2)]).await;
    a.wait("a knows b's", async |a| a.hops("fd00:2::/64") == [v6(2)]).await;
    b.wait("b knows a's", async |b| b.hops("fd00:1::/64") == [v6(1)]).await;
    (a, b)
}
