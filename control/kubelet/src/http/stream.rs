//! A log as a stream, to its end or for as long as it grows.

use std::{io, os::unix::fs::MetadataExt, path::PathBuf, time::Duration};

use bytes::Bytes;
use futures::Stream;
use tokio::{
    fs::File,
    io::{AsyncReadExt, AsyncSeekExt},
};

use super::logs::{self, Filter, LogOptions};

/// How soon a line is seen that was written while nobody read; inotify instances are few.
const POLL: Duration = Duration::from_millis(100);
const CHUNK_BYTES: usize = 64 * 1024;
/// conmon cuts entries at 8 KiB; what is longer is no log.
const ENTRY_BYTES_MAX: usize = 1 << 20;

/// One container's log, and the record that tells when nothing more will come.
pub(super) struct LogSource {
    pub(super) path: PathBuf,
    pub(super) record: PathBuf,
    pub(super) container: String,
    pub(super) restarts: u32,
}

impl LogSource {
    fn is_growing(&self) -> bool {
        super::routes::observed(&self.record).is_some_and(|observed| {
            observed
                .container(&self.container)
                .is_some_and(|r| r.restarts == self.restarts && r.is_running())
        })
    }
}

struct Reader {
    source: LogSource,
    filter: Filter,
    follow: bool,
    file: Option<File>,
    /// The entry that has only partly been read.
    rest: Vec<u8>,
    start: u64,
    ended: bool,
}

pub(super) fn stream(
    source: LogSource,
    options: LogOptions,
    follow: bool,
) -> impl Stream<Item = io::Result<Bytes>> + Send + 'static {
    let start = logs::tail_start(&source.path, options.tail_lines);
    let reader = Reader {
        source,
        filter: Filter::new(options),
        follow,
        file: None,
        rest: Vec::new(),
        start: start.unwrap_or(0),
        ended: false,
    };
    futures::stream::try_unfold(reader, |mut reader| async move {
        Ok(reader.next().await?.map(|bytes| (bytes, reader)))
    })
}

impl Reader {
    async fn next(&mut self) -> io::Result<Option<Bytes>> {
        loop {
            if self.ended || self.filter.is_full() {
                return Ok(None);
            }
            // Asked before reading: what is written until the end is then still read.
            let growing = self.follow && self.source.is_growing();
            let out = self.read().await?;
            if !out.is_empty() {
                return Ok(Some(Bytes::from(out)));
            }
            if !growing && !self.begin_anew().await? {
                self.ended = true;
            } else if growing && !self.begin_anew().await? {
                tokio::time::sleep(POLL).await;
            }
        }
    }

    /// What can be read now; empty at the end of the file.
    async fn read(&mut self) -> io::Result<Vec<u8>> {
        let mut out = Vec::new();
        let mut chunk = vec![0; CHUNK_BYTES];
        loop {
            let file = match &mut self.file {
                Some(file) => file,
                none => {
                    let mut file = File::open(&self.source.path).await?;
                    file.seek(io::SeekFrom::Start(self.start)).await?;
                    none.insert(file)
                }
            };
            let length = file.read(&mut chunk).await?;
            if length == 0 {
                return Ok(out);
            }
            self.rest.extend_from_slice(&chunk[..length]);
            let whole = self.rest.iter().rposition(|&b| b == b'\n').map_or(0, |at| at + 1);
            for line in self.rest[..whole].split(|&b| b == b'\n') {
                self.filter.apply(line, &mut out);
            }
            self.rest.drain(..whole);
            if self.rest.len() > ENTRY_BYTES_MAX {
                self.rest.clear();
            }
            if !out.is_empty() {
                return Ok(out);
            }
        }
    }

    /// conmon replaces a log that has grown too large; `true` where it did.
    async fn begin_anew(&mut self) -> io::Result<bool> {
        let Some(file) = &mut self.file else { return Ok(false) };
        let (open, position) = (file.metadata().await?, file.stream_position().await?);
        let Ok(present) = tokio::fs::metadata(&self.source.path).await else { return Ok(false) };
        let same = present.ino() == open.ino() && present.len() >= position;
        if same {
            return Ok(false);
        }
        self.file = None;
        self.start = 0;
        self.rest.clear();
        Ok(true)
    }
}
