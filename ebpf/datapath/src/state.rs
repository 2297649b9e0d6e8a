use ebpf_abi::{
    Address, AffinityKey, AffinityValue, BackendValue, Counter, FlowKey, FlowValue, NodeConfig,
    PodValue, ReplyBudget, ServiceKey, ServiceValue, Source,
};

/// The services, and what is remembered of their clients.
pub trait Services {
    fn service(&self, key: &ServiceKey) -> Option<ServiceValue>;
    /// The backend id at an index of the arena.
    fn maglev(&self, index: u32) -> Option<u32>;
    fn backend(&self, id: u32) -> Option<BackendValue>;
    /// Flags `ADDRESS_*`; 0 of an address that is none of ours.
    fn address(&self, address: &Address) -> u32;
    /// Whether a range of the service's sources holds it.
    fn admits(&self, source: &Source) -> bool;
    /// The backend that a client keeps to.
    fn affinity(&self, key: &AffinityKey) -> Option<AffinityValue>;
    fn set_affinity(&self, key: &AffinityKey, value: &AffinityValue);
    /// Monotonic.
    fn now_nanos(&self) -> u64;
    fn count(&self, counter: Counter);
}

/// Which of the two flow tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// Nothing has proved yet that the client is there: a flood stays in here.
    Embryonic,
    Established,
}

/// The flows from outside, and what a node must know to translate them.
pub trait Flows: Services {
    /// Runs `visit` on an entry in place, if there is one.
    fn visit_flow<R>(
        &self,
        stage: Stage,
        key: &FlowKey,
        visit: impl FnOnce(&mut FlowValue) -> R,
    ) -> Option<R>;
    /// Inserts, unless there is such an entry; whether it did.
    fn insert_flow(&self, stage: Stage, key: &FlowKey, value: &FlowValue) -> bool;
    fn remove_flow(&self, stage: Stage, key: &FlowKey);
    fn config(&self) -> Option<&NodeConfig>;
    fn pod(&self, ifindex: u32) -> Option<&PodValue>;
    /// Runs `visit` on this CPU's budget of refusals.
    fn visit_budget<R>(&self, visit: impl FnOnce(&mut ReplyBudget) -> R) -> Option<R>;
}
