use crate::Address;

/// A peer as one socket knows it that is not connected and may have many.
///
/// In [`crate::map::SOCKET_ORIGINS`] the peer is the backend, in [`crate::map::SOCKET_CHOICES`]
/// it is the frontend.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SocketKey {
    /// The kernel's cookie of the socket, never reused.
    pub cookie: u64,
    pub address: Address,
    pub port_be: u16,
    pub protocol: u8,
    pub reserved: [u8; 5],
}

const _: () = assert!(size_of::<SocketKey>() == 32);

/// The frontend that the socket had asked for, shown again by recvmsg and getpeername.
///
/// In [`crate::map::CONNECTIONS`] there is one of each connected socket, and it goes when the
/// socket is closed: what is there is what is open.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SocketOrigin {
    pub address: Address,
    pub port_be: u16,
    pub protocol: u8,
    pub reserved: u8,
    /// The backend that was chosen, so that a socket whose backend is gone can be found.
    pub backend: u32,
}

const _: () = assert!(size_of::<SocketOrigin>() == 24);

/// The backend that an unconnected UDP socket uses for one frontend.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SocketChoice {
    pub backend: u32,
}

const _: () = assert!(size_of::<SocketChoice>() == 4);
