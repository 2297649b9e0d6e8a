//! UPDATE (RFC 4271 §4.3), read and written.

mod decode;
mod encode;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use viaduct_net::Family;

use crate::{AttributeError, AttributeSet, Consequence, Nlri};

pub use encode::{EncodeError, encode_announcements, encode_end_of_rib, encode_withdrawals, fits};

/// Where a route leads, as its sender says it: of the family of the prefixes, or an IPv6 one for IPv4
/// prefixes where that was agreed on (RFC 8950).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum BgpNextHop {
    V4(Ipv4Addr),
    /// RFC 2545 §3. `global` itself is link-local from a sender that has no other address.
    V6 {
        global: Ipv6Addr,
        link_local: Option<Ipv6Addr>,
    },
}

impl BgpNextHop {
    /// Of the address.
    pub const fn family(self) -> Family {
        match self {
            Self::V4(_) => Family::V4,
            Self::V6 { .. } => Family::V6,
        }
    }

    /// The address by which the next hop is known and resolved.
    pub const fn address(self) -> IpAddr {
        match self {
            Self::V4(address) => IpAddr::V4(address),
            Self::V6 { global, .. } => IpAddr::V6(global),
        }
    }

    /// The two addresses of an IPv6 next hop in one spelling: an unspecified or repeated
    /// link-local global one, as some speakers send without a global address, gives way to the
    /// link-local one; what stands in the link-local place and is not is dropped. `None` where no
    /// address is left that a host can have.
    pub(crate) fn from_v6(first: Ipv6Addr, second: Option<Ipv6Addr>) -> Option<Self> {
        let link_local = second.filter(Ipv6Addr::is_unicast_link_local);
        let impossible = first.is_unspecified() || first.is_multicast() || first.is_loopback();
        if impossible || first.is_unicast_link_local() {
            let fallback = if impossible { None } else { Some(first) };
            let global = link_local.filter(|_| !first.is_multicast()).or(fallback)?;
            return Some(Self::V6 { global, link_local: None });
        }
        Some(Self::V6 { global: first, link_local })
    }
}

impl From<IpAddr> for BgpNextHop {
    fn from(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(address) => Self::V4(address),
            IpAddr::V6(global) => Self::V6 { global, link_local: None },
        }
    }
}

/// Prefixes of one family with one next hop.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Announcement {
    pub next_hop: BgpNextHop,
    pub prefixes: Vec<Nlri>,
}

/// An UPDATE after RFC 7606 has been applied: what is to be withdrawn stands in `withdrawn`,
/// whatever the reason. Process `withdrawn` first (RFC 7606 §5.2 has such messages; a prefix in
/// both counts as announced, RFC 4271 §4.3).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Update {
    pub withdrawn: Vec<Nlri>,
    /// How many of them, at the end, stand there for an attribute that is malformed.
    pub treated_as_withdraw: usize,
    /// Of all that is announced here.
    pub attributes: AttributeSet,
    /// At most two: the classic NLRI and those of MP_REACH_NLRI.
    pub announced: Vec<Announcement>,
    /// The peer has sent all it had of this family (RFC 4724 §2).
    pub end_of_rib: Option<Family>,
    /// What was malformed and has been discarded or treated as withdrawn. For the log.
    pub malformed: Vec<AttributeError>,
}

impl Update {
    /// RFC 7606 §2: whether an attribute is so malformed that nothing is announced.
    pub fn is_treated_as_withdraw(&self) -> bool {
        let severe = |error: &AttributeError| error.consequence >= Consequence::TreatAsWithdraw;
        self.malformed.iter().any(severe)
    }
}
