//! What TCP is asked for with each peer: how far its packets travel (RFC 5082), and the password or
//! keys by which they are known to be its own (RFC 2385, RFC 5925).
//!
//! A connection of ours is made ready before its first packet. Of one that a peer opens the kernel
//! answers the first before we know of it, so the listener itself knows passwords and keys, and sends with
//! the TTL that a peer may ask for; how far a packet may have come is asked of it where all peers ask
//! for it, and else of the connection once it is there, before anything of it is read.

mod ao;
mod keys;
mod means;
mod sys;

use std::{
    io,
    net::{IpAddr, SocketAddr},
};

use bgp_speaker::{Config, Transport};
use socket2::SockRef;
use viaduct_net::{Family, LinkLocal, Prefix};

pub use self::ao::{NoTcpAo, probe_tcp_ao};
pub(crate) use self::{keys::Keys, means::Means, sys::set as set_option};

/// Makes a socket ready to connect to a peer.
pub(crate) fn prepare(socket: &SockRef<'_>, peer: IpAddr, transport: &Transport) -> io::Result<()> {
    if let Some(password) = &transport.md5 {
        sys::set_md5(socket, Prefix::host(peer), Some(password)).map_err(with("TCP_MD5SIG"))?;
    }
    ao::prepare(socket, Prefix::host(peer), &transport.ao)?;
    set_ttl(socket, Family::of(peer), transport)
}

/// Makes a connection that a peer has opened what one of ours to it would be.
pub(crate) fn adopt(socket: &SockRef<'_>, peer: IpAddr, transport: &Transport) -> io::Result<()> {
    if !transport.ao.is_empty() {
        ao::require(socket)?;
    }
    set_ttl(socket, Family::of(peer), transport)
}

/// Makes a listener answer its peers as they ask: with the TTL of RFC 5082 where any of them checks
/// that, which is right for the others, too.
pub(crate) fn prepare_listener(
    socket: &SockRef<'_>,
    listener: SocketAddr,
    config: &Config,
) -> io::Result<()> {
    let family = Family::of(listener.ip());
    let (mut sent, mut least) = (None, None);
    for (_, transport) in transports(config, listener) {
        let ttl = transport.ttl;
        least = Some(least.unwrap_or(u8::MAX).min(ttl.least_received()));
        if ttl.least_received() > 0 {
            sent = ttl.sent();
        }
    }
    sys::set_ttl(socket, family, sent)?;
    sys::set_least_ttl(socket, family, least.unwrap_or(0))
}

/// What is asked for with each peer and range that comes to a listener. Of two that contain an address
/// the kernel takes the password of the narrower one, or that of the only one that has any.
fn transports(config: &Config, listener: SocketAddr) -> impl Iterator<Item = (Prefix, &Transport)> {
    let peers = config.peers.iter().filter_map(move |(address, peer)| {
        Some((Prefix::host(seen_at(listener, *address)?), peer))
    });
    let ranges = config.ranges.iter().map(|(prefix, range)| (*prefix, &range.peer));
    let ranges = ranges.filter(move |(range, _)| seen_at(listener, range.address()).is_some());
    let all = peers.chain(ranges).filter(|(_, peer)| peer.obstacle.is_none());
    all.map(|(prefix, peer)| (prefix, &peer.transport))
}

fn set_ttl(socket: &SockRef<'_>, family: Family, transport: &Transport) -> io::Result<()> {
    sys::set_ttl(socket, family, transport.ttl.sent()).map_err(with("TTL"))?;
    let least = transport.ttl.least_received();
    sys::set_least_ttl(socket, family, least).map_err(with("minimum TTL"))
}

/// The address that a peer has at a listener; `None` for those who come to another.
fn seen_at(listener: SocketAddr, peer: IpAddr) -> Option<IpAddr> {
    let on = |interface: u32| matches!(listener, SocketAddr::V6(at) if at.scope_id() == interface);
    match LinkLocal::of(peer) {
        Some(peer) => on(peer.interface().0).then(|| peer.address().into()),
        None => (peer.is_ipv4() == listener.is_ipv4() && (peer.is_ipv4() || on(0))).then_some(peer),
    }
}

/// Says which option the kernel has refused.
fn with(option: &'static str) -> impl FnOnce(io::Error) -> io::Error {
    move |error| io::Error::new(error.kind(), format!("{option}: {error}"))
}

#[cfg(test)]
mod tests;
