//! Graceful restart of a peer, as RFC 4724 §4.2 has it for the one that stays.

use viaduct_net::Family;

use super::*;
use crate::PeerCounts;

const V4: &[&str] = &["10.1.0.0/16", "10.2.0.0/16", "10.3.0.0/16"];
const V6: &[&str] = &["2001:db8:1::/48", "2001:db8:2::/48"];

fn with_routes() -> (Rib, PeerId) {
    let mut rib = rib();
    let a = rib.add_peer(peer("192.0.2.1", LOCAL_AS));
    announce(&mut rib, a, &path(&[]), "192.0.2.1", V4);
    announce(&mut rib, a, &path(&[]), "2001:db8::1", V6);
    assert_eq!(rib.settle().fib.len(), 5);
    (rib, a)
}

#[test]
fn a_peer_that_comes_back_as_it_was_changes_nothing() {
    let (mut rib, a) = with_routes();
    for family in Family::ALL {
        rib.mark_stale(a, family);
    }
    assert!(rib.settle().is_empty());
    assert_eq!(
        rib.peer_counts(a),
        PeerCounts { received: 5, received_v4: 3, accepted: 5, stale: 5 }
    );
    assert!(rib.paths().all(|path| path.stale && path.reason == Reason::Best));

    assert_eq!(rib.add_peer(peer("192.0.2.1", LOCAL_AS)), a);
    announce(&mut rib, a, &path(&[]), "192.0.2.1", V4);
    announce(&mut rib, a, &path(&[]), "2001:db8::1", V6);
    for family in Family::ALL {
        rib.sweep_stale(a, family);
    }
    assert!(rib.settle().is_empty());
    assert_eq!(rib.peer_counts(a).stale, 0);
}

#[test]
fn what_is_not_told_again_goes_family_by_family() {
    let (mut rib, a) = with_routes();
    for family in Family::ALL {
        rib.mark_stale(a, family);
    }
    announce(&mut rib, a, &path(&[]), "192.0.2.1", &V4[..1]);
    rib.sweep_stale(a, Family::V4);
    assert_eq!(fib(&rib.settle()), ["10.2.0.0/16 -> nothing", "10.3.0.0/16 -> nothing"]);
    assert_eq!(
        rib.peer_counts(a),
        PeerCounts { received: 3, received_v4: 1, accepted: 3, stale: 2 }
    );
    rib.sweep_stale(a, Family::V6);
    assert_eq!(rib.settle().fib.len(), 2);
}

#[test]
fn a_family_that_was_not_kept_goes_at_once() {
    let (mut rib, a) = with_routes();
    rib.mark_stale(a, Family::V4);
    rib.withdraw_family(a, Family::V6);
    let changes = rib.settle();
    assert!(changes.fib.iter().all(|update| update.prefix.family() == Family::V6));
    assert_eq!(changes.fib.len(), 2);
}

#[test]
fn a_second_restart_ends_what_was_stale_from_the_first() {
    let (mut rib, a) = with_routes();
    rib.mark_stale(a, Family::V4);
    announce(&mut rib, a, &path(&[]), "192.0.2.1", &V4[..1]);
    rib.mark_stale(a, Family::V4);
    assert_eq!(fib(&rib.settle()), ["10.2.0.0/16 -> nothing", "10.3.0.0/16 -> nothing"]);
    assert_eq!(
        rib.peer_counts(a),
        PeerCounts { received: 3, received_v4: 1, accepted: 3, stale: 1 }
    );
}

#[test]
fn stale_paths_compete_as_before() {
    // RFC 4724 §4.2: the forwarding state is to be used as if nothing had happened.
    let (mut rib, a) = with_routes();
    let b = rib.add_peer(peer("192.0.2.2", LOCAL_AS));
    let worse = PathAttributes { local_pref: Some(50), ..path(&[]) };
    announce(&mut rib, b, &worse, "192.0.2.2", V4);
    rib.mark_stale(a, Family::V4);
    assert!(rib.settle().is_empty());
    rib.sweep_stale(a, Family::V4);
    assert_eq!(
        fib(&rib.settle()),
        ["10.1.0.0/16 -> 192.0.2.2%1", "10.2.0.0/16 -> 192.0.2.2%1", "10.3.0.0/16 -> 192.0.2.2%1"]
    );
}
