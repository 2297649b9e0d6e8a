//! Files as a source of routes: each acts as a peer without a session. A thread reads the file and is held
//! back by the speaker, so that a file of any length takes little memory.

use std::{
    fs::File,
    io::{self, Read},
    net::IpAddr,
    path::PathBuf,
    thread,
    time::Instant,
};

use bgp_mrt::{MAX_RECORD_LEN, Record};
use bgp_speaker::{Policy, SourceConfig, SourceId, Speaker};
use bgp_wire::{PeerKind, Update};
use bytes::{Buf, BytesMut};
use tokio::sync::mpsc;
use tracing::{info, warn};
use viaduct_net::Asn;

use super::{outcome::Outcome, player::Player};
use crate::intake::Input;

/// A file of TABLE_DUMP_V2 or BGP4MP records. Of the peers in it each has its own path for a prefix; what
/// became of their sessions is not looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replay {
    pub file: PathBuf,
    /// As whose paths they are judged: our own AS makes them internal, any other external.
    pub asn: Asn,
    /// In place of those in the file, for prefixes of its family.
    pub next_hop: Option<IpAddr>,
    pub import: Policy,
}

impl Replay {
    /// As the speaker knows it.
    pub(crate) fn source(&self) -> SourceConfig {
        let name = format!("mrt:{}", self.file.display());
        SourceConfig { name, asn: self.asn, import: self.import.clone() }
    }
}

/// UPDATEs read at once.
const PIECE: usize = 64;

/// What a thread has read.
#[derive(Debug)]
pub(crate) struct Piece {
    source: SourceId,
    updates: Vec<Update>,
    /// The file has been read to its end.
    is_last: bool,
}

/// The replays of a speaker.
#[derive(Debug)]
pub(crate) struct Replays {
    inputs: mpsc::Sender<Input>,
    running: Vec<(Replay, SourceId)>,
}

impl Replays {
    pub(crate) const fn new(inputs: mpsc::Sender<Input>) -> Self {
        Self { inputs, running: Vec::new() }
    }

    /// Those that are to be. What was replayed already stays as it is; what is not named goes. What another
    /// process has replayed stays while it is read again.
    pub(crate) fn set(&mut self, replays: Vec<Replay>, speaker: &mut Speaker) {
        self.running.retain(|(replay, source)| {
            let stays = replays.contains(replay);
            if !stays {
                speaker.remove_source(*source);
            }
            stays
        });
        for replay in replays {
            if self.running.iter().any(|(running, _)| *running == replay) {
                continue;
            }
            let config = replay.source();
            let taken_over = self.taken_over(&config, speaker);
            let source = taken_over.unwrap_or_else(|| speaker.add_source(config));
            let internal = speaker.config().asn == replay.asn;
            let kind = if internal { PeerKind::Internal } else { PeerKind::External };
            self.read(replay.clone(), source, kind, taken_over.is_some());
            self.running.push((replay, source));
        }
    }

    /// The source that another process has replayed the file as.
    fn taken_over(&self, config: &SourceConfig, speaker: &Speaker) -> Option<SourceId> {
        let is_running = |id| self.running.iter().any(|(_, source)| *source == id);
        let mut all = speaker.sources();
        all.find(|(id, name)| *name == config.name && !is_running(*id)).map(|(id, _)| id)
    }

    pub(crate) fn take(&self, piece: &Piece, speaker: &mut Speaker, now: Instant) {
        for update in &piece.updates {
            if let Err(error) = speaker.handle_source(piece.source, update, now) {
                return warn!(%error, "not all of a replay is taken");
            }
        }
        if piece.is_last {
            speaker.end_source(piece.source, now);
        }
    }

    /// `again`: the speaker has its routes, and is told of what is other by now, and no more.
    fn read(&self, replay: Replay, source: SourceId, kind: PeerKind, again: bool) {
        let inputs = self.inputs.clone();
        let reader = move || {
            let mut player = Player::new(kind, replay.next_hop);
            let file = replay.file.display();
            let send = |updates: &mut Vec<Update>, is_last| {
                let updates = std::mem::take(updates);
                inputs.blocking_send(Input::Replayed(Piece { source, updates, is_last })).is_ok()
            };
            let mut piece = Vec::with_capacity(PIECE);
            let mut outcome = again.then(Outcome::default);
            let read = File::open(&replay.file).and_then(|input| {
                each_record(input, |record| {
                    player.play(record, &mut piece);
                    match &mut outcome {
                        Some(outcome) => {
                            piece.drain(..).for_each(|update| outcome.take(update));
                            true
                        }
                        None => piece.len() < PIECE || send(&mut piece, false),
                    }
                })
            });
            let Player { updates, faults, .. } = player;
            match (&read, outcome) {
                (Ok(()), Some(outcome)) => {
                    for update in outcome.updates() {
                        piece.push(update);
                        if piece.len() >= PIECE && !send(&mut piece, false) {
                            return;
                        }
                    }
                }
                (Err(error), Some(_)) => {
                    return warn!(%file, %error, "its routes stay as they were taken over");
                }
                (_, None) => {}
            }
            send(&mut piece, read.is_ok());
            match read {
                Ok(()) => info!(%file, updates, faults, again, "replayed"),
                Err(error) => warn!(%file, updates, faults, %error, "replayed in part"),
            }
        };
        if let Err(error) = thread::Builder::new().name("mrt-replay".to_owned()).spawn(reader) {
            warn!(%error, "no thread to replay");
        }
    }
}

/// Calls for each record until it says `false`.
fn each_record(
    mut input: impl Read,
    mut call: impl FnMut(Result<Record, bgp_mrt::Error>) -> bool,
) -> io::Result<()> {
    const READ: usize = 64 << 10;
    let mut buffer = BytesMut::with_capacity(2 * READ);
    loop {
        let first = Record::first(&buffer);
        let first = first.map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
        if let Some((record, len)) = first {
            buffer.advance(len);
            if !call(record) {
                return Ok(());
            }
            continue;
        }
        // No longer than one record and one read.
        debug_assert!(buffer.len() <= MAX_RECORD_LEN, "a record is bounded");
        let filled = buffer.len();
        buffer.resize(filled + READ, 0);
        let count = input.read(&mut buffer[filled..])?;
        buffer.truncate(filled + count);
        if count == 0 {
            return match filled {
                0 => Ok(()),
                _ => Err(io::ErrorKind::UnexpectedEof.into()),
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{super::player::tests::rib, *};

    /// Gives its octets one by one.
    struct Slow(BytesMut);

    impl Read for Slow {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let count = self.0.len().min(1);
            buffer[..count].copy_from_slice(&self.0.split_to(count));
            Ok(count)
        }
    }

    #[test]
    fn a_file_is_read_to_its_end_and_an_end_within_a_record_is_told() {
        let mut file = BytesMut::new();
        for number in 0..3 {
            rib(&format!("10.{number}.0.0/16"), &[0]).encode(&mut file).unwrap();
        }
        let count = |file: BytesMut| {
            let mut count = 0;
            let read = each_record(Slow(file), |record| {
                count += u32::from(record.is_ok());
                true
            });
            (count, read.map_err(|error| error.kind()))
        };
        let half = file.len() - 1;
        assert_eq!(count(file.clone()), (3, Ok(())));
        file.truncate(half);
        assert_eq!(count(file), (2, Err(io::ErrorKind::UnexpectedEof)));
    }
}
