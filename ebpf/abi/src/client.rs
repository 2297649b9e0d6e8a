use crate::Address;

/// A client of a service that keeps to one backend ([`crate::ServiceValue::affinity_seconds`]).
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AffinityKey {
    /// Of [`crate::SCOPE_EXTERNAL`] the source of its packets; of [`crate::SCOPE_INTERNAL`] the
    /// cookie of its network namespace, in the first two words.
    pub client: Address,
    /// [`crate::ServiceValue::service`].
    pub service: u32,
    pub scope: u8,
    /// 1 where it asks for IPv4: a backend has one family, and a client may have both.
    pub v4: u8,
    pub reserved: [u8; 2],
}

const _: () = assert!(size_of::<AffinityKey>() == 24);

/// The backend that a client keeps to.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AffinityValue {
    /// When its last flow began, by the kernel's monotonic clock.
    pub last_seen_nanos: u64,
    pub backend: u32,
    pub reserved: u32,
}

const _: () = assert!(size_of::<AffinityValue>() == 16);

/// A range of sources that may reach a service from outside (`loadBalancerSourceRanges`), found by
/// the longest prefix of service and address together.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SourceRange {
    /// In bits, those of `service` included: from [`SOURCE_BITS_MIN`] to [`SOURCE_BITS_MAX`].
    pub prefix_length: u32,
    pub source: Source,
}

/// What the programs ask [`crate::map::SOURCES`] for.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Source {
    pub service: u32,
    pub address: Address,
}

const _: () = assert!(size_of::<SourceRange>() == 24);

/// Every IPv6 source of a service. Every IPv4 source is its mapped prefix, 96 bits more.
pub const SOURCE_BITS_MIN: u32 = u32::BITS;
/// One source.
pub const SOURCE_BITS_MAX: u32 = SOURCE_BITS_MIN + 128;
