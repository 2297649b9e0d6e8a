//! Services and endpoints as they should stand in the maps of the eBPF programs.
//!
//! ```text
//!  Snapshot ──expand──▶ Desired ──Balancer──▶ operations ──▶ Maps
//!  services,            frontends with        ids, tables,
//!  endpoints            their backends        order in time
//!  Masks ─────▲
//!  nodes that are lost
//! ```
//!
//! A frontend's value names a range of one flat array, where its Maglev table lies. A new table is
//! written aside and taken into use by one write of the value; the old range, and backends that
//! are gone, are left alone until no program can still be reading them. What the maps hold is read
//! once and adopted, so a restart changes nothing that is right.

mod arena;
mod balancer;
mod desired;
mod expand;
pub mod fake;
pub mod maglev;
mod maps;
mod masks;
mod model;
mod table;

pub use balancer::{Balancer, Plan, Problem};
pub use desired::{Changes, Desired, expand};
pub use expand::{BackendKey, BackendState, Conflict, Frontend, FrontendKind};
pub use maps::{Contents, Limits, Maps, Operation};
pub use masks::{Mask, MaskChanges, Masks, Share};
pub use model::{
    Endpoint, Node, Protocol, Service, ServiceName, ServicePort, Snapshot, TrafficPolicy,
};
pub use table::Table;

#[cfg(test)]
mod tests;
