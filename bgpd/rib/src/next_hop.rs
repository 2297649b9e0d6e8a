//! The distinct next hops of all paths, and where each leads on link.
//!
//! A next hop is resolved once, however many paths have it, in two strata:
//!
//! 1. *directly*, by the longest match over the underlay;
//! 2. *over BGP*: where a BGP route matches longer than the underlay does, and the underlay does
//!    not have the next hop on link, by the best of that route's paths *that resolve directly*
//!    themselves.
//!
//! The second stratum reads only the first, so what a next hop resolves to is a function of the
//! table and not of its history: there is no chain of routes that hold each other up after their
//! ground is gone, and no set of routes that chase each other. A path never resolves over itself,
//! because a route whose best direct path has the next hop in question is passed over
//! (RFC 4271 §9.1.2.1, mutual recursion).
//!
//! What BFD has lost is nobody's, whoever told us of it: neither a next hop at such an address nor one
//! behind it in the underlay, unless there is another way (RFC 5882 §5).

use std::{
    collections::{BTreeSet, HashMap},
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    sync::Arc,
};

use bgp_wire::BgpNextHop;
use viaduct_net::{IfIndex, LinkLocal, NextHop, Prefix};

use crate::{MAX_MULTIPATH, interner::Interner, underlay::UnderlayTable};

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct NextHopId(pub(crate) u32);

/// What makes next hops distinct. The interface only where a link-local address is part of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct NextHopKey {
    next_hop: BgpNextHop,
    interface: Option<IfIndex>,
}

impl NextHopKey {
    pub(crate) fn new(next_hop: BgpNextHop, session: Option<IfIndex>) -> Self {
        let has_link_local = match next_hop {
            BgpNextHop::V4(_) => false,
            BgpNextHop::V6 { global, link_local } => {
                link_local.is_some() || global.is_unicast_link_local()
            }
        };
        Self { next_hop, interface: session.filter(|_| has_link_local) }
    }

    pub(crate) const fn next_hop(&self) -> BgpNextHop {
        self.next_hop
    }

    /// The link, where a link-local address is part of it.
    pub(crate) const fn interface(&self) -> Option<IfIndex> {
        self.interface
    }
}

/// Where a next hop leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Resolved {
    /// On link; sorted, without repeats, one to [`MAX_MULTIPATH`].
    pub(crate) next_hops: Arc<[NextHop]>,
    /// Of the underlay's route, for step e of the decision.
    pub(crate) metric: u32,
}

/// The first stratum.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Direct {
    pub(crate) resolved: Option<Resolved>,
    /// Length of the underlay's prefix that matched.
    matched_len: Option<u8>,
    /// No BGP route can match better: the next hop is on link, or is nobody's.
    is_final: bool,
    /// A way is left out because of [`Ground::lost`].
    has_lost: bool,
}

/// What next hops are resolved over.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ground<'a> {
    pub(crate) underlay: &'a UnderlayTable,
    /// Our own addresses.
    pub(crate) own: &'a [IpAddr],
    /// Neighbours that cannot be reached; one on a link as in
    /// [`LinkLocal::embedded`](viaduct_net::LinkLocal::embedded).
    pub(crate) lost: &'a BTreeSet<IpAddr>,
}

impl Ground<'_> {
    fn has_lost(&self, next_hop: &NextHop) -> bool {
        // Most of the time nothing is.
        !self.lost.is_empty() && self.lost.contains(&neighbour_of(next_hop))
    }
}

/// What the neighbour at a next hop on link is known by.
fn neighbour_of(next_hop: &NextHop) -> IpAddr {
    let on_link = match next_hop.address {
        IpAddr::V6(address) => LinkLocal::new(address, next_hop.interface),
        IpAddr::V4(_) => None,
    };
    on_link.map_or(next_hop.address, LinkLocal::embedded)
}

#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) key: NextHopKey,
    pub(crate) direct: Direct,
    pub(crate) resolved: Option<Resolved>,
    /// Nothing has been decided by it yet: every path that names it waits to be decided anyway.
    pub(crate) fresh: bool,
    /// Paths and told best paths that name this entry.
    references: u32,
    /// Whether it stands in the queue to be resolved.
    queued: bool,
}

