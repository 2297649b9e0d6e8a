//! The maps, pinned by name. The sizes here are the least that loads: the user side sets them.

use aya_ebpf::{
    bindings::BPF_F_NO_PREALLOC,
    macros::map,
    maps::{Array, HashMap, LpmTrie, LruHashMap, PerCpuArray},
};
use ebpf_abi::{
    Address, AffinityKey, AffinityValue, BackendValue, COUNTERS_MAX, FlowKey, FlowValue, MaglevChunk, NodeConfig, PodValue,
    ReplyBudget, ServiceKey, ServiceValue, SocketChoice, SocketKey, SocketOrigin, Source,
};

#[map]
pub static SERVICES: HashMap<ServiceKey, ServiceValue> = HashMap::pinned(1, BPF_F_NO_PREALLOC);
#[map]
pub static MAGLEV: Array<MaglevChunk> = Array::pinned(1, 0);
#[map]
pub static BACKENDS: HashMap<u32, BackendValue> = HashMap::pinned(1, BPF_F_NO_PREALLOC);
#[map]
pub static ADDRESSES: HashMap<Address, u32> = HashMap::pinned(1, BPF_F_NO_PREALLOC);
#[map]
pub static SOURCES: LpmTrie<Source, u32> = LpmTrie::pinned(1, BPF_F_NO_PREALLOC);
#[map]
pub static AFFINITY: LruHashMap<AffinityKey, AffinityValue> = LruHashMap::pinned(1, 0);
#[map]
pub static PODS: HashMap<u32, PodValue> = HashMap::pinned(1, BPF_F_NO_PREALLOC);
#[map]
pub static CONFIG: Array<NodeConfig> = Array::pinned(1, 0);
#[map]
pub static CONNECTIONS: LruHashMap<u64, SocketOrigin> = LruHashMap::pinned(1, 0);
#[map]
pub static SOCKET_ORIGINS: LruHashMap<SocketKey, SocketOrigin> = LruHashMap::pinned(1, 0);
#[map]
pub static SOCKET_CHOICES: LruHashMap<SocketKey, SocketChoice> = LruHashMap::pinned(1, 0);
#[map]
pub static FLOWS_EMBRYONIC: LruHashMap<FlowKey, FlowValue> = LruHashMap::pinned(1, 0);
#[map]
pub static FLOWS_ESTABLISHED: LruHashMap<FlowKey, FlowValue> = LruHashMap::pinned(1, 0);
#[map]
pub static REPLIES: PerCpuArray<ReplyBudget> = PerCpuArray::pinned(1, 0);
#[map]
pub static COUNTERS: PerCpuArray<u64> = PerCpuArray::pinned(COUNTERS_MAX, 0);
