use std::{collections::BTreeMap, sync::Arc, time::Duration};

use ebpf_abi::{
    Address, BACKEND_DRAINING, BACKEND_LOCAL, BACKEND_NONE, BackendValue, ServiceKey, ServiceValue,
    map::{ADDRESSES, BACKENDS, MAGLEV, SERVICES},
};

use super::{Balancer, GRACE, Problem, key_of, survey};
use crate::{BackendKey, Desired, Frontend, Operation, Table, desired::BackendNeed, maglev, table};

/// Ids reserved at once, so that not every new backend costs another write.
const IDS_RESERVED: u32 = 1024;

/// The making of one plan.
pub(super) struct Work<'a> {
    pub(super) balancer: &'a mut Balancer,
    apply: &'a mut dyn FnMut(Operation),
    problems: Vec<Problem>,
    now: Duration,
    /// Where tables are made.
    places: Vec<u32>,
}

impl<'a> Work<'a> {
    pub(super) fn new(
        balancer: &'a mut Balancer,
        now: Duration,
        apply: &'a mut dyn FnMut(Operation),
    ) -> Self {
        Self { balancer, apply, problems: Vec::new(), now, places: Vec::new() }
    }

    fn push(&mut self, operation: Operation) {
        self.balancer.held.apply(&operation);
        (self.apply)(operation);
    }

    fn full(&mut self, map: &'static str, limit: u32) {
        let problem = Problem::Full { map, limit };
        if !self.problems.contains(&problem) {
            self.problems.push(problem);
        }
    }

    /// Takes away what was retired long enough ago and is not wanted again.
    pub(super) fn expire(&mut self, desired: &Desired) {
        let now = self.now;
        let over = |deadlines: &BTreeMap<u32, Duration>| -> Vec<u32> {
            deadlines.iter().filter(|(_, at)| **at <= now).map(|(id, _)| *id).collect()
        };
        for offset in over(&self.balancer.retired_tables) {
            self.balancer.retired_tables.remove(&offset);
            if !self.balancer.named_tables.contains_key(&offset) {
                self.forget_table(offset);
            }
        }
        if self.balancer.overlaps {
            (self.balancer.arena, self.balancer.overlaps) = survey(&self.balancer.held);
        }
        for id in over(&self.balancer.retired_backends) {
            self.balancer.retired_backends.remove(&id);
            let Some(value) = self.balancer.held.backends.get(&id) else { continue };
            let key = key_of(value);
            let is_its_id = self.balancer.backend_id(&key) == Some(id);
            let is_named = self.balancer.named_backends.contains_key(&id);
            if is_named || (is_its_id && desired.backends.contains_key(&key)) {
                continue;
            }
            if is_its_id {
                self.balancer.ids.remove(&key);
            }
            self.push(Operation::DeleteBackend { id });
        }
    }

    fn forget_table(&mut self, offset: u32) {
        let balancer = &mut *self.balancer;
        let Some(table) = balancer.held.tables.remove(&offset) else { return };
        balancer.unproven.remove(&offset);
        if balancer.built.get(&table.ids) == Some(&offset) {
            balancer.built.remove(&table.ids);
        }
        if !balancer.overlaps {
            balancer.arena.release(offset, table.length);
        }
    }

    /// Before anything else, so that there is room.
    pub(super) fn delete_services(&mut self, desired: &Desired, keys: Vec<ServiceKey>) {
        for key in keys.into_iter().filter(|key| !desired.frontends.contains_key(key)) {
            self.balancer.unmet.services.remove(&key);
            let Some(held) = self.balancer.held.services.get(&key).copied() else { continue };
            self.push(Operation::DeleteService { key });
            self.balancer.unname_table(&held);
            self.balancer.services.replace(Some(held.service), None);
        }
    }

    /// After the services: a client is refused for a moment rather than sent out to where nobody is.
    pub(super) fn delete_addresses(&mut self, desired: &Desired, addresses: Vec<Address>) {
        let gone = addresses.into_iter().filter(|one| !desired.addresses.contains_key(one));
        for address in gone {
            self.balancer.unmet.addresses.remove(&address);
            if self.balancer.held.addresses.contains_key(&address) {
                self.push(Operation::DeleteAddress { address });
            }
        }
    }

