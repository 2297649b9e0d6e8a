use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    sync::Arc,
};

use ebpf_abi::{ADDRESS_NODE, Address, ServiceKey};

use crate::{
    BackendKey, Conflict, Endpoint, Frontend, Masks, Node, Service, ServiceName, Share, Snapshot,
    expand::{Expanded, is_local},
};

/// How a backend is to be entered: how many services ask for it, and how.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct BackendNeed {
    services: u32,
    local: u32,
    takes_flows: u32,
}

impl BackendNeed {
    pub(crate) const fn is_local(&self) -> bool {
        self.local > 0
    }

    /// In some frontend's list: flows may begin.
    pub(crate) const fn takes_flows(&self) -> bool {
        self.takes_flows > 0
    }
}

/// What is desired otherwise than before.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    pub(crate) frontends: BTreeSet<ServiceKey>,
    pub(crate) addresses: BTreeSet<Address>,
    pub(crate) backends: BTreeSet<BackendKey>,
}

/// What the maps should hold, without ids and places.
///
/// It follows the services: of one that has not changed nothing is worked out again.
#[derive(Clone, Debug, Default)]
pub struct Desired {
    pub frontends: BTreeMap<ServiceKey, Frontend>,
    /// Flags `ADDRESS_*`.
    pub addresses: BTreeMap<Address, u32>,
    /// VIPs that this node can serve and so may announce: with `externalTrafficPolicy: Cluster`
    /// there is a backend somewhere, with `Local` a ready one on this node. One that only
    /// terminates is no reason to draw traffic here from nodes that have a ready one.
    pub vips: BTreeSet<IpAddr>,
    pub conflicts: Vec<Conflict>,
    /// Those that new flows would go to if their nodes were not masked.
    pub masked: BTreeSet<BackendKey>,
    /// Services of which so many backends are on masked nodes that they get flows all the same.
    pub ignored: BTreeMap<ServiceName, Share>,
    pub(crate) backends: BTreeMap<BackendKey, BackendNeed>,
    node: Node,
    masked_nodes: BTreeSet<String>,
    parts: BTreeMap<ServiceName, Part>,
    /// Frontends that several services want, with all of those.
    contested: BTreeMap<ServiceKey, BTreeSet<ServiceName>>,
    lost: BTreeMap<ServiceName, Vec<Conflict>>,
    /// By how many services each flag is wanted, and so on.
    address_flags: BTreeMap<(Address, u32), u32>,
    vip_services: BTreeMap<IpAddr, u32>,
    masked_services: BTreeMap<BackendKey, u32>,
    changes: Changes,
}

/// What one service has brought in.
#[derive(Clone, Debug)]
struct Part {
    service: Arc<Service>,
    /// Sorted, those that another has among them.
    keys: Box<[ServiceKey]>,
    addresses: Box<[(Address, u32)]>,
    vips: Box<[IpAddr]>,
    masked: Box<[BackendKey]>,
}

/// What a service needs of one backend.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Use {
    local: bool,
    takes_flows: bool,
}

/// Works out the frontends of every service for one node.
pub fn expand(snapshot: &Snapshot, node: &Node, masks: &Masks) -> Desired {
    let mut desired = Desired::default();
    desired.follow(snapshot, node, masks);
    desired
}

impl Desired {
    /// Takes in what has changed of the services, told by who is not the same [`Arc`] any more, and
    /// of the masks. What comes out is what [`expand`] gives.
    pub fn follow(&mut self, snapshot: &Snapshot, node: &Node, masks: &Masks) {
        if self.node != *node {
            let mut changes = std::mem::take(&mut self.changes);
            changes.frontends.extend(self.frontends.keys());
            changes.addresses.extend(self.addresses.keys());
            changes.backends.extend(self.backends.keys());
            *self = Self { node: node.clone(), changes, ..Self::default() };
            for address in &node.addresses {
                self.count_address((*address).into(), ADDRESS_NODE, true);
            }
        }
        let mut names = self.replaced(snapshot);
        let masked_nodes: BTreeSet<String> = masks.nodes().map(str::to_owned).collect();
        let changed: BTreeSet<&String> =
            masked_nodes.symmetric_difference(&self.masked_nodes).collect();
        if !changed.is_empty() {
            names.extend(services_on(snapshot, |there| changed.contains(there)));
        }
        self.masked_nodes = masked_nodes;
        self.update(names, snapshot, masks);
    }

