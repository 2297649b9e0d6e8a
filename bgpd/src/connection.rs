//! One TCP connection: what is read goes to the speaker's task, what it says is written.
//!
//! The speaker never waits for a peer: what TCP does not take at once stands in an [`Outbox`], and the
//! speaker is told later how much of it TCP has taken. What stands there is bounded by the speaker,
//! which makes no more updates while its send buffer is full, and once more by
//! [`MAX_OUTBOX_BYTES`](crate::outbox::MAX_OUTBOX_BYTES).

use std::{
    collections::VecDeque,
    future::pending,
    io,
    net::{Shutdown, SocketAddr},
    sync::Arc,
    time::{Duration, Instant},
};

use bgp_speaker::ConnId;
use bytes::{Bytes, BytesMut};
use socket2::SockRef;
use tokio::{
    io::AsyncReadExt,
    net::{
        TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    select,
    sync::{mpsc, watch},
    task::JoinHandle,
    time::timeout,
};

use crate::{
    intake::Input,
    outbox::{Outbox, Told, write_some},
};

/// Read at once; larger than the largest message (RFC 4271 §4: 4096 octets).
const READ_BYTES: usize = 64 << 10;

/// How long a connection that is being closed has for its last words, which say why.
const LINGER: Duration = Duration::from_secs(1);

/// What a connection does, until it is at its end or is to stand still.
#[derive(Debug)]
struct Tasks {
    /// Ends with its half of the stream where it is to stand still.
    reader: JoinHandle<Option<OwnedReadHalf>>,
    /// Ends with whether it is to stand still.
    writer: JoinHandle<bool>,
}

/// The speaker's end of a connection. Dropping it ends the connection at once, without a word.
#[derive(Debug)]
pub(crate) struct Connection {
    /// `None` while the connection stands still.
    stream: Option<Arc<OwnedWriteHalf>>,
    outbox: Arc<Outbox>,
    /// Ours, then the peer's.
    ends: Option<(SocketAddr, SocketAddr)>,
    pause: watch::Sender<bool>,
    tasks: Option<Tasks>,
}

/// Where a connection tells what has come of it.
#[derive(Clone, Debug)]
pub(crate) struct Ears {
    pub(crate) inputs: mpsc::Sender<Input>,
    pub(crate) taken: Told,
}

/// A connection that stands still.
#[derive(Debug)]
pub(crate) struct Paused {
    pub(crate) stream: TcpStream,
    /// What TCP has not taken yet.
    pub(crate) unwritten: VecDeque<Bytes>,
}

impl Connection {
    pub(crate) fn start(id: ConnId, stream: TcpStream, ears: Ears) -> Self {
        Self::resume(id, Paused { stream, unwritten: VecDeque::new() }, ears)
    }

    pub(crate) fn resume(id: ConnId, paused: Paused, ears: Ears) -> Self {
        let Paused { stream, unwritten } = paused;
        let outbox = Arc::new(Outbox::new(unwritten));
        let ends = stream.local_addr().ok().zip(stream.peer_addr().ok());
        let (from, stream) = stream.into_split();
        let stream = Arc::new(stream);
        let (pause, paused) = watch::channel(false);
        let reader = tokio::spawn(read(id, from, ears.inputs, paused.clone()));
        let writer = tokio::spawn(write(id, stream.clone(), outbox.clone(), ears.taken, paused));
        Self { stream: Some(stream), outbox, ends, pause, tasks: Some(Tasks { reader, writer }) }
    }

    /// Our end and the peer's; `None` where they were gone before they could be asked.
    pub(crate) const fn ends(&self) -> Option<(SocketAddr, SocketAddr)> {
        self.ends
    }

    /// Has it stand still, between two octets and with nothing lost; inputs are to be taken until it
    /// does. One that is at its end does not come back. What is said meanwhile waits: see
    /// [`Self::take_waiting`].
    pub(crate) fn pause(&mut self) -> Option<impl Future<Output = Option<Paused>> + use<>> {
        let Tasks { reader, writer } = self.tasks.take()?;
        let stream = self.stream.take()?;
        let outbox = self.outbox.clone();
        outbox.pause();
        self.pause.send_replace(true);
        Some(async move {
            let (from, whole) = (reader.await.ok()?, writer.await.ok()?);
            let unwritten = outbox.take();
            // The task has let go of it.
            let to = Arc::into_inner(stream).filter(|_| whole)?;
            Some(Paused { stream: to.reunite(from?).ok()?, unwritten })
        })
    }

    /// What waits to be written.
    pub(crate) fn take_waiting(&self) -> VecDeque<Bytes> {
        self.outbox.take()
    }

    /// Leaves bytes to be written, which [`Self::flush`] begins; false when too many are waiting.
    #[must_use]
    pub(crate) fn send(&self, bytes: Bytes) -> bool {
        self.outbox.push(bytes)
    }

    /// Has what was sent written; gives how many octets TCP has taken already.
    pub(crate) fn flush(&self) -> usize {
        self.stream.as_ref().map_or(0, |stream| self.outbox.flush(stream))
    }

    /// Ends the connection behind what is waiting. The task is done when the peer has had its
    /// chance to read it.
    pub(crate) fn close(mut self) -> Option<JoinHandle<()>> {
        self.outbox.close();
        let Tasks { mut reader, mut writer } = self.tasks.take()?;
        Some(tokio::spawn(async move {
            // The reader goes on to throw away what comes: a socket closed with unread octets
            // resets the connection, and with it our last words.
            let both = async { (ended(&mut writer).await, ended(&mut reader).await) };
            if timeout(LINGER, both).await.is_err() {
                reader.abort();
                writer.abort();
            }
        }))
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        if let Some(Tasks { reader, writer }) = &self.tasks {
            reader.abort();
            writer.abort();
        }
    }
}

/// A task that has panicked has also come to its end.
async fn ended<T>(task: &mut JoinHandle<T>) {
    if let Err(error) = task.await {
        tracing::debug!(%error, "connection task");
    }
}

/// Returns once a pause is wanted; one that has no owner any more has none to come.
async fn wanted(pause: &mut watch::Receiver<bool>) {
    if pause.wait_for(|wanted| *wanted).await.is_err() {
        pending().await
    }
}

async fn read(
    id: ConnId,
    mut stream: OwnedReadHalf,
    inputs: mpsc::Sender<Input>,
    mut pause: watch::Receiver<bool>,
) -> Option<OwnedReadHalf> {
    let mut buffer = BytesMut::with_capacity(READ_BYTES);
    let reason = loop {
        buffer.reserve(READ_BYTES);
        let read = select! {
            biased;
            () = wanted(&mut pause) => return Some(stream),
            read = stream.read_buf(&mut buffer) => read,
        };
        match read {
            Ok(0) => break "closed by the peer".to_owned(),
            Ok(_) => {
                let (bytes, at) = (buffer.split().freeze(), Instant::now());
                let input = Input::Bytes { conn: id, bytes, at };
                if inputs.send(input).await.is_err() {
                    return None;
                }
            }
            Err(error) => break error.to_string(),
        }
    };
    // Nobody to be told means that the speaker is gone, and we with it.
    drop(inputs.send(Input::Closed { conn: id, reason }).await);
    None
}

async fn write(
    id: ConnId,
    stream: Arc<OwnedWriteHalf>,
    outbox: Arc<Outbox>,
    taken: Told,
    mut pause: watch::Receiver<bool>,
) -> bool {
    loop {
        let (mut bytes, close) = select! {
            biased;
            () = wanted(&mut pause) => return true,
            next = outbox.next() => next,
        };
        while !bytes.is_empty() {
            match write_some(&stream, &mut bytes) {
                Ok(count) => outbox.tell(id, count, &taken),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                // The reader sees the same end, behind all that was still to be read: it tells.
                Err(_) => return false,
            }
            if bytes.is_empty() {
                break;
            }
            select! {
                biased;
                // What is closing is closed.
                () = wanted(&mut pause), if !close => {
                    outbox.give_back(bytes);
                    return true;
                }
                writable = stream.writable() => {
                    if writable.is_err() {
                        return false;
                    }
                }
            }
        }
        if close {
            // Where that is not possible it has been.
            drop(SockRef::from((*stream).as_ref()).shutdown(Shutdown::Write));
            return false;
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::{io::AsyncReadExt, net::TcpListener};

    use super::*;
    use crate::outbox::Taken;

    const ID: ConnId = ConnId(1);

    async fn connection() -> (Connection, TcpStream, mpsc::UnboundedReceiver<Taken>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let near = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (told, taken) = mpsc::unbounded_channel();
        // What is read is nothing here, and nobody listens.
        let ears = Ears { inputs: mpsc::channel(1).0, taken: told };
        (Connection::start(ID, near, ears), listener.accept().await.unwrap().0, taken)
    }

    #[tokio::test]
    async fn little_is_written_at_once() {
        let (connection, mut far, mut taken) = connection().await;
        // The task has the first word. It gives the hand back soon, and then it is not asked any more.
        for attempt in 0.. {
            assert!(attempt < 1000, "the task keeps it");
            assert!(connection.send(Bytes::from_static(b"x")));
            let written = connection.flush();
            assert_eq!(far.read_u8().await.unwrap(), b'x');
            if written == 1 {
                break;
            }
            let (id, outbox) = taken.recv().await.unwrap();
            assert_eq!((id, outbox.take_untold()), (ID, 1));
        }
        assert!(taken.try_recv().is_err(), "what was written at once was told at once");
    }

    /// Between any two octets, with a peer that does not read: nothing is lost, doubled or moved.
    #[tokio::test]
    async fn what_is_not_written_when_it_stands_still_is_given_back() {
        let (mut connection, mut far, mut taken) = connection().await;
        let all: Vec<u8> = (0..7_000_000_u32).map(|number| (number % 251) as u8).collect();
        let mut pieces = all.chunks(30_000).map(Bytes::copy_from_slice);
        let mut written = 0;
        for piece in pieces.by_ref().take(200) {
            assert!(connection.send(piece));
            written += connection.flush();
        }
        // As long as TCP takes some of it there may be more to come.
        let (_, outbox) = taken.recv().await.unwrap();
        let paused = connection.pause().unwrap();
        for piece in pieces {
            assert!(connection.send(piece));
            assert_eq!(connection.flush(), 0, "it stands still");
        }
        let Paused { stream, mut unwritten } = paused.await.unwrap();
        unwritten.extend(connection.take_waiting());
        written += outbox.take_untold();
        let left: Vec<u8> = unwritten.iter().flatten().copied().collect();
        assert_eq!(written + left.len(), all.len());
        assert_eq!(left, all[written..]);
        drop(stream);
        let mut heard = Vec::new();
        far.read_to_end(&mut heard).await.unwrap();
        assert_eq!(heard, all[..written]);
    }
}
