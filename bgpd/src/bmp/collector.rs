//! One collector: the connection to it, and what waits to be written there.

use std::{
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    select,
    sync::mpsc,
    time::{sleep, timeout},
};
use tracing::{debug, info};

use crate::intake::Input;

/// What may wait for a collector. Whoever gets here is cut off and begins again.
pub(super) const MAX_WAITING_BYTES: usize = 32 << 20;
/// The walk over the table goes on when less than this waits.
pub(super) const LOW_BYTES: usize = 256 << 10;

const CONNECT_TIME: Duration = Duration::from_secs(10);
/// How long a collector may take none of what waits for it.
const WRITE_TIME: Duration = Duration::from_secs(60);
/// Between attempts: doubles from the first to the second.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// A connection that has lasted so long was a good one.
const STEADY_TIME: Duration = Duration::from_secs(60);

/// What a collector's task has to say to the speaker's.
#[derive(Debug)]
pub(crate) enum Event {
    Connected(Queue),
    /// Little waits, and more was asked for.
    Drained,
    Closed,
}

#[derive(Debug)]
enum Item {
    Bytes(Bytes),
    /// Nothing follows, and the connection is not wanted any more.
    End,
}

#[derive(Debug, Default)]
struct Gauge {
    waiting: AtomicUsize,
    wants_more: AtomicBool,
}

/// The speaker's end of a connection to a collector; without it the connection ends.
#[derive(Debug)]
pub(crate) struct Queue {
    items: mpsc::UnboundedSender<Item>,
    gauge: Arc<Gauge>,
}

impl Queue {
    /// `false` when too much waits.
    #[must_use]
    pub(super) fn push(&self, bytes: Bytes) -> bool {
        let waiting = self.gauge.waiting.fetch_add(bytes.len(), Ordering::Relaxed) + bytes.len();
        // A connection that is gone says so itself.
        let _gone = self.items.send(Item::Bytes(bytes));
        waiting <= MAX_WAITING_BYTES
    }

    pub(super) fn end(self) {
        let _gone = self.items.send(Item::End);
    }

    pub(super) fn waiting(&self) -> usize {
        self.gauge.waiting.load(Ordering::Relaxed)
    }

    /// Whether [`Event::Drained`] is to come.
    pub(super) fn set_wants_more(&self, wants: bool) {
        self.gauge.wants_more.store(wants, Ordering::Relaxed);
    }
}

/// The way to the speaker's task.
struct Speaker {
    address: SocketAddr,
    inputs: mpsc::Sender<Input>,
}

impl Speaker {
    /// `false` when it has ended.
    async fn tell(&self, event: Event) -> bool {
        self.inputs.send(Input::Collector(self.address, event)).await.is_ok()
    }
}

/// Keeps a connection to the collector until it is not wanted any more.
pub(super) async fn run(address: SocketAddr, inputs: mpsc::Sender<Input>) {
    let speaker = Speaker { address, inputs };
    let mut pause = FIRST_PAUSE;
    loop {
        let began = Instant::now();
        match timeout(CONNECT_TIME, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => {
                info!(collector = %address, "connected");
                let (items, receiver) = mpsc::unbounded_channel();
                let gauge = Arc::new(Gauge::default());
                let queue = Queue { items, gauge: gauge.clone() };
                if !speaker.tell(Event::Connected(queue)).await {
                    return;
                }
                match serve(stream, receiver, &gauge, &speaker).await {
                    Ok(End::Wanted) => return,
                    Ok(End::CutOff) => info!(collector = %address, "cut off"),
                    Err(error) => info!(collector = %address, %error, "lost"),
                }
                if !speaker.tell(Event::Closed).await {
                    return;
                }
                if began.elapsed() >= STEADY_TIME {
                    pause = FIRST_PAUSE;
                }
            }
            Ok(Err(error)) => debug!(collector = %address, %error, "no connection"),
            Err(_) => debug!(collector = %address, "no answer"),
        }
        sleep(pause).await;
        pause = LONGEST_PAUSE.min(pause * 2);
    }
}

enum End {
    Wanted,
    CutOff,
}

async fn serve(
    mut stream: TcpStream,
    mut items: mpsc::UnboundedReceiver<Item>,
    gauge: &Gauge,
    speaker: &Speaker,
) -> io::Result<End> {
    let (mut reader, mut writer) = stream.split();
    let mut ignored = [0; 1024];
    loop {
        select! {
            item = items.recv() => match item {
                None => return Ok(End::CutOff),
                Some(Item::End) => {
                    writer.shutdown().await?;
                    return Ok(End::Wanted);
                }
                Some(Item::Bytes(bytes)) => {
                    timeout(WRITE_TIME, writer.write_all(&bytes)).await??;
                    let before = gauge.waiting.fetch_sub(bytes.len(), Ordering::Relaxed);
                    if before - bytes.len() < LOW_BYTES
                        && gauge.wants_more.swap(false, Ordering::Relaxed)
                        && !speaker.tell(Event::Drained).await
                    {
                        return Ok(End::Wanted);
                    }
                }
            },
            // RFC 7854 §3.2: a collector says nothing.
            read = reader.read(&mut ignored) => if read? == 0 {
                return Err(io::ErrorKind::ConnectionReset.into());
            },
        }
    }
}
