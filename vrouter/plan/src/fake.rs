//! A kernel in memory, with the rules of the real one that matter to the order of operations.

use std::collections::{BTreeMap, BTreeSet};

use viaduct_net::{Family, IfIndex, Prefix};

use crate::{Kernel, Link, Nexthop, NexthopId, Operation, OperationError, Snapshot, Via};

const ENOENT: i32 = 2;
const ENODEV: i32 = 19;
const EINVAL: i32 = 22;
const ENETDOWN: i32 = 100;
const ESRCH: i32 = 3;

/// Holds a state, refuses what Linux refuses, and remembers every state between.
#[derive(Clone, Debug, Default)]
pub struct FakeKernel {
    pub state: Snapshot,
    /// The state after each operation that was tried.
    pub history: Vec<Snapshot>,
    /// Every operation that was tried.
    pub tried: Vec<Operation>,
    /// Routes that are refused, as the kernel may for reasons of its own.
    pub refused: BTreeSet<Prefix>,
}

impl FakeKernel {
    /// A kernel with these links, all up, and nothing else.
    pub fn with_links<const N: usize>(links: [(u32, &str); N]) -> Self {
        let links = links.into_iter().map(|(index, name)| (IfIndex(index), link(name)));
        Self {
            state: Snapshot { links: links.collect(), ..Snapshot::default() },
            ..Self::default()
        }
    }

    /// Takes a link down: what leads over it goes with it, without a word, as in Linux.
    pub fn link_down(&mut self, interface: IfIndex) {
        if let Some(link) = self.state.links.get_mut(&interface) {
            link.admin_up = false;
            link.carrier = false;
        }
        let over_it: Vec<NexthopId> = self
            .state
            .nexthops
            .iter()
            .filter(|(_, nexthop)| {
                matches!(nexthop, Nexthop::Via(next_hop) if next_hop.interface == interface)
            })
            .map(|(id, _)| *id)
            .collect();
        for id in over_it {
            self.state.apply(&Operation::DeleteNexthop { id });
        }
        self.state.routes.retain(|_, via| *via != Via::Interface(interface));
    }

    pub fn link_up(&mut self, interface: IfIndex) {
        if let Some(link) = self.state.links.get_mut(&interface) {
            link.admin_up = true;
            link.carrier = true;
        }
    }

    fn try_one(&mut self, operation: &Operation) -> Result<(), OperationError> {
        let state = &self.state;
        match operation {
            Operation::PutNexthop { id, next_hop } => {
                let link = state.links.get(&next_hop.interface).ok_or_else(|| error(ENODEV))?;
                check(link.is_usable(), ENETDOWN)?;
                check(!matches!(state.nexthops.get(id), Some(Nexthop::Group(_))), EINVAL)?;
            }
            Operation::PutGroup { id, members } => {
                check(!members.is_empty(), EINVAL)?;
                for member in members {
                    check(matches!(state.nexthops.get(member), Some(Nexthop::Via(_))), EINVAL)?;
                }
                check(!matches!(state.nexthops.get(id), Some(Nexthop::Via(_))), EINVAL)?;
                let over_it = |via: &Via| *via == Via::Nexthop(*id);
                let six = state
                    .routes
                    .iter()
                    .any(|(key, via)| key.prefix.family() == Family::V6 && over_it(via));
                check(!six || !members.iter().any(|member| self.has_four(*member)), EINVAL)?;
            }
            Operation::DeleteNexthop { id } => {
                check(state.nexthops.contains_key(id), ENOENT)?;
            }
            Operation::PutRoute { key, via } => {
                check(!self.refused.contains(&key.prefix), EINVAL)?;
                match via {
                    Via::Nexthop(id) => {
                        check(state.nexthops.contains_key(id), EINVAL)?;
                        let six = key.prefix.family() == Family::V6;
                        check(!six || !self.has_four(*id), EINVAL)?;
                    }
                    Via::Interface(interface) => {
                        let link = state.links.get(interface).ok_or_else(|| error(ENODEV))?;
                        check(link.admin_up, ENETDOWN)?;
                    }
                    Via::Blackhole => {}
                    Via::Unknown => return Err(error(EINVAL)),
                }
            }
            Operation::DeleteRoute { key } => check(state.routes.contains_key(key), ESRCH)?,
        }
        self.state.apply(operation);
        Ok(())
    }

    fn has_four(&self, id: NexthopId) -> bool {
        let set = self.state.resolve(id).unwrap_or_default();
        set.iter().any(|next_hop| next_hop.address.is_ipv4())
    }
}

/// A link that is up.
pub fn link(name: &str) -> Link {
    Link { name: name.to_owned(), admin_up: true, carrier: true }
}

fn check(holds: bool, errno: i32) -> Result<(), OperationError> {
    if holds { Ok(()) } else { Err(error(errno)) }
}

fn error(errno: i32) -> OperationError {
    OperationError { errno, message: "refused by the fake".to_owned() }
}

impl Kernel for FakeKernel {
    type Error = std::convert::Infallible;

    fn snapshot(&mut self) -> Result<Snapshot, Self::Error> {
        Ok(self.state.clone())
    }

    fn apply(&mut self, operations: &[Operation]) -> Vec<Result<(), OperationError>> {
        let mut results = Vec::new();
        for operation in operations {
            results.push(self.try_one(operation));
            self.tried.push(operation.clone());
            self.history.push(self.state.clone());
        }
        results
    }
}

/// The routes of a state with what they lead to in the end, ids left out.
pub fn resolved(state: &Snapshot) -> BTreeMap<Prefix, String> {
    let lead = |via: &Via| match via {
        Via::Nexthop(id) => {
            let hops = state.resolve(*id).unwrap_or_default();
            let texts: Vec<String> =
                hops.iter().map(|hop| format!("{}%{}", hop.address, hop.interface)).collect();
            texts.join(",")
        }
        Via::Interface(interface) => format!("dev {interface}"),
        Via::Blackhole => "blackhole".to_owned(),
        Via::Unknown => "unknown".to_owned(),
    };
    state.routes.iter().map(|(key, via)| (key.prefix, lead(via))).collect()
}
