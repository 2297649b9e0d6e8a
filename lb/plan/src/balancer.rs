use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use ebpf_abi::{Address, BackendValue, ServiceKey, ServiceValue};

use crate::{BackendKey, Changes, Conflict, Contents, Desired, Frontend, Operation, arena::Arena};

mod service_ids;
mod work;

use service_ids::ServiceIds;
use work::Work;

/// How long a table or backend that no service names is left alone: a program that had read the
/// service's value before it changed has ended long since.
const GRACE: Duration = Duration::from_secs(1);

/// Why something desired is not in the maps.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    #[error("map {map} is full at {limit} entries")]
    Full { map: &'static str, limit: u32 },
    #[error(transparent)]
    Conflict(#[from] Conflict),
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// To be applied in this order. At every point between, each frontend leads to backends of its
    /// old or its new list, all of which are entered.
    pub operations: Vec<Operation>,
    /// Each once.
    pub problems: Vec<Problem>,
}

/// Knows what the maps hold, and how to bring them to what is desired.
///
/// It takes every operation of a plan as done. When one fails, it is to be thrown away and another
/// made from the maps, no sooner than [`Balancer::grace`] later.
#[derive(Clone, Debug)]
pub struct Balancer {
    held: Contents,
    arena: Arena,
    /// Whether tables that were adopted lie over each other, or beyond the end.
    overlaps: bool,
    ids: BTreeMap<BackendKey, u32>,
    next_id: u32,
    /// The ids of a table, sorted, to its offset.
    built: HashMap<Arc<[u32]>, u32>,
    /// Tables that an earlier process left, and nobody has compared yet with what they should be.
    unproven: BTreeSet<u32>,
    /// How many services name each table, and how many such tables each backend.
    named_tables: BTreeMap<u32, u32>,
    named_backends: BTreeMap<u32, u32>,
    services: ServiceIds,
    /// Whether everything that is desired has been planned for once.
    planned: bool,
    unmet: Unmet,
    /// What may have come into or out of use since the last plan.
    touched_tables: BTreeSet<u32>,
    touched_backends: BTreeSet<u32>,
    /// No longer named, to be forgotten at this time.
    retired_tables: BTreeMap<u32, Duration>,
    retired_backends: BTreeMap<u32, Duration>,
}

/// What found no room, or less than it should have: tried again with every plan.
#[derive(Clone, Debug, Default)]
struct Unmet {
    services: BTreeSet<ServiceKey>,
    backends: BTreeSet<BackendKey>,
    addresses: BTreeSet<Address>,
}

impl Balancer {
    /// Adopts what the maps hold.
    pub fn adopt(contents: Contents) -> Self {
        // In the order of their ids; of two with one address the first has it.
        let mut ids: Vec<(BackendKey, u32)> =
            contents.backends.iter().map(|(id, value)| (key_of(value), *id)).collect();
        ids.sort_by_key(|(key, _)| *key);
        ids.dedup_by_key(|(key, _)| *key);
        let beyond = contents.backends.keys().next_back().map_or(1, |last| last.wrapping_add(1));
        let mut built: HashMap<Arc<[u32]>, u32> = HashMap::new();
        for (offset, table) in &contents.tables {
            let best = built.entry(table.ids.clone()).or_insert(*offset);
            if contents.tables[best].length < table.length {
                *best = *offset;
            }
        }
        let (arena, overlaps) = survey(&contents);
        let mut balancer = Self {
            arena,
            overlaps,
            next_id: contents.next_backend.max(beyond),
            ids: ids.into_iter().collect(),
            built,
            unproven: contents.tables.keys().copied().collect(),
            named_tables: BTreeMap::new(),
            named_backends: BTreeMap::new(),
            services: ServiceIds::adopt(&contents.services),
            planned: false,
            unmet: Unmet::default(),
            touched_tables: BTreeSet::new(),
            touched_backends: BTreeSet::new(),
            retired_tables: BTreeMap::new(),
            retired_backends: BTreeMap::new(),
            held: contents,
        };
        let named: Vec<ServiceValue> = balancer.held.services.values().copied().collect();
        named.iter().for_each(|value| balancer.name_table(value));
        balancer
    }

    pub const fn grace() -> Duration {
        GRACE
    }

    /// When [`Balancer::plan`] should be called although nothing has changed: something no longer
    /// used can be taken away.
    pub fn poll_timeout(&self) -> Option<Duration> {
        self.retired_tables.values().chain(self.retired_backends.values()).min().copied()
    }

    /// The operations that lead to `desired`; `now` is any monotonic clock.
    pub fn plan(&mut self, desired: &Desired, now: Duration) -> Plan {
        let mut operations = Vec::new();
        let problems = self.plan_all(desired, now, &mut |operation| operations.push(operation));
        Plan { operations, problems }
    }

    /// The same, each operation handed on as soon as it is known: tables are large, and none has to
    /// wait for another. The problems of it.
    pub fn plan_all(
        &mut self,
        desired: &Desired,
        now: Duration,
        apply: &mut dyn FnMut(Operation),
    ) -> Vec<Problem> {
        self.planned = true;
        self.services.settle(desired, &self.held.services);
        self.touched_tables.extend(self.held.tables.keys());
        let mut work = Work::new(self, now, apply);
        work.expire(desired);
        let held = &work.balancer.held;
        let services = held.services.keys().copied().collect();
        work.delete_services(desired, services);
        let held = &work.balancer.held;
        let addresses = held.addresses.keys().copied().collect();
        work.delete_addresses(desired, addresses);
        work.enter_backends(desired.backends.iter().filter(|(_, need)| need.takes_flows()));
        work.put_services(&desired.frontends);
        work.put_addresses(&desired.addresses);
        let all: BTreeSet<u32> = work.balancer.held.backends.keys().copied().collect();
        work.balancer.touched_backends = all;
        work.finish(desired)
    }

    /// The same where `changes` is all that is desired otherwise than in the plan before.
    pub fn plan_changes(
        &mut self,
        desired: &Desired,
        changes: &Changes,
        now: Duration,
        apply: &mut dyn FnMut(Operation),
    ) -> Vec<Problem> {
        if !self.planned {
            return self.plan_all(desired, now, apply);
        }
        let frontends: BTreeSet<ServiceKey> =
            changes.frontends.union(&self.unmet.services).copied().collect();
        let backends: BTreeSet<BackendKey> =
            changes.backends.union(&self.unmet.backends).copied().collect();
        let addresses: BTreeSet<Address> =
            changes.addresses.union(&self.unmet.addresses).copied().collect();
        self.touched_backends.extend(backends.iter().filter_map(|key| self.ids.get(key)));
        let mut work = Work::new(self, now, apply);
        work.expire(desired);
        work.delete_services(desired, frontends.iter().copied().collect());
        work.delete_addresses(desired, addresses.iter().copied().collect());
        let needs = backends.iter().filter_map(|key| desired.backends.get_key_value(key));
        work.enter_backends(needs.filter(|(_, need)| need.takes_flows()));
        work.put_services(frontends.iter().filter_map(|key| desired.frontends.get_key_value(key)));
        work.put_addresses(addresses.iter().filter_map(|key| desired.addresses.get_key_value(key)));
        work.finish(desired)
    }

    /// The operations that lead some of the frontends to their backends; another plan is to follow,
    /// for all that can wait. What is taken out of use is not told to the programs yet.
    pub fn plan_frontends(
        &mut self,
        desired: &Desired,
        frontends: &BTreeSet<ServiceKey>,
        now: Duration,
    ) -> Vec<Operation> {
        let mut operations = Vec::new();
        let mut apply = |operation| operations.push(operation);
        if !self.planned {
            self.services.settle(desired, &self.held.services);
        }
        let mut work = Work::new(self, now, &mut apply);
        let frontends: Vec<(&ServiceKey, &Frontend)> =
            frontends.iter().filter_map(|key| desired.frontends.get_key_value(key)).collect();
        let backends: BTreeSet<&BackendKey> =
            frontends.iter().flat_map(|(_, frontend)| frontend.backends.iter()).collect();
        let needs = backends.into_iter().filter_map(|key| desired.backends.get_key_value(key));
        work.enter_backends(needs);
        work.put_services(frontends);
        operations
    }

    /// The id under which a backend is entered.
    pub fn backend_id(&self, key: &BackendKey) -> Option<u32> {
        self.ids.get(key).copied()
    }

    /// Whether the maps hold the frontend as it is desired.
    pub fn is_programmed(&self, key: &ServiceKey, frontend: &Frontend) -> bool {
        let Some(value) = self.held.services.get(key) else { return false };
        let mut set = self.list(&frontend.backends);
        set.sort_unstable();
        let table = match value.length {
            0 => set.is_empty(),
            _ => self.built.get(&set[..]) == Some(&value.offset),
        };
        table && set.len() == frontend.backends.len() && value.flags == frontend.flags
    }

    /// Whether the maps, read anew, hold what they should by what was planned. Only meaningful
    /// while nothing waits to be taken away.
    pub fn agrees_with(&self, contents: &Contents) -> bool {
        self.held == *contents
    }

    /// Whether the maps, as they stand, send new flows to one of the addresses.
    pub fn sends_flows_to(&self, addresses: &BTreeSet<IpAddr>) -> bool {
        addresses.iter().any(|address| {
            let range = BackendKey::new(*address, 0)..=BackendKey::new(*address, u16::MAX);
            self.ids.range(range).any(|(_, id)| self.named_backends.contains_key(id))
        })
    }

    /// Frontends and backends that the maps hold.
    pub fn sizes(&self) -> (usize, usize) {
        (self.held.services.len(), self.held.backends.len())
    }

    fn list(&self, backends: &[BackendKey]) -> Vec<u32> {
        backends.iter().filter_map(|key| self.backend_id(key)).collect()
    }

    /// Counts that a service names its table.
    fn name_table(&mut self, value: &ServiceValue) {
        if value.length == 0 {
            return;
        }
        let services = self.named_tables.entry(value.offset).or_default();
        *services += 1;
        if *services > 1 {
            return;
        }
        self.touched_tables.insert(value.offset);
        let table = self.held.tables.get(&value.offset);
        for id in table.into_iter().flat_map(|table| table.ids.iter()) {
            *self.named_backends.entry(*id).or_default() += 1;
            self.touched_backends.insert(*id);
        }
    }

    fn unname_table(&mut self, value: &ServiceValue) {
        let Some(services) = self.named_tables.get_mut(&value.offset) else { return };
        if value.length == 0 {
            return;
        }
        *services -= 1;
        if *services > 0 {
            return;
        }
        self.named_tables.remove(&value.offset);
        self.touched_tables.insert(value.offset);
        let table = self.held.tables.get(&value.offset);
        for id in table.into_iter().flat_map(|table| table.ids.iter()) {
            if let Some(tables) = self.named_backends.get_mut(id) {
                *tables -= 1;
                if *tables == 0 {
                    self.named_backends.remove(id);
                }
            }
            self.touched_backends.insert(*id);
        }
    }
}

fn key_of(value: &BackendValue) -> BackendKey {
    SocketAddr::new(IpAddr::from(value.address), u16::from_be(value.port_be))
}

/// The places that no table has, and whether tables lie over each other or beyond the end.
fn survey(contents: &Contents) -> (Arena, bool) {
    let mut arena = Arena::new(contents.limits.places);
    let mut overlaps = false;
    for (offset, table) in &contents.tables {
        overlaps |= !arena.reserve(*offset, table.length);
    }
    (arena, overlaps)
}
