//! Random policies over random routes, against an evaluation that opens everything and does
//! everything in the plainest way.

use std::net::IpAddr;

use crate::{
    Action, AsPathPattern, Change, CommunityRange, Decided, Judge, ListChange, Matches, MedChange,
    NextHopChange, Policy, PrefixMatch, Ranges, Route, Rule, Source, Verdict,
};
use bgp_wire::{
    AsPath, AttributeSet, Community, ExtendedCommunity, LargeCommunity, Origin, PathAttributes,
    Segment, SegmentKind,
};
use proptest::{collection::vec, option, prelude::*, sample::select};
use viaduct_net::{Asn, Prefix};

type Answer = fn(&[u32]) -> bool;

/// Expressions, and what they mean for the numbers of a path in one sequence.
const PATTERNS: &[(&str, Answer)] = &[
    ("^$", |path| path.is_empty()),
    ("^1_", |path| path.first() == Some(&1)),
    ("_2$", |path| path.last() == Some(&2)),
    ("_12_", |path| path.contains(&12)),
    ("^[0-9]+$", |path| path.len() == 1),
    ("_1_2_", |path| path.windows(2).any(|pair| pair == [1, 2])),
    (".*", |_| true),
];

const ASNS: &[u32] = &[1, 2, 12, 65536];
const ORIGINS: &[Origin] = &[Origin::Igp, Origin::Egp, Origin::Incomplete];
const SOURCES: &[Source] = &[Source::Local, Source::Internal, Source::External];

fn address() -> impl Strategy<Value = IpAddr> {
    select(&["192.0.2.1", "192.0.2.2", "198.51.100.1", "2001:db8::1"][..])
        .prop_map(|text| text.parse().unwrap())
}

fn prefix() -> impl Strategy<Value = Prefix> {
    select(&["0.0.0.0/0", "10.0.0.0/8", "10.1.0.0/16", "10.1.2.0/24", "::/0", "2001:db8::/32"][..])
        .prop_map(|text| text.parse().unwrap())
}

fn community() -> impl Strategy<Value = Community> {
    (1..4_u16, 0..3_u16).prop_map(|(high, low)| Community::new(high, low))
}

fn large() -> impl Strategy<Value = LargeCommunity> {
    (1..3_u32, 0..2_u32, 0..2_u32).prop_map(|(a, b, c)| LargeCommunity::new(a, b, c))
}

fn extended() -> impl Strategy<Value = ExtendedCommunity> {
    (1..3_u32, 0..3_u32).prop_map(|(asn, local)| format!("rt:{asn}:{local}").parse().unwrap())
}

fn standard_range() -> impl Strategy<Value = CommunityRange<Community>> {
    let all = (1..4_u16).prop_map(|high| format!("{high}:*").parse().unwrap());
    prop_oneof![community().prop_map(CommunityRange::from), all]
}

fn large_range() -> impl Strategy<Value = CommunityRange<LargeCommunity>> {
    prop_oneof![large().prop_map(CommunityRange::from), Just("1:1:*".parse().unwrap())]
}

fn extended_range() -> impl Strategy<Value = CommunityRange<ExtendedCommunity>> {
    prop_oneof![extended().prop_map(CommunityRange::from), Just("rt:2:*".parse().unwrap())]
}

fn attributes() -> impl Strategy<Value = PathAttributes> {
    let communities = (vec(community(), 0..4), vec(large(), 0..3), vec(extended(), 0..3));
    let path = (vec(select(ASNS), 0..4), any::<bool>());
    (path, select(ORIGINS), option::of(0..3_u32), option::of(0..3_u32), communities).prop_map(
        |((asns, aggregated), origin, med, local_pref, (communities, large, extended))| {
            let mut path = vec![Segment {
                kind: SegmentKind::Sequence,
                asns: asns.into_iter().map(Asn::new).collect(),
            }];
            if aggregated {
                path.push(Segment { kind: SegmentKind::Set, asns: vec![Asn::new(99)] });
            }
            PathAttributes {
                origin,
                as_path: AsPath::new(path),
                med,
                local_pref,
                communities,
                large_communities: large,
                extended_communities: extended,
                ..PathAttributes::default()
            }
        },
    )
}

/// Mostly nothing is asked.
fn few<T: std::fmt::Debug + Clone>(one: impl Strategy<Value = T>) -> impl Strategy<Value = Vec<T>> {
    prop_oneof![5 => Just(None), 2 => vec(one, 1..4).prop_map(Some)]
        .prop_map(Option::unwrap_or_default)
}

