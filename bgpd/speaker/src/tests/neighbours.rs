//! Roles (RFC 9234), another AS of ours (RFC 7705), and our own AS in what we are told.

use std::time::Duration;

use bgp_wire::{Community, PeerKind, Role};
use viaduct_net::{Asn, OriginSource, Origination};

use super::harness::{Network, own, prefix, v4, with_peers};
use crate::{
    LocalAs, Matches, PeerConfig, Policy, PolicyAction, PrefixMatch, RoleConfig, Rule, State,
    policy::Change,
};

/// Speakers N in AS 64500 + N, each a line to those named, all believing and told everything.
fn network(peers: &[(u8, u8)], mut say: impl FnMut(u8, u8, &mut PeerConfig)) -> Network {
    let mut network = Network::default();
    let asn = |number: u8| 64500 + u32::from(number);
    let numbers = || peers.iter().flat_map(|(a, b)| [*a, *b]);
    for number in 1..=numbers().max().unwrap() {
        let others = peers.iter().filter_map(|pair| match *pair {
            (a, b) if a == number => Some(b),
            (a, b) if b == number => Some(a),
            _ => None,
        });
        let others: Vec<_> = others.map(|other| (other, asn(other))).collect();
        let mut config = with_peers(number, asn(number), &others);
        for (other, _) in others {
            let peer = config.peers.get_mut(&v4(other)).unwrap();
            (peer.import, peer.export) = (Policy::accept_all(), Policy::accept_all());
            say(number, other, peer);
        }
        network.start(number, config);
    }
    network
}

fn role(role: Role, strict: bool) -> Option<RoleConfig> {
    Some(RoleConfig { role, strict })
}

/// The AS path and the OTC of a prefix at a node.
fn seen(network: &mut Network, node: u8, text: &str) -> (String, Option<u32>) {
    let mut paths = network.speaker(node).paths().filter(|path| path.prefix == prefix(text));
    let attributes = paths.next().unwrap().attributes.open();
    (attributes.as_path.to_string(), attributes.only_to_customer.map(Asn::to_u32))
}

#[test]
fn roles_that_do_not_fit_make_no_session() {
    for (ours, theirs, fits) in [
        (role(Role::Provider, true), role(Role::Customer, true), true),
        (role(Role::Provider, false), role(Role::Provider, false), false),
        (role(Role::Peer, false), None, true),
        (role(Role::Peer, true), None, false),
        (None, role(Role::RouteServer, false), true),
    ] {
        let say = |number, _, peer: &mut PeerConfig| {
            peer.role = if number == 1 { ours } else { theirs };
        };
        let mut network = network(&[(1, 2)], say);
        network.run(Duration::from_secs(20));
        assert_eq!(network.state(1, 2) == State::Established, fits, "{ours:?} {theirs:?}");
        if !fits {
            let error = network.status(1, v4(2)).last_error.unwrap();
            assert!(error.contains("role mismatch (2/11)"), "{error}");
        }
    }
}

/// 1 is the provider of 2, 2 a peer of 3, 3 the provider of 4, 4 the customer of 5, too.
#[test]
fn a_route_goes_down_and_not_up_again() {
    let roles = |number, other, peer: &mut PeerConfig| {
        peer.role = role(
            match (number, other) {
                (1, 2) | (3, 4) | (5, 4) => Role::Provider,
                (2, 3) | (3, 2) => Role::Peer,
                _ => Role::Customer,
            },
            false,
        );
    };
    let mut network = network(&[(1, 2), (2, 3), (3, 4), (4, 5)], roles);
    network.run(Duration::from_secs(5));
    assert_eq!(seen(&mut network, 2, "10.1.0.0/24"), ("64501".to_owned(), Some(64501)));
    assert!(!network.fib(3).contains(&"10.1.0.0/24".to_owned()), "a provider's, to a peer");
    assert_eq!(seen(&mut network, 3, "10.2.0.0/24"), ("64502".to_owned(), Some(64502)));
    assert_eq!(seen(&mut network, 4, "10.2.0.0/24"), ("64503 64502".to_owned(), Some(64502)));
    let at_five = network.fib(5);
    assert_eq!(at_five, ["10.4.0.0/24", "fd00:4::/64"], "what goes up is the customer's own");
    assert_eq!(seen(&mut network, 5, "10.4.0.0/24"), ("64504".to_owned(), None));
    assert_eq!(seen(&mut network, 4, "10.5.0.0/24"), ("64505".to_owned(), Some(64505)));
}

