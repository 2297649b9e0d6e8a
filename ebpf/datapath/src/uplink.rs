//! An uplink. Ingress: what clients outside send to a VIP or node port, and what backends
//! elsewhere answer to translated flows. Egress: what the host itself answers.

use ebpf_abi::{
    ADDRESS_NODE, ADDRESS_VIP, Address, BACKEND_LOCAL, BACKEND_NONE, Counter, FlowFlags, FlowKey,
    FlowValue, SCOPE_EXTERNAL, SERVICE_DROP_WHEN_EMPTY, SERVICE_LIMITS_SOURCES, ServiceValue,
    Source,
};

use crate::{
    Flows, Frontend, Packet, Parsed, Tuple, Verdict, affinity, find_frontend, flow, hash, parse,
    refuse, rewrite, select,
};

/// Ports tried for a translated source before the flow is given up.
const NAT_ATTEMPTS: u32 = 16;

/// Backends tried for a flow. A client may use one port towards two frontends that lead to the same
/// backend on this node, and its packets would then be the same after translation: another backend
/// keeps them apart. Where there is none, the last attempt takes the place of a flow that is
/// closing, which a client that opens anew has done with.
const CHOICES: u32 = 4;

/// A packet of TCP that belongs to no known flow is treated as one that begins a flow, whatever
/// its flags: with the same table it hashes to the backend that it had, so a connection to a
/// backend of this node survives the loss of the flow tables, and a translated one begins its
/// search at the port that it had. Where that is wrong the backend answers with RST, which is what
/// the client needs to hear.
#[inline(always)]
pub fn ingress<P: Packet, S: Flows>(packet: &mut P, tuple: &mut Tuple, state: &S) -> Verdict {
    let parsed = parse(packet, tuple);
    if parsed == Parsed::Other {
        return Verdict::Pass;
    }
    let address = state.address(&tuple.key.destination);
    if address & (ADDRESS_NODE | ADDRESS_VIP) == 0 {
        return Verdict::Pass;
    }
    if parsed == Parsed::Fragment {
        return if address & ADDRESS_VIP != 0 {
            Verdict::Drop(Counter::DroppedFragment)
        } else {
            Verdict::Pass
        };
    }
    let mut flow = FlowValue::default();
    if let Some(stage) = flow::find(state, tuple, &mut flow) {
        if flow.flags.has(FlowFlags::REPLY) {
            // The replies of backends on this node come in at a veth, not here.
            if !flow.flags.has(FlowFlags::NAT) {
                return Verdict::Pass;
            }
            return rewrite::forward(packet, state, tuple, &flow, Counter::Reply);
        }
        if !flow::begins_anew(state, &flow, tuple)
            && flow::keep(state, &tuple.key, stage, &mut flow)
        {
            return send(packet, state, tuple, &flow);
        }
        flow::remove(state, &tuple.key, stage, &flow);
    }
    let FlowKey { destination, destination_port_be, protocol, .. } = tuple.key;
    let frontend =
        find_frontend(state, address, &destination, destination_port_be, protocol, SCOPE_EXTERNAL);
    match frontend {
        Frontend::None => Verdict::Pass,
        Frontend::Closed => refuse::answer(packet, state, tuple),
        Frontend::Service(service) if !admits(state, &service, &tuple.key.source) => {
            Verdict::Drop(Counter::DroppedSource)
        }
        Frontend::Service(service) if service.length == 0 => {
            if service.flags & SERVICE_DROP_WHEN_EMPTY != 0 {
                Verdict::Drop(Counter::DroppedEmpty)
            } else {
                refuse::answer(packet, state, tuple)
            }
        }
        Frontend::Service(service) => {
            if let Err(counter) = begin(state, tuple, &service, &mut flow) {
                return Verdict::Drop(counter);
            }
            state.count(Counter::FlowCreated);
            send(packet, state, tuple, &flow)
        }
    }
}

/// Egress of an uplink: what a process of the host itself answers, as the backend of a pod in the
/// host's network. It passes no veth, and the stack has routed it already.
#[inline(always)]
pub fn egress<P: Packet, S: Flows>(packet: &mut P, tuple: &mut Tuple, state: &S) -> Verdict {
    if parse(packet, tuple) != Parsed::Flow || state.address(&tuple.key.source) & ADDRESS_NODE == 0
    {
        return Verdict::Pass;
    }
    let mut flow = FlowValue::default();
    if flow::find(state, tuple, &mut flow).is_none()
        || !flow.flags.has(FlowFlags::REPLY)
        || flow.flags.has(FlowFlags::NAT)
    {
        return Verdict::Pass;
    }
    if rewrite::translate(packet, tuple, &flow) {
        state.count(Counter::Reply);
        Verdict::Deliver
    } else {
        Verdict::Drop(Counter::DroppedMalformed)
    }
}

