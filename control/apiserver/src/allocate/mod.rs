//! Addresses and node ports of services: which are taken, by whom, and which comes next.
//!
//! Pure. The caller holds one lock from [`Allocator::complete`] over the write to the store to
//! [`Allocator::record`], so what is given out here is never given out twice, and what the store
//! refused was never given out at all. At start everything is recorded anew from the store.

mod service;
#[cfg(test)]
mod tests;

use std::{collections::BTreeMap, net::IpAddr, ops::RangeInclusive};

use serde_json::Value;
use viaduct_net::{Family, Prefix};

pub(crate) use service::carry_over;

/// Addresses of one range that are ever used. A wider IPv6 range is not searched further.
const MAX_ADDRESSES: u128 = 1 << 20;

/// `NAMESPACE/NAME` of the service that has an address or port.
type Owner = String;

#[derive(Debug)]
pub(crate) struct Allocator {
    ranges: Vec<Range>,
    node_ports: RangeInclusive<u16>,
    next_port: u16,
    addresses: BTreeMap<IpAddr, Owner>,
    ports: BTreeMap<u16, Owner>,
}

/// One range of service addresses. The lower part is left to those who ask for an address by
/// name, for as long as there is room above it.
#[derive(Debug)]
struct Range {
    prefix: Prefix,
    /// Offsets that may be given out, from 1.
    last: u128,
    /// The first offset that is given to who asks for none.
    band: u128,
    /// Where the search goes on: an address that was just released comes last.
    next: u128,
}

impl Range {
    fn new(prefix: Prefix) -> Self {
        let host_bits = u32::from(prefix.family().bits() - prefix.len());
        let size = 1u128.checked_shl(host_bits).unwrap_or(u128::MAX).min(MAX_ADDRESSES);
        // The last address of an IPv4 network is its broadcast address.
        let last = match prefix.family() {
            Family::V4 => size.saturating_sub(2),
            Family::V6 => size.saturating_sub(1),
        };
        let band = (size / 16).clamp(16, 256).min(last.max(1));
        Self { prefix, last, band, next: band }
    }

    fn at(&self, offset: u128) -> IpAddr {
        match self.prefix.address() {
            IpAddr::V4(base) => {
                let offset = u32::try_from(offset).unwrap_or(u32::MAX);
                IpAddr::V4(base.to_bits().wrapping_add(offset).into())
            }
            IpAddr::V6(base) => IpAddr::V6(base.to_bits().wrapping_add(offset).into()),
        }
    }

    fn offset(&self, address: IpAddr) -> Option<u128> {
        let offset = match (self.prefix.address(), address) {
            (IpAddr::V4(base), IpAddr::V4(it)) => {
                u128::from(it.to_bits().checked_sub(base.to_bits())?)
            }
            (IpAddr::V6(base), IpAddr::V6(it)) => it.to_bits().checked_sub(base.to_bits())?,
            _ => return None,
        };
        (1..=self.last).contains(&offset).then_some(offset)
    }

    /// The next address that is free: from `next` on, round by the upper part, then the lower.
    fn free(&self, taken: impl Fn(IpAddr) -> bool) -> Option<IpAddr> {
        let next = self.next.clamp(self.band, self.last.max(self.band));
        (next..=self.last)
            .chain(self.band..next)
            .chain((1..self.band).rev())
            .map(|offset| self.at(offset))
            .find(|address| !taken(*address))
    }
}

impl Allocator {
    pub(crate) fn new(cidrs: &[Prefix], node_ports: RangeInclusive<u16>) -> Self {
        let ranges = cidrs.iter().copied().map(Range::new).collect();
        let next_port = first_dynamic_port(&node_ports);
        let (addresses, ports) = (BTreeMap::new(), BTreeMap::new());
        Self { ranges, node_ports, next_port, addresses, ports }
    }

    /// The first address of each range: that of the API server itself.
    pub(crate) fn first_addresses(&self) -> Vec<IpAddr> {
        self.ranges.iter().map(|range| range.at(1)).collect()
    }

    fn range(&self, family: Family) -> Option<&Range> {
        self.ranges.iter().find(|range| range.prefix.family() == family)
    }

    /// Notes what the store has: `old` is no longer, `new` is.
    pub(crate) fn record(&mut self, old: Option<&Value>, new: Option<&Value>) {
        for (service, is_new) in [(old, false), (new, true)] {
            let Some(service) = service else { continue };
            let owner = service::owner(service);
            for address in service::addresses(service) {
                if is_new {
                    self.addresses.insert(address, owner.clone());
                    if let Some((range, offset)) =
                        self.ranges.iter_mut().find_map(|r| r.offset(address).map(|o| (r, o)))
                        && offset >= range.next
                    {
                        range.next = if offset == range.last { range.band } else { offset + 1 };
                    }
                } else if self.addresses.get(&address) == Some(&owner) {
                    self.addresses.remove(&address);
                }
            }
            for port in service::node_ports(service) {
                if is_new {
                    self.ports.insert(port, owner.clone());
                    if port >= self.next_port && self.node_ports.contains(&port) {
                        self.next_port = if port == *self.node_ports.end() {
                            first_dynamic_port(&self.node_ports)
                        } else {
                            port + 1
                        };
                    }
                } else if self.ports.get(&port) == Some(&owner) {
                    self.ports.remove(&port);
                }
            }
        }
    }

    /// The next free port that is not among `mine` either.
    fn free_port(&self, mine: &[u16]) -> Option<u16> {
        let (first, last) = (*self.node_ports.start(), *self.node_ports.end());
        (self.next_port..=last)
            .chain(first_dynamic_port(&self.node_ports)..self.next_port)
            .chain((first..first_dynamic_port(&self.node_ports)).rev())
            .find(|port| !self.ports.contains_key(port) && !mine.contains(port))
    }
}

/// As for addresses, the lower ports are left to those who ask for one.
fn first_dynamic_port(range: &RangeInclusive<u16>) -> u16 {
    let size = range.end().saturating_sub(*range.start());
    range.start() + (size / 32).min(128)
}