/// Customer 2 knows nothing of roles and passes on what its provider 1 has marked, to its other
/// provider 3, who sees the mark.
#[test]
fn a_leak_is_seen_by_whoever_is_told() {
    let roles = |number, other, peer: &mut PeerConfig| {
        peer.role = match (number, other) {
            (1 | 3, 2) => role(Role::Provider, false),
            _ => None,
        };
    };
    let mut network = network(&[(1, 2), (2, 3)], roles);
    network.run(Duration::from_secs(5));
    assert_eq!(network.fib(3), ["10.2.0.0/24", "fd00:2::/64"]);
    let leaked = network.speaker(3).paths().find(|path| path.prefix == prefix("10.1.0.0/24"));
    let reason = leaked.unwrap().reason;
    assert_eq!(reason, bgp_rib::Reason::RouteLeak);
}

#[test]
fn another_as_stands_before_ours_or_in_its_place() {
    for (prepend_received, replace_sent, here, there) in [
        (true, false, "64777 64502", "64777 64501"),
        (false, false, "64502", "64777 64501"),
        (true, true, "64777 64502", "64777"),
        (false, true, "64502", "64777"),
    ] {
        let mut network = network(&[(1, 2)], |number, _, peer| {
            if number == 1 {
                let asn = Asn::new(64777);
                peer.local_as = Some(LocalAs { asn, prepend_received, replace_sent });
            } else {
                peer.asn = Asn::new(64777);
            }
        });
        network.wait_established(1, 2);
        network.run(Duration::from_millis(10));
        assert_eq!(seen(&mut network, 1, "10.2.0.0/24").0, here);
        assert_eq!(seen(&mut network, 2, "10.1.0.0/24").0, there);
        assert_eq!((network.fib(1).len(), network.fib(2).len()), (2, 2));
    }
}

/// RFC 7705 §4: 1 of AS 64501 and 2 of AS 64502 while they become one.
#[test]
fn a_peer_of_the_other_as_is_internal() {
    for prepend_received in [true, false] {
        let say = |number, _, peer: &mut PeerConfig| {
            if number == 1 {
                let asn = Asn::new(64502);
                peer.local_as = Some(LocalAs { asn, prepend_received, replace_sent: false });
            } else {
                peer.asn = Asn::new(64502);
            }
        };
        let mut network = network(&[(1, 2)], say);
        network.wait_established(1, 2);
        network.run(Duration::from_millis(10));
        for (node, its) in [(1, "10.2.0.0/24"), (2, "10.1.0.0/24")] {
            assert_eq!(seen(&mut network, node, its).0, "", "{its}");
            let mut paths = network.speaker(node).paths().filter(|path| path.prefix == prefix(its));
            assert_eq!(paths.next().unwrap().attributes.facts().local_pref(), Some(100));
        }
        assert_eq!((network.fib(1).len(), network.fib(2).len()), (2, 2));
        // It is another session then.
        let mut config = (**network.speaker(1).config()).clone();
        config.peers.get_mut(&v4(2)).unwrap().local_as = None;
        assert_eq!(config.peers[&v4(2)].kind(&config), PeerKind::External);
        network.configure(1, config);
        network.run(Duration::from_secs(20));
        assert_ne!(network.state(1, 2), State::Established, "64501 is not whom 2 waits for");
    }
}

/// So that the AS that we are to the peer is a loop at its first place in a path, too.
#[test]
fn nothing_is_put_in_front_of_what_an_internal_peer_tells() {
    let local = LocalAs { asn: Asn::new(64502), prepend_received: true, replace_sent: false };
    let peer = PeerConfig {
        local_as: Some(local),
        ..with_peers(1, 64501, &[(2, 64502)]).peers[&v4(2)].clone()
    };
    assert!(!peer.ingress(PeerKind::Internal).prepend_local_as);
    assert!(peer.ingress(PeerKind::External).prepend_local_as);
}

