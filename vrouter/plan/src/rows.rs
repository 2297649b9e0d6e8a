use std::collections::{BTreeMap, BTreeSet};

use viaduct_net::{NextHop, Prefix};

use crate::{
    Desired, RouteKey, Snapshot, Via,
    targets::{Aim, Targets},
};

/// A route of ours for an operator's eyes: what is wanted beside what the kernel has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouteRow {
    pub prefix: Prefix,
    /// Those wanted where the route is wanted, else those of the kernel. Empty for a pod, and for
    /// a blackhole.
    pub next_hops: Vec<NextHop>,
    /// The names of the interfaces it leads over, sorted; empty for a blackhole.
    pub interfaces: Vec<String>,
    pub wanted: bool,
    /// Whether the kernel has it, and where it is wanted, as it is wanted.
    pub installed: bool,
}

/// Every route that is wanted or there, sorted by prefix.
pub fn rows(desired: &Desired, observed: &Snapshot) -> Vec<RouteRow> {
    let targets = Targets::new(desired, observed);
    let mut rows = BTreeMap::new();
    for key in observed.routes.keys() {
        rows.insert(key.prefix, undesired(key, observed));
    }
    for (prefix, next_hops) in &desired.bgp {
        let interfaces = next_hops.iter().filter_map(|hop| name(hop, observed)).collect();
        rows.insert(*prefix, wanted(*prefix, next_hops.to_vec(), interfaces));
    }
    for prefix in &desired.blocks {
        rows.insert(*prefix, wanted(*prefix, Vec::new(), BTreeSet::new()));
    }
    for (prefix, interface) in &desired.pods {
        rows.insert(*prefix, wanted(*prefix, Vec::new(), BTreeSet::from([interface.clone()])));
    }
    for (prefix, aim) in &targets.routes {
        if let Some(row) = rows.get_mut(prefix) {
            row.installed = is_installed(*prefix, *aim, &targets, observed);
        }
    }
    rows.into_values().collect()
}

fn is_installed(prefix: Prefix, aim: Aim, targets: &Targets, observed: &Snapshot) -> bool {
    match (aim, observed.routes.get(&RouteKey::ours(prefix))) {
        (Aim::Set(set), Some(Via::Nexthop(id))) => {
            observed.resolve(*id).as_ref() == targets.sets.get(set.0)
        }
        (Aim::Interface(wanted), Some(Via::Interface(interface))) => wanted == *interface,
        (Aim::Blackhole, Some(Via::Blackhole)) => true,
        (Aim::Set(_) | Aim::Interface(_) | Aim::Blackhole, _) => false,
    }
}

fn wanted(prefix: Prefix, next_hops: Vec<NextHop>, interfaces: BTreeSet<String>) -> RouteRow {
    let interfaces = interfaces.into_iter().collect();
    RouteRow { prefix, next_hops, interfaces, wanted: true, installed: false }
}

fn undesired(key: &RouteKey, observed: &Snapshot) -> RouteRow {
    let (next_hops, interfaces) = match observed.routes.get(key) {
        Some(Via::Nexthop(id)) => {
            let hops = observed.resolve(*id).unwrap_or_default();
            let interfaces = hops.iter().filter_map(|hop| name(hop, observed)).collect();
            (hops.into_iter().collect(), interfaces)
        }
        Some(Via::Interface(index)) => {
            let name = observed.links.get(index).map(|link| link.name.clone());
            (Vec::new(), name.into_iter().collect())
        }
        Some(Via::Blackhole | Via::Unknown) | None => (Vec::new(), BTreeSet::new()),
    };
    RouteRow { wanted: false, installed: true, ..wanted(key.prefix, next_hops, interfaces) }
}

fn name(hop: &NextHop, observed: &Snapshot) -> Option<String> {
    observed.links.get(&hop.interface).map(|link| link.name.clone())
}
