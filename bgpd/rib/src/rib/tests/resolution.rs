//! Where next hops lead.

use viaduct_net::{LinkLocal, OriginSource, Origination};

use super::*;

/// One path from an internal peer over each of these next hops, and what the FIB is told.
fn routes(underlay: &[UnderlayRoute], paths: &[(&str, &str)]) -> Vec<String> {
    let mut rib = Rib::new(config());
    rib.set_underlay(underlay.into());
    let a = rib.add_peer(peer("192.0.2.1", LOCAL_AS));
    for (what, to) in paths {
        announce(&mut rib, a, &path(&[]), to, &[what]);
    }
    fib(&rib.settle())
}

#[test]
fn over_the_underlay() {
    let mut underlay = links();
    underlay.extend([
        via("0.0.0.0/0", "192.0.2.9", 1, 100),
        via("198.51.100.0/24", "192.0.2.10", 1, 20),
        via("203.0.113.0/24", "192.0.2.10", 1, 20),
        via("203.0.113.0/24", "192.0.2.11", 2, 20),
        via("203.0.113.0/24", "192.0.2.12", 2, 30),
        via("2001:db8:a::/48", "fe80::9", 1, 1024),
        // IPv4 by way of an IPv6 neighbour, as RFC 5549 fabrics do.
        via("203.0.114.0/24", "fe80::9", 1, 20),
    ]);
    for (what, to, expected) in [
        ("10.0.0.0/8", "192.0.2.7", "192.0.2.7%1"),
        ("10.0.0.0/8", "198.51.100.1", "192.0.2.10%1"),
        ("10.0.0.0/8", "203.0.113.1", "192.0.2.10%1 192.0.2.11%2"),
        ("10.0.0.0/8", "203.0.114.1", "fe80::9%1"),
        ("10.0.0.0/8", "8.8.8.8", "192.0.2.9%1"),
        ("2001:db8:1::/48", "2001:db8::7", "2001:db8::7%1"),
        ("2001:db8:1::/48", "2001:db8:a::1", "fe80::9%1"),
        ("2001:db8:1::/48", "fe80::7", "fe80::7%1"),
    ] {
        assert_eq!(routes(&underlay, &[(what, to)]), [format!("{what} -> {expected}")], "{to}");
    }
    for (what, to) in [
        ("10.0.0.0/8", "192.0.2.254"),
        ("2001:db8:1::/48", "2001:db8:b::1"),
        ("2001:db8:1::/48", "2001:db8::fe"),
    ] {
        assert!(routes(&underlay, &[(what, to)]).is_empty(), "{to}");
    }
    assert!(routes(&[], &[("10.0.0.0/8", "192.0.2.7"), ("::/0", "fe80::7")]).is_empty());
}

#[test]
fn link_local_next_hops_need_a_link() {
    let mut rib = rib();
    let no_link = rib.add_peer(Peer { interface: None, ..peer("192.0.2.1", LOCAL_AS) });
    let dead_link =
        rib.add_peer(Peer { interface: Some(IfIndex(9)), ..peer("192.0.2.2", LOCAL_AS) });
    let both = BgpNextHop::V6 {
        global: "2001:db8:f::1".parse().unwrap(),
        link_local: Some("fe80::5".parse().unwrap()),
    };
    for id in [no_link, dead_link] {
        announce(&mut rib, id, &path(&[]), "fe80::5", &["2001:db8:1::/48"]);
        rib.announce(id, &path(&[]).into(), both, &[nlri("2001:db8:2::/48")]).unwrap();
    }
    assert!(rib.settle().is_empty());
    assert_eq!(reasons(&rib, "2001:db8:1::/48"), [Reason::NextHopUnreachable; 2]);

    // The link comes up. A global next hop we have no route to gives way to the link-local one.
    let mut underlay = links();
    underlay.push(on_link("fe80::/64", 9));
    rib.set_underlay(underlay.into());
    assert_eq!(
        fib(&rib.settle()),
        ["2001:db8:1::/48 -> fe80::5%9", "2001:db8:2::/48 -> fe80::5%9"]
    );
}