/// Whether clients of this address may open flows.
#[inline(always)]
fn admits<S: Flows>(state: &S, service: &ServiceValue, source: &Address) -> bool {
    service.flags & SERVICE_LIMITS_SOURCES == 0
        || state.admits(&Source { service: service.service, address: *source })
}

/// Chooses a backend for the first packet of a flow, and enters the flow.
#[inline(never)]
fn begin<S: Flows>(
    state: &S,
    tuple: &Tuple,
    service: &ServiceValue,
    flow: &mut FlowValue,
) -> Result<(), Counter> {
    let hash = hash(&tuple.key);
    let mut choice = hash;
    let kept = kept(state, tuple, service);
    for attempt in 0..CHOICES {
        let last = attempt == CHOICES - 1;
        if last {
            choice = hash;
        }
        flow.backend = if attempt == 0 || last { kept } else { BACKEND_NONE };
        flow.flags = FlowFlags::default();
        flow.source = tuple.key.source;
        flow.source_port_be = tuple.key.source_port_be;
        if !choose(state, tuple, service, choice, flow) {
            return Err(Counter::DroppedStale);
        }
        if flow.flags.has(FlowFlags::NAT) {
            create_nat(state, tuple, flow, hash)?;
        } else if !flow::create(state, tuple, flow, last) {
            choice = choice.wrapping_mul(0x9e37_79b1).wrapping_add(0x85eb_ca6b);
            continue;
        }
        note(state, tuple, service, flow.backend);
        return Ok(());
    }
    Err(Counter::DroppedCollision)
}

/// The backend that the client keeps to, where the service asks for it.
#[inline(never)]
fn kept<S: Flows>(state: &S, tuple: &Tuple, service: &ServiceValue) -> u32 {
    if service.affinity_seconds == 0 {
        return BACKEND_NONE;
    }
    affinity::kept(state, &affinity::outside(tuple, service), service)
}

#[inline(never)]
fn note<S: Flows>(state: &S, tuple: &Tuple, service: &ServiceValue, backend: u32) {
    if service.affinity_seconds != 0 {
        affinity::note(state, &affinity::outside(tuple, service), backend);
    }
}

/// Leads the flow to the backend that it names, or where it names none to the one that `hash`
/// falls on.
#[inline(never)]
fn choose<S: Flows>(
    state: &S,
    tuple: &Tuple,
    service: &ServiceValue,
    hash: u32,
    flow: &mut FlowValue,
) -> bool {
    let named = match flow.backend {
        BACKEND_NONE => None,
        id => state.backend(id).map(|backend| (id, backend)),
    };
    // What was kept may have been deleted in this moment.
    let Some((id, backend)) = named.or_else(|| select(state, service, hash, tuple.v4)) else {
        return false;
    };
    flow.backend = id;
    flow.service = service.service;
    flow.destination = backend.address;
    flow.destination_port_be = backend.port_be;
    if backend.flags & BACKEND_LOCAL == 0 {
        flow.flags = FlowFlags(FlowFlags::NAT);
    }
    true
}

/// Finds a source for a flow to a backend elsewhere and enters it.
#[inline(always)]
fn create_nat<S: Flows>(
    state: &S,
    tuple: &Tuple,
    flow: &mut FlowValue,
    hash: u32,
) -> Result<(), Counter> {
    let Some(config) = state.config() else { return Err(Counter::DroppedNoPort) };
    let source = if tuple.v4 { config.node_v4 } else { config.node_v6 };
    let (first, last) = (u32::from(config.nat_port_first), u32::from(config.nat_port_last));
    let no_address = source == Address::UNSPECIFIED_V4 || source == Address::UNSPECIFIED_V6;
    if no_address || first == 0 || last < first {
        return Err(Counter::DroppedNoPort);
    }
    flow.source = source;
    let ports = last.wrapping_sub(first).wrapping_add(1);
    // Other bits than those that chose the backend, or the flows of one would share few ports.
    let start = hash.rotate_left(16).wrapping_mul(0x9e37_79b1);
    for attempt in 0..NAT_ATTEMPTS {
        let Some(place) = start.wrapping_add(attempt).checked_rem(ports) else { break };
        let port = first.wrapping_add(place);
        flow.source_port_be = (port as u16).to_be();
        if flow::create(state, tuple, flow, false) {
            return Ok(());
        }
    }
    Err(Counter::DroppedNoPort)
}

#[inline(always)]
fn send<P: Packet, S: Flows>(
    packet: &mut P,
    state: &S,
    tuple: &mut Tuple,
    flow: &FlowValue,
) -> Verdict {
    if flow.flags.has(FlowFlags::NAT) {
        rewrite::forward(packet, state, tuple, flow, Counter::ForwardNat)
    } else if rewrite::translate(packet, tuple, flow) {
        state.count(Counter::ForwardLocal);
        Verdict::Deliver
    } else {
        Verdict::Drop(Counter::DroppedMalformed)
    }
}
