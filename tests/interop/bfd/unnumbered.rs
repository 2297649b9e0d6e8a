//! Neighbours on links that have no other addresses than link-local ones.

use std::{
    net::{IpAddr, Ipv6Addr, SocketAddrV6, UdpSocket},
    sync::Arc,
};

use bgp_bfd::Path;
use bgp_speaker::Config;
use nix::{
    net::if_::if_nametoindex,
    sys::socket::{setsockopt, sockopt::Ipv6Ttl},
};
use viaduct_api::admin::{BfdSession, EventQuery};

use super::{FASTEST, TEN_TIMES, WATCHING_FRR, bird_bfd, every, nft};
use crate::{
    lab::{
        frr::{Frr, FrrConfig},
        netns::{Netns, ip, isolated},
        node::{Node, PORT},
        setup::{BIRDS, OTHERS, OWN, PAIR},
    },
    unnumbered::{
        FAR, NEAR, bring_up, far_node, link_local, ours, runtime, wire,
        with_bird::{bird_config, with_bird_of},
        with_frr::frr_config,
    },
};

/// Another link, with the same addresses at its ends.
const SECOND_NEAR: &str = "viaduct2";
const SECOND_FAR: &str = "viaduct3";

fn wire_second(netns: &Netns) {
    netns.wire(SECOND_NEAR, SECOND_FAR);
    bring_up(SECOND_NEAR, 1);
    netns.run(|| bring_up(SECOND_FAR, 2));
}

/// Speakers that watch whoever is at these interfaces.
fn watching(number: u8, asn: u32, interfaces: &[&str], peer_asn: u32) -> Config {
    let mut config = ours(number, asn, interfaces, peer_asn);
    for peer in config.interfaces.values_mut() {
        peer.bfd = Some(every(FASTEST, Path::SingleHop));
    }
    config
}

/// Nothing that arrives at an interface of this namespace is heard any more; it stays up.
fn swallow(link: &str) {
    nft("add table netdev cut");
    let hook = format!("type filter hook ingress device {link} priority 0; policy drop;");
    nft(&format!("add chain netdev cut {link} {{ {hook} }}"));
}

fn hear_again() {
    nft("delete table netdev cut");
}

/// The first link carries nothing, in either direction, and no interface says so.
fn blackhole(netns: &Netns) {
    swallow(NEAR);
    netns.run(|| swallow(FAR));
}

fn end_blackhole(netns: &Netns) {
    hear_again();
    netns.run(hear_again);
}

impl Node {
    async fn bfd_on(&self, interface: &str) -> BfdSession {
        let status = self.handle.bfd().await.unwrap();
        assert_eq!(status.problems, Vec::<String>::new());
        let on = |session: &BfdSession| session.interface.as_deref() == Some(interface);
        status.sessions.into_iter().find(on).unwrap()
    }

    /// The sessions of BFD that are Up, by their names.
    async fn bfd_names(&self) -> Vec<String> {
        let status = self.handle.bfd().await.unwrap();
        let up = status.sessions.iter().filter(|session| session.state == "Up");
        up.map(BfdSession::name).collect()
    }

    async fn flaps_on(&self, interface: &str) -> u64 {
        let peers = self.handle.peers().await.unwrap();
        let on = peers.iter().find(|peer| peer.interface.as_deref() == Some(interface));
        on.unwrap().flaps
    }

    /// The interfaces over which the best paths of a prefix lead.
    async fn links_to(&self, prefix: &str) -> usize {
        let routes = self.handle.routes().await.unwrap();
        let paths = routes.iter().filter(|path| path.prefix.to_string() == prefix);
        let hops = paths.flat_map(|path| path.resolved.clone());
        hops.collect::<std::collections::BTreeSet<_>>().len()
    }

    /// The link is dead though it is up: that is seen, and the link comes back.
    async fn loses_and_finds(&self, what: &str, netns: &Arc<Netns>, lost: impl Fn() -> bool) {
        let session = self.bfd_up(link_local(2)).await;
        assert_eq!(session.name(), "fe80::2%viaduct0");
        assert_eq!(session.detection_micros, Some(150_000));
        let metrics = self.handle.metrics().await.unwrap();
        let metric = "viaduct_bfd_session_up{peer=\"fe80::2%viaduct0\"} 1\n";
        assert!(metrics.contains(metric), "{metrics}");

        let has_theirs =
            async |node: &Self| OTHERS.iter().all(|other| node.hops(other) == [link_local(2)]);
        self.wait("their routes", has_theirs).await;
        let after = self.lost_after(what, OTHERS[0], || blackhole(netns)).await;
        assert!(after < TEN_TIMES, "{after:?}");
        let peer = self.peer(link_local(2)).await;
        assert_eq!((peer.bfd.as_deref(), peer.prefixes_stale), (Some("Down"), 0));
        let error = peer.last_error.unwrap();
        assert!(error.starts_with("BFD down: "), "{error}");
        let query = EventQuery { peer: Some(link_local(2)), ..EventQuery::default() };
        let events = self.handle.events(&query).next().await.unwrap();
        let down = events.iter().find(|event| event.kind == "bfd-down").unwrap();
        assert_eq!(down.peer_name().as_deref(), Some("fe80::2%viaduct0"));
        self.wait("the other side has lost us, too", async |_| lost()).await;

        end_blackhole(netns);
        self.wait("back again", has_theirs).await;
        self.bfd_up(link_local(2)).await;
        let status = self.handle.bfd().await.unwrap();
        assert!(status.discarded.values().all(|count| *count == 0), "{:?}", status.discarded);
    }
}

