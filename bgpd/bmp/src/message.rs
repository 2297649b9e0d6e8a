//! Messages: a common header, and what stands behind it (RFC 7854 §4.1).

use std::net::IpAddr;

use bgp_wire::{EXTENDED_MESSAGE_LEN, MessageType, first_frame};
use bytes::{BufMut, Bytes, BytesMut};

use crate::{
    PeerDownReason, PeerHeader, Statistic,
    octets::{Reader, put_address},
};

/// Version, length and type.
pub const HEADER_LEN: usize = 6;
/// The longest message that is read or written: a Peer Up with two long OPENs, and room to spare.
pub const MAX_MESSAGE_LEN: usize = 256 << 10;

const VERSION: u8 = 3;

/// What is wrong with a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("version {0} of BMP")]
    Version(u8),
    /// Where the next message begins is not known any more.
    #[error("a message of {0} octets")]
    Length(u64),
    #[error("a message ends within a field")]
    Short,
    #[error("octets are left behind the last field")]
    Rest,
    #[error("peer type {0}")]
    PeerType(u8),
    #[error("a distinguisher of a peer that needs none, or none of one that does")]
    Distinguisher,
    #[error("reason {0} for the end of a session")]
    DownReason(u8),
    #[error("statistic {0} is not what it should be")]
    Statistic(u16),
    #[error("an OPEN that is none")]
    Open,
    /// Of a message to be written.
    #[error("too much for a field of the message")]
    Overflow,
}

/// Something said in words, with the number of its meaning (RFC 7854 §4.4, RFC 9069 §5.2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Information {
    pub kind: u16,
    /// UTF-8, as far as its writer keeps to the rules.
    pub value: Bytes,
}

impl Information {
    /// Of Initiation, Termination and Peer Up: free text.
    pub const TEXT: u16 = 0;
    /// Of Initiation: what the speaker is, and its name.
    pub const SYSTEM_DESCRIPTION: u16 = 1;
    pub const SYSTEM_NAME: u16 = 2;
    /// Of Termination: a number of two octets, see [`Message::Termination`].
    pub const REASON: u16 = 1;
    /// Of Peer Up and Peer Down for Loc-RIB: the name of the table.
    pub const TABLE_NAME: u16 = 3;

    pub fn new(kind: u16, text: &str) -> Self {
        Self { kind, value: Bytes::copy_from_slice(text.as_bytes()) }
    }

    pub(crate) fn encode_all(all: &[Self], out: &mut BytesMut) -> Result<(), Error> {
        for Self { kind, value } in all {
            out.put_u16(*kind);
            out.put_u16(u16::try_from(value.len()).or(Err(Error::Overflow))?);
            out.put_slice(value);
        }
        Ok(())
    }

    /// Up to the end.
    pub(crate) fn decode_all(reader: &mut Reader<'_>) -> Result<Vec<Self>, Error> {
        let mut all = Vec::new();
        while !reader.0.is_empty() {
            let kind = reader.u16()?;
            let len = reader.u16()?;
            all.push(Self { kind, value: Bytes::copy_from_slice(reader.take(len.into())?) });
        }
        Ok(all)
    }
}

/// A session has come up (RFC 7854 §4.10).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerUp {
    /// Of the peer's family; unspecified for Loc-RIB.
    pub local: IpAddr,
    /// Zero where they are not known.
    pub local_port: u16,
    pub remote_port: u16,
    /// Both OPENs with their headers.
    pub sent: Bytes,
    pub received: Bytes,
    pub information: Vec<Information>,
}

/// What is said to whoever watches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// One UPDATE, with its header (RFC 7854 §4.6).
    RouteMonitoring(PeerHeader, Bytes),
    /// RFC 7854 §4.8.
    StatisticsReport(PeerHeader, Vec<Statistic>),
    /// RFC 7854 §4.9.
    PeerDown(PeerHeader, PeerDownReason),
    PeerUp(PeerHeader, PeerUp),
    /// The first message (RFC 7854 §4.3).
    Initiation(Vec<Information>),
    /// The last one (RFC 7854 §4.5). Reason 0 is an administrator's wish, 1 nothing in particular, 2
    /// a lack of resources, 3 a second connection, 4 an administrator's wish that it be for good.
    Termination(Vec<Information>),
    /// What we do not know.
    Other(u8),
}

impl Message {
    const fn kind(&self) -> u8 {
        match self {
            Self::RouteMonitoring(..) => 0,
            Self::StatisticsReport(..) => 1,
            Self::PeerDown(..) => 2,
            Self::PeerUp(..) => 3,
            Self::Initiation(_) => 4,
            Self::Termination(_) => 5,
            Self::Other(kind) => *kind,
        }
    }

    /// Appends the message. On an error nothing has been appended.
    pub fn encode(&self, out: &mut BytesMut) -> Result<(), Error> {
        let start = begin(self.kind(), out);
        let written = self.write(out).and_then(|()| end(start, out));
        if written.is_err() {
            out.truncate(start);
        }
        written
    }