    /// What has changed since this was asked the last time, for [`crate::Balancer::plan_changes`].
    pub fn take_changes(&mut self) -> Changes {
        std::mem::take(&mut self.changes)
    }

    /// Whether some service has an endpoint at one of the addresses, whatever its state.
    pub fn has_endpoint(&self, addresses: &BTreeSet<IpAddr>) -> bool {
        addresses.iter().any(|address| self.needs_at(*address).next().is_some())
    }

    /// Whether new flows are to go to one of the addresses.
    pub fn sends_flows_to(&self, addresses: &BTreeSet<IpAddr>) -> bool {
        addresses.iter().any(|address| self.needs_at(*address).any(BackendNeed::takes_flows))
    }

    fn needs_at(&self, address: IpAddr) -> impl Iterator<Item = &BackendNeed> {
        let range = BackendKey::new(address, 0)..=BackendKey::new(address, u16::MAX);
        self.backends.range(range).map(|(_, need)| need)
    }

    /// Takes in the masks of these nodes alone, as that cannot wait: where new flows go of the
    /// services that have backends there. Gives the frontends that it has changed, to be entered
    /// before all else is followed.
    pub fn hasten(
        &mut self,
        snapshot: &Snapshot,
        node: &Node,
        masks: &Masks,
        nodes: &BTreeSet<String>,
    ) -> BTreeSet<ServiceKey> {
        if self.node != *node {
            return BTreeSet::new();
        }
        let names = services_on(snapshot, |there| nodes.contains(there)).collect();
        let masked = nodes.iter().filter(|name| masks.mask(name).is_some());
        self.masked_nodes.extend(masked.cloned());
        let mut changed = self.update(names, snapshot, masks);
        changed.retain(|key| self.frontends.contains_key(key));
        changed
    }

    /// The services that are not those that were taken in. Both are in the order of their names.
    fn replaced(&self, snapshot: &Snapshot) -> BTreeSet<ServiceName> {
        let mut names = BTreeSet::new();
        let mut parts = self.parts.iter().peekable();
        for (name, service) in &snapshot.services {
            while let Some((gone, _)) = parts.next_if(|(other, _)| *other < name) {
                names.insert(gone.clone());
            }
            let known = parts.next_if(|(other, _)| *other == name);
            if !known.is_some_and(|(_, part)| Arc::ptr_eq(&part.service, service)) {
                names.insert(name.clone());
            }
        }
        names.extend(parts.map(|(gone, _)| gone.clone()));
        names
    }

    /// Works these services out anew. Gives the frontends that are not as they were.
    fn update(
        &mut self,
        names: BTreeSet<ServiceName>,
        snapshot: &Snapshot,
        masks: &Masks,
    ) -> BTreeSet<ServiceKey> {
        let expanded = self.expand(names, snapshot, masks);
        let mut before = BTreeMap::new();
        let mut uses = Vec::new();
        for name in expanded.keys() {
            uses.push(self.uses(name));
            self.withdraw(name, &mut before);
        }
        let mut changed = BTreeSet::new();
        let names: Vec<ServiceName> = expanded.keys().cloned().collect();
        for (name, entered) in expanded {
            let Some((service, entered)) = entered else { continue };
            // The first by name is the first here, as everyone who wants the same is among these.
            self.enter(name, service, entered, &mut changed);
        }
        for (name, old) in names.iter().zip(uses) {
            let new = self.uses(name);
            self.count_backends(&old, &new);
        }
        changed.extend(before.keys());
        changed.retain(|key| self.frontends.get(key) != before.get(key));
        self.conflicts = self.lost.values().flatten().cloned().collect();
        self.changes.frontends.extend(&changed);
        changed
    }

