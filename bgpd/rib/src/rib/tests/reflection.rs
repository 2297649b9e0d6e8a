//! Reflection (RFC 4456): who is told what, and what it says of its way.

use bgp_wire::PeerKind;
use proptest::prelude::*;

use super::*;
use crate::{ExportPeer, ExportReject, Exported, LocalSpeaker, export};

const PREFIX: &str = "10.1.0.0/16";

fn local() -> LocalSpeaker {
    LocalSpeaker {
        asn: asn(LOCAL_AS),
        cluster_id: "192.0.2.99".parse().unwrap(),
        address_v4: Some("192.0.2.254".parse().unwrap()),
        address_v6: Some("2001:db8::fe".parse().unwrap()),
        link_local: None,
        egress: Default::default(),
        extended_next_hop: false,
    }
}

fn client(text: &str) -> Peer {
    Peer { reflector_client: true, ..peer(text, LOCAL_AS) }
}

/// What one peer is told of the best path.
fn told(rib: &Rib, to: PeerId, text: &str) -> Result<Exported, ExportReject> {
    let policy = Policy::accept_all();
    let peer = rib.peer(to).unwrap();
    let target = ExportPeer {
        id: Some(to),
        kind: peer.kind,
        reflector_client: peer.reflector_client,
        next_hop_self: true,
        policy: &policy,
        long_lived: false,
    };
    let best = rib.best(prefix(text)).unwrap();
    export::export(&local(), &target, prefix(text), &best)
}

#[test]
fn clients_are_told_everything_and_others_what_clients_tell() {
    let mut rib = rib();
    let clients = ["192.0.2.1", "192.0.2.2"].map(|text| rib.add_peer(client(text)));
    let others = ["192.0.2.3", "192.0.2.4"].map(|text| rib.add_peer(peer(text, LOCAL_AS)));
    let external = rib.add_peer(peer("192.0.2.5", 65001));
    for (from, address, to_client, to_other) in [
        (clients[0], "192.0.2.1", Ok(()), Ok(())),
        (others[0], "192.0.2.3", Ok(()), Err(ExportReject::SplitHorizon)),
    ] {
        rib.peer_down(clients[0]);
        announce(&mut rib, from, &path(&[]), address, &[PREFIX]);
        rib.settle();
        assert_eq!(told(&rib, from, PREFIX), Err(ExportReject::Echo));
        assert_eq!(told(&rib, clients[1], PREFIX).map(|_| ()), to_client, "{address}");
        assert_eq!(told(&rib, others[1], PREFIX).map(|_| ()), to_other, "{address}");
        assert!(told(&rib, external, PREFIX).unwrap().attributes.open().cluster_list.is_empty());
    }
}

#[test]
fn what_is_reflected_says_its_way_and_is_else_as_it_came() {
    let mut rib = rib();
    let from = rib.add_peer(client("192.0.2.1"));
    let to = rib.add_peer(client("192.0.2.2"));
    let came = PathAttributes {
        local_pref: Some(70),
        med: Some(5),
        communities: vec![bgp_wire::Community::new(1, 2)],
        ..path(&[65003])
    };
    let cluster = |text: &str| text.parse::<std::net::Ipv4Addr>().unwrap();
    for (hop, text) in [("192.0.2.1", PREFIX), ("2001:db8::1", "2001:db8:1::/48")] {
        announce(&mut rib, from, &came, hop, &[text]);
        rib.settle();
        let Exported { attributes, next_hop } = told(&rib, to, text).unwrap();
        assert_eq!(next_hop, super::next_hop(hop), "stays though next_hop_self is on");
        let expected = PathAttributes {
            originator_id: Some("192.0.2.1".parse().unwrap()),
            cluster_list: vec![cluster("192.0.2.99")],
            ..came.clone()
        };
        assert_eq!(attributes, expected);
    }
    // A second reflector adds its cluster in front, and leaves the originator.
    let reflected = PathAttributes {
        originator_id: Some("192.0.2.77".parse().unwrap()),
        cluster_list: vec![cluster("192.0.2.98")],
        ..came
    };
    announce(&mut rib, from, &reflected, "192.0.2.77", &[PREFIX]);
    rib.settle();
    let Exported { attributes, next_hop } = told(&rib, to, PREFIX).unwrap();
    let attributes = attributes.open();
    assert_eq!(attributes.originator_id, reflected.originator_id);
    assert_eq!(attributes.cluster_list, [cluster("192.0.2.99"), cluster("192.0.2.98")]);
    assert_eq!(next_hop, super::next_hop("192.0.2.77"));
}

