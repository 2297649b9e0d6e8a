//! Policies that change what passes.

use bgp_wire::{Community, Families, Message, SessionParameters, split_frame};
use bytes::BytesMut;

use super::*;
use crate::{
    Action, Change, ExportPeer, LocalSpeaker, Matches, PrefixMatch, Rule, export,
    out::{AdjRibsOut, Profile},
    policy::{MedChange, NextHopChange},
};

fn local() -> LocalSpeaker {
    LocalSpeaker {
        asn: asn(LOCAL_AS),
        cluster_id: "192.0.2.254".parse().unwrap(),
        address_v4: Some("192.0.2.254".parse().unwrap()),
        address_v6: Some("2001:db8::fe".parse().unwrap()),
        link_local: None,
        extended_next_hop: false,
        egress: Default::default(),
    }
}

fn changing(prefixes: &[&str], change: Change) -> Rule {
    let exact = |text: &&str| PrefixMatch::exact(prefix(text));
    let matches = Matches { prefixes: prefixes.iter().map(exact).collect(), ..Matches::default() };
    Rule { matches, change: change.into(), action: Action::Accept }
}

#[test]
fn what_export_changes_is_told() {
    let mut rib = rib();
    let from = rib.add_peer(peer("192.0.2.1", 65001));
    let to = rib.add_peer(peer("192.0.2.2", 65002));
    let came = PathAttributes { med: Some(9), ..path(&[65001]) };
    announce(&mut rib, from, &came, "192.0.2.77", &["10.1.0.0/16"]);
    rib.settle();
    let of = prefix("10.1.0.0/16");
    let best = rib.best(of).unwrap();
    let told = |kind, change| {
        let policy = Policy::new([changing(&[], change)]);
        let target = ExportPeer {
            id: Some(to),
            kind,
            reflector_client: false,
            next_hop_self: true,
            policy: &policy,
            long_lived: false,
        };
        let told = export::export(&local(), &target, of, &best).unwrap();
        (told.attributes.open(), told.next_hop)
    };
    let external = |change| told(PeerKind::External, change);
    let with_hop = |hop| Change { next_hop: Some(hop), ..Change::default() };
    for (change, expected) in [
        (NextHopChange::Own, "192.0.2.254"),
        (NextHopChange::Unchanged, "192.0.2.77"),
        (NextHopChange::Address(address("192.0.2.99")), "192.0.2.99"),
        // Of the other family there is nothing to be said.
        (NextHopChange::Address(address("2001:db8::99")), "192.0.2.254"),
    ] {
        assert_eq!(external(with_hop(change)).1, next_hop(expected), "{change:?}");
    }
    assert_eq!(external(Change::default()).0.med, None, "RFC 4271 §5.1.4");
    let med = |med| Change { med: Some(med), ..Change::default() };
    assert_eq!(external(med(MedChange::Add(1))).0.med, Some(10));
    assert_eq!(external(med(MedChange::Remove)).0.med, None);
    assert_eq!(told(PeerKind::Internal, med(MedChange::Remove)).0.med, None);
    let longer = Change { prepend: Some((asn(LOCAL_AS), 2)), ..Change::default() };
    let path = external(longer).0.as_path.to_string();
    assert_eq!(path, "64512 64512 64512 65001", "and once as always");
    let preferred = Change { local_pref: Some(7), ..Change::default() };
    assert_eq!(external(preferred.clone()).0.local_pref, None);
    assert_eq!(told(PeerKind::Internal, preferred).0.local_pref, Some(7));
}

/// The prefixes that a peer is told of, and how many messages that takes.
fn told(out: &mut AdjRibsOut, rib: &Rib, id: PeerId) -> (Vec<String>, u64) {
    let outgoing = out.next(rib, id, usize::MAX).unwrap();
    let parameters = SessionParameters {
        four_octet_as: true,
        families: Families::BOTH,
        ..SessionParameters::before_open(PeerKind::External)
    };
    let mut all = Vec::new();
    for bytes in &outgoing.bytes {
        let mut buffer = BytesMut::from(&bytes[..]);
        while let Some(frame) = split_frame(&mut buffer, 4096).unwrap() {
            let Message::Update(update) = Message::decode(&frame, &parameters).unwrap() else {
                panic!("{frame:?}")
            };
            all.extend(update.withdrawn.iter().map(|nlri| format!("-{}", nlri.prefix)));
            let announced = update.announced.iter().flat_map(|one| &one.prefixes);
            all.extend(announced.map(|nlri| format!("+{}", nlri.prefix)));
        }
    }
    all.sort();
    (all, outgoing.messages)
}

