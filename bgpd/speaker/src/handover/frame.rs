//! The octets of a handover. Whoever changes a type here, or one of [`bgp_rib::TablePiece`], gives it
//! another [`VERSION`]: the test below knows the octets of this one.

use std::{net::IpAddr, num::NonZeroU8, time::Duration};

use bgp_rib::{TablePiece, out::Owed};
use bgp_wire::{Families, Nlri};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use viaduct_net::Prefix;

use super::HandoverError;
use crate::transport::{Transport, Ttl};

/// Of what this speaker hands over.
pub const VERSION: u16 = 5;
/// Of what it can take. Whoever hands over the first says nothing meanwhile; neither of the first two has
/// sources, none before the fourth peers that are watched, nor any before this one peers that are cut off.
pub(super) const TAKEN_VERSIONS: [u16; 5] = [1, 2, 3, 4, VERSION];

#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Frame {
    Begin,
    Peer(Box<PeerFrame>),
    /// What the peer before is owed.
    Messages {
        octets: Vec<u8>,
        count: u32,
    },
    Missed(Vec<NlriFrame>),
    Table(TablePiece),
    End,
    Source(SourceFrame),
    /// BFD has lost the peer before, whose BFD may be independent of its control plane.
    Lost {
        control_plane_independent: bool,
    },
    /// No link leads to the peer before any more.
    CutOff,
}

/// Octets of both families, as two bits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct FamiliesFrame(u8);

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct NlriFrame {
    address: IpAddr,
    len: u8,
    path_id: u32,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct PeerFrame {
    pub(super) address: IpAddr,
    pub(super) table: Option<TablePeerFrame>,
    pub(super) session: Option<SessionFrame>,
    pub(super) since: Duration,
    pub(super) failures: u32,
    pub(super) last_error: Option<String>,
    pub(super) counters: CountersFrame,
    pub(super) had_session: bool,
    pub(super) stale: FamiliesFrame,
    pub(super) long_lived: FamiliesFrame,
    /// Of the session before, while anything of it is kept.
    pub(super) last_opens: Option<OpensFrame>,
    /// What is left of the timers for what is stale.
    pub(super) restart: Option<Duration>,
    pub(super) stale_left: Option<Duration>,
    /// In the order of the families.
    pub(super) long_lived_left: [Option<Duration>; 2],
    pub(super) near_limit: FamiliesFrame,
    pub(super) over_limit: FamiliesFrame,
}

/// Where routes come from that no peer has told: before the table, as the peers are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct SourceFrame {
    /// [`crate::SourceId`], by which the table breaks ties.
    pub(super) id: u64,
    /// By which its paths name it.
    pub(super) number: u32,
    pub(super) asn: u32,
    pub(super) name: String,
}

/// Whole messages.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct OpensFrame {
    pub(super) sent: Vec<u8>,
    pub(super) received: Vec<u8>,
}