    /// What these services ask for now, and all that want what one of them wanted or wants: who has
    /// it may change.
    fn expand(
        &self,
        names: BTreeSet<ServiceName>,
        snapshot: &Snapshot,
        masks: &Masks,
    ) -> BTreeMap<ServiceName, Option<(Arc<Service>, Expanded)>> {
        let mut expanded = BTreeMap::new();
        let mut left: Vec<ServiceName> = names.into_iter().collect();
        while let Some(name) = left.pop() {
            if expanded.contains_key(&name) {
                continue;
            }
            let entry = snapshot
                .services
                .get(&name)
                .map(|service| (service.clone(), Expanded::new(&name, service, &self.node, masks)));
            let old = self.parts.get(&name).into_iter().flat_map(|part| part.keys.iter());
            let new = entry.iter().flat_map(|(_, new)| new.frontends.iter().map(|(key, _)| key));
            for key in old.chain(new) {
                left.extend(self.contested.get(key).into_iter().flatten().cloned());
                let held = self.frontends.get(key).filter(|held| held.service != name);
                left.extend(held.map(|held| held.service.clone()));
            }
            expanded.insert(name, entry);
        }
        expanded
    }

    /// Takes out what the service has brought in, but for its backends.
    fn withdraw(&mut self, name: &ServiceName, before: &mut BTreeMap<ServiceKey, Frontend>) {
        let Some(part) = self.parts.remove(name) else { return };
        for key in &part.keys {
            let is_its = self.frontends.get(key).is_some_and(|held| held.service == *name);
            if let Some(frontend) = is_its.then(|| self.frontends.remove(key)).flatten() {
                before.insert(*key, frontend);
            }
            if let Some(names) = self.contested.get_mut(key) {
                names.remove(name);
                if names.is_empty() {
                    self.contested.remove(key);
                }
            }
        }
        self.lost.remove(name);
        self.ignored.remove(name);
        for (address, flags) in &part.addresses {
            self.count_address(*address, *flags, false);
        }
        for vip in &part.vips {
            if count(&mut self.vip_services, *vip, false) == 0 {
                self.vips.remove(vip);
            }
        }
        for key in &part.masked {
            if count(&mut self.masked_services, *key, false) == 0 {
                self.masked.remove(key);
            }
        }
    }

    fn enter(
        &mut self,
        name: ServiceName,
        service: Arc<Service>,
        expanded: Expanded,
        entered: &mut BTreeSet<ServiceKey>,
    ) {
        let Expanded { frontends, addresses, vips, masked, ignored } = expanded;
        let mut keys = BTreeSet::new();
        for (key, frontend) in frontends {
            keys.insert(key);
            let Some(held) = self.frontends.get(&key) else {
                self.frontends.insert(key, frontend);
                entered.insert(key);
                continue;
            };
            let winner = held.service.clone();
            self.contested.entry(key).or_default().extend([winner.clone(), name.clone()]);
            let conflict = Conflict { key, winner, loser: name.clone() };
            self.lost.entry(name.clone()).or_default().push(conflict);
        }
        for (address, flags) in &addresses {
            self.count_address(*address, *flags, true);
        }
        for vip in &vips {
            count(&mut self.vip_services, *vip, true);
            self.vips.insert(*vip);
        }
        for key in &masked {
            count(&mut self.masked_services, *key, true);
            self.masked.insert(*key);
        }
        self.ignored.extend(ignored.map(|share| (name.clone(), share)));
        let part = Part {
            service,
            keys: keys.into_iter().collect(),
            addresses: addresses.into_iter().collect(),
            vips: vips.into_iter().collect(),
            masked: masked.into_iter().collect(),
        };
        self.parts.insert(name, part);
    }

    fn count_address(&mut self, address: Address, flags: u32, more: bool) {
        count(&mut self.address_flags, (address, flags), more);
        let all = self.address_flags.range((address, 0)..=(address, u32::MAX));
        let flags = all.fold(0, |all, ((_, flags), _)| all | flags);
        if flags == 0 {
            self.addresses.remove(&address);
        } else {
            self.addresses.insert(address, flags);
        }
        self.changes.addresses.insert(address);
    }

