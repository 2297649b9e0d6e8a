#![expect(unsafe_code, reason = "map keys and values cross to the kernel as bytes")]

use core::slice;

use crate::{
    Address, AffinityKey, AffinityValue, BackendValue, FlowKey, FlowValue, MaglevChunk, NodeConfig,
    PodValue, ReplyBudget, ServiceKey, ServiceValue, SocketChoice, SocketKey, SocketOrigin, Source,
    SourceRange,
};

/// A type that is exactly its bytes, as the kernel copies it.
///
/// # Safety
/// No padding, and every pattern of bits is a value.
pub unsafe trait Plain: Copy + Default {
    fn as_bytes(&self) -> &[u8] {
        // SAFETY: by the contract of the trait each of the bytes is initialised.
        unsafe { slice::from_raw_parts((&raw const *self).cast(), size_of::<Self>()) }
    }

    fn as_bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: as above, and by the contract whatever is written is a value.
        unsafe { slice::from_raw_parts_mut((&raw mut *self).cast(), size_of::<Self>()) }
    }

    /// `None` where the length is another.
    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let mut value = Self::default();
        let space = value.as_bytes_mut();
        if space.len() != bytes.len() {
            return None;
        }
        space.copy_from_slice(bytes);
        Some(value)
    }
}

macro_rules! plain {
    ($($name:ident { $($field:ident: $size:expr),+ $(,)? })+) => {$(
        // Fields one after the other fill the type: there is no room for padding.
        const _: () = {
            let mut offset = 0;
            $(
                assert!(core::mem::offset_of!($name, $field) == offset);
                offset += $size;
            )+
            assert!(offset == size_of::<$name>());
        };
        // SAFETY: repr(C) over integers, arrays and plain types, and without padding, as asserted.
        unsafe impl Plain for $name {}
    )+};
}

plain! {
    Address { words_be: 16 }
    ServiceKey { address: 16, port_be: 2, protocol: 1, scope: 1 }
    ServiceValue {
        offset: 4, length: 4, generation: 4, flags: 4, service: 4, affinity_seconds: 4,
    }
    MaglevChunk { ids: 256 }
    BackendValue { address: 16, port_be: 2, flags: 2, node: 4 }
    SocketKey { cookie: 8, address: 16, port_be: 2, protocol: 1, reserved: 5 }
    SocketOrigin { address: 16, port_be: 2, protocol: 1, reserved: 1, backend: 4 }
    SocketChoice { backend: 4 }
    FlowKey {
        source: 16, destination: 16, source_port_be: 2, destination_port_be: 2,
        protocol: 1, reserved: 3,
    }
    FlowValue {
        last_seen_nanos: 8, source: 16, destination: 16, source_port_be: 2,
        destination_port_be: 2, flags: 2, reserved: 2, backend: 4, service: 4,
    }
    NodeConfig {
        node_v4: 16, node_v6: 16, nat_port_first: 2, nat_port_last: 2, udp_idle_seconds: 4,
        tcp_idle_seconds: 4, closing_idle_seconds: 4, embryonic_idle_seconds: 4, reserved: 44,
    }
    AffinityKey { client: 16, service: 4, scope: 1, v4: 1, reserved: 2 }
    AffinityValue { last_seen_nanos: 8, backend: 4, reserved: 4 }
    Source { service: 4, address: 16 }
    SourceRange { prefix_length: 4, source: 20 }
    PodValue { v4: 16, v6: 16 }
    ReplyBudget { second: 8, sent: 8 }
}

// SAFETY: an integer.
unsafe impl Plain for u32 {}
// SAFETY: an integer.
unsafe impl Plain for u64 {}

#[cfg(test)]
mod tests {
    use core::net::Ipv4Addr;

    use super::*;

    #[test]
    fn bytes_are_in_the_order_of_the_fields() {
        let key = ServiceKey {
            address: Ipv4Addr::new(10, 96, 0, 1).into(),
            port_be: 80_u16.to_be(),
            protocol: crate::PROTOCOL_TCP,
            scope: crate::SCOPE_EXTERNAL,
        };
        let bytes = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 255, 255, 10, 96, 0, 1, 0, 80, 6, 1];
        assert_eq!(key.as_bytes(), bytes);
        assert_eq!(ServiceKey::from_bytes(&bytes), Some(key));
        assert_eq!(ServiceKey::from_bytes(&bytes[1..]), None);
    }
}
