//! Of whom a message speaks, and of which table (RFC 7854 §4.2, RFC 8671 §4, RFC 9069 §4).

use std::net::{IpAddr, Ipv4Addr};

use bytes::{BufMut, BytesMut};
use viaduct_net::Asn;

use crate::{
    Error,
    octets::{Reader, put_address},
};

/// Octets of a per-peer header.
pub const PEER_HEADER_LEN: usize = 42;

/// A table of the speaker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Table {
    /// What the peer tells: as it says it, or what policy has made of it.
    AdjRibIn { post_policy: bool },
    /// What the peer is told.
    AdjRibOut { post_policy: bool },
    /// What was chosen. The peer is then the speaker itself. `filtered`: not all of it is shown.
    LocRib { filtered: bool },
}

/// When what is told was so, since 1970; zero where that is not known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Moment {
    pub secs: u32,
    /// Below a million.
    pub micros: u32,
}

/// The per-peer header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeerHeader {
    pub table: Table,
    /// Tells apart peers with one address in several routing instances; zero for the global one.
    pub distinguisher: u64,
    /// The IPv4 one that is unspecified for Loc-RIB.
    pub address: IpAddr,
    pub asn: Asn,
    pub router_id: Ipv4Addr,
    /// AS paths in the UPDATEs have numbers of two octets.
    pub is_two_octet_as: bool,
    pub at: Moment,
}

const GLOBAL: u8 = 0;
const DISTINGUISHED: u8 = 1;
const LOC_RIB: u8 = 3;

const IS_V6: u8 = 0x80;
const POST_POLICY: u8 = 0x40;
const TWO_OCTET_AS: u8 = 0x20;
const ADJ_RIB_OUT: u8 = 0x10;
/// Of Loc-RIB (RFC 9069 §4.2).
const FILTERED: u8 = 0x80;

impl PeerHeader {
    /// For an AS number that is written in four octets everywhere.
    pub fn new(table: Table, address: IpAddr, asn: Asn, router_id: Ipv4Addr) -> Self {
        let at = Moment::default();
        Self { table, distinguisher: 0, address, asn, router_id, is_two_octet_as: false, at }
    }

    /// The speaker itself, for what it has chosen.
    pub fn loc_rib(asn: Asn, router_id: Ipv4Addr) -> Self {
        let table = Table::LocRib { filtered: false };
        Self::new(table, Ipv4Addr::UNSPECIFIED.into(), asn, router_id)
    }

    fn kind(&self) -> u8 {
        match (self.table, self.distinguisher) {
            (Table::LocRib { .. }, _) => LOC_RIB,
            (_, 0) => GLOBAL,
            _ => DISTINGUISHED,
        }
    }

    fn flags(&self) -> u8 {
        let bit = |on: bool, bit: u8| if on { bit } else { 0 };
        let peer = bit(self.address.is_ipv6(), IS_V6) | bit(self.is_two_octet_as, TWO_OCTET_AS);
        match self.table {
            Table::AdjRibIn { post_policy } => peer | bit(post_policy, POST_POLICY),
            Table::AdjRibOut { post_policy } => peer | ADJ_RIB_OUT | bit(post_policy, POST_POLICY),
            Table::LocRib { filtered } => bit(filtered, FILTERED),
        }
    }

    pub(crate) fn encode(&self, out: &mut BytesMut) {
        out.put_u8(self.kind());
        out.put_u8(self.flags());
        out.put_u64(self.distinguisher);
        put_address(self.address, out);
        out.put_u32(self.asn.to_u32());
        out.put_u32(self.router_id.into());
        out.put_u32(self.at.secs);
        out.put_u32(self.at.micros);
    }

    pub(crate) fn decode(reader: &mut Reader<'_>) -> Result<Self, Error> {
        let kind = reader.u8()?;
        let flags = reader.u8()?;
        let has = |bit: u8| flags & bit != 0;
        let post_policy = has(POST_POLICY);
        let table = match kind {
            LOC_RIB => Table::LocRib { filtered: has(FILTERED) },
            GLOBAL | DISTINGUISHED if has(ADJ_RIB_OUT) => Table::AdjRibOut { post_policy },
            GLOBAL | DISTINGUISHED => Table::AdjRibIn { post_policy },
            other => return Err(Error::PeerType(other)),
        };
        let is_peer = kind != LOC_RIB;
        let distinguisher = reader.u64()?;
        if (kind == GLOBAL) != (distinguisher == 0) && is_peer {
            return Err(Error::Distinguisher);
        }
        Ok(Self {
            table,
            distinguisher,
            address: reader.address(is_peer && has(IS_V6))?,
            asn: Asn::new(reader.u32()?),
            router_id: reader.u32()?.into(),
            is_two_octet_as: is_peer && has(TWO_OCTET_AS),
            at: Moment { secs: reader.u32()?, micros: reader.u32()? },
        })
    }
}