#[test]
fn over_bgp() {
    // The far next hop is known from BGP alone, or better from BGP than from the default route.
    let paths = [("198.51.100.0/24", "192.0.2.7"), ("10.0.0.0/8", "198.51.100.1")];
    let expected = ["10.0.0.0/8 -> 192.0.2.7%1", "198.51.100.0/24 -> 192.0.2.7%1"];
    assert_eq!(routes(&links(), &paths), expected);
    let mut underlay = links();
    underlay.push(via("0.0.0.0/0", "192.0.2.9", 1, 0));
    assert_eq!(routes(&underlay, &paths), expected);
    let mut backwards = paths;
    backwards.reverse();
    assert_eq!(routes(&underlay, &backwards), expected);
    // Not where the underlay knows more, or as much.
    underlay.push(via("198.51.100.0/24", "192.0.2.8", 1, 0));
    assert_eq!(routes(&underlay, &paths)[0], "10.0.0.0/8 -> 192.0.2.8%1");

    let paths = [("2001:db8:9::/48", "2001:db8::7"), ("2001:db8:1::/48", "2001:db8:9::1")];
    let expected = ["2001:db8:1::/48 -> 2001:db8::7%1", "2001:db8:9::/48 -> 2001:db8::7%1"];
    assert_eq!(routes(&links(), &paths), expected);
}

#[test]
fn a_path_never_resolves_over_itself() {
    // A prefix around its own next hop: the underlay rules if it can, else it is unusable.
    assert_eq!(routes(&links(), &[("192.0.2.7/32", "192.0.2.7")]), ["192.0.2.7/32 -> 192.0.2.7%1"]);
    let mut underlay = links();
    underlay.push(via("0.0.0.0/0", "192.0.2.9", 1, 0));
    assert_eq!(
        routes(&underlay, &[("198.51.100.0/24", "198.51.100.1")]),
        ["198.51.100.0/24 -> 192.0.2.9%1"]
    );
    assert!(routes(&links(), &[("198.51.100.0/24", "198.51.100.1")]).is_empty());
    // The default route among them, and two that hold each other.
    assert!(routes(&links(), &[("0.0.0.0/0", "198.51.100.1")]).is_empty());
    assert!(routes(&links(), &[("::/0", "2001:db8:9::1")]).is_empty());
    let mutual = [("198.51.100.0/24", "203.0.113.1"), ("203.0.113.0/24", "198.51.100.1")];
    assert!(routes(&links(), &mutual).is_empty());
}

#[test]
fn the_ground_goes_and_all_that_stood_on_it() {
    let mut rib = rib();
    let a = rib.add_peer(peer("192.0.2.1", LOCAL_AS));
    announce(&mut rib, a, &path(&[]), "192.0.2.7", &["198.51.100.0/24"]);
    announce(&mut rib, a, &path(&[]), "198.51.100.1", &["10.0.0.0/8", "198.51.100.0/25"]);
    rib.settle();
    assert_eq!(rib.counts().routes, 3);
    rib.withdraw(a, &[nlri("198.51.100.0/24")]);
    let changes = rib.settle();
    assert_eq!(changes.fib.len(), 3, "{changes:?}");
    assert!(changes.fib.iter().all(|update| update.route.is_none()));
    assert_eq!(reasons(&rib, "10.0.0.0/8"), [Reason::NextHopUnreachable]);

    announce(&mut rib, a, &path(&[]), "192.0.2.8", &["198.51.100.0/24"]);
    let to = "192.0.2.8%1";
    assert_eq!(
        fib(&rib.settle()),
        [
            format!("10.0.0.0/8 -> {to}"),
            format!("198.51.100.0/24 -> {to}"),
            format!("198.51.100.0/25 -> {to}")
        ]
    );
}

