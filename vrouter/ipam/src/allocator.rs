use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    fmt,
    net::IpAddr,
};

use serde::{Deserialize, Serialize};
use viaduct_net::{Family, Prefix};

use crate::block::{block_capacity, last_address, to_address, to_number};

/// Freed addresses that are remembered, so that they are given out again last. Beyond it the
/// longest freed are forgotten: they have rested the longest.
const FREED_LIMIT: usize = 4096;

/// An interface of a container, as the runtime names it (CNI: CNI_CONTAINERID and CNI_IFNAME).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Owner {
    pub container_id: String,
    pub ifname: String,
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.container_id, self.ifname)
    }
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AllocateError {
    #[error(
        "this node has no block of {0} addresses yet: is there an IPPool for {0} that covers this node?"
    )]
    NoBlock(Family),
    #[error(
        "every {family} address of this node's {blocks} block(s) is in use; the node gets another block shortly unless its IPPool is exhausted"
    )]
    Full { family: Family, blocks: usize },
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StateError {
    #[error("the stored state gives {address} to both {first} and {second}")]
    Double { address: IpAddr, first: Owner, second: Owner },
}

/// How full a block is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockUsage {
    pub block: Prefix,
    pub used: u32,
    pub capacity: u32,
}

/// The addresses of one node's pods. One address of each family belongs to an owner, and stays his
/// until he is released, also when its block is no longer the node's.
///
/// Pods are routed by /32 and /128, so every address of a block could serve. The first is left out:
/// programs and filters take the all-zeros host part for a network's address (RFC 1122 §3.2.1.3)
/// or the subnet-router anycast (RFC 4291 §2.6.1).
///
/// Stored through serde; the blocks are not part of what is stored, they come from the API.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Stored", into = "Stored")]
pub struct Allocator {
    blocks: BTreeSet<Prefix>,
    by_address: BTreeMap<IpAddr, Owner>,
    by_owner: BTreeMap<Owner, BTreeSet<IpAddr>>,
    /// Longest freed first; without repeats, and without addresses that are in use.
    freed: VecDeque<IpAddr>,
}

impl Allocator {
    pub fn set_blocks(&mut self, blocks: impl IntoIterator<Item = Prefix>) {
        self.blocks = blocks.into_iter().collect();
    }

