use std::collections::BTreeMap;

use bgp_speaker::{
    LocalAddresses, Matches, PeerLink, Policy, PolicyAction as Action, PrefixMatch, Rule,
    policy::{Change, MedChange, NextHopChange},
};
use bgp_wire::Community;
use viaduct_api::{
    admin::TrialChange,
    v1alpha1::{BGPConfigurationSpec, BGPPeerSpec},
};
use viaduct_net::{IfIndex, LinkLocal, Prefix};

use super::*;
use crate::config::{Passwords, standalone};

fn within(text: &str) -> Matches {
    let prefix = PrefixMatch::or_longer(text.parse().unwrap());
    Matches { prefixes: vec![prefix].into(), ..Matches::default() }
}

/// AS 64512 with an external peer whose import marks and prefers, and an internal one.
fn config() -> Config {
    let external = BGPPeerSpec::new("192.0.2.2".parse().unwrap(), 65001);
    let internal = BGPPeerSpec::new("192.0.2.3".parse().unwrap(), 64512);
    let peers = BTreeMap::from([("a".to_owned(), external), ("b".to_owned(), internal)]);
    let own = BGPConfigurationSpec { asn: 64512, ..Default::default() };
    let addresses = LocalAddresses { v4: Some([192, 0, 2, 1].into()), v6: None };
    let id = "192.0.2.1".parse().unwrap();
    let mut config = standalone(&own, id, addresses, &peers, &Passwords::new()).unwrap();
    let peer = config.peers.get_mut(&IpAddr::from([192, 0, 2, 2])).unwrap();
    let mut mark = Change { med: Some(MedChange::Set(5)), ..Change::default() };
    mark.communities.add.push(Community::new(64512, 1));
    let prefer = Change { local_pref: Some(200), ..Change::default() };
    peer.import = Policy::new([
        Rule { change: mark.into(), ..Rule::new(within("10.0.0.0/8"), Action::Continue) },
        Rule::new(within("10.66.0.0/16"), Action::Reject),
        Rule { change: prefer.into(), ..Rule::new(within("10.0.0.0/8"), Action::Accept) },
    ]);
    let ours = Change { next_hop: Some(NextHopChange::Own), ..Change::default() };
    let local = Matches { sources: vec![Source::Local], ..Matches::default() };
    let inside = Matches { sources: vec![Source::Internal], ..Matches::default() };
    peer.export = Policy::new([
        Rule::new(local, Action::Reject),
        Rule { change: ours.into(), ..Rule::new(inside, Action::Accept) },
    ]);
    config
}

fn query(direction: PolicyDirection, prefix: &str) -> PolicyTrialQuery {
    let peer = "192.0.2.2".to_owned();
    PolicyTrialQuery { peer, direction, prefix: prefix.to_owned(), ..Default::default() }
}

fn change(field: &str, before: Option<&str>, after: &str) -> TrialChange {
    let before = before.map(str::to_owned);
    TrialChange { field: field.to_owned(), before, after: Some(after.to_owned()) }
}

#[test]
fn rules_are_told_in_their_order_with_what_each_has_changed() {
    let query = PolicyTrialQuery {
        as_path: Some("65001 65002".to_owned()),
        communities: Some("65001:7 65001:1:2 rt:65001:1".to_owned()),
        med: Some(1),
        ..query(PolicyDirection::Import, "10.1.0.0/16")
    };
    let trial = trial(&config(), &query).unwrap();
    assert_eq!(trial.prefix, "10.1.0.0/16".parse::<Prefix>().unwrap());
    assert_eq!(trial.route.next_hop.as_deref(), Some("192.0.2.2"));
    let [first, second] = &trial.rules[..] else { panic!("{trial:?}") };
    let marked = "65001:7 64512:1 rt:65001:1 65001:1:2";
    assert_eq!(
        first.changes,
        [
            change("med", Some("1"), "5"),
            change("communities", Some("65001:7 rt:65001:1 65001:1:2"), marked),
        ]
    );
    assert_eq!((first.number, second.number), (1, 3));
    assert_eq!(second.changes, [change("localPref", None, "200")]);
    assert!(second.text.ends_with("local preference 200; accept"), "{}", second.text);
    assert_eq!((trial.accepted, trial.decided_by), (true, Some(3)));
    let result = trial.result.unwrap();
    assert_eq!((result.local_pref, result.med), (Some(200), Some(5)));
    assert_eq!(result.as_path, "65001 65002");
    assert_eq!(result.communities.join(" "), marked);
}

