//! Session affinity: a client keeps its backend from flow to flow.

use ebpf_abi::{
    AffinityKey, AffinityValue, BACKEND_DRAINING, BACKEND_NONE, SCOPE_EXTERNAL, SCOPE_INTERNAL,
    ServiceValue,
};

use crate::{Services, Tuple};

const SECOND: u64 = 1_000_000_000;

/// A client outside is known by its address.
#[inline(always)]
pub(crate) fn outside(tuple: &Tuple, service: &ServiceValue) -> AffinityKey {
    AffinityKey {
        client: tuple.key.source,
        service: service.service,
        scope: SCOPE_EXTERNAL,
        v4: tuple.v4.into(),
        reserved: [0; 2],
    }
}

/// A client of this node is known by its network namespace: a pod has an address of each family,
/// and a socket has none yet when it connects.
#[inline(always)]
pub(crate) fn inside(namespace: u64, v4: bool, service: &ServiceValue) -> AffinityKey {
    let mut key = AffinityKey {
        service: service.service,
        scope: SCOPE_INTERNAL,
        v4: v4.into(),
        ..AffinityKey::default()
    };
    key.client.words_be[0] = (namespace >> 32) as u32;
    key.client.words_be[1] = namespace as u32;
    key
}

/// The backend that the client had, if it was there lately and may have it again; else
/// [`BACKEND_NONE`].
#[inline(always)]
pub(crate) fn kept<S: Services>(state: &S, key: &AffinityKey, service: &ServiceValue) -> u32 {
    let Some(had) = state.affinity(key) else { return BACKEND_NONE };
    let silent = state.now_nanos().saturating_sub(had.last_seen_nanos);
    let serves =
        state.backend(had.backend).is_some_and(|backend| backend.flags & BACKEND_DRAINING == 0);
    if serves && silent <= u64::from(service.affinity_seconds) * SECOND {
        had.backend
    } else {
        BACKEND_NONE
    }
}

/// Notes that a flow of the client goes to the backend, from now on.
#[inline(always)]
pub(crate) fn note<S: Services>(state: &S, key: &AffinityKey, backend: u32) {
    let last_seen_nanos = state.now_nanos();
    state.set_affinity(key, &AffinityValue { last_seen_nanos, backend, reserved: 0 });
}
