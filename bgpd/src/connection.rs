//! One TCP connection: what is read goes to the speaker's task, what it says is written.
//!
//! The speaker never waits for a peer: it leaves its bytes in an [`Outbox`] and is told later how
//! many of them TCP has taken. What stands in an outbox is bounded by the speaker, which makes no
//! more updates while its send buffer is full, and once more by [`MAX_OUTBOX_BYTES`].

use std::{
    collections::VecDeque,
    future::pending,
    io::{self, IoSlice},
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bgp_speaker::ConnId;
use bytes::{Buf, Bytes, BytesMut};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    select,
    sync::{Notify, mpsc, watch},
    task::JoinHandle,
    time::timeout,
};

use crate::task::Input;

/// What one connection may have waiting to be written. The speaker stays far below; whoever gets
/// here is cut off.
pub(crate) const MAX_OUTBOX_BYTES: usize = 8 << 20;
const _: () = assert!(MAX_OUTBOX_BYTES > bgp_speaker::MAX_UNWRITTEN_BYTES);

/// Pieces written at once.
const MAX_SLICES: usize = 64;

/// Read at once; larger than the largest message (RFC 4271 §4: 4096 octets).
const READ_BYTES: usize = 64 << 10;

/// How long a connection that is being closed has for its last words, which say why.
const LINGER: Duration = Duration::from_secs(1);

#[derive(Debug, Default)]
struct Waiting {
    /// Shared with the outboxes of others who are told the same.
    bytes: VecDeque<Bytes>,
    len: usize,
    close: bool,
}

#[derive(Debug, Default)]
struct Outbox {
    waiting: Mutex<Waiting>,
    changed: Notify,
}

impl Outbox {
    fn change<T>(&self, change: impl FnOnce(&mut Waiting) -> T) -> T {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let result = change(&mut waiting);
        self.changed.notify_one();
        result
    }

    /// Everything that waits, and whether the connection ends behind it.
    async fn next(&self) -> (VecDeque<Bytes>, bool) {
        loop {
            let changed = self.changed.notified();
            {
                let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
                if waiting.close || !waiting.bytes.is_empty() {
                    waiting.len = 0;
                    return (std::mem::take(&mut waiting.bytes), waiting.close);
                }
            }
            changed.await;
        }
    }
}

/// A reader that was paused gives its half back, one that has come to its end does not.
type Reader = JoinHandle<Option<OwnedReadHalf>>;
/// The same with what is not written.
type Writer = JoinHandle<Option<(OwnedWriteHalf, VecDeque<Bytes>)>>;

/// The speaker's end of a connection. Dropping it ends the connection at once, without a word.
#[derive(Debug)]
pub(crate) struct Connection {
    outbox: Arc<Outbox>,
    /// Ours, then the peer's.
    ends: Option<(SocketAddr, SocketAddr)>,
    pause: watch::Sender<bool>,
    tasks: Option<(Reader, Writer)>,
}

/// A connection that stands still.
#[derive(Debug)]
pub(crate) struct Paused {
    pub(crate) stream: TcpStream,
    /// What TCP has not taken yet.
    pub(crate) unwritten: VecDeque<Bytes>,
}

impl Connection {
    pub(crate) fn start(id: ConnId, stream: TcpStream, inputs: mpsc::Sender<Input>) -> Self {
        Self::resume(id, Paused { stream, unwritten: VecDeque::new() }, inputs)
    }

    pub(crate) fn resume(id: ConnId, paused: Paused, inputs: mpsc::Sender<Input>) -> Self {
        let Paused { stream, unwritten } = paused;
        let len = unwritten.iter().map(Bytes::len).sum();
        let waiting = Mutex::new(Waiting { bytes: unwritten, len, close: false });
        let outbox = Arc::new(Outbox { waiting, changed: Notify::new() });
        let ends = stream.local_addr().ok().zip(stream.peer_addr().ok());
        let (pause, paused) = watch::channel(false);
        let (reader, writer) = stream.into_split();
        let reader = tokio::spawn(read(id, reader, inputs.clone(), paused.clone()));
        let writer = tokio::spawn(write(id, writer, outbox.clone(), inputs, paused));
        Self { outbox, ends, pause, tasks: Some((reader, writer)) }
    }

