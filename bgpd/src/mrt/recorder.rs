//! The file of updates. It is written by a thread of its own: a disk that is slow costs records, which are
//! counted, and nothing else.

use std::{
    fs::{File, OpenOptions},
    io::{self, BufWriter, Write},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
        mpsc::{self, RecvTimeoutError},
    },
    thread,
    time::{Duration, Instant},
};

use bgp_mrt::{Body, PeerState, Record, Session, SessionMessage, StateChange};
use bgp_speaker::{Config, ConnId, Observed, State};
use bytes::{Bytes, BytesMut};
use tracing::{info, warn};
use viaduct_net::{Family, LinkLocal};

use crate::{monitor::Recording, network::Network, status::plain};

/// Octets that may wait for the disk; what comes beyond them is left out.
const MAX_WAITING_BYTES: usize = 16 << 20;
/// How long what was written may stay in memory, and between attempts to open a file.
const FLUSH_TIME: Duration = Duration::from_millis(500);

#[derive(Debug, Default)]
struct Gauge {
    waiting: AtomicUsize,
    recorded: AtomicU64,
    unrecorded: AtomicU64,
}

/// The end in the speaker's task. Without it the thread writes what it has and ends.
#[derive(Debug)]
pub(crate) struct Recorder {
    recording: Recording,
    records: mpsc::Sender<Bytes>,
    gauge: Arc<Gauge>,
}

impl Recorder {
    pub(crate) fn start(recording: Recording) -> Self {
        let (records, receiver) = mpsc::channel();
        let gauge = Arc::new(Gauge::default());
        let writer = Writer::new(recording.clone(), gauge.clone());
        let thread = thread::Builder::new().name("mrt".to_owned());
        if let Err(error) = thread.spawn(move || writer.run(&receiver)) {
            warn!(%error, "no thread to record updates");
        }
        Self { recording, records, gauge }
    }

    pub(crate) const fn recording(&self) -> &Recording {
        &self.recording
    }

    /// Records written, and left out.
    pub(crate) fn counts(&self) -> (u64, u64) {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        (read(&self.gauge.recorded), read(&self.gauge.unrecorded))
    }

    pub(crate) fn observe(&mut self, event: &Observed, config: &Config, network: &Network) {
        let session = |peer, conn: Option<ConnId>| session(peer, conn, config, network);
        let body = match event {
            Observed::State { peer, old, new } => Body::StateChange(StateChange {
                session: session(*peer, None),
                old: state(*old),
                new: state(*new),
            }),
            Observed::Received { peer, conn, parameters, message } => {
                let is_open = parameters.families.is_empty();
                Body::Message(SessionMessage {
                    session: session(*peer, Some(*conn)),
                    has_four_octet_as: is_open || parameters.four_octet_as,
                    has_path_ids: !parameters.add_path_receive.is_empty(),
                    is_local: false,
                    octets: message.clone(),
                })
            }
            Observed::Up { .. }
            | Observed::Down { .. }
            | Observed::Sent { .. }
            | Observed::Changes(_) => return,
        };
        let mut out = BytesMut::new();
        let record = Record { at: super::now(), body };
        let fits = |len| {
            let before = self.gauge.waiting.fetch_add(len, Ordering::Relaxed);
            before + len <= MAX_WAITING_BYTES
        };
        if record.encode(&mut out).is_err() || !fits(out.len()) {
            self.gauge.waiting.fetch_sub(out.len(), Ordering::Relaxed);
            self.gauge.unrecorded.fetch_add(1, Ordering::Relaxed);
            return;
        }
        if self.records.send(out.freeze()).is_err() {
            self.gauge.unrecorded.fetch_add(1, Ordering::Relaxed);
        }
    }
}

fn session(
    peer: std::net::IpAddr,
    conn: Option<ConnId>,
    config: &Config,
    network: &Network,
) -> Session {
    let family = Family::of(peer);
    let known = conn.and_then(|conn| network.ends(conn)).map(|(local, _)| local.ip());
    let interface = LinkLocal::of(peer).map(LinkLocal::interface);
    let local = known.or(config.addresses.of(family)).filter(|one| Family::of(*one) == family);
    Session {
        peer_asn: config.peers.get(&peer).map_or(viaduct_net::Asn::new(0), |peer| peer.asn),
        local_asn: config.asn,
        interface: interface.and_then(|index| index.0.try_into().ok()).unwrap_or_default(),
        peer: plain(peer),
        local: local.unwrap_or(super::dump::unspecified(family)),
    }
}

const fn state(state: State) -> PeerState {
    match state {
        State::Idle => PeerState::Idle,
        State::Connect => PeerState::Connect,
        State::Active => PeerState::Active,
        State::OpenSent => PeerState::OpenSent,
        State::OpenConfirm => PeerState::OpenConfirm,
        State::Established => PeerState::Established,
    }
}

struct Open {
    file: BufWriter<File>,
    len: u64,
    since: Instant,
}

struct Writer {
    recording: Recording,
    gauge: Arc<Gauge>,
    open: Option<Open>,
    failed_at: Option<Instant>,
}

