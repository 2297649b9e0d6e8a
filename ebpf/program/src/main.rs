//! The eBPF programs of a node: maps and entry points. What they do is in `ebpf-datapath`.
#![no_std]
#![no_main]

mod maps;
mod packet;
mod route;
mod socket;
mod state;

use aya_ebpf::{
    bindings::{TC_ACT_OK, TC_ACT_SHOT, TC_ACT_UNSPEC},
    helpers::generated::bpf_redirect,
    macros::{cgroup_sock, cgroup_sock_addr, classifier},
    programs::{SockAddrContext, SockContext, TcContext},
};
use ebpf_abi::SERVICE_MARK;
use ebpf_datapath::{Services, Tuple, Verdict, pod, uplink};

use crate::{packet::Frame, state::Kernel};

/// Some helpers are offered to programs under the GPL only.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual BSD/GPL\0";

#[classifier]
pub fn uplink_ingress(context: TcContext) -> i32 {
    let mut frame = Frame::new(context.skb.skb);
    let mut tuple = Tuple::default();
    let verdict = uplink::ingress(&mut frame, &mut tuple, &Kernel);
    conclude(&context, &tuple, verdict)
}

#[classifier]
pub fn uplink_egress(context: TcContext) -> i32 {
    let mut frame = Frame::new(context.skb.skb);
    let mut tuple = Tuple::default();
    let verdict = uplink::egress(&mut frame, &mut tuple, &Kernel);
    conclude(&context, &tuple, verdict)
}

#[classifier]
pub fn pod_ingress(context: TcContext) -> i32 {
    let mut frame = Frame::new(context.skb.skb);
    let mut tuple = Tuple::default();
    let verdict = pod::ingress(&mut frame, &mut tuple, &Kernel, frame_ifindex(&context));
    conclude(&context, &tuple, verdict)
}

#[inline(always)]
fn frame_ifindex(context: &TcContext) -> u32 {
    // SAFETY: the kernel hands a valid context to every program.
    unsafe { (*context.skb.skb).ifindex }
}

#[inline(always)]
fn conclude(context: &TcContext, tuple: &Tuple, verdict: Verdict) -> i32 {
    match verdict {
        // Not TC_ACT_OK: what others have attached behind us still runs.
        Verdict::Pass => TC_ACT_UNSPEC,
        Verdict::Deliver => {
            context.set_mark(SERVICE_MARK);
            TC_ACT_OK as i32
        }
        Verdict::Forward => {
            context.set_mark(SERVICE_MARK);
            match route::forward(context, tuple) {
                Ok(action) => action,
                Err(counter) => drop(counter),
            }
        }
        // SAFETY: a helper without pointers.
        Verdict::Return => unsafe { bpf_redirect(frame_ifindex(context), 0) as i32 },
        Verdict::Drop(counter) => drop(counter),
    }
}

#[inline(always)]
fn drop(counter: ebpf_abi::Counter) -> i32 {
    Kernel.count(counter);
    TC_ACT_SHOT as i32
}

#[cgroup_sock_addr(connect4)]
pub fn cgroup_connect4(context: SockAddrContext) -> i32 {
    socket::connect::<socket::V4>(&context)
}

#[cgroup_sock_addr(connect6)]
pub fn cgroup_connect6(context: SockAddrContext) -> i32 {
    socket::connect::<socket::V6>(&context)
}

#[cgroup_sock_addr(sendmsg4)]
pub fn cgroup_sendmsg4(context: SockAddrContext) -> i32 {
    socket::sendmsg::<socket::V4>(&context)
}

#[cgroup_sock_addr(sendmsg6)]
pub fn cgroup_sendmsg6(context: SockAddrContext) -> i32 {
    socket::sendmsg::<socket::V6>(&context)
}

#[cgroup_sock_addr(recvmsg4)]
pub fn cgroup_recvmsg4(context: SockAddrContext) -> i32 {
    socket::restore::<socket::V4>(&context)
}

#[cgroup_sock_addr(recvmsg6)]
pub fn cgroup_recvmsg6(context: SockAddrContext) -> i32 {
    socket::restore::<socket::V6>(&context)
}

#[cgroup_sock_addr(getpeername4)]
pub fn cgroup_getpeername4(context: SockAddrContext) -> i32 {
    socket::restore::<socket::V4>(&context)
}

#[cgroup_sock_addr(getpeername6)]
pub fn cgroup_getpeername6(context: SockAddrContext) -> i32 {
    socket::restore::<socket::V6>(&context)
}

#[cgroup_sock(sock_release)]
pub fn cgroup_sock_release(context: SockContext) -> i32 {
    socket::release(&context)
}

#[panic_handler]
fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}
