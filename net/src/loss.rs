use std::{collections::BTreeMap, fmt, net::IpAddr, sync::Arc};

use serde::{Deserialize, Serialize};

/// By what a neighbour is known to be lost: packets to it go nowhere, whatever anybody else says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LossCause {
    /// No link leads to it any more.
    Link,
    /// BFD hears nothing of it, and it had not said that it restarts (RFC 5882 §4.3).
    Bfd,
}

impl fmt::Display for LossCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Link => "link down",
            Self::Bfd => "BFD",
        })
    }
}

/// From the speaker: every neighbour that is lost right now, by the address of its session; replaced
/// on every change. Who is not in it is not known to be lost, which is all that can be said of a
/// neighbour without BFD.
pub type LostNeighbours = Arc<BTreeMap<IpAddr, LossCause>>;

/// For the balancer: the same by the names of nodes.
pub type LostNodes = Arc<BTreeMap<String, LossCause>>;
