use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use ebpf_abi::{
    BACKEND_DRAINING, BACKEND_LOCAL, BackendValue, ServiceKey, ServiceValue,
    map::{ADDRESSES, BACKENDS, MAGLEV, SERVICES},
};

use crate::{
    BackendKey, Conflict, Contents, Desired, Frontend, Operation, arena::Arena,
    expand::BackendNeed, maglev,
};

/// How long a table or backend that no service names is left alone: a program that had read the
/// service's value before it changed has ended long since.
const GRACE: Duration = Duration::from_secs(1);

/// Ids reserved at once, so that not every new backend costs another write.
const IDS_RESERVED: u32 = 1024;

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
    /// Ids of a list of backends, in the order of the list, to the offset of its table.
    built: HashMap<Arc<[u32]>, u32>,
    /// The distinct ids of each table, sorted.
    members: BTreeMap<u32, Arc<[u32]>>,
    /// The tables that an earlier process left, by what is in them.
    adopted: HashMap<Arc<[u32]>, u32>,
    /// No longer named, to be forgotten at this time.
    retired_tables: BTreeMap<u32, Duration>,
    retired_backends: BTreeMap<u32, Duration>,
}

impl Balancer {
    /// Adopts what the maps hold.
    pub fn adopt(contents: Contents) -> Self {
        let mut ids = BTreeMap::new();
        for (id, value) in &contents.backends {
            ids.entry(key_of(value)).or_insert(*id);
        }
        let beyond = contents.backends.keys().next_back().map_or(1, |last| last.wrapping_add(1));
        let adopted = contents.tables.iter().map(|(offset, ids)| (ids.clone(), *offset)).collect();
        let members = contents.tables.iter().map(|(offset, ids)| (*offset, distinct(ids)));
        let (arena, overlaps) = survey(&contents);
        Self {
            arena,
            overlaps,
            members: members.collect(),
            next_id: contents.next_backend.max(beyond),
            ids,
            built: HashMap::new(),
            adopted,
            retired_tables: BTreeMap::new(),
            retired_backends: BTreeMap::new(),
            held: contents,
        }
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
        let mut work = Work { plan: Plan::default(), now, balancer: self };
        work.expire(desired);
        work.delete_services(desired);
        work.enter_backends(desired.backends.iter().filter(|(_, need)| need.takes_flows));
        work.put_services(&desired.frontends);
        work.put_addresses(desired);
        let named = work.balancer.named_backends();
        work.drain_backends(desired, &named);
        work.retire(desired, &named);
        let mut plan = work.plan;
        plan.problems.extend(desired.conflicts.iter().cloned().map(Problem::Conflict));
        plan
    }

    /// The operations that lead some of the frontends to their backends; [`Balancer::plan`] is to
    /// follow, for all that can wait. What is taken out of use is not told to the programs yet.
    pub fn plan_frontends(
        &mut self,
        desired: &Desired,
        frontends: &BTreeSet<ServiceKey>,
        now: Duration,
    ) -> Vec<Operation> {
        let mut work = Work { plan: Plan::default(), now, balancer: self };
        let frontends: Vec<(&ServiceKey, &Frontend)> =
            frontends.iter().filter_map(|key| desired.frontends.get_key_value(key)).collect();
        let backends: BTreeSet<&BackendKey> =
            frontends.iter().flat_map(|(_, frontend)| frontend.backends.iter()).collect();
        let needs = backends.into_iter().filter_map(|key| desired.backends.get_key_value(key));
        work.enter_backends(needs);
        work.put_services(frontends.iter().copied());
        for (key, _) in frontends {
            work.keep(key);
        }
        work.plan.operations
    }

    /// The id under which a backend is entered.
    pub fn backend_id(&self, key: &BackendKey) -> Option<u32> {
        self.ids.get(key).copied()
    }

