//! Sessions over links that have no addresses but link-local ones, with neighbours that are found by
//! router advertisements (RFC 4861) and told IPv4 by IPv6 next hops (RFC 8950).

mod between_us;
mod outside;
pub(crate) mod with_bird;
pub(crate) mod with_frr;

use std::net::{IpAddr, Ipv6Addr};

use bgp_speaker::Config;
use tokio::runtime::{Builder, Runtime};

use crate::lab::{
    netns::{Netns, ip},
    node::{Node, config, v4},
    setup::{OTHERS, OWN},
};

pub(crate) const NEAR: &str = "viaduct0";
pub(crate) const FAR: &str = "viaduct1";

pub(crate) fn link_local(number: u16) -> IpAddr {
    Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, number).into()
}

/// A link between the namespaces: fe80::1 here, fe80::2 there, and nothing else.
pub(crate) fn wire(netns: &Netns) {
    netns.wire(NEAR, FAR);
    bring_up(NEAR, 1);
    netns.run(|| bring_up(FAR, 2));
}

pub(crate) fn bring_up(link: &str, number: u16) {
    ip(&format!("link set {link} addrgenmode none"));
    ip(&format!("link set {link} up"));
    ip(&format!("addr add {}/64 dev {link} nodad", link_local(number)));
}

/// A speaker whose peers are whoever is at the end of these interfaces.
pub(crate) fn ours(number: u8, asn: u32, interfaces: &[&str], peer_asn: u32) -> Config {
    let mut config = config(number, asn, &[(v4(99), peer_asn)]);
    let (_, mut peer) = config.peers.pop_first().unwrap();
    peer.extended_next_hop = true;
    config.interfaces = interfaces.iter().map(|name| ((*name).to_owned(), peer.clone())).collect();
    config
}

pub(crate) fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().unwrap()
}

/// A node in another namespace, with the runtime that it lives on: its threads are in there, too.
pub(crate) fn far_node(
    netns: &Netns,
    config: Config,
    originated: &'static [&str],
) -> (Runtime, Node) {
    netns.run(move || {
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let entered = runtime.enter();
        let node = Node::start(config, originated);
        drop(entered);
        (runtime, node)
    })
}

/// The other side's routes of both families are there, or gone.
pub(crate) async fn wait_for_theirs(node: &Node, what: &str, hops: &[IpAddr]) {
    node.wait(what, async |node| OTHERS.iter().all(|other| node.hops(other) == hops)).await;
}

/// The kernel of the other side has what we announce, both families by our link-local address.
async fn wait_for_kernel(node: &Node, netns: &Netns) {
    let route = |family: &str, prefix: &str| {
        let command = format!("ip {family} route show {prefix}");
        netns.run(move || {
            let mut words = command.split_whitespace();
            let mut command = std::process::Command::new(words.next().unwrap());
            crate::lab::netns::output(command.args(words))
        })
    };
    node.wait("routes in the other's kernel", async |_| {
        route("-4", OWN[0]).contains("via inet6 fe80::1 dev viaduct1")
            && route("-6", OWN[1]).contains("via fe80::1 dev viaduct1")
    })
    .await;
}