#[test]
fn bird_on_a_link_that_swallows_everything_is_lost_and_found() {
    let neighbor = format!("neighbor fe80::1%'{FAR}' port {PORT} as 64512; bfd on;");
    let theirs = format!("{}{}", bird_config(&neighbor), bird_bfd(FASTEST));
    with_bird_of(theirs, watching(1, 64512, &[NEAR], 65001), async |netns, bird, node| {
        assert_eq!(OTHERS, BIRDS);
        let lost = || !bird.has_ours();
        node.loses_and_finds("bird on a dead link", &netns, lost).await;
        let theirs = bird.ask("show bfd sessions");
        assert!(theirs.contains("fe80::1") && theirs.contains(" Up "), "{theirs}");
    });
}

#[test]
fn frr_on_a_link_that_swallows_everything_is_lost_and_found() {
    isolated(|| {
        let netns = Arc::new(Netns::new());
        wire(&netns);
        runtime().block_on(async {
            let bgpd = frr_config(&[FAR], WATCHING_FRR);
            let frr = Frr::start(netns.clone(), FrrConfig { bgpd: &bgpd, bfdd: "" });
            let node = Node::start(watching(1, 64512, &[NEAR], 65001), &OWN);
            node.wait("frr has ours", async |_| frr.has_ours()).await;
            let lost = || !frr.has_ours();
            node.loses_and_finds("frr on a dead link", &netns, lost).await;
            let theirs = frr.ask("show bfd peers brief");
            assert!(theirs.contains("fe80::1") && theirs.contains("up"), "{theirs}");
        });
    });
}

/// FRR at both links, with one address of its own and one of ours.
#[test]
fn one_address_on_two_links_is_two_sessions_that_do_not_disturb_each_other() {
    isolated(|| {
        let netns = Arc::new(Netns::new());
        wire(&netns);
        wire_second(&netns);
        runtime().block_on(async {
            let bgpd = frr_config(&[FAR, SECOND_FAR], WATCHING_FRR);
            let frr = Frr::start(netns.clone(), FrrConfig { bgpd: &bgpd, bfdd: "" });
            let node = Node::start(watching(1, 64512, &[NEAR, SECOND_NEAR], 65001), &OWN);
            let both = ["fe80::2%viaduct0", "fe80::2%viaduct2"];
            node.wait("both up", async |node| node.bfd_names().await == both).await;
            node.wait("a path by each", async |node| node.links_to(OTHERS[0]).await == 2).await;
            let flaps = node.flaps_on(SECOND_NEAR).await;
            let before = node.bfd_on(SECOND_NEAR).await;

            blackhole(&netns);
            node.wait("one is lost", async |node| node.links_to(OTHERS[0]).await == 1).await;
            assert_eq!(node.bfd_names().await, [both[1]]);
            assert_eq!(node.bfd_on(NEAR).await.downs, 1);
            let theirs = || frr.ask("show bfd peers brief");
            node.wait("frr has lost us there", async |_| theirs().contains("down")).await;
            end_blackhole(&netns);
            node.wait("both up again", async |node| node.bfd_names().await == both).await;
            node.wait("a path by each", async |node| node.links_to(OTHERS[0]).await == 2).await;

            let after = node.bfd_on(SECOND_NEAR).await;
            assert_eq!((after.downs, after.local_discriminator), {
                (before.downs, before.local_discriminator)
            });
            assert!(after.packets_received > before.packets_received);
            assert_eq!(node.flaps_on(SECOND_NEAR).await, flaps);
        });
    });
}

/// Packets for a session, sent from the other end of a link with this hop limit.
fn forge(netns: &Netns, link: &'static str, discriminator: u32, hop_limit: i32) {
    netns.run(move || {
        let mut packet = [0; 24];
        // Version 1, AdminDown, multiplier 3: it would take the session down.
        packet[..4].copy_from_slice(&[1 << 5, 0, 3, 24]);
        packet[4..8].copy_from_slice(&7u32.to_be_bytes());
        packet[8..12].copy_from_slice(&discriminator.to_be_bytes());
        let scope = if_nametoindex(link).unwrap();
        let at = |number: u16, port| {
            let IpAddr::V6(address) = link_local(number) else { unreachable!() };
            let address: Ipv6Addr = address;
            SocketAddrV6::new(address, port, 0, scope)
        };
        let socket = UdpSocket::bind(at(2, 50_000)).unwrap();
        setsockopt(&socket, Ipv6Ttl, &hop_limit).unwrap();
        for _ in 0..10 {
            socket.send_to(&packet, at(1, 3784)).unwrap();
        }
    });
}

