//! One TCP connection: what is read goes to the speaker's task, what it says is written.
//!
//! The speaker never waits for a peer: it leaves its bytes in an [`Outbox`] and is told later how
//! many of them TCP has taken. What stands in an outbox is bounded by the speaker, which makes no
//! more updates while its send buffer is full, and once more by [`MAX_OUTBOX_BYTES`].

use std::{
    collections::VecDeque,
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
    sync::{Notify, mpsc},
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

/// The speaker's end of a connection. Dropping it ends the connection at once, without a word.
#[derive(Debug)]
pub(crate) struct Connection {
    outbox: Arc<Outbox>,
    /// Ours, then the peer's.
    ends: Option<(SocketAddr, SocketAddr)>,
    tasks: Option<(JoinHandle<()>, JoinHandle<()>)>,
}

impl Connection {
    pub(crate) fn start(id: ConnId, stream: TcpStream, inputs: mpsc::Sender<Input>) -> Self {
        let outbox = Arc::new(Outbox::default());
        let ends = stream.local_addr().ok().zip(stream.peer_addr().ok());
        let (reader, writer) = stream.into_split();
        let reader = tokio::spawn(read(id, reader, inputs.clone()));
        let writer = tokio::spawn(write(id, writer, outbox.clone(), inputs));
        Self { outbox, ends, tasks: Some((reader, writer)) }
    }

    /// Our end and the peer's; `None` where they were gone before they could be asked.
    pub(crate) const fn ends(&self) -> Option<(SocketAddr, SocketAddr)> {
        self.ends
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
async fn ended(task: &mut JoinHandle<()>) {
    if let Err(error) = task.await {
        tracing::debug!(%error, "connection task");
    }
}

async fn read(id: ConnId, mut socket: OwnedReadHalf, inputs: mpsc::Sender<Input>) {
    let mut buffer = BytesMut::with_capacity(READ_BYTES);
    let reason = loop {
        buffer.reserve(READ_BYTES);
        match socket.read_buf(&mut buffer).await {
            Ok(0) => break "closed by the peer".to_owned(),
            Ok(_) => {
                let input = Input::Bytes { conn: id, bytes: buffer.split().freeze() };
                if inputs.send(input).await.is_err() {
                    return;
                }
            }
            Err(error) => break error.to_string(),
        }
    };
    // Nobody to be told means that the speaker is gone, and we with it.
    drop(inputs.send(Input::Closed { conn: id, reason }).await);
}

async fn write(
    id: ConnId,
    mut socket: OwnedWriteHalf,
    outbox: Arc<Outbox>,
    inputs: mpsc::Sender<Input>,
) {
    loop {
        let (mut bytes, close) = outbox.next().await;
        let written = async {
            while !bytes.is_empty() {
                let count = write_some(&mut socket, &mut bytes).await?;
                // A speaker that does not listen any more has been told enough.
                drop(inputs.send(Input::Written { conn: id, count }).await);
            }
            if close { socket.shutdown().await } else { Ok::<_, io::Error>(()) }
        };
        // The reader sees the same end, behind all that was still to be read: it tells.
        if written.await.is_err() || close {
            return;
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
