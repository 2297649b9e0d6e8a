//! What follows from a change, and nothing more.

use std::sync::Arc;

use bgp_wire::Update;
use viaduct_net::{Family, OriginSource, Origination, RouteSource};

use super::*;
use crate::{
    AnnounceError, DecisionRules, Matches, PathSource, PeerCounts, Rule, Source,
    policy::{Action, PrefixMatch},
};

#[test]
fn a_better_path_takes_over_and_gives_back() {
    let mut rib = rib();
    let a = rib.add_peer(peer("192.0.2.1", 65001));
    let b = rib.add_peer(peer("192.0.2.2", 65002));
    announce(&mut rib, a, &path(&[65001, 65003]), "192.0.2.1", &["10.0.0.0/8"]);
    let changes = rib.settle();
    assert_eq!(fib(&changes), ["10.0.0.0/8 -> 192.0.2.1%1"]);
    assert_eq!(changes.fib[0].route.as_ref().unwrap().source, RouteSource::Ebgp);
    assert_eq!(changes.best.len(), 1);
    assert!(rib.settle().is_empty(), "nothing has changed since");

    // The same again, and a worse one: nothing to tell.
    announce(&mut rib, a, &path(&[65001, 65003]), "192.0.2.1", &["10.0.0.0/8"]);
    assert!(rib.is_settled());
    announce(&mut rib, b, &path(&[65002, 1, 2]), "192.0.2.2", &["10.0.0.0/8"]);
    assert!(rib.settle().is_empty());
    assert_eq!(reasons(&rib, "10.0.0.0/8"), [Reason::Best, Reason::AsPathLength]);

    announce(&mut rib, b, &path(&[65002]), "192.0.2.2", &["10.0.0.0/8"]);
    let changes = rib.settle();
    assert_eq!(fib(&changes), ["10.0.0.0/8 -> 192.0.2.2%1"]);
    let [change] = &changes.best[..] else { panic!("{changes:?}") };
    let from = |path: &Option<crate::BestPath>| match path.as_ref().unwrap().source {
        PathSource::Peer { peer, .. } => peer,
        PathSource::Local(_) => panic!("not ours"),
    };
    assert_eq!((from(&change.old), from(&change.new)), (a, b));

    rib.withdraw(b, &[nlri("10.0.0.0/8")]);
    assert_eq!(fib(&rib.settle()), ["10.0.0.0/8 -> 192.0.2.1%1"]);
    rib.peer_down(a);
    let changes = rib.settle();
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
        rib.withdraw(a, &[nlri("10.0.0.0/8")]);
    }
    assert_eq!(fib(&rib.settle()), ["10.1.0.0/16 -> 192.0.2.1%1"]);
    announce(&mut rib, a, &path(&[65001]), "192.0.2.1", &["10.0.0.0/8"]);
    rib.peer_down(a);
    announce(&mut rib, a, &path(&[65001]), "192.0.2.1", &["10.1.0.0/16"]);
    assert!(rib.settle().is_empty(), "gone and back as it was");
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
        let changes = rib.settle();
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
        let changes = rib.settle();
        assert_eq!((changes.fib.len(), changes.best.len()), (1, 0));
        assert_eq!(rib.route(prefix("10.0.0.0/8")).unwrap().next_hops.len(), 16);
    }
}

#[test]
fn multipath_can_be_turned_off() {
    let mut rib = rib();
    let decision = DecisionRules { multipath: 1, ..DecisionRules::DEFAULT };
    rib.set_config(RibConfig { decision, ..config() });
    for i in 1..=3 {
        let address = format!("192.0.2.{i}");
        let id = rib.add_peer(peer(&address, 65001));
        announce(&mut rib, id, &path(&[65001]), &address, &["10.0.0.0/8"]);
    }
    assert_eq!(fib(&rib.settle()), ["10.0.0.0/8 -> 192.0.2.1%1"]);
    assert_eq!(reasons(&rib, "10.0.0.0/8"), [Reason::Best, Reason::RouterId, Reason::RouterId]);
}

