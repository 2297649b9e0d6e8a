//! What is counted of a peer's UPDATEs (RFC 7854 §4.8): once, when they come.

use bgp_wire::{
    Announcement, AttributeError, AttributeFault, AttributeType, Consequence, Segment, SegmentKind,
    Update,
};
use viaduct_net::{Family, OriginSource, Origination};

use super::*;
use crate::{Action, ImportCounters, Matches, PrefixMatch, PrefixSet, Rule};

/// An UPDATE of 192.0.2.1 with prefixes of both families.
fn update(attributes: &PathAttributes, v4: &[&str], v6: &[&str]) -> Update {
    let announcement = |to: &str, what: &[&str]| Announcement {
        next_hop: next_hop(to),
        prefixes: what.iter().map(|text| nlri(text)).collect(),
    };
    Update {
        attributes: attributes.into(),
        announced: vec![announcement("192.0.2.1", v4), announcement("2001:db8::1", v6)],
        ..Update::default()
    }
}

fn withdrawal(what: &[&str]) -> Update {
    Update { withdrawn: what.iter().map(|text| nlri(text)).collect(), ..Update::default() }
}

fn refusing(text: &str) -> Policy {
    let prefixes = PrefixSet::new([PrefixMatch::exact(prefix(text))]);
    let refused = Matches { prefixes, ..Matches::default() };
    let rest = Matches::default();
    Policy::new([Rule::new(refused, Action::Reject), Rule::new(rest, Action::Accept)])
}

#[test]
fn a_loop_is_counted_for_each_update_that_has_one() {
    let mut config = config();
    config.cluster_id = Some("192.0.2.99".parse().unwrap());
    config.confederation = Some(asn(65000));
    let mut rib = Rib::new(config);
    rib.set_underlay(links().into());
    let a = rib.add_peer(Peer {
        kind: PeerKind::Confederation,
        enforce_first_as: false,
        ..peer("192.0.2.1", 64513)
    });
    let confederation = |asns: &[u32], kind| Segment {
        kind,
        asns: asns.iter().map(|number| asn(*number)).collect(),
    };
    let through = |asns: &[u32], outside: &[u32]| PathAttributes {
        as_path: AsPath::new([
            confederation(asns, SegmentKind::ConfedSequence),
            confederation(outside, SegmentKind::Sequence),
        ]),
        ..PathAttributes::default()
    };
    let round = through(&[64513, LOCAL_AS], &[65001]);
    let outside = through(&[64513], &[65001, 65000]);
    let originator = PathAttributes {
        originator_id: Some("192.0.2.254".parse().unwrap()),
        ..through(&[64513], &[])
    };
    let cluster = PathAttributes {
        cluster_list: vec!["192.0.2.99".parse().unwrap()],
        ..through(&[64513], &[])
    };
    let mut expected = ImportCounters::default();
    let (v4, v6) = (&["10.1.0.0/16", "10.2.0.0/16"][..], &["2001:db8:1::/48"][..]);
    let bump = |counters: &mut ImportCounters, kind: usize| {
        let counter = match kind {
            0 => &mut counters.confederation_loops,
            1 => &mut counters.as_path_loops,
            2 => &mut counters.originator_loops,
            _ => &mut counters.cluster_loops,
        };
        *counter += 1;
    };
    for (kind, attributes) in [&round, &outside, &originator, &cluster].into_iter().enumerate() {
        rib.update(a, &update(attributes, v4, v6)).unwrap();
        bump(&mut expected, kind);
        assert_eq!(rib.import_counters(a), expected, "{kind}");
    }
    // To be judged anew is not to come anew.
    rib.set_import_policy(a, Policy::reject_all());
    rib.set_config(super::config());
    rib.settle();
    assert_eq!(rib.import_counters(a), expected);
}

#[test]
fn what_policy_refuses_is_counted_and_stays_counted() {
    let mut rib = rib();
    let a = rib.add_peer(Peer { import: refusing("10.1.0.0/16"), ..peer("192.0.2.1", 65001) });
    let both = update(&path(&[65001]), &["10.1.0.0/16", "10.2.0.0/16"], &[]);
    rib.update(a, &both).unwrap();
    let rejected = |rib: &Rib| rib.import_counters(a).rejected_by_policy;
    assert_eq!(rejected(&rib), 1);
    // It goes, its session goes, another policy comes: it has been refused once.
    rib.update(a, &withdrawal(&["10.1.0.0/16"])).unwrap();
    rib.set_import_policy(a, Policy::reject_all());
    rib.peer_down(a);
    rib.settle();
    assert_eq!((rejected(&rib), rib.peer_counts(a).received), (1, 0));
    // Refused again, both.
    rib.update(a, &both).unwrap();
    assert_eq!(rejected(&rib), 3);
}

