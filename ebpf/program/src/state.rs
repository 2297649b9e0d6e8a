use aya_ebpf::{
    bindings::{BPF_ANY, BPF_NOEXIST},
    helpers::generated::{bpf_get_prandom_u32, bpf_ktime_get_ns},
    maps::{LruHashMap, lpm_trie::Key},
};
use ebpf_abi::{
    Address, AffinityKey, AffinityValue, BackendValue, Counter, FlowKey, FlowValue, MAGLEV_CHUNK, NodeConfig, PodValue,
    ReplyBudget, ServiceKey, ServiceValue, SocketChoice, SocketKey, SocketOrigin, SOURCE_BITS_MAX, Source,
};
use ebpf_datapath::{Flows, Services, Stage, socket::Sockets};

use crate::maps;

/// The maps of the kernel.
pub struct Kernel;

// SAFETY of `get` and of the pointers below: map memory stays valid until the program returns.
// Another CPU may write at the same time; every field is an integer, so the worst that is read is
// a value of which a part is newer, and for those that the user side replaces (services,
// backends) the kernel swaps the whole element.

impl Services for Kernel {
    #[inline(always)]
    fn service(&self, key: &ServiceKey) -> Option<ServiceValue> {
        unsafe { maps::SERVICES.get(key) }.copied()
    }

    #[inline(always)]
    fn maglev(&self, index: u32) -> Option<u32> {
        let chunk = maps::MAGLEV.get(index / MAGLEV_CHUNK)?;
        chunk.ids.get((index % MAGLEV_CHUNK) as usize).copied()
    }

    #[inline(always)]
    fn backend(&self, id: u32) -> Option<BackendValue> {
        unsafe { maps::BACKENDS.get(id) }.copied()
    }

    #[inline(always)]
    fn address(&self, address: &Address) -> u32 {
        unsafe { maps::ADDRESSES.get(address) }.copied().unwrap_or(0)
    }

    #[inline(always)]
    fn admits(&self, source: &Source) -> bool {
        maps::SOURCES.get(Key::new(SOURCE_BITS_MAX, *source)).is_some()
    }

    #[inline(always)]
    fn affinity(&self, key: &AffinityKey) -> Option<AffinityValue> {
        unsafe { maps::AFFINITY.get(key) }.copied()
    }

    #[inline(always)]
    fn set_affinity(&self, key: &AffinityKey, value: &AffinityValue) {
        // A map that evicts does not fill up; without the entry the next flow chooses anew.
        let _ = maps::AFFINITY.insert(key, value, u64::from(BPF_ANY));
    }

    #[inline(always)]
    fn now_nanos(&self) -> u64 {
        unsafe { bpf_ktime_get_ns() }
    }

    #[inline(always)]
    fn count(&self, counter: Counter) {
        if let Some(value) = maps::COUNTERS.get_ptr_mut(counter as u32) {
            unsafe { *value += 1 };
        }
    }
}

#[inline(always)]
fn table(stage: Stage) -> &'static LruHashMap<FlowKey, FlowValue> {
    match stage {
        Stage::Embryonic => &maps::FLOWS_EMBRYONIC,
        Stage::Established => &maps::FLOWS_ESTABLISHED,
    }
}

impl Flows for Kernel {
    #[inline(always)]
    fn visit_flow<R>(
        &self,
        stage: Stage,
        key: &FlowKey,
        visit: impl FnOnce(&mut FlowValue) -> R,
    ) -> Option<R> {
        // Each arm names its map: the verifier wants it known at the call.
        let flow = match stage {
            Stage::Embryonic => maps::FLOWS_EMBRYONIC.get_ptr_mut(key),
            Stage::Established => maps::FLOWS_ESTABLISHED.get_ptr_mut(key),
        }?;
        Some(visit(unsafe { &mut *flow }))
    }

    #[inline(always)]
    fn insert_flow(&self, stage: Stage, key: &FlowKey, value: &FlowValue) -> bool {
        table(stage).insert(key, value, u64::from(BPF_NOEXIST)).is_ok()
    }

    #[inline(always)]
    fn remove_flow(&self, stage: Stage, key: &FlowKey) {
        let _ = table(stage).remove(key);
    }

    #[inline(always)]
    fn config(&self) -> Option<&NodeConfig> {
        maps::CONFIG.get(0)
    }

    #[inline(always)]
    fn pod(&self, ifindex: u32) -> Option<&PodValue> {
        unsafe { maps::PODS.get(ifindex) }
    }

    #[inline(always)]
    fn visit_budget<R>(&self, visit: impl FnOnce(&mut ReplyBudget) -> R) -> Option<R> {
        let budget = maps::REPLIES.get_ptr_mut(0)?;
        Some(visit(unsafe { &mut *budget }))
    }
}

impl Sockets for Kernel {
    #[inline(always)]
    fn connection(&self, cookie: u64) -> Option<SocketOrigin> {
        unsafe { maps::CONNECTIONS.get(cookie) }.copied()
    }

    #[inline(always)]
    fn set_connection(&self, cookie: u64, origin: &SocketOrigin) {
        // A map that evicts does not fill up; without the entry only the shown address is wrong.
        let _ = maps::CONNECTIONS.insert(cookie, origin, u64::from(BPF_ANY));
    }

    #[inline(always)]
    fn remove_connection(&self, cookie: u64) {
        let _ = maps::CONNECTIONS.remove(cookie);
    }

    #[inline(always)]
    fn origin(&self, key: &SocketKey) -> Option<SocketOrigin> {
        unsafe { maps::SOCKET_ORIGINS.get(key) }.copied()
    }

    #[inline(always)]
    fn set_origin(&self, key: &SocketKey, origin: &SocketOrigin) {
        let _ = maps::SOCKET_ORIGINS.insert(key, origin, u64::from(BPF_ANY));
    }

    #[inline(always)]
    fn choice(&self, key: &SocketKey) -> Option<SocketChoice> {
        unsafe { maps::SOCKET_CHOICES.get(key) }.copied()
    }

    #[inline(always)]
    fn set_choice(&self, key: &SocketKey, choice: &SocketChoice) {
        let _ = maps::SOCKET_CHOICES.insert(key, choice, u64::from(BPF_ANY));
    }

    #[inline(always)]
    fn random(&self) -> u32 {
        unsafe { bpf_get_prandom_u32() }
    }
}
