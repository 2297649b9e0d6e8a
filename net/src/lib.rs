//! What the parts of Viaduct say to each other about networks.
//!
//! Addresses, prefixes, numbers of autonomous systems, and the small channel types by which the
//! speaker, the vRouter and the balancer meet in `viaduct/`. This crate imports nothing of ours,
//! does no I/O and knows no runtime, so every pure crate may use it.

mod asn;
pub mod feed;
mod link_local;
mod loss;
mod prefix;
mod route;
mod router_id;

pub use asn::{Asn, AsnParseError};
pub use link_local::{LinkLocal, Readable, neighbour_address, socket_address};
pub use loss::{LossCause, LostNeighbours, LostNodes};
pub use prefix::{Family, Prefix, PrefixError};
pub use route::{
    NextHop, OriginSource, Origination, Route, RouteSource, RouteUpdate, Underlay, UnderlayRoute,
};
pub use router_id::{RouterId, RouterIdError};

/// The kernel's number for an interface, as in `ip link`.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize,
)]
#[serde(transparent)]
pub struct IfIndex(pub u32);

impl std::fmt::Display for IfIndex {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}