#[test]
fn paths_through_other_ases_are_used_beside_the_best_or_not() {
    let mut rib = rib();
    for (i, asns) in [(1, [65001, 7]), (2, [65002, 7]), (3, [65001, 7])] {
        let address = format!("192.0.2.{i}");
        let id = rib.add_peer(peer(&address, asns[0]));
        announce(&mut rib, id, &path(&asns), &address, &["10.0.0.0/8"]);
    }
    let both = "10.0.0.0/8 -> 192.0.2.1%1 192.0.2.2%1 192.0.2.3%1";
    assert_eq!(fib(&rib.settle()), [both]);
    let decision = DecisionRules { multipath_relax: false, ..DecisionRules::DEFAULT };
    rib.set_config(RibConfig { decision, ..config() });
    assert_eq!(fib(&rib.settle()), ["10.0.0.0/8 -> 192.0.2.1%1 192.0.2.3%1"]);
    assert_eq!(reasons(&rib, "10.0.0.0/8"), [Reason::Best, Reason::RouterId, Reason::Multipath]);
    rib.set_config(config());
    assert_eq!(fib(&rib.settle()), [both]);
}

#[test]
fn med_of_other_neighbours_compares_where_it_is_asked_to() {
    let mut rib = rib();
    for (i, med) in [(1, 20), (2, 10)] {
        let address = format!("192.0.2.{i}");
        let id = rib.add_peer(peer(&address, 65000 + i));
        let attributes = PathAttributes { med: Some(med), ..path(&[65000 + i]) };
        announce(&mut rib, id, &attributes, &address, &["10.0.0.0/8"]);
    }
    rib.settle();
    assert_eq!(reasons(&rib, "10.0.0.0/8"), [Reason::Best, Reason::Multipath]);
    let decision = DecisionRules { always_compare_med: true, ..DecisionRules::DEFAULT };
    rib.set_config(RibConfig { decision, ..config() });
    rib.settle();
    assert_eq!(reasons(&rib, "10.0.0.0/8"), [Reason::MultiExitDisc, Reason::Best]);
}

#[test]
fn what_we_originate_wins_and_is_never_a_route() {
    let mut rib = rib();
    let a = rib.add_peer(peer("192.0.2.1", LOCAL_AS));
    for text in ["10.244.0.0/26", "fd00:10:244::/122"] {
        let to = if prefix(text).family() == Family::V4 { "192.0.2.1" } else { "2001:db8::1" };
        announce(&mut rib, a, &path(&[]), to, &[text]);
        assert_eq!(rib.settle().fib.len(), 1);
        let block = Origination { prefix: prefix(text), source: OriginSource::Block };
        let vip = Origination { prefix: prefix(text), source: OriginSource::Vip };

        rib.set_originations(&[vip, block]);
        let changes = rib.settle();
        assert_eq!(fib(&changes), [format!("{text} -> nothing")]);
        let new = changes.best[0].new.as_ref().unwrap();
        assert_eq!(new.source, PathSource::Local(OriginSource::Block));
        assert_eq!(new.next_hop, None);
        assert_eq!(reasons(&rib, text), [Reason::Best, Reason::LocallyOriginated]);

        rib.set_originations(&[block]);
        assert!(rib.settle().is_empty());
        rib.set_originations(&[vip]);
        let changes = rib.settle();
        assert_eq!((changes.fib.len(), changes.best.len()), (0, 1), "another reason to tell it");
        rib.set_originations(&[]);
        let changes = rib.settle();
        assert_eq!(fib(&changes), [format!("{text} -> {to}%1")]);
    }
}

