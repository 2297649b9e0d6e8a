//! The sockets at which the server is asked.

use std::{
    io,
    net::{IpAddr, SocketAddr, TcpListener, UdpSocket},
    os::fd::{AsFd, OwnedFd},
};

use nix::sys::socket::{setsockopt, sockopt};
use socket2::{Domain, Protocol, SockAddr, Socket, Type};

const PORT: u16 = 53;

/// Queries that wait while one process takes the place of another: some thousands.
const RECEIVE_BUFFER_BYTES: usize = 4 << 20;
/// Connections that wait for the same.
const BACKLOG: i32 = 512;
/// More are no cluster's.
pub(crate) const SOCKETS_MAX: usize = 16;

#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    #[error("listen on {address} over {protocol}: {source}")]
    Bind { address: SocketAddr, protocol: &'static str, source: io::Error },
    #[error("a socket that was passed to this process: {0}")]
    Passed(io::Error),
    #[error("a socket that was passed to this process is neither of UDP nor a listener of TCP")]
    Kind,
    #[error("{0} sockets were passed to this process: no more than {SOCKETS_MAX} are served")]
    TooMany(usize),
}

/// UDP and TCP of every address.
#[derive(Debug, Default)]
pub struct Sockets {
    pub udp: Vec<UdpSocket>,
    pub tcp: Vec<TcpListener>,
}

/// Opens the sockets of `addresses`, in the network namespace of this thread. The addresses need
/// not be there yet: packets come as soon as they are.
pub fn bind(addresses: &[IpAddr]) -> Result<Sockets, SocketError> {
    let mut sockets = Sockets::default();
    for address in addresses {
        let address = SocketAddr::new(*address, PORT);
        let failed = |protocol| move |source| SocketError::Bind { address, protocol, source };
        let udp = open(address, Type::DGRAM, Protocol::UDP).map_err(failed("UDP"))?;
        // The limit that holds for everyone is too low, and one with this right is above it.
        if setsockopt(&udp, sockopt::RcvBufForce, &RECEIVE_BUFFER_BYTES).is_err() {
            udp.set_recv_buffer_size(RECEIVE_BUFFER_BYTES).map_err(failed("UDP"))?;
        }
        sockets.udp.push(udp.into());
        let tcp = open(address, Type::STREAM, Protocol::TCP).map_err(failed("TCP"))?;
        tcp.listen(BACKLOG).map_err(failed("TCP"))?;
        sockets.tcp.push(tcp.into());
    }
    Ok(sockets)
}

fn open(address: SocketAddr, kind: Type, protocol: Protocol) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), kind, Some(protocol))?;
    match address {
        SocketAddr::V4(_) => socket.set_freebind_v4(true)?,
        SocketAddr::V6(_) => {
            socket.set_only_v6(true)?;
            socket.set_freebind_v6(true)?;
        }
    }
    if kind == Type::STREAM {
        // Connections of an earlier process may still be on their way out.
        socket.set_reuse_address(true)?;
    }
    socket.set_nonblocking(true)?;
    socket.bind(&SockAddr::from(address))?;
    Ok(socket)
}

impl Sockets {
    /// Sorts descriptors that someone else has opened.
    pub fn adopt(descriptors: Vec<OwnedFd>) -> Result<Self, SocketError> {
        if descriptors.len() > SOCKETS_MAX {
            return Err(SocketError::TooMany(descriptors.len()));
        }
        let mut sockets = Self::default();
        for descriptor in descriptors {
            let socket = Socket::from(descriptor);
            socket.set_nonblocking(true).map_err(SocketError::Passed)?;
            match socket.r#type().map_err(SocketError::Passed)? {
                Type::DGRAM => sockets.udp.push(socket.into()),
                Type::STREAM if socket.is_listener().map_err(SocketError::Passed)? => {
                    sockets.tcp.push(socket.into());
                }
                _ => return Err(SocketError::Kind),
            }
        }
        Ok(sockets)
    }

    /// Copies, to be passed to another process while these are served.
    pub fn copies(&self) -> io::Result<Vec<OwnedFd>> {
        let udp = self.udp.iter().map(AsFd::as_fd);
        let all = udp.chain(self.tcp.iter().map(AsFd::as_fd));
        all.map(|socket| socket.try_clone_to_owned()).collect()
    }

    /// Closes those of other addresses.
    pub fn keep_only(&mut self, addresses: &[IpAddr]) {
        let wanted = |address: io::Result<SocketAddr>| {
            address.is_ok_and(|address| addresses.contains(&address.ip()))
        };
        self.udp.retain(|socket| wanted(socket.local_addr()));
        self.tcp.retain(|socket| wanted(socket.local_addr()));
    }

    /// Takes them apart, to be passed to another process.
    pub fn into_descriptors(self) -> Vec<OwnedFd> {
        let udp = self.udp.into_iter().map(OwnedFd::from);
        udp.chain(self.tcp.into_iter().map(OwnedFd::from)).collect()
    }

    pub fn is_empty(&self) -> bool {
        self.udp.is_empty() && self.tcp.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_opened_is_adopted() {
        // 127.53.0.0/16 is loopback and nobody's; FREEBIND is what lets the other be bound.
        let addresses = ["127.53.7.1".parse().unwrap(), "fd00:20::7:1".parse().unwrap()];
        let sockets = bind(&addresses).unwrap();
        let adopted = Sockets::adopt(sockets.into_descriptors()).unwrap();
        let bound = |address: io::Result<SocketAddr>| address.unwrap().ip();
        let udp: Vec<IpAddr> = adopted.udp.iter().map(|one| bound(one.local_addr())).collect();
        let tcp: Vec<IpAddr> = adopted.tcp.iter().map(|one| bound(one.local_addr())).collect();
        assert_eq!((&udp[..], &tcp[..]), (&addresses[..], &addresses[..]));
        assert!(!adopted.is_empty());
        let mut copied = Sockets::adopt(adopted.copies().unwrap()).unwrap();
        copied.keep_only(&addresses[..1]);
        assert_eq!((copied.udp.len(), copied.tcp.len()), (1, 1));
        assert_eq!(bound(copied.udp[0].local_addr()), addresses[0]);
        let taken = bind(&addresses).unwrap_err().to_string();
        assert!(taken.starts_with("listen on 127.53.7.1:53 over UDP: "), "{taken}");
    }

    #[test]
    fn what_is_no_socket_of_a_server_is_refused() {
        let (one, _other) = std::os::unix::net::UnixStream::pair().unwrap();
        assert!(matches!(Sockets::adopt(vec![one.into()]), Err(SocketError::Kind)));
        let file = std::fs::File::open("/dev/null").unwrap();
        assert!(matches!(Sockets::adopt(vec![file.into()]), Err(SocketError::Passed(_))));
    }
}