/// RFC 5882 §5: BFD with a neighbour says so, whoever tells of it as a next hop.
#[test]
fn what_bfd_has_lost_is_no_next_hop() {
    let mut rib = rib();
    let mut underlay = links();
    underlay.extend([
        on_link("fe80::/64", 2),
        via("198.51.100.0/24", "192.0.2.10", 1, 20),
        via("203.0.113.0/24", "192.0.2.10", 1, 20),
        via("203.0.113.0/24", "192.0.2.11", 1, 20),
    ]);
    rib.set_underlay(underlay.into());
    let a = rib.add_peer(peer("192.0.2.1", LOCAL_AS));
    let b = rib.add_peer(Peer { interface: Some(IfIndex(2)), ..peer("192.0.2.2", LOCAL_AS) });
    for (teller, to, what) in [
        (a, "192.0.2.10", "10.0.0.0/24"),
        (a, "192.0.2.11", "10.0.1.0/24"),
        // Behind it.
        (a, "198.51.100.1", "10.0.2.0/24"),
        (a, "203.0.113.1", "10.0.3.0/24"),
        // Over BGP behind what is behind it.
        (a, "10.0.2.1", "10.0.4.0/24"),
        (a, "fe80::10", "2001:db8:1::/48"),
        (b, "fe80::10", "2001:db8:2::/48"),
        // There is another way to it.
        (a, "192.0.2.10", "10.0.5.0/24"),
        (b, "192.0.2.11", "10.0.5.0/24"),
    ] {
        announce(&mut rib, teller, &path(&[]), to, &[what]);
    }
    let before = fib(&rib.settle());
    assert_eq!(before.len(), 8);

    let on_link = LinkLocal::new("fe80::10".parse().unwrap(), IfIndex(2)).unwrap();
    rib.set_lost([address("192.0.2.10"), on_link.embedded()].into());
    assert_eq!(
        fib(&rib.settle()),
        [
            "10.0.0.0/24 -> nothing",
            "10.0.2.0/24 -> nothing",
            "10.0.3.0/24 -> 192.0.2.11%1",
            "10.0.4.0/24 -> nothing",
            "10.0.5.0/24 -> 192.0.2.11%1",
            "2001:db8:2::/48 -> nothing"
        ]
    );
    let reason = |what| reasons(&rib, what);
    for what in ["10.0.0.0/24", "10.0.2.0/24", "2001:db8:2::/48"] {
        assert_eq!(reason(what), [Reason::NextHopLost], "{what}");
    }
    // The way to its own next hop has the word.
    assert_eq!(reason("10.0.4.0/24"), [Reason::NextHopUnreachable]);
    assert_eq!(reason("10.0.5.0/24"), [Reason::NextHopLost, Reason::Best]);

    // What is told of it meanwhile does not lead there, either.
    announce(&mut rib, a, &path(&[]), "192.0.2.10", &["10.0.6.0/24"]);
    assert!(rib.settle().is_empty());
    assert_eq!(reasons(&rib, "10.0.6.0/24"), [Reason::NextHopLost]);
    rib.set_lost([].into());
    let mut after: Vec<_> = rib.settle().fib.iter().map(|update| update.prefix).collect();
    after.retain(|one| *one != prefix("10.0.6.0/24"));
    assert_eq!(after.len(), 6);
    assert!(before.iter().all(|known| {
        let (what, _) = known.split_once(" -> ").unwrap();
        rib.route(prefix(what)).is_some()
    }));
    rib.set_lost([].into());
    assert!(rib.is_settled());
}

/// Several hops away: it is lost however many ways there are.
#[test]
fn a_far_next_hop_that_bfd_has_lost_is_not_looked_for() {
    let mut rib = rib();
    let mut underlay = links();
    underlay.push(via("0.0.0.0/0", "192.0.2.9", 1, 0));
    rib.set_underlay(underlay.into());
    let a = rib.add_peer(peer("192.0.2.1", LOCAL_AS));
    announce(&mut rib, a, &path(&[]), "198.51.100.1", &["10.0.0.0/8"]);
    announce(&mut rib, a, &path(&[]), "192.0.2.7", &["198.51.100.0/24"]);
    assert_eq!(fib(&rib.settle())[0], "10.0.0.0/8 -> 192.0.2.7%1");
    rib.set_lost([address("198.51.100.1")].into());
    assert_eq!(fib(&rib.settle()), ["10.0.0.0/8 -> nothing"]);
    assert_eq!(reasons(&rib, "10.0.0.0/8"), [Reason::NextHopLost]);
}

