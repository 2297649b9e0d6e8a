//! Communities as people write them.

use std::{fmt, net::Ipv4Addr, str::FromStr};

use super::{Community, ExtendedCommunity, LargeCommunity};

/// A text that is no community of the kind asked for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is no {kind}: expected {expected}")]
pub struct CommunityParseError {
    text: String,
    kind: &'static str,
    expected: &'static str,
}

fn number<T: FromStr>(text: &str) -> Option<T> {
    // The standard library takes a plus sign, too.
    text.bytes().all(|octet| octet.is_ascii_digit()).then(|| text.parse().ok())?
}

/// What is registered under a name (RFC 1997, RFC 3765, RFC 7999, RFC 8326, RFC 9494).
const WELL_KNOWN: &[(&str, u32)] = &[
    ("graceful-shutdown", Community::GRACEFUL_SHUTDOWN.0),
    ("llgr-stale", 0xffff_0006),
    ("no-llgr", 0xffff_0007),
    ("blackhole", Community::BLACKHOLE.0),
    ("no-export", Community::NO_EXPORT.0),
    ("no-advertise", Community::NO_ADVERTISE.0),
    ("no-export-subconfed", Community::NO_EXPORT_SUBCONFED.0),
    ("no-peer", 0xffff_ff04),
];

impl FromStr for Community {
    type Err = CommunityParseError;

    /// Reads `65000:100` and the names of those that are well known.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if let Some((_, value)) = WELL_KNOWN.iter().find(|(name, _)| *name == text) {
            return Ok(Self(*value));
        }
        let pair = || {
            let (high, low) = text.split_once(':')?;
            Some(Self::new(number(high)?, number(low)?))
        };
        pair().ok_or_else(|| CommunityParseError {
            text: text.to_owned(),
            kind: "community",
            expected: "two numbers up to 65535, as in 65000:100, or a name such as no-export",
        })
    }
}

impl fmt::Display for Community {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match WELL_KNOWN.iter().find(|(_, value)| *value == self.0) {
            Some((name, _)) => f.pad(name),
            None => f.pad(&format!("{}:{}", self.0 >> 16, self.0 & 0xffff)),
        }
    }
}

impl FromStr for LargeCommunity {
    type Err = CommunityParseError;

    /// Reads `4200000000:1:2` (RFC 8092 §5).
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let triple = || {
            let (global, local) = text.split_once(':')?;
            let (first, second) = local.split_once(':')?;
            Some(Self::new(number(global)?, number(first)?, number(second)?))
        };
        triple().ok_or_else(|| CommunityParseError {
            text: text.to_owned(),
            kind: "large community",
            expected: "three numbers, as in 65000:1:2",
        })
    }
}

/// RFC 4360 §4, §5 and RFC 5668 §2: the low octet of the type.
const SUBTYPES: [(&str, u8); 2] = [("rt", 2), ("soo", 3)];

/// The high octet: what the administrator is.
const TWO_OCTET_AS: u8 = 0;
const IPV4: u8 = 1;
const FOUR_OCTET_AS: u8 = 2;

impl FromStr for ExtendedCommunity {
    type Err = CommunityParseError;

    /// Reads `rt:65000:1`, `rt:4200000000:1`, `soo:192.0.2.1:1` (`ro` is `soo`) and
    /// `0x0002fde800000001`. An AS number that two octets hold is written with two, and leaves four to
    /// what is behind it; all others leave two.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parsed = || {
            if let Some(digits) = text.strip_prefix("0x") {
                let is_whole =
                    digits.len() == 16 && digits.bytes().all(|octet| octet.is_ascii_hexdigit());
                return u64::from_str_radix(digits, 16).ok().filter(|_| is_whole).map(Self);
            }
            let mut parts = text.split(':');
            let (name, administrator, local) = (parts.next()?, parts.next()?, parts.next()?);
            if parts.next().is_some() {
                return None;
            }
            let name = if name == "ro" { "soo" } else { name };
            let (_, subtype) = SUBTYPES.iter().find(|(known, _)| *known == name)?;
            let of = |kind: u8| u64::from(kind) << 56 | u64::from(*subtype) << 48;
            if let Some(asn) = number::<u16>(administrator) {
                let local: u32 = number(local)?;
                return Some(Self(of(TWO_OCTET_AS) | u64::from(asn) << 32 | u64::from(local)));
            }
            let local: u16 = number(local)?;
            let (kind, administrator) = match number::<u32>(administrator) {
                Some(asn) => (FOUR_OCTET_AS, asn),
                None => (IPV4, administrator.parse::<Ipv4Addr>().ok()?.into()),
            };
            Some(Self(of(kind) | u64::from(administrator) << 16 | u64::from(local)))
        };
        parsed().ok_or_else(|| CommunityParseError {
            text: text.to_owned(),
            kind: "extended community",
            expected: "rt or soo, an AS number or IPv4 address and a number, as in rt:65000:1, or \
                       0x and sixteen digits",
        })
    }
}