#[test]
fn a_changed_policy_tells_what_differs() {
    let mut rib = rib();
    let mut out = AdjRibsOut::default();
    let from = rib.add_peer(peer("192.0.2.1", 65001));
    let to = rib.add_peer(peer("192.0.2.2", 65002));
    // Two sets of attributes that become one by the policy share a message.
    let with_med = PathAttributes { med: Some(9), ..path(&[65001]) };
    announce(&mut rib, from, &with_med, "192.0.2.1", &["10.1.0.0/16"]);
    announce(&mut rib, from, &path(&[65001]), "192.0.2.1", &["10.2.0.0/16", "10.3.0.0/16"]);
    out.flush(&mut rib);
    let med = Change { med: Some(MedChange::Set(7)), ..Change::default() };
    let profile = |rules: Vec<Rule>| Profile {
        local: local(),
        parameters: SessionParameters {
            four_octet_as: true,
            families: Families::BOTH,
            ..SessionParameters::before_open(PeerKind::External)
        },
        reflector_client: false,
        next_hop_self: true,
        policy: Policy::new(rules),
        long_lived: false,
        additional_paths: 0,
    };
    let all = changing(&[], med.clone());
    out.join(&rib, to, profile(vec![all.clone()]));
    let (prefixes, messages) = told(&mut out, &rib, to);
    assert_eq!(prefixes, ["+10.1.0.0/16", "+10.2.0.0/16", "+10.3.0.0/16"]);
    assert_eq!(messages, 3, "one and an End-of-RIB of each family");

    let mut marked = med.clone();
    marked.communities.add.push(Community::new(64512, 1));
    let refused = Rule { action: Action::Reject, ..changing(&["10.3.0.0/16"], med.clone()) };
    let rules = vec![changing(&["10.2.0.0/16"], marked.clone()), refused, all.clone()];
    out.change(&rib, to, profile(rules));
    assert_eq!(told(&mut out, &rib, to).0, ["+10.2.0.0/16", "-10.3.0.0/16"]);
    assert_eq!(out.told(to), 2);

    // The same in other words is nothing new.
    let same = Rule { action: Action::Continue, ..changing(&[], med) };
    let refused = Rule { action: Action::Reject, ..changing(&["10.3.0.0/16"], Change::default()) };
    let rest = changing(&[], Change::default());
    out.change(&rib, to, profile(vec![refused, same, changing(&["10.2.0.0/16"], marked), rest]));
    assert_eq!(told(&mut out, &rib, to).0, Vec::<String>::new());
}

#[test]
fn another_import_policy_touches_what_it_changes() {
    let mut rib = rib();
    let from = rib.add_peer(peer("192.0.2.1", 65001));
    announce(&mut rib, from, &path(&[65001]), "192.0.2.1", &["10.1.0.0/16", "10.2.0.0/16"]);
    rib.settle();
    let preferred = Change { local_pref: Some(200), ..Change::default() };
    let rest = changing(&[], Change::default());
    let policy = Policy::new([changing(&["10.2.0.0/16"], preferred), rest]);
    rib.set_import_policy(from, policy.clone());
    let changes = rib.settle();
    assert_eq!(changes.best.len(), 1);
    let new = changes.best[0].new.as_ref().unwrap();
    assert_eq!(new.attributes.facts().local_pref(), Some(200));
    // Told again by the peer it stays what it is.
    announce(&mut rib, from, &path(&[65001]), "192.0.2.1", &["10.2.0.0/16"]);
    assert!(rib.is_settled());
    rib.set_import_policy(from, policy);
    assert!(rib.is_settled());
    rib.set_import_policy(from, Policy::accept_all());
    assert_eq!(rib.settle().best[0].new.as_ref().unwrap().attributes, path(&[65001]));
    assert!(rib.adj_rib_in(from).all(|view| view.received.is_none()));
}
