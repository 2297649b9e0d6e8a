use std::time::Duration;

use super::harness::{Network, prefix, v4, with_peers};
use crate::{Matches, Policy, PolicyAction, PrefixMatch, Rule, Source, State};

const CLUSTER: u32 = 64512;
const OUTSIDE: u32 = 65000;

fn rule(prefixes: &[PrefixMatch], sources: &[Source]) -> Rule {
    let (prefixes, sources) = (prefixes.to_vec().into(), sources.to_vec());
    Rule::new(Matches { prefixes, sources, ..Matches::default() }, PolicyAction::Accept)
}

/// Nodes 1 to 3 in a mesh, each with the border router 9, which they tell their own blocks and
/// believe a default route.
fn cluster() -> Network {
    let mut network = Network::default();
    let everything = |text| PrefixMatch::or_longer(prefix(text));
    for node in 1..=3 {
        let others = (1..=3).filter(|other| *other != node).map(|other| (other, CLUSTER));
        let peers: Vec<_> = others.chain([(9, OUTSIDE)]).collect();
        let mut config = with_peers(node, CLUSTER, &peers);
        let border = config.peers.get_mut(&v4(9)).unwrap();
        border.export = Policy::new([rule(
            &[everything("10.0.0.0/8"), everything("fd00::/16")],
            &[Source::Local],
        )]);
        let defaults =
            [PrefixMatch::exact(prefix("0.0.0.0/0")), PrefixMatch::exact(prefix("::/0"))];
        border.import = Policy::new([rule(&defaults, &[])]);
        network.start(node, config);
    }
    let mut border = with_peers(9, OUTSIDE, &[(1, CLUSTER), (2, CLUSTER), (3, CLUSTER)]);
    for peer in border.peers.values_mut() {
        peer.import = Policy::accept_all();
        peer.export = Policy::new([rule(&[], &[Source::Local])]);
    }
    network.start(9, border);
    network.originate(9, &["0.0.0.0/0", "::/0", "203.0.113.0/24"]);
    network
}

fn settled(network: &mut Network) {
    network.wait("six blocks at the border", |network| network.fib(9).len() == 6);
    network.wait("mesh complete", |network| {
        (1..=3).all(|node| network.fib(node).len() == 6 && network.nodes[&node].synced)
    });
}

#[test]
fn a_mesh_with_a_border_knows_all_and_tells_what_it_may() {
    let mut network = cluster();
    settled(&mut network);
    assert_eq!(
        network.fib(1),
        ["0.0.0.0/0", "10.2.0.0/24", "10.3.0.0/24", "::/0", "fd00:2::/64", "fd00:3::/64"]
    );
    assert_eq!(network.hops(1, "10.3.0.0/24"), [v4(3)]);
    assert_eq!(network.hops(2, "0.0.0.0/0"), [v4(9)]);
    assert_eq!(
        network.fib(9),
        ["10.1.0.0/24", "10.2.0.0/24", "10.3.0.0/24", "fd00:1::/64", "fd00:2::/64", "fd00:3::/64"]
    );
    for node in 1..=3 {
        // From the mesh and from outside; what is learned inside is not told inside again.
        assert_eq!(network.status(node, v4(9)).prefixes_received, 3);
        assert_eq!(network.status(node, v4(9)).prefixes_accepted, 2);
        assert_eq!(network.status(node, v4(9)).prefixes_sent, 2);
    }
}

#[test]
fn a_vip_of_two_nodes_is_reached_over_both() {
    let mut network = cluster();
    settled(&mut network);
    for node in [1, 2] {
        let own = format!("10.{node}.0.0/24");
        network.originate(node, &[&own, "10.99.0.1/32"]);
    }
    network.run(Duration::from_millis(20));
    assert_eq!(network.hops(9, "10.99.0.1/32"), [v4(1), v4(2)]);
    assert_eq!(network.hops(3, "10.99.0.1/32"), [v4(1), v4(2)]);
    assert!(network.hops(1, "10.99.0.1/32").is_empty(), "its own");
    network.originate(1, &["10.1.0.0/24"]);
    network.run(Duration::from_millis(20));
    assert_eq!(network.hops(9, "10.99.0.1/32"), [v4(2)]);
    assert_eq!(network.hops(1, "10.99.0.1/32"), [v4(2)]);
}

#[test]
fn a_route_from_outside_comes_by_another_node_when_the_border_is_lost() {
    let mut network = cluster();
    settled(&mut network);
    network.cut(1, 9);
    network.wait("session lost", |network| network.state(1, 9) != State::Established);
    assert_eq!(network.hops(1, "0.0.0.0/0"), [v4(2), v4(3)]);
    network.mend(1, 9);
    network.wait("back", |network| network.hops(1, "0.0.0.0/0") == [v4(9)]);
}
