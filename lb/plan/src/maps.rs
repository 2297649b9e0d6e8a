use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    sync::Arc,
};

use ebpf_abi::{ADDRESS_VIP, Address, BackendValue, SCOPE_EXTERNAL, ServiceKey, ServiceValue};

use crate::Table;

/// The most entries that the maps take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    pub services: u32,
    pub backends: u32,
    pub addresses: u32,
    /// Places of the array of tables.
    pub places: u32,
}

/// What the maps hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Contents {
    pub limits: Limits,
    pub services: BTreeMap<ServiceKey, ServiceValue>,
    pub backends: BTreeMap<u32, BackendValue>,
    pub addresses: BTreeMap<Address, u32>,
    /// By its offset, every table that a service names.
    pub tables: BTreeMap<u32, Table>,
    /// Every id below this may have been given out. It outlives the daemon beside the maps, for a
    /// flow may remember a backend that no map names any more.
    pub next_backend: u32,
}

/// One write to a map; programs see it whole or not at all, but for a table, which nobody reads
/// until a service names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Keeps [`Contents::next_backend`].
    ReserveBackends {
        next: u32,
    },
    PutBackend {
        id: u32,
        value: BackendValue,
    },
    DeleteBackend {
        id: u32,
    },
    WriteTable {
        offset: u32,
        ids: Arc<[u32]>,
    },
    PutService {
        key: ServiceKey,
        value: ServiceValue,
    },
    DeleteService {
        key: ServiceKey,
    },
    PutAddress {
        address: Address,
        flags: u32,
    },
    DeleteAddress {
        address: Address,
    },
}

/// The maps of the programs of one node.
pub trait Maps {
    type Error;

    fn read(&mut self) -> Result<Contents, Self::Error>;

    /// Deleting what is not there succeeds.
    fn apply(&mut self, operation: &Operation) -> Result<(), Self::Error>;
}

impl Contents {
    /// The VIPs that these maps serve to clients outside: what an earlier daemon may have
    /// announced, and its successor must not take back before it knows better.
    pub fn vips(&self) -> BTreeSet<IpAddr> {
        let is_vip = |address: &Address| {
            self.addresses.get(address).is_some_and(|flags| flags & ADDRESS_VIP != 0)
        };
        self.services
            .iter()
            .filter(|(key, value)| key.scope == SCOPE_EXTERNAL && value.length > 0)
            .map(|(key, _)| key.address)
            .filter(is_vip)
            .map(IpAddr::from)
            .collect()
    }

    /// Does to this picture what the operation does to the maps.
    pub(crate) fn apply(&mut self, operation: &Operation) {
        match operation {
            Operation::ReserveBackends { next } => self.next_backend = *next,
            Operation::PutBackend { id, value } => drop(self.backends.insert(*id, *value)),
            Operation::DeleteBackend { id } => drop(self.backends.remove(id)),
            // Whoever makes a table enters it: it knows more of it than its places.
            Operation::WriteTable { .. } => {}
            Operation::PutService { key, value } => drop(self.services.insert(*key, *value)),
            Operation::DeleteService { key } => drop(self.services.remove(key)),
            Operation::PutAddress { address, flags } => {
                self.addresses.insert(*address, *flags);
            }
            Operation::DeleteAddress { address } => drop(self.addresses.remove(address)),
        }
    }
}
