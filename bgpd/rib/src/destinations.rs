//! The prefixes of the table, each in twenty octets, found by a hash of their bits.

use std::{
    hash::BuildHasher,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use hashbrown::{DefaultHashBuilder, HashTable};
use viaduct_net::{Family, Prefix};

use crate::{paths::NIL, routes::RouteId};

/// A prefix with all of its paths.
#[derive(Debug)]
pub(crate) struct Destination {
    /// Of IPv4 the address itself, of IPv6 where the address is kept.
    address: u32,
    len: u8,
    state: State,
    family: Family,
    /// Stands in the list of those to be decided.
    pub(crate) dirty: bool,
    /// First of its paths.
    pub(crate) head: u32,
    /// The best path of the last flush, unless that is gone since.
    pub(crate) best: u32,
    /// What the FIB was last told.
    pub(crate) route: Option<RouteId>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Live,
    Free,
}

/// One for each prefix of a full table.
const _: () = assert!(size_of::<Destination>() == 20);

#[derive(Debug, Default)]
pub(crate) struct Destinations {
    entries: Vec<Destination>,
    free: Vec<u32>,
    addresses_v6: Vec<Ipv6Addr>,
    free_v6: Vec<u32>,
    index: HashTable<u32>,
    hasher: DefaultHashBuilder,
}

impl Destinations {
    pub(crate) fn len(&self) -> usize {
        self.index.len()
    }

    /// One more than the highest id there can be.
    pub(crate) fn end(&self) -> u32 {
        self.entries.len() as u32
    }

    pub(crate) fn find(&self, prefix: Prefix) -> Option<u32> {
        let hash = self.hash(prefix);
        self.index.find(hash, |&id| self.prefix(id) == prefix).copied()
    }

    /// The place of a prefix that is not there yet; `None` when every number is taken.
    pub(crate) fn insert(&mut self, prefix: Prefix) -> Option<u32> {
        let address = match prefix.address() {
            IpAddr::V4(address) => u32::from(address),
            IpAddr::V6(address) => self.keep_v6(address)?,
        };
        let entry = Destination {
            address,
            len: prefix.len(),
            state: State::Live,
            family: prefix.family(),
            dirty: false,
            head: NIL,
            best: NIL,
            route: None,
        };
        let id = match self.free.pop() {
            Some(id) => {
                self.entries[id as usize] = entry;
                id
            }
            None => {
                let id = u32::try_from(self.entries.len()).ok().filter(|id| *id != NIL)?;
                self.entries.push(entry);
                id
            }
        };
        let hash = self.hash(prefix);
        let Self { entries, addresses_v6, index, hasher, .. } = self;
        let rehash = |&id: &u32| hasher.hash_one(key(bits(&entries[id as usize], addresses_v6)));
        index.insert_unique(hash, id, rehash);
        Some(id)
    }

    /// Forgets a prefix that has no path any more.
    pub(crate) fn remove(&mut self, id: u32) {
        let prefix = self.prefix(id);
        let hash = self.hash(prefix);
        if let Ok(entry) = self.index.find_entry(hash, |&other| other == id) {
            entry.remove();
        }
        let entry = &mut self.entries[id as usize];
        entry.state = State::Free;
        if entry.family == Family::V6 {
            self.free_v6.push(entry.address);
        }
        self.free.push(id);
    }

    /// One known to be there.
    pub(crate) fn at(&self, id: u32) -> &Destination {
        let entry = &self.entries[id as usize];
        debug_assert!(entry.state == State::Live, "lists hold live ones only");
        entry
    }

    pub(crate) fn at_mut(&mut self, id: u32) -> &mut Destination {
        let entry = &mut self.entries[id as usize];
        debug_assert!(entry.state == State::Live, "lists hold live ones only");
        entry
    }

    pub(crate) fn is_live(&self, id: u32) -> bool {
        self.entries.get(id as usize).is_some_and(|entry| entry.state == State::Live)
    }

    pub(crate) fn prefix(&self, id: u32) -> Prefix {
        let (address, len) = bits(&self.entries[id as usize], &self.addresses_v6);
        Prefix::new(address, len).expect("it was one before")
    }

    pub(crate) fn family(&self, id: u32) -> Family {
        self.entries[id as usize].family
    }

    /// All that are there.
    pub(crate) fn ids(&self) -> impl Iterator<Item = u32> {
        (0..self.end()).filter(|id| self.is_live(*id))
    }

    fn hash(&self, prefix: Prefix) -> u64 {
        self.hasher.hash_one(key((prefix.address(), prefix.len())))
    }

    fn keep_v6(&mut self, address: Ipv6Addr) -> Option<u32> {
        if let Some(at) = self.free_v6.pop() {
            self.addresses_v6[at as usize] = address;
            return Some(at);
        }
        self.addresses_v6.push(address);
        u32::try_from(self.addresses_v6.len() - 1).ok()
    }
}

fn bits(entry: &Destination, addresses_v6: &[Ipv6Addr]) -> (IpAddr, u8) {
    let address = match entry.family {
        Family::V4 => Ipv4Addr::from(entry.address).into(),
        Family::V6 => addresses_v6[entry.address as usize].into(),
    };
    (address, entry.len)
}

/// Few words, so that hashing is quick. Two prefixes of different families may have one key.
fn key((address, len): (IpAddr, u8)) -> (u64, u64) {
    match address {
        IpAddr::V4(address) => (u64::from(u32::from(address)) << 8 | u64::from(len), 0),
        IpAddr::V6(address) => {
            let bits = u128::from(address);
            ((bits >> 64) as u64, bits as u64 ^ u64::from(len))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_used_again_and_nothing_is_mixed_up() {
        let texts =
            ["10.0.0.0/8", "10.0.0.0/9", "::/0", "2001:db8::/32", "0.0.0.0/0", "2001:db8::/33"];
        let all: Vec<Prefix> = texts.iter().map(|text| text.parse().unwrap()).collect();
        let mut table = Destinations::default();
        for round in 0..3 {
            for &prefix in &all {
                assert_eq!(table.find(prefix), None);
                let id = table.insert(prefix).unwrap();
                assert_eq!((table.find(prefix), table.prefix(id)), (Some(id), prefix));
            }
            assert_eq!((table.len(), table.end()), (all.len(), all.len() as u32), "{round}");
            for &prefix in &all {
                table.remove(table.find(prefix).unwrap());
            }
            assert_eq!((table.len(), table.ids().count()), (0, 0));
            assert_eq!(table.addresses_v6.len(), 3);
        }
    }
}
