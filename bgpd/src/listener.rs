//! Where peers connect to us. Whoever is no configured peer is refused before a word is said.

use std::{
    collections::BTreeMap,
    io,
    net::{IpAddr, SocketAddr},
    os::fd::{AsFd, OwnedFd},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bgp_speaker::Config;
use socket2::{Domain, Protocol, SockRef, Socket, Type};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{mpsc, watch},
    task::JoinHandle,
    time::sleep,
};
use tracing::{debug, info, warn};
use viaduct_net::{Family, Readable, neighbour_address, socket_address};

use crate::{intake::Input, tcp};

/// Connections that may wait for us to accept them.
const BACKLOG: i32 = 128;
/// Before the next try when the port is taken or descriptors are short.
const RETRY: Duration = Duration::from_secs(1);

/// One listener for each address of the configuration, at its port.
#[derive(Debug)]
pub(crate) struct Listeners {
    inputs: mpsc::Sender<Input>,
    config: watch::Receiver<Arc<Config>>,
    tasks: BTreeMap<SocketAddr, (JoinHandle<()>, Arc<Bound>)>,
}

/// A listener that may still have to come, and what the kernel knows of its peers.
#[derive(Debug, Default)]
struct Bound(Mutex<(Option<Arc<TcpListener>>, tcp::Keys)>);

impl Bound {
    fn socket(&self) -> Option<Arc<TcpListener>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).0.clone()
    }

    /// The socket is there; it must know the peers before the first of them comes.
    fn set(&self, listener: Arc<TcpListener>, address: SocketAddr, config: &Config) {
        let keys = tcp::Keys::of(&SockRef::from(&*listener));
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = (Some(listener), keys);
        self.update(address, config);
    }

    fn update(&self, address: SocketAddr, config: &Config) {
        let mut bound = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (Some(listener), keys) = &mut *bound else { return };
        let socket = SockRef::from(&**listener);
        keys.update(&socket, address, config);
        if let Err(error) = tcp::prepare_listener(&socket, address, config) {
            warn!(%address, %error, "TTL of the listener");
        }
    }
}

impl Listeners {
    pub(crate) fn new(inputs: mpsc::Sender<Input>, config: watch::Receiver<Arc<Config>>) -> Self {
        Self { inputs, config, tasks: BTreeMap::new() }
    }

    /// Opens what the configuration names and is not there, and closes what it does not name. The
    /// passwords of those that stay are the configuration's when this returns.
    pub(crate) fn update(&mut self, config: &Config) {
        let wanted: Vec<_> = Family::ALL
            .into_iter()
            .filter_map(|family| config.addresses.of(family))
            .chain(config.peers.values().filter_map(|peer| {
                // Where the neighbours of a link come to.
                Some(peer.link.as_ref()?.link_local.embedded())
            }))
            .map(|address| socket_address(address, config.listen_port))
            .collect();
        self.tasks.retain(|address, (task, _)| {
            let stays = wanted.contains(address);
            if !stays {
                task.abort();
            }
            stays
        });
        for address in wanted {
            let (_, bound) = self.tasks.entry(address).or_insert_with(|| {
                let bound = Arc::new(Bound::default());
                let (inputs, config) = (self.inputs.clone(), self.config.clone());
                (tokio::spawn(listen(address, bound.clone(), inputs, config)), bound)
            });
            bound.update(address, config);
        }
    }

    /// Takes listeners of another process; to be followed by [`Self::update`].
    pub(crate) fn adopt(
        &mut self,
        listeners: BTreeMap<SocketAddr, std::net::TcpListener>,
    ) -> io::Result<()> {
        for (address, listener) in listeners {
            listener.set_nonblocking(true)?;
            let bound = Arc::new(Bound::default());
            let listener = Arc::new(TcpListener::from_std(listener)?);
            bound.set(listener, address, &self.config.borrow());
            self.tasks.insert(address, (self.start(address, bound.clone()), bound));
        }
        Ok(())
    }

    /// Nobody is let in until [`Self::resume`]; who comes waits.
    pub(crate) fn pause(&self) {
        self.tasks.values().for_each(|(task, _)| task.abort());
    }

    pub(crate) fn resume(&mut self) {
        let all: Vec<_> =
            self.tasks.iter().map(|(&address, (_, bound))| (address, bound.clone())).collect();
        for (address, bound) in all {
            self.tasks.insert(address, (self.start(address, bound.clone()), bound));
        }
    }

    /// Copies of the sockets.
    pub(crate) fn descriptors(&self) -> io::Result<Vec<OwnedFd>> {
        let sockets = self.tasks.values().filter_map(|(_, bound)| bound.socket());
        sockets.map(|listener| listener.as_fd().try_clone_to_owned()).collect()
    }

    fn start(&self, address: SocketAddr, bound: Arc<Bound>) -> JoinHandle<()> {
        let (inputs, config) = (self.inputs.clone(), self.config.clone());
        tokio::spawn(listen(address, bound, inputs, config))
    }
}

impl Drop for Listeners {
    fn drop(&mut self) {
        for (task, _) in self.tasks.values() {
            task.abort();
        }
    }
}

async fn listen(
    address: SocketAddr,
    bound: Arc<Bound>,
    inputs: mpsc::Sender<Input>,
    config: watch::Receiver<Arc<Config>>,
) {
    let listener = loop {
        if let Some(listener) = bound.socket() {
            break listener;
        }
        match bind(address) {
            Ok(listener) => {
                bound.set(Arc::new(listener), address, &config.borrow());
                continue;
            }
            Err(error) => warn!(%address, %error, "cannot listen for BGP"),
        }
        sleep(RETRY).await;
    };
    info!(%address, "listening for BGP");
    loop {
        match listener.accept().await {
            Ok((stream, from)) => {
                // An IPv4 peer never comes in the clothes of IPv6: the listener is IPv6 only.
                let peer = neighbour_address(from);
                if let Err(reason) = welcome(&config, peer, &stream) {
                    refuse(&stream, peer, &reason);
                } else if inputs.send(Input::Accepted { stream, peer }).await.is_err() {
                    return;
                }
            }
            // One connection that died in the queue, or no descriptors left: neither is the end.
            Err(error) => {
                warn!(%address, %error, "accept");
                sleep(RETRY).await;
            }
        }
    }
}

/// Makes a connection what the peer's configuration asks for, or says why it has to go.
fn welcome(
    config: &watch::Receiver<Arc<Config>>,
    peer: IpAddr,
    stream: &TcpStream,
) -> Result<(), String> {
    let config = config.borrow();
    let known = config.peer_at(peer).filter(|peer| !peer.is_held_down());
    let transport = &known.ok_or("no configured peer")?.transport;
    tcp::adopt(&SockRef::from(stream), peer, transport).map_err(|error| error.to_string())
}

/// Closes with a reset: no octet of ours, and no state left behind.
fn refuse(stream: &TcpStream, peer: IpAddr, reason: &str) {
    let reset = SockRef::from(stream).set_linger(Some(Duration::ZERO));
    debug!(peer = %Readable(peer), reason, ?reset, "refused");
}

fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    // The address may come after us: an interface that is still to be configured, or duplicate
    // address detection.
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
        socket.set_freebind_v6(true)?;
    } else {
        socket.set_freebind_v4(true)?;
    }
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}