    /// Our end and the peer's; `None` where they were gone before they could be asked.
    pub(crate) const fn ends(&self) -> Option<(SocketAddr, SocketAddr)> {
        self.ends
    }

    /// Has it stand still, between two octets and with nothing lost; inputs are to be taken until it
    /// does. One that is at its end does not come back. What is said meanwhile waits: see
    /// [`Self::take_waiting`].
    pub(crate) fn pause(&mut self) -> Option<impl Future<Output = Option<Paused>> + use<>> {
        let (reader, writer) = self.tasks.take()?;
        self.pause.send_replace(true);
        Some(async move {
            let (reader, (writer, unwritten)) = (reader.await.ok()??, writer.await.ok()??);
            // Halves that are put together end nothing when they go.
            Some(Paused { stream: reader.reunite(writer).ok()?, unwritten })
        })
    }

    /// What waits to be written.
    pub(crate) fn take_waiting(&self) -> VecDeque<Bytes> {
        self.outbox.change(|waiting| {
            waiting.len = 0;
            std::mem::take(&mut waiting.bytes)
        })
    }

    /// Leaves bytes to be written; false when too many are waiting.
    #[must_use]
    pub(crate) fn send(&self, bytes: Bytes) -> bool {
        self.outbox.change(|waiting| {
            let fits = waiting.len + bytes.len() <= MAX_OUTBOX_BYTES;
            if fits {
                waiting.len += bytes.len();
                waiting.bytes.push_back(bytes);
            }
            fits
        })
    }

    /// Ends the connection behind what is waiting. The task is done when the peer has had its
    /// chance to read it.
    pub(crate) fn close(mut self) -> Option<JoinHandle<()>> {
        self.outbox.change(|waiting| waiting.close = true);
        let (mut reader, mut writer) = self.tasks.take()?;
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
        if let Some((reader, writer)) = &self.tasks {
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
    mut socket: OwnedReadHalf,
    inputs: mpsc::Sender<Input>,
    mut pause: watch::Receiver<bool>,
) -> Option<OwnedReadHalf> {
    let mut buffer = BytesMut::with_capacity(READ_BYTES);
    let reason = loop {
        buffer.reserve(READ_BYTES);
        let read = select! {
            biased;
            () = wanted(&mut pause) => return Some(socket),
            read = socket.read_buf(&mut buffer) => read,
        };
        match read {
            Ok(0) => break "closed by the peer".to_owned(),
            Ok(_) => {
                let input = Input::Bytes { conn: id, bytes: buffer.split().freeze() };
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
    mut socket: OwnedWriteHalf,
    outbox: Arc<Outbox>,
    inputs: mpsc::Sender<Input>,
    mut pause: watch::Receiver<bool>,
) -> Option<(OwnedWriteHalf, VecDeque<Bytes>)> {
    loop {
        let (mut bytes, close) = select! {
            biased;
            () = wanted(&mut pause) => return Some((socket, VecDeque::new())),
            next = outbox.next() => next,
        };
        while !bytes.is_empty() {
            let written = select! {
                biased;
                // What is closing is closed.
                () = wanted(&mut pause), if !close => return Some((socket, bytes)),
                written = write_some(&mut socket, &mut bytes) => written,
            };
            // The reader sees the same end, behind all that was still to be read: it tells.
            let count = written.ok()?;
            // A speaker that does not listen any more has been told enough.
            drop(inputs.send(Input::Written { conn: id, count }).await);
        }
        if close {
            // Where that is not possible it has been.
            drop(socket.shutdown().await);
            return None;
        }
    }
}

/// Writes as much as TCP takes at once, and gives how much that was.
async fn write_some(socket: &mut OwnedWriteHalf, bytes: &mut VecDeque<Bytes>) -> io::Result<usize> {
    let slices: Vec<_> = bytes.iter().take(MAX_SLICES).map(|one| IoSlice::new(one)).collect();
    let count = socket.write_vectored(&slices).await?;
    if count == 0 {
        return Err(io::ErrorKind::WriteZero.into());
    }
    let mut left = count;
    while let Some(first) = bytes.front_mut()
        && left > 0
    {
        let here = left.min(first.len());
        first.advance(here);
        left -= here;
        if first.is_empty() {
            bytes.pop_front();
        }
    }
    Ok(count)
}