    /// Whether the maps hold the frontend as it is desired.
    pub fn is_programmed(&self, key: &ServiceKey, frontend: &Frontend) -> bool {
        let Some(value) = self.held.services.get(key) else { return false };
        let list = self.list(&frontend.backends);
        let table = match value.length {
            0 => list.is_empty(),
            _ => self.built.get(&list) == Some(&value.offset),
        };
        table && list.len() == frontend.backends.len() && value.flags == frontend.flags
    }

    /// Whether the maps, read anew, hold what they should by what was planned. Only meaningful
    /// while nothing waits to be taken away.
    pub fn agrees_with(&self, contents: &Contents) -> bool {
        self.held == *contents
    }

    /// The addresses that the maps, as they stand, send new flows to.
    pub fn flow_addresses(&self) -> BTreeSet<IpAddr> {
        let named = self.named_backends();
        let values = named.iter().filter_map(|id| self.held.backends.get(id));
        values.map(|value| key_of(value).ip()).collect()
    }

    /// Frontends and backends that the maps hold.
    pub fn sizes(&self) -> (usize, usize) {
        (self.held.services.len(), self.held.backends.len())
    }

    fn list(&self, backends: &[BackendKey]) -> Arc<[u32]> {
        backends.iter().filter_map(|key| self.backend_id(key)).collect()
    }

    fn named_tables(&self) -> BTreeSet<u32> {
        let tables = self.held.services.values().filter(|value| value.length > 0);
        tables.map(|value| value.offset).collect()
    }

    fn named_backends(&self) -> BTreeSet<u32> {
        let tables = self.named_tables();
        let ids = tables.iter().filter_map(|offset| self.members.get(offset));
        ids.flat_map(|ids| ids.iter().copied()).collect()
    }
}

fn key_of(value: &BackendValue) -> BackendKey {
    SocketAddr::new(IpAddr::from(value.address), u16::from_be(value.port_be))
}

/// One call of [`Balancer::plan`].
struct Work<'a> {
    balancer: &'a mut Balancer,
    plan: Plan,
    now: Duration,
}