impl fmt::Display for ExtendedCommunity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [kind, subtype, ..] = self.to_octets();
        let name = SUBTYPES.iter().find(|(_, known)| *known == subtype).map(|(name, _)| *name);
        let (four, two) = ((self.0 >> 16) as u32, self.0 & 0xffff);
        let text = match (kind, name) {
            (TWO_OCTET_AS, Some(name)) => {
                format!("{name}:{}:{}", self.0 >> 32 & 0xffff, self.0 as u32)
            }
            (IPV4, Some(name)) => format!("{name}:{}:{two}", Ipv4Addr::from(four)),
            // A number that two octets hold would be read as another community.
            (FOUR_OCTET_AS, Some(name)) if four > u32::from(u16::MAX) => {
                format!("{name}:{four}:{two}")
            }
            _ => format!("0x{:016x}", self.0),
        };
        f.pad(&text)
    }
}

impl fmt::Display for LargeCommunity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { global_administrator, local_data_1, local_data_2 } = self;
        f.pad(&format!("{global_administrator}:{local_data_1}:{local_data_2}"))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_written_is_understood() {
        for (text, value) in [
            ("65000:1", 0xfde8_0001),
            ("0:0", 0),
            ("no-export", 0xffff_ff01),
            ("blackhole", 0xffff_029a),
            ("graceful-shutdown", 0xffff_0000),
            ("65535:65281", 0xffff_ff01),
        ] {
            assert_eq!(text.parse(), Ok(Community(value)), "{text}");
        }
        for (text, value) in [
            ("rt:65000:1", 0x0002_fde8_0000_0001),
            ("rt:65000:4294967295", 0x0002_fde8_ffff_ffff),
            ("soo:65000:1", 0x0003_fde8_0000_0001),
            ("ro:65000:1", 0x0003_fde8_0000_0001),
            ("rt:192.0.2.1:7", 0x0102_c000_0201_0007),
            ("rt:4200000000:7", 0x0202_fa56_ea00_0007),
            ("0x4300000000000001", 0x4300_0000_0000_0001),
        ] {
            assert_eq!(text.parse(), Ok(ExtendedCommunity(value)), "{text}");
        }
        assert_eq!("4200000000:1:2".parse(), Ok(LargeCommunity::new(4_200_000_000, 1, 2)));
    }

    #[test]
    fn what_is_no_community_is_refused() {
        for text in ["", ":", "65000", "65536:1", "1:65536", "1:2:3", "+1:2", " 1:2", "export"] {
            assert!(text.parse::<Community>().is_err(), "{text}");
        }
        for text in ["1:2", "1:2:3:4", "4294967296:1:1", "a:b:c", "1:2:"] {
            assert!(text.parse::<LargeCommunity>().is_err(), "{text}");
        }
        for text in ["65000:1", "rt:65000", "rt:65536:65536", "xx:1:1", "rt:1:2:3", "0x1", "rt::1"]
        {
            assert!(text.parse::<ExtendedCommunity>().is_err(), "{text}");
        }
        let error = "x".parse::<Community>().unwrap_err().to_string();
        assert!(error.starts_with("`x` is no community: expected two numbers"), "{error}");
    }

    proptest! {
        #[test]
        fn every_community_can_be_read_as_it_is_written(
            standard in any::<u32>(), extended in any::<u64>(), known in any::<(u8, u8, u32)>(),
            large in any::<(u32, u32, u32)>()
        ) {
            let standard = Community(standard);
            prop_assert_eq!(standard.to_string().parse(), Ok(standard));
            let (kind, subtype, rest) = known;
            let target = u64::from(kind % 4) << 56 | u64::from(subtype % 5) << 48 | u64::from(rest);
            for value in [extended, target] {
                let extended = ExtendedCommunity(value);
                prop_assert_eq!(extended.to_string().parse(), Ok(extended));
                prop_assert_eq!(ExtendedCommunity::from_octets(extended.to_octets()), extended);
            }
            let large = LargeCommunity::new(large.0, large.1, large.2);
            prop_assert_eq!(large.to_string().parse(), Ok(large));
            prop_assert_eq!(LargeCommunity::from_octets(large.to_octets()), large);
        }
    }
}
