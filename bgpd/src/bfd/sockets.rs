//! The sockets of BFD: one for each address of ours and kind of path that takes packets, one for each
//! session that sends them.
//!
//! Neighbours on links are known as in [`LinkLocal::embedded`](viaduct_net::LinkLocal::embedded), so that
//! fe80::2 on two links is two: the scope of a socket's address is the interface that packets leave by,
//! and that of their source the one by which they have come.

use std::{
    collections::{BTreeMap, BTreeSet},
    hash::{BuildHasher, RandomState},
    io::{self, IoSliceMut},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    os::fd::{AsFd, AsRawFd, BorrowedFd},
    time::{Duration, Instant},
};

use bgp_bfd::{Path, Received, SessionKey, Transmit};
use nix::{
    cmsg_space,
    errno::Errno,
    sys::socket::{
        ControlMessageOwned, MsgFlags, SockaddrStorage, recvmsg, setsockopt,
        sockopt::{Ipv4RecvTtl, Ipv6RecvHopLimit, Ipv6TClass},
    },
};
use socket2::{Domain, Protocol, Socket, Type};
use tracing::{debug, info, warn};
use viaduct_net::{Family, Readable, neighbour_address, socket_address};

use super::{BfdSocket, Wanted};

/// RFC 5881 §4.
const SOURCE_PORTS: std::ops::RangeInclusive<u16> = 49152..=65535;
/// Source ports tried before one is said to be missing.
const PORT_ATTEMPTS: u32 = 64;
/// What is sent, so that its receiver sees that it has passed no router (RFC 5881 §5).
const TTL: u32 = 255;
/// DSCP CS6, network control.
const TRAFFIC_CLASS: u8 = 48 << 2;
/// TC_PRIO_INTERACTIVE, the highest that needs no privilege.
const PRIORITY: u32 = 6;
/// Longer than any packet that is looked at.
const DATAGRAM_LEN: usize = 128;
/// Packets taken from one socket before time is looked at again.
const MAX_BATCH: usize = 256;
/// Before the next try to have a port that someone else has.
const RETRY: Duration = Duration::from_secs(1);

#[derive(Debug, Default)]
pub(super) struct Sockets {
    /// Our own end of each session.
    locals: BTreeMap<SessionKey, IpAddr>,
    /// By our own address.
    listeners: BTreeMap<(IpAddr, Path), Listener>,
    /// Opened with the first packet.
    senders: BTreeMap<SessionKey, Socket>,
    retry_at: Option<Instant>,
    random: RandomState,
    drawn: u64,
    pub(super) send_errors: u64,
}

#[derive(Debug)]
enum Listener {
    Open(Socket),
    Failed(String),
}

impl Sockets {
    /// Those of another process.
    pub(super) fn adopt(sockets: Vec<BfdSocket>) -> Self {
        let mut adopted = Self::default();
        for BfdSocket { session, socket } in sockets {
            let socket = Socket::from(socket);
            // One that has no address can be nobody's; what is missing is opened.
            let Some(local) = socket.local_addr().ok().and_then(|local| local.as_socket()) else {
                continue;
            };
            let address = neighbour_address(local);
            if let Some(key) = session {
                adopted.locals.insert(key, address);
                adopted.senders.insert(key, socket);
            } else if let Some(path) = Path::of_port(local.port()) {
                adopted.listeners.insert((address, path), Listener::Open(socket));
            }
        }
        adopted
    }

    /// Copies for another process.
    pub(super) fn copies(&self) -> io::Result<Vec<BfdSocket>> {
        let senders = self.senders.iter().map(|(key, socket)| (Some(*key), socket));
        let all = self.open().map(|(_, socket)| (None, socket)).chain(senders);
        let copy = |(session, socket): (_, &Socket)| {
            Ok(BfdSocket { session, socket: socket.as_fd().try_clone_to_owned()? })
        };
        all.map(copy).collect()
    }

