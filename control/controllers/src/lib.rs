//! The controllers of the lean control plane.
//!
//! Each is a pure function: from the cluster as it is ([`World`]) to what should be done
//! ([`Outcome`]). One shell feeds the world from watches, asks them, and makes their requests with
//! optimistic concurrency. The ClusterIPs and node ports of services are not theirs: the API
//! server gives those on admission.

mod block;
mod claim;
mod collect;
mod config;
mod deployment;
mod disruption;
mod endpoint_slice;
mod kinds;
mod namespace;
mod node_lifecycle;
mod operation;
mod percent;
mod pods;
mod queue;
mod replica_set;
mod scheduling;
mod selector;
mod shell;
mod task;
#[cfg(test)]
mod testing;
mod vip;
mod world;

pub use config::ControllersConfig;
pub use kinds::{Custom, Key, Kind, Object, Objects, Ref};
pub use operation::{Note, Now, Operation, Outcome, Propagation, Step};
pub use shell::{RunError, run};
pub use vip::{VIP_ADDRESSES_ANNOTATION, VIP_POOL_ANNOTATION, VIP_SHARING_KEY_ANNOTATION};
pub use world::{Change, World};
