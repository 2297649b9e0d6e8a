//! Tables: the peers, and the paths of each prefix (TABLE_DUMP_V2, RFC 6396 §4.3).

use std::net::{IpAddr, Ipv4Addr};

use bgp_wire::{
    AfiSafi, AttributeItems, AttributeSet, AttributeType, BgpNextHop, Families, Message,
    MessageType, Notification, PeerKind, SessionParameters, Update,
};
use bytes::{BufMut, Bytes, BytesMut};
use viaduct_net::{Asn, Family, Prefix};

use crate::{
    Error,
    octets::{Reader, put_address, put_counted, put_prefix},
};

/// A peer of a table. Whoever writes the table is one, too, for what it originates; its address is
/// then the unspecified one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IndexedPeer {
    /// Zero where there was no session.
    pub router_id: Ipv4Addr,
    pub address: IpAddr,
    pub asn: Asn,
}

/// PEER_INDEX_TABLE (RFC 6396 §4.3.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerIndexTable {
    /// The identifier of whoever writes.
    pub collector: Ipv4Addr,
    pub view: String,
    /// Entries name their peer by its place here.
    pub peers: Vec<IndexedPeer>,
}

/// All paths for a prefix (RFC 6396 §4.3.2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RibRecord {
    /// Counts the records of a table.
    pub sequence: u32,
    pub prefix: Prefix,
    /// Entries have path identifiers (RFC 8050 §4.1).
    pub has_path_ids: bool,
    pub entries: Vec<RibEntry>,
}

/// One path (RFC 6396 §4.3.4).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RibEntry {
    /// Whose path it is: a place in the [`PeerIndexTable`].
    pub peer: u16,
    /// Since when, in seconds since 1970.
    pub originated: u32,
    /// Zero, and not written, where the record has no path identifiers.
    pub path_id: u32,
    /// As in an UPDATE with AS numbers of four octets, but MP_REACH_NLRI has nothing but the next
    /// hop; some writers put all of it there nevertheless.
    pub attributes: Bytes,
}

/// Bits of a peer's type.
const IS_V6: u8 = 1;
const HAS_FOUR_OCTET_AS: u8 = 2;

impl PeerIndexTable {
    pub(crate) fn decode(reader: &mut Reader<'_>) -> Result<Self, Error> {
        let collector = reader.u32()?.into();
        let view = str::from_utf8(reader.counted()?).or(Err(Error::ViewName))?.to_owned();
        let count = reader.u16()?;
        // Of the count alone no memory is made: each peer takes eleven octets at least.
        let mut peers = Vec::with_capacity(usize::from(count).min(reader.0.len() / 11));
        for _ in 0..count {
            let kind = reader.u8()?;
            let router_id = reader.u32()?.into();
            let family = if kind & IS_V6 == 0 { Family::V4 } else { Family::V6 };
            let address = reader.address(family)?;
            let four = kind & HAS_FOUR_OCTET_AS != 0;
            let asn = if four { reader.u32()? } else { reader.u16()?.into() };
            peers.push(IndexedPeer { router_id, address, asn: Asn::new(asn) });
        }
        Ok(Self { collector, view, peers })
    }

    pub(crate) fn encode(&self, out: &mut BytesMut) -> Result<(), Error> {
        out.put_u32(self.collector.into());
        if !put_counted(self.view.as_bytes(), out) {
            return Err(Error::Overflow);
        }
        out.put_u16(u16::try_from(self.peers.len()).or(Err(Error::Overflow))?);
        for peer in &self.peers {
            let is_v6 = if peer.address.is_ipv6() { IS_V6 } else { 0 };
            out.put_u8(HAS_FOUR_OCTET_AS | is_v6);
            out.put_u32(peer.router_id.into());
            put_address(peer.address, out);
            out.put_u32(peer.asn.to_u32());
        }
        Ok(())
    }
}

impl RibRecord {
    pub(crate) fn decode(
        family: Family,
        has_path_ids: bool,
        reader: &mut Reader<'_>,
    ) -> Result<Self, Error> {
        let sequence = reader.u32()?;
        let prefix = reader.prefix(family)?;
        let count = reader.u16()?;
        let mut entries = Vec::with_capacity(usize::from(count).min(reader.0.len() / 8));
        for _ in 0..count {
            let peer = reader.u16()?;
            let originated = reader.u32()?;
            let path_id = if has_path_ids { reader.u32()? } else { 0 };
            let attributes = Bytes::copy_from_slice(reader.counted()?);
            entries.push(RibEntry { peer, originated, path_id, attributes });
        }
        Ok(Self { sequence, prefix, has_path_ids, entries })
    }

    pub(crate) fn encode(&self, out: &mut BytesMut) -> Result<(), Error> {
        out.put_u32(self.sequence);
        put_prefix(self.prefix, out);
        out.put_u16(u16::try_from(self.entries.len()).or(Err(Error::Overflow))?);
        for entry in &self.entries {
            out.put_u16(entry.peer);
            out.put_u32(entry.originated);
            if self.has_path_ids {
                out.put_u32(entry.path_id);
            }
            if !put_counted(&entry.attributes, out) {
                return Err(Error::Overflow);
            }
        }
        Ok(())
    }
}

const OPTIONAL: u8 = 0x80;
const TRANSITIVE: u8 = 0x40;
const EXTENDED_LENGTH: u8 = 0x10;

