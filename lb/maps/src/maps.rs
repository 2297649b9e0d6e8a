use ebpf_abi::{
    Address, AffinityKey, AffinityValue, BackendValue, FlowKey, FlowValue, NodeConfig, PodValue,
    ServiceKey, ServiceValue, SocketChoice, SocketKey, SocketOrigin, SourceRange,
};

use crate::{Arena, Counters, MapError, Table};

/// The most entries that each map may hold. A map that is adopted keeps the size it was made with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sizes {
    pub services: u32,
    /// Places of the arena, in steps of [`ebpf_abi::MAGLEV_CHUNK`]; a Maglev table takes as many as
    /// it is long.
    pub maglev: u32,
    pub backends: u32,
    pub addresses: u32,
    /// Ranges of sources, of all services that are not for everybody.
    pub sources: u32,
    /// Clients that keep to a backend; beyond it the oldest chooses anew.
    pub affinity: u32,
    pub pods: u32,
    /// Connected sockets whose peer is shown as the service; beyond it the oldest shows its
    /// backend, and is not counted.
    pub connections: u32,
    /// The same of sockets that are not connected, by each peer.
    pub socket_origins: u32,
    pub socket_choices: u32,
    /// Two entries a flow; the oldest give way.
    pub flows_embryonic: u32,
    pub flows_established: u32,
}

impl Default for Sizes {
    /// For some thousand services and 64,000 connections from outside; about 40 MB, of which the
    /// flows are two thirds.
    fn default() -> Self {
        Self {
            services: 1 << 16,
            maglev: 1 << 20,
            backends: 1 << 16,
            addresses: 1 << 16,
            sources: 1 << 16,
            affinity: 1 << 16,
            pods: 1 << 12,
            connections: 1 << 16,
            socket_origins: 1 << 14,
            socket_choices: 1 << 14,
            flows_embryonic: 1 << 15,
            flows_established: 1 << 17,
        }
    }
}

/// The maps of a loaded data plane. Cheap to clone, and valid for as long as a clone lives.
#[derive(Clone, Debug)]
pub struct Maps {
    pub services: Table<ServiceKey, ServiceValue>,
    pub maglev: Arena,
    pub backends: Table<u32, BackendValue>,
    /// Flags `ADDRESS_*` by address.
    pub addresses: Table<Address, u32>,
    /// 1 under every range from which a service may be reached that is not for everybody.
    pub sources: Table<SourceRange, u32>,
    pub affinity: Table<AffinityKey, AffinityValue>,
    /// Written by attaching a pod.
    pub pods: Table<u32, PodValue>,
    /// By the socket's cookie.
    pub connections: Table<u64, SocketOrigin>,
    pub socket_origins: Table<SocketKey, SocketOrigin>,
    pub socket_choices: Table<SocketKey, SocketChoice>,
    pub flows_embryonic: Table<FlowKey, FlowValue>,
    pub flows_established: Table<FlowKey, FlowValue>,
    pub counters: Counters,
    pub(crate) config: Table<u32, NodeConfig>,
}

impl Maps {
    pub fn config(&self) -> Result<NodeConfig, MapError> {
        Ok(self.config.lookup(&0)?.unwrap_or_default())
    }

    pub fn set_config(&self, config: &NodeConfig) -> Result<(), MapError> {
        self.config.upsert(&0, config)
    }
}
