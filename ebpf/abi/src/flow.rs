use crate::Address;

/// A packet's addresses and ports as they stand before translation. Each flow has two entries:
/// one under the client's packets, one under the backend's.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FlowKey {
    pub source: Address,
    pub destination: Address,
    pub source_port_be: u16,
    pub destination_port_be: u16,
    pub protocol: u8,
    pub reserved: [u8; 3],
}

const _: () = assert!(size_of::<FlowKey>() == 40);

/// What becomes of a packet of the flow, and what has been seen of it.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FlowValue {
    /// Kernel's monotonic clock.
    pub last_seen_nanos: u64,
    pub source: Address,
    pub destination: Address,
    pub source_port_be: u16,
    pub destination_port_be: u16,
    pub flags: FlowFlags,
    pub reserved: [u8; 2],
    pub backend: u32,
    /// [`crate::ServiceValue::service`] of the frontend.
    pub service: u32,
}

const _: () = assert!(size_of::<FlowValue>() == 56);

/// The state of one direction of a flow.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FlowFlags(pub u16);

impl FlowFlags {
    /// The entry of the backend's packets; without it, of the client's.
    pub const REPLY: u16 = 1;
    /// The backend is elsewhere and the source is translated too, so the flow comes back through
    /// the uplink.
    pub const NAT: u16 = 2;
    /// A packet of this direction has passed.
    pub const SEEN: u16 = 4;
    /// A FIN or RST of this direction has passed: the next SYN is a new flow.
    pub const CLOSING: u16 = 8;

    #[inline(always)]
    pub const fn has(self, flag: u16) -> bool {
        self.0 & flag != 0
    }

    #[inline(always)]
    pub const fn with(self, flag: u16) -> Self {
        Self(self.0 | flag)
    }
}
