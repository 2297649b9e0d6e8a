use aya_ebpf::{
    EbpfContext,
    bindings::bpf_sock_addr,
    helpers::generated::{bpf_get_netns_cookie, bpf_get_socket_cookie, bpf_set_retval},
    programs::{SockAddrContext, SockContext},
};
use ebpf_abi::{Address, PROTOCOL_TCP, PROTOCOL_UDP};
use ebpf_datapath::socket::{Choice, Sockets, Target, choose, choose_for_datagram, original};

use crate::state::Kernel;

const ALLOW: i32 = 1;
const DENY: i32 = 0;
const ECONNREFUSED: i32 = 111;

/// How the address stands in the context of a hook.
pub trait Family {
    fn address(context: *mut bpf_sock_addr) -> Address;
    fn set_address(context: *mut bpf_sock_addr, address: &Address);
}

pub struct V4;
pub struct V6;

// SAFETY of what follows: the kernel hands a valid context to every program. Volatile, because
// the verifier admits each field with its own width only, and accesses must not be merged.

impl Family for V4 {
    #[inline(always)]
    fn address(context: *mut bpf_sock_addr) -> Address {
        Address::from_v4_be(unsafe { (&raw const (*context).user_ip4).read_volatile() })
    }

    #[inline(always)]
    fn set_address(context: *mut bpf_sock_addr, address: &Address) {
        unsafe { (&raw mut (*context).user_ip4).write_volatile(address.v4_be()) };
    }
}

impl Family for V6 {
    #[inline(always)]
    fn address(context: *mut bpf_sock_addr) -> Address {
        let words = unsafe { &raw const (*context).user_ip6 }.cast::<u32>();
        unsafe {
            Address {
                words_be: [
                    words.read_volatile(),
                    words.add(1).read_volatile(),
                    words.add(2).read_volatile(),
                    words.add(3).read_volatile(),
                ],
            }
        }
    }

    /// A mapped address is written as such: the socket is one of both families.
    #[inline(always)]
    fn set_address(context: *mut bpf_sock_addr, address: &Address) {
        let words = unsafe { &raw mut (*context).user_ip6 }.cast::<u32>();
        unsafe {
            words.write_volatile(address.words_be[0]);
            words.add(1).write_volatile(address.words_be[1]);
            words.add(2).write_volatile(address.words_be[2]);
            words.add(3).write_volatile(address.words_be[3]);
        }
    }
}

/// `None` of a protocol that is not balanced.
#[inline(always)]
fn target<F: Family>(context: &SockAddrContext) -> Option<Target> {
    let sock_addr = context.sock_addr;
    let protocol = unsafe { (&raw const (*sock_addr).protocol).read_volatile() };
    if protocol != u32::from(PROTOCOL_TCP) && protocol != u32::from(PROTOCOL_UDP) {
        return None;
    }
    Some(Target {
        cookie: unsafe { bpf_get_socket_cookie(context.as_ptr()) },
        address: F::address(sock_addr),
        port_be: unsafe { (&raw const (*sock_addr).user_port).read_volatile() } as u16,
        protocol: protocol as u8,
    })
}

#[inline(always)]
fn set_peer<F: Family>(context: &SockAddrContext, address: &Address, port_be: u16) {
    F::set_address(context.sock_addr, address);
    let port = unsafe { &raw mut (*context.sock_addr).user_port };
    unsafe { port.write_volatile(u32::from(port_be)) };
}

#[inline(always)]
fn conclude<F: Family>(context: &SockAddrContext, choice: Choice) -> i32 {
    match choice {
        Choice::Keep => ALLOW,
        Choice::Backend(backend) => {
            set_peer::<F>(context, &backend.address, backend.port_be);
            ALLOW
        }
        Choice::Refuse => {
            // Without it the caller would read EPERM and take us for a firewall.
            unsafe { bpf_set_retval(-ECONNREFUSED) };
            DENY
        }
    }
}

#[inline(always)]
pub fn connect<F: Family>(context: &SockAddrContext) -> i32 {
    let Some(target) = target::<F>(context) else { return ALLOW };
    conclude::<F>(context, choose(&Kernel, &target, namespace(context)))
}

#[inline(always)]
pub fn sendmsg<F: Family>(context: &SockAddrContext) -> i32 {
    let Some(target) = target::<F>(context) else { return ALLOW };
    conclude::<F>(context, choose_for_datagram(&Kernel, &target, namespace(context)))
}

/// The cookie of the socket's network namespace.
#[inline(always)]
fn namespace(context: &SockAddrContext) -> u64 {
    unsafe { bpf_get_netns_cookie(context.as_ptr()) }
}

/// For recvmsg and getpeername, which cannot refuse.
#[inline(always)]
pub fn restore<F: Family>(context: &SockAddrContext) -> i32 {
    if let Some(peer) = target::<F>(context)
        && let Some(origin) = original(&Kernel, &peer, is_connected(context))
    {
        set_peer::<F>(context, &origin.address, origin.port_be);
    }
    ALLOW
}

/// Whether the socket has one peer and no other, which the kernel shows by that peer's port.
#[inline(always)]
fn is_connected(context: &SockAddrContext) -> bool {
    let socket = unsafe { (&raw const (*context.sock_addr).__bindgen_anon_1.sk).read_volatile() };
    !socket.is_null() && unsafe { (&raw const (*socket).dst_port).read_volatile() } != 0
}

/// For the last close of a socket, which cannot be refused. Sockets that have nothing to do with a
/// service pay for one look-up.
#[inline(always)]
pub fn release(context: &SockContext) -> i32 {
    let protocol = unsafe { (&raw const (*context.sock).protocol).read_volatile() };
    if protocol == u32::from(PROTOCOL_TCP) || protocol == u32::from(PROTOCOL_UDP) {
        Kernel.remove_connection(unsafe { bpf_get_socket_cookie(context.as_ptr()) });
    }
    ALLOW
}
