//! What every speaker must know, worked out anew and in the plainest way.
//!
//! Nothing of `bgp-rib` is used: paths are lists of numbers, and each prefix is told round and round
//! until nobody learns anything more.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::Ipv4Addr,
};

use bgp_wire::{Community, PeerKind, Role};
use viaduct_net::Prefix;

use crate::{NodeId, Topology, address_v4};

/// A path as a speaker holds it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ModelPath {
    /// `None`: of its own.
    pub from: Option<NodeId>,
    /// Members of the confederation that it has passed.
    pub confederation: Vec<u32>,
    pub as_path: Vec<u32>,
    pub local_pref: Option<u32>,
    pub originator: Option<Ipv4Addr>,
    pub clusters: Vec<Ipv4Addr>,
    pub communities: BTreeSet<Community>,
    /// From which AS on it goes to customers only (RFC 9234).
    pub only_to_customer: Option<u32>,
    pub next_hop: NodeId,
}

impl ModelPath {
    const fn own(node: NodeId) -> Self {
        Self {
            from: None,
            confederation: Vec::new(),
            as_path: Vec::new(),
            local_pref: None,
            originator: None,
            clusters: Vec::new(),
            communities: BTreeSet::new(),
            only_to_customer: None,
            next_hop: node,
        }
    }
}

/// By which identifier (RFC 7911) a speaker knows each of its paths of a prefix, by node: the last
/// tie-break, and the choice of those who tell.
pub type PathIds = BTreeMap<NodeId, BTreeMap<ModelPath, u32>>;

/// The paths that a speaker may use.
pub type Known = BTreeMap<Prefix, Vec<ModelPath>>;

/// A speaker that is away.
#[derive(Clone, Debug)]
pub struct Away {
    pub node: NodeId,
    /// From before it went.
    pub known: Known,
}

/// The state of one prefix everywhere.
#[derive(Clone, Debug)]
pub struct Model<'a> {
    topology: &'a Topology,
    prefix: Prefix,
    /// Who originates the prefix.
    origins: BTreeSet<NodeId>,
    ids: PathIds,
    away: Option<NodeId>,
    /// What each speaker may use, in its words: the best first, and behind it those as good.
    usable: Vec<Vec<ModelPath>>,
    /// How many of them those are.
    equal: Vec<usize>,
}

impl<'a> Model<'a> {
    /// `origins`: who originates the prefix.
    pub fn solve(
        topology: &'a Topology,
        prefix: Prefix,
        origins: BTreeSet<NodeId>,
        ids: PathIds,
        away: Option<&Away>,
    ) -> Self {
        let count = topology.nodes.len();
        let (mut usable, equal) = (vec![Vec::new(); count], vec![0; count]);
        if let Some(away) = away {
            usable[away.node] = away.known.get(&prefix).cloned().unwrap_or_default();
        }
        let away = away.map(|away| away.node);
        let mut model = Self { topology, prefix, origins, ids, away, usable, equal };
        // Longer than any way through the network.
        for _ in 0..2 * count + 8 {
            let mut changed = false;
            for node in (0..count).filter(|node| Some(*node) != away) {
                let (usable, equal) = model.decide(node);
                changed |= usable != model.usable[node];
                (model.usable[node], model.equal[node]) = (usable, equal);
            }
            if !changed {
                return model;
            }
        }
        panic!("{} has no stable state", topology.name);
    }

    pub fn best(&self, node: NodeId) -> Option<&ModelPath> {
        self.usable[node].first()
    }

    pub fn usable(&self, node: NodeId) -> &[ModelPath] {
        &self.usable[node]
    }

    /// Where packets go from a node; empty where it has no route or the prefix is its own.
    pub fn next_hops(&self, node: NodeId) -> BTreeSet<NodeId> {
        let equal = &self.usable[node][..self.equal[node]];
        equal.iter().filter(|path| path.from.is_some()).map(|path| path.next_hop).collect()
    }

    /// What `from` tells `to`, whatever `to` makes of it: its best path, or all it may use (RFC 7911).
    pub fn told(&self, from: NodeId, to: NodeId) -> Vec<ModelPath> {
        let several = self.topology.nodes[from].sessions[&to].add_path;
        if self.away == Some(from) && !self.topology.remembers(from, to) {
            return Vec::new();
        }
        let count = if several { usize::MAX } else { 1 };
        self.usable[from]
            .iter()
            .take(count)
            .filter_map(|path| self.export(path, from, to))
            .collect()
    }