    /// The backends of a service as it was taken in, by the frontends that it has. Every endpoint
    /// is entered, ready or not: its flows go on while it is there. Sorted.
    fn uses(&self, name: &ServiceName) -> Vec<(BackendKey, Use)> {
        let Some(part) = self.parts.get(name) else { return Vec::new() };
        let has_port =
            |port_name: &str| part.service.ports.iter().any(|port| *port.name == *port_name);
        let entered = part.service.endpoints.iter().flat_map(|endpoint| {
            let local = is_local(endpoint, &self.node);
            let ports = endpoint.ports.iter().filter(|(name, _)| has_port(name));
            ports.map(move |(_, port)| {
                (BackendKey::new(endpoint.address, *port), Use { local, takes_flows: false })
            })
        });
        let mut uses: Vec<(BackendKey, Use)> = entered.collect();
        uses.sort_by_key(|(key, _)| *key);
        uses.dedup_by(|(key, one), (same, kept)| {
            kept.local |= key == same && one.local;
            key == same
        });
        let mut lists: Vec<&Arc<[BackendKey]>> = Vec::new();
        for frontend in part.keys.iter().filter_map(|key| self.frontends.get(key)) {
            // Most frontends of a service share a list.
            let is_new = !lists.iter().any(|list| Arc::ptr_eq(list, &frontend.backends));
            if frontend.service == *name && is_new {
                lists.push(&frontend.backends);
            }
        }
        for key in lists.into_iter().flat_map(|list| list.iter()) {
            if let Ok(index) = uses.binary_search_by_key(key, |(key, _)| *key) {
                uses[index].1.takes_flows = true;
            }
        }
        uses
    }

    /// Of what a service needed and needs only the difference is counted.
    fn count_backends(&mut self, old: &[(BackendKey, Use)], new: &[(BackendKey, Use)]) {
        let find = |all: &[(BackendKey, Use)], key: &BackendKey| {
            let index = all.binary_search_by_key(key, |(key, _)| *key).ok()?;
            Some(all[index].1)
        };
        for (key, one) in old.iter().filter(|(key, one)| find(new, key) != Some(*one)) {
            let Some(need) = self.backends.get_mut(key) else { continue };
            need.services -= 1;
            need.local -= u32::from(one.local);
            need.takes_flows -= u32::from(one.takes_flows);
            if need.services == 0 {
                self.backends.remove(key);
            }
            self.changes.backends.insert(*key);
        }
        for (key, one) in new.iter().filter(|(key, one)| find(old, key) != Some(*one)) {
            let need = self.backends.entry(*key).or_default();
            need.services += 1;
            need.local += u32::from(one.local);
            need.takes_flows += u32::from(one.takes_flows);
            self.changes.backends.insert(*key);
        }
    }
}

/// The services that have an endpoint on such a node.
fn services_on(
    snapshot: &Snapshot,
    is_there: impl Fn(&String) -> bool,
) -> impl Iterator<Item = ServiceName> {
    let is_there = move |endpoint: &Endpoint| endpoint.node.as_ref().is_some_and(&is_there);
    let concerned = snapshot
        .services
        .iter()
        .filter(move |(_, service)| service.endpoints.iter().any(&is_there));
    concerned.map(|(name, _)| name.clone())
}

/// Counts one more or less; how many there are then.
fn count<K: Ord>(counts: &mut BTreeMap<K, u32>, key: K, more: bool) -> u32 {
    let count = counts.entry(key);
    match count {
        std::collections::btree_map::Entry::Occupied(mut held) => {
            let number = held.get_mut();
            *number = if more { *number + 1 } else { *number - 1 };
            let left = *number;
            if left == 0 {
                held.remove();
            }
            left
        }
        std::collections::btree_map::Entry::Vacant(vacant) => {
            if more {
                vacant.insert(1);
            }
            u32::from(more)
        }
    }
}
