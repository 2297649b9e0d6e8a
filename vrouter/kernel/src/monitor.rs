//! The kernel's notifications, reduced to whether to look again.

use std::{
    future::poll_fn,
    io,
    task::{Context, Poll},
};

use netlink_packet_core::NetlinkBuffer;
use netlink_packet_route::route::RouteHeader;
use netlink_sys::{AsyncSocket, SocketAddr, TokioSocket, protocols::NETLINK_ROUTE};

use crate::{
    connection::messages,
    encode::{RTM_DELROUTE, RTM_NEWROUTE},
    nexthop::{RTM_DELNEXTHOP, RTM_NEWNEXTHOP},
};

const RTNLGRP_LINK: u32 = 1;
const RTNLGRP_IPV4_IFADDR: u32 = 5;
const RTNLGRP_IPV4_ROUTE: u32 = 7;
const RTNLGRP_IPV6_IFADDR: u32 = 9;
const RTNLGRP_IPV6_ROUTE: u32 = 11;
const RTNLGRP_NEXTHOP: u32 = 32;

const GROUPS: [u32; 6] = [
    RTNLGRP_LINK,
    RTNLGRP_IPV4_IFADDR,
    RTNLGRP_IPV4_ROUTE,
    RTNLGRP_IPV6_IFADDR,
    RTNLGRP_IPV6_ROUTE,
    RTNLGRP_NEXTHOP,
];

const ENOBUFS: i32 = 105;
const BUFFER_LEN: usize = 64 * 1024;
/// Datagrams read before the change is reported, so that a flood does not keep us from acting.
const DRAIN_MAX: usize = 1024;

/// What has happened since the last look. All that is known of it is worth one new look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Change {
    /// A link, an address or a nexthop, or a route that is not ours.
    pub surroundings: bool,
    /// A route or nexthop under our protocol number was changed by someone else.
    pub own: bool,
    /// The kernel had more to say than the socket could hold: anything may have happened.
    pub overrun: bool,
}

impl Change {
    pub fn is_none(self) -> bool {
        self == Self::default()
    }
}

/// Listens to links, addresses, routes and nexthops of one network namespace.
pub struct Monitor {
    socket: TokioSocket,
    own_port: u32,
    protocol: u8,
}

impl Monitor {
    /// Subscribes in the namespace of this thread; open it before the first snapshot, so that no
    /// change falls between. Changes made through `own_port` are not reported. Has to be called
    /// within a tokio runtime.
    pub fn open(own_port: u32, protocol: u8) -> io::Result<Self> {
        let mut socket = TokioSocket::new(NETLINK_ROUTE)?;
        socket.socket_mut().bind(&SocketAddr::new(0, 0))?;
        for group in GROUPS {
            socket.socket_mut().add_membership(group)?;
        }
        Ok(Self { socket, own_port, protocol })
    }

    /// Waits for a change, and takes all that has happened until now as one. Dropping the future
    /// loses nothing.
    pub async fn changed(&mut self) -> io::Result<Change> {
        poll_fn(|context| self.poll_changed(context)).await
    }

    fn poll_changed(&mut self, context: &mut Context<'_>) -> Poll<io::Result<Change>> {
        let mut change = Change::default();
        let mut buffer = Vec::with_capacity(BUFFER_LEN);
        for _ in 0..DRAIN_MAX {
            buffer.clear();
            match self.socket.poll_recv(context, &mut buffer) {
                Poll::Ready(Ok(())) => {
                    for message in messages(&buffer) {
                        judge(&message, self.own_port, self.protocol, &mut change);
                    }
                }
                Poll::Ready(Err(error)) if error.raw_os_error() == Some(ENOBUFS) => {
                    change.overrun = true;
                }
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending if change.is_none() => return Poll::Pending,
                Poll::Pending => return Poll::Ready(Ok(change)),
            }
        }
        // More waits, and will be found by the next call.
        if change.is_none() {
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        Poll::Ready(Ok(change))
    }
}

fn judge(message: &NetlinkBuffer<&[u8]>, own_port: u32, protocol: u8, change: &mut Change) {
    if message.port_number() == own_port {
        return;
    }
    let payload = message.payload();
    match message.message_type() {
        RTM_NEWROUTE | RTM_DELROUTE => match RouteHeader::parse(payload) {
            Ok(header) if u8::from(header.protocol) == protocol => change.own = true,
            Ok(header) if header.table == RouteHeader::RT_TABLE_MAIN => change.surroundings = true,
            // Other tables, such as `local`, say nothing of our surroundings.
            Ok(_) => {}
            Err(_) => change.overrun = true,
        },
        RTM_NEWNEXTHOP | RTM_DELNEXTHOP => match payload.get(2) {
            Some(by) if *by == protocol => change.own = true,
            _ => change.surroundings = true,
        },
        _ => change.surroundings = true,
    }
}