#[test]
fn import_keeps_what_it_rejects() {
    let mut rib = rib();
    let matches = Matches {
        prefixes: vec![PrefixMatch::or_longer(prefix("10.0.0.0/8"))].into(),
        sources: vec![Source::External],
        ..Matches::default()
    };
    let strict = Policy::new([Rule::new(matches, Action::Accept)]);
    let a = rib.add_peer(Peer { import: strict, ..peer("192.0.2.1", 65001) });
    let ours = path(&[65001, LOCAL_AS, 65003]);
    let foreign = path(&[65009]);
    announce(&mut rib, a, &path(&[65001]), "192.0.2.1", &["10.1.0.0/16", "11.0.0.0/8"]);
    announce(&mut rib, a, &path(&[65001]), "192.0.2.1", &["127.0.0.0/8"]);
    announce(&mut rib, a, &ours, "192.0.2.1", &["10.2.0.0/16"]);
    announce(&mut rib, a, &foreign, "192.0.2.1", &["10.3.0.0/16"]);
    assert_eq!(fib(&rib.settle()), ["10.1.0.0/16 -> 192.0.2.1%1"]);
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
    assert_eq!(
        rib.peer_counts(a),
        PeerCounts { received: 5, received_v4: 5, accepted: 1, stale: 0 }
    );

    // A new policy judges what is there already.
    rib.set_import_policy(a, Policy::accept_all());
    assert_eq!(fib(&rib.settle()), ["11.0.0.0/8 -> 192.0.2.1%1"]);
    rib.set_import_policy(a, Policy::default_for(PeerKind::External));
    assert_eq!(fib(&rib.settle()), ["10.1.0.0/16 -> nothing", "11.0.0.0/8 -> nothing"]);
    assert_eq!(
        rib.peer_counts(a),
        PeerCounts { received: 5, received_v4: 5, accepted: 0, stale: 0 }
    );
}

#[test]
fn reflected_paths_that_come_round_are_rejected() {
    let mut rib = rib();
    let cluster_id = Some("192.0.2.99".parse().unwrap());
    rib.set_config(RibConfig { cluster_id, ..config() });
    let a = rib.add_peer(peer("192.0.2.1", LOCAL_AS));
    let originator = PathAttributes { originator_id: Some(config().router_id), ..path(&[]) };
    let cluster = PathAttributes { cluster_list: cluster_id.into_iter().collect(), ..path(&[]) };
    announce(&mut rib, a, &originator, "192.0.2.1", &["10.1.0.0/16"]);
    announce(&mut rib, a, &cluster, "192.0.2.1", &["10.2.0.0/16"]);
    assert!(rib.settle().is_empty());
    assert_eq!(reasons(&rib, "10.1.0.0/16"), [Reason::OriginatorLoop]);
    assert_eq!(reasons(&rib, "10.2.0.0/16"), [Reason::ClusterLoop]);

    // Only who reflects has a cluster of its own.
    rib.set_config(config());
    rib.settle();
    assert_eq!(reasons(&rib, "10.1.0.0/16"), [Reason::OriginatorLoop]);
    assert_eq!(reasons(&rib, "10.2.0.0/16"), [Reason::Best]);
}

