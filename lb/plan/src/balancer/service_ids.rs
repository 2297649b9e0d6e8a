use std::collections::{BTreeMap, BTreeSet, btree_map};

use ebpf_abi::{SERVICE_NONE, ServiceKey, ServiceValue};

use crate::{Desired, ServiceName};

/// A number for each service, by which the programs tell them apart. None is given out a second time
/// while the maps name it.
#[derive(Clone, Debug)]
pub(super) struct ServiceIds {
    ids: BTreeMap<ServiceName, u32>,
    names: BTreeMap<u32, ServiceName>,
    /// How many frontends in the maps carry each.
    frontends: BTreeMap<u32, u32>,
    /// Those that no frontend carried for a moment at least.
    unused: BTreeSet<u32>,
    next: u32,
}

impl ServiceIds {
    /// Whose they are shows as soon as services are known: see [`Self::settle`].
    pub(super) fn adopt(services: &BTreeMap<ServiceKey, ServiceValue>) -> Self {
        let mut frontends = BTreeMap::new();
        for value in services.values() {
            *frontends.entry(value.service).or_default() += 1;
        }
        let last = frontends.keys().next_back().copied().unwrap_or(SERVICE_NONE);
        Self {
            ids: BTreeMap::new(),
            names: BTreeMap::new(),
            frontends,
            unused: BTreeSet::new(),
            next: last.wrapping_add(1),
        }
    }

    /// Gives each service that has none the id that one of its frontends carries in the maps, if
    /// nobody else has it.
    pub(super) fn settle(&mut self, desired: &Desired, held: &BTreeMap<ServiceKey, ServiceValue>) {
        for (key, frontend) in &desired.frontends {
            let Some(id) = held.get(key).map(|value| value.service) else { continue };
            if id == SERVICE_NONE || self.ids.contains_key(&frontend.service) {
                continue;
            }
            if let btree_map::Entry::Vacant(vacant) = self.names.entry(id) {
                vacant.insert(frontend.service.clone());
                self.ids.insert(frontend.service.clone(), id);
            }
        }
    }

    pub(super) fn id(&mut self, name: &ServiceName) -> u32 {
        if let Some(id) = self.ids.get(name) {
            return *id;
        }
        let mut id = self.next;
        while id == SERVICE_NONE || self.frontends.contains_key(&id) || self.names.contains_key(&id)
        {
            id = id.wrapping_add(1);
        }
        self.next = id.wrapping_add(1);
        self.ids.insert(name.clone(), id);
        self.names.insert(id, name.clone());
        id
    }

    /// Counts the frontends that carry ids.
    pub(super) fn replace(&mut self, old: Option<u32>, new: Option<u32>) {
        if let Some(id) = new {
            *self.frontends.entry(id).or_default() += 1;
        }
        let Some(id) = old else { return };
        let Some(count) = self.frontends.get_mut(&id) else { return };
        *count -= 1;
        if *count == 0 {
            self.frontends.remove(&id);
            self.unused.insert(id);
        }
    }

    /// Forgets the services that have no frontend any more. At the end of a plan, for one may
    /// exchange all that it has.
    pub(super) fn forget_unused(&mut self) {
        for id in std::mem::take(&mut self.unused) {
            if self.frontends.contains_key(&id) {
                continue;
            }
            if let Some(name) = self.names.remove(&id) {
                self.ids.remove(&name);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_keeps_its_id_while_it_has_a_frontend_and_nobody_gets_it_after() {
        let name = |name: &str| ServiceName { namespace: "a".to_owned(), name: name.to_owned() };
        let mut ids = ServiceIds::adopt(&BTreeMap::new());
        let one = ids.id(&name("one"));
        ids.replace(None, Some(one));
        ids.replace(Some(one), None);
        ids.replace(None, Some(one));
        ids.forget_unused();
        assert_eq!(ids.id(&name("one")), one, "other addresses, the same service");
        ids.replace(Some(one), None);
        ids.forget_unused();
        let other = ids.id(&name("other"));
        assert!(other != one && other != SERVICE_NONE);
        assert_ne!(ids.id(&name("one")), one);
    }
}
