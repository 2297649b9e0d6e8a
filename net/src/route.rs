use std::{net::IpAddr, sync::Arc};

use serde::{Deserialize, Serialize};

use crate::{IfIndex, Prefix};

/// Where packets for a route go: a neighbour on a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct NextHop {
    /// The neighbour, always on link: recursion has been resolved by the speaker.
    pub address: IpAddr,
    pub interface: IfIndex,
}

/// Who told us of a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RouteSource {
    Ibgp,
    Ebgp,
}

/// The route the speaker wants in the FIB.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Route {
    /// Sorted, without repeats, all usable; more than one is ECMP. Without any, packets are discarded
    /// (RFC 7999).
    pub next_hops: Arc<[NextHop]>,
    pub source: RouteSource,
}

impl Route {
    /// Whether packets go nowhere, by somebody's wish.
    pub fn is_discard(&self) -> bool {
        self.next_hops.is_empty()
    }
}

/// From the speaker to the vRouter: what the FIB should hold for `prefix` from now on; `None` when
/// no usable path is left.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouteUpdate {
    pub prefix: Prefix,
    pub route: Option<Route>,
}

/// A route of the kernel that is not ours: what next hops of BGP are resolved over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct UnderlayRoute {
    pub prefix: Prefix,
    /// `None`: on link.
    pub gateway: Option<IpAddr>,
    pub interface: IfIndex,
    /// The kernel's metric; a tie-break of the decision (RFC 4271 §9.1.2.2 e).
    pub metric: u32,
}

/// From the vRouter to the speaker: the whole underlay, sorted by prefix, replaced on every change.
/// Routes over links without carrier are not in it.
pub type Underlay = Arc<[UnderlayRoute]>;

/// Why this node originates a prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OriginSource {
    /// A block of pod addresses that belongs to this node.
    Block,
    /// The virtual IP of a service that this node can serve.
    Vip,
    /// Named in the configuration.
    Static,
}

impl OriginSource {
    pub const ALL: [Self; 3] = [Self::Block, Self::Vip, Self::Static];
}

/// A prefix this node announces. The speaker is given the whole set, replaced on every change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Origination {
    pub prefix: Prefix,
    pub source: OriginSource,
}