impl RibEntry {
    /// A path with its attributes as they are kept in a table. An IPv6 next hop goes into
    /// MP_REACH_NLRI, whatever the prefix (RFC 8950).
    pub fn new(peer: u16, path_id: u32, attributes: &AttributeSet, next_hop: BgpNextHop) -> Self {
        let octets = attributes.octets();
        let mut out = BytesMut::with_capacity(octets.len() + 40);
        let kind = match next_hop {
            BgpNextHop::V4(_) => AttributeType::NEXT_HOP,
            BgpNextHop::V6 { .. } => AttributeType::MP_REACH_NLRI,
        };
        let before = AttributeItems::new(octets).take_while(|item| item.kind < kind);
        let (before, after) = octets.split_at(before.map(|item| item.whole.len()).sum());
        out.put_slice(before);
        match next_hop {
            BgpNextHop::V4(address) => {
                out.put_slice(&[TRANSITIVE, kind.0, 4]);
                out.put_slice(&address.octets());
            }
            BgpNextHop::V6 { global, link_local } => {
                let len = if link_local.is_some() { 32 } else { 16 };
                out.put_slice(&[OPTIONAL, kind.0, len + 1, len]);
                out.put_slice(&global.octets());
                link_local.iter().for_each(|address| out.put_slice(&address.octets()));
            }
        }
        out.put_slice(after);
        Self { peer, originated: 0, path_id, attributes: out.freeze() }
    }

    /// What the entry says of its record's prefix, as an UPDATE of its peer would have. An error is
    /// the NOTIFICATION such an UPDATE would have been answered with.
    pub fn update(&self, prefix: Prefix, peer: PeerKind) -> Result<Update, Notification> {
        let session = SessionParameters {
            four_octet_as: true,
            receive_extended: true,
            families: Families::BOTH,
            extended_next_hop: true,
            ..SessionParameters::before_open(peer)
        };
        let body = self.body(prefix);
        match Message::decode_body(MessageType::Update, &body, &session)? {
            Message::Update(mut update) => {
                // RFC 6396 §4.3.4: an entry is about its record's prefix, whatever an MP_UNREACH_NLRI
                // in it says of others.
                update.withdrawn.retain(|nlri| nlri.prefix == prefix);
                update.end_of_rib = None;
                let announced = update.announced.iter_mut().flat_map(|one| &mut one.prefixes);
                announced.chain(&mut update.withdrawn).for_each(|nlri| nlri.path_id = self.path_id);
                Ok(update)
            }
            _ => Ok(Update::default()),
        }
    }

    /// What would follow the header of the UPDATE.
    fn body(&self, prefix: Prefix) -> BytesMut {
        let mut nlri = BytesMut::with_capacity(17);
        put_prefix(prefix, &mut nlri);
        let mut body = BytesMut::with_capacity(self.attributes.len() + 48);
        body.put_u16(0);
        body.put_u16(0);
        let mut is_classic = prefix.family() == Family::V4;
        let mut items = AttributeItems::new(&self.attributes);
        for item in items.by_ref() {
            let next_hop = match item.kind {
                AttributeType::MP_REACH_NLRI => mp_next_hop(item.value),
                _ => None,
            };
            let Some(next_hop) = next_hop else {
                let at = body.len();
                body.put_slice(item.whole);
                body[at] |= missing_flags(item.kind, body[at]);
                continue;
            };
            is_classic = false;
            let AfiSafi { afi, safi } = prefix.family().into();
            body.put_slice(&[OPTIONAL | EXTENDED_LENGTH, item.kind.0]);
            body.put_u16((5 + next_hop.len() + nlri.len()) as u16);
            body.put_u16(afi);
            body.put_u8(safi);
            body.put_u8(next_hop.len() as u8);
            body.put_slice(next_hop);
            body.put_u8(0);
            body.put_slice(&nlri);
        }
        // What cannot be cut into attributes is for the decoder to judge.
        body.put_slice(items.rest());
        let len = (body.len() - 4).min(u16::MAX.into()) as u16;
        body[2..4].copy_from_slice(&len.to_be_bytes());
        if is_classic {
            body.put_slice(&nlri);
        }
        body
    }
}

/// BIRD writes some attributes as it keeps them, without the flags that their type has on the wire: neither
/// optional nor transitive is no attribute at all.
const fn missing_flags(kind: AttributeType, flags: u8) -> u8 {
    if flags & (OPTIONAL | TRANSITIVE) != 0 {
        return 0;
    }
    match kind {
        AttributeType::ORIGIN
        | AttributeType::AS_PATH
        | AttributeType::NEXT_HOP
        | AttributeType::LOCAL_PREF
        | AttributeType::ATOMIC_AGGREGATE => TRANSITIVE,
        AttributeType::MULTI_EXIT_DISC
        | AttributeType::ORIGINATOR_ID
        | AttributeType::CLUSTER_LIST
        | AttributeType::MP_REACH_NLRI
        | AttributeType::MP_UNREACH_NLRI => OPTIONAL,
        _ => OPTIONAL | TRANSITIVE,
    }
}

/// The next hop of an MP_REACH_NLRI, abbreviated or whole: what begins with a zero can only be the
/// number of an address family.
fn mp_next_hop(value: &[u8]) -> Option<&[u8]> {
    let rest = if value.first()? == &0 { value.get(3..)? } else { value };
    let (len, rest) = rest.split_first()?;
    rest.get(..usize::from(*len))
}