#[test]
fn a_next_hop_behind_our_own_prefix_is_nobody() {
    let mut rib = rib();
    let mut underlay = links();
    underlay.push(via("0.0.0.0/0", "192.0.2.9", 1, 0));
    rib.set_underlay(underlay.into());
    let a = rib.add_peer(peer("192.0.2.1", LOCAL_AS));
    announce(&mut rib, a, &path(&[]), "10.244.0.5", &["10.0.0.0/16"]);
    assert_eq!(fib(&rib.settle()), ["10.0.0.0/16 -> 192.0.2.9%1"]);
    let block = Origination { prefix: prefix("10.244.0.0/26"), source: OriginSource::Block };
    rib.set_originations(&[block]);
    assert_eq!(fib(&rib.settle()), ["10.0.0.0/16 -> nothing"]);
    rib.set_originations(&[]);
    assert_eq!(fib(&rib.settle()), ["10.0.0.0/16 -> 192.0.2.9%1"]);
}

#[test]
fn the_nearer_next_hop_wins_and_links_come_and_go() {
    let mut rib = rib();
    let near = via("198.51.100.0/24", "192.0.2.10", 1, 10);
    let far = via("203.0.113.0/24", "192.0.2.11", 1, 20);
    let underlay = |more: &[UnderlayRoute]| -> viaduct_net::Underlay {
        let mut all = links();
        all.extend(more);
        // The table takes them in any order.
        all.reverse();
        all.into()
    };
    rib.set_underlay(underlay(&[near, far]));
    let a = rib.add_peer(peer("192.0.2.1", LOCAL_AS));
    let b = rib.add_peer(peer("192.0.2.2", LOCAL_AS));
    announce(&mut rib, a, &path(&[]), "203.0.113.1", &["10.0.0.0/8"]);
    announce(&mut rib, b, &path(&[]), "198.51.100.1", &["10.0.0.0/8"]);
    assert_eq!(fib(&rib.settle()), ["10.0.0.0/8 -> 192.0.2.10%1"]);
    assert_eq!(reasons(&rib, "10.0.0.0/8"), [Reason::IgpMetric, Reason::Best]);
    rib.set_underlay(underlay(&[far]));
    assert_eq!(fib(&rib.settle()), ["10.0.0.0/8 -> 192.0.2.11%1"]);
    rib.set_underlay(underlay(&[UnderlayRoute { metric: 20, ..near }, far]));
    assert_eq!(fib(&rib.settle()), ["10.0.0.0/8 -> 192.0.2.10%1 192.0.2.11%1"]);
    rib.set_underlay(underlay(&[]));
    assert_eq!(fib(&rib.settle()), ["10.0.0.0/8 -> nothing"]);
    rib.set_underlay(underlay(&[]));
    assert!(rib.is_settled());
}

#[test]
fn our_own_addresses_may_change() {
    let mut rib = rib();
    let a = rib.add_peer(peer("192.0.2.1", LOCAL_AS));
    announce(&mut rib, a, &path(&[]), "192.0.2.254", &["10.0.0.0/8"]);
    assert!(rib.settle().is_empty());
    rib.set_config(RibConfig { addresses: vec![address("192.0.2.253")], ..config() });
    assert_eq!(fib(&rib.settle()), ["10.0.0.0/8 -> 192.0.2.254%1"]);
    let dangling = hop("192.0.2.254", 1);
    assert_eq!(rib.route(prefix("10.0.0.0/8")).unwrap().next_hops[..], [dangling]);
}