    pub fn blocks(&self) -> impl Iterator<Item = Prefix> + '_ {
        self.blocks.iter().copied()
    }

    /// One address of each of `families`, sorted; those the owner has already are kept, so asking
    /// twice changes nothing. All or nothing.
    pub fn allocate(
        &mut self,
        owner: &Owner,
        families: &[Family],
    ) -> Result<Vec<IpAddr>, AllocateError> {
        let mut addresses = self.addresses(owner);
        let mut fresh = Vec::new();
        for family in families {
            if !addresses.iter().any(|address| Family::of(*address) == *family) {
                let address = self.free_address(*family)?;
                addresses.push(address);
                fresh.push(address);
            }
        }
        for address in fresh {
            self.take(address, owner.clone());
        }
        addresses.sort();
        Ok(addresses)
    }

    /// Frees what the owner has; releasing an unknown owner is no error.
    pub fn release(&mut self, owner: &Owner) -> Vec<IpAddr> {
        let Some(addresses) = self.by_owner.remove(owner) else { return Vec::new() };
        for address in &addresses {
            self.by_address.remove(address);
            if self.freed.len() == FREED_LIMIT {
                self.freed.pop_front();
            }
            self.freed.push_back(*address);
        }
        addresses.into_iter().collect()
    }

    /// Frees what belongs to owners that are not among `live`, and says what it was.
    pub fn retain(&mut self, live: &BTreeSet<Owner>) -> BTreeMap<Owner, Vec<IpAddr>> {
        let gone: Vec<Owner> = self.owners().filter(|o| !live.contains(o)).cloned().collect();
        gone.into_iter()
            .map(|owner| {
                let addresses = self.release(&owner);
                (owner, addresses)
            })
            .collect()
    }

    /// The owner's addresses, sorted; empty for an unknown one.
    pub fn addresses(&self, owner: &Owner) -> Vec<IpAddr> {
        self.by_owner.get(owner).into_iter().flatten().copied().collect()
    }

    pub fn owner(&self, address: IpAddr) -> Option<&Owner> {
        self.by_address.get(&address)
    }

    pub fn owners(&self) -> impl Iterator<Item = &Owner> {
        self.by_owner.keys()
    }

    pub fn usage(&self) -> Vec<BlockUsage> {
        self.blocks
            .iter()
            .map(|block| BlockUsage {
                block: *block,
                used: u32::try_from(self.used(*block).count()).unwrap_or(u32::MAX),
                capacity: block_capacity(*block),
            })
            .collect()
    }

    fn used(&self, block: Prefix) -> impl Iterator<Item = &IpAddr> {
        let last = to_address(last_address(block), block.family());
        self.by_address.range(block.address()..=last).map(|(address, _)| address)
    }

    /// The lowest address that was never used, or else the one that has been free the longest.
    fn free_address(&self, family: Family) -> Result<IpAddr, AllocateError> {
        let blocks: Vec<Prefix> =
            self.blocks.iter().copied().filter(|block| block.family() == family).collect();
        if blocks.is_empty() {
            return Err(AllocateError::NoBlock(family));
        }
        let resting: BTreeSet<&IpAddr> = self.freed.iter().collect();
        let never_used = blocks.iter().find_map(|block| {
            usable(*block).find(|a| !self.by_address.contains_key(a) && !resting.contains(a))
        });
        let longest_free = || {
            let in_block = |a: &&IpAddr| blocks.iter().any(|b| usable_in(*b, **a));
            self.freed.iter().find(in_block).copied()
        };
        never_used.or_else(longest_free).ok_or(AllocateError::Full { family, blocks: blocks.len() })
    }

    fn take(&mut self, address: IpAddr, owner: Owner) {
        self.freed.retain(|freed| *freed != address);
        self.by_address.insert(address, owner.clone());
        self.by_owner.entry(owner).or_default().insert(address);
    }
}

fn first_usable(block: Prefix) -> u128 {
    to_number(block.address()) + u128::from(!block.is_host())
}

fn usable(block: Prefix) -> impl Iterator<Item = IpAddr> {
    (first_usable(block)..=last_address(block)).map(move |n| to_address(n, block.family()))
}

fn usable_in(block: Prefix, address: IpAddr) -> bool {
    block.contains(address) && to_number(address) >= first_usable(block)
}

/// What is written to disk.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Stored {
    allocations: Vec<Allocation>,
    #[serde(default)]
    freed: Vec<IpAddr>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Allocation {
    address: IpAddr,
    #[serde(flatten)]
    owner: Owner,
}

impl From<Allocator> for Stored {
    fn from(allocator: Allocator) -> Self {
        let allocations = allocator
            .by_address
            .into_iter()
            .map(|(address, owner)| Allocation { address, owner })
            .collect();
        Self { allocations, freed: allocator.freed.into() }
    }
}

impl TryFrom<Stored> for Allocator {
    type Error = StateError;

    fn try_from(stored: Stored) -> Result<Self, Self::Error> {
        let mut allocator = Self::default();
        for Allocation { address, owner } in stored.allocations {
            if let Some(first) = allocator.owner(address) {
                let first = first.clone();
                return Err(StateError::Double { address, first, second: owner });
            }
            allocator.take(address, owner);
        }
        let mut seen = BTreeSet::new();
        let fresh = |a: &IpAddr| allocator.owner(*a).is_none() && seen.insert(*a);
        let freed: VecDeque<IpAddr> = stored.freed.into_iter().filter(fresh).collect();
        allocator.freed = freed;
        allocator.freed.drain(..allocator.freed.len().saturating_sub(FREED_LIMIT));
        Ok(allocator)
    }
}

#[cfg(test)]
mod tests;
