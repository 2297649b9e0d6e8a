//! Path attributes: the values, their table of types and flags, and what is wrong with them.

mod decode;
mod edit;
mod encode;
mod error;
mod octets;
mod quick;
mod rewrite;
mod set;
mod types;
mod values;

use std::net::Ipv4Addr;

use viaduct_net::{Asn, RouterId};

use crate::{AsPath, Community, ExtendedCommunity, LargeCommunity};

pub(crate) use decode::{Attributes, MpUnreach};
pub use edit::{Edit, Number};
pub(crate) use encode::{begin_attribute, end_attribute};
pub use error::{AttributeError, AttributeFault, Consequence};
pub use octets::{Item as AttributeItem, Items as AttributeItems};
pub(crate) use quick::Quick;
pub use rewrite::Rewrite;
pub use set::{AttributeSet, Facts};
pub use types::AttributeType;

/// How the prefix came into BGP (RFC 4271 §5.1.1); the smaller the better.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Origin {
    #[default]
    Igp = 0,
    Egp = 1,
    Incomplete = 2,
}

impl std::fmt::Display for Origin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            Self::Igp => "igp",
            Self::Egp => "egp",
            Self::Incomplete => "incomplete",
        })
    }
}

/// Who made an aggregate (RFC 4271 §5.1.7).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Aggregator {
    pub asn: Asn,
    /// The identifier or an address of the speaker.
    pub address: Ipv4Addr,
}

/// Which optional transitive attributes came with the partial bit: once set on the way it stays
/// set (RFC 4271 §5). Unknown ones carry theirs themselves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct PartialBits {
    pub aggregator: bool,
    pub communities: bool,
    pub extended_communities: bool,
    pub large_communities: bool,
    pub only_to_customer: bool,
}

/// An optional transitive attribute that we pass on without understanding it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct UnknownAttribute {
    pub kind: AttributeType,
    pub value: Box<[u8]>,
}

/// What is said of a set of prefixes, but for their next hop, which stands beside it: routes that
/// differ only by next hop share their attributes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct PathAttributes {
    pub origin: Origin,
    pub as_path: AsPath,
    pub med: Option<u32>,
    /// Never from an external peer (RFC 4271 §5.1.5).
    pub local_pref: Option<u32>,
    pub atomic_aggregate: bool,
    pub aggregator: Option<Aggregator>,
    /// In the order received.
    pub communities: Vec<Community>,
    pub extended_communities: Vec<ExtendedCommunity>,
    pub large_communities: Vec<LargeCommunity>,
    /// RFC 4456 §8; never from an external peer. Zero is no router id, so it is none.
    pub originator_id: Option<RouterId>,
    pub cluster_list: Vec<Ipv4Addr>,
    /// RFC 9234 §5: the AS from which on the route goes to customers only.
    pub only_to_customer: Option<Asn>,
    pub partial: PartialBits,
    /// In ascending order of type. They are sent with the partial bit.
    pub unknown: Vec<UnknownAttribute>,
}

impl PathAttributes {
    pub fn has_community(&self, community: Community) -> bool {
        self.communities.contains(&community)
    }
}
