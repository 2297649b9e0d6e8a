//! Ingress of the host side of a pod's veth: what the pod answers to clients outside.

use ebpf_abi::{Counter, FlowFlags, FlowValue};

use crate::{Flows, Packet, Parsed, Tuple, Verdict, flow, parse, rewrite};

/// `ifindex` is the veth's. Only a packet from the pod's own address is translated: the rest of
/// what a pod sends is the stack's to judge, and what we translate passes the stack by.
#[inline(always)]
pub fn ingress<P: Packet, S: Flows>(
    packet: &mut P,
    tuple: &mut Tuple,
    state: &S,
    ifindex: u32,
) -> Verdict {
    if parse(packet, tuple) != Parsed::Flow {
        return Verdict::Pass;
    }
    let own = state.pod(ifindex).is_some_and(|pod| {
        if tuple.v4 { pod.v4 == tuple.key.source } else { pod.v6 == tuple.key.source }
    });
    if !own {
        return Verdict::Pass;
    }
    let mut flow = FlowValue::default();
    if flow::find(state, tuple, &mut flow).is_none()
        || !flow.flags.has(FlowFlags::REPLY)
        || flow.flags.has(FlowFlags::NAT)
    {
        return Verdict::Pass;
    }
    rewrite::forward(packet, state, tuple, &flow, Counter::Reply)
}
