use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use viaduct_net::{NextHop, Prefix};

/// What the kernel should hold.
///
/// Where one prefix is wanted for several reasons, a pod stands before a block of our own, and
/// that before BGP.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Desired {
    /// Routes learned by BGP, with their next hops sorted. Without any, packets are discarded.
    pub bgp: BTreeMap<Prefix, Arc<[NextHop]>>,
    /// Whether `bgp` is whole. Until then no learned route and no nexthop is taken away: they are
    /// what the daemon before us left, and traffic flows over them.
    pub bgp_complete: bool,
    /// The pods of this node: host prefix to the name of the interface.
    pub pods: BTreeMap<Prefix, String>,
    /// The blocks of this node.
    pub blocks: BTreeSet<Prefix>,
    /// Whether `pods` and `blocks` are whole; until then none of theirs is taken away.
    pub local_complete: bool,
    /// Neighbours known to be lost although routes still name them. They are left out of every
    /// group that has another member; a sole member stays, for there is nothing better.
    pub lost: BTreeSet<NextHop>,
}
