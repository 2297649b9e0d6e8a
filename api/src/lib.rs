//! Types that cross a process boundary: our custom resources and the answers of the admin socket.
//!
//! Their JSON schemas are derived here and served by the API server, so the types are the only
//! place in which a field is described.

pub mod admin;
pub mod v1alpha1;
