use std::{
    cmp::Ordering,
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    str::FromStr,
};

use ipnetwork::IpNetwork;
use serde::{Deserialize, Serialize};

/// The two address families; both are everywhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Family {
    #[serde(rename = "ipv4")]
    V4,
    #[serde(rename = "ipv6")]
    V6,
}

impl Family {
    pub const ALL: [Self; 2] = [Self::V4, Self::V6];

    /// Bits of an address.
    pub const fn bits(self) -> u8 {
        match self {
            Self::V4 => 32,
            Self::V6 => 128,
        }
    }

    pub const fn of(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(_) => Self::V4,
            IpAddr::V6(_) => Self::V6,
        }
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::V4 => "ipv4",
            Self::V6 => "ipv6",
        })
    }
}

/// A network of either family, with every bit behind its length zero: two spellings of the same
/// network are one value. Ordered by family, then address, then length, so that a prefix stands
/// before the more specific ones it contains.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Prefix(IpNetwork);

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PrefixError {
    #[error("`{0}` is no prefix: expected ADDRESS/LENGTH, as in 10.0.0.0/8 or 2001:db8::/32")]
    Syntax(String),
    #[error("length {len} is beyond the {max} bits of {family}")]
    Length { len: u8, max: u8, family: Family },
}

impl Prefix {
    /// The network of `address` cut to `len` bits; bits behind it are cleared.
    pub fn new(address: IpAddr, len: u8) -> Result<Self, PrefixError> {
        // A table is built of millions of these, so the bits are cleared by hand.
        let bits = u32::from(len);
        let cut = match address {
            IpAddr::V4(address) => {
                let host = u32::MAX.checked_shr(bits).unwrap_or(0);
                IpAddr::from(Ipv4Addr::from(u32::from(address) & !host))
            }
            IpAddr::V6(address) => {
                let host = u128::MAX.checked_shr(bits).unwrap_or(0);
                IpAddr::from(Ipv6Addr::from(u128::from(address) & !host))
            }
        };
        let family = Family::of(address);
        let too_long = PrefixError::Length { len, max: family.bits(), family };
        IpNetwork::new(cut, len).map(Self).or(Err(too_long))
    }

    /// The /32 or /128 of one address.
    pub fn host(address: IpAddr) -> Self {
        Self(address.into())
    }

    /// 0.0.0.0/0 or ::/0.
    pub fn default_route(family: Family) -> Self {
        match family {
            Family::V4 => {
                Self(IpNetwork::V4(ipnetwork::Ipv4Network::from(Ipv4Addr::UNSPECIFIED))).truncate(0)
            }
            Family::V6 => {
                Self(IpNetwork::V6(ipnetwork::Ipv6Network::from(Ipv6Addr::UNSPECIFIED))).truncate(0)
            }
        }
    }

    /// The covering prefix of at most `len` bits.
    pub fn truncate(self, len: u8) -> Self {
        Self::new(self.address(), len.min(self.len())).unwrap_or(self)
    }

    pub fn address(self) -> IpAddr {
        // The bits behind the length are zero, so this is the network's address without a mask.
        self.0.ip()
    }

    #[expect(clippy::len_without_is_empty, reason = "the length of a prefix counts bits")]
    pub fn len(self) -> u8 {
        self.0.prefix()
    }

    pub fn family(self) -> Family {
        Family::of(self.address())
    }

    pub fn is_host(self) -> bool {
        self.len() == self.family().bits()
    }

    pub fn contains(self, address: IpAddr) -> bool {
        self.0.contains(address)
    }

    /// Whether every address of `other` is one of ours; a prefix covers itself.
    pub fn covers(self, other: Self) -> bool {
        self.len() <= other.len() && self.contains(other.address())
    }

    pub fn overlaps(self, other: Self) -> bool {
        self.covers(other) || other.covers(self)
    }
}

impl FromStr for Prefix {
    type Err = PrefixError;

    /// Reads `ADDRESS/LENGTH`; a bare address is a host prefix. Host bits are cleared.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let syntax = || PrefixError::Syntax(text.to_owned());
        let Some((address, len)) = text.split_once('/') else {
            return Ok(Self::host(text.parse().map_err(|_e| syntax())?));
        };
        Self::new(address.parse().map_err(|_e| syntax())?, len.parse().map_err(|_e| syntax())?)
    }
}

impl TryFrom<String> for Prefix {
    type Error = PrefixError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<Prefix> for String {
    fn from(prefix: Prefix) -> Self {
        prefix.to_string()
    }
}

impl From<IpAddr> for Prefix {
    fn from(address: IpAddr) -> Self {
        Self::host(address)
    }
}

impl Ord for Prefix {
    fn cmp(&self, other: &Self) -> Ordering {
        self.address().cmp(&other.address()).then(self.len().cmp(&other.len()))
    }
}

impl PartialOrd for Prefix {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("{}/{}", self.address(), self.len()))
    }
}

impl fmt::Debug for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prefix(text: &str) -> Prefix {
        text.parse().unwrap()
    }

    #[test]
    fn host_bits_are_cleared() {
        assert_eq!(prefix("10.1.2.3/8"), prefix("10.0.0.0/8"));
        assert_eq!(prefix("2001:db8::1/32").to_string(), "2001:db8::/32");
        assert_eq!(prefix("192.0.2.1"), prefix("192.0.2.1/32"));
    }

    #[test]
    fn refuses_what_is_no_prefix() {
        for wrong in ["", "10.0.0.0/33", "::/129", "10.0.0/8", "10.0.0.0/", "x/1", "10.0.0.0/-1"] {
            assert!(wrong.parse::<Prefix>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_covering_prefix_sorts_first() {
        let mut all = [prefix("10.0.0.0/24"), prefix("::/0"), prefix("10.0.0.0/8")];
        all.sort();
        assert_eq!(all, [prefix("10.0.0.0/8"), prefix("10.0.0.0/24"), prefix("::/0")]);
        assert!(all[0].covers(all[1]) && all[1].overlaps(all[0]) && !all[0].overlaps(all[2]));
    }

    #[test]
    fn default_routes() {
        assert_eq!(Prefix::default_route(Family::V4).to_string(), "0.0.0.0/0");
        assert_eq!(Prefix::default_route(Family::V6).to_string(), "::/0");
    }
}
