use ebpf_abi::{
    ADDRESS_NODE, ADDRESS_SERVICE, ADDRESS_VIP, Address, BACKEND_NONE, BackendValue,
    SCOPE_EXTERNAL, ServiceKey, ServiceValue,
};

use crate::Services;

/// What stands at an address and port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Frontend {
    /// No service, and an address that is not for services alone.
    None,
    /// The address is a service's and this port is not.
    Closed,
    Service(ServiceValue),
}

/// `flags` are those of the address. Every address of a frontend has some, so that the packets
/// and sockets that have nothing to do with a service cost one look-up.
#[inline(always)]
pub fn find_frontend<S: Services>(
    state: &S,
    flags: u32,
    address: &Address,
    port_be: u16,
    protocol: u8,
    scope: u8,
) -> Frontend {
    let mut key = ServiceKey { address: *address, port_be, protocol, scope };
    if let Some(service) = state.service(&key) {
        return Frontend::Service(service);
    }
    if flags & ADDRESS_NODE != 0 {
        key.address = address.unspecified();
        if let Some(service) = state.service(&key) {
            return Frontend::Service(service);
        }
    }
    // A node's address has ports that are no service's.
    let closed = if scope == SCOPE_EXTERNAL { ADDRESS_VIP } else { ADDRESS_SERVICE };
    if flags & closed != 0 && flags & ADDRESS_NODE == 0 { Frontend::Closed } else { Frontend::None }
}

/// The backend at the place in the table that `hash` falls on, where there is one and it is of
/// the family asked for.
#[inline(always)]
pub fn select<S: Services>(
    state: &S,
    service: &ServiceValue,
    hash: u32,
    v4: bool,
) -> Option<(u32, BackendValue)> {
    // `checked`, because a division that could panic is no program.
    let place = hash.checked_rem(service.length)?;
    let id = state.maglev(service.offset.wrapping_add(place))?;
    if id == BACKEND_NONE {
        return None;
    }
    let backend = state.backend(id)?;
    (backend.address.is_v4() == v4).then_some((id, backend))
}