#[test]
fn what_is_rejected_says_by_which_rule_or_by_none() {
    let config = config();
    let of = |prefix: &str| trial(&config, &query(PolicyDirection::Import, prefix)).unwrap();
    let refused = of("10.66.0.0/24");
    assert_eq!((refused.accepted, refused.decided_by, refused.result), (false, Some(2), None));
    let stranger = of("2001:db8::/32");
    assert_eq!((stranger.accepted, stranger.decided_by, stranger.rules), (false, None, vec![]));
    // What an external peer tells begins with its AS.
    assert_eq!(stranger.route.as_path, "65001");
}

#[test]
fn export_depends_on_who_has_told_the_route() {
    let config = config();
    let of = |from: Option<&str>| {
        let query = query(PolicyDirection::Export, "10.1.0.0/16");
        trial(&config, &PolicyTrialQuery { from: from.map(str::to_owned), ..query }).unwrap()
    };
    let own = of(None);
    assert_eq!((own.decided_by, own.accepted, own.route.next_hop), (Some(1), false, None));
    let inside = of(Some("192.0.2.3"));
    assert_eq!(inside.rules[0].changes, [change("nextHop", Some("192.0.2.3"), "self")]);
    assert_eq!(inside.result.unwrap().next_hop.as_deref(), Some("self"));
    assert_eq!(of(Some("192.0.2.2")).decided_by, None);
}

#[test]
fn a_peer_on_a_link_is_known_by_all_its_names() {
    let mut config = config();
    let (_, peer) = config.peers.pop_first().unwrap();
    config.interfaces.insert("eth1".to_owned(), peer.clone());
    let of = |config: &Config, name: &str| {
        let query = query(PolicyDirection::Import, "10.1.0.0/16");
        trial(config, &PolicyTrialQuery { peer: name.to_owned(), ..query })
    };
    let nobody_yet = of(&config, "eth1").unwrap();
    assert_eq!((nobody_yet.accepted, nobody_yet.route.next_hop), (true, None));
    let at = |text: &str| LinkLocal::new(text.parse().unwrap(), IfIndex(3)).unwrap();
    let link = PeerLink { name: "eth1".into(), link_local: at("fe80::1"), global: None };
    config.peers.insert(at("fe80::2").embedded(), PeerConfig { link: Some(link), ..peer });
    for name in ["eth1", "fe80::2%eth1", "fe80::2"] {
        let found = of(&config, name).unwrap();
        assert_eq!(found.route.next_hop.as_deref(), Some("fe80::2"), "{name}");
    }
    assert!(of(&config, "eth2").is_err());
}

#[test]
fn what_is_not_understood_names_its_field() {
    let config = config();
    let good = query(PolicyDirection::Export, "10.1.0.0/16");
    let set = |change: fn(&mut PolicyTrialQuery)| {
        let mut query = good.clone();
        change(&mut query);
        trial(&config, &query).unwrap_err().to_string()
    };
    for (error, told) in [
        (set(|one| one.peer = "192.0.2.9".to_owned()), "peer: `192.0.2.9` is neither"),
        (set(|one| one.from = Some("eth9".to_owned())), "from: `eth9` is neither"),
        (set(|one| one.prefix = "10.0.0.0/33".to_owned()), "prefix: `10.0.0.0/33`"),
        (set(|one| one.as_path = Some("65001 x".to_owned())), "asPath: `65001 x` is no AS path"),
        (set(|one| one.origin = Some("IGP".to_owned())), "origin: `IGP` is none of"),
        (set(|one| one.from_table = true), "fromTable: a file has no table"),
        (set(|one| one.communities = Some("1:1 x".to_owned())), "communities: `x` is no"),
        (
            set(|one| {
                one.direction = PolicyDirection::Import;
                one.from = Some("192.0.2.3".to_owned());
            }),
            "from: what comes in is told by the peer itself",
        ),
    ] {
        assert!(error.starts_with(told), "{error}");
    }
}
