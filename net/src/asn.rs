use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// The number of an autonomous system, four octets (RFC 6793).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Asn(u32);

impl Asn {
    /// AS_TRANS, what a speaker with a four-octet number shows to one without (RFC 6793 §9).
    pub const TRANS: Self = Self(23456);

    pub const fn new(number: u32) -> Self {
        Self(number)
    }

    pub const fn to_u32(self) -> u32 {
        self.0
    }

    /// The two-octet form for a peer that knows no other: AS_TRANS where it does not fit.
    pub const fn to_u16_or_trans(self) -> u16 {
        if self.0 <= u16::MAX as u32 { self.0 as u16 } else { Self::TRANS.0 as u16 }
    }

    /// Zero names no autonomous system and is refused on the wire (RFC 7607 §2).
    pub const fn is_zero(self) -> bool {
        self.0 == 0
    }

    /// Reserved for private use (RFC 6996 §5).
    pub const fn is_private(self) -> bool {
        matches!(self.0, 64512..=65534 | 4_200_000_000..=4_294_967_294)
    }
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no AS number: expected 1 to 4294967295, or asdot such as 1.10")]
pub struct AsnParseError(String);

impl FromStr for Asn {
    type Err = AsnParseError;

    /// Reads asplain and asdot (RFC 5396 §2). Zero is refused: no configuration may hold it.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let error = || AsnParseError(text.to_owned());
        let number = match text.split_once('.') {
            Some((high, low)) => {
                let high: u16 = high.parse().map_err(|_e| error())?;
                let low: u16 = low.parse().map_err(|_e| error())?;
                u32::from(high) << 16 | u32::from(low)
            }
            None => text.parse().map_err(|_e| error())?,
        };
        if number == 0 { Err(error()) } else { Ok(Self(number)) }
    }
}

impl fmt::Display for Asn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_asplain_and_asdot() {
        assert_eq!("65001".parse(), Ok(Asn(65001)));
        assert_eq!("1.10".parse(), Ok(Asn(65546)));
        for wrong in ["0", "0.0", "", "-1", "4294967296", "1.65536", "a"] {
            assert!(wrong.parse::<Asn>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn hides_behind_as_trans() {
        assert_eq!(Asn(65546).to_u16_or_trans(), 23456);
        assert_eq!(Asn(65001).to_u16_or_trans(), 65001);
    }
}
