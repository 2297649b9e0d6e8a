//! What a socket is told when it connects or sends to a service.

use ebpf_abi::{
    Address, BACKEND_DRAINING, BACKEND_NONE, BackendValue, Counter, SCOPE_INTERNAL, ServiceValue,
    SocketChoice, SocketKey, SocketOrigin,
};

use crate::{Frontend, Services, affinity, find_frontend, select};

/// The maps that remember what a socket was told.
pub trait Sockets: Services {
    /// Of a connected socket, by its cookie.
    fn connection(&self, cookie: u64) -> Option<SocketOrigin>;
    fn set_connection(&self, cookie: u64, origin: &SocketOrigin);
    fn remove_connection(&self, cookie: u64);
    /// Of one that is not, by each peer.
    fn origin(&self, key: &SocketKey) -> Option<SocketOrigin>;
    fn set_origin(&self, key: &SocketKey, origin: &SocketOrigin);
    fn choice(&self, key: &SocketKey) -> Option<SocketChoice>;
    fn set_choice(&self, key: &SocketKey, choice: &SocketChoice);
    fn random(&self) -> u32;
}

/// Where a socket wants to go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Target {
    pub cookie: u64,
    pub address: Address,
    pub port_be: u16,
    pub protocol: u8,
}

impl Target {
    #[inline(always)]
    fn key(&self, address: Address, port_be: u16) -> SocketKey {
        SocketKey {
            cookie: self.cookie,
            address,
            port_be,
            protocol: self.protocol,
            reserved: [0; 5],
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Choice {
    /// No service: the address stands.
    Keep,
    /// Go there instead.
    Backend(BackendValue),
    /// `ECONNREFUSED`.
    Refuse,
}

/// For connect: a new choice with each call. `namespace` is the cookie of the socket's network
/// namespace, by which a client is known that keeps to one backend.
///
/// Chance rather than the hash of the addresses: the port of the socket is not known yet, and one
/// client must spread over all backends.
#[inline(always)]
pub fn choose<S: Sockets>(state: &S, target: &Target, namespace: u64) -> Choice {
    match frontend(state, target) {
        Frontend::None => Choice::Keep,
        Frontend::Closed => refuse(state),
        Frontend::Service(service) => match pick(state, target, &service, namespace) {
            Some((id, backend)) => {
                // In place of what an earlier connect of this socket had noted.
                state.set_connection(target.cookie, &origin(target, id));
                Choice::Backend(backend)
            }
            None => refuse(state),
        },
    }
}

/// For sendmsg of an unconnected socket: what it sends to one service goes to one backend, for as
/// long as that takes flows.
#[inline(always)]
pub fn choose_for_datagram<S: Sockets>(state: &S, target: &Target, namespace: u64) -> Choice {
    let service = match frontend(state, target) {
        Frontend::None => return Choice::Keep,
        Frontend::Closed => return refuse(state),
        Frontend::Service(service) => service,
    };
    let key = target.key(target.address, target.port_be);
    if let Some(choice) = state.choice(&key)
        && let Some(backend) = state.backend(choice.backend)
        && backend.flags & BACKEND_DRAINING == 0
        && backend.address.is_v4() == target.address.is_v4()
    {
        // The origin may have been evicted meanwhile; without it the answer has a stranger's
        // address.
        let origin_key = target.key(backend.address, backend.port_be);
        if state.origin(&origin_key).is_none() {
            state.set_origin(&origin_key, &origin(target, choice.backend));
        }
        return Choice::Backend(backend);
    }
    match pick(state, target, &service, namespace) {
        Some((id, backend)) => {
            let origin_key = target.key(backend.address, backend.port_be);
            state.set_origin(&origin_key, &origin(target, id));
            state.set_choice(&key, &SocketChoice { backend: id });
            Choice::Backend(backend)
        }
        None => refuse(state),
    }
}

/// For recvmsg and getpeername: the service behind the address of a backend, if this socket was
/// sent there.
#[inline(always)]
pub fn original<S: Sockets>(state: &S, peer: &Target, is_connected: bool) -> Option<SocketOrigin> {
    if !is_connected {
        return state.origin(&peer.key(peer.address, peer.port_be));
    }
    let origin = state.connection(peer.cookie)?;
    // It may have connected to something else since, that is no service's. A backend that is gone
    // cannot tell.
    let is_backend = state
        .backend(origin.backend)
        .is_none_or(|backend| backend.address == peer.address && backend.port_be == peer.port_be);
    is_backend.then_some(origin)
}

#[inline(always)]
fn frontend<S: Sockets>(state: &S, target: &Target) -> Frontend {
    let flags = state.address(&target.address);
    if flags == 0 {
        return Frontend::None;
    }
    find_frontend(state, flags, &target.address, target.port_be, target.protocol, SCOPE_INTERNAL)
}

#[inline(always)]
fn refuse<S: Sockets>(state: &S) -> Choice {
    state.count(Counter::SocketRefused);
    Choice::Refuse
}

#[inline(always)]
fn pick<S: Sockets>(
    state: &S,
    target: &Target,
    service: &ServiceValue,
    namespace: u64,
) -> Option<(u32, BackendValue)> {
    let v4 = target.address.is_v4();
    let key = affinity::inside(namespace, v4, service);
    let keeps = service.affinity_seconds != 0;
    let kept = match if keeps { affinity::kept(state, &key, service) } else { BACKEND_NONE } {
        BACKEND_NONE => None,
        id => state.backend(id).map(|backend| (id, backend)),
    };
    let (id, backend) = match kept {
        Some(kept) => kept,
        None => select(state, service, state.random(), v4)?,
    };
    if keeps {
        affinity::note(state, &key, id);
    }
    state.count(Counter::SocketTranslated);
    Some((id, backend))
}

#[inline(always)]
fn origin(target: &Target, backend: u32) -> SocketOrigin {
    SocketOrigin {
        address: target.address,
        port_be: target.port_be,
        protocol: target.protocol,
        reserved: 0,
        backend,
    }
}
