use crate::Address;

/// Asked by the socket programs: pods and processes of this node.
pub const SCOPE_INTERNAL: u8 = 0;
/// Asked at the uplink: clients outside. A separate entry, because `externalTrafficPolicy: Local`
/// gives it a table of its own, and a ClusterIP has none at all.
pub const SCOPE_EXTERNAL: u8 = 1;

/// A frontend. A node port is entered under the unspecified address of its family
/// ([`Address::UNSPECIFIED_V4`], [`Address::UNSPECIFIED_V6`]) and found through every address
/// that carries [`crate::ADDRESS_NODE`].
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServiceKey {
    pub address: Address,
    pub port_be: u16,
    /// [`crate::PROTOCOL_TCP`] or [`crate::PROTOCOL_UDP`].
    pub protocol: u8,
    /// [`SCOPE_INTERNAL`] or [`SCOPE_EXTERNAL`].
    pub scope: u8,
}

const _: () = assert!(size_of::<ServiceKey>() == 20);

/// Where the service's Maglev table lies in the arena: `length` places from `offset`.
///
/// To replace a table, write the new one to a free range, then this value, then the backends that
/// are gone; leave the old range alone until the programs that may still read it have ended (a
/// second is ample).
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServiceValue {
    /// In places; a multiple of [`MAGLEV_CHUNK`].
    pub offset: u32,
    /// Places; 0 where no backend is ready.
    pub length: u32,
    /// Raised by the writer with every table, so that a reader of the maps can tell them apart.
    pub generation: u32,
    /// [`SERVICE_DROP_WHEN_EMPTY`], [`SERVICE_LIMITS_SOURCES`].
    pub flags: u32,
    /// The port of a service that the frontend is of, the same for all of its frontends and over
    /// restarts; [`SERVICE_NONE`] where nobody has said.
    pub service: u32,
    /// For how long a client keeps its backend after it was last seen (`sessionAffinity:
    /// ClientIP`); 0 where each flow chooses.
    pub affinity_seconds: u32,
}

const _: () = assert!(size_of::<ServiceValue>() == 24);

/// The service id that stands for none.
pub const SERVICE_NONE: u32 = 0;

/// Places of the arena in one element of the array.
///
/// The kernel rounds an element up to eight octets and takes one system call, or one step of a
/// batch, for each: ids by themselves would cost twice the memory and 64 times the steps.
pub const MAGLEV_CHUNK: u32 = 64;

/// A piece of the arena: backend ids of [`MAGLEV_CHUNK`] places.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MaglevChunk {
    pub ids: [u32; MAGLEV_CHUNK as usize],
}

impl Default for MaglevChunk {
    fn default() -> Self {
        Self { ids: [BACKEND_NONE; MAGLEV_CHUNK as usize] }
    }
}

const _: () = assert!(size_of::<MaglevChunk>() == 256);

/// With no backend: drop instead of refusing. What `externalTrafficPolicy: Local` asks of a node
/// without a local endpoint, so that a client behind a stale route tries again elsewhere.
pub const SERVICE_DROP_WHEN_EMPTY: u32 = 1;
/// New flows from outside only from the ranges in [`crate::map::SOURCES`]; others are dropped.
pub const SERVICE_LIMITS_SOURCES: u32 = 2;

/// The backend id that stands for none. Ids start at 1 and are not reused while a flow may refer
/// to them.
pub const BACKEND_NONE: u32 = 0;

#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BackendValue {
    /// Of the same family as the frontends that lead here.
    pub address: Address,
    pub port_be: u16,
    /// [`BACKEND_LOCAL`], [`BACKEND_DRAINING`].
    pub flags: u16,
    /// A number of the node that it is on; 0 where that is not known.
    pub node: u32,
}

const _: () = assert!(size_of::<BackendValue>() == 24);

/// The backend is a pod of this node: a client from outside keeps its address.
pub const BACKEND_LOCAL: u16 = 1;
/// No new flow may begin here. Flows of TCP go on; a UDP flow, which never says that it ends,
/// chooses anew. Once the entry is deleted, a SYN that repeats an old flow chooses anew too.
pub const BACKEND_DRAINING: u16 = 2;
