//! From what the API says to what the speaker is told.
//!
//! Pure: resources and nodes in, a [`Config`] out, or every error there is, each with the field
//! that holds it. A caller that has a configuration keeps it when the next one is wrong.

mod bfd;
pub mod difference;
pub mod documents;
mod interface;
mod monitoring;
mod neighbour;
mod passwords;
mod policy;
mod range;
mod reader;
mod session;
mod tcp_ao;
mod transport;

use std::{
    collections::BTreeMap,
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use bgp_speaker::{Config, LocalAddresses};
use viaduct_api::v1alpha1::{BGPConfigurationSpec, BGPPeerSpec};
use viaduct_net::RouterId;

use self::reader::Reader;
pub use self::{
    monitoring::{monitoring, replays},
    passwords::{PasswordSource, Passwords, password_sources},
    policy::MAX_POLICY_RULES,
    tcp_ao::without_tcp_ao,
};

/// This node, as far as its speaker is concerned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LocalNode {
    pub name: String,
    pub labels: BTreeMap<String, String>,
    pub v4: Option<Ipv4Addr>,
    pub v6: Option<Ipv6Addr>,
    pub router_id: RouterId,
    /// Routes of an earlier run are still in the kernel. Read when the speaker starts, only then.
    pub restarting: bool,
}

/// Another node, to be a peer in the mesh.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OtherNode {
    pub name: String,
    pub v4: Option<Ipv4Addr>,
    pub v6: Option<Ipv6Addr>,
    pub router_id: RouterId,
}

impl OtherNode {
    /// Where the node is spoken to: one session carries both families.
    fn address(&self) -> Option<IpAddr> {
        self.v4.map(IpAddr::V4).or(self.v6.map(IpAddr::V6))
    }
}

/// One thing that is wrong, and where.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {problem}")]
pub struct ConfigError {
    /// As in `BGPPeer/border: spec.asn`.
    pub field: String,
    pub problem: String,
}

/// Everything that is wrong; never empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigErrors(pub Vec<ConfigError>);

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, error) in self.0.iter().enumerate() {
            write!(f, "{}{error}", if index == 0 { "" } else { "; " })?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigErrors {}

/// The configuration of a node of the cluster: iBGP with every other node where the mesh is on, and
/// the peers whose selector the node's labels meet. `peers` by the name of the resource; `passwords`
/// of all their sources. A peer whose password cannot be had is held down, and nobody else.
pub fn cluster(
    configuration: &BGPConfigurationSpec,
    peers: &BTreeMap<String, BGPPeerSpec>,
    node: &LocalNode,
    others: &[OtherNode],
    passwords: &Passwords,
) -> Result<Config, ConfigErrors> {
    let mut reader = Reader::new(configuration, node, passwords);
    reader.holds_down = true;
    reader.name_peers(peers);
    if configuration.node_to_node_mesh {
        for other in others.iter().filter(|other| other.name != node.name) {
            reader.mesh_peer(node, other);
        }
    }
    for (name, spec) in peers {
        if spec.selects(&node.labels) {
            reader.peer(&format!("BGPPeer/{name}: spec"), spec);
        }
    }
    reader.finish()
}

/// The configuration of a speaker that is no node of a cluster: it has the peers it is given, by the
/// names of their documents, and node selectors mean nothing to it. What it originates is told to the running speaker as
/// [`Origination`](viaduct_net::Origination)s, like everybody's.
pub fn standalone(
    configuration: &BGPConfigurationSpec,
    router_id: RouterId,
    addresses: LocalAddresses,
    peers: &BTreeMap<String, BGPPeerSpec>,
    passwords: &Passwords,
) -> Result<Config, ConfigErrors> {
    let node = LocalNode {
        name: String::new(),
        labels: BTreeMap::new(),
        v4: addresses.v4,
        v6: addresses.v6,
        router_id,
        restarting: false,
    };
    let mut reader = Reader::new(configuration, &node, passwords);
    reader.name_peers(peers);
    for (name, spec) in peers {
        reader.peer(&format!("BGPPeer/{name}: spec"), spec);
    }
    reader.finish()
}

#[cfg(test)]
mod tests;
