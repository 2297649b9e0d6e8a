//! What every speaker must know, worked out anew and in the plainest way.
//!
//! Nothing of `bgp-rib` is used: paths are lists of numbers, and each prefix is told round and round
//! until nobody learns anything more.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::Ipv4Addr,
};

use viaduct_net::Prefix;

use crate::{NodeId, Topology, address_v4};

/// A path as a speaker holds it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ModelPath {
    /// `None`: of its own.
    pub from: Option<NodeId>,
    pub as_path: Vec<u32>,
    pub local_pref: Option<u32>,
    pub originator: Option<Ipv4Addr>,
    pub clusters: Vec<Ipv4Addr>,
    pub next_hop: NodeId,
}

/// The state of one prefix everywhere.
#[derive(Clone, Debug)]
pub struct Model<'a> {
    topology: &'a Topology,
    /// Who originates the prefix.
    origins: BTreeSet<NodeId>,
    best: Vec<Option<ModelPath>>,
}

impl<'a> Model<'a> {
    /// `origins`: who originates the prefix in question.
    pub fn solve(topology: &'a Topology, origins: BTreeSet<NodeId>) -> Self {
        let best = vec![None; topology.nodes.len()];
        let mut model = Self { topology, origins, best };
        // Longer than any way through the network.
        for _ in 0..2 * topology.nodes.len() + 8 {
            let mut changed = false;
            for node in 0..topology.nodes.len() {
                let best = model.equal(node).into_iter().next();
                changed |= best != model.best[node];
                model.best[node] = best;
            }
            if !changed {
                return model;
            }
        }
        panic!("{} has no stable state", topology.name);
    }

    pub fn best(&self, node: NodeId) -> Option<&ModelPath> {
        self.best[node].as_ref()
    }

    /// Where packets go from a node; empty where it has no route or the prefix is its own.
    pub fn next_hops(&self, node: NodeId) -> BTreeSet<NodeId> {
        self.equal(node)
            .iter()
            .filter(|path| path.from.is_some())
            .map(|path| path.next_hop)
            .collect()
    }

    /// What `from` tells `to` (RFC 4271 §9.2, RFC 4456 §6), whatever `to` makes of it.
    pub fn told(&self, from: NodeId, to: NodeId) -> Option<ModelPath> {
        let best = self.best[from].as_ref()?;
        let topology = self.topology;
        let here = &topology.nodes[from];
        if best.from == Some(to) {
            return None;
        }
        let is_client = |of: NodeId| here.sessions[&of].client;
        let from_inside = best.from.is_some_and(|source| topology.is_internal(from, source));
        if !topology.is_internal(from, to) {
            return Some(ModelPath {
                from: Some(from),
                as_path: [&[here.asn], &best.as_path[..]].concat(),
                local_pref: None,
                originator: None,
                clusters: Vec::new(),
                next_hop: from,
            });
        }
        let mut path = ModelPath { from: Some(from), ..best.clone() };
        path.local_pref = path.local_pref.or(Some(100));
        match best.from.filter(|_| from_inside) {
            Some(source) => {
                if !is_client(source) && !is_client(to) {
                    return None;
                }
                path.originator = path.originator.or(Some(address_v4(source)));
                path.clusters.insert(0, here.cluster_id);
            }
            None => path.next_hop = from,
        }
        Some(path)
    }

    /// The candidates that only tie-breaks tell apart, best first (RFC 4271 §9.1.2.2, RFC 4456 §9).
    fn equal(&self, node: NodeId) -> Vec<ModelPath> {
        if self.origins.contains(&node) {
            let (originator, local_pref) = (None, None);
            let (as_path, clusters) = (Vec::new(), Vec::new());
            let next_hop = node;
            return vec![ModelPath {
                from: None,
                as_path,
                local_pref,
                originator,
                clusters,
                next_hop,
            }];
        }
        let sessions = self.topology.nodes[node].sessions.keys();
        let told = sessions.filter_map(|&other| self.told(other, node));
        let mut left: Vec<_> = told.filter(|path| self.is_usable(node, path)).collect();
        let is_internal = |path: &ModelPath| {
            path.from.is_some_and(|other| self.topology.is_internal(node, other))
        };
        keep_lowest(&mut left, |path| u32::MAX - path.local_pref.unwrap_or(100));
        keep_lowest(&mut left, |path| path.as_path.len());
        keep_lowest(&mut left, is_internal);
        left.sort_by_key(|path| {
            let teller = path.from.unwrap_or(node);
            let router_id = path.originator.unwrap_or(address_v4(teller));
            (router_id, path.clusters.len(), self.topology.peer_address(node, teller))
        });
        left
    }

    fn is_usable(&self, node: NodeId, path: &ModelPath) -> bool {
        let here = &self.topology.nodes[node];
        !path.as_path.contains(&here.asn)
            && path.originator != Some(address_v4(node))
            && !(self.topology.is_reflector(node) && path.clusters.contains(&here.cluster_id))
            && path.next_hop != node
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
