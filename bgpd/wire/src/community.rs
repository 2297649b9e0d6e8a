//! The three kinds of communities, and how they are written.

mod text;

pub use text::CommunityParseError;

/// RFC 1997, written `65000:100`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Community(pub u32);

impl Community {
    /// RFC 8326: about to go away, use another path.
    pub const GRACEFUL_SHUTDOWN: Self = Self(0xffff_0000);
    /// RFC 9494 §3.3: kept from a neighbour that has been away for long.
    pub const LLGR_STALE: Self = Self(0xffff_0006);
    /// RFC 9494 §3.4: not to be kept like that.
    pub const NO_LLGR: Self = Self(0xffff_0007);
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

    pub const fn from_octets(octets: [u8; 4]) -> Self {
        Self(u32::from_be_bytes(octets))
    }

    pub const fn to_octets(self) -> [u8; 4] {
        self.0.to_be_bytes()
    }
}

/// RFC 4360, eight octets that we carry and do not act upon. Route targets and origins are written
/// `rt:65000:1` and `soo:192.0.2.1:1`, all others `0x` and sixteen digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ExtendedCommunity(pub u64);

impl ExtendedCommunity {
    pub const fn from_octets(octets: [u8; 8]) -> Self {
        Self(u64::from_be_bytes(octets))
    }

    pub const fn to_octets(self) -> [u8; 8] {
        self.0.to_be_bytes()
    }

    /// Whether it stays within the AS (RFC 4360 §2, the T bit).
    pub const fn is_non_transitive(self) -> bool {
        self.0 >> 56 & 0x40 != 0
    }
}

/// RFC 8092, written `65536:1:2`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LargeCommunity {
    pub global_administrator: u32,
    pub local_data_1: u32,
    pub local_data_2: u32,
}

impl LargeCommunity {
    pub const fn new(global_administrator: u32, local_data_1: u32, local_data_2: u32) -> Self {
        Self { global_administrator, local_data_1, local_data_2 }
    }

    pub fn from_octets(octets: [u8; 12]) -> Self {
        let (numbers, _) = octets.as_chunks::<4>();
        let number = |at: usize| numbers.get(at).map_or(0, |octets| u32::from_be_bytes(*octets));
        Self::new(number(0), number(1), number(2))
    }

    pub fn to_octets(self) -> [u8; 12] {
        let number = u128::from(self.global_administrator) << 64
            | u128::from(self.local_data_1) << 32
            | u128::from(self.local_data_2);
        let [_, _, _, _, octets @ ..] = number.to_be_bytes();
        octets
    }
}
