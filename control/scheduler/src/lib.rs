//! Which node a pod goes to, and why not to the others.
//!
//! Pure: a [`Snapshot`] of nodes and the pods on them, and a pod, give a [`Placement`] or an
//! [`Unschedulable`] that says of every node why not, in the words of Kubernetes.

mod affinity;
mod ports;
mod quantity;
mod requests;
mod schedule;
mod snapshot;
mod taint;

pub use quantity::{Amount, QuantityError};
pub use requests::pod_requests;
pub use schedule::{Placement, Reason, Unschedulable, schedule};
pub use snapshot::Snapshot;
pub use taint::{NOT_READY, UNREACHABLE, UNSCHEDULABLE, tolerates};
