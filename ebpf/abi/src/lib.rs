//! The keys and values that the eBPF programs and the user side share.
//!
//! Everything here is `repr(C)`, of integers and byte arrays, without implicit padding, with its
//! size asserted: the kernel compares keys byte by byte, and a pinned map outlives the process
//! that made it. A name that ends in `_be` holds network byte order, every other integer the
//! host's. Changing a layout, the meaning of a field or the name of a map raises [`ABI_VERSION`],
//! and with it the folder of the pins.
//!
//! The maps, and who writes them:
//!
//! | map | key | value | written by |
//! |---|---|---|---|
//! | [`map::SERVICES`] | [`ServiceKey`] | [`ServiceValue`] | user |
//! | [`map::MAGLEV`] | place / [`MAGLEV_CHUNK`], `u32` | [`MaglevChunk`] | user |
//! | [`map::BACKENDS`] | backend id, `u32` | [`BackendValue`] | user |
//! | [`map::ADDRESSES`] | [`Address`] | flags, `u32` | user |
//! | [`map::SOURCES`] | [`SourceRange`], longest prefix | 1, `u32` | user |
//! | [`map::PODS`] | ifindex, `u32` | [`PodValue`] | user |
//! | [`map::CONFIG`] | 0, `u32` | [`NodeConfig`] | user |
//! | [`map::CONNECTIONS`] | cookie of a connected socket, `u64` | [`SocketOrigin`] | programs |
//! | [`map::SOCKET_ORIGINS`] | [`SocketKey`] | [`SocketOrigin`] | programs |
//! | [`map::SOCKET_CHOICES`] | [`SocketKey`] | [`SocketChoice`] | programs |
//! | [`map::AFFINITY`] | [`AffinityKey`] | [`AffinityValue`] | programs |
//! | [`map::FLOWS_EMBRYONIC`], [`map::FLOWS_ESTABLISHED`] | [`FlowKey`] | [`FlowValue`] | programs |
//! | [`map::REPLIES`] | 0, `u32` | [`ReplyBudget`], per CPU | programs |
//! | [`map::COUNTERS`] | [`Counter`] as `u32` | `u64`, per CPU | programs |
#![no_std]

mod address;
mod client;
mod counter;
mod flow;
mod node;
mod plain;
mod service;
mod socket;

pub use address::Address;
pub use client::{
    AffinityKey, AffinityValue, SOURCE_BITS_MAX, SOURCE_BITS_MIN, Source, SourceRange,
};
pub use counter::{COUNTERS_MAX, Counter};
pub use flow::{FlowFlags, FlowKey, FlowValue};
pub use node::{
    ADDRESS_NODE, ADDRESS_SERVICE, ADDRESS_VIP, NodeConfig, PodValue, ReplyBudget, SERVICE_MARK,
};
pub use plain::Plain;
pub use service::{
    BACKEND_DRAINING, BACKEND_LOCAL, BACKEND_NONE, BackendValue, MAGLEV_CHUNK, MaglevChunk,
    SCOPE_EXTERNAL, SCOPE_INTERNAL, SERVICE_DROP_WHEN_EMPTY, SERVICE_LIMITS_SOURCES, SERVICE_NONE,
    ServiceKey, ServiceValue,
};
pub use socket::{SocketChoice, SocketKey, SocketOrigin};

/// Raised with every change that a pinned map or a running program would notice. A map more is
/// none: it is made beside those that are adopted, and what was noted elsewhere before is forgotten.
pub const ABI_VERSION: u32 = 2;

/// `IPPROTO_TCP`.
pub const PROTOCOL_TCP: u8 = 6;
/// `IPPROTO_UDP`.
pub const PROTOCOL_UDP: u8 = 17;

/// The names of the maps, in the object and under the pin folder.
pub mod map {
    pub const SERVICES: &str = "SERVICES";
    pub const MAGLEV: &str = "MAGLEV";
    pub const BACKENDS: &str = "BACKENDS";
    pub const ADDRESSES: &str = "ADDRESSES";
    pub const PODS: &str = "PODS";
    pub const CONFIG: &str = "CONFIG";
    pub const CONNECTIONS: &str = "CONNECTIONS";
    pub const SOCKET_ORIGINS: &str = "SOCKET_ORIGINS";
    pub const SOCKET_CHOICES: &str = "SOCKET_CHOICES";
    pub const FLOWS_EMBRYONIC: &str = "FLOWS_EMBRYONIC";
    pub const FLOWS_ESTABLISHED: &str = "FLOWS_ESTABLISHED";
    pub const AFFINITY: &str = "AFFINITY";
    pub const SOURCES: &str = "SOURCES";
    pub const REPLIES: &str = "REPLIES";
    pub const COUNTERS: &str = "COUNTERS";
}
