//! The kernel's side of the vRouter: netlink dump, watch and apply, sysctls and masquerade.
//!
//! Everything acts in the network namespace of the thread that calls it. Requests block their
//! thread, and only for as long as the kernel works on them: rtnetlink answers a change before
//! sendmsg(2) returns. So they belong on a thread of their own.

mod connection;
mod dump;
mod encode;
mod error;
pub mod masquerade;
mod monitor;
mod nexthop;
mod probe;
mod sysctl;

use vrouter_plan::{Kernel, Operation, OperationError, Snapshot};

pub use error::KernelError;
pub use monitor::{Change, Monitor};
pub use nexthop::{NexthopAttribute, NexthopHeader, NexthopMember, NexthopMessage};
pub use sysctl::prepare;

use connection::Connection;

/// Errors that an operation may meet when it has been done before.
const ENOENT: i32 = 2;
const ESRCH: i32 = 3;

/// The routing tables of one network namespace, over rtnetlink.
#[derive(Debug)]
pub struct Netlink {
    connection: Connection,
    protocol: u8,
}

impl Netlink {
    /// Opens a socket in the namespace of this thread and proves that the kernel has what is
    /// needed. `protocol` (RTA_PROTOCOL) tells our routes from those of others.
    pub fn open(protocol: u8) -> Result<Self, KernelError> {
        let mut connection = Connection::open()?;
        probe::probe(&mut connection, protocol)?;
        Ok(Self { connection, protocol })
    }

    /// The port that notifications of our own changes bear; see [`Monitor::open`].
    pub fn port(&self) -> u32 {
        self.connection.port()
    }
}

impl Kernel for Netlink {
    type Error = KernelError;

    fn snapshot(&mut self) -> Result<Snapshot, KernelError> {
        dump::snapshot(&mut self.connection, self.protocol)
    }

    fn apply(&mut self, operations: &[Operation]) -> Vec<Result<(), OperationError>> {
        let requests: Vec<_> =
            operations.iter().map(|one| encode::request(one, self.protocol)).collect();
        let results = self.connection.change(&requests);
        operations
            .iter()
            .zip(results)
            .map(|(operation, result)| tolerate(operation, result))
            .collect()
    }
}

/// What is to be deleted and is not there has been deleted.
fn tolerate(
    operation: &Operation,
    result: Result<(), OperationError>,
) -> Result<(), OperationError> {
    match (operation, result) {
        (Operation::DeleteNexthop { .. }, Err(error)) if error.errno == ENOENT => Ok(()),
        (Operation::DeleteRoute { .. }, Err(error)) if error.errno == ESRCH => Ok(()),
        (_, result) => result,
    }
}
