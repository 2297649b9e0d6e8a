//! Which node a pod goes to, and why not to the others; whom it displaces where no node has room.
//!
//! Pure: a [`Snapshot`] of nodes and the pods on them, and a pod, give a [`Placement`] or an
//! [`Unschedulable`] that says of every node why not, in the words of Kubernetes, and then a
//! [`Preemption`] or a [`NoPreemption`].

mod node_affinity;
mod pod_affinity;
mod pod_info;
mod ports;
mod preempt;
mod quantity;
mod reason;
mod requests;
mod schedule;
mod selector;
mod snapshot;
mod spread;
mod taint;
mod term;
#[cfg(test)]
mod testing;

pub use pod_info::PodId;
pub use preempt::{NoPreemption, Preemption, preempt};
pub use quantity::{Amount, QuantityError};
pub use reason::{Reason, Unschedulable};
pub use requests::pod_requests;
pub use schedule::{Placement, schedule};
pub use selector::selects;
pub use snapshot::Snapshot;
pub use taint::{NOT_READY, UNREACHABLE, UNSCHEDULABLE, tolerates};
