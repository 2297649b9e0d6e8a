//! Pods on the network of a node, by the Container Network Interface (CNI 1.1).
//!
//! Two sides of one socket. [`plugin_main`] is what a container runtime runs: it turns the
//! environment and the configuration of CNI into one request. [`serve`] answers in the node's
//! daemon from a [`PodNetwork`], which gives addresses, wires the pod, guards its source address
//! and keeps what it did on disk, so that no death of a process loses or doubles anything.

mod attachment;
mod config;
mod guard;
mod host;
mod netlink;
mod netns;
mod network;
mod plugin;
mod pod;
mod protocol;
mod result;
mod server;
mod state;
mod sysctl;

pub use attachment::{Attachment, HOST_VETH_PREFIX, PodName};
pub use config::{DEFAULT_SOCKET, NetConf};
pub use guard::{GuardError, Mark};
pub use network::{
    AddRequest, Counters, POD_ROUTE_PROTOCOL, PodNetwork, PodNetworkConfig, PodNetworkError,
};
pub use plugin::plugin_main;
pub use result::{CniError, code};
pub use server::{ServeError, bind, serve};
pub use state::StateError;
pub use vrouter_ipam::Owner;
