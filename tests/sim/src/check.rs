//! What holds once a network has been left alone.

use std::collections::{BTreeMap, BTreeSet};

use bgp_rib::{PathView, Reason};
use bgp_speaker::State;
use bgp_wire::{AttributeSet, BgpNextHop, Community, HEADER_LEN, PeerKind, SegmentKind};
use viaduct_net::{Prefix, RouteSource};

use crate::{Away, Known, Model, ModelPath, Network, NodeId, address::node_of, model};

/// Every session stands, every RIB is the one that [`Model`] has worked out, whatever one was told is
/// what another tells, and every packet gets where it is to go. `why` names the run in a failure. Gives
/// what each may use.
pub fn check(network: &Network, why: &str) -> Vec<Known> {
    let known = check_tables(network, None, why);
    for (prefix, at) in model::origins(network.nodes.iter().map(|node| &node.originations)) {
        packets_arrive(network, prefix, &at, why);
    }
    known
}

/// The same while one is away for longer than its restart time, and is kept for long (RFC 9494) where
/// both have said so. Where packets go is left out: whoever is away forwards as it did.
pub fn check_without(network: &Network, away: &Away, why: &str) {
    check_tables(network, Some(away), why);
}

fn check_tables(network: &Network, away: Option<&Away>, why: &str) -> Vec<Known> {
    let nodes = network.nodes.len();
    let there: Vec<_> =
        (0..nodes).filter(|node| away.is_none_or(|away| away.node != *node)).collect();
    there.iter().for_each(|&node| sessions_stand(network, node, &there, why));
    let origins = model::origins(network.nodes.iter().map(|node| &node.originations));
    let tables: BTreeMap<_, _> =
        there.iter().map(|&node| (node, paths_of(network, node))).collect();
    let (mut count, mut known) = (vec![0; nodes], vec![Known::new(); nodes]);
    for (&prefix, at) in &origins {
        let ids = |(&node, table): (&NodeId, &Table)| (node, path_ids(table.get(&prefix)));
        let ids = tables.iter().map(ids).collect();
        let model = Model::solve(&network.topology, prefix, at.clone(), ids, away);
        for (&node, table) in &tables {
            let why = format!("{why}: {prefix} at {node}");
            let paths = table.get(&prefix).map(Vec::as_slice).unwrap_or_default();
            count[node] += paths.len();
            check_paths(network, &model, node, paths, &why);
            check_route(network, &model, prefix, node, &why);
            known[node].insert(prefix, model.usable(node).to_vec());
        }
    }
    for (&node, table) in &tables {
        let all: usize = table.values().map(Vec::len).sum();
        assert_eq!(all, count[node], "{why}: {node} has paths that nobody originates");
        let strays = network.nodes[node].fib.keys().filter(|prefix| !origins.contains_key(prefix));
        assert_eq!(strays.count(), 0, "{why}: {node} has routes that nobody originates");
    }
    known
}

/// The same for one AS behind reflectors where each prefix has one origin: what everybody forwards by
/// needs no model there, so it is quick for a network of any size.
pub fn check_reflection(network: &Network, why: &str) {
    let all: Vec<_> = (0..network.nodes.len()).collect();
    all.iter().for_each(|&node| sessions_stand(network, node, &all, why));
    let origins = model::origins(network.nodes.iter().map(|node| &node.originations));
    for (node, place) in network.nodes.iter().enumerate() {
        let routes: BTreeMap<_, BTreeSet<_>> = place
            .fib
            .iter()
            .map(|(prefix, route)| {
                (*prefix, route.next_hops.iter().map(|hop| node_of(hop.address)).collect())
            })
            .collect();
        let others = origins.iter().filter(|(_, at)| !at.contains(&node));
        let expected = others.map(|(prefix, at)| (*prefix, at.clone())).collect();
        assert_eq!(routes, expected, "{why}: routes of {node}");
    }
}

/// Both ends of every session with those who are there are up, nothing waits, and nothing is kept from
/// earlier.
fn sessions_stand(network: &Network, node: NodeId, there: &[NodeId], why: &str) {
    let place = &network.nodes[node];
    assert!(place.synced, "{why}: {node} is not in sync");
    let statuses = place.speaker.as_ref().unwrap().peer_statuses(network.instant());
    assert_eq!(statuses.len(), network.topology.nodes[node].sessions.len(), "{why}: {node}");
    for status in statuses {
        let other = node_of(status.address);
        if !there.contains(&other) {
            continue;
        }
        assert_eq!(status.state, State::Established, "{why}: {node} to {other}: {status:?}");
        assert_eq!(status.prefixes_stale, 0, "{why}: {node} from {other}");
        // A KEEPALIVE may be due at this very moment.
        assert!(status.unwritten <= HEADER_LEN, "{why}: {node} to {other}");
        let speaker = network.nodes[other].speaker.as_ref().unwrap();
        let mine = network.topology.peer_address(other, node);
        let theirs = speaker.peer_statuses(network.instant());
        let received = theirs.iter().find(|status| status.address == mine).unwrap();
        // Of several paths for a prefix each is counted where they come in.
        if !network.topology.nodes[node].sessions[&other].add_path {
            let (sent, received) = (status.prefixes_sent, received.prefixes_received);
            assert_eq!(sent, received, "{why}: {node} to {other}");
        }
    }
}