/// What has passed a router (RFC 5881 §5), and what has come by another link than its session is on.
#[test]
fn what_does_not_come_from_the_other_end_of_its_link_is_discarded_and_counted() {
    isolated(|| {
        let netns = Arc::new(Netns::new());
        wire(&netns);
        wire_second(&netns);
        let theirs = watching(2, 64513, &[FAR, SECOND_FAR], 64512);
        let (far_runtime, _far) = far_node(&netns, theirs, PAIR[1]);
        runtime().block_on(async {
            let node = Node::start(watching(1, 64512, &[NEAR, SECOND_NEAR], 64513), PAIR[0]);
            let both = ["fe80::2%viaduct0", "fe80::2%viaduct2"];
            node.wait("both up", async |node| node.bfd_names().await == both).await;
            let named = node.bfd_on(NEAR).await.local_discriminator;
            for (link, hop_limit, rule) in
                [(FAR, 254, "ttl"), (SECOND_FAR, 254, "ttl"), (SECOND_FAR, 255, "other_peer")]
            {
                let count = async |node: &Node| node.handle.bfd().await.unwrap().discarded[rule];
                let before = count(&node).await;
                forge(&netns, link, named, hop_limit);
                node.wait(rule, async |node| count(node).await == before + 10).await;
            }
            assert_eq!(node.bfd_names().await, both);
            assert_eq!(
                (node.bfd_on(NEAR).await.downs, node.bfd_on(SECOND_NEAR).await.downs),
                (0, 0)
            );
        });
        far_runtime.shutdown_background();
    });
}

/// The session is with whoever is there, and with nobody where nobody is.
#[test]
fn the_session_comes_and_goes_with_the_neighbour() {
    isolated(|| {
        let netns = Arc::new(Netns::new());
        runtime().block_on(async {
            let node = Node::start(watching(1, 64512, &[NEAR], 64513), PAIR[0]);
            let sessions = async |node: &Node| node.handle.bfd().await.unwrap().sessions.len();
            assert_eq!(sessions(&node).await, 0);
            wire(&netns);
            let theirs = watching(2, 64513, &[FAR], 64512);
            let (far_runtime, far) = far_node(&netns, theirs, PAIR[1]);
            node.wait("up", async |node| node.bfd_names().await == ["fe80::2%viaduct0"]).await;
            netns.run(|| {
                ip(&format!("addr add fe80::3/64 dev {FAR} nodad"));
                ip(&format!("addr del fe80::2/64 dev {FAR}"));
            });
            node.wait("with the new address", async |node| {
                node.bfd_names().await == ["fe80::3%viaduct0"] && sessions(node).await == 1
            })
            .await;
            far.wait("for the other, too", async |far| {
                far.bfd_names().await == ["fe80::1%viaduct1"]
            })
            .await;
            ip(&format!("link del {NEAR}"));
            node.wait("nobody is there", async |node| sessions(node).await == 0).await;
            wire(&netns);
            node.wait("up again", async |node| node.bfd_names().await == ["fe80::2%viaduct0"])
                .await;
            let status = node.handle.bfd().await.unwrap();
            assert_eq!(status.problems, Vec::<String>::new());
            far_runtime.shutdown_background();
        });
    });
}

/// A session without a global address of ours is at any address: link-local ones are among them.
#[test]
fn a_link_and_a_session_at_any_address_share_a_port() {
    isolated(|| {
        let netns = Arc::new(Netns::new());
        wire(&netns);
        ip(&format!("addr add 2001:db8::1/64 dev {NEAR} nodad"));
        netns.run(|| ip(&format!("addr add 2001:db8::2/64 dev {FAR} nodad")));
        let theirs = watching(2, 64513, &[FAR], 64512);
        let (far_runtime, _far) = far_node(&netns, theirs, PAIR[1]);
        runtime().block_on(async {
            let mut config = watching(1, 64512, &[NEAR], 64513);
            let mut peer = config.interfaces[NEAR].clone();
            peer.passive = true;
            config.peers.insert("2001:db8::2".parse().unwrap(), peer);
            config.addresses.v6 = None;
            let node = Node::start(config, PAIR[0]);
            node.wait("up", async |node| node.bfd_names().await == ["fe80::2%viaduct0"]).await;
            assert_eq!(node.bfd_on(NEAR).await.downs, 0);
        });
        far_runtime.shutdown_background();
    });
}
