//! Files as a source of routes: each acts as a peer without a session. A thread reads the file and is held
//! back by the speaker, so that a file of any length takes little memory.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{self, Read},
    net::IpAddr,
    path::PathBuf,
    thread,
    time::Instant,
};

use bgp_mrt::{Body, MAX_RECORD_LEN, Record};
use bgp_speaker::{Policy, SourceConfig, SourceId, Speaker};
use bgp_wire::{BgpNextHop, Message, Nlri, PeerKind, Update};
use bytes::{Buf, BytesMut};
use tokio::sync::mpsc;
use tracing::{info, warn};
use viaduct_net::{Asn, Family};

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

/// UPDATEs read at once.
const PIECE: usize = 64;
/// Peers that are told apart in a log of sessions.
const MAX_PEERS: usize = 65_535;

/// What a thread has read.
#[derive(Debug)]
pub(crate) struct Piece {
    source: SourceId,
    updates: Vec<Update>,
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

    /// Those that are to be. What was replayed already stays as it is; what is not named goes.
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
            let name = format!("mrt:{}", replay.file.display());
            let import = replay.import.clone();
            let source = speaker.add_source(SourceConfig { name, asn: replay.asn, import });
            let internal = speaker.config().asn == replay.asn;
            let kind = if internal { PeerKind::Internal } else { PeerKind::External };
            self.read(replay.clone(), source, kind);
            self.running.push((replay, source));
        }
    }

    pub(crate) fn take(&self, piece: &Piece, speaker: &mut Speaker, now: Instant) {
        for update in &piece.updates {
            if let Err(error) = speaker.handle_source(piece.source, update, now) {
                return warn!(%error, "not all of a replay is taken");
            }
        }
    }

    fn read(&self, replay: Replay, source: SourceId, kind: PeerKind) {
        let inputs = self.inputs.clone();
        let reader = move || {
            let mut player = Player::new(kind, replay.next_hop);
            let file = replay.file.display();
            let mut piece = Vec::with_capacity(PIECE);
            let send = |updates: &mut Vec<Update>| {
                let updates = std::mem::take(updates);
                inputs.blocking_send(Input::Replayed(Piece { source, updates })).is_ok()
            };
            let read = File::open(&replay.file).and_then(|input| {
                each_record(input, |record| {
                    player.play(record, &mut piece);
                    piece.len() < PIECE || send(&mut piece)
                })
            });
            send(&mut piece);
            let Player { updates, faults, .. } = player;
            match read {
                Ok(()) => info!(%file, updates, faults, "replayed"),
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

/// Makes UPDATEs of records.
struct Player {
    kind: PeerKind,
    next_hop: Option<IpAddr>,
    /// Of a log of sessions: by which number the paths of a peer go.
    peers: BTreeMap<IpAddr, u32>,
    updates: u64,
    faults: u64,
}

impl Player {
    const fn new(kind: PeerKind, next_hop: Option<IpAddr>) -> Self {
        Self { kind, next_hop, peers: BTreeMap::new(), updates: 0, faults: 0 }
    }

    fn play(&mut self, record: Result<Record, bgp_mrt::Error>, out: &mut Vec<Update>) {
        let Ok(record) = record else {
            self.faults += 1;
            return;
        };
        match record.body {
            Body::Rib(rib) => {
                for entry in &rib.entries {
                    let update = entry.update(rib.prefix, self.kind).ok();
                    // An entry that announces nothing is one that could not be read.
                    let update = update.filter(|update| !update.announced.is_empty());
                    let peer = u32::from(entry.peer) + 1;
                    self.say(update, peer, out);
                }
            }
            Body::Message(message) if !message.is_local => {
                let next = self.peers.len() as u32 + 1;
                let is_full = self.peers.len() >= MAX_PEERS;
                let peer = match self.peers.get(&message.session.peer) {
                    Some(peer) => *peer,
                    None if is_full => return self.faults += 1,
                    None => *self.peers.entry(message.session.peer).or_insert(next),
                };
                match message.message(self.kind) {
                    Ok(Some(Message::Update(update))) => self.say(Some(update), peer, out),
                    Ok(Some(_)) => {}
                    Ok(None) | Err(_) => self.faults += 1,
                }
            }
            Body::Message(_)
            | Body::PeerIndexTable(_)
            | Body::StateChange(_)
            | Body::Other { .. } => {}
        }
    }

    fn say(&mut self, update: Option<Update>, peer: u32, out: &mut Vec<Update>) {
        let Some(mut update) = update else {
            self.faults += 1;
            return;
        };
        self.updates += 1;
        // One source has one path for a prefix and identifier; so each peer's take its own.
        let number = |nlri: &mut Nlri| nlri.path_id ^= peer << 16;
        update.withdrawn.iter_mut().for_each(number);
        for announced in &mut update.announced {
            announced.prefixes.iter_mut().for_each(number);
            let family = announced.prefixes.first().map(|nlri| nlri.prefix.family());
            let other = self.next_hop.filter(|other| Some(Family::of(*other)) == family);
            announced.next_hop = other.map_or(announced.next_hop, BgpNextHop::from);
        }
        update.end_of_rib = None;
        out.push(update);
    }
}

#[cfg(test)]
mod tests {
    use bgp_mrt::{RibEntry, RibRecord, Timestamp};
    use bgp_wire::AttributeSet;

    use super::*;

    fn rib(prefix: &str, peers: &[u16]) -> Record {
        let attributes = AttributeSet::default();
        let next_hop = BgpNextHop::V4([198, 51, 100, 1].into());
        let entries = peers.iter().map(|peer| RibEntry::new(*peer, 0, &attributes, next_hop));
        let body = Body::Rib(RibRecord {
            sequence: 0,
            prefix: prefix.parse().unwrap(),
            has_path_ids: false,
            entries: entries.collect(),
        });
        Record { at: Timestamp::default(), body }
    }

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

    #[test]
    fn peers_of_a_table_have_a_path_each_and_the_next_hop_that_was_asked_for() {
        let mut player = Player::new(PeerKind::External, Some([192, 0, 2, 7].into()));
        let mut updates = Vec::new();
        player.play(Ok(rib("10.0.0.0/8", &[0, 4])), &mut updates);
        let told = updates.iter().map(|update| {
            let announced = &update.announced[0];
            (announced.prefixes[0].path_id, announced.next_hop.address().to_string())
        });
        let told: Vec<_> = told.collect();
        let hop = "192.0.2.7".to_owned();
        assert_eq!(told, [(1 << 16, hop.clone()), (5 << 16, hop)]);
        assert_eq!((player.updates, player.faults), (2, 0));
    }
}
