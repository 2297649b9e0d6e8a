use std::collections::BTreeSet;

use bgp_wire::{Community, ExtendedCommunity, LargeCommunity, PathAttributes};
use viaduct_net::Prefix;

use super::{LOCAL_AS, announce, nlri, path, peer, prefix, rib};
use crate::{AnyCommunity, PathFilter, PeerId, Policy, Reason, Rib};

/// Everything there is, in steps of at most `limit` paths.
fn walk(rib: &Rib, filter: &PathFilter, limit: usize) -> Vec<(Prefix, PeerId, Reason)> {
    let (mut all, mut from) = (Vec::new(), Some(0));
    while let Some(at) = from {
        let step = rib.walk(at, filter, limit);
        assert!(step.paths.len() <= limit);
        all.extend(step.paths.iter().map(|view| {
            let peer = view.peer.and_then(|peer| rib.peers.id(peer.address));
            (view.prefix, peer.unwrap(), view.reason)
        }));
        from = step.next;
    }
    all
}

fn small(number: u32) -> String {
    format!("10.{}.{}.0/24", number / 256, number % 256)
}

fn filled(count: u32) -> (Rib, PeerId, PeerId) {
    let mut rib = rib();
    let a = rib.add_peer(peer("192.0.2.1", LOCAL_AS));
    let b = rib.add_peer(peer("192.0.2.2", 65001));
    for number in 0..count {
        announce(&mut rib, a, &PathAttributes::default(), "192.0.2.1", &[&small(number)]);
    }
    announce(&mut rib, b, &path(&[65001]), "192.0.2.2", &[&small(3), &small(7)]);
    rib.settle();
    (rib, a, b)
}

#[test]
fn steps_meet_every_path_once_and_the_best_first() {
    // More than one step has room for.
    let (rib, a, b) = filled(1000);
    for limit in [7, usize::MAX] {
        let all = walk(&rib, &PathFilter::default(), limit);
        let distinct: BTreeSet<_> = all.iter().map(|(prefix, peer, _)| (*prefix, *peer)).collect();
        // A limit cuts within a prefix, and what it cuts off is gone.
        if limit == usize::MAX {
            assert_eq!((all.len(), distinct.len()), (1002, 1002));
            let at = all.iter().position(|(found, ..)| *found == prefix(&small(3))).unwrap();
            assert_eq!([all[at].1, all[at + 1].1], [a, b]);
            assert_eq!(all[at].2, Reason::Best);
        }
    }
    let step = rib.walk(0, &PathFilter::default(), usize::MAX);
    assert!(step.next.is_some() && step.paths.len() < 1000, "a step is bounded by itself");
}

#[test]
fn what_comes_and_goes_between_steps_disturbs_nothing_else() {
    let (mut rib, a, _) = filled(100);
    let first = rib.walk(0, &PathFilter::default(), 50);
    let (mut met, mut from): (BTreeSet<_>, _) =
        (first.paths.iter().map(|view| view.prefix).collect(), first.next);
    for number in 0..40 {
        rib.withdraw(a, &[nlri(&small(number))]);
    }
    rib.settle();
    for number in 500..600 {
        announce(&mut rib, a, &PathAttributes::default(), "192.0.2.1", &[&small(number)]);
    }
    rib.settle();
    while let Some(at) = from {
        let step = rib.walk(at, &PathFilter::default(), 10);
        met.extend(step.paths.iter().map(|view| view.prefix));
        from = step.next;
    }
    assert!((40..100).all(|number| met.contains(&prefix(&small(number)))));
}

#[test]
fn filters_choose() {
    let (mut rib, a, b) = filled(20);
    let count = |rib: &Rib, filter: &PathFilter| walk(rib, filter, usize::MAX).len();
    assert_eq!(count(&rib, &PathFilter { peer: Some(b), ..Default::default() }), 2);
    assert_eq!(count(&rib, &PathFilter { best: true, ..Default::default() }), 20);
    let within = Some(prefix("10.0.4.0/22"));
    assert_eq!(count(&rib, &PathFilter { within, ..Default::default() }), 5);
    let both = PathFilter { within, peer: Some(b), ..Default::default() };
    assert_eq!(count(&rib, &both), 1);
    rib.set_import_policy(a, Policy::reject_all());
    rib.settle();
    assert_eq!(count(&rib, &PathFilter { rejected: true, ..Default::default() }), 20);
    assert_eq!(count(&rib, &PathFilter { best: true, ..Default::default() }), 2);
}

#[test]
fn communities_are_told_by_how_they_are_written() {
    let (mut rib, a, _) = filled(5);
    let attributes = PathAttributes {
        communities: vec![Community::new(65000, 7)],
        extended_communities: vec![ExtendedCommunity(0x0002_fde8_0000_0001)],
        large_communities: vec![LargeCommunity::new(65000, 1, 2)],
        ..PathAttributes::default()
    };
    announce(&mut rib, a, &attributes, "192.0.2.1", &["10.9.0.0/16"]);
    rib.settle();
    for text in ["65000:7", "rt:65000:1", "0x0002fde800000001", "65000:1:2"] {
        let community = Some(text.parse::<AnyCommunity>().unwrap());
        let found = walk(&rib, &PathFilter { community, ..Default::default() }, usize::MAX);
        let found: Vec<_> = found.iter().map(|(found, ..)| *found).collect();
        assert_eq!(found, [prefix("10.9.0.0/16")], "{text}");
    }
    assert!("65000".parse::<AnyCommunity>().is_err());
    assert!("a:b:c".parse::<AnyCommunity>().is_err());
}

#[test]
fn one_prefix_is_found_and_so_is_the_one_around() {
    let (rib, a, b) = filled(20);
    let of = |text: &str, filter: &PathFilter| -> Vec<_> {
        let paths = rib.walk_one(prefix(text), filter);
        paths.iter().map(|view| view.peer.unwrap().address).collect()
    };
    let addresses = [rib.peer(a).unwrap().address, rib.peer(b).unwrap().address];
    assert_eq!(of(&small(3), &PathFilter::default()), addresses);
    let only = PathFilter { peer: Some(b), ..Default::default() };
    assert_eq!(of(&small(3), &only), addresses[1..]);
    assert!(of("10.200.0.0/24", &PathFilter::default()).is_empty());
    assert_eq!(rib.nearest(prefix("10.0.3.9/32")), Some(prefix(&small(3))));
    assert_eq!(rib.nearest(prefix("192.0.2.0/24")), None);
}
