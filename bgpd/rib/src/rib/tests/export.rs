//! What a peer is told of a best path.

use bgp_wire::Community;
use viaduct_net::{OriginSource, Origination};

use super::*;
use crate::{ExportPeer, ExportReject, LocalSpeaker, export};

fn local() -> LocalSpeaker {
    LocalSpeaker {
        asn: asn(LOCAL_AS),
        cluster_id: "192.0.2.254".parse().unwrap(),
        address_v4: Some("192.0.2.254".parse().unwrap()),
        address_v6: Some("2001:db8::fe".parse().unwrap()),
        link_local: None,
        egress: Default::default(),
        extended_next_hop: false,
    }
}

#[test]
fn who_is_told_what() {
    let mut rib = rib();
    let internal = rib.add_peer(peer("192.0.2.1", LOCAL_AS));
    let other_internal = rib.add_peer(peer("192.0.2.2", LOCAL_AS));
    let external = rib.add_peer(peer("192.0.2.3", 65001));
    let other_external = rib.add_peer(peer("192.0.2.4", 65002));
    let with = |community| PathAttributes { communities: vec![community], ..path(&[]) };
    announce(&mut rib, internal, &path(&[]), "192.0.2.1", &["10.1.0.0/16"]);
    announce(&mut rib, external, &path(&[65001]), "192.0.2.3", &["10.2.0.0/16"]);
    announce(&mut rib, internal, &with(Community::NO_EXPORT), "192.0.2.1", &["10.4.0.0/16"]);
    let quiet = PathAttributes { communities: vec![Community::NO_ADVERTISE], ..path(&[65001]) };
    announce(&mut rib, external, &quiet, "192.0.2.3", &["10.5.0.0/16"]);
    let block = Origination { prefix: prefix("10.3.0.0/16"), source: OriginSource::Block };
    rib.set_originations(&[block]);
    rib.settle();

    let all = Policy::accept_all();
    let told = |id, policy: &Policy, text: &str| {
        let kind = rib.peer(id).unwrap().kind;
        let target = ExportPeer {
            id: Some(id),
            kind,
            reflector_client: false,
            next_hop_self: true,
            policy,
            long_lived: false,
        };
        let best = rib.best(prefix(text)).unwrap();
        export::export(&local(), &target, prefix(text), &best)
    };
    use ExportReject as Not;
    let default = Policy::default_for(PeerKind::External);
    for (id, text, expected) in [
        (internal, "10.1.0.0/16", Some(Not::Echo)),
        (other_internal, "10.1.0.0/16", Some(Not::SplitHorizon)),
        (external, "10.1.0.0/16", None),
        (internal, "10.2.0.0/16", None),
        (external, "10.2.0.0/16", Some(Not::Echo)),
        (other_external, "10.2.0.0/16", None),
        (internal, "10.3.0.0/16", None),
        (external, "10.3.0.0/16", None),
        (external, "10.4.0.0/16", Some(Not::NoExport)),
        (other_internal, "10.5.0.0/16", Some(Not::NoAdvertise)),
    ] {
        assert_eq!(told(id, &all, text).err(), expected, "{id:?} {text}");
    }
    assert_eq!(told(external, &default, "10.3.0.0/16").err(), Some(Not::Policy));

    let ours = told(external, &all, "10.3.0.0/16").unwrap();
    assert_eq!(ours.attributes.open().as_path.to_string(), "64512");
    assert_eq!((ours.next_hop, ours.attributes.open().local_pref), (next_hop("192.0.2.254"), None));
    let ours = told(internal, &all, "10.3.0.0/16").unwrap();
    assert_eq!(ours.attributes.open().as_path.to_string(), "");
    assert_eq!(ours.attributes.open().local_pref, Some(100));
    let theirs = told(internal, &all, "10.2.0.0/16").unwrap();
    assert_eq!(theirs.next_hop, next_hop("192.0.2.254"));
    let transit = told(other_external, &all, "10.2.0.0/16").unwrap();
    assert_eq!(transit.attributes.open().as_path.to_string(), "64512 65001");
}

/// The peer is of an AS that stands in the path: it would take the path for a loop.
#[test]
fn a_peers_as_gives_place_to_ours_where_that_is_wanted() {
    let mut rib = rib();
    let teller = rib.add_peer(peer("192.0.2.1", 65001));
    announce(&mut rib, teller, &path(&[65001, 65002, 65001]), "192.0.2.1", &["10.1.0.0/16"]);
    rib.settle();
    let all = Policy::accept_all();
    let best = rib.best(prefix("10.1.0.0/16")).unwrap();
    let told = |kind, overridden| {
        let target = ExportPeer {
            id: None,
            kind,
            reflector_client: false,
            next_hop_self: true,
            policy: &all,
            long_lived: false,
        };
        let egress = export::Egress { overridden, ..Default::default() };
        let local = LocalSpeaker { egress, ..local() };
        let told = export::export(&local, &target, prefix("10.1.0.0/16"), &best).unwrap();
        told.attributes.open().as_path.to_string()
    };
    assert_eq!(told(PeerKind::External, None), "64512 65001 65002 65001");
    assert_eq!(told(PeerKind::External, Some(asn(65001))), "64512 64512 65002 64512");
    assert_eq!(told(PeerKind::External, Some(asn(65003))), "64512 65001 65002 65001");
    assert_eq!(told(PeerKind::Internal, Some(asn(65001))), "65001 65002 65001");
}

#[test]
fn what_an_external_peer_must_not_see_is_taken_out() {
    let mut rib = rib();
    let internal = rib.add_peer(peer("192.0.2.1", LOCAL_AS));
    let attributes = PathAttributes {
        med: Some(5),
        local_pref: Some(200),
        originator_id: Some("192.0.2.77".parse().unwrap()),
        cluster_list: vec!["192.0.2.78".parse().unwrap()],
        communities: vec![Community::new(1, 2)],
        extended_communities: vec![
            bgp_wire::ExtendedCommunity(0x4300_0000_0000_0001),
            bgp_wire::ExtendedCommunity(0x0002_0000_0000_0001),
        ],
        ..path(&[65003])
    };
    announce(&mut rib, internal, &attributes, "2001:db8::1", &["2001:db8:1::/48"]);
    rib.settle();
    let best = rib.best(prefix("2001:db8:1::/48")).unwrap();
    let policy = Policy::accept_all();
    let target = ExportPeer {
        id: Some(rib.add_peer(peer("192.0.2.3", 65001))),
        kind: PeerKind::External,
        reflector_client: false,
        next_hop_self: false,
        policy: &policy,
        long_lived: false,
    };
    let told = export::export(&local(), &target, prefix("2001:db8:1::/48"), &best).unwrap();
    let expected = PathAttributes {
        communities: vec![Community::new(1, 2)],
        extended_communities: vec![bgp_wire::ExtendedCommunity(0x0002_0000_0000_0001)],
        ..path(&[LOCAL_AS, 65003])
    };
    assert_eq!(told.attributes, expected);
    assert_eq!(told.next_hop, next_hop("2001:db8::fe"));
    let without = LocalSpeaker { address_v6: None, ..local() };
    let refused = export::export(&without, &target, prefix("2001:db8:1::/48"), &best);
    assert_eq!(refused, Err(ExportReject::NoNextHop));
}
