//! Names below `in-addr.arpa` and `ip6.arpa` (RFC 1035 §3.5, RFC 3596 §2.5).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use viaduct_net::{Family, Prefix};

/// What a reverse name is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ReverseName {
    /// The addresses it stands above; one address where it is whole.
    pub prefix: Prefix,
    /// Whether labels follow that no address has.
    pub excess: bool,
}

impl ReverseName {
    /// `labels` are in lower case, the first of the name first. `None` for any other name.
    pub(crate) fn parse(labels: &[String]) -> Option<Self> {
        let (family, labels) = match labels {
            [labels @ .., zone, arpa] if arpa == "arpa" && zone == "in-addr" => {
                (Family::V4, labels)
            }
            [labels @ .., zone, arpa] if arpa == "arpa" && zone == "ip6" => (Family::V6, labels),
            _ => return None,
        };
        let (parts_max, bits) = match family {
            Family::V4 => (4, 8),
            Family::V6 => (32, 4),
        };
        let parts = labels.iter().rev().take(parts_max).map_while(|label| part(family, label));
        let parts: Vec<u8> = parts.collect();
        let mut value: u128 = 0;
        for part in &parts {
            value = value << bits | u128::from(*part);
        }
        let missing = (parts_max - parts.len()) * bits;
        // Nothing is shifted by all of its bits: without parts there is no value to shift.
        let value = if parts.is_empty() { 0 } else { value << missing };
        let address = match family {
            Family::V4 => IpAddr::V4(Ipv4Addr::from(value as u32)),
            Family::V6 => IpAddr::V6(Ipv6Addr::from(value)),
        };
        let len = (parts.len() * bits) as u8;
        let excess = labels.len() > parts.len();
        Some(Self { prefix: Prefix::new(address, len).ok()?, excess })
    }

    /// The address of a whole name.
    pub(crate) fn address(&self) -> Option<IpAddr> {
        let whole = Prefix::host(self.prefix.address()) == self.prefix && !self.excess;
        whole.then(|| self.prefix.address())
    }
}

/// A part of an address in its one spelling: no leading zeros, no signs.
fn part(family: Family, label: &str) -> Option<u8> {
    match family {
        Family::V4 => {
            let value = label.parse::<u8>().ok()?;
            (value.to_string() == label).then_some(value)
        }
        Family::V6 => match label.as_bytes() {
            [digit] => char::from(*digit).to_digit(16).map(|value| value as u8),
            _ => None,
        },
    }
}

/// The name of the zone that holds the reverse names of `range`: its last whole label.
pub(crate) fn zone_name(range: Prefix) -> String {
    match range.address() {
        IpAddr::V4(v4) => {
            let parts = &v4.octets()[..usize::from(range.len()) / 8];
            let parts: Vec<String> = parts.iter().rev().map(|octet| format!("{octet}.")).collect();
            format!("{}in-addr.arpa", parts.concat())
        }
        IpAddr::V6(v6) => {
            let octets = v6.octets();
            let nibbles = (0..usize::from(range.len()) / 4).rev().map(|index| {
                let octet = octets[index / 2];
                let nibble = if index % 2 == 0 { octet >> 4 } else { octet & 0xf };
                format!("{nibble:x}.")
            });
            format!("{}ip6.arpa", nibbles.collect::<String>())
        }
    }
}

/// The first and the last address of a prefix.
pub(crate) fn bounds(prefix: Prefix) -> (IpAddr, IpAddr) {
    match prefix.address() {
        IpAddr::V4(v4) => {
            let hosts = u32::MAX.checked_shr(prefix.len().into()).unwrap_or(0);
            (v4.into(), Ipv4Addr::from(u32::from(v4) | hosts).into())
        }
        IpAddr::V6(v6) => {
            let hosts = u128::MAX.checked_shr(prefix.len().into()).unwrap_or(0);
            (v6.into(), Ipv6Addr::from(u128::from(v6) | hosts).into())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(name: &str) -> Option<ReverseName> {
        let labels: Vec<String> = name.split('.').map(str::to_owned).collect();
        ReverseName::parse(&labels)
    }

    #[test]
    fn whole_names_are_addresses() {
        let address = |name| parse(name).and_then(|name| name.address());
        assert_eq!(address("1.0.96.10.in-addr.arpa"), Some("10.96.0.1".parse().unwrap()));
        let v6 = "b.a.9.8.7.6.5.0.4.0.0.0.3.0.0.0.2.0.0.0.1.0.0.0.0.0.0.0.1.2.3.4.ip6.arpa";
        assert_eq!(address(v6), Some("4321:0:1:2:3:4:567:89ab".parse().unwrap()));
        assert_eq!(address("01.0.96.10.in-addr.arpa"), None);
        assert_eq!(address("+1.0.96.10.in-addr.arpa"), None);
        assert_eq!(address("x.1.0.96.10.in-addr.arpa"), None);
    }

    #[test]
    fn parts_of_names_are_prefixes() {
        let prefix = |name| parse(name).map(|name| (name.prefix.to_string(), name.excess));
        assert_eq!(prefix("96.10.in-addr.arpa"), Some(("10.96.0.0/16".into(), false)));
        assert_eq!(prefix("x.96.10.in-addr.arpa"), Some(("10.96.0.0/16".into(), true)));
        assert_eq!(prefix("in-addr.arpa"), Some(("0.0.0.0/0".into(), false)));
        assert_eq!(prefix("0.0.d.f.ip6.arpa"), Some(("fd00::/16".into(), false)));
        assert_eq!(prefix("example.arpa"), None);
    }

    #[test]
    fn zones_of_ranges() {
        let zone = |text: &str| zone_name(text.parse().unwrap());
        assert_eq!(zone("10.96.0.0/16"), "96.10.in-addr.arpa");
        assert_eq!(zone("10.96.0.0/12"), "10.in-addr.arpa");
        assert_eq!(zone("fd00:10::/32"), "0.1.0.0.0.0.d.f.ip6.arpa");
    }

    #[test]
    fn bounds_of_prefixes() {
        let (first, last) = bounds("10.96.0.0/16".parse().unwrap());
        assert_eq!(
            (first.to_string(), last.to_string()),
            ("10.96.0.0".into(), "10.96.255.255".into())
        );
        let one: IpAddr = "fd00::1".parse().unwrap();
        assert_eq!(bounds(Prefix::host(one)), (one, one));
    }
}
