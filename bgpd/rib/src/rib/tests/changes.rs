//! What follows from a change, and nothing more.

use std::sync::Arc;

use bgp_wire::{Community, Update};
use viaduct_net::{Family, OriginSource, Origination, RouteSource};

use super::*;
use crate::{
    AnnounceError, ExportPeer, ExportReject, LocalSpeaker, PathSource, PeerCounts, Rule, Source,
    export,
    policy::{Action, PrefixMatch},
};

#[test]
fn a_better_path_takes_over_and_gives_back() {
    let mut rib = rib();
    let a = rib.add_peer(peer("192.0.2.1", 65001));
    let b = rib.add_peer(peer("192.0.2.2", 65002));
    announce(&mut rib, a, &path(&[65001, 65003]), "192.0.2.1", &["10.0.0.0/8"]);
    let changes = rib.flush();
    assert_eq!(fib(&changes), ["10.0.0.0/8 -> 192.0.2.1%1"]);
    assert_eq!(changes.fib[0].route.as_ref().unwrap().source, RouteSource::Ebgp);
    assert_eq!(changes.best.len(), 1);
    assert!(rib.flush().is_empty(), "nothing has changed since");

    // The same again, and a worse one: nothing to tell.
    announce(&mut rib, a, &path(&[65001, 65003]), "192.0.2.1", &["10.0.0.0/8"]);
    assert!(rib.is_settled());
    announce(&mut rib, b, &path(&[65002, 1, 2]), "192.0.2.2", &["10.0.0.0/8"]);
    assert!(rib.flush().is_empty());
    assert_eq!(reasons(&rib, "10.0.0.0/8"), [Reason::Best, Reason::AsPathLength]);

    announce(&mut rib, b, &path(&[65002]), "192.0.2.2", &["10.0.0.0/8"]);
    let changes = rib.flush();
    assert_eq!(fib(&changes), ["10.0.0.0/8 -> 192.0.2.2%1"]);
    let [change] = &changes.best[..] else { panic!("{changes:?}") };
    let from = |path: &Option<crate::BestPath>| match path.as_ref().unwrap().source {
        PathSource::Peer { peer, .. } => peer,
        PathSource::Local(_) => panic!("not ours"),
    };
    assert_eq!((from(&change.old), from(&change.new)), (a, b));

    rib.withdraw(b, &[prefix("10.0.0.0/8")]);
    assert_eq!(fib(&rib.flush()), ["10.0.0.0/8 -> 192.0.2.1%1"]);
    rib.peer_down(a);
    let changes = rib.flush();
    assert_eq!(fib(&changes), ["10.0.0.0/8 -> nothing"]);
    assert_eq!(changes.best[0].new, None);
    assert_eq!(
        rib.counts(),
        crate::RibCounts { attributes: rib.counts().attributes, ..Default::default() }
    );
}

#[test]
fn changes_between_flushes_are_told_once() {
    let mut rib = rib();
    let a = rib.add_peer(peer("192.0.2.1", 65001));
    for _ in 0..3 {
        announce(&mut rib, a, &path(&[65001]), "192.0.2.1", &["10.0.0.0/8", "10.1.0.0/16"]);
        rib.withdraw(a, &[prefix("10.0.0.0/8")]);
    }
    assert_eq!(fib(&rib.flush()), ["10.1.0.0/16 -> 192.0.2.1%1"]);
    announce(&mut rib, a, &path(&[65001]), "192.0.2.1", &["10.0.0.0/8"]);
    rib.peer_down(a);
    announce(&mut rib, a, &path(&[65001]), "192.0.2.1", &["10.1.0.0/16"]);
    assert!(rib.flush().is_empty(), "gone and back as it was");
}

