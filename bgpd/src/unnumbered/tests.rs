use std::{net::Ipv4Addr, time::Duration};

use bgp_speaker::{DecisionRules, LocalAddresses, RestartTime};
use bgp_wire::HoldTime;
use viaduct_net::{Asn, IfIndex, RouterId};

use super::*;

fn link_local(number: u16, interface: u32) -> LinkLocal {
    LinkLocal::new(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, number), IfIndex(interface)).unwrap()
}

fn config(interfaces: &[&str]) -> Arc<Config> {
    let asn = Asn::new(64512);
    let id = Ipv4Addr::new(192, 0, 2, 1);
    let peer = PeerConfig::new(asn, Asn::new(65000), HoldTime::from_secs(9).unwrap());
    Arc::new(Config {
        asn,
        router_id: RouterId::try_from(id).unwrap(),
        cluster_id: id,
        addresses: LocalAddresses { v4: Some(id), v6: None },
        listen_port: 179,
        restart_time: RestartTime::default(),
        deferral: Duration::from_secs(30),
        restarting: false,
        decision: DecisionRules::DEFAULT,
        confederation: None,
        ranges: Default::default(),
        incomplete: false,
        coalesce: Duration::ZERO,
        peers: [(Ipv4Addr::new(192, 0, 2, 9).into(), peer.clone())].into(),
        interfaces: interfaces.iter().map(|name| ((*name).to_owned(), peer.clone())).collect(),
    })
}

fn links(neighbour: Option<u16>, is_up: bool) -> Links {
    let state = LinkState {
        own: link_local(1, 3),
        global: None,
        is_up,
        neighbour: neighbour.map(|number| link_local(number, 3).embedded()),
        problem: None,
    };
    Links { known: [("eth1".to_owned(), state)].into(), missing: BTreeMap::new() }
}

#[test]
fn a_neighbour_becomes_a_peer_of_its_link() {
    let config = config(&["eth1"]);
    let waiting = links(None, true).configure(&config);
    assert_eq!((waiting.peers.len(), waiting.incomplete), (1, true));
    let found = links(Some(2), true).configure(&config);
    assert_eq!((found.peers.len(), found.incomplete), (2, false));
    let link = found.peers[&link_local(2, 3).embedded()].link.clone().unwrap();
    assert_eq!((&*link.name, link.link_local), ("eth1", link_local(1, 3)));
}

#[test]
fn without_interfaces_everything_is_as_it_was() {
    let config = config(&[]);
    assert!(Arc::ptr_eq(&config, &Links::default().configure(&config)));
    let underlay = Underlay::from([]);
    assert!(Arc::ptr_eq(&underlay, &Links::default().lie_under(&underlay)));
}

#[test]
fn a_link_can_be_used_while_it_is_up() {
    let other = UnderlayRoute {
        prefix: "2001:db8::/64".parse().unwrap(),
        gateway: None,
        interface: IfIndex(2),
        metric: 0,
    };
    let underlay = Underlay::from([other]);
    let over = |is_up| -> Vec<_> {
        let all = links(Some(2), is_up).lie_under(&underlay);
        assert!(all.is_sorted());
        all.iter().map(|route| route.interface.0).collect()
    };
    assert_eq!(over(true), [2, 3]);
    assert_eq!(over(false), [2]);
}

#[test]
fn what_is_in_the_way_is_told() {
    let problem = |links: Links| links.problem("eth1");
    assert_eq!(problem(links(Some(2), true)), None);
    assert!(problem(links(None, true)).unwrap().contains("advertisement"));
    let missing = BTreeMap::from([("eth1".to_owned(), "there is no such interface".to_owned())]);
    let links = Links { missing, ..Links::default() };
    assert_eq!(problem(links).unwrap(), "there is no such interface");
}
