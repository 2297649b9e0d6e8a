//! Records: a header, and what stands behind it (RFC 6396 §2).

use bytes::{BufMut, BytesMut};
use viaduct_net::Family;

use crate::{
    PeerIndexTable, RibRecord, SessionMessage, StateChange,
    bgp4mp::{self, Subtype},
    octets::Reader,
};

/// Timestamp, type, subtype and length.
pub const HEADER_LEN: usize = 12;
/// The longest record that is read or written, in octets with its header. A prefix that each of a
/// thousand peers tells with attributes of a few kilobytes fits in.
pub const MAX_RECORD_LEN: usize = 8 << 20;

/// RFC 6396 §4.3.
const TABLE_DUMP_V2: u16 = 13;
/// RFC 6396 §4.4.
const BGP4MP: u16 = 16;
/// The same with microseconds (RFC 6396 §3).
const BGP4MP_ET: u16 = 17;

/// TABLE_DUMP_V2's subtypes: RFC 6396 §4.3, RFC 8050 §4.
const PEER_INDEX_TABLE: u16 = 1;
const RIB_IPV4_UNICAST: u16 = 2;
const RIB_IPV6_UNICAST: u16 = 4;
const RIB_IPV4_UNICAST_ADDPATH: u16 = 8;
const RIB_IPV6_UNICAST_ADDPATH: u16 = 10;

/// What is wrong with a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Where the next record begins is not known any more: the file cannot be read on.
    #[error("a record of {0} octets is longer than {MAX_RECORD_LEN}")]
    TooLong(u64),
    #[error("a record ends within a field")]
    Short,
    #[error("octets are left behind the last field")]
    Rest,
    #[error("prefix length {len} is beyond the bits of {family}")]
    PrefixLength { len: u8, family: Family },
    #[error("address family {0}")]
    Family(u16),
    #[error("state {0} of a session")]
    State(u16),
    #[error("a view name that is no UTF-8")]
    ViewName,
    /// Of a record to be written.
    #[error("too much for a field of the record")]
    Overflow,
}

/// When something was so, since 1970.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp {
    pub secs: u32,
    /// Below a million. Of BGP4MP records only (BGP4MP_ET); tables are dated to the second.
    pub micros: Option<u32>,
}

/// What a record says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Body {
    /// The peers of the table that follows.
    PeerIndexTable(PeerIndexTable),
    /// All paths for one prefix.
    Rib(RibRecord),
    /// A message of a session.
    Message(SessionMessage),
    StateChange(StateChange),
    /// Nothing that we know, or know how to use: multicast, RIB_GENERIC and other protocols.
    Other {
        kind: u16,
        subtype: u16,
    },
}

/// One record of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    pub at: Timestamp,
    pub body: Body,
}

impl Record {
    /// The first record of what was read, and how many octets it takes with its header; `None` while
    /// it is not complete. With [`Error::TooLong`] there is no going on; else the count stands beside
    /// the fault of the record, and what follows may be read.
    #[expect(clippy::type_complexity, reason = "there is no simpler way to say it")]
    pub fn first(octets: &[u8]) -> Result<Option<(Result<Self, Error>, usize)>, Error> {
        let Some((header, rest)) = octets.split_first_chunk::<HEADER_LEN>() else {
            return Ok(None);
        };
        let [secs, kinds, len] = [0, 4, 8].map(|at| {
            u32::from_be_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]])
        });
        let whole = u64::from(len) + HEADER_LEN as u64;
        if whole > MAX_RECORD_LEN as u64 {
            return Err(Error::TooLong(whole));
        }
        let (kind, subtype) = ((kinds >> 16) as u16, kinds as u16);
        let body = rest.get(..len as usize);
        Ok(body.map(|body| (Self::decode(secs, kind, subtype, body), whole as usize)))
    }

    fn decode(secs: u32, kind: u16, subtype: u16, body: &[u8]) -> Result<Self, Error> {
        let mut reader = Reader(body);
        let mut at = Timestamp { secs, micros: None };
        let body = match kind {
            TABLE_DUMP_V2 => decode_table(subtype, &mut reader)?,
            BGP4MP | BGP4MP_ET => {
                if kind == BGP4MP_ET {
                    at.micros = Some(reader.u32()?);
                }
                bgp4mp::decode(subtype, &mut reader)?
            }
            _ => None,
        };
        match body {
            None => Ok(Self { at, body: Body::Other { kind, subtype } }),
            Some(_) if !reader.0.is_empty() => Err(Error::Rest),
            Some(body) => Ok(Self { at, body }),
        }
    }

    /// Appends the record. On an error nothing has been appended.
    pub fn encode(&self, out: &mut BytesMut) -> Result<(), Error> {
        let start = out.len();
        let written = self.write(out);
        let len = out.len() - start;
        let written = written.and(match len {
            ..=MAX_RECORD_LEN => Ok(()),
            _ => Err(Error::TooLong(len as u64)),
        });
        if written.is_err() {
            out.truncate(start);
            return written;
        }
        let body = (len - HEADER_LEN) as u32;
        out[start + 8..start + HEADER_LEN].copy_from_slice(&body.to_be_bytes());
        Ok(())
    }

    fn write(&self, out: &mut BytesMut) -> Result<(), Error> {
        let begin = |kind: u16, subtype: u16, out: &mut BytesMut| {
            out.put_u32(self.at.secs);
            out.put_u16(kind);
            out.put_u16(subtype);
            out.put_u32(0);
        };
        let begin_bgp4mp = |subtype: Subtype, out: &mut BytesMut| {
            let kind = if self.at.micros.is_some() { BGP4MP_ET } else { BGP4MP };
            begin(kind, subtype.0, out);
            if let Some(micros) = self.at.micros {
                out.put_u32(micros);
            }
        };
        match &self.body {
            Body::PeerIndexTable(table) => {
                begin(TABLE_DUMP_V2, PEER_INDEX_TABLE, out);
                table.encode(out)
            }
            Body::Rib(rib) => {
                let subtype = match (rib.prefix.family(), rib.has_path_ids) {
                    (Family::V4, false) => RIB_IPV4_UNICAST,
                    (Family::V4, true) => RIB_IPV4_UNICAST_ADDPATH,
                    (Family::V6, false) => RIB_IPV6_UNICAST,
                    (Family::V6, true) => RIB_IPV6_UNICAST_ADDPATH,
                };
                begin(TABLE_DUMP_V2, subtype, out);
                rib.encode(out)
            }
            Body::Message(message) => {
                begin_bgp4mp(message.subtype(), out);
                message.encode(out)
            }
            Body::StateChange(change) => {
                begin_bgp4mp(change.subtype(), out);
                change.encode(out)
            }
            Body::Other { kind, subtype } => {
                begin(*kind, *subtype, out);
                Ok(())
            }
        }
    }
}

fn decode_table(subtype: u16, reader: &mut Reader<'_>) -> Result<Option<Body>, Error> {
    let (family, has_path_ids) = match subtype {
        PEER_INDEX_TABLE => {
            return PeerIndexTable::decode(reader).map(Body::PeerIndexTable).map(Some);
        }
        RIB_IPV4_UNICAST => (Family::V4, false),
        RIB_IPV6_UNICAST => (Family::V6, false),
        RIB_IPV4_UNICAST_ADDPATH => (Family::V4, true),
        RIB_IPV6_UNICAST_ADDPATH => (Family::V6, true),
        _ => return Ok(None),
    };
    RibRecord::decode(family, has_path_ids, reader).map(Body::Rib).map(Some)
}