#[test]
fn equal_paths_share_the_route() {
    for (kind, number) in [(RouteSource::Ibgp, LOCAL_AS), (RouteSource::Ebgp, 65001)] {
        let mut rib = rib();
        let asns: &[u32] = if kind == RouteSource::Ibgp { &[] } else { &[65001] };
        for i in 1..=20 {
            let address = format!("192.0.2.{i}");
            let id = rib.add_peer(peer(&address, number));
            announce(&mut rib, id, &path(asns), &address, &["10.0.0.0/8"]);
        }
        // A second way to a next hop that is in the route already adds nothing.
        let again = rib.add_peer(peer("192.0.2.30", number));
        announce(&mut rib, again, &path(asns), "192.0.2.1", &["10.0.0.0/8"]);
        let changes = rib.flush();
        let route = changes.fib[0].route.as_ref().unwrap();
        assert_eq!((route.next_hops.len(), route.source), (16, kind));
        assert!(route.next_hops.is_sorted());
        let mut expected = vec![Reason::Best];
        expected.extend([Reason::Multipath; 15]);
        expected.extend([Reason::MultipathLimit; 4]);
        expected.push(Reason::RouterId);
        assert_eq!(reasons(&rib, "10.0.0.0/8"), expected);
        assert_eq!(changes.best.len(), 1);

        // One of the lesser ones goes: the FIB changes, the best path does not.
        let gone = rib.peer_id(address("192.0.2.5")).unwrap();
        rib.remove_peer(gone);
        let changes = rib.flush();
        assert_eq!((changes.fib.len(), changes.best.len()), (1, 0));
        assert_eq!(rib.route(prefix("10.0.0.0/8")).unwrap().next_hops.len(), 16);
    }
}

#[test]
fn multipath_can_be_turned_off() {
    let mut rib = rib();
    rib.set_config(RibConfig { multipath: 1, ..config() });
    for i in 1..=3 {
        let address = format!("192.0.2.{i}");
        let id = rib.add_peer(peer(&address, 65001));
        announce(&mut rib, id, &path(&[65001]), &address, &["10.0.0.0/8"]);
    }
    assert_eq!(fib(&rib.flush()), ["10.0.0.0/8 -> 192.0.2.1%1"]);
    assert_eq!(reasons(&rib, "10.0.0.0/8"), [Reason::Best, Reason::RouterId, Reason::RouterId]);
}

#[test]
fn what_we_originate_wins_and_is_never_a_route() {
    let mut rib = rib();
    let a = rib.add_peer(peer("192.0.2.1", LOCAL_AS));
    for text in ["10.244.0.0/26", "fd00:10:244::/122"] {
        let to = if prefix(text).family() == Family::V4 { "192.0.2.1" } else { "2001:db8::1" };
        announce(&mut rib, a, &path(&[]), to, &[text]);
        assert_eq!(rib.flush().fib.len(), 1);
        let block = Origination { prefix: prefix(text), source: OriginSource::Block };
        let vip = Origination { prefix: prefix(text), source: OriginSource::Vip };

        rib.set_originations(&[vip, block]);
        let changes = rib.flush();
        assert_eq!(fib(&changes), [format!("{text} -> nothing")]);
        let new = changes.best[0].new.as_ref().unwrap();
        assert_eq!(new.source, PathSource::Local(OriginSource::Block));
        assert_eq!(new.next_hop, None);
        assert_eq!(reasons(&rib, text), [Reason::Best, Reason::LocallyOriginated]);

        rib.set_originations(&[block]);
        assert!(rib.flush().is_empty());
        rib.set_originations(&[vip]);
        let changes = rib.flush();
        assert_eq!((changes.fib.len(), changes.best.len()), (0, 1), "another reason to tell it");
        rib.set_originations(&[]);
        let changes = rib.flush();
        assert_eq!(fib(&changes), [format!("{text} -> {to}%1")]);
    }
}