    fn write(&self, out: &mut BytesMut) -> Result<(), Error> {
        match self {
            Self::RouteMonitoring(header, update) => {
                header.encode(out);
                out.put_slice(update);
            }
            Self::StatisticsReport(header, statistics) => {
                header.encode(out);
                out.put_u32(statistics.len() as u32);
                statistics.iter().try_for_each(|statistic| statistic.encode(out))?;
            }
            Self::PeerDown(header, reason) => {
                header.encode(out);
                reason.encode(out)?;
            }
            Self::PeerUp(header, up) => {
                header.encode(out);
                put_address(up.local, out);
                out.put_u16(up.local_port);
                out.put_u16(up.remote_port);
                for open in [&up.sent, &up.received] {
                    open_len(open)?;
                    out.put_slice(open);
                }
                Information::encode_all(&up.information, out)?;
            }
            Self::Initiation(information) | Self::Termination(information) => {
                Information::encode_all(information, out)?;
            }
            Self::Other(_) => {}
        }
        Ok(())
    }

    /// The first message of what was received, and how many octets it takes with its header; `None`
    /// while it is not complete. With [`Error::Version`] and [`Error::Length`] there is no going on;
    /// else the count stands beside the fault of the message, and what follows may be read.
    #[expect(clippy::type_complexity, reason = "there is no simpler way to say it")]
    pub fn first(octets: &[u8]) -> Result<Option<(Result<Self, Error>, usize)>, Error> {
        match octets.first() {
            Some(&VERSION) => {}
            Some(&version) => return Err(Error::Version(version)),
            None => return Ok(None),
        }
        let Some(&[_, a, b, c, d, kind]) = octets.first_chunk::<HEADER_LEN>() else {
            return Ok(None);
        };
        let len = u32::from_be_bytes([a, b, c, d]) as usize;
        if !(HEADER_LEN..=MAX_MESSAGE_LEN).contains(&len) {
            return Err(Error::Length(len as u64));
        }
        let body = octets.get(HEADER_LEN..len);
        Ok(body.map(|body| (Self::decode(kind, Reader(body)), len)))
    }

    fn decode(kind: u8, mut reader: Reader<'_>) -> Result<Self, Error> {
        let reader = &mut reader;
        let message = match kind {
            0 => {
                let header = PeerHeader::decode(reader)?;
                let update = Bytes::copy_from_slice(reader.take(reader.0.len())?);
                Self::RouteMonitoring(header, update)
            }
            1 => {
                let header = PeerHeader::decode(reader)?;
                let count = reader.u32()?;
                let mut statistics = Vec::new();
                // Bounded by the octets there are: each takes four at least.
                for _ in 0..count {
                    statistics.extend(Statistic::decode(reader)?);
                }
                Self::StatisticsReport(header, statistics)
            }
            2 => Self::PeerDown(PeerHeader::decode(reader)?, PeerDownReason::decode(reader)?),
            3 => {
                let header = PeerHeader::decode(reader)?;
                let local = reader.address(header.address.is_ipv6())?;
                let (local_port, remote_port) = (reader.u16()?, reader.u16()?);
                let [sent, received] = [open(reader)?, open(reader)?];
                let information = Information::decode_all(reader)?;
                Self::PeerUp(
                    header,
                    PeerUp { local, local_port, remote_port, sent, received, information },
                )
            }
            4 => Self::Initiation(Information::decode_all(reader)?),
            5 => Self::Termination(Information::decode_all(reader)?),
            other => return Ok(Self::Other(other)),
        };
        if reader.0.is_empty() { Ok(message) } else { Err(Error::Rest) }
    }
}

/// Appends a Route Monitoring for each of these whole messages of BGP that is an UPDATE; gives their
/// number. What follows a message that is none is left out.
pub fn put_updates(header: &PeerHeader, mut messages: &[u8], out: &mut BytesMut) -> usize {
    let mut count = 0;
    while let Ok(Some(frame)) = first_frame(messages, EXTENDED_MESSAGE_LEN) {
        let (message, rest) = messages.split_at(frame.whole_len());
        messages = rest;
        if frame.kind == MessageType::Update {
            let start = begin(0, out);
            header.encode(out);
            out.put_slice(message);
            // No longer than one message of BGP and our headers.
            count += usize::from(end(start, out).is_ok());
        }
    }
    count
}

/// Writes a header whose length [`end`] fills in; gives where the message starts.
fn begin(kind: u8, out: &mut BytesMut) -> usize {
    let start = out.len();
    out.put_u8(VERSION);
    out.put_u32(0);
    out.put_u8(kind);
    start
}

fn end(start: usize, out: &mut BytesMut) -> Result<(), Error> {
    let len = out.len() - start;
    if len > MAX_MESSAGE_LEN {
        return Err(Error::Length(len as u64));
    }
    out[start + 1..start + 5].copy_from_slice(&(len as u32).to_be_bytes());
    Ok(())
}

/// Octets of the OPEN at the front.
fn open_len(octets: &[u8]) -> Result<usize, Error> {
    match first_frame(octets, EXTENDED_MESSAGE_LEN) {
        Ok(Some(frame)) if frame.kind == MessageType::Open => Ok(frame.whole_len()),
        _ => Err(Error::Open),
    }
}

fn open(reader: &mut Reader<'_>) -> Result<Bytes, Error> {
    let len = open_len(reader.0)?;
    reader.take(len).map(Bytes::copy_from_slice)
}
