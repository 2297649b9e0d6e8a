//! The kubelet of the lean control plane: the pods of one node, through an OCI runtime.
//!
//! [`run`] registers the node, keeps its lease, and gives every pod that is bound to it a worker
//! (`pod`), which asks a pure core (`core`) what to do and does it through runc and conmon
//! (`runtime`). Containers never belong to this process: it may end at any time, and the next
//! one finds them by the records below [`KubeletConfig::root_dir`].

mod config;
mod core;
mod disk;
mod env;
mod events;
mod http;
pub mod image;
mod kube_api;
mod kubelet;
mod network;
mod node;
mod pod;
mod quantity;
mod runtime;
mod stats;
mod volumes;

pub use config::{Capacity, CniConfig, KubeletConfig, PORT_DEFAULT};
pub use kubelet::{KubeletError, run};
pub use node::{CPU_USAGE_ANNOTATION, MEMORY_USAGE_ANNOTATION};
pub use runtime::{RuntimeError, purge};