/// A peer as its paths know it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct TablePeerFrame {
    pub(super) number: u32,
    pub(super) asn: u32,
    pub(super) router_id: u32,
    pub(super) interface: Option<u32>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct SessionFrame {
    pub(super) outgoing: bool,
    pub(super) opens: OpensFrame,
    pub(super) transport: TransportFrame,
    /// [`super::print`] of what else makes it this session and no other.
    pub(super) manner: u64,
    /// Received and not yet read, without what still waits in the socket.
    pub(super) inbox: Vec<u8>,
    pub(super) keepalive: Option<Duration>,
    pub(super) end_of_rib: FamiliesFrame,
    /// [`super::print`] of what the peer was told by.
    pub(super) print: u64,
    pub(super) dump: FamiliesFrame,
    pub(super) dump_demarcated: FamiliesFrame,
    pub(super) end_of_rib_owed: FamiliesFrame,
    pub(super) refresh: FamiliesFrame,
    pub(super) demarcated: FamiliesFrame,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct TransportFrame {
    ttl: TtlFrame,
    md5: Option<Vec<u8>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum TtlFrame {
    Kernel,
    Send(NonZeroU8),
    Security(NonZeroU8),
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct CountersFrame {
    pub(super) messages_received: u64,
    pub(super) messages_sent: u64,
    pub(super) updates_received: u64,
    pub(super) updates_sent: u64,
    pub(super) flaps: u64,
    pub(super) limit_warnings: u64,
}

/// The first frame is behind the version.
pub(super) fn write_first(frame: &Frame) -> Vec<u8> {
    let mut octets = VERSION.to_be_bytes().to_vec();
    octets.extend(write(frame));
    octets
}

pub(super) fn write(frame: &Frame) -> Vec<u8> {
    // Nothing of it is without a length, which is all that can be wrong.
    postcard::to_allocvec(frame).unwrap_or_default()
}

/// The version, and what stands behind it; of another version nothing does that could be read.
pub(super) fn read_first(octets: &[u8]) -> Result<(u16, Frame), HandoverError> {
    let (version, rest) = octets.split_first_chunk().ok_or(HandoverError::Frame)?;
    let version = u16::from_be_bytes(*version);
    match read(rest) {
        Ok(frame) => Ok((version, frame)),
        Err(_) if version != VERSION => Err(HandoverError::Version(version)),
        Err(error) => Err(error),
    }
}

/// Whether it is a part of the table: such are many, and are kept as they came until they are wanted.
pub(super) fn is_table(octets: &[u8]) -> bool {
    octets.first() == Some(&4)
}

pub(super) fn read<T: DeserializeOwned>(octets: &[u8]) -> Result<T, HandoverError> {
    match postcard::take_from_bytes(octets) {
        Ok((frame, [])) => Ok(frame),
        Ok((_, [_, ..])) | Err(_) => Err(HandoverError::Frame),
    }
}

impl From<Families> for FamiliesFrame {
    fn from(Families { v4, v6 }: Families) -> Self {
        Self(u8::from(v4) | u8::from(v6) << 1)
    }
}

impl From<FamiliesFrame> for Families {
    fn from(FamiliesFrame(bits): FamiliesFrame) -> Self {
        Self { v4: bits & 1 != 0, v6: bits & 2 != 0 }
    }
}

impl From<Nlri> for NlriFrame {
    fn from(Nlri { prefix, path_id }: Nlri) -> Self {
        Self { address: prefix.address(), len: prefix.len(), path_id }
    }
}

impl TryFrom<NlriFrame> for Nlri {
    type Error = HandoverError;

    fn try_from(NlriFrame { address, len, path_id }: NlriFrame) -> Result<Self, HandoverError> {
        let prefix = Prefix::new(address, len).or(Err(HandoverError::Frame))?;
        Ok(Self { prefix, path_id })
    }
}

impl SessionFrame {
    /// What is owed, but for messages and paths, which come in frames of their own.
    pub(super) fn owed(&self) -> Owed {
        Owed {
            messages: Vec::new(),
            missed: Vec::new(),
            dump: self.dump.into(),
            dump_demarcated: self.dump_demarcated.into(),
            end_of_rib: self.end_of_rib_owed.into(),
            refresh: self.refresh.into(),
            demarcated: self.demarcated.into(),
        }
    }
}

impl From<&Transport> for TransportFrame {
    /// Keys of TCP-AO are in [`SessionFrame::manner`].
    fn from(Transport { ttl, md5, ao: _ }: &Transport) -> Self {
        let ttl = match *ttl {
            Ttl::Kernel => TtlFrame::Kernel,
            Ttl::Send(ttl) => TtlFrame::Send(ttl),
            Ttl::Security { hops } => TtlFrame::Security(hops),
        };
        Self { ttl, md5: md5.as_ref().map(|password| password.octets().to_vec()) }
    }
}

impl TransportFrame {
    /// Whether it is what this one asks for.
    pub(super) fn is(&self, wanted: &Transport) -> bool {
        *self == Self::from(wanted)
    }
}

#[cfg(test)]
mod tests {
    use bgp_rib::{DestinationRecord, NextHopRecord, PathRecord};

    use super::*;

    /// Where this fails there is another version.
    #[test]
    fn the_octets_of_this_version() {
        let peer = PeerFrame {
            address: [192, 0, 2, 1].into(),
            table: Some(TablePeerFrame {
                number: 300,
                asn: 65001,
                router_id: 7,
                interface: Some(2),
            }),
            session: Some(SessionFrame {
                outgoing: true,
                opens: OpensFrame { sent: vec![1], received: vec![2, 3] },
                transport: TransportFrame {
                    ttl: TtlFrame::Security(NonZeroU8::MIN),
                    md5: Some(vec![4]),
                },
                manner: 9,
                inbox: vec![5],
                keepalive: Some(Duration::from_millis(1500)),
                end_of_rib: Families::BOTH.into(),
                print: 6,
                dump: FamiliesFrame(1),
                dump_demarcated: FamiliesFrame(0),
                end_of_rib_owed: FamiliesFrame(2),
                refresh: FamiliesFrame(0),
                demarcated: FamiliesFrame(1),
            }),
            since: Duration::from_secs(9),
            failures: 1,
            last_error: Some("x".to_owned()),
            counters: CountersFrame { messages_received: 128, flaps: 3, ..Default::default() },
            had_session: true,
            stale: FamiliesFrame(3),
            long_lived: FamiliesFrame(1),
            last_opens: Some(OpensFrame { sent: vec![6], received: vec![7] }),
            restart: None,
            stale_left: Some(Duration::from_secs(2)),
            long_lived_left: [None, Some(Duration::from_secs(3))],
            near_limit: FamiliesFrame(1),
            over_limit: FamiliesFrame(2),
        };
        let path = PathRecord {
            slot: 1,
            path_id: 2,
            peer: Some(300),
            source: 0,
            attributes: 3,
            next_hop: 4,
            reason: 5,
            stale: true,
            long_lived: false,
        };
        let piece = TablePiece {
            attributes: vec![vec![64, 1, 1, 0]],
            next_hops: vec![NextHopRecord {
                address: [192, 0, 2, 1].into(),
                link_local: None,
                interface: Some(1),
            }],
            destinations: vec![DestinationRecord {
                address: [10, 0, 0, 0].into(),
                len: 8,
                paths: vec![path],
            }],
        };
        let nlri = NlriFrame { address: [10, 0, 0, 0].into(), len: 8, path_id: 0 };
        let frames = [
            Frame::Peer(Box::new(peer)),
            Frame::Messages { octets: vec![1, 2], count: 1 },
            Frame::Missed(vec![nlri]),
            Frame::Table(piece),
            Frame::End,
            Frame::Source(SourceFrame { id: 2, number: 300, asn: 7, name: "mrt:x".to_owned() }),
            Frame::Lost { control_plane_independent: true },
            Frame::CutOff,
        ];
        let hex = |octets: &[u8]| octets.iter().map(|octet| format!("{octet:02x}")).collect();
        let mut all: Vec<String> = vec![hex(&write_first(&Frame::Begin))];
        all.extend(frames.iter().map(|frame| hex(&write(frame))));
        let known = [
            "000500",
            "0100c000020101ac02e9fb03070102010101010202030201010104090105010180cab5ee01\
             0306010002000109000101017880010000000300010301010106010700010200000103000102",
            "0202010201",
            "0301000a0000000800",
            "040104400101000100c000020100010101000a0000000801010201ac02000304050100",
            "05",
            "0602ac0207056d72743a78",
            "0701",
            "08",
        ];
        assert_eq!(all, known);
        let tables: Vec<_> = frames.iter().map(|frame| is_table(&write(frame))).collect();
        assert_eq!(tables, [false, false, false, true, false, false, false, false]);
    }
}