fn prefix_match() -> impl Strategy<Value = PrefixMatch> {
    (prefix(), any::<bool>()).prop_map(|(prefix, longer)| match longer {
        true => PrefixMatch::or_longer(prefix),
        false => PrefixMatch::exact(prefix),
    })
}

fn host() -> impl Strategy<Value = PrefixMatch> {
    address().prop_map(|address| PrefixMatch::exact(Prefix::host(address)))
}

fn matches() -> impl Strategy<Value = Matches> {
    let pattern = select(PATTERNS).prop_map(|(text, _)| AsPathPattern::new(text).unwrap());
    let plain = (few(prefix_match()), few(select(SOURCES)), few(host()), few(host()));
    let path = (few(select(ASNS).prop_map(Asn::new)), few(pattern), few(select(ORIGINS)));
    let communities = (few(standard_range()), few(large_range()), few(extended_range()));
    (plain, path, communities).prop_map(|(plain, path, (standard, large, extended))| {
        let (prefixes, sources, peers, next_hops) = plain;
        let (neighbor_asns, as_paths, origins) = path;
        Matches {
            prefixes: prefixes.into(),
            sources,
            peers: peers.into(),
            next_hops: next_hops.into(),
            neighbor_asns,
            as_paths,
            origins,
            communities: standard.into_iter().collect(),
            extended_communities: extended.into_iter().collect(),
            large_communities: large.into_iter().collect(),
        }
    })
}

fn change() -> impl Strategy<Value = Change> {
    let med = prop_oneof![
        (0..5_u32).prop_map(MedChange::Set),
        select(&[-2, 3, i64::MAX, i64::MIN][..]).prop_map(MedChange::Add),
        Just(MedChange::Remove),
    ];
    let next_hop = prop_oneof![
        address().prop_map(NextHopChange::Address),
        Just(NextHopChange::Own),
        Just(NextHopChange::Unchanged),
    ];
    let standard = (option::of(vec(community(), 0..3)), few(standard_range()), few(community()));
    let large = (option::of(vec(large(), 0..3)), few(large_range()), few(large()));
    let extended = (option::of(vec(extended(), 0..3)), few(extended_range()), few(extended()));
    let numbers = (option::of(0..5_u32), option::of(med));
    let prepend = option::of((select(ASNS).prop_map(Asn::new), 0..4_u8));
    (numbers, prepend, option::of(next_hop), standard, large, extended).prop_map(
        |((local_pref, med), prepend, next_hop, standard, large, extended)| Change {
            local_pref,
            med,
            communities: list(standard),
            extended_communities: list(extended),
            large_communities: list(large),
            prepend,
            next_hop,
        },
    )
}

fn list<T>(
    (replace, remove, add): (Option<Vec<T>>, Vec<CommunityRange<T>>, Vec<T>),
) -> ListChange<T>
where
    Ranges<T>: FromIterator<CommunityRange<T>>,
{
    ListChange { replace, remove: remove.into_iter().collect(), add }
}

fn rule() -> impl Strategy<Value = Rule> {
    let action = select(&[Action::Accept, Action::Reject, Action::Continue, Action::Continue][..]);
    let change = prop_oneof![Just(Change::default()), change()];
    (matches(), change, action).prop_map(|(matches, change, action)| Rule {
        matches,
        change: change.into(),
        action,
    })
}

fn route() -> impl Strategy<Value = Route> {
    (prefix(), select(SOURCES), option::of(address()), option::of(address()))
        .prop_map(|(prefix, source, peer, next_hop)| Route { prefix, source, peer, next_hop })
}

/// What is left of a route.
type Outcome = Option<(PathAttributes, Option<NextHopChange>, bool)>;

fn naive(policy: &Policy, route: &Route, attributes: &PathAttributes) -> Outcome {
    let mut now = attributes.clone();
    let mut next_hop = route.next_hop;
    let (mut hop_change, mut sets_med) = (None, false);
    for rule in policy.rules() {
        if !naive_match(&rule.matches, route, next_hop, &now) {
            continue;
        }
        if rule.action == Action::Reject {
            return None;
        }
        let change = &rule.change;
        now.local_pref = change.local_pref.or(now.local_pref);
        match change.med {
            Some(MedChange::Set(med)) => (now.med, sets_med) = (Some(med), true),
            Some(MedChange::Remove) => (now.med, sets_med) = (None, false),
            Some(MedChange::Add(step)) => {
                let sum = i128::from(now.med.unwrap_or(0)) + i128::from(step);
                now.med = Some(sum.clamp(0, u32::MAX.into()) as u32);
                sets_med = true;
            }
            None => {}
        }
        if let Some((asn, count)) = change.prepend {
            now.as_path = now.as_path.prepended(asn, count.into());
        }
        naive_list(&change.communities, &mut now.communities);
        naive_list(&change.extended_communities, &mut now.extended_communities);
        naive_list(&change.large_communities, &mut now.large_communities);
        if let Some(change) = change.next_hop {
            hop_change = Some(change);
            next_hop = match change {
                NextHopChange::Address(address) => Some(address),
                NextHopChange::Own => None,
                NextHopChange::Unchanged => route.next_hop,
            };
        }
        if rule.action == Action::Accept {
            return Some((now, hop_change, sets_med));
        }
    }
    None
}

