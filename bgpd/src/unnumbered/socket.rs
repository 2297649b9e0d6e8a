//! The socket by which routers are heard on one interface.

use std::{
    io::{self, IoSliceMut},
    net::{Ipv6Addr, SocketAddrV6},
    os::fd::AsRawFd,
};

use nix::{
    cmsg_space,
    errno::Errno,
    sys::socket::{ControlMessageOwned, MsgFlags, SockaddrIn6, recvmsg},
};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::io::unix::AsyncFd;
use tracing::debug;
use viaduct_net::IfIndex;

use super::{
    advertisement::{
        ADVERTISEMENT, ALL_ROUTERS, HOP_LIMIT, Message, ROUTER_ADVERTISEMENT, ROUTER_SOLICITATION,
        SOLICITATION, parse,
    },
    link::Transmit,
    readable::readable,
};
use crate::tcp::set_option;

/// From linux/icmpv6.h, which libc has no name for.
const ICMPV6_FILTER: libc::c_int = 1;
/// The longest that is looked at: what has more options than fit on a link's MTU is no neighbour's.
const MAX_LEN: usize = 1500;

#[derive(Debug)]
pub(super) struct RouterSocket {
    socket: AsyncFd<Socket>,
    interface: IfIndex,
}

impl RouterSocket {
    /// Needs CAP_NET_RAW.
    pub(super) fn open(name: &str, interface: IfIndex) -> io::Result<Self> {
        let socket = Socket::new(Domain::IPV6, Type::RAW, Some(Protocol::ICMPV6))?;
        set_option(socket.as_raw_fd(), libc::IPPROTO_ICMPV6, ICMPV6_FILTER, &filter())?;
        socket.set_nonblocking(true)?;
        socket.bind_device(Some(name.as_bytes()))?;
        socket.set_recv_hoplimit_v6(true)?;
        socket.set_unicast_hops_v6(HOP_LIMIT.into())?;
        socket.set_multicast_hops_v6(HOP_LIMIT.into())?;
        socket.set_multicast_loop_v6(false)?;
        socket.set_multicast_if_v6(interface.0)?;
        // Every node is in ff02::1 by itself.
        socket.join_multicast_v6(&ALL_ROUTERS, interface.0)?;
        Ok(Self { socket: readable(socket)?, interface })
    }

    pub(super) fn send(&self, transmit: Transmit) -> io::Result<()> {
        let (octets, to) = match transmit {
            Transmit::Advertisement { to } => (&ADVERTISEMENT[..], to),
            Transmit::Solicitation => (&SOLICITATION[..], ALL_ROUTERS),
        };
        let to = SocketAddrV6::new(to, 0, 0, self.interface.0);
        self.socket.get_ref().send_to(octets, &to.into()).map(|_| ())
    }

    /// The next message that follows the rules; the others are passed over.
    pub(super) async fn receive(&self) -> io::Result<Message> {
        loop {
            let mut ready = self.socket.readable().await?;
            match receive_one(self.socket.get_ref()) {
                Ok(Some(message)) => return Ok(message),
                Ok(None) | Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) => ready.clear_ready(),
                Err(error) => return Err(error.into()),
            }
        }
    }
}

/// `struct icmp6_filter`: a bit for each type that is not wanted.
fn filter() -> [u32; 8] {
    let mut blocked = [u32::MAX; 8];
    for kind in [ROUTER_SOLICITATION, ROUTER_ADVERTISEMENT] {
        blocked[usize::from(kind >> 5)] &= !(1 << (kind & 31));
    }
    blocked
}

fn receive_one(socket: &Socket) -> nix::Result<Option<Message>> {
    let mut octets = [0; MAX_LEN];
    let mut room = [IoSliceMut::new(&mut octets)];
    let mut control = cmsg_space!(libc::c_int);
    let flags = MsgFlags::MSG_DONTWAIT;
    let message = recvmsg::<SockaddrIn6>(socket.as_raw_fd(), &mut room, Some(&mut control), flags)?;
    let mut hop_limit = None;
    for control in message.cmsgs()? {
        if let ControlMessageOwned::Ipv6HopLimit(hops) = control {
            hop_limit = u8::try_from(hops).ok();
        }
    }
    let (from, len) = (message.address.map(|address| address.ip()), message.bytes);
    let whole = !message.flags.contains(MsgFlags::MSG_TRUNC);
    let (Some(from), Some(hop_limit), true) = (from, hop_limit, whole) else { return Ok(None) };
    let from: Ipv6Addr = from;
    match parse(&octets[..len], from, hop_limit) {
        Ok(message) => Ok(Some(message)),
        Err(error) => {
            debug!(%from, %error, "discovery message discarded");
            Ok(None)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_filter_lets_two_types_pass() {
        let filter = filter();
        let passes = |kind: u8| filter[usize::from(kind >> 5)] & 1 << (kind & 31) == 0;
        let passing: Vec<u8> = (0..=255).filter(|kind| passes(*kind)).collect();
        assert_eq!(passing, [133, 134]);
    }
}