type Table = BTreeMap<Prefix, Vec<Held>>;

struct Held {
    /// As import has made it.
    path: ModelPath,
    came: ModelPath,
    path_id: u32,
    is_best: bool,
    reason: Reason,
}

fn paths_of(network: &Network, node: NodeId) -> Table {
    let speaker = network.nodes[node].speaker.as_ref().unwrap();
    let mut table = Table::new();
    for view in speaker.paths() {
        table.entry(view.prefix).or_default().push(held(node, &view));
    }
    table
}

fn held(node: NodeId, view: &PathView<'_>) -> Held {
    let from = view.peer.map(|peer| node_of(peer.address));
    let next_hop = view.next_hop.map_or(node, |hop: BgpNextHop| node_of(hop.address()));
    let path = model_path(from, view.attributes, next_hop);
    let came = view.received.map(|(set, hop)| model_path(from, set, node_of(hop.address())));
    let mut came = came.unwrap_or_else(|| path.clone());
    if view.stale {
        // Of our own doing.
        came.communities.remove(&Community::LLGR_STALE);
    }
    Held {
        came,
        path,
        path_id: view.path_id,
        is_best: view.reason == Reason::Best,
        reason: view.reason,
    }
}

fn model_path(from: Option<NodeId>, set: &AttributeSet, next_hop: NodeId) -> ModelPath {
    let attributes = set.open();
    let asns = |is_one: fn(SegmentKind) -> bool| {
        let segments = attributes.as_path.segments().iter();
        let those = segments.filter(move |segment| is_one(segment.kind));
        those.flat_map(|segment| segment.asns.iter().map(|asn| asn.to_u32())).collect()
    };
    ModelPath {
        from,
        confederation: asns(SegmentKind::is_confederation),
        as_path: asns(|kind| !kind.is_confederation()),
        local_pref: attributes.local_pref,
        originator: attributes.originator_id.map(Into::into),
        clusters: attributes.cluster_list.clone(),
        communities: attributes.communities.iter().copied().collect(),
        only_to_customer: attributes.only_to_customer.map(|asn| asn.to_u32()),
        next_hop,
    }
}

fn path_ids(paths: Option<&Vec<Held>>) -> BTreeMap<ModelPath, u32> {
    let mut ids = BTreeMap::new();
    for held in paths.into_iter().flatten() {
        let id = ids.entry(held.path.clone()).or_insert(held.path_id);
        *id = held.path_id.min(*id);
    }
    ids
}

/// Adj-RIB-In is what the others tell, and Loc-RIB is what the model has chosen.
fn check_paths(network: &Network, model: &Model<'_>, node: NodeId, paths: &[Held], why: &str) {
    let mut received: Vec<_> =
        paths.iter().map(|held| held.came.clone()).filter(|path| path.from.is_some()).collect();
    let others = network.topology.nodes[node].sessions.keys();
    let mut told: Vec<_> = others.flat_map(|&other| model.told(other, node)).collect();
    received.sort_unstable();
    told.sort_unstable();
    assert_eq!(received, told, "{why}: what was received is not what was told");
    assert!(paths.iter().all(|held| held.reason != Reason::Undecided), "{why}");
    let best: Vec<_> = paths.iter().filter(|held| held.is_best).map(|held| &held.path).collect();
    assert_eq!(best, Vec::from_iter(model.best(node)), "{why}: another best path");
}

fn check_route(network: &Network, model: &Model<'_>, prefix: Prefix, node: NodeId, why: &str) {
    let route = network.nodes[node].fib.get(&prefix);
    let hops: Option<BTreeSet<_>> =
        route.map(|route| route.next_hops.iter().map(|hop| node_of(hop.address)).collect());
    assert_eq!(hops.unwrap_or_default(), model.next_hops(node), "{why}: another route");
    if let (Some(route), Some(from)) = (route, model.best(node).and_then(|path| path.from)) {
        let source = match network.topology.kind(node, from) {
            PeerKind::Internal | PeerKind::Confederation => RouteSource::Ibgp,
            PeerKind::External => RouteSource::Ebgp,
        };
        assert_eq!(route.source, source, "{why}");
    }
}

/// From every node that has a route, over each of its next hops: no loop, and an end that is there.
fn packets_arrive(network: &Network, prefix: Prefix, origins: &BTreeSet<NodeId>, why: &str) {
    for start in 0..network.nodes.len() {
        let mut on_the_way = BTreeSet::from([start]);
        let mut front = BTreeSet::from([start]);
        for hops in 0.. {
            front.retain(|node| !origins.contains(node));
            if front.is_empty() {
                break;
            }
            assert!(hops <= network.nodes.len(), "{why}: a loop for {prefix} from {start}");
            let routes: Vec<_> =
                front.iter().map(|node| network.nodes[*node].fib.get(&prefix)).collect();
            if hops == 0 && routes == [None] {
                break;
            }
            let next = routes.into_iter().flat_map(|route| {
                let route = route.unwrap_or_else(|| panic!("{why}: {prefix} from {start} ends"));
                route.next_hops.iter().map(|hop| node_of(hop.address))
            });
            front = next.collect();
            on_the_way.extend(&front);
        }
        assert!(on_the_way.iter().all(|node| network.nodes[*node].is_alive()), "{why}: {prefix}");
    }
}
