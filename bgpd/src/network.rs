//! The sockets of a speaker: does what its actions say.

use std::{
    collections::{BTreeMap, VecDeque},
    io,
    net::{IpAddr, SocketAddr},
};

use bgp_speaker::{Action, ConnId, Connected, Direction, Transport};
use bytes::Bytes;
use socket2::SockRef;
use tokio::{
    net::{TcpSocket, TcpStream},
    task::{JoinHandle, JoinSet},
};
use tracing::{debug, warn};
use viaduct_net::{Readable, socket_address};

use crate::{
    connection::{Connection, Ears, Paused},
    intake::Input,
    tcp,
};

#[derive(Debug)]
struct Attempt {
    number: u64,
    task: JoinHandle<()>,
}

#[derive(Debug)]
pub(crate) struct Network {
    ears: Ears,
    /// At most two for each peer: the speaker closes what is beyond.
    connections: BTreeMap<ConnId, Connection>,
    /// Those of them that were sent something since the last flush, some of them repeatedly.
    sent: Vec<ConnId>,
    /// At most one for each peer.
    attempts: BTreeMap<IpAddr, Attempt>,
    /// Connections that are saying their last words, each for a second at most.
    closing: Vec<JoinHandle<()>>,
    next_number: u64,
}

impl Network {
    pub(crate) fn new(ears: Ears) -> Self {
        Self {
            ears,
            connections: BTreeMap::new(),
            sent: Vec::new(),
            attempts: BTreeMap::new(),
            closing: Vec::new(),
            next_number: 0,
        }
    }

    /// Does what the speaker wants; [`Self::flush`] is to follow. What comes of it arrives as inputs, but
    /// for a connection that cannot take any more: that is returned, and is gone.
    pub(crate) fn act(&mut self, action: Action) -> Option<ConnId> {
        match action {
            Action::Connect { peer, port, local, transport } => {
                self.connect(peer, port, local, transport);
            }
            Action::CancelConnect { peer } => self.cancel(peer),
            Action::Send { conn, bytes } => {
                let connection = self.connections.get(&conn)?;
                if !connection.send(bytes) {
                    self.connections.remove(&conn);
                    return Some(conn);
                }
                if self.sent.last() != Some(&conn) {
                    self.sent.push(conn);
                }
            }
            Action::Close { conn } => {
                self.closing.retain(|task| !task.is_finished());
                self.closing.extend(self.connections.remove(&conn).and_then(Connection::close));
            }
        }
        None
    }

    /// Has written what was sent; gives what TCP has taken already.
    pub(crate) fn flush(&mut self) -> Vec<(ConnId, usize)> {
        let Self { sent, connections, .. } = self;
        let flush = |conn| {
            let count = connections.get(&conn).map_or(0, Connection::flush);
            (count > 0).then_some((conn, count))
        };
        sent.drain(..).filter_map(flush).collect()
    }

    /// Takes a stream for the speaker; `None` when it has died meanwhile.
    pub(crate) fn adopt(
        &mut self,
        stream: TcpStream,
        peer: IpAddr,
        direction: Direction,
    ) -> Option<Connected> {
        // Small messages at long intervals: Nagle's algorithm would only hold them back.
        if let Err(error) = stream.set_nodelay(true) {
            debug!(peer = %Readable(peer), %error, "connection lost before its use");
            return None;
        }
        let conn = ConnId(self.number());
        self.connections.insert(conn, Connection::start(conn, stream, self.ears.clone()));
        Some(Connected { conn, peer, direction })
    }

    /// A name for a connection that is still to come.
    pub(crate) fn reserve(&mut self) -> ConnId {
        ConnId(self.number())
    }

    /// Takes a connection that has stood still, under its name.
    pub(crate) fn resume(&mut self, conn: ConnId, paused: Paused) {
        self.connections.insert(conn, Connection::resume(conn, paused, self.ears.clone()));
    }

    /// Has every connection stand still; inputs are to be taken meanwhile.
    pub(crate) fn pause(&mut self) -> JoinSet<(ConnId, Option<Paused>)> {
        let mut stopping = JoinSet::new();
        for (&conn, connection) in &mut self.connections {
            if let Some(paused) = connection.pause() {
                stopping.spawn(async move { (conn, paused.await) });
            }
        }
        stopping
    }

    /// What waits to be written to a connection that stands still.
    pub(crate) fn take_waiting(&self, conn: ConnId) -> VecDeque<Bytes> {
        self.connections.get(&conn).map(Connection::take_waiting).unwrap_or_default()
    }

    /// Gives up all attempts to connect; says to whom.
    pub(crate) fn cancel_all(&mut self) -> Vec<IpAddr> {
        let peers: Vec<_> = self.attempts.keys().copied().collect();
        peers.iter().for_each(|peer| self.cancel(*peer));
        peers
    }

    /// Whether the attempt is the one that is wanted; forgets it.
    pub(crate) fn take_attempt(&mut self, peer: IpAddr, number: u64) -> bool {
        let wanted = self.attempts.get(&peer).is_some_and(|attempt| attempt.number == number);
        if wanted {
            self.attempts.remove(&peer);
        }
        wanted
    }

    pub(crate) fn has(&self, conn: ConnId) -> bool {
        self.connections.contains_key(&conn)
    }

    /// Our end of a connection and the peer's.
    pub(crate) fn ends(&self, conn: ConnId) -> Option<(SocketAddr, SocketAddr)> {
        self.connections.get(&conn)?.ends()
    }

    pub(crate) fn forget(&mut self, conn: ConnId) {
        self.connections.remove(&conn);
    }

    /// Waits until every connection that was closed has said what it had to.
    pub(crate) async fn drained(&mut self) {
        for task in self.closing.drain(..) {
            if let Err(error) = task.await {
                warn!(%error, "closing a connection");
            }
        }
    }

    fn number(&mut self) -> u64 {
        self.next_number += 1;
        self.next_number
    }

    fn connect(&mut self, peer: IpAddr, port: u16, local: Option<IpAddr>, transport: Transport) {
        self.cancel(peer);
        let to = socket_address(peer, port);
        let number = self.number();
        let inputs = self.ears.inputs.clone();
        let task = tokio::spawn(async move {
            let input = match open(to, local, &transport).await {
                Ok(stream) => Input::Connected { peer, attempt: number, stream },
                Err(error) => {
                    Input::ConnectFailed { peer, attempt: number, error: error.to_string() }
                }
            };
            // Nobody to be told: the speaker has ended.
            drop(inputs.send(input).await);
        });
        self.attempts.insert(peer, Attempt { number, task });
    }

    fn cancel(&mut self, peer: IpAddr) {
        if let Some(attempt) = self.attempts.remove(&peer) {
            attempt.task.abort();
        }
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        for attempt in self.attempts.values() {
            attempt.task.abort();
        }
    }
}

/// Peers know us by the address in our configuration, so that is where we come from.
async fn open(
    peer: SocketAddr,
    local: Option<IpAddr>,
    transport: &Transport,
) -> io::Result<TcpStream> {
    let socket = if peer.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    tcp::prepare(&SockRef::from(&socket), peer.ip(), transport)?;
    if let Some(local) = local {
        socket.bind(socket_address(local, 0))?;
    }
    socket.connect(peer).await
}