#[test]
fn a_peer_may_not_tell_more_than_its_limit() {
    let mut rib = rib();
    let a = rib.add_peer(Peer { max_prefixes: 2, ..peer("192.0.2.1", 65001) });
    let all: Vec<_> = ["10.1.0.0/16", "10.2.0.0/16", "10.3.0.0/16"].map(nlri).into();
    let update = |prefixes: &[Nlri]| Update {
        attributes: path(&[65001]).into(),
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
    assert_eq!(rib.settle().fib.len(), 2);
}

#[test]
fn a_known_address_keeps_its_id() {
    let mut rib = rib();
    let a = rib.add_peer(peer("192.0.2.1", 65001));
    let b = rib.add_peer(peer("192.0.2.2", 65001));
    for (id, to) in [(a, "192.0.2.1"), (b, "192.0.2.2")] {
        announce(&mut rib, id, &path(&[65001]), to, &["10.0.0.0/8"]);
    }
    rib.settle();
    assert_eq!(reasons(&rib, "10.0.0.0/8"), [Reason::Best, Reason::Multipath]);
    // With another router id the tie breaks the other way.
    let renamed = Peer { router_id: "203.0.113.1".parse().unwrap(), ..peer("192.0.2.1", 65001) };
    assert_eq!(rib.add_peer(renamed), a);
    let changes = rib.settle();
    assert_eq!((changes.fib.len(), changes.best.len()), (0, 1));
    assert_eq!(reasons(&rib, "10.0.0.0/8"), [Reason::Multipath, Reason::Best]);

    // Of another AS, its paths no longer begin with the right number.
    assert_eq!(rib.add_peer(peer("192.0.2.1", 65007)), a);
    rib.settle();
    assert_eq!(reasons(&rib, "10.0.0.0/8"), [Reason::FirstAs, Reason::Best]);
    rib.remove_peer(a);
    rib.remove_peer(b);
    let c = rib.add_peer(peer("192.0.2.1", 65001));
    assert!(c != a && c != b, "ids are not used again before the flush");
    assert_eq!(rib.settle().best[0].new, None);
    assert_eq!(rib.peers().count(), 1);
}

#[test]
fn whoever_is_about_to_go_comes_last() {
    let mut rib = rib();
    let going = PathAttributes {
        communities: vec![bgp_wire::Community::GRACEFUL_SHUTDOWN],
        ..path(&[65001])
    };
    let a = rib.add_peer(peer("192.0.2.1", 65001));
    let b = rib.add_peer(peer("192.0.2.2", 65002));
    announce(&mut rib, a, &going, "192.0.2.1", &["10.0.0.0/8"]);
    assert_eq!(fib(&rib.settle()), ["10.0.0.0/8 -> 192.0.2.1%1"]);
    announce(&mut rib, b, &path(&[65002, 1, 2]), "192.0.2.2", &["10.0.0.0/8"]);
    assert_eq!(fib(&rib.settle()), ["10.0.0.0/8 -> 192.0.2.2%1"]);
    assert_eq!(reasons(&rib, "10.0.0.0/8"), [Reason::LocalPref, Reason::Best]);
    // Within our own AS the preference is what it says it is.
    let c = rib.add_peer(peer("192.0.2.3", LOCAL_AS));
    announce(&mut rib, c, &going, "192.0.2.3", &["10.0.0.0/8"]);
    rib.settle();
    assert_eq!(reasons(&rib, "10.0.0.0/8")[2], Reason::Best);
}

#[test]
fn whoever_does_not_forward_makes_no_routes() {
    let mut rib = rib();
    rib.without_fib();
    let a = rib.add_peer(peer("192.0.2.1", 65001));
    announce(&mut rib, a, &path(&[65001]), "192.0.2.1", &["10.0.0.0/8"]);
    let changes = rib.settle();
    assert_eq!((changes.fib.len(), changes.best.len()), (0, 1));
    assert_eq!(reasons(&rib, "10.0.0.0/8"), [Reason::Best]);
}

#[test]
fn equal_attributes_are_one() {
    let mut rib = rib();
    let a = rib.add_peer(peer("192.0.2.1", 65001));
    announce(&mut rib, a, &path(&[65001]), "192.0.2.1", &["10.1.0.0/16"]);
    announce(&mut rib, a, &path(&[65001]), "192.0.2.1", &["10.2.0.0/16"]);
    let changes = rib.settle();
    let [first, second] = &changes.best[..] else { panic!("{changes:?}") };
    let attributes = |change: &BestChange| change.new.clone().unwrap().attributes;
    assert!(attributes(first).ptr_eq(&attributes(second)));
    let routes = [&changes.fib[0], &changes.fib[1]].map(|update| update.route.clone().unwrap());
    assert!(Arc::ptr_eq(&routes[0].next_hops, &routes[1].next_hops));
}
