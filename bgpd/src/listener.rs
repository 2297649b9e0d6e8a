//! Where peers connect to us. Whoever is no configured peer is refused before a word is said.

use std::{
    collections::BTreeMap,
    io,
    net::{IpAddr, SocketAddr},
    sync::Arc,
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
use viaduct_net::Family;

use crate::task::Input;

/// Connections that may wait for us to accept them.
const BACKLOG: i32 = 128;
/// Before the next try when the port is taken or descriptors are short.
const RETRY: Duration = Duration::from_secs(1);

/// One listener for each address of the configuration, at its port.
#[derive(Debug)]
pub(crate) struct Listeners {
    inputs: mpsc::Sender<Input>,
    config: watch::Receiver<Arc<Config>>,
    tasks: BTreeMap<SocketAddr, JoinHandle<()>>,
}

impl Listeners {
    pub(crate) fn new(inputs: mpsc::Sender<Input>, config: watch::Receiver<Arc<Config>>) -> Self {
        Self { inputs, config, tasks: BTreeMap::new() }
    }

    /// Opens what the configuration names and is not there, and closes what it does not name.
    pub(crate) fn update(&mut self, config: &Config) {
        let wanted: Vec<_> = Family::ALL
            .into_iter()
            .filter_map(|family| config.addresses.of(family))
            .map(|address| SocketAddr::new(address, config.listen_port))
            .collect();
        self.tasks.retain(|address, task| {
            let stays = wanted.contains(address);
            if !stays {
                task.abort();
            }
            stays
        });
        for address in wanted {
            let listen = || listen(address, self.inputs.clone(), self.config.clone());
            self.tasks.entry(address).or_insert_with(|| tokio::spawn(listen()));
        }
    }
}

impl Drop for Listeners {
    fn drop(&mut self) {
        for task in self.tasks.values() {
            task.abort();
        }
    }
}

async fn listen(
    address: SocketAddr,
    inputs: mpsc::Sender<Input>,
    config: watch::Receiver<Arc<Config>>,
) {
    let listener = loop {
        match bind(address) {
            Ok(listener) => break listener,
            Err(error) => warn!(%address, %error, "cannot listen for BGP"),
        }
        sleep(RETRY).await;
    };
    info!(%address, "listening for BGP");
    loop {
        match listener.accept().await {
            Ok((stream, from)) => {
                // An IPv4 peer never comes in the clothes of IPv6: the listener is IPv6 only.
                let peer = from.ip();
                if !is_welcome(&config, peer) {
                    refuse(&stream, peer);
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

fn is_welcome(config: &watch::Receiver<Arc<Config>>, peer: IpAddr) -> bool {
    config.borrow().peers.get(&peer).is_some_and(|peer| !peer.shutdown)
}

/// Closes with a reset: no octet of ours, and no state left behind.
fn refuse(stream: &TcpStream, peer: IpAddr) {
    let reset = SockRef::from(stream).set_linger(Some(Duration::ZERO));
    debug!(%peer, ?reset, "refused: no configured peer");
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
