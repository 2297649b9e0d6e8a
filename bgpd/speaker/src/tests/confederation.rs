//! Member ASes of one confederation (RFC 5065).

use std::time::Duration;

use bgp_wire::PeerKind;
use viaduct_net::Asn;

use super::harness::{Network, prefix, v4, with_peers};
use crate::{Confederation, Config, Policy};

const ID: u32 = 65000;

fn member(node: u8, asn: u32, peers: &[(u8, u32)]) -> Config {
    let mut config = with_peers(node, asn, peers);
    let members = [64512, 64513, 64514].map(Asn::new).into_iter();
    config.confederation = Some(Confederation {
        id: Asn::new(ID),
        members: members.filter(|member| *member != config.asn).collect(),
    });
    open_up(config)
}

/// Everybody is told and believed everything.
fn open_up(mut config: Config) -> Config {
    for peer in config.peers.values_mut() {
        peer.import = Policy::accept_all();
        peer.export = Policy::accept_all();
    }
    config
}

/// 5 outside - 1 of 64512 - 2 of 64513 - 3 of 64514 - 4 outside; 6 of 64513 beside 2.
fn network() -> Network {
    let mut network = Network::default();
    network.start(1, member(1, 64512, &[(5, 65005), (2, 64513)]));
    network.start(2, member(2, 64513, &[(1, 64512), (3, 64514), (6, 64513)]));
    network.start(3, member(3, 64514, &[(2, 64513), (4, 65004)]));
    network.start(4, open_up(with_peers(4, 65004, &[(3, ID)])));
    network.start(5, open_up(with_peers(5, 65005, &[(1, ID)])));
    network.start(6, member(6, 64513, &[(2, 64513)]));
    network.wait("all know all", |network| (1..=6).all(|node| network.fib(node).len() == 10));
    network
}

/// The AS_PATH of a prefix at a node.
fn path(network: &mut Network, node: u8, text: &str) -> String {
    let wanted = prefix(text);
    let path = network.speaker(node).paths().find(|path| path.prefix == wanted);
    path.unwrap().attributes.open().as_path.to_string()
}

#[test]
fn the_outside_sees_one_as_and_the_inside_each_member() {
    let mut network = network();
    assert_eq!(path(&mut network, 1, "10.5.0.0/24"), "65005");
    assert_eq!(path(&mut network, 2, "10.5.0.0/24"), "(64512) 65005");
    assert_eq!(path(&mut network, 6, "10.5.0.0/24"), "(64512) 65005");
    assert_eq!(path(&mut network, 3, "10.5.0.0/24"), "(64513 64512) 65005");
    assert_eq!(path(&mut network, 4, "10.5.0.0/24"), "65000 65005");
    assert_eq!(path(&mut network, 4, "10.6.0.0/24"), "65000");
    let kinds = [64512, 64513, 65005].map(|asn| {
        let config = member(1, 64512, &[(9, asn)]);
        config.peers[&v4(9)].kind(&config)
    });
    assert_eq!(kinds, [PeerKind::Internal, PeerKind::Confederation, PeerKind::External]);
    // LOCAL_PREF passes through all of it, and stays inside.
    let wanted = prefix("10.5.0.0/24");
    for (node, expected) in [(3, Some(100)), (4, None)] {
        let found = network.speaker(node).paths().find(|one| one.prefix == wanted);
        assert_eq!(found.unwrap().attributes.facts().local_pref(), expected, "{node}");
    }
}

#[test]
fn what_comes_round_is_seen() {
    let mut network = network();
    // 3 and 1 are joined too, so that every path comes round; each prefix still has one way out.
    network.configure(1, member(1, 64512, &[(5, 65005), (2, 64513), (3, 64514)]));
    network.configure(3, member(3, 64514, &[(2, 64513), (4, 65004), (1, 64512)]));
    network.wait_established(1, 3);
    network.run(Duration::from_secs(5));
    assert_eq!(path(&mut network, 3, "10.5.0.0/24"), "(64512) 65005");
    assert_eq!(path(&mut network, 4, "10.5.0.0/24"), "65000 65005");
    for node in 1..=3 {
        assert_eq!(network.fib(node).len(), 10, "{node}");
    }
    // A stranger that is no member does not get in with a path that says it is.
    assert_eq!(network.status(1, v4(2)).flaps, 0);
}
