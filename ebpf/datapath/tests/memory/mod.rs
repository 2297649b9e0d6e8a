//! Maps, a clock and a frame in memory.

use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
};

use ebpf_abi::{
    Address, AffinityKey, AffinityValue, BackendValue, Counter, FlowKey, FlowValue, NodeConfig,
    PodValue, ReplyBudget, SOURCE_BITS_MIN, ServiceKey, ServiceValue, Source, SourceRange,
};
use ebpf_datapath::{Difference, Flows, Layer4Sum, Packet, Services, Stage};

/// A frame in memory, whose checksums are whole: none is left to a device.
pub(crate) struct Frame(pub(crate) Vec<u8>);

impl Frame {
    fn sum_at(&self, offset: u32) -> u16 {
        let offset = offset as usize;
        u16::from_ne_bytes([self.0[offset], self.0[offset + 1]])
    }

    fn set_sum_at(&mut self, offset: u32, sum: u16) {
        let offset = offset as usize;
        self.0[offset..offset + 2].copy_from_slice(&sum.to_ne_bytes());
    }
}

impl Packet for Frame {
    fn load<const N: usize>(&self, offset: u32) -> Option<[u8; N]> {
        let offset = offset as usize;
        self.0.get(offset..offset + N)?.try_into().ok()
    }

    fn store<const N: usize>(&mut self, offset: u32, bytes: &[u8; N], _in_sum: bool) -> bool {
        let offset = offset as usize;
        let Some(place) = self.0.get_mut(offset..offset + N) else { return false };
        place.copy_from_slice(bytes);
        true
    }

    fn mend_layer3(&mut self, offset: u32, difference: Difference) -> bool {
        if self.load::<2>(offset).is_none() {
            return false;
        }
        self.set_sum_at(offset, difference.apply(self.sum_at(offset)));
        true
    }

    fn mend_layer4(&mut self, offset: u32, difference: Difference, sum: Layer4Sum) -> bool {
        if self.load::<2>(offset).is_none() {
            return false;
        }
        let old = self.sum_at(offset);
        if sum.zero_is_none && old == 0 {
            return true;
        }
        let new = difference.apply(old);
        self.set_sum_at(offset, if sum.never_zero && new == 0 { 0xffff } else { new });
        true
    }

    fn resize(&mut self, length: u32) -> bool {
        self.0.resize(length as usize, 0);
        true
    }
}

#[derive(Default)]
pub(crate) struct Maps {
    pub(crate) services: BTreeMap<ServiceKey, ServiceValue>,
    pub(crate) maglev: Vec<u32>,
    pub(crate) backends: BTreeMap<u32, BackendValue>,
    pub(crate) addresses: BTreeMap<Address, u32>,
    pub(crate) sources: Vec<SourceRange>,
    pub(crate) affinity: RefCell<BTreeMap<AffinityKey, AffinityValue>>,
    pub(crate) pods: BTreeMap<u32, PodValue>,
    pub(crate) config: NodeConfig,
    pub(crate) flows: RefCell<BTreeMap<(Stage, FlowKey), FlowValue>>,
    pub(crate) budget: RefCell<ReplyBudget>,
    pub(crate) counted: RefCell<Vec<Counter>>,
    pub(crate) now_nanos: Cell<u64>,
}

impl Services for Maps {
    fn service(&self, key: &ServiceKey) -> Option<ServiceValue> {
        self.services.get(key).copied()
    }

    fn maglev(&self, index: u32) -> Option<u32> {
        self.maglev.get(index as usize).copied()
    }

    fn backend(&self, id: u32) -> Option<BackendValue> {
        self.backends.get(&id).copied()
    }

    fn address(&self, address: &Address) -> u32 {
        self.addresses.get(address).copied().unwrap_or_default()
    }

    fn admits(&self, source: &Source) -> bool {
        self.sources.iter().any(|range| {
            let (of, ours) = (range.source, *source);
            let bits = range.prefix_length.saturating_sub(SOURCE_BITS_MIN);
            let differ = u128::from_be_bytes(of.address.octets())
                ^ u128::from_be_bytes(ours.address.octets());
            of.service == ours.service && differ.leading_zeros() >= bits
        })
    }

    fn affinity(&self, key: &AffinityKey) -> Option<AffinityValue> {
        self.affinity.borrow().get(key).copied()
    }

    fn set_affinity(&self, key: &AffinityKey, value: &AffinityValue) {
        self.affinity.borrow_mut().insert(*key, *value);
    }

    fn now_nanos(&self) -> u64 {
        self.now_nanos.get()
    }

    fn count(&self, counter: Counter) {
        self.counted.borrow_mut().push(counter);
    }
}

impl Flows for Maps {
    fn visit_flow<R>(
        &self,
        stage: Stage,
        key: &FlowKey,
        visit: impl FnOnce(&mut FlowValue) -> R,
    ) -> Option<R> {
        self.flows.borrow_mut().get_mut(&(stage, *key)).map(visit)
    }

    fn insert_flow(&self, stage: Stage, key: &FlowKey, value: &FlowValue) -> bool {
        let mut flows = self.flows.borrow_mut();
        let free = !flows.contains_key(&(stage, *key));
        if free {
            flows.insert((stage, *key), *value);
        }
        free
    }

    fn remove_flow(&self, stage: Stage, key: &FlowKey) {
        self.flows.borrow_mut().remove(&(stage, *key));
    }

    fn config(&self) -> Option<&NodeConfig> {
        Some(&self.config)
    }

    fn pod(&self, ifindex: u32) -> Option<&PodValue> {
        self.pods.get(&ifindex)
    }

    fn visit_budget<R>(&self, visit: impl FnOnce(&mut ReplyBudget) -> R) -> Option<R> {
        Some(visit(&mut self.budget.borrow_mut()))
    }
}