impl Work<'_> {
    fn push(&mut self, operation: Operation) {
        self.balancer.held.apply(&operation);
        self.plan.operations.push(operation);
    }

    fn full(&mut self, map: &'static str, limit: u32) {
        let problem = Problem::Full { map, limit };
        if !self.plan.problems.contains(&problem) {
            self.plan.problems.push(problem);
        }
    }

    /// What the frontend leads to is not to be forgotten, whatever was meant for it.
    fn keep(&mut self, key: &ServiceKey) {
        let held = self.balancer.held.services.get(key).filter(|value| value.length > 0);
        let Some(value) = held else { return };
        self.balancer.retired_tables.remove(&value.offset);
        for id in self.balancer.members.get(&value.offset).into_iter().flat_map(|ids| ids.iter()) {
            self.balancer.retired_backends.remove(id);
        }
    }

    /// Takes away what was retired long enough ago and is not wanted again.
    fn expire(&mut self, desired: &Desired) {
        let now = self.now;
        let over = |deadlines: &BTreeMap<u32, Duration>| -> Vec<u32> {
            deadlines.iter().filter(|(_, at)| **at <= now).map(|(id, _)| *id).collect()
        };
        for offset in over(&self.balancer.retired_tables) {
            self.balancer.retired_tables.remove(&offset);
            if let Some(ids) = self.balancer.held.tables.remove(&offset)
                && !self.balancer.overlaps
            {
                self.balancer.arena.release(offset, ids.len() as u32);
            }
            self.balancer.members.remove(&offset);
            self.balancer.built.retain(|_, other| *other != offset);
            self.balancer.adopted.retain(|_, other| *other != offset);
        }
        if self.balancer.overlaps {
            (self.balancer.arena, self.balancer.overlaps) = survey(&self.balancer.held);
        }
        for id in over(&self.balancer.retired_backends) {
            self.balancer.retired_backends.remove(&id);
            let Some(value) = self.balancer.held.backends.get(&id) else { continue };
            let key = key_of(value);
            let is_its_id = self.balancer.backend_id(&key) == Some(id);
            if is_its_id && desired.backends.contains_key(&key) {
                continue;
            }
            if is_its_id {
                self.balancer.ids.remove(&key);
            }
            self.push(Operation::DeleteBackend { id });
        }
    }

    /// Before anything else, so that there is room. The address goes after its services: a client
    /// is refused for a moment rather than sent out to where nobody is.
    fn delete_services(&mut self, desired: &Desired) {
        let held = &self.balancer.held;
        let gone = held.services.keys().filter(|key| !desired.frontends.contains_key(key));
        let mut deletes: Vec<Operation> =
            gone.map(|key| Operation::DeleteService { key: *key }).collect();
        let gone = held.addresses.keys().filter(|key| !desired.addresses.contains_key(key));
        deletes.extend(gone.map(|address| Operation::DeleteAddress { address: *address }));
        for operation in deletes {
            self.push(operation);
        }
    }

    /// Enters the backends that flows are to begin at, before any table names them.
    fn enter_backends<'a>(
        &mut self,
        backends: impl IntoIterator<Item = (&'a BackendKey, &'a BackendNeed)>,
    ) {
        for (key, need) in backends {
            let id = match self.balancer.backend_id(key) {
                Some(id) => id,
                None => match self.allocate_id() {
                    Some(id) => id,
                    None => continue,
                },
            };
            self.balancer.ids.insert(*key, id);
            let value = value_of(*key, *need);
            if self.balancer.held.backends.get(&id) != Some(&value) {
                self.push(Operation::PutBackend { id, value });
            }
        }
    }

    /// The next id that no flow can remember; it is on record before it is used.
    fn allocate_id(&mut self) -> Option<u32> {
        let limit = self.balancer.held.limits.backends;
        if self.balancer.held.backends.len() >= limit as usize {
            self.full(BACKENDS, limit);
            return None;
        }
        let mut id = self.balancer.next_id;
        while id == ebpf_abi::BACKEND_NONE || self.balancer.held.backends.contains_key(&id) {
            id = id.wrapping_add(1);
        }
        self.balancer.next_id = id.wrapping_add(1);
        if id >= self.balancer.held.next_backend {
            self.push(Operation::ReserveBackends { next: id.saturating_add(IDS_RESERVED) });
        }
        Some(id)
    }

    fn put_services<'a>(
        &mut self,
        frontends: impl IntoIterator<Item = (&'a ServiceKey, &'a Frontend)>,
    ) {
        for (key, frontend) in frontends {
            let held = self.balancer.held.services.get(key).copied();
            let limit = self.balancer.held.limits.services;
            if held.is_none() && self.balancer.held.services.len() >= limit as usize {
                self.full(SERVICES, limit);
                continue;
            }
            let list = self.balancer.list(&frontend.backends);
            // Without room the old table, and with it its backends, stays in use.
            let Some((offset, length)) = self.table(&list, &frontend.backends) else { continue };
            let generation = held.map_or(0, |held| held.generation);
            let same = ServiceValue {
                offset,
                length,
                generation,
                flags: frontend.flags,
                ..ServiceValue::default()
            };
            if held != Some(same) {
                let value = ServiceValue { generation: generation.wrapping_add(1), ..same };
                self.push(Operation::PutService { key: *key, value });
            }
        }
    }

    /// Where the list's table is, written if there was none.
    fn table(&mut self, list: &Arc<[u32]>, backends: &[BackendKey]) -> Option<(u32, u32)> {
        if list.is_empty() {
            return Some((0, 0));
        }
        let known = self.balancer.built.get(list).copied();
        if let Some((offset, ids)) =
            known.and_then(|offset| Some((offset, self.balancer.held.tables.get(&offset)?)))
        {
            return Some((offset, ids.len() as u32));
        }
        let entered: Vec<BackendKey> =
            backends.iter().filter(|key| self.balancer.ids.contains_key(key)).copied().collect();
        for length in maglev::lengths(entered.len()) {
            let mut places = Vec::new();
            maglev::fill(&mut places, &entered, list, length);
            let ids: Arc<[u32]> = places.into();
            if let Some(offset) = self.balancer.adopted.get(&ids).copied() {
                self.balancer.built.insert(list.clone(), offset);
                return Some((offset, length));
            }
            if let Some(offset) = self.balancer.arena.allocate(length) {
                self.balancer.built.insert(list.clone(), offset);
                self.balancer.members.insert(offset, distinct(&ids));
                self.push(Operation::WriteTable { offset, ids });
                return Some((offset, length));
            }
            let limit = self.balancer.held.limits.places;
            self.full(MAGLEV, limit);
        }
        None
    }

    /// After the services: an address without one would refuse what is to be served.
    fn put_addresses(&mut self, desired: &Desired) {
        for (address, flags) in &desired.addresses {
            let held = self.balancer.held.addresses.get(address);
            let limit = self.balancer.held.limits.addresses;
            if held.is_none() && self.balancer.held.addresses.len() >= limit as usize {
                self.full(ADDRESSES, limit);
            } else if held != Some(flags) {
                self.push(Operation::PutAddress { address: *address, flags: *flags });
            }
        }
    }

    /// Tells the programs of backends that no new flow may begin at, once no table names them.
    fn drain_backends(&mut self, desired: &Desired, named: &BTreeSet<u32>) {
        let drained = self.balancer.held.backends.iter().filter_map(|(id, value)| {
            let key = key_of(value);
            let need = desired.backends.get(&key).filter(|need| need.takes_flows);
            let wanted = need.is_some() && self.balancer.backend_id(&key) == Some(*id);
            let flags = value.flags | BACKEND_DRAINING;
            let drains = !wanted && !named.contains(id) && value.flags != flags;
            drains.then_some(Operation::PutBackend {
                id: *id,
                value: BackendValue { flags, ..*value },
            })
        });
        for operation in drained.collect::<Vec<_>>() {
            self.push(operation);
        }
    }

    /// Sets a time for what nothing names, and takes it back where something does again.
    fn retire(&mut self, desired: &Desired, named: &BTreeSet<u32>) {
        let at = self.now + GRACE;
        let tables = self.balancer.named_tables();
        self.balancer.retired_tables.retain(|offset, _| !tables.contains(offset));
        for offset in self.balancer.held.tables.keys().filter(|offset| !tables.contains(offset)) {
            self.balancer.retired_tables.entry(*offset).or_insert(at);
        }
        let needed = |id: &u32, value: &BackendValue| {
            let key = key_of(value);
            let is_its_id = self.balancer.ids.get(&key) == Some(id);
            named.contains(id) || (is_its_id && desired.backends.contains_key(&key))
        };
        let unneeded: BTreeSet<u32> = self
            .balancer
            .held
            .backends
            .iter()
            .filter(|(id, value)| !needed(id, value))
            .map(|(id, _)| *id)
            .collect();
        self.balancer.retired_backends.retain(|id, _| unneeded.contains(id));
        for id in unneeded {
            self.balancer.retired_backends.entry(id).or_insert(at);
        }
    }
}

/// The places that no table has, and whether tables lie over each other or beyond the end.
fn survey(contents: &Contents) -> (Arena, bool) {
    let mut arena = Arena::new(contents.limits.places);
    let mut overlaps = false;
    for (offset, ids) in &contents.tables {
        overlaps |= !arena.reserve(*offset, ids.len() as u32);
    }
    (arena, overlaps)
}

fn distinct(ids: &[u32]) -> Arc<[u32]> {
    ids.iter().copied().collect::<BTreeSet<u32>>().into_iter().collect()
}

fn value_of(key: BackendKey, need: BackendNeed) -> BackendValue {
    let flags = if need.local { BACKEND_LOCAL } else { 0 };
    BackendValue { address: key.ip().into(), port_be: key.port().to_be(), flags, node: 0 }
}
