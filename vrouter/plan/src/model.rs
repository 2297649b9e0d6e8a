use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    ops::Range,
};

use viaduct_net::{IfIndex, NextHop, Prefix, UnderlayRoute};

/// The kernel's id of a nexthop object or group; one number space for both.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NexthopId(pub u32);

impl fmt::Display for NexthopId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The ids that are ours to give, `Vd` in the upper half. What lies outside is never touched.
pub const NEXTHOP_IDS: Range<NexthopId> = NexthopId(0x5644_0000)..NexthopId(0x5645_0000);

/// A nexthop object or group of the kernel whose id is in [`NEXTHOP_IDS`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Nexthop {
    /// A neighbour on a link.
    Via(NextHop),
    /// Objects of our range, each with weight 1; never empty.
    Group(BTreeSet<NexthopId>),
    /// Of our protocol, but not of a shape we make: never used, removed when nothing uses it.
    Unknown,
    /// Of another's protocol: its id is taken, and it is left alone.
    Foreign,
}

/// Where a route of ours leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Via {
    Nexthop(NexthopId),
    /// On link: the route of a pod.
    Interface(IfIndex),
    /// For a block of our own, as what no pod has must not leave the node, and for what a peer wants
    /// discarded.
    Blackhole,
    /// Of a shape we do not make.
    Unknown,
}

/// What the kernel tells routes of one table apart by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RouteKey {
    pub prefix: Prefix,
    pub metric: u32,
}

impl RouteKey {
    pub fn ours(prefix: Prefix) -> Self {
        Self { prefix, metric: crate::METRIC }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    pub name: String,
    /// IFF_UP: set by the operator.
    pub admin_up: bool,
    /// IFF_LOWER_UP or IFF_RUNNING: a next hop over a link without it is refused by the kernel.
    pub carrier: bool,
}

impl Link {
    pub fn is_usable(&self) -> bool {
        self.admin_up && self.carrier
    }
}

/// What one look at the kernel found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Snapshot {
    pub links: BTreeMap<IfIndex, Link>,
    pub nexthops: BTreeMap<NexthopId, Nexthop>,
    /// Routes of the main table that carry our protocol number.
    pub routes: BTreeMap<RouteKey, Via>,
    /// Unicast routes of the main table that are not ours, sorted.
    pub underlay: Vec<UnderlayRoute>,
}

/// One change of the kernel. Each is idempotent: done twice, it leaves what it left once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Creates the object, or replaces it in place.
    PutNexthop {
        id: NexthopId,
        next_hop: NextHop,
    },
    /// Creates the group, or replaces its members in place for every route that points at it.
    PutGroup {
        id: NexthopId,
        members: BTreeSet<NexthopId>,
    },
    /// Deletes an object or a group. The kernel takes an object out of its groups, and takes groups
    /// left empty and the routes over them away as well.
    DeleteNexthop {
        id: NexthopId,
    },
    /// Adds the route, or replaces the one of the same key without a gap.
    PutRoute {
        key: RouteKey,
        via: Via,
    },
    DeleteRoute {
        key: RouteKey,
    },
}

impl Snapshot {
    /// Does to this picture what the operation does to the kernel when it succeeds.
    pub fn apply(&mut self, operation: &Operation) {
        match operation {
            Operation::PutNexthop { id, next_hop } => {
                self.nexthops.insert(*id, Nexthop::Via(*next_hop));
            }
            Operation::PutGroup { id, members } => {
                self.nexthops.insert(*id, Nexthop::Group(members.clone()));
            }
            Operation::DeleteNexthop { id } => self.delete_nexthop(*id),
            Operation::PutRoute { key, via } => {
                self.routes.insert(*key, *via);
            }
            Operation::DeleteRoute { key } => {
                self.routes.remove(key);
            }
        }
    }

    fn delete_nexthop(&mut self, id: NexthopId) {
        let mut gone = BTreeSet::from([id]);
        self.nexthops.retain(|other, nexthop| {
            if let Nexthop::Group(members) = nexthop
                && members.remove(&id)
                && members.is_empty()
            {
                gone.insert(*other);
            }
            !gone.contains(other)
        });
        let leads_to_gone = |via: &Via| matches!(via, Via::Nexthop(id) if gone.contains(id));
        self.routes.retain(|_, via| !leads_to_gone(via));
    }

    /// The neighbours that `id` leads to; `None` where it is not there or not of our making.
    pub fn resolve(&self, id: NexthopId) -> Option<BTreeSet<NextHop>> {
        match self.nexthops.get(&id)? {
            Nexthop::Via(next_hop) => Some(BTreeSet::from([*next_hop])),
            Nexthop::Group(members) => {
                members.iter().map(|member| self.neighbour(*member)).collect()
            }
            Nexthop::Unknown | Nexthop::Foreign => None,
        }
    }

    fn neighbour(&self, id: NexthopId) -> Option<NextHop> {
        match self.nexthops.get(&id)? {
            Nexthop::Via(next_hop) => Some(*next_hop),
            Nexthop::Group(_) | Nexthop::Unknown | Nexthop::Foreign => None,
        }
    }

    pub(crate) fn is_usable(&self, interface: IfIndex) -> bool {
        self.links.get(&interface).is_some_and(Link::is_usable)
    }
}