#[test]
fn import_keeps_what_it_rejects() {
    let mut rib = rib();
    let strict = Policy::new([Rule {
        prefixes: vec![PrefixMatch::or_longer(prefix("10.0.0.0/8"))],
        sources: vec![Source::External],
        action: Action::Accept,
    }]);
    let a = rib.add_peer(Peer { import: strict, ..peer("192.0.2.1", 65001) });
    let ours = path(&[65001, LOCAL_AS, 65003]);
    let foreign = path(&[65009]);
    announce(&mut rib, a, &path(&[65001]), "192.0.2.1", &["10.1.0.0/16", "11.0.0.0/8"]);
    announce(&mut rib, a, &path(&[65001]), "192.0.2.1", &["127.0.0.0/8"]);
    announce(&mut rib, a, &ours, "192.0.2.1", &["10.2.0.0/16"]);
    announce(&mut rib, a, &foreign, "192.0.2.1", &["10.3.0.0/16"]);
    assert_eq!(fib(&rib.flush()), ["10.1.0.0/16 -> 192.0.2.1%1"]);
    let seen: Vec<_> =
        rib.adj_rib_in(a).map(|path| (path.prefix.to_string(), path.reason)).collect();
    let expected = [
        ("10.1.0.0/16", Reason::Best),
        ("10.2.0.0/16", Reason::AsLoop),
        ("10.3.0.0/16", Reason::FirstAs),
        ("11.0.0.0/8", Reason::ImportPolicy),
        ("127.0.0.0/8", Reason::Martian),
    ];
    assert_eq!(seen, expected.map(|(text, reason)| (text.to_owned(), reason)));
    assert_eq!(rib.peer_counts(a), PeerCounts { received: 5, accepted: 1, stale: 0 });

    // A new policy judges what is there already.
    rib.set_import_policy(a, Policy::accept_all());
    assert_eq!(fib(&rib.flush()), ["11.0.0.0/8 -> 192.0.2.1%1"]);
    rib.set_import_policy(a, Policy::default_for(PeerKind::External));
    assert_eq!(fib(&rib.flush()), ["10.1.0.0/16 -> nothing", "11.0.0.0/8 -> nothing"]);
    assert_eq!(rib.peer_counts(a), PeerCounts { received: 5, accepted: 0, stale: 0 });
}

#[test]
fn reflected_paths_that_come_round_are_rejected() {
    let mut rib = rib();
    let a = rib.add_peer(peer("192.0.2.1", LOCAL_AS));
    let originator = PathAttributes { originator_id: Some(config().router_id), ..path(&[]) };
    let cluster = PathAttributes { cluster_list: vec![config().router_id.into()], ..path(&[]) };
    announce(&mut rib, a, &originator, "192.0.2.1", &["10.1.0.0/16"]);
    announce(&mut rib, a, &cluster, "192.0.2.1", &["10.2.0.0/16"]);
    assert!(rib.flush().is_empty());
    assert_eq!(reasons(&rib, "10.1.0.0/16"), [Reason::OriginatorLoop]);
    assert_eq!(reasons(&rib, "10.2.0.0/16"), [Reason::ClusterLoop]);
}

#[test]
fn a_peer_may_not_tell_more_than_its_limit() {
    let mut rib = rib();
    let a = rib.add_peer(Peer { max_prefixes: 2, ..peer("192.0.2.1", 65001) });
    let all: Vec<_> = ["10.1.0.0/16", "10.2.0.0/16", "10.3.0.0/16"].map(prefix).into();
    let update = |prefixes: &[Prefix]| Update {
        attributes: path(&[65001]),
        announced: vec![bgp_wire::Announcement {
            next_hop: next_hop("192.0.2.1"),
            prefixes: prefixes.to_vec(),
        }],
        ..Update::default()
    };
    assert_eq!(rib.update(a, &update(&all)), Err(AnnounceError::PrefixLimit { limit: 2 }));
    assert_eq!(rib.peer_counts(a).received, 2);
    // What is there may be told anew, and room made is room.
    assert_eq!(rib.update(a, &update(&all[..2])), Ok(()));
    rib.withdraw(a, &all[..1]);
    assert_eq!(rib.update(a, &update(&all[2..])), Ok(()));
    assert_eq!(rib.flush().fib.len(), 2);
}

