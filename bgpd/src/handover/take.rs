//! The next speaker's part.

use std::{
    collections::BTreeMap,
    io,
    net::{IpAddr, SocketAddr, TcpListener, TcpStream},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    time::Duration,
};

use bgp_bfd::HANDOVER_VERSION;
use bgp_speaker::{Handover, HandoverError};
use tokio::{task::spawn_blocking, time::sleep};
use tracing::{info, warn};

use super::{
    BesideSockets,
    beat::Said,
    channel::{Channel, Message, invalid},
};
use crate::{bfd::BfdSocket, unnumbered::Neighbours};

/// Before a speaker that is still starting is asked again.
const AGAIN: Duration = Duration::from_millis(200);
/// No process of ours has as many other sockets.
const BESIDE_MAX: usize = 64;

/// Why nothing was taken over.
#[derive(Debug, thiserror::Error)]
pub enum TakeoverError {
    /// The other goes on.
    #[error("take over: {0}")]
    Io(#[from] io::Error),
    /// The other goes on, as it would if it were asked again.
    #[error("there is no taking over: {0}")]
    Refused(String),
    /// The other has given way: an ordinary start follows.
    #[error("what was handed over cannot be taken: {0}")]
    Handover(#[from] HandoverError),
}

/// A connection that was handed over.
#[derive(Debug)]
pub(crate) struct Received {
    pub(crate) stream: TcpStream,
    pub(crate) unwritten: Vec<Vec<u8>>,
}

/// A running speaker that stands still and has handed everything over, but does not know yet whether it
/// is taken. Dropped, it goes on.
#[derive(Debug)]
pub struct Predecessor {
    pub(crate) channel: Channel,
    pub(crate) listeners: BTreeMap<SocketAddr, TcpListener>,
    pub(crate) beside: BesideSockets,
    pub(crate) neighbours: Neighbours,
    /// The sockets of BFD, where anybody is watched.
    pub(crate) watching: Option<Vec<BfdSocket>>,
    pub(crate) connections: BTreeMap<IpAddr, Received>,
    pub(crate) handover: Handover,
}

impl Predecessor {
    /// Asks the speaker that answers at `path`; `None` where none does. One that is still starting is
    /// waited for. Whatever else this one needs to begin is to be there before.
    pub async fn find(path: &Path) -> Result<Option<Self>, TakeoverError> {
        loop {
            let path = path.to_owned();
            match spawn_blocking(move || ask(path)).await.map_err(io::Error::other)?? {
                Answer::Nobody => return Ok(None),
                Answer::Whole(predecessor) => return Ok(Some(*predecessor)),
                Answer::Later => sleep(AGAIN).await,
            }
        }
    }

    /// The other sockets of its process: see [`crate::Handle::offer_beside`]. Taken once.
    pub fn take_beside(&mut self) -> BesideSockets {
        std::mem::take(&mut self.beside)
    }
}

/// The last words.
#[derive(Debug)]
pub(crate) struct Committed {
    /// To be closed when BFD goes on.
    pub(crate) channel: Channel,
    /// What was said meanwhile on connections.
    pub(crate) said: BTreeMap<IpAddr, Said>,
    pub(crate) watched: bgp_bfd::Handover,
}

/// Takes what was handed over, for good; an error leaves it to the other.
pub(crate) async fn commit(mut channel: Channel) -> io::Result<Committed> {
    let answer = spawn_blocking(move || {
        channel.ready()?;
        let (mut said, mut watched) = (BTreeMap::new(), bgp_bfd::Handover::default());
        loop {
            match channel.receive()? {
                Message::Said(peer, written, tail) => {
                    said.insert(peer, Said { written, tail: tail.into() });
                }
                Message::BfdFrame(frame) => {
                    // It is too late to say no: that session begins anew.
                    if let Err(error) = watched.read(&frame) {
                        warn!(%error, "handed over");
                    }
                }
                Message::Go => return Ok(Committed { channel, said, watched }),
                _ => return Err(invalid("an answer that is none")),
            }
        }
    });
    answer.await.map_err(io::Error::other)?
}

enum Answer {
    Nobody,
    Later,
    Whole(Box<Predecessor>),
}

fn ask(path: PathBuf) -> Result<Answer, TakeoverError> {
    let stream = match UnixStream::connect(path) {
        Ok(stream) => stream,
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused
            ) =>
        {
            return Ok(Answer::Nobody);
        }
        Err(error) => return Err(error.into()),
    };
    let mut channel = Channel::new(stream)?;
    channel.hello()?;
    let (mut listeners, mut connections) = (BTreeMap::new(), BTreeMap::<IpAddr, Received>::new());
    let (mut beside, mut neighbours) = (BesideSockets::new(), Neighbours::new());
    let mut watching = None;
    let mut handover = Handover::default();
    let mut last = None;
    let mut read = Ok(());
    loop {
        match channel.receive()? {
            Message::Later => return Ok(Answer::Later),
            Message::Refused(reason) => return Err(TakeoverError::Refused(reason)),
            Message::Listener(socket) => {
                let listener = TcpListener::from(socket);
                listeners.insert(listener.local_addr()?, listener);
            }
            Message::Beside(..) if beside.len() == BESIDE_MAX => {
                return Err(invalid("more sockets than anybody has").into());
            }
            Message::Beside(name, socket) => beside.push((name, socket)),
            Message::Neighbour(interface, address) => {
                neighbours.insert(interface, address);
            }
            Message::Bfd(version) => {
                if version != HANDOVER_VERSION {
                    read = Err(HandoverError::Bfd(version));
                }
                watching = Some(Vec::new());
            }
            Message::BfdSocket(session, socket) => {
                let sockets = watching.as_mut().ok_or_else(|| invalid("a socket of nobody"))?;
                sockets.push(BfdSocket { session, socket });
            }
            Message::Connection(peer, socket) => {
                let received = Received { stream: socket.into(), unwritten: Vec::new() };
                connections.insert(peer, received);
                last = Some(peer);
            }
            Message::Unwritten(octets) => {
                let connection = last.and_then(|peer| connections.get_mut(&peer));
                connection.ok_or_else(|| invalid("octets of nobody"))?.unwritten.push(octets);
            }
            // What cannot be read is read to its end all the same: the other listens only then.
            Message::Speaker(frame) if read.is_ok() => read = handover.read(&frame),
            Message::Speaker(_) => {}
            Message::End => break,
            Message::Hello
            | Message::Ready
            | Message::Go
            | Message::Said(..)
            | Message::BfdFrame(_)
            | Message::Yield(_) => {
                return Err(invalid("no handover").into());
            }
        }
    }
    if let Err(error) = read {
        return Err(give_way(channel, error));
    }
    info!(sessions = connections.len(), listeners = listeners.len(), "handed over to us");
    Ok(Answer::Whole(Box::new(Predecessor {
        channel,
        listeners,
        beside,
        neighbours,
        watching,
        connections,
        handover,
    })))
}

/// As [`give_way`], where nothing may block.
pub(crate) async fn decline(channel: Channel, error: HandoverError) -> TakeoverError {
    let given = spawn_blocking(move || give_way(channel, error)).await;
    given.unwrap_or_else(|panic| io::Error::other(panic).into())
}

/// The other is to end as for an ordinary restart; waits until it has.
fn give_way(mut channel: Channel, error: HandoverError) -> TakeoverError {
    if let Err(error) = channel.give_way(&error.to_string()) {
        return error.into();
    }
    // Nothing more comes but the end.
    drop(channel.receive());
    error.into()
}
