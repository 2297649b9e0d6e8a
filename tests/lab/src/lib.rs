//! The harness of the end-to-end tests: a cluster as `viaduct up` makes it, and what a test does
//! to it. Everything is found the way an operator finds it: namespaces, cgroups, pid files, the
//! admin sockets and the API.

mod browser;
mod cluster;
pub mod dns;
mod load;
mod shell;

pub use browser::Browser;
pub use cluster::{Cluster, Options, PodHandle, examples, program, viaduct};
pub use load::{Called, Load, Outcome, Reply, Summary};
pub use shell::{Shell, repeat, run, wait_for};