#[test]
fn a_known_address_keeps_its_id() {
    let mut rib = rib();
    let a = rib.add_peer(peer("192.0.2.1", 65001));
    let b = rib.add_peer(peer("192.0.2.2", 65001));
    for (id, to) in [(a, "192.0.2.1"), (b, "192.0.2.2")] {
        announce(&mut rib, id, &path(&[65001]), to, &["10.0.0.0/8"]);
    }
    rib.flush();
    assert_eq!(reasons(&rib, "10.0.0.0/8"), [Reason::Best, Reason::Multipath]);
    // With another router id the tie breaks the other way.
    let renamed = Peer { router_id: "203.0.113.1".parse().unwrap(), ..peer("192.0.2.1", 65001) };
    assert_eq!(rib.add_peer(renamed), a);
    let changes = rib.flush();
    assert_eq!((changes.fib.len(), changes.best.len()), (0, 1));
    assert_eq!(reasons(&rib, "10.0.0.0/8"), [Reason::Multipath, Reason::Best]);

    // Of another AS, its paths no longer begin with the right number.
    assert_eq!(rib.add_peer(peer("192.0.2.1", 65007)), a);
    rib.flush();
    assert_eq!(reasons(&rib, "10.0.0.0/8"), [Reason::FirstAs, Reason::Best]);
    rib.remove_peer(a);
    rib.remove_peer(b);
    let c = rib.add_peer(peer("192.0.2.1", 65001));
    assert!(c != a && c != b, "ids are not used again before the flush");
    assert_eq!(rib.flush().best[0].new, None);
    assert_eq!(rib.peers().count(), 1);
}

#[test]
fn equal_attributes_are_one() {
    let mut rib = rib();
    let a = rib.add_peer(peer("192.0.2.1", 65001));
    announce(&mut rib, a, &path(&[65001]), "192.0.2.1", &["10.1.0.0/16"]);
    announce(&mut rib, a, &path(&[65001]), "192.0.2.1", &["10.2.0.0/16"]);
    let changes = rib.flush();
    let [first, second] = &changes.best[..] else { panic!("{changes:?}") };
    let attributes = |change: &crate::BestChange| change.new.clone().unwrap().attributes;
    assert!(Arc::ptr_eq(&attributes(first), &attributes(second)));
    let routes = [&changes.fib[0], &changes.fib[1]].map(|update| update.route.clone().unwrap());
    assert!(Arc::ptr_eq(&routes[0].next_hops, &routes[1].next_hops));
}

fn local() -> LocalSpeaker {
    LocalSpeaker {
        asn: asn(LOCAL_AS),
        address_v4: Some("192.0.2.254".parse().unwrap()),
        address_v6: Some("2001:db8::fe".parse().unwrap()),
        link_local: None,
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
    rib.flush();

    let all = Policy::accept_all();
    let told = |id, policy: &Policy, text: &str| {
        let kind = rib.peer(id).unwrap().kind;
        let target = ExportPeer { id, kind, reflector_client: false, next_hop_self: true, policy };
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
    assert_eq!(ours.attributes.as_path.to_string(), "64512");
    assert_eq!((ours.next_hop, ours.attributes.local_pref), (next_hop("192.0.2.254"), None));
    let ours = told(internal, &all, "10.3.0.0/16").unwrap();
    assert_eq!(ours.attributes.as_path.to_string(), "");
    assert_eq!(ours.attributes.local_pref, Some(100));
    let theirs = told(internal, &all, "10.2.0.0/16").unwrap();
    assert_eq!(theirs.next_hop, next_hop("192.0.2.254"));
    let transit = told(other_external, &all, "10.2.0.0/16").unwrap();
    assert_eq!(transit.attributes.as_path.to_string(), "64512 65001");
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
    rib.flush();
    let best = rib.best(prefix("2001:db8:1::/48")).unwrap();
    let policy = Policy::accept_all();
    let target = ExportPeer {
        id: rib.add_peer(peer("192.0.2.3", 65001)),
        kind: PeerKind::External,
        reflector_client: false,
        next_hop_self: false,
        policy: &policy,
    };
    let told = export::export(&local(), &target, prefix("2001:db8:1::/48"), &best).unwrap();
    let expected = PathAttributes {
        communities: vec![Community::new(1, 2)],
        extended_communities: vec![bgp_wire::ExtendedCommunity(0x0002_0000_0000_0001)],
        ..path(&[LOCAL_AS, 65003])
    };
    assert_eq!(*told.attributes, expected);
    assert_eq!(told.next_hop, next_hop("2001:db8::fe"));
    let without = LocalSpeaker { address_v6: None, ..local() };
    let refused = export::export(&without, &target, prefix("2001:db8:1::/48"), &best);
    assert_eq!(refused, Err(ExportReject::NoNextHop));
}
