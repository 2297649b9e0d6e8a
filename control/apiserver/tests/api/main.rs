//! The API server over real sockets.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod ca;
mod common;
mod evictions;
mod kubectl;
mod kubectl_deployments;
mod kubectl_errors;
mod kubectl_objects;
mod objects;
mod page;
mod priorities;
mod secure;
mod watches;