    /// Opens what these sessions need and is not there, and closes what they do not.
    pub(super) fn update(&mut self, keys: &[SessionKey], wanted: &Wanted, now: Instant) {
        let local = |key: &SessionKey| match wanted.get(key) {
            Some(session) => session.local,
            // One that says farewell is where it was.
            None => self.locals.get(key).copied(),
        };
        let locals: BTreeMap<_, _> = keys
            .iter()
            .map(|key| (*key, local(key).unwrap_or_else(|| any(Family::of(key.peer)))))
            .collect();
        self.senders.retain(|key, _| locals.get(key) == self.locals.get(key));
        self.locals = locals;
        let needed = listened_at(&self.locals);
        // First, for one may be in the way of another.
        self.listeners.retain(|at, _| needed.contains(at));
        for at in needed {
            self.listeners.entry(at).or_insert_with(|| Listener::Failed(String::new()));
        }
        self.open_listeners(now);
    }

    /// When [`Self::retry`] is wanted.
    pub(super) const fn retry_at(&self) -> Option<Instant> {
        self.retry_at
    }

    pub(super) fn retry(&mut self, now: Instant) {
        if self.retry_at.is_some_and(|at| at <= now) {
            self.open_listeners(now);
        }
    }

    fn open_listeners(&mut self, now: Instant) {
        self.retry_at = None;
        for (&(local, path), listener) in &mut self.listeners {
            let Listener::Failed(before) = listener else { continue };
            let address = socket_address(local, path.port());
            match listen(address) {
                Ok(socket) => {
                    info!(%address, "listening for BFD");
                    *listener = Listener::Open(socket);
                }
                Err(error) => {
                    let problem = format!("cannot listen for BFD at {address}: {error}");
                    if *before != problem {
                        warn!("{problem}");
                    }
                    *listener = Listener::Failed(problem);
                    self.retry_at = Some(now + RETRY);
                }
            }
        }
    }

    pub(super) fn problems(&self) -> impl Iterator<Item = &str> {
        self.listeners.values().filter_map(|listener| match listener {
            Listener::Open(_) => None,
            Listener::Failed(problem) => Some(problem.as_str()),
        })
    }

    /// What is to be waited for.
    pub(super) fn descriptors(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.open().map(|(_, socket)| socket.as_fd())
    }

    fn open(&self) -> impl Iterator<Item = (Path, &Socket)> {
        self.listeners.iter().filter_map(|(&(_, path), listener)| match listener {
            Listener::Open(socket) => Some((path, socket)),
            Listener::Failed(_) => None,
        })
    }