impl Writer {
    const fn new(recording: Recording, gauge: Arc<Gauge>) -> Self {
        Self { recording, gauge, open: None, failed_at: None }
    }

    fn run(mut self, records: &mpsc::Receiver<Bytes>) {
        info!(file = %self.recording.file.display(), "recording updates");
        let mut flush_at = Instant::now() + FLUSH_TIME;
        loop {
            let wait = flush_at.saturating_duration_since(Instant::now());
            match records.recv_timeout(wait) {
                Ok(record) => {
                    self.write(&record);
                    self.gauge.waiting.fetch_sub(record.len(), Ordering::Relaxed);
                }
                Err(RecvTimeoutError::Timeout) => {
                    self.flush();
                    flush_at = Instant::now() + FLUSH_TIME;
                }
                Err(RecvTimeoutError::Disconnected) => break,
            }
            self.rotate();
        }
        self.flush();
    }

    fn write(&mut self, record: &[u8]) {
        let may_try = self.failed_at.is_none_or(|at| at.elapsed() >= FLUSH_TIME);
        if self.open.is_none() && may_try {
            self.open = self.attempt("open", |recording| open(&recording.file));
        }
        let written = self.open.as_mut().map(|open| {
            open.len += record.len() as u64;
            open.file.write_all(record)
        });
        let counter = match written {
            Some(Ok(())) => &self.gauge.recorded,
            Some(Err(error)) => {
                self.failed(&error, "write");
                &self.gauge.unrecorded
            }
            None => &self.gauge.unrecorded,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    fn flush(&mut self) {
        if let Some(Err(error)) = self.open.as_mut().map(|open| open.file.flush()) {
            self.failed(&error, "write");
        }
    }

    fn rotate(&mut self) {
        let Recording { rotate_after, rotate_bytes, .. } = &self.recording;
        let is_full = self.open.as_ref().is_some_and(|open| {
            open.len > 0
                && (rotate_bytes.is_some_and(|limit| open.len >= limit)
                    || rotate_after.is_some_and(|limit| open.since.elapsed() >= limit))
        });
        if is_full {
            self.flush();
            self.open = None;
            self.attempt("rotate", |recording| {
                std::fs::rename(&recording.file, full_name(&recording.file))
            });
        }
    }

    fn attempt<T>(
        &mut self,
        what: &'static str,
        action: impl FnOnce(&Recording) -> io::Result<T>,
    ) -> Option<T> {
        match action(&self.recording) {
            Ok(value) => Some(value),
            Err(error) => {
                self.failed(&error, what);
                None
            }
        }
    }

    /// Said once until it works again.
    fn failed(&mut self, error: &io::Error, what: &'static str) {
        self.open = None;
        if self.failed_at.replace(Instant::now()).is_none() {
            warn!(file = %self.recording.file.display(), %error, what, "updates are not recorded");
        }
    }
}

fn open(path: &Path) -> io::Result<Open> {
    let file = OpenOptions::new().create(true).append(true).open(path)?;
    let len = file.metadata()?.len();
    Ok(Open { file: BufWriter::with_capacity(64 << 10, file), len, since: Instant::now() })
}

/// Where a full file goes: its name, the seconds since 1970, and a number where that is taken.
fn full_name(path: &Path) -> PathBuf {
    let secs = super::now().secs;
    let name = |number: u32| {
        let mut name = path.as_os_str().to_owned();
        name.push(if number == 0 { format!(".{secs}") } else { format!(".{secs}-{number}") });
        PathBuf::from(name)
    };
    (0..1000).map(name).find(|name| !name.exists()).unwrap_or_else(|| name(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn recorder(recording: Recording) -> Recorder {
        Recorder::start(recording)
    }

    #[test]
    fn a_full_file_is_put_aside_and_nothing_is_lost() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("updates.mrt");
        let recording = Recording { file, rotate_after: None, rotate_bytes: Some(100) };
        let recorder = recorder(recording);
        for number in 0..50u8 {
            recorder.gauge.waiting.fetch_add(10, Ordering::Relaxed);
            recorder.records.send(Bytes::from(vec![number; 10])).unwrap();
        }
        while recorder.counts().0 < 50 {
            thread::yield_now();
        }
        let gauge = recorder.gauge.clone();
        drop(recorder);
        while Arc::strong_count(&gauge) > 1 {
            thread::yield_now();
        }
        let files = std::fs::read_dir(folder.path()).unwrap();
        let files: Vec<_> =
            files.map(|file| std::fs::read(file.unwrap().path()).unwrap()).collect();
        assert_eq!(files.len(), 5);
        let mut all = files.concat();
        all.sort_unstable();
        assert_eq!(all, (0..50u8).flat_map(|number| [number; 10]).collect::<Vec<_>>());
        assert_eq!(gauge.waiting.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn a_file_that_cannot_be_written_costs_records_only() {
        let recording =
            Recording { file: "/proc/no/such/file".into(), rotate_after: None, rotate_bytes: None };
        let recorder = recorder(recording);
        recorder.gauge.waiting.fetch_add(1, Ordering::Relaxed);
        recorder.records.send(Bytes::from_static(b"x")).unwrap();
        while recorder.counts() != (0, 1) {
            thread::yield_now();
        }
    }
}
