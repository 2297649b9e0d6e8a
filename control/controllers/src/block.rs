//! Gives nodes their blocks of pod addresses.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    sync::Arc,
};

use k8s_openapi::api::core::v1::Node;
use serde_json::json;
use viaduct_api::v1alpha1::{API_VERSION, IPBlockSpec, IPPoolSpec};
use viaduct_net::{Family, Prefix};
use vrouter_ipam::{block_capacity, next_free_block};

use crate::{
    kinds::{Custom, Kind, Object},
    operation::{Note, Operation, Outcome, delete},
    pods, selector,
    world::World,
};

const COMPONENT: &str = "ip-block-controller";
/// A node with this share of its addresses in use gets another block.
const FULL_PERCENT: u64 = 80;
/// Blocks of one family for one node. Each is a route in every node of the cluster.
const BLOCKS_LIMIT: usize = 64;

/// All nodes at once, because a block is given to one of them only. Should two controllers ever
/// choose the same, they choose the same name, and the API takes one.
pub(crate) fn reconcile(world: &World) -> Outcome {
    let mut outcome = Outcome::default();
    let mut taken: BTreeSet<Prefix> =
        world.objects.ip_blocks.values().map(|block| block.spec.cidr).collect();
    let pods_on = pods_by_node(world);
    for (key, node) in &world.objects.nodes {
        if node.metadata.deletion_timestamp.is_some() {
            continue;
        }
        let pods = pods_on.get(key.name.as_str()).copied().unwrap_or_default();
        for family in Family::ALL {
            let mine: Vec<Prefix> = world
                .objects
                .ip_blocks
                .values()
                .filter(|b| b.spec.node == key.name && b.spec.cidr.family() == family)
                .map(|block| block.spec.cidr)
                .collect();
            if needs_another(&mine, pods) {
                give(world, node, family, &mut taken, &mut outcome);
            }
        }
    }
    reclaim(world, &mut outcome);
    outcome
}

/// Pods that have, or are about to get, an address of a block.
fn pods_by_node(world: &World) -> BTreeMap<&str, u64> {
    let mut count = BTreeMap::new();
    for pod in world.objects.pods.values() {
        if let (Some(node), true, false) =
            (pods::node_of(pod), pods::has_own_network(pod), pods::has_ended(pod))
        {
            *count.entry(node).or_default() += 1;
        }
    }
    count
}

fn needs_another(mine: &[Prefix], pods: u64) -> bool {
    let capacity: u64 = mine.iter().map(|block| u64::from(block_capacity(*block))).sum();
    mine.is_empty() || mine.len() < BLOCKS_LIMIT && pods * 100 >= capacity * FULL_PERCENT
}

fn give(
    world: &World,
    node: &Arc<Node>,
    family: Family,
    taken: &mut BTreeSet<Prefix>,
    outcome: &mut Outcome,
) {
    let mut failures = Vec::new();
    for (name, pool) in pools(world, node, family) {
        match next_free_block(pool.cidr, pool.block_len(), taken) {
            Ok(cidr) => {
                taken.insert(cidr);
                let node = node.metadata.name.clone().unwrap_or_default();
                outcome.push(create(IPBlockSpec { cidr, pool: name.clone(), node }));
                return;
            }
            Err(error) => failures.push(format!("IPPool {name}: {error}")),
        }
    }
    // Without a pool of the family the cluster does not have the family.
    if !failures.is_empty() {
        let object = Object::Node(node.clone());
        let why = failures.join("; ");
        outcome.notes.push(Note::warning(COMPONENT, &object, "NoFreeBlock", why));
    }
}

fn pools<'a>(
    world: &'a World,
    node: &'a Node,
    family: Family,
) -> impl Iterator<Item = (&'a String, &'a IPPoolSpec)> {
    let fits = move |pool: &Custom<IPPoolSpec>| {
        pool.spec.cidr.family() == family
            && !pool.spec.disabled
            && pool.metadata.deletion_timestamp.is_none()
            && selector::matches_all(&pool.spec.node_selector, node.metadata.labels.as_ref())
    };
    let all = world.objects.ip_pools.iter();
    all.filter(move |(_, pool)| fits(pool)).map(|(key, pool)| (&key.name, &pool.spec))
}

fn create(spec: IPBlockSpec) -> Operation {
    Operation::Create {
        kind: Kind::IPBlock,
        namespace: String::new(),
        object: json!({
            "apiVersion": API_VERSION,
            "kind": "IPBlock",
            "metadata": {"name": IPBlockSpec::name_of(spec.cidr)},
            "spec": spec,
        }),
    }
}

/// A block of a node that is gone is free once no pod has an address of it: until then someone may
/// still answer there.
fn reclaim(world: &World, outcome: &mut Outcome) {
    let nodes: BTreeSet<&str> = world.objects.nodes.keys().map(|key| key.name.as_str()).collect();
    let orphaned: Vec<_> = world
        .objects
        .ip_blocks
        .values()
        .filter(|b| {
            !nodes.contains(b.spec.node.as_str()) && b.metadata.deletion_timestamp.is_none()
        })
        .collect();
    if orphaned.is_empty() {
        return;
    }
    let in_use: BTreeSet<IpAddr> = world
        .objects
        .pods
        .values()
        .filter(|pod| !pods::has_ended(pod) && pods::has_own_network(pod))
        .flat_map(|pod| pods::addresses(pod))
        .collect();
    let waiting: BTreeSet<&str> = world
        .objects
        .pods
        .values()
        .filter(|pod| !pods::has_ended(pod))
        .filter_map(|pod| pods::node_of(pod))
        .collect();
    for block in orphaned {
        let used = in_use.range(block.spec.cidr.address()..).next();
        let used = used.is_some_and(|address| block.spec.cidr.contains(*address));
        if !used && !waiting.contains(block.spec.node.as_str()) {
            outcome.push(delete(&Object::IPBlock(block.clone())));
        }
    }
}

#[cfg(test)]
mod tests;
