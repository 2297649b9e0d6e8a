use std::collections::BTreeMap;

use tokio::sync::watch;
use viaduct_net::Prefix;
use vrouter_plan::{Operation, OperationError, Outcome, Waiting};

/// Routes that are named one by one; of more a number is told.
const NAMED_MAX: usize = 5;

/// What an operator should know of.
#[derive(Debug, Default)]
pub(crate) struct Problems {
    /// Why the kernel could not be looked at.
    pub(crate) look: Option<String>,
    /// Why the masquerade table is not in force.
    pub(crate) masquerade: Option<watch::Receiver<Option<String>>>,
    waiting: BTreeMap<Prefix, Waiting>,
    refused: Vec<(Operation, OperationError)>,
}

impl Problems {
    pub(crate) fn take(&mut self, outcome: &Outcome) {
        self.waiting.clone_from(&outcome.waiting);
        self.refused.clone_from(&outcome.failed);
    }

    pub(crate) fn texts(&self) -> Vec<String> {
        let masquerade = self.masquerade.as_ref().and_then(|problem| problem.borrow().clone());
        let mut texts: Vec<String> = self.look.iter().cloned().chain(masquerade).collect();
        let waiting = self.waiting.iter();
        texts.extend(waiting.take(NAMED_MAX).map(|(prefix, why)| format!("route {prefix}: {why}")));
        let refused = self.refused.iter();
        texts.extend(refused.take(NAMED_MAX).map(|(what, why)| format!("{}: {why}", name(what))));
        for (number, what) in [(self.waiting.len(), "wait"), (self.refused.len(), "are refused")] {
            if number > NAMED_MAX {
                texts.push(format!("{} more routes {what}", number - NAMED_MAX));
            }
        }
        texts
    }
}

fn name(operation: &Operation) -> String {
    match operation {
        Operation::PutNexthop { next_hop, .. } => {
            format!("next hop {} on interface {}", next_hop.address, next_hop.interface)
        }
        Operation::PutGroup { id, .. } => format!("nexthop group {id}"),
        Operation::DeleteNexthop { id } => format!("removal of nexthop {id}"),
        Operation::PutRoute { key, .. } => format!("route {}", key.prefix),
        Operation::DeleteRoute { key } => format!("removal of route {}", key.prefix),
    }
}