#[derive(Debug, Default)]
pub(crate) struct NextHopTable {
    entries: Vec<Option<Entry>>,
    free: Vec<NextHopId>,
    ids: HashMap<NextHopKey, NextHopId>,
    /// Those that a BGP route may match better, to find the ones inside a prefix.
    recursive: BTreeSet<(IpAddr, NextHopId)>,
    /// To be resolved anew by the next flush.
    queue: Vec<NextHopId>,
    sets: Interner<[NextHop]>,
}

impl NextHopTable {
    pub(crate) fn len(&self) -> usize {
        self.ids.len()
    }

    pub(crate) fn at(&self, id: NextHopId) -> &Entry {
        self.entries[id.0 as usize].as_ref().expect("ids are held by reference counts")
    }

    pub(crate) fn at_mut(&mut self, id: NextHopId) -> &mut Entry {
        self.entries[id.0 as usize].as_mut().expect("ids are held by reference counts")
    }

    pub(crate) fn ids(&self) -> impl Iterator<Item = NextHopId> {
        let ids = (0..self.entries.len() as u32).map(NextHopId);
        ids.filter(|id| self.entries[id.0 as usize].is_some())
    }

    /// The entry of a next hop, with one more reference.
    pub(crate) fn acquire(&mut self, key: NextHopKey, ground: Ground<'_>) -> NextHopId {
        if let Some(&id) = self.ids.get(&key) {
            self.retain(id);
            return id;
        }
        let entry = Some(Entry {
            key,
            direct: Direct::default(),
            resolved: None,
            fresh: true,
            references: 1,
            queued: false,
        });
        let id = match self.free.pop() {
            Some(id) => {
                self.entries[id.0 as usize] = entry;
                id
            }
            None => {
                self.entries.push(entry);
                NextHopId(self.entries.len() as u32 - 1)
            }
        };
        self.ids.insert(key, id);
        self.refresh_direct(id, ground);
        self.enqueue(id);
        id
    }

    pub(crate) fn retain(&mut self, id: NextHopId) {
        self.at_mut(id).references += 1;
    }

    pub(crate) fn release(&mut self, id: NextHopId) {
        let entry = self.at_mut(id);
        entry.references -= 1;
        if entry.references == 0 {
            let key = entry.key;
            self.ids.remove(&key);
            self.recursive.remove(&(key.next_hop.address(), id));
            self.entries[id.0 as usize] = None;
            self.free.push(id);
        }
    }

    /// Resolves over the underlay; gives whether that has changed anything.
    pub(crate) fn refresh_direct(&mut self, id: NextHopId, ground: Ground<'_>) -> bool {
        let key = self.at(id).key;
        let direct = self.resolve_directly(key, ground);
        if direct.is_final {
            self.recursive.remove(&(key.next_hop.address(), id));
        } else {
            self.recursive.insert((key.next_hop.address(), id));
        }
        let entry = self.at_mut(id);
        let changed = entry.direct != direct;
        entry.direct = direct;
        changed
    }

    fn resolve_directly(&mut self, key: NextHopKey, ground: Ground<'_>) -> Direct {
        let address = key.next_hop.address();
        let nobody = Direct { is_final: true, ..Direct::default() };
        // RFC 4271 §5.1.3: a route must not lead through ourselves.
        if ground.own.contains(&address) {
            return nobody;
        }
        // However many ways there are to it.
        if ground.lost.contains(&address) {
            return Direct { has_lost: true, ..nobody };
        }
        let link_local = match key.next_hop {
            BgpNextHop::V6 { global, .. } if global.is_unicast_link_local() => {
                let next_hop = on_session_link(global, key.interface, ground.underlay);
                return Direct { is_final: true, ..self.direct(next_hop, 0, ground) };
            }
            BgpNextHop::V6 { link_local, .. } => link_local,
            BgpNextHop::V4(_) => None,
        };
        let Some(routes) = ground.underlay.lookup(address) else {
            // The peer is on link by its link-local address, though we have no address of its net.
            let next_hop = link_local
                .and_then(|address| on_session_link(address, key.interface, ground.underlay));
            return Direct { is_final: next_hop.is_some(), ..self.direct(next_hop, 0, ground) };
        };
        let first = routes[0];
        let next_hops = routes.iter().map(|route| NextHop {
            address: route.gateway.unwrap_or(address),
            interface: route.interface,
        });
        Direct {
            matched_len: Some(first.prefix.len()),
            is_final: routes.iter().any(|route| route.gateway.is_none()),
            ..self.direct(next_hops, first.metric, ground)
        }
    }