    /// Hands out what has arrived, of each socket no more than a batch.
    pub(super) fn receive(&self, mut take: impl FnMut(&Received<'_>)) {
        for (path, socket) in self.open() {
            for _ in 0..MAX_BATCH {
                match receive_one(path, socket, &mut take) {
                    Ok(()) => {}
                    Err(Errno::EAGAIN) => break,
                    // An ICMP error is told once, and is no packet.
                    Err(error) => debug!(%error, "BFD receive"),
                }
            }
        }
    }

    pub(super) fn send(&mut self, transmit: &Transmit) {
        let key = transmit.session;
        if !self.senders.contains_key(&key) {
            match self.open_sender(key) {
                Ok(socket) => drop(self.senders.insert(key, socket)),
                Err(error) => return self.failed(key, &error),
            }
        }
        let Some(socket) = self.senders.get(&key) else { return };
        let to = socket_address(key.peer, key.path.port());
        if let Err(error) = socket.send_to(&transmit.payload, &to.into()) {
            self.failed(key, &error);
        }
    }

    fn failed(&mut self, key: SessionKey, error: &io::Error) {
        self.send_errors += 1;
        debug!(peer = %Readable(key.peer), %error, "BFD send");
    }

    /// With a source port that no other session has.
    fn open_sender(&mut self, key: SessionKey) -> io::Result<Socket> {
        let family = Family::of(key.peer);
        let local = self.locals.get(&key).copied().unwrap_or_else(|| any(family));
        let socket = Socket::new(domain(family), Type::DGRAM, Some(Protocol::UDP))?;
        socket.set_nonblocking(true)?;
        match family {
            Family::V4 => {
                socket.set_freebind_v4(true)?;
                socket.set_ttl_v4(TTL)?;
                socket.set_tos_v4(TRAFFIC_CLASS.into())?;
            }
            Family::V6 => {
                socket.set_only_v6(true)?;
                socket.set_freebind_v6(true)?;
                socket.set_unicast_hops_v6(TTL)?;
                setsockopt(&socket, Ipv6TClass, &TRAFFIC_CLASS.into())?;
            }
        }
        socket.set_priority(PRIORITY)?;
        // Nobody answers to this port: what comes there all the same takes no memory to speak of.
        socket.set_recv_buffer_size(0)?;
        let mut result = Ok(());
        for _ in 0..PORT_ATTEMPTS {
            self.drawn = self.drawn.wrapping_add(1);
            let count = u64::from(SOURCE_PORTS.end() - SOURCE_PORTS.start()) + 1;
            let offset = self.random.hash_one(self.drawn) % count;
            let port = SOURCE_PORTS.start() + offset as u16;
            result = socket.bind(&socket_address(local, port).into());
            match &result {
                Err(error) if error.kind() == io::ErrorKind::AddrInUse => {}
                Ok(()) | Err(_) => break,
            }
        }
        result.map(|()| socket)
    }
}

/// Where packets of these sessions arrive. What arrives at any address has no other socket beside it.
fn listened_at(locals: &BTreeMap<SessionKey, IpAddr>) -> BTreeSet<(IpAddr, Path)> {
    let all: BTreeSet<_> = locals.iter().map(|(key, local)| (*local, key.path)).collect();
    let is_within_any = |&(local, path): &(IpAddr, Path)| {
        !local.is_unspecified() && all.contains(&(any(Family::of(local)), path))
    };
    all.iter().copied().filter(|at| !is_within_any(at)).collect()
}

const fn any(family: Family) -> IpAddr {
    match family {
        Family::V4 => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        Family::V6 => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
    }
}

const fn domain(family: Family) -> Domain {
    match family {
        Family::V4 => Domain::IPV4,
        Family::V6 => Domain::IPV6,
    }
}

fn listen(address: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
    socket.set_nonblocking(true)?;
    // The address may come after us.
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
        socket.set_freebind_v6(true)?;
        setsockopt(&socket, Ipv6RecvHopLimit, &true)?;
    } else {
        socket.set_freebind_v4(true)?;
        setsockopt(&socket, Ipv4RecvTtl, &true)?;
    }
    socket.bind(&address.into())?;
    Ok(socket)
}

fn receive_one(
    path: Path,
    socket: &Socket,
    take: &mut impl FnMut(&Received<'_>),
) -> nix::Result<()> {
    let mut octets = [0; DATAGRAM_LEN];
    let mut room = [IoSliceMut::new(&mut octets)];
    let mut control = cmsg_space!(libc::c_int);
    let flags = MsgFlags::MSG_DONTWAIT;
    let message =
        recvmsg::<SockaddrStorage>(socket.as_raw_fd(), &mut room, Some(&mut control), flags)?;
    let mut ttl = None;
    for control in message.cmsgs()? {
        match control {
            ControlMessageOwned::Ipv4Ttl(hops) | ControlMessageOwned::Ipv6HopLimit(hops) => {
                ttl = u8::try_from(hops).ok();
            }
            _ => {}
        }
    }
    let len = message.bytes;
    let from = message.address.and_then(|address| {
        let v4 = address.as_sockaddr_in().map(|v4| SocketAddr::V4((*v4).into()));
        v4.or_else(|| address.as_sockaddr_in6().map(|v6| SocketAddr::V6((*v6).into())))
    });
    if let (Some(from), Some(ttl)) = (from, ttl) {
        take(&Received { peer: neighbour_address(from), path, ttl, payload: &octets[..len] });
    }
    Ok(())
}