    /// A path of `from` as `to` is told it (RFC 4271 §9.2, RFC 4456 §6, RFC 5065 §4).
    fn export(&self, path: &ModelPath, from: NodeId, to: NodeId) -> Option<ModelPath> {
        let topology = self.topology;
        let here = &topology.nodes[from];
        if path.from == Some(to) {
            return None;
        }
        let source = path.from.map(|source| topology.kind(from, source));
        let target = topology.kind(from, to);
        let is_client = |of: NodeId| here.sessions[&of].client;
        let reflected = path.from.filter(|_| source == Some(PeerKind::Internal));
        let reflected = reflected.filter(|_| target == PeerKind::Internal);
        if reflected.is_some_and(|source| !is_client(source) && !is_client(to)) {
            return None;
        }
        if target == PeerKind::External && path.communities.contains(&Community::NO_EXPORT) {
            return None;
        }
        if path.communities.contains(&Community::LLGR_STALE) && !topology.remembers(from, to) {
            return None;
        }
        let role = here.sessions[&to].role;
        let is_up = matches!(role, Some(Role::Customer | Role::Peer));
        if is_up && path.only_to_customer.is_some() {
            return None;
        }
        let filter = here.sessions[&to].export;
        let ours = topology.asn_towards(from, to);
        let mut path = filter.apply(self.prefix, ours, path.clone())?;
        path.from = Some(from);
        if target == PeerKind::External {
            path.as_path.insert(0, ours);
            // Down and sideways whoever tells it marks it, if nobody has before.
            let is_down = matches!(role, Some(Role::Provider | Role::Peer));
            return Some(ModelPath {
                only_to_customer: path.only_to_customer.or(is_down.then_some(ours)),
                confederation: Vec::new(),
                local_pref: None,
                originator: None,
                clusters: Vec::new(),
                next_hop: from,
                ..path
            });
        }
        path.local_pref = path.local_pref.or(Some(100));
        if target == PeerKind::Confederation {
            path.confederation.insert(0, here.asn);
        }
        if let Some(source) = reflected {
            path.originator = path.originator.or(Some(address_v4(source)));
            path.clusters.insert(0, here.cluster_id);
        }
        if matches!(source, None | Some(PeerKind::External)) {
            path.next_hop = from;
        }
        Some(path)
    }

    /// What a speaker may use, the last resort of RFC 9494 included, and how many of the first only tie-breaks tell apart (RFC 4271
    /// §9.1.2.2, RFC 4456 §9, RFC 5065 §5.3). The rest is in no order.
    fn decide(&self, node: NodeId) -> (Vec<ModelPath>, usize) {
        let own = self.origins.contains(&node).then(|| ModelPath::own(node));
        let plan = &self.topology.nodes[node];
        let told = plan.sessions.iter().flat_map(|(&other, session)| {
            let told = self.told(other, node).into_iter();
            let usable = told.filter(move |path| self.is_usable(node, path));
            let taken = usable.filter_map(|path| session.import.apply(self.prefix, plan.asn, path));
            taken.map(move |mut path| {
                if self.away == Some(other) {
                    path.communities.insert(Community::LLGR_STALE);
                }
                path
            })
        });
        let all: Vec<_> = own.into_iter().chain(told).collect();
        let kind = |path: &ModelPath| path.from.map(|other| self.topology.kind(node, other));
        let mut left = all.clone();
        keep_lowest(&mut left, |path| path.communities.contains(&Community::LLGR_STALE));
        keep_lowest(&mut left, |path| path.from.is_some());
        keep_lowest(&mut left, |path| u32::MAX - path.local_pref.unwrap_or(100));
        keep_lowest(&mut left, |path| path.as_path.len());
        keep_lowest(&mut left, |path| kind(path) != Some(PeerKind::External));
        left.sort_by_key(|path| {
            let teller = path.from.unwrap_or(node);
            let router_id = path.originator.unwrap_or(address_v4(teller));
            let address = self.topology.peer_address(node, teller);
            let id = self.ids.get(&node).and_then(|ids| ids.get(path)).copied();
            (router_id, path.clusters.len(), address, id, path.clone())
        });
        let equal = left.len();
        let mut rest = all;
        for path in &left {
            let at = rest.iter().position(|other| other == path).unwrap();
            rest.swap_remove(at);
        }
        rest.sort_unstable();
        left.extend(rest);
        (left, equal)
    }

    fn is_usable(&self, node: NodeId, path: &ModelPath) -> bool {
        let here = &self.topology.nodes[node];
        let passed = |asn: &u32| path.as_path.contains(asn) || path.confederation.contains(asn);
        let is_loop = passed(&here.asn)
            || self.topology.confederation_of(node).is_some_and(|id| passed(&id))
            || self.leaks(node, path)
            || path.originator == Some(address_v4(node))
            || self.topology.is_reflector(node) && path.clusters.contains(&here.cluster_id);
        !is_loop && path.next_hop != node
    }

    /// RFC 9234 §5: what goes to customers only comes from one, or past a peer.
    fn leaks(&self, node: NodeId, path: &ModelPath) -> bool {
        let Some(from) = path.from else { return false };
        match self.topology.nodes[node].sessions[&from].role {
            Some(Role::Provider) => path.only_to_customer.is_some(),
            Some(Role::Peer) => {
                let theirs = self.topology.asn_towards(from, node);
                path.only_to_customer.is_some_and(|asn| asn != theirs)
            }
            _ => false,
        }
    }
}

fn keep_lowest<K: Ord>(paths: &mut Vec<ModelPath>, key: impl Fn(&ModelPath) -> K) {
    if let Some(lowest) = paths.iter().map(&key).min() {
        paths.retain(|path| key(path) == lowest);
    }
}

/// Who originates each prefix.
pub(crate) fn origins<'a>(
    originations: impl Iterator<Item = &'a BTreeSet<Prefix>>,
) -> BTreeMap<Prefix, BTreeSet<NodeId>> {
    let mut origins: BTreeMap<Prefix, BTreeSet<NodeId>> = BTreeMap::new();
    for (node, prefixes) in originations.enumerate() {
        for &prefix in prefixes {
            origins.entry(prefix).or_default().insert(node);
        }
    }
    origins
}
