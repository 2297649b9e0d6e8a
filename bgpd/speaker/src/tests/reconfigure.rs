use std::{net::Ipv4Addr, num::NonZeroU8, time::Duration};

use bgp_wire::{Families, HoldTime};
use viaduct_net::Family;

use super::harness::{Network, prefix, v4, with_peers};
use crate::{
    AoAlgorithm, AoKey, Config, Matches, Password, Policy, PolicyAction, PrefixMatch, Rule, State,
    Transport, Ttl,
};

fn pair() -> (Network, Config) {
    let mut network = Network::default();
    let config = with_peers(1, 64512, &[(2, 64512)]);
    network.start(1, config.clone());
    network.start(2, with_peers(2, 64512, &[(1, 64512)]));
    network.wait("told", |network| network.fib(1).len() == 2 && network.fib(2).len() == 2);
    (network, config)
}

fn only(text: &str) -> Policy {
    let prefixes = vec![PrefixMatch::exact(prefix(text))].into();
    Policy::new([Rule::new(Matches { prefixes, ..Matches::default() }, PolicyAction::Accept)])
}

#[test]
fn changed_policies_act_at_once_and_the_session_goes_on() {
    let (mut network, mut config) = pair();
    config.peers.get_mut(&v4(2)).unwrap().export = only("10.1.0.0/24");
    network.configure(1, config.clone());
    network.run(Duration::from_millis(10));
    assert_eq!(network.fib(2), ["10.1.0.0/24"]);
    assert_eq!(network.status(1, v4(2)).prefixes_sent, 1);

    config.peers.get_mut(&v4(2)).unwrap().import = only("fd00:2::/64");
    network.configure(1, config.clone());
    network.run(Duration::from_millis(10));
    assert_eq!(network.fib(1), ["fd00:2::/64"]);

    let peer = config.peers.get_mut(&v4(2)).unwrap();
    (peer.import, peer.export) = (Policy::accept_all(), Policy::accept_all());
    peer.hold_time = HoldTime::from_secs(30).unwrap();
    config.deferral = Duration::from_secs(1);
    network.configure(1, config);
    network.run(Duration::from_millis(10));
    assert_eq!((network.fib(1).len(), network.fib(2).len()), (2, 2));
    assert_eq!(network.status(1, v4(2)).flaps + network.status(2, v4(1)).flaps, 0);
}

#[test]
fn another_peer_leaves_the_first_alone() {
    let (mut network, mut config) = pair();
    config.peers.extend(with_peers(1, 64512, &[(3, 64512)]).peers);
    network.configure(1, config.clone());
    network.start(3, with_peers(3, 64512, &[(1, 64512)]));
    network.wait_established(1, 3);
    config.peers.remove(&v4(3));
    network.configure(1, config);
    network.run(Duration::from_millis(10));
    assert_eq!(network.fib(1), ["10.2.0.0/24", "fd00:2::/64"]);
    assert_eq!(
        network.status(3, v4(1)).last_error.unwrap(),
        "received: hard reset: peer de-configured (6/3)"
    );
    assert_eq!(network.status(1, v4(2)).flaps, 0);
}

#[test]
fn other_families_need_another_session() {
    let (mut network, mut config) = pair();
    let v6_only: Families = [Family::V6].into_iter().collect();
    config.peers.get_mut(&v4(2)).unwrap().families = v6_only;
    network.configure(1, config);
    network.wait_established(1, 2);
    network.run(Duration::from_millis(10));
    assert_eq!(network.fib(1), ["fd00:2::/64"]);
    assert_eq!(network.fib(2), ["fd00:1::/64"]);
}

#[test]
fn an_address_that_goes_takes_its_family_along() {
    let (mut network, mut config) = pair();
    config.addresses.v6 = None;
    network.configure(1, config.clone());
    network.run(Duration::from_millis(10));
    assert_eq!(network.fib(2), ["10.1.0.0/24"], "no next hop to name");
    config.addresses.v6 = Some("2001:db8::1".parse().unwrap());
    network.configure(1, config);
    network.run(Duration::from_millis(10));
    assert_eq!(network.fib(2).len(), 2);
    assert_eq!(network.status(1, v4(2)).flaps, 0);
}

#[test]
fn a_new_router_id_is_a_new_speaker() {
    let (mut network, mut config) = pair();
    config.router_id = Ipv4Addr::new(198, 51, 100, 1).try_into().unwrap();
    network.configure(1, config);
    network.wait_established(1, 2);
    network.run(Duration::from_millis(10));
    assert_eq!(network.status(2, v4(1)).router_id.unwrap().to_string(), "198.51.100.1");
    assert_eq!((network.fib(1).len(), network.fib(2).len()), (2, 2));
}

#[test]
fn a_peer_can_be_held_down_and_let_up_again() {
    let (mut network, mut config) = pair();
    config.peers.get_mut(&v4(2)).unwrap().shutdown = true;
    network.configure(1, config.clone());
    network.run(Duration::from_secs(120));
    assert_eq!(network.state(1, 2), State::Idle);
    assert_ne!(network.state(2, 1), State::Established);
    assert!(network.fib(1).is_empty() && network.fib(2).is_empty());
    config.peers.get_mut(&v4(2)).unwrap().shutdown = false;
    network.configure(1, config);
    network.wait_established(1, 2);
}

#[test]
fn another_password_key_or_distance_is_another_session() {
    let (mut network, mut config) = pair();
    let secret = Password::try_from(&b"word"[..]).unwrap();
    let md5 = Some(secret.clone());
    let key = AoKey {
        send_id: 1,
        receive_id: 1,
        algorithm: AoAlgorithm::HmacSha1,
        excludes_options: false,
        secret,
    };
    let other = AoKey { send_id: 2, ..key.clone() };
    let transports = [
        Transport { md5: md5.clone(), ..Transport::default() },
        Transport { ttl: Ttl::Security { hops: NonZeroU8::MIN }, md5, ao: Vec::new() },
        Transport { ao: vec![key], ..Transport::default() },
        Transport { ao: vec![other], ..Transport::default() },
    ];
    for (transport, flaps) in transports.into_iter().zip(1..) {
        config.peers.get_mut(&v4(2)).unwrap().transport = transport;
        network.configure(1, config.clone());
        network.run(Duration::from_millis(10));
        let error = network.status(2, v4(1)).last_error.unwrap();
        assert_eq!(error, "received: hard reset: other configuration change (6/6)");
        network.wait_established(1, 2);
        network.run(Duration::from_millis(10));
        assert_eq!((network.status(2, v4(1)).flaps, network.fib(1).len()), (flaps, 2));
    }
}
