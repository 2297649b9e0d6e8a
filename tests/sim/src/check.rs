//! What holds once a network has been left alone.

use std::collections::{BTreeMap, BTreeSet};

use bgp_rib::{PathView, Reason};
use bgp_speaker::State;
use bgp_wire::BgpNextHop;
use viaduct_net::{Prefix, RouteSource};

use crate::{Model, ModelPath, Network, NodeId, address::node_of, model};

/// Every session stands, every RIB is the one that [`Model`] has worked out, whatever one was told is
/// what another tells, and every packet gets where it is to go. `why` names the run in a failure.
pub fn check(network: &Network, why: &str) {
    sessions_stand(network, why);
    let origins = model::origins(network.nodes.iter().map(|node| &node.originations));
    let tables: Vec<_> = (0..network.nodes.len()).map(|node| paths_of(network, node)).collect();
    let mut count = vec![0; tables.len()];
    for (&prefix, at) in &origins {
        let model = Model::solve(&network.topology, at.clone());
        for node in 0..tables.len() {
            let why = format!("{why}: {prefix} at {node}");
            let paths = tables[node].get(&prefix).map(Vec::as_slice).unwrap_or_default();
            count[node] += paths.len();
            check_paths(network, &model, node, paths, &why);
            check_route(network, &model, prefix, node, &why);
        }
        packets_arrive(network, prefix, at, why);
    }
    for (node, table) in tables.iter().enumerate() {
        let all: usize = table.values().map(Vec::len).sum();
        assert_eq!(all, count[node], "{why}: {node} has paths that nobody originates");
        let strays = network.nodes[node].fib.keys().filter(|prefix| !origins.contains_key(prefix));
        assert_eq!(strays.count(), 0, "{why}: {node} has routes that nobody originates");
    }
}

/// The same for one AS behind reflectors where each prefix has one origin: what everybody forwards by
/// needs no model there, so it is quick for a network of any size.
pub fn check_reflection(network: &Network, why: &str) {
    sessions_stand(network, why);
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

/// Both ends of every session are up, nothing waits, and nothing is kept from earlier.
pub(crate) fn sessions_stand(network: &Network, why: &str) {
    for (node, place) in network.nodes.iter().enumerate() {
        assert!(place.synced, "{why}: {node} is not in sync");
        let speaker = place.speaker.as_ref().unwrap();
        let statuses = speaker.peer_statuses(network.instant());
        assert_eq!(statuses.len(), network.topology.nodes[node].sessions.len(), "{why}: {node}");
        for status in statuses {
            let other = node_of(status.address);
            assert_eq!(status.state, State::Established, "{why}: {node} to {other}: {status:?}");
            assert_eq!(status.prefixes_stale, 0, "{why}: {node} from {other}");
            assert_eq!(status.unwritten, 0, "{why}: {node} to {other}");
            let there = network.nodes[other].speaker.as_ref().unwrap();
            let mine = network.topology.peer_address(other, node);
            let theirs = there.peer_statuses(network.instant());
            let received = theirs.iter().find(|status| status.address == mine).unwrap();
            assert_eq!(
                status.prefixes_sent, received.prefixes_received,
                "{why}: {node} to {other}"
            );
        }
    }
}

struct Held {
    path: ModelPath,
    is_best: bool,
    reason: Reason,
}

fn paths_of(network: &Network, node: NodeId) -> BTreeMap<Prefix, Vec<Held>> {
    let speaker = network.nodes[node].speaker.as_ref().unwrap();
    let mut table: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for view in speaker.paths() {
        table.entry(view.prefix).or_default().push(held(node, &view));
    }
    table
}

fn held(node: NodeId, view: &PathView<'_>) -> Held {
    let attributes = view.attributes.open();
    let next_hop = view.next_hop.as_ref().map_or(node, |hop: &BgpNextHop| node_of(hop.address()));
    let asns = attributes.as_path.segments().iter().flat_map(|segment| segment.asns.iter());
    Held {
        path: ModelPath {
            from: view.peer.map(|peer| node_of(peer.address)),
            as_path: asns.map(|asn| asn.to_u32()).collect(),
            local_pref: attributes.local_pref,
            originator: attributes.originator_id.map(Into::into),
            clusters: attributes.cluster_list,
            next_hop,
        },
        is_best: view.reason == Reason::Best,
        reason: view.reason,
    }
}

/// Adj-RIB-In is what the others tell, and Loc-RIB is what the model has chosen.
fn check_paths(network: &Network, model: &Model<'_>, node: NodeId, paths: &[Held], why: &str) {
    let received: BTreeSet<_> =
        paths.iter().map(|held| &held.path).filter(|path| path.from.is_some()).cloned().collect();
    let others = network.topology.nodes[node].sessions.keys();
    let told: BTreeSet<_> = others.filter_map(|&other| model.told(other, node)).collect();
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
        let internal = network.topology.is_internal(node, from);
        let source = if internal { RouteSource::Ibgp } else { RouteSource::Ebgp };
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