    /// Those of the next hops that are not lost.
    fn direct(
        &mut self,
        next_hops: impl IntoIterator<Item = NextHop>,
        metric: u32,
        ground: Ground<'_>,
    ) -> Direct {
        let mut next_hops: Vec<_> = next_hops.into_iter().collect();
        let all = next_hops.len();
        next_hops.retain(|next_hop| !ground.has_lost(next_hop));
        let has_lost = next_hops.len() < all;
        let resolved =
            (!next_hops.is_empty()).then(|| Resolved { next_hops: self.set(next_hops), metric });
        Direct { resolved, has_lost, ..Direct::default() }
    }

    /// The one allocation of a set of next hops.
    pub(crate) fn set(&mut self, next_hops: impl IntoIterator<Item = NextHop>) -> Arc<[NextHop]> {
        let mut next_hops: Vec<_> = next_hops.into_iter().collect();
        next_hops.sort_unstable();
        next_hops.dedup();
        next_hops.truncate(MAX_MULTIPATH);
        self.sets.intern(&next_hops, |new| Arc::from(new))
    }

    pub(crate) fn enqueue(&mut self, id: NextHopId) {
        let entry = self.at_mut(id);
        if !std::mem::replace(&mut entry.queued, true) {
            self.queue.push(id);
        }
    }

    /// Whether any next hop could be matched better by a BGP route.
    pub(crate) fn has_recursive(&self) -> bool {
        !self.recursive.is_empty()
    }

    /// Queues the next hops that a route for `prefix` could lead to.
    pub(crate) fn enqueue_inside(&mut self, prefix: Prefix) {
        let first = (prefix.address(), NextHopId(0));
        let last = (last_address(prefix), NextHopId(u32::MAX));
        let inside: Vec<_> = self.recursive.range(first..=last).map(|&(_, id)| id).collect();
        inside.into_iter().for_each(|id| self.enqueue(id));
    }

    /// Takes one to be resolved; those that are gone by now are left out.
    pub(crate) fn dequeue(&mut self) -> Option<NextHopId> {
        while let Some(id) = self.queue.pop() {
            if let Some(entry) = &mut self.entries[id.0 as usize]
                && entry.queued
            {
                entry.queued = false;
                return Some(id);
            }
        }
        None
    }
}

fn on_session_link(
    address: Ipv6Addr,
    interface: Option<IfIndex>,
    underlay: &UnderlayTable,
) -> Option<NextHop> {
    let interface = interface.filter(|interface| underlay.has_interface(*interface))?;
    Some(NextHop { address: address.into(), interface })
}

impl Entry {
    /// Whether it leads nowhere because of what is lost, and not because nobody knows a way.
    pub(crate) const fn is_lost(&self) -> bool {
        self.resolved.is_none() && self.direct.has_lost
    }

    /// Whether it may lead elsewhere once these are lost, or found again.
    pub(crate) fn concerns(&self, neighbours: &BTreeSet<IpAddr>) -> bool {
        let over = self.direct.resolved.iter().flat_map(|resolved| resolved.next_hops.iter());
        self.direct.has_lost
            || neighbours.contains(&self.key.next_hop.address())
            || over.map(neighbour_of).any(|neighbour| neighbours.contains(&neighbour))
    }
}

impl Direct {
    /// The lengths a BGP route must have to match longer than the underlay, longest first.
    pub(crate) fn longer_lens(&self, address: IpAddr) -> impl Iterator<Item = u8> + use<> {
        let bits = viaduct_net::Family::of(address).bits();
        let shortest =
            if self.is_final { bits + 1 } else { self.matched_len.map_or(0, |len| len + 1) };
        (shortest..=bits).rev()
    }
}

fn last_address(prefix: Prefix) -> IpAddr {
    let len = u32::from(prefix.len());
    match prefix.address() {
        IpAddr::V4(address) => {
            let host = u32::MAX.checked_shr(len).unwrap_or(0);
            Ipv4Addr::from(u32::from(address) | host).into()
        }
        IpAddr::V6(address) => {
            let host = u128::MAX.checked_shr(len).unwrap_or(0);
            Ipv6Addr::from(u128::from(address) | host).into()
        }
    }
}
