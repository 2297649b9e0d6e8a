//! Maps in memory, with an array that can be written to where it should not be.

use std::collections::BTreeMap;

use ebpf_abi::{Address, BACKEND_DRAINING, BackendValue, ServiceKey, ServiceValue};

use crate::{BackendKey, Contents, Limits, Maps, Operation, Table};

#[derive(Clone, Debug)]
pub struct FakeMaps {
    pub limits: Limits,
    pub services: BTreeMap<ServiceKey, ServiceValue>,
    pub backends: BTreeMap<u32, BackendValue>,
    pub addresses: BTreeMap<Address, u32>,
    pub places: Vec<u32>,
    pub next_backend: u32,
    /// Every operation that was done.
    pub done: Vec<Operation>,
    /// Fails the operation after so many have been done.
    pub fail_after: Option<usize>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("refused by the fake")]
pub struct Refused;

impl FakeMaps {
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            services: BTreeMap::new(),
            backends: BTreeMap::new(),
            addresses: BTreeMap::new(),
            places: vec![0; limits.places as usize],
            next_backend: 0,
            done: Vec::new(),
            fail_after: None,
        }
    }

    fn ids(&self, value: &ServiceValue) -> &[u32] {
        let (start, length) = (value.offset as usize, value.length as usize);
        self.places.get(start..start + length).unwrap_or_default()
    }

    /// The backend at each place of the frontend's table, as a program would find it: `None` where
    /// there is no entry.
    pub fn table(&self, key: &ServiceKey) -> Option<Vec<Option<BackendKey>>> {
        let value = self.services.get(key)?;
        let address = |value: &BackendValue| {
            BackendKey::new(value.address.into(), u16::from_be(value.port_be))
        };
        Some(self.ids(value).iter().map(|id| self.backends.get(id).map(address)).collect())
    }

    /// Whether the backend at this address takes new flows.
    pub fn takes_flows(&self, key: &BackendKey) -> bool {
        self.backends.values().any(|value| {
            let address = BackendKey::new(value.address.into(), u16::from_be(value.port_be));
            address == *key && value.flags & BACKEND_DRAINING == 0
        })
    }
}

impl Maps for FakeMaps {
    type Error = Refused;

    fn read(&mut self) -> Result<Contents, Refused> {
        let tables = self.services.values().filter(|value| value.length > 0);
        Ok(Contents {
            limits: self.limits,
            services: self.services.clone(),
            backends: self.backends.clone(),
            addresses: self.addresses.clone(),
            tables: tables.map(|value| (value.offset, Table::of(self.ids(value)))).collect(),
            next_backend: self.next_backend,
        })
    }

    fn apply(&mut self, operation: &Operation) -> Result<(), Refused> {
        if let Some(left) = &mut self.fail_after {
            *left = left.checked_sub(1).ok_or(Refused)?;
        }
        let full = |present: bool, len: usize, limit: u32| !present && len >= limit as usize;
        match operation {
            Operation::ReserveBackends { next } => self.next_backend = *next,
            Operation::PutBackend { id, value } => {
                let present = self.backends.contains_key(id);
                if full(present, self.backends.len(), self.limits.backends) {
                    return Err(Refused);
                }
                self.backends.insert(*id, *value);
            }
            Operation::DeleteBackend { id } => drop(self.backends.remove(id)),
            Operation::WriteTable { offset, ids } => {
                let start = *offset as usize;
                let places = self.places.get_mut(start..start + ids.len()).ok_or(Refused)?;
                places.copy_from_slice(ids);
            }
            Operation::PutService { key, value } => {
                let present = self.services.contains_key(key);
                if full(present, self.services.len(), self.limits.services) {
                    return Err(Refused);
                }
                self.services.insert(*key, *value);
            }
            Operation::DeleteService { key } => drop(self.services.remove(key)),
            Operation::PutAddress { address, flags } => {
                let present = self.addresses.contains_key(address);
                if full(present, self.addresses.len(), self.limits.addresses) {
                    return Err(Refused);
                }
                self.addresses.insert(*address, *flags);
            }
            Operation::DeleteAddress { address } => drop(self.addresses.remove(address)),
        }
        self.done.push(operation.clone());
        Ok(())
    }
}
