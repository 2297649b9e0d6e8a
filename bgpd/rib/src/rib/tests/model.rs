//! Random operations on the table and on a model of it that keeps nothing but the inputs and
//! works everything out anew, straight from the RFC's words.

use std::{
    cmp::Ordering,
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use bgp_wire::{AsPath, Community, Origin};
use proptest::{collection::vec, prelude::*, sample::select};
use viaduct_net::{Family, LinkLocal, OriginSource, Origination, Route, RouteSource};

use super::*;
use crate::{
    MAX_MULTIPATH, Matches, PathView, Rule,
    policy::{Action, AsPathPattern, Change, MedChange, NextHopChange, PrefixMatch},
};

const PEERS: &[(&str, u32)] = &[
    ("192.0.2.1", LOCAL_AS),
    ("192.0.2.2", LOCAL_AS),
    ("192.0.2.3", 65001),
    ("2001:db8::4", 65001),
    ("192.0.2.5", 65002),
];

const PREFIXES: &[&str] = &[
    "10.0.0.0/8",
    "10.1.0.0/16",
    "0.0.0.0/0",
    "198.51.100.0/24",
    "198.51.100.128/25",
    "203.0.113.0/24",
    "2001:db8:1::/48",
    "2001:db8:9::/48",
    "::/0",
];

const NEXT_HOPS_V4: &[&str] = &[
    "192.0.2.1",
    "192.0.2.2",
    "198.51.100.1",
    "198.51.100.129",
    "203.0.113.1",
    "10.1.2.3",
    "192.0.2.254",
];

const NEXT_HOPS_V6: &[&str] =
    &["2001:db8::1", "2001:db8::2", "2001:db8:9::1", "2001:db8:1::1", "fe80::1"];

/// Neighbours that may be lost: next hops on link and others, and gateways.
fn neighbours() -> Vec<IpAddr> {
    let on_link =
        |text: &str| LinkLocal::new(text.parse().unwrap(), IfIndex(1)).unwrap().embedded();
    ["192.0.2.1", "192.0.2.9", "192.0.2.10", "192.0.2.12", "198.51.100.1", "2001:db8::1"]
        .map(address)
        .into_iter()
        .chain(["fe80::1", "fe80::9", "fe80::10"].map(on_link))
        .collect()
}

#[derive(Clone, Debug)]
enum Operation {
    Announce {
        peer: usize,
        prefix: usize,
        path_id: u32,
        next_hop: usize,
        attributes: Box<PathAttributes>,
    },
    Withdraw {
        peer: usize,
        prefix: usize,
        path_id: u32,
    },
    PeerDown {
        peer: usize,
    },
    /// The peer is taken out of the configuration and put back.
    Replace {
        peer: usize,
    },
    MarkStale {
        peer: usize,
        family: Family,
    },
    SweepStale {
        peer: usize,
        family: Family,
    },
    WithdrawFamily {
        peer: usize,
        family: Family,
    },
    Import {
        peer: usize,
        policy: usize,
    },
    Originate(BTreeSet<usize>),
    Underlay(BTreeSet<usize>),
    /// What BFD has lost.
    Lose(BTreeSet<usize>),
    Flush,
}

fn underlay_routes() -> Vec<UnderlayRoute> {
    vec![
        on_link("192.0.2.0/24", 1),
        on_link("2001:db8::/64", 1),
        on_link("fe80::/64", 1),
        via("0.0.0.0/0", "192.0.2.9", 1, 5),
        via("::/0", "fe80::9", 1, 5),
        via("198.51.100.0/24", "192.0.2.10", 1, 10),
        via("198.51.100.0/24", "192.0.2.11", 1, 10),
        via("203.0.112.0/22", "192.0.2.12", 1, 3),
        via("2001:db8:9::/64", "fe80::10", 1, 10),
    ]
}

fn attributes() -> impl Strategy<Value = PathAttributes> {
    let asns = vec(select(&[65001_u32, 65002, 65003, LOCAL_AS][..]), 0..3);
    let local_pref = select(&[None, None, Some(100), Some(200)][..]);
    let med = select(&[None, Some(0), Some(1), Some(2)][..]);
    (asns, local_pref, med, select(&[Origin::Igp, Origin::Igp, Origin::Egp][..])).prop_map(
        |(asns, local_pref, med, origin)| PathAttributes {
            origin,
            as_path: AsPath::sequence(asns.into_iter().map(Asn::new)),
            med,
            local_pref,
            ..PathAttributes::default()
        },
    )
}

fn operation() -> impl Strategy<Value = Operation> {
    let peer = || 0..PEERS.len();
    let prefix = || 0..PREFIXES.len();
    let family = || select(&Family::ALL[..]);
    let path_id = || select(&[0, 0, 0, 1, 7][..]);
    prop_oneof![
        20 => (peer(), prefix(), path_id(), 0..20_usize, attributes()).prop_map(
            |(peer, prefix, path_id, next_hop, attributes)| Operation::Announce {
                peer, prefix, path_id, next_hop, attributes: Box::new(attributes)
            }
        ),
        5 => (peer(), prefix(), path_id())
            .prop_map(|(peer, prefix, path_id)| Operation::Withdraw { peer, prefix, path_id }),
        1 => peer().prop_map(|peer| Operation::PeerDown { peer }),
        1 => peer().prop_map(|peer| Operation::Replace { peer }),
        1 => (peer(), family()).prop_map(|(peer, family)| Operation::MarkStale { peer, family }),
        1 => (peer(), family()).prop_map(|(peer, family)| Operation::SweepStale { peer, family }),
        1 => (peer(), family())
            .prop_map(|(peer, family)| Operation::WithdrawFamily { peer, family }),
        2 => (peer(), 0..POLICIES).prop_map(|(peer, policy)| Operation::Import { peer, policy }),
        1 => proptest::collection::btree_set(prefix(), 0..3).prop_map(Operation::Originate),
        2 => proptest::collection::btree_set(0..underlay_routes().len(), 0..9)
            .prop_map(Operation::Underlay),
        2 => proptest::collection::btree_set(0..neighbours().len(), 0..4)
            .prop_map(Operation::Lose),
        6 => Just(Operation::Flush),
    ]
}

#[derive(Clone, Debug)]
struct ModelPath {
    attributes: PathAttributes,
    next_hop: IpAddr,
    stale: bool,
}

#[derive(Debug, Default)]
struct Model {
    /// By prefix, peer and the peer's path identifier.
    paths: BTreeMap<(Prefix, usize, u32), ModelPath>,
    import: [usize; PEERS.len()],
    own: BTreeSet<Prefix>,
    underlay: Vec<UnderlayRoute>,
    lost: BTreeSet<IpAddr>,
}

type Ways = (BTreeSet<NextHop>, u32);

/// Peer, path, metric and path identifier.
type One = (usize, ModelPath, u32, u32);

const POLICIES: usize = 5;

/// The policies that peers may have.
fn policy(which: usize) -> Policy {
    let rule = |matches, change, action| Rule { matches, change: Arc::new(change), action };
    let all = |change| rule(Matches::default(), change, Action::Accept);
    let within = |text| Matches {
        prefixes: vec![PrefixMatch::or_longer(prefix(text))].into(),
        ..Matches::default()
    };
    match which {
        0 => Policy::accept_all(),
        1 => Policy::new([Rule::new(within("10.0.0.0/8"), Action::Accept)]),
        2 => {
            let preferred = Change { local_pref: Some(300), ..Change::default() };
            let without_med = Change { med: Some(MedChange::Remove), ..Change::default() };
            let first = rule(within("198.51.100.0/24"), preferred, Action::Continue);
            Policy::new([first, all(without_med)])
        }
        3 => {
            let as_paths = vec![AsPathPattern::new("_65003_").unwrap()];
            let refused = Matches { as_paths, ..Matches::default() };
            let egp = Matches { origins: vec![Origin::Egp], ..Matches::default() };
            let mut marked = Change { prepend: Some((asn(65009), 2)), ..Change::default() };
            marked.communities.add.push(Community::new(65000, 1));
            Policy::new([
                Rule::new(refused, Action::Reject),
                rule(egp, marked, Action::Continue),
                all(Change::default()),
            ])
        }
        _ => {
            let ours = PrefixMatch::exact(prefix("192.0.2.254/32"));
            let refused = Matches { next_hops: vec![ours].into(), ..Matches::default() };
            let next_hop = Some(NextHopChange::Address(address("192.0.2.2")));
            let elsewhere = Change { next_hop, ..Change::default() };
            Policy::new([Rule::new(refused, Action::Reject), all(elsewhere)])
        }
    }
}

/// What a policy makes of a path, in other words.
fn applied(which: usize, of: Prefix, path: &ModelPath) -> Option<ModelPath> {
    let mut path = path.clone();
    let attributes = &mut path.attributes;
    match which {
        0 => {}
        1 if !prefix("10.0.0.0/8").covers(of) => return None,
        1 => {}
        2 => {
            if prefix("198.51.100.0/24").covers(of) {
                attributes.local_pref = Some(300);
            }
            attributes.med = None;
        }
        3 => {
            if attributes.as_path.contains(asn(65003)) {
                return None;
            }
            if attributes.origin == Origin::Egp {
                attributes.as_path = attributes.as_path.prepended(asn(65009), 2);
                attributes.communities.push(Community::new(65000, 1));
            }
        }
        _ => {
            if path.next_hop == address("192.0.2.254") {
                return None;
            }
            if of.family() == Family::V4 {
                path.next_hop = address("192.0.2.2");
            }
        }
    }
    Some(path)
}

impl Model {
    /// The path as it competes, if it does.
    fn accepted(&self, of: Prefix, from: usize, path: &ModelPath) -> Option<ModelPath> {
        let (_, number) = PEERS[from];
        let asns: Vec<_> =
            path.attributes.as_path.segments().iter().flat_map(|one| one.asns.clone()).collect();
        let external = number != LOCAL_AS;
        let is_good =
            !asns.contains(&asn(LOCAL_AS)) && (!external || asns.first() == Some(&asn(number)));
        if is_good { applied(self.import[from], of, path) } else { None }
    }

    /// Without those of the ways that are lost.
    fn direct(&self, address: IpAddr) -> (Option<Ways>, Option<Prefix>, bool) {
        if self.lost.contains(&address) {
            return (None, None, true);
        }
        let (ways, matched, is_final) = self.direct_or_lost(address);
        let ways = ways.and_then(|(mut ways, metric)| {
            ways.retain(|way| !self.is_lost(way));
            (!ways.is_empty()).then_some((ways, metric))
        });
        (ways, matched, is_final)
    }

    fn is_lost(&self, way: &NextHop) -> bool {
        let on_link = match way.address {
            IpAddr::V6(address) => LinkLocal::new(address, way.interface),
            IpAddr::V4(_) => None,
        };
        self.lost.contains(&on_link.map_or(way.address, LinkLocal::embedded))
    }

    /// Why a next hop leads nowhere, where it does.
    fn why_not(&self, address: IpAddr) -> Option<Reason> {
        if self.resolve(address).is_some() {
            return None;
        }
        let ours = config().addresses.contains(&address);
        let (ways, ..) = self.direct_or_lost(address);
        let over = |(ways, _): (BTreeSet<_>, u32)| ways.iter().any(|way| self.is_lost(way));
        let is_lost = !ours && (self.lost.contains(&address) || ways.is_some_and(over));
        Some(if is_lost { Reason::NextHopLost } else { Reason::NextHopUnreachable })
    }

    fn direct_or_lost(&self, address: IpAddr) -> (Option<Ways>, Option<Prefix>, bool) {
        if config().addresses.contains(&address) {
            return (None, None, true);
        }
        if let IpAddr::V6(v6) = address
            && v6.is_unicast_link_local()
        {
            let up = self.underlay.iter().any(|route| route.interface == IfIndex(1));
            let ways = (BTreeSet::from([NextHop { address, interface: IfIndex(1) }]), 0);
            return (up.then_some(ways), None, true);
        }
        let around = self.underlay.iter().filter(|route| route.prefix.contains(address));
        let Some(longest) = around.clone().map(|route| route.prefix.len()).max() else {
            return (None, None, false);
        };
        let longest: Vec<_> = around.filter(|route| route.prefix.len() == longest).collect();
        let metric = longest.iter().map(|route| route.metric).min().unwrap();
        let ways: BTreeSet<_> = longest
            .iter()
            .filter(|route| route.metric == metric)
            .map(|route| NextHop {
                address: route.gateway.unwrap_or(address),
                interface: route.interface,
            })
            .collect();
        let on_link = longest.iter().any(|route| route.metric == metric && route.gateway.is_none());
        (Some((ways, metric)), Some(longest[0].prefix), on_link)
    }

    fn resolve(&self, address: IpAddr) -> Option<Ways> {
        let (direct, matched, is_final) = self.direct(address);
        if is_final {
            return direct;
        }
        let mut longer: Vec<_> = self.prefixes().into_iter().collect();
        longer.retain(|one| {
            one.contains(address) && matched.is_none_or(|matched| one.len() > matched.len())
        });
        longer.sort_by_key(|one| std::cmp::Reverse(one.len()));
        for over in longer {
            if self.own.contains(&over) {
                return None;
            }
            if let Some((_, path)) = self.ranked(over, |hop| self.direct(hop).0).first()
                && path.next_hop != address
            {
                return self.direct(path.next_hop).0;
            }
        }
        direct
    }

    fn prefixes(&self) -> BTreeSet<Prefix> {
        self.paths.keys().map(|(prefix, ..)| *prefix).chain(self.own.iter().copied()).collect()
    }

    /// The paths that are equal to the best, best first: each is held against every other.
    fn ranked(&self, of: Prefix, ways: impl Fn(IpAddr) -> Option<Ways>) -> Vec<(usize, ModelPath)> {
        let mut left = self.usable(of, ways);
        let steps: [fn(&One, &One) -> Ordering; 6] = [
            |a, b| {
                let pref = |one: &One| one.1.attributes.local_pref.unwrap_or(100);
                pref(b).cmp(&pref(a))
            },
            |a, b| a.1.attributes.as_path.route_len().cmp(&b.1.attributes.as_path.route_len()),
            |a, b| a.1.attributes.origin.cmp(&b.1.attributes.origin),
            |a, b| {
                let neighbor = |one: &One| one.1.attributes.as_path.neighbor_as();
                let med = |one: &One| one.1.attributes.med.unwrap_or(0);
                if neighbor(a) == neighbor(b) { med(a).cmp(&med(b)) } else { Ordering::Equal }
            },
            |a, b| {
                let internal = |one: &One| PEERS[one.0].1 == LOCAL_AS;
                internal(a).cmp(&internal(b))
            },
            |a, b| a.2.cmp(&b.2),
        ];
        for step in steps {
            let before = left.clone();
            left.retain(|one| before.iter().all(|other| step(one, other) != Ordering::Greater));
        }
        left.sort_by_key(|(from, _, _, path_id)| {
            let from = peer(PEERS[*from].0, PEERS[*from].1);
            (from.router_id, from.address, *path_id)
        });
        left.into_iter().map(|(from, path, ..)| (from, path)).collect()
    }

    /// The accepted paths of a prefix that lead somewhere, with the metric and the path identifier.
    fn usable(&self, of: Prefix, ways: impl Fn(IpAddr) -> Option<Ways>) -> Vec<One> {
        self.paths
            .iter()
            .filter(|((prefix, ..), _)| *prefix == of)
            .filter_map(|((_, from, id), path)| {
                let path = self.accepted(of, *from, path)?;
                let metric = ways(path.next_hop)?.1;
                Some((*from, path, metric, *id))
            })
            .collect()
    }

    fn route(&self, of: Prefix) -> Option<Route> {
        if self.own.contains(&of) {
            return None;
        }
        let equal = self.ranked(of, |hop| self.resolve(hop));
        let (from, _) = equal.first()?;
        let mut all = BTreeSet::new();
        for (_, path) in &equal {
            let (ways, _) = self.resolve(path.next_hop)?;
            let more: BTreeSet<_> = all.union(&ways).copied().collect();
            if more.len() <= MAX_MULTIPATH {
                all = more;
            }
        }
        let internal = PEERS[*from].1 == LOCAL_AS;
        let source = if internal { RouteSource::Ibgp } else { RouteSource::Ebgp };
        Some(Route { next_hops: all.into_iter().collect(), source })
    }

    /// Who tells the best path; `None` for ourselves.
    fn best(&self, of: Prefix) -> Option<Option<usize>> {
        if self.own.contains(&of) {
            return Some(None);
        }
        self.ranked(of, |hop| self.resolve(hop)).first().map(|(from, _)| Some(*from))
    }
}

/// Both tables, and what readers of the changes have been told so far.
struct Pair {
    rib: Rib,
    model: Model,
    ids: Vec<PeerId>,
    fib: BTreeMap<Prefix, Route>,
    told: BTreeMap<Prefix, (crate::BestPath, Vec<crate::BestPath>)>,
}

impl Pair {
    fn new() -> Self {
        let mut rib = Rib::new(config());
        rib.set_additional_paths(Some(100));
        let ids = PEERS.iter().map(|(address, number)| rib.add_peer(peer(address, *number)));
        let ids = ids.collect();
        let model = Model::default();
        Self { rib, model, ids, fib: BTreeMap::new(), told: BTreeMap::new() }
    }

    fn apply(&mut self, operation: &Operation) {
        let Self { rib, model, ids, .. } = self;
        match operation {
            Operation::Announce { peer, prefix: of, path_id, next_hop: to, attributes } => {
                let of = prefix(PREFIXES[*of]);
                let hops = if of.family() == Family::V4 { NEXT_HOPS_V4 } else { NEXT_HOPS_V6 };
                let next_hop = address(hops[to % hops.len()]);
                let nlri = Nlri { prefix: of, path_id: *path_id };
                let set = (&**attributes).into();
                rib.announce(ids[*peer], &set, next_hop.into(), &[nlri]).unwrap();
                let attributes = PathAttributes::clone(attributes);
                let path = ModelPath { attributes, next_hop, stale: false };
                model.paths.insert((of, *peer, *path_id), path);
            }
            Operation::Withdraw { peer, prefix: of, path_id } => {
                let of = prefix(PREFIXES[*of]);
                rib.withdraw(ids[*peer], &[Nlri { prefix: of, path_id: *path_id }]);
                model.paths.remove(&(of, *peer, *path_id));
            }
            Operation::PeerDown { peer } => {
                rib.peer_down(ids[*peer]);
                model.paths.retain(|(_, from, _), _| from != peer);
            }
            Operation::Replace { peer: i } => {
                rib.remove_peer(ids[*i]);
                ids[*i] = rib.add_peer(peer(PEERS[*i].0, PEERS[*i].1));
                model.paths.retain(|(_, from, _), _| from != i);
                model.import[*i] = 0;
            }
            Operation::MarkStale { peer, family } => {
                rib.mark_stale(ids[*peer], *family);
                model.paths.retain(|(of, from, _), path| {
                    let concerned = from == peer && of.family() == *family;
                    let again = concerned && path.stale;
                    path.stale |= concerned;
                    !again
                });
            }
            Operation::SweepStale { peer, family } => {
                rib.sweep_stale(ids[*peer], *family);
                model.paths.retain(|(of, from, _), path| {
                    !(from == peer && of.family() == *family && path.stale)
                });
            }
            Operation::WithdrawFamily { peer, family } => {
                rib.withdraw_family(ids[*peer], *family);
                model.paths.retain(|(of, from, _), _| from != peer || of.family() != *family);
            }
            Operation::Import { peer, policy: which } => {
                rib.set_import_policy(ids[*peer], policy(*which));
                model.import[*peer] = *which;
            }
            Operation::Originate(which) => {
                model.own = which.iter().map(|i| prefix(PREFIXES[*i])).collect();
                let source = OriginSource::Static;
                let all: Vec<_> =
                    model.own.iter().map(|&prefix| Origination { prefix, source }).collect();
                rib.set_originations(&all);
            }
            Operation::Underlay(which) => {
                let all = underlay_routes();
                model.underlay = which.iter().map(|i| all[*i]).collect();
                rib.set_underlay(model.underlay.clone().into());
            }
            Operation::Lose(which) => {
                let all = neighbours();
                model.lost = which.iter().map(|i| all[*i]).collect();
                rib.set_lost(model.lost.clone());
            }
            Operation::Flush => self.flush(),
        }
    }

    fn flush(&mut self) {
        let changes = self.rib.settle();
        for update in changes.fib {
            let old = match update.route.clone() {
                Some(route) => self.fib.insert(update.prefix, route),
                None => self.fib.remove(&update.prefix),
            };
            assert_ne!(old, update.route, "told what was known of {}", update.prefix);
        }
        for change in changes.best {
            let prefix = change.prefix;
            assert!(change.new.is_some() || change.new_additional.is_empty(), "{prefix}");
            let new = change.new.map(|best| (best, change.new_additional));
            let old = match new.clone() {
                Some(told) => self.told.insert(prefix, told),
                None => self.told.remove(&prefix),
            };
            let before = change.old.map(|best| (best, change.old_additional));
            assert_eq!(old, before, "what was told of {prefix} is another");
            assert_ne!(old, new, "told what was known of {prefix}");
        }
        self.check();
    }

    /// A path stands in the table as import has made it, and what came in beside it.
    fn check_view(&self, view: &PathView<'_>) {
        let Some(peer) = view.source.peer() else { return };
        let from = self.ids.iter().position(|id| *id == peer).unwrap();
        let came = &self.model.paths[&(view.prefix, from, view.path_id)];
        let effective = self.model.accepted(view.prefix, from, came);
        assert_eq!(view.reason.is_rejected(), effective.is_none(), "{view:?}");
        let next_hop = view.next_hop.unwrap();
        let effective = effective.as_ref().unwrap_or(came);
        assert_eq!(*view.attributes, effective.attributes);
        assert_eq!(next_hop.address(), effective.next_hop);
        let (attributes, next_hop) = view.received.unwrap_or((view.attributes, next_hop));
        assert_eq!(*attributes, came.attributes);
        assert_eq!(next_hop.address(), came.next_hop);
    }

    fn check(&self) {
        let Self { rib, model, .. } = self;
        for text in PREFIXES {
            let of = prefix(text);
            assert_eq!(self.fib.get(&of), model.route(of).as_ref(), "route of {of}");
            assert_eq!(rib.route(of), self.fib.get(&of), "route of {of}");
            let teller = |path: &crate::BestPath| match path.source {
                crate::PathSource::Local(_) => None,
                crate::PathSource::Peer { peer, .. } => {
                    Some(self.ids.iter().position(|id| *id == peer).unwrap())
                }
            };
            let told = self.told.get(&of);
            assert_eq!(told.map(|(best, _)| teller(best)), model.best(of), "best of {of}");
            if let Some((best, additional)) = told {
                let usable = model.usable(of, |hop| model.resolve(hop));
                let own = model.own.contains(&of).then_some(None);
                let mut usable: Vec<_> =
                    usable.iter().map(|(from, ..)| Some(*from)).chain(own).collect();
                let all = || std::iter::once(best).chain(additional);
                let mut known: Vec<_> = all().map(teller).collect();
                usable.sort_unstable();
                known.sort_unstable();
                assert_eq!(known, usable, "told of {of}");
                let ids: BTreeSet<_> = all().map(|path| path.path_id).collect();
                assert!(ids.len() == known.len() && !ids.contains(&0), "{ids:?}");
            }
            let views = rib.paths_of(of);
            let best = views.iter().filter(|view| view.reason == Reason::Best).count();
            assert_eq!(best, usize::from(model.best(of).is_some()), "{of}");
            assert!(views.iter().all(|view| view.reason != Reason::Undecided), "{of}");
            for view in views {
                let unusable = Some(view.reason).filter(|reason| {
                    matches!(reason, Reason::NextHopUnreachable | Reason::NextHopLost)
                });
                let why_not = view.next_hop.and_then(|hop| model.why_not(hop.address()));
                let why_not = why_not.filter(|_| !view.reason.is_rejected());
                assert_eq!(unusable, why_not, "{view:?}");
                self.check_view(&view);
            }
        }
        let paths = model.paths.len() + model.own.len();
        assert_eq!(rib.counts().paths, paths);
        assert_eq!(rib.counts().routes, self.fib.len());
        assert_eq!(rib.counts().prefixes, model.prefixes().len());
        for (i, &id) in self.ids.iter().enumerate() {
            let of_peer = model.paths.iter().filter(|((_, from, _), _)| *from == i);
            let counts = rib.peer_counts(id);
            assert_eq!(counts.received as usize, of_peer.clone().count());
            assert_eq!(
                counts.stale as usize,
                of_peer.clone().filter(|(_, path)| path.stale).count()
            );
            let accepted = of_peer
                .filter(|((of, from, _), path)| model.accepted(*of, *from, path).is_some())
                .count();
            assert_eq!(counts.accepted as usize, accepted);
            assert_eq!(rib.adj_rib_in(id).count(), counts.received as usize);
        }
    }
}

proptest! {
    // PROPTEST_CASES in the environment asks for more.
    #![proptest_config(ProptestConfig::with_cases(ProptestConfig::default().cases.max(512)))]

    #[test]
    fn the_table_does_what_the_model_does(operations in vec(operation(), 1..60)) {
        let mut pair = Pair::new();
        pair.apply(&Operation::Underlay((0..underlay_routes().len()).collect()));
        for operation in &operations {
            pair.apply(operation);
        }
        pair.flush();
        // And all of it goes again, leaving nothing behind.
        for i in 0..PEERS.len() {
            pair.apply(&Operation::PeerDown { peer: i });
        }
        pair.apply(&Operation::Originate(BTreeSet::new()));
        pair.flush();
        prop_assert_eq!(pair.rib.counts().next_hops, 0);
        prop_assert!(pair.fib.is_empty() && pair.told.is_empty());
    }
}
