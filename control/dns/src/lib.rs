//! Cluster DNS: the names of services and pods by the Kubernetes DNS specification 1.1.0, and
//! everything else asked of the name servers of the node.
//!
//! [`Zone`] is the pure core: services and slices in, answers out. Around it a server for UDP and
//! TCP, which never fails its process: what is wrong is said in [`Handle::problems`].

mod forward;
mod message;
mod metrics;
mod server;
mod sockets;
mod zone;

pub use server::{Config, Handle, spawn};
pub use sockets::{SocketError, Sockets, bind};
pub use zone::{
    Answer, DomainError, Endpoint, Key, Lookup, Port, Service, ServiceKind, Slice, Zone, ZoneConfig,
};