    /// Enters the backends that flows are to begin at, before any table names them.
    pub(super) fn enter_backends<'b>(
        &mut self,
        backends: impl IntoIterator<Item = (&'b BackendKey, &'b BackendNeed)>,
    ) {
        for (key, need) in backends {
            let id = match self.balancer.backend_id(key) {
                Some(id) => id,
                None => match self.allocate_id() {
                    Some(id) => id,
                    None => {
                        self.balancer.unmet.backends.insert(*key);
                        continue;
                    }
                },
            };
            self.balancer.unmet.backends.remove(key);
            self.balancer.ids.insert(*key, id);
            let value = value_of(*key, *need);
            if self.balancer.held.backends.get(&id) != Some(&value) {
                self.push(Operation::PutBackend { id, value });
                self.balancer.touched_backends.insert(id);
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
        while id == BACKEND_NONE || self.balancer.held.backends.contains_key(&id) {
            id = id.wrapping_add(1);
        }
        self.balancer.next_id = id.wrapping_add(1);
        if id >= self.balancer.held.next_backend {
            self.push(Operation::ReserveBackends { next: id.saturating_add(IDS_RESERVED) });
        }
        Some(id)
    }

    pub(super) fn put_services<'b>(
        &mut self,
        frontends: impl IntoIterator<Item = (&'b ServiceKey, &'b Frontend)>,
    ) {
        for (key, frontend) in frontends {
            if self.put_service(*key, frontend) {
                self.balancer.unmet.services.remove(key);
            } else {
                self.balancer.unmet.services.insert(*key);
            }
        }
    }

    /// Whether nothing is left to be desired.
    fn put_service(&mut self, key: ServiceKey, frontend: &Frontend) -> bool {
        let held = self.balancer.held.services.get(&key).copied();
        let limit = self.balancer.held.limits.services;
        if held.is_none() && self.balancer.held.services.len() >= limit as usize {
            self.full(SERVICES, limit);
            return false;
        }
        // Without room the old table, and with it its backends, stays in use.
        let Some((offset, length, is_whole)) = self.table(&frontend.backends) else { return false };
        let generation = held.map_or(0, |held| held.generation);
        let same = ServiceValue {
            offset,
            length,
            generation,
            flags: frontend.flags,
            service: self.balancer.services.id(&frontend.service),
            ..ServiceValue::default()
        };
        if held != Some(same) {
            let value = ServiceValue { generation: generation.wrapping_add(1), ..same };
            self.push(Operation::PutService { key, value });
            self.balancer.name_table(&value);
            if let Some(held) = &held {
                self.balancer.unname_table(held);
            }
            self.balancer.services.replace(held.map(|held| held.service), Some(value.service));
        }
        is_whole
    }

    /// Where the table of these backends is and how long, written if there was none, and whether
    /// all are in it and it is as long as it should be.
    fn table(&mut self, backends: &[BackendKey]) -> Option<(u32, u32, bool)> {
        let ids = self.balancer.list(backends);
        let all = ids.len() == backends.len();
        if ids.is_empty() {
            return Some((0, 0, all));
        }
        let mut entered: Vec<BackendKey> = Vec::new();
        let entered: &[BackendKey] = if all {
            backends
        } else {
            let known = backends.iter().filter(|key| self.balancer.ids.contains_key(key));
            entered.extend(known);
            &entered
        };
        let mut set = ids.clone();
        set.sort_unstable();
        let set: Arc<[u32]> = set.into();
        let known = self.known(&set, entered, &ids);
        let mut is_best = true;
        for length in maglev::lengths(ids.len()) {
            if let Some((offset, _)) = known.filter(|(_, other)| *other == length) {
                return Some((offset, length, all && is_best));
            }
            if let Some(offset) = self.balancer.arena.allocate(length) {
                maglev::fill(&mut self.places, entered, &ids, length);
                let fingerprint = table::fingerprint(&self.places);
                let table = Table { length, fingerprint, ids: set.clone() };
                self.balancer.built.insert(set, offset);
                self.balancer.held.tables.insert(offset, table);
                self.balancer.touched_tables.insert(offset);
                self.push(Operation::WriteTable { offset, ids: self.places[..].into() });
                return Some((offset, length, all && is_best));
            }
            is_best = false;
            let limit = self.balancer.held.limits.places;
            self.full(MAGLEV, limit);
        }
        None
    }

    /// The table that there is for these ids, if it holds what it should.
    fn known(
        &mut self,
        set: &Arc<[u32]>,
        entered: &[BackendKey],
        ids: &[u32],
    ) -> Option<(u32, u32)> {
        let offset = *self.balancer.built.get(set)?;
        let table = self.balancer.held.tables.get(&offset)?;
        if self.balancer.unproven.remove(&offset) {
            maglev::fill(&mut self.places, entered, ids, table.length);
            if table::fingerprint(&self.places) != table.fingerprint {
                self.balancer.built.remove(set);
                return None;
            }
        }
        Some((offset, table.length))
    }

    /// After the services: an address without one would refuse what is to be served.
    pub(super) fn put_addresses<'b>(
        &mut self,
        addresses: impl IntoIterator<Item = (&'b Address, &'b u32)>,
    ) {
        for (address, flags) in addresses {
            self.balancer.unmet.addresses.remove(address);
            let held = self.balancer.held.addresses.get(address);
            let limit = self.balancer.held.limits.addresses;
            if held.is_none() && self.balancer.held.addresses.len() >= limit as usize {
                self.balancer.unmet.addresses.insert(*address);
                self.full(ADDRESSES, limit);
            } else if held != Some(flags) {
                self.push(Operation::PutAddress { address: *address, flags: *flags });
            }
        }
    }

    /// Tells the programs of backends that no new flow may begin at, once no table names them, and
    /// sets a time for what nothing names.
    pub(super) fn finish(mut self, desired: &Desired) -> Vec<Problem> {
        for id in std::mem::take(&mut self.balancer.touched_backends) {
            self.settle_backend(desired, id);
        }
        let at = self.now + GRACE;
        let balancer = &mut *self.balancer;
        balancer.services.forget_unused();
        let is_wanted =
            |key: &BackendKey| desired.backends.get(key).is_some_and(BackendNeed::takes_flows);
        balancer.unmet.backends.retain(is_wanted);
        for offset in std::mem::take(&mut balancer.touched_tables) {
            let is_unnamed = !balancer.named_tables.contains_key(&offset);
            if is_unnamed && balancer.held.tables.contains_key(&offset) {
                balancer.retired_tables.entry(offset).or_insert(at);
            } else {
                balancer.retired_tables.remove(&offset);
            }
        }
        self.problems.extend(desired.conflicts.iter().cloned().map(Problem::Conflict));
        self.problems
    }

    fn settle_backend(&mut self, desired: &Desired, id: u32) {
        let balancer = &mut *self.balancer;
        let Some(value) = balancer.held.backends.get(&id).copied() else {
            balancer.retired_backends.remove(&id);
            return;
        };
        let key = key_of(&value);
        let is_its_id = balancer.backend_id(&key) == Some(id);
        let need = desired.backends.get(&key).filter(|_| is_its_id);
        let is_named = balancer.named_backends.contains_key(&id);
        if is_named || need.is_some() {
            balancer.retired_backends.remove(&id);
        } else {
            balancer.retired_backends.entry(id).or_insert(self.now + GRACE);
        }
        let takes_flows = is_named || need.is_some_and(BackendNeed::takes_flows);
        if !takes_flows && value.flags & BACKEND_DRAINING == 0 {
            let flags = value.flags | BACKEND_DRAINING;
            self.push(Operation::PutBackend { id, value: BackendValue { flags, ..value } });
        }
    }
}

fn value_of(key: BackendKey, need: BackendNeed) -> BackendValue {
    let flags = if need.is_local() { BACKEND_LOCAL } else { 0 };
    BackendValue { address: key.ip().into(), port_be: key.port().to_be(), flags, node: 0 }
}
