//! The node's network daemon, `viaduct node`, as far as pods need it, and those of other nodes
//! behind their kubelets.

mod connections;
mod daemon;
mod exchange;
mod leave;

use std::{path::PathBuf, sync::Arc};

pub(crate) use self::{
    daemon::{NetworkDaemon, NetworkError},
    leave::Leaver,
};

/// What this node is to the network.
pub(crate) struct Network {
    node: String,
    pub(crate) daemon: NetworkDaemon,
    /// Towards the kubelets of other nodes; plain HTTP without.
    tls: Option<Arc<rustls::ClientConfig>>,
}

impl Network {
    pub(crate) fn new(node: &str, socket: PathBuf, tls: Option<Arc<rustls::ClientConfig>>) -> Self {
        Self { node: node.to_owned(), daemon: NetworkDaemon::new(socket), tls }
    }
}

#[cfg(test)]
mod tests;
