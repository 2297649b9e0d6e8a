use std::collections::BTreeMap;

use viaduct_net::Prefix;

use crate::{Desired, Operation, Snapshot, Waiting, plan, sweep};

/// The kernel of one network namespace.
pub trait Kernel {
    type Error;

    /// Looks at everything anew.
    fn snapshot(&mut self) -> Result<Snapshot, Self::Error>;

    /// Tries every operation in order, also after one has failed; one result for each.
    fn apply(&mut self, operations: &[Operation]) -> Vec<Result<(), OperationError>>;
}

/// Why the kernel refused an operation.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message} (errno {errno})")]
pub struct OperationError {
    /// Positive, as in errno(3); 0 where no answer came.
    pub errno: i32,
    /// What the kernel said of it, or the name of the errno.
    pub message: String,
}

/// What came of [`converge`].
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    pub applied: Vec<Operation>,
    /// After a failure the picture is in doubt: take a new snapshot before the next try.
    pub failed: Vec<(Operation, OperationError)>,
    pub waiting: BTreeMap<Prefix, Waiting>,
}

/// Brings the kernel from `picture` to `desired`, and keeps the picture true by what came back.
pub fn converge<K: Kernel>(kernel: &mut K, picture: &mut Snapshot, desired: &Desired) -> Outcome {
    let plan = plan(desired, picture);
    let mut outcome = Outcome { waiting: plan.waiting, ..Outcome::default() };
    outcome.run(kernel, picture, plan.operations);
    let unused = sweep(desired, picture);
    outcome.run(kernel, picture, unused);
    outcome
}

impl Outcome {
    fn run<K: Kernel>(
        &mut self,
        kernel: &mut K,
        picture: &mut Snapshot,
        operations: Vec<Operation>,
    ) {
        if operations.is_empty() {
            return;
        }
        let results = kernel.apply(&operations);
        for (operation, result) in operations.into_iter().zip(results) {
            match result {
                Ok(()) => {
                    picture.apply(&operation);
                    self.applied.push(operation);
                }
                Err(error) => self.failed.push((operation, error)),
            }
        }
    }
}
