use std::fmt;

/// RFC 1997, written `65000:100`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Community(pub u32);

impl Community {
    /// RFC 8326: about to go away, use another path.
    pub const GRACEFUL_SHUTDOWN: Self = Self(0xffff_0000);
    /// RFC 7999.
    pub const BLACKHOLE: Self = Self(0xffff_029a);
    /// Not beyond this AS (or confederation).
    pub const NO_EXPORT: Self = Self(0xffff_ff01);
    /// To no peer at all.
    pub const NO_ADVERTISE: Self = Self(0xffff_ff02);
    /// Not to external peers, members of the confederation included.
    pub const NO_EXPORT_SUBCONFED: Self = Self(0xffff_ff03);

    pub const fn new(high: u16, low: u16) -> Self {
        Self((high as u32) << 16 | low as u32)
    }
}

impl fmt::Display for Community {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::GRACEFUL_SHUTDOWN => f.pad("graceful-shutdown"),
            Self::BLACKHOLE => f.pad("blackhole"),
            Self::NO_EXPORT => f.pad("no-export"),
            Self::NO_ADVERTISE => f.pad("no-advertise"),
            Self::NO_EXPORT_SUBCONFED => f.pad("no-export-subconfed"),
            Self(number) => write!(f, "{}:{}", number >> 16, number & 0xffff),
        }
    }
}

/// RFC 4360, eight octets that we carry and do not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ExtendedCommunity(pub u64);

impl ExtendedCommunity {
    /// Whether it stays within the AS (RFC 4360 §2, the T bit).
    pub const fn is_non_transitive(self) -> bool {
        self.0 >> 56 & 0x40 != 0
    }
}

impl fmt::Display for ExtendedCommunity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "0x{:016x}", self.0)
    }
}

/// RFC 8092, written `65536:1:2`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LargeCommunity {
    pub global_administrator: u32,
    pub local_data_1: u32,
    pub local_data_2: u32,
}

impl fmt::Display for LargeCommunity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.global_administrator, self.local_data_1, self.local_data_2)
    }
}
