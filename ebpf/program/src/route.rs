use core::ffi::c_int;

use aya_ebpf::{
    EbpfContext,
    bindings::{BPF_FIB_LKUP_RET_NO_NEIGH, BPF_FIB_LKUP_RET_SUCCESS},
    helpers::generated::{bpf_fib_lookup, bpf_redirect_neigh},
    programs::TcContext,
};
use ebpf_abi::{Address, Counter};
use ebpf_datapath::Tuple;

const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;

/// `struct bpf_fib_lookup`, without its unions.
#[repr(C)]
struct FibLookup {
    family: u8,
    protocol: u8,
    source_port_be: u16,
    destination_port_be: u16,
    /// 0: a packet of many segments is not measured as a whole.
    total_length: u16,
    ifindex: u32,
    tos: u32,
    source: [u32; 4],
    /// Overwritten with the next hop.
    destination: [u32; 4],
    vlan: u32,
    macs: [u8; 12],
}

const _: () = assert!(size_of::<FibLookup>() == 64);

/// `struct bpf_redir_neigh`.
#[repr(C)]
struct NextHop {
    family: u32,
    address: [u32; 4],
}

#[inline(always)]
fn words(address: &Address, v4: bool) -> [u32; 4] {
    if v4 { [address.v4_be(), 0, 0, 0] } else { address.words_be }
}

/// Sends the packet where the routing table says, through the neighbour table.
#[inline(never)]
pub fn forward(context: &TcContext, tuple: &Tuple) -> Result<i32, Counter> {
    let mut lookup = FibLookup {
        family: if tuple.v4 { AF_INET } else { AF_INET6 },
        protocol: tuple.key.protocol,
        source_port_be: tuple.key.source_port_be,
        destination_port_be: tuple.key.destination_port_be,
        total_length: 0,
        // SAFETY: the kernel hands a valid context to every program.
        ifindex: unsafe { (*context.skb.skb).ifindex },
        tos: 0,
        source: words(&tuple.key.source, tuple.v4),
        destination: words(&tuple.key.destination, tuple.v4),
        vlan: 0,
        macs: [0; 12],
    };
    // SAFETY: the structure has the kernel's layout and the size that is told.
    let result = unsafe {
        bpf_fib_lookup(
            context.as_ptr(),
            (&raw mut lookup).cast(),
            size_of::<FibLookup>() as c_int,
            0,
        )
    };
    // Without a neighbour there is a route none the less: sending is what resolves it.
    if result != i64::from(BPF_FIB_LKUP_RET_SUCCESS)
        && result != i64::from(BPF_FIB_LKUP_RET_NO_NEIGH)
    {
        return Err(Counter::DroppedNoRoute);
    }
    let mut next_hop = NextHop { family: u32::from(lookup.family), address: lookup.destination };
    // SAFETY: as above.
    Ok(unsafe {
        bpf_redirect_neigh(
            lookup.ifindex,
            (&raw mut next_hop).cast(),
            size_of::<NextHop>() as c_int,
            0,
        )
    } as i32)
}