#[test]
fn what_is_said_twice_is_counted_by_route_and_by_update() {
    let mut rib = rib();
    let a = rib.add_peer(peer("192.0.2.1", 65001));
    let first = update(&path(&[65001]), &["10.1.0.0/16"], &["2001:db8:1::/48"]);
    let more = update(&path(&[65001]), &["10.1.0.0/16", "10.2.0.0/16"], &[]);
    let counted = |rib: &Rib| {
        let all = rib.import_counters(a);
        (all.duplicate_prefixes, all.duplicate_withdrawals, all.duplicate_updates)
    };
    for (update, expected) in [
        (&first, (0, 0, 0)),
        (&first, (2, 0, 1)),
        // A part of it is new.
        (&more, (3, 0, 1)),
        (&withdrawal(&["10.2.0.0/16", "10.9.0.0/16"]), (3, 1, 1)),
        (&withdrawal(&["10.2.0.0/16", "10.9.0.0/16"]), (3, 3, 2)),
        // End-of-RIB says no route at all.
        (&Update { end_of_rib: Some(Family::V4), ..Update::default() }, (3, 3, 2)),
    ] {
        rib.update(a, update).unwrap();
        assert_eq!(counted(&rib), expected, "{update:?}");
    }
    // After a restart it has to be said again.
    rib.mark_stale(a, Family::V4);
    rib.update(a, &update(&path(&[65001]), &["10.1.0.0/16"], &[])).unwrap();
    assert_eq!(counted(&rib), (3, 3, 2));
}

#[test]
fn what_is_treated_as_withdrawn_is_no_withdrawal_said_twice() {
    let mut rib = rib();
    let a = rib.add_peer(peer("192.0.2.1", 65001));
    rib.update(a, &update(&path(&[65001]), &["10.1.0.0/16"], &[])).unwrap();
    let malformed = Update {
        treated_as_withdraw: 2,
        malformed: vec![AttributeError {
            kind: AttributeType::MULTI_EXIT_DISC,
            fault: AttributeFault::Length(3),
            consequence: Consequence::TreatAsWithdraw,
        }],
        ..withdrawal(&["10.7.0.0/16", "10.1.0.0/16", "10.9.0.0/16"])
    };
    rib.update(a, &malformed).unwrap();
    let expected = ImportCounters {
        duplicate_withdrawals: 1,
        updates_treated_as_withdraw: 1,
        prefixes_treated_as_withdraw: 2,
        ..ImportCounters::default()
    };
    assert_eq!((rib.import_counters(a), rib.peer_counts(a).received), (expected, 0));
}

#[test]
fn loc_rib_is_what_was_chosen_and_nothing_else() {
    let mut rib = rib();
    let a = rib.add_peer(Peer { import: refusing("10.1.0.0/16"), ..peer("192.0.2.1", 65001) });
    let b = rib.add_peer(peer("192.0.2.2", 65002));
    let best = |rib: &mut Rib| {
        rib.settle();
        let best = rib.counts().best;
        assert_eq!(best.total(), rib.told_paths(0).count());
        Family::ALL.map(|family| best.of(family))
    };
    let block = Origination { prefix: prefix("10.3.0.0/16"), source: OriginSource::Block };
    rib.set_originations(&[block]);
    let told = update(&path(&[65001]), &["10.1.0.0/16", "10.2.0.0/16"], &["2001:db8:1::/48"]);
    rib.update(a, &told).unwrap();
    announce(&mut rib, b, &path(&[65002]), "192.0.2.2", &["10.2.0.0/16"]);
    assert_eq!(best(&mut rib), [2, 1]);
    assert_eq!(rib.counts().prefixes, 4);
    // Gone and back before anybody has looked, and another in its place.
    rib.peer_down(a);
    rib.update(a, &told).unwrap();
    assert_eq!(best(&mut rib), [2, 1]);
    rib.peer_down(a);
    assert_eq!(best(&mut rib), [2, 0]);
    rib.peer_down(b);
    rib.set_originations(&[]);
    assert_eq!(best(&mut rib), [0, 0]);
}
