//! The two entries of a flow: made together, moved together, and found again apart.
//!
//! What is marked `inline(never)`, here and in the other modules, has a frame of its own on the
//! kernel's stack: one program's path through all of them has 512 bytes.

use ebpf_abi::{
    BACKEND_DRAINING, BackendValue, Counter, FlowFlags, FlowKey, FlowValue, NodeConfig,
    PROTOCOL_TCP,
};

use crate::{Flows, Stage, Tuple};

const SECOND: u64 = 1_000_000_000;

/// A UDP flow that was silent for so long is a new one (RFC 4787 §4.3: not less than two minutes).
const UDP_IDLE_NANOS: u64 = 120 * SECOND;
/// A TCP flow that was silent for so long gives up its port (RFC 5382 §5: two hours and four
/// minutes at least).
const TCP_IDLE_NANOS: u64 = (2 * 60 + 4) * 60 * SECOND;
/// The same after a FIN or RST: as long as TIME-WAIT lasts on Linux.
const CLOSING_IDLE_NANOS: u64 = 60 * SECOND;
/// The same where nothing was ever answered.
const EMBRYONIC_IDLE_NANOS: u64 = 30 * SECOND;
/// A client that was silent for so long may be sending again what was not answered: see whether
/// the other entry is still there.
const SUSPECT_NANOS: u64 = SECOND;

// A table that evicts by age must not hold a flow that is thought dead for longer than one alive.
const _: () = assert!(
    EMBRYONIC_IDLE_NANOS < CLOSING_IDLE_NANOS
        && CLOSING_IDLE_NANOS < UDP_IDLE_NANOS
        && UDP_IDLE_NANOS < TCP_IDLE_NANOS
);

/// For how long a flow that was answered, and does not close, may be silent.
#[inline(always)]
fn idle_limit(config: Option<&NodeConfig>, protocol: u8) -> u64 {
    if protocol == PROTOCOL_TCP {
        limit(config.map(|config| config.tcp_idle_seconds), TCP_IDLE_NANOS)
    } else {
        limit(config.map(|config| config.udp_idle_seconds), UDP_IDLE_NANOS)
    }
}

#[inline(always)]
fn limit(configured: Option<u32>, usual: u64) -> u64 {
    match configured {
        None | Some(0) => usual,
        Some(seconds) => seconds as u64 * SECOND,
    }
}

/// Whether an entry of the established table is of a connection that is open, for those who count
/// them. `now_nanos` is of the clock that the programs go by, the monotonic one.
pub fn is_open(flow: &FlowValue, protocol: u8, config: &NodeConfig, now_nanos: u64) -> bool {
    !flow.flags.has(FlowFlags::CLOSING)
        && now_nanos.saturating_sub(flow.last_seen_nanos) <= idle_limit(Some(config), protocol)
}

/// Looks up the flow of a packet and notes that the packet has passed. `flow` becomes what the
/// entry was before.
#[inline(never)]
pub(crate) fn find<S: Flows>(state: &S, tuple: &Tuple, flow: &mut FlowValue) -> Option<Stage> {
    let now = state.now_nanos();
    let mut passed = FlowFlags::SEEN;
    if tuple.closes() {
        passed |= FlowFlags::CLOSING;
    }
    let mut note = |entry: &mut FlowValue| {
        *flow = *entry;
        entry.last_seen_nanos = now;
        entry.flags = entry.flags.with(passed);
    };
    let stage = if state.visit_flow(Stage::Established, &tuple.key, &mut note).is_some() {
        Stage::Established
    } else {
        state.visit_flow(Stage::Embryonic, &tuple.key, &mut note)?;
        Stage::Embryonic
    };
    if tuple.closes() {
        // Each entry says it, so that neither direction's end is needed to know.
        state.visit_flow(stage, &counterpart(flow, tuple.key.protocol), |other| {
            other.flags = other.flags.with(FlowFlags::CLOSING);
        });
    }
    Some(stage)
}

/// The key of the other direction: the translated packet, turned round.
#[inline(always)]
pub(crate) fn counterpart(flow: &FlowValue, protocol: u8) -> FlowKey {
    FlowKey {
        source: flow.destination,
        destination: flow.source,
        source_port_be: flow.destination_port_be,
        destination_port_be: flow.source_port_be,
        protocol,
        reserved: [0; 3],
    }
}

/// Whether a client's packet begins a new flow although there is one with its addresses.
#[inline(always)]
pub(crate) fn begins_anew<S: Flows>(state: &S, flow: &FlowValue, tuple: &Tuple) -> bool {
    let idle = state.now_nanos().saturating_sub(flow.last_seen_nanos);
    if tuple.key.protocol == PROTOCOL_TCP {
        // A SYN in the midst of a living connection goes to its backend, which knows how to
        // answer it (RFC 5961 §4).
        tuple.opens()
            && (flow.flags.has(FlowFlags::CLOSING) || !serves(state.backend(flow.backend)))
    } else {
        idle > idle_limit(state.config(), tuple.key.protocol)
            || !serves(state.backend(flow.backend))
    }
}

#[inline(always)]
fn serves(backend: Option<BackendValue>) -> bool {
    backend.is_some_and(|backend| backend.flags & BACKEND_DRAINING == 0)
}