fn naive_list<T>(change: &ListChange<T>, list: &mut Vec<T>)
where
    T: Copy + Ord + std::fmt::Display + std::str::FromStr<Err = bgp_wire::CommunityParseError>,
    T: crate::Ranged,
{
    if let Some(replace) = &change.replace {
        list.clone_from(replace);
    }
    list.retain(|one| !change.remove.entries().iter().any(|range| range.contains(*one)));
    for one in &change.add {
        if !list.contains(one) {
            list.push(*one);
        }
    }
}

fn naive_match(
    matches: &Matches,
    route: &Route,
    next_hop: Option<IpAddr>,
    now: &PathAttributes,
) -> bool {
    fn any<T>(list: &[T], fits: impl Fn(&T) -> bool) -> bool {
        list.is_empty() || list.iter().any(fits)
    }
    let host = |entry: &PrefixMatch, address: Option<IpAddr>| {
        address.is_some_and(|address| entry.matches(Prefix::host(address)))
    };
    let path = now.as_path.to_string();
    let flat: Vec<u32> = path.split(' ').filter_map(|one| one.parse().ok()).collect();
    let answer = |pattern: &AsPathPattern| {
        // With a set at its end a path is another text; only the plain ones are judged here.
        match PATTERNS.iter().find(|(text, _)| *text == pattern.text()) {
            Some((_, answer)) if !path.contains('{') => answer(&flat),
            _ => match pattern.text() {
                ".*" => true,
                "^1_" => flat.first() == Some(&1),
                "_12_" => flat.contains(&12),
                "_1_2_" => flat.windows(2).any(|pair| pair == [1, 2]),
                _ => false,
            },
        }
    };
    any(matches.prefixes.entries(), |entry| entry.matches(route.prefix))
        && any(&matches.sources, |source| *source == route.source)
        && any(matches.peers.entries(), |entry| host(entry, route.peer))
        && any(matches.next_hops.entries(), |entry| host(entry, next_hop))
        && any(&matches.neighbor_asns, |asn| now.as_path.neighbor_as() == Some(*asn))
        && any(&matches.as_paths, answer)
        && any(&matches.origins, |origin| *origin == now.origin)
        && any(matches.communities.entries(), |range| {
            now.communities.iter().any(|one| range.contains(*one))
        })
        && any(matches.extended_communities.entries(), |range| {
            now.extended_communities.iter().any(|one| range.contains(*one))
        })
        && any(matches.large_communities.entries(), |range| {
            now.large_communities.iter().any(|one| range.contains(*one))
        })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(ProptestConfig::default().cases.max(2048)))]

    #[test]
    fn a_policy_does_what_the_plain_evaluation_does(
        rules in vec(rule(), 0..6), attributes in attributes(), routes in vec(route(), 1..5)
    ) {
        let policy = Policy::new(rules);
        let set = AttributeSet::from(&attributes);
        let mut judge = Judge::new(&policy, &set);
        for route in &routes {
            let expected = naive(&policy, route, &attributes);
            let found = judge.apply(route);
            prop_assert_eq!(&policy.judge(route, &set), &judge.verdict(route));
            let trial = policy.trial(route, &set);
            let last = trial.steps.last().map(|step| &step.after);
            prop_assert_eq!(&trial.accepted, &found);
            prop_assert!(found.is_none() || found.as_ref() == last);
            match policy.before_attributes(route) {
                Decided::NeedsAttributes => {}
                Decided::Reject => prop_assert!(found.is_none()),
                Decided::Accept => {
                    let unchanged = Verdict::Accept(Default::default());
                    prop_assert_eq!(judge.verdict(route), unchanged);
                }
            }
            let found = found.map(|applied| {
                // Octet for octet what would be written of the values.
                assert_eq!(applied.attributes.octets(), AttributeSet::from(applied.attributes.open()).octets());
                (applied.attributes.open(), applied.next_hop, applied.sets_med)
            });
            prop_assert_eq!(found, expected);
        }
    }
}
