use std::{fmt, net::Ipv4Addr, str::FromStr};

use serde::{Deserialize, Serialize};

/// A BGP Identifier: four octets, not zero, unique within the AS (RFC 6286 §2.1). Written like an
/// IPv4 address, which it need not be: a node with IPv6 only has one too.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "Ipv4Addr", into = "Ipv4Addr")]
pub struct RouterId(u32);

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RouterIdError {
    #[error("a router id must not be 0.0.0.0")]
    Zero,
    #[error("`{0}` is no router id: expected four numbers as in 192.0.2.1")]
    Syntax(String),
}

impl RouterId {
    pub const fn from_u32(number: u32) -> Option<Self> {
        if number == 0 { None } else { Some(Self(number)) }
    }

    pub const fn to_u32(self) -> u32 {
        self.0
    }

    /// An identifier for a node without an IPv4 address, from its name (FNV-1a). The first octet
    /// is kept at 240 or above, where no address can stand that another node could choose.
    pub fn from_name(name: &str) -> Self {
        let hash = name
            .bytes()
            .fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
        Self(hash | 0xf000_0000)
    }
}

impl TryFrom<Ipv4Addr> for RouterId {
    type Error = RouterIdError;

    fn try_from(address: Ipv4Addr) -> Result<Self, Self::Error> {
        Self::from_u32(address.into()).ok_or(RouterIdError::Zero)
    }
}

impl From<RouterId> for Ipv4Addr {
    fn from(id: RouterId) -> Self {
        Self::from(id.0)
    }
}

impl FromStr for RouterId {
    type Err = RouterIdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let address: Ipv4Addr =
            text.parse().map_err(|_e| RouterIdError::Syntax(text.to_owned()))?;
        address.try_into()
    }
}

impl fmt::Display for RouterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Ipv4Addr::from(self.0).fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_zero() {
        assert_eq!("0.0.0.0".parse::<RouterId>(), Err(RouterIdError::Zero));
        assert_eq!("192.0.2.1".parse::<RouterId>().unwrap().to_string(), "192.0.2.1");
    }

    #[test]
    fn a_name_gives_a_stable_id_outside_unicast() {
        let id = RouterId::from_name("node-1");
        assert_eq!(id, RouterId::from_name("node-1"));
        assert_ne!(id, RouterId::from_name("node-2"));
        assert!(Ipv4Addr::from(id).octets()[0] >= 240);
    }
}