/// Moves a flow that was answered, and whose client has sent again, to the established table; and
/// mends a flow whose other entry was evicted. `false` where that other entry is another flow's by
/// now: this one has lost its place.
#[inline(never)]
pub(crate) fn keep<S: Flows>(state: &S, key: &FlowKey, stage: Stage, flow: &mut FlowValue) -> bool {
    let other = counterpart(flow, key.protocol);
    let now = state.now_nanos();
    if matches!(stage, Stage::Established)
        && now.saturating_sub(flow.last_seen_nanos) < SUSPECT_NANOS
    {
        return true;
    }
    let Some(reply) = state.visit_flow(stage, &other, |reply| *reply) else {
        return insert_reply(state, stage, key, flow, &other);
    };
    if !answers(&reply, key) {
        return false;
    }
    if matches!(stage, Stage::Embryonic) && reply.flags.has(FlowFlags::SEEN) {
        // The reply first: a client's entry in the new table implies the backend's.
        state.insert_flow(Stage::Established, &other, &reply);
        flow.last_seen_nanos = now;
        flow.flags = flow.flags.with(FlowFlags::SEEN);
        state.insert_flow(Stage::Established, key, flow);
        state.remove_flow(Stage::Embryonic, &other);
        state.remove_flow(Stage::Embryonic, key);
        state.count(Counter::FlowEstablished);
    }
    true
}

/// Whether the backend's entry is that of the client's flow `key`.
#[inline(always)]
fn answers(reply: &FlowValue, key: &FlowKey) -> bool {
    reply.destination == key.source
        && reply.source == key.destination
        && reply.destination_port_be == key.source_port_be
        && reply.source_port_be == key.destination_port_be
}

/// Removes the client's entry, and the backend's if it is the same flow's.
#[inline(never)]
pub(crate) fn remove<S: Flows>(state: &S, key: &FlowKey, stage: Stage, flow: &FlowValue) {
    let other = counterpart(flow, key.protocol);
    if state.visit_flow(stage, &other, |reply| answers(reply, key)) == Some(true) {
        state.remove_flow(stage, &other);
    }
    state.remove_flow(stage, key);
}

/// Enters a new flow in the embryonic table, given what its packets become and where they go;
/// `false` where another flow lives under the packets that the backend would send. `over_closing`:
/// one that is closing does not count as alive when a connection is opened.
#[inline(never)]
pub(crate) fn create<S: Flows>(
    state: &S,
    tuple: &Tuple,
    flow: &mut FlowValue,
    over_closing: bool,
) -> bool {
    let over_closing = over_closing && tuple.opens();
    let key = &tuple.key;
    flow.last_seen_nanos = state.now_nanos();
    flow.flags = flow.flags.with(FlowFlags::SEEN);
    if tuple.closes() {
        flow.flags = flow.flags.with(FlowFlags::CLOSING);
    }
    let other = counterpart(flow, key.protocol);
    if !vacate(state, Stage::Established, &other, key, over_closing)
        || !vacate(state, Stage::Embryonic, &other, key, over_closing)
        || !insert_reply(state, Stage::Embryonic, key, flow, &other)
    {
        return false;
    }
    // A flow of the same packets that another CPU made in between is as good.
    state.insert_flow(Stage::Embryonic, key, flow);
    true
}

/// Removes the entry at `other` if it belongs to the flow of `key`, or to one that is over.
/// `false` where it belongs to another that lives.
#[inline(never)]
fn vacate<S: Flows>(
    state: &S,
    stage: Stage,
    other: &FlowKey,
    key: &FlowKey,
    over_closing: bool,
) -> bool {
    let now = state.now_nanos();
    let config = state.config();
    let removable = state.visit_flow(stage, other, |flow| {
        let limit = if flow.flags.has(FlowFlags::CLOSING) {
            limit(config.map(|config| config.closing_idle_seconds), CLOSING_IDLE_NANOS)
        } else if matches!(stage, Stage::Embryonic) {
            limit(config.map(|config| config.embryonic_idle_seconds), EMBRYONIC_IDLE_NANOS)
        } else {
            idle_limit(config, key.protocol)
        };
        let closing = flow.flags.has(FlowFlags::CLOSING);
        answers(flow, key)
            || over_closing && closing
            || now.saturating_sub(flow.last_seen_nanos) > limit
    });
    match removable {
        None => true,
        Some(true) => {
            state.remove_flow(stage, other);
            true
        }
        Some(false) => false,
    }
}

/// Enters the backend's direction of a flow, given the client's and where it belongs.
#[inline(never)]
fn insert_reply<S: Flows>(
    state: &S,
    stage: Stage,
    key: &FlowKey,
    flow: &FlowValue,
    other: &FlowKey,
) -> bool {
    let reply = FlowValue {
        last_seen_nanos: flow.last_seen_nanos,
        source: key.destination,
        destination: key.source,
        source_port_be: key.destination_port_be,
        destination_port_be: key.source_port_be,
        flags: FlowFlags(FlowFlags::REPLY | flow.flags.0 & FlowFlags::NAT),
        reserved: [0; 2],
        backend: flow.backend,
        service: flow.service,
    };
    state.insert_flow(stage, other, &reply)
}
