use std::collections::BTreeMap;

use ebpf_abi::{Address, BACKEND_DRAINING, BACKEND_NONE, BackendValue, Plain};
use lb_maps::MapError;
use lb_plan::{Contents, Limits, Maps, Operation, Table};

/// Of a map that nobody writes to at the same time.
fn entries<K: Plain + Ord, V: Plain>(
    map: &lb_maps::Table<K, V>,
) -> Result<BTreeMap<K, V>, MapError> {
    let mut entries = Vec::new();
    map.visit(|key, value| entries.push((key, value)))?;
    Ok(entries.into_iter().collect())
}

/// The maps of the loaded programs.
///
/// The id below which all may have been given out has to outlive the daemon as the maps do. It
/// stands in the first word of the backend entry that no table can name, [`BACKEND_NONE`].
#[derive(Debug)]
pub(crate) struct KernelMaps(pub(crate) lb_maps::Maps);

impl Maps for KernelMaps {
    type Error = MapError;

    fn read(&mut self) -> Result<Contents, MapError> {
        let maps = &self.0;
        let services = entries(&maps.services)?;
        let mut backends = entries(&maps.backends)?;
        let reserved = backends.remove(&BACKEND_NONE);
        // Services share tables. Of each only what it is known by is kept.
        let named: BTreeMap<u32, u32> = services
            .values()
            .filter(|value| value.length > 0)
            .map(|value| (value.offset, value.length))
            .collect();
        let tables = named
            .into_iter()
            .map(|(offset, length)| Ok((offset, Table::of(&maps.maglev.read(offset, length)?))))
            .collect::<Result<_, MapError>>()?;
        let limits = Limits {
            services: maps.services.max_entries(),
            backends: maps.backends.max_entries().saturating_sub(1),
            addresses: maps.addresses.max_entries(),
            places: maps.maglev.capacity(),
        };
        let next_backend = reserved.map_or(0, |value| value.address.words_be[0]);
        let addresses = entries(&maps.addresses)?;
        Ok(Contents { limits, services, backends, addresses, tables, next_backend })
    }

    fn apply(&mut self, operation: &Operation) -> Result<(), MapError> {
        let maps = &self.0;
        match operation {
            Operation::ReserveBackends { next } => {
                let address = Address { words_be: [*next, 0, 0, 0] };
                let value =
                    BackendValue { address, flags: BACKEND_DRAINING, ..BackendValue::default() };
                maps.backends.upsert(&BACKEND_NONE, &value)
            }
            Operation::PutBackend { id, value } => maps.backends.upsert(id, value),
            Operation::DeleteBackend { id } => maps.backends.delete(id).map(drop),
            Operation::WriteTable { offset, ids } => maps.maglev.write(*offset, ids),
            Operation::PutService { key, value } => maps.services.upsert(key, value),
            Operation::DeleteService { key } => maps.services.delete(key).map(drop),
            Operation::PutAddress { address, flags } => maps.addresses.upsert(address, flags),
            Operation::DeleteAddress { address } => maps.addresses.delete(address).map(drop),
        }
    }
}
