//! What the kernel should hold, what it holds, and the operations that lead from one to the other.
//!
//! Every BGP route points at a nexthop group by id, and every group at nexthop objects, so that
//! routes with the same next hops share one group: a change of the next hops of a hundred thousand
//! routes is one operation, and the loss of a neighbour is one object deleted.
//!
//! ```text
//!  route 10.244.1.0/26 ─┐
//!  route 10.244.2.0/26 ─┼─▶ group ─▶ nexthop 192.0.2.1 dev eth0
//!  route 2001:db8::/64 … ─▶ group ─▶ nexthop fe80::1 dev eth1
//! ```
//!
//! The diff is level-triggered and remembers nothing: ids are read from what is observed, so that
//! a daemon that has just started adopts what its predecessor left, object by object.

mod converge;
mod desired;
mod diff;
pub mod fake;
mod model;
mod rows;
mod targets;

pub use converge::{Kernel, OperationError, Outcome, converge};
pub use desired::Desired;
pub use diff::{Plan, lose, plan, sweep};
pub use model::{Link, NEXTHOP_IDS, Nexthop, NexthopId, Operation, RouteKey, Snapshot, Via};
pub use rows::{RouteRow, rows};
pub use targets::Waiting;

/// The metric of every route of ours (RTA_PRIORITY; lower is better). Fixed, because it is part of
/// the kernel's key of a route: with another metric a route would be added beside the old one
/// instead of replacing it. Better than what DHCP (100) and router advertisements (1024) give.
pub const METRIC: u32 = 86;

#[cfg(test)]
mod tests;