/// RFC 7999 §3.2: 2 discards what its customer 1 wants discarded, and tells its other neighbour 3 of the
/// network around it alone.
#[test]
fn what_is_discarded_is_nobody_elses_to_know() {
    let host = Origination { prefix: prefix("10.1.0.7/32"), source: OriginSource::Block };
    let mut change = Change::default();
    change.communities.add.push(Community::BLACKHOLE);
    let prefixes = [PrefixMatch::exact(host.prefix)].into_iter().collect();
    let export = [
        Rule {
            change: change.into(),
            ..Rule::new(Matches { prefixes, ..Matches::default() }, PolicyAction::Accept)
        },
        Rule::new(Matches::default(), PolicyAction::Accept),
    ];
    let mut network = network(&[(1, 2), (2, 3)], |number, other, peer| {
        peer.accept_blackhole = (number, other) == (2, 1);
        if (number, other) == (1, 2) {
            peer.export = Policy::new(export.clone());
        }
    });
    network.wait_established(1, 2);
    network.wait_established(2, 3);
    let mut all = own(1);
    all.insert(host);
    let now = network.now();
    network.speaker(1).handle_originations(&all, now);
    network.poll();
    network.run(Duration::from_secs(1));
    assert!(network.nodes[&2].fib[&host.prefix].is_discard());
    assert!(!network.nodes[&3].fib.contains_key(&host.prefix));
    assert!(network.nodes[&3].fib.contains_key(&prefix("10.1.0.0/24")));
    // Where nothing was agreed on, it is a route like any other, with its mark.
    let mut config = (**network.speaker(2).config()).clone();
    config.peers.get_mut(&v4(1)).unwrap().accept_blackhole = false;
    network.configure(2, config);
    network.run(Duration::from_secs(1));
    for node in [2, 3] {
        assert!(!network.nodes[&node].fib[&host.prefix].is_discard());
        let path = network.speaker(node).paths().find(|path| path.prefix == host.prefix).unwrap();
        assert_eq!(path.attributes.open().communities, [Community::BLACKHOLE]);
    }
    assert_eq!(network.status(1, v4(2)).flaps + network.status(3, v4(2)).flaps, 0);
}

/// Two sites of AS 64501 with 2 between them.
#[test]
fn our_own_as_is_no_loop_where_it_may_stand_in_a_path() {
    for (allowed, overridden, routes) in [(0, false, 2), (1, false, 4), (0, true, 4)] {
        let mut network = Network::default();
        for (number, asn, others) in [
            (1, 64501, &[(2, 64502)][..]),
            (2, 64502, &[(1, 64501), (3, 64501)]),
            (3, 64501, &[(2, 64502)]),
        ] {
            let mut config = with_peers(number, asn, others);
            for peer in config.peers.values_mut() {
                (peer.import, peer.export) = (Policy::accept_all(), Policy::accept_all());
                peer.allow_own_as = allowed;
                peer.as_override = overridden && number == 2;
            }
            network.start(number, config);
        }
        network.run(Duration::from_secs(5));
        assert_eq!(network.fib(3).len(), routes);
        if routes == 4 {
            let path = if overridden { "64502 64502" } else { "64502 64501" };
            assert_eq!(seen(&mut network, 3, "10.1.0.0/24").0, path);
        }
    }
}

#[test]
fn what_a_neighbour_is_told_us_to_be_ends_the_session_when_it_changes() {
    let mut config = None;
    let mut network = network(&[(1, 2)], |_, _, _| {});
    network.wait_established(1, 2);
    let mut change = |network: &mut Network, say: &dyn Fn(&mut PeerConfig)| {
        let config = config.get_or_insert_with(|| (**network.speaker(1).config()).clone());
        say(config.peers.get_mut(&v4(2)).unwrap());
        let config = config.clone();
        network.configure(1, config);
        network.run(Duration::from_millis(10));
        network.status(2, v4(1)).flaps
    };
    assert_eq!(change(&mut network, &|peer| peer.allow_own_as = 1), 0, "goes on");
    assert_eq!(change(&mut network, &|peer| peer.as_override = true), 0, "goes on");
    assert_eq!(change(&mut network, &|peer| peer.role = role(Role::Peer, false)), 1);
    let error = network.status(2, v4(1)).last_error.unwrap();
    assert!(error.contains("other configuration change (6/6)"), "{error}");
}