#[test]
fn a_path_from_outside_is_not_reflected_but_told() {
    let mut rib = rib();
    let external = rib.add_peer(peer("192.0.2.5", 65001));
    let to = rib.add_peer(client("192.0.2.1"));
    announce(&mut rib, external, &path(&[65001]), "192.0.2.5", &[PREFIX]);
    rib.settle();
    let Exported { attributes, next_hop } = told(&rib, to, PREFIX).unwrap();
    let facts = attributes.facts();
    assert_eq!((facts.originator_id(), facts.cluster_list_len()), (None, 0));
    assert_eq!(next_hop, super::next_hop("192.0.2.254"));
}

#[test]
fn of_one_originator_the_shorter_way_is_taken() {
    let mut rib = rib();
    let reflectors = ["192.0.2.1", "192.0.2.2"].map(|text| rib.add_peer(peer(text, LOCAL_AS)));
    let direct = rib.add_peer(peer("192.0.2.9", LOCAL_AS));
    let reflected = |clusters: &[&str]| PathAttributes {
        originator_id: Some("192.0.2.9".parse().unwrap()),
        cluster_list: clusters.iter().map(|text| text.parse().unwrap()).collect(),
        ..path(&[])
    };
    let long = reflected(&["192.0.2.1", "192.0.2.2"]);
    announce(&mut rib, reflectors[0], &long, "192.0.2.9", &[PREFIX]);
    announce(&mut rib, reflectors[1], &reflected(&["192.0.2.2"]), "192.0.2.9", &[PREFIX]);
    rib.settle();
    assert_eq!(reasons(&rib, PREFIX), [Reason::ClusterListLength, Reason::Best]);
    // The originator's router id counts, not that of whoever has told: 9 would lose against 2.
    announce(&mut rib, direct, &path(&[]), "192.0.2.9", &[PREFIX]);
    let route = rib.settle().fib;
    let lost = Reason::ClusterListLength;
    assert_eq!(reasons(&rib, PREFIX), [lost, lost, Reason::Best]);
    assert!(route.is_empty(), "three tellers of one next hop are one way: {route:?}");
}

#[test]
fn whoever_becomes_a_client_changes_what_others_are_told() {
    let mut rib = rib();
    let from = rib.add_peer(peer("192.0.2.1", LOCAL_AS));
    let to = rib.add_peer(peer("192.0.2.2", LOCAL_AS));
    announce(&mut rib, from, &path(&[]), "192.0.2.1", &[PREFIX]);
    rib.settle();
    assert_eq!(told(&rib, to, PREFIX), Err(ExportReject::SplitHorizon));
    rib.set_reflector_client(from, true);
    let changes = rib.settle();
    assert_eq!((changes.best.len(), changes.fib.len()), (1, 0), "nothing for the kernel");
    assert!(told(&rib, to, PREFIX).is_ok());
    rib.set_reflector_client(from, true);
    assert!(rib.is_settled());
}

proptest! {
    /// However reflectors are joined and whoever is whose client, a path that goes on and on comes
    /// to an end: every round takes in another cluster, and nobody takes one that has its own.
    #[test]
    fn no_path_goes_round(
        clusters in prop::collection::vec(0u8..4, 2..8),
        hops in prop::collection::vec(any::<prop::sample::Index>(), 40),
    ) {
        let mut attributes = path(&[]);
        let mut taken = Vec::new();
        for hop in hops {
            let at = hop.index(clusters.len());
            let cluster = std::net::Ipv4Addr::new(192, 0, 2, 200 + clusters[at]);
            let router_id = RouterId::from_u32(0xc000_0264 + at as u32).unwrap();
            let mut rib = Rib::new(RibConfig {
                cluster_id: Some(cluster),
                ..RibConfig::new(asn(LOCAL_AS), router_id, Vec::new())
            });
            rib.set_underlay(links().into());
            let from = rib.add_peer(client("192.0.2.1"));
            let to = rib.add_peer(client("192.0.2.2"));
            announce(&mut rib, from, &attributes, "192.0.2.1", &[PREFIX]);
            rib.settle();
            let Some(best) = rib.best(prefix(PREFIX)) else {
                prop_assert!(taken.contains(&cluster) || attributes.originator_id == Some(router_id));
                continue;
            };
            prop_assert!(!taken.contains(&cluster));
            taken.insert(0, cluster);
            let policy = Policy::accept_all();
            let kind = PeerKind::Internal;
            let reflector_client = true;
            let target =
                ExportPeer { id: Some(to), kind, reflector_client, next_hop_self: true, policy: &policy, long_lived: false };
            let local = LocalSpeaker { cluster_id: cluster, ..local() };
            let told = export::export(&local, &target, prefix(PREFIX), &best).unwrap();
            attributes = told.attributes.open();
            prop_assert_eq!(&attributes.cluster_list, &taken);
            prop_assert_eq!(attributes.originator_id, RouterId::from_u32(0xc000_0201));
        }
    }
}
