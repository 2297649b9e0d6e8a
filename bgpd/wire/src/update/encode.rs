use bytes::{BufMut, BytesMut};
use viaduct_net::Family;

use super::BgpNextHop;
use crate::{
    AfiSafi, AttributeSet, AttributeType, MessageType, Nlri, SessionParameters,
    attributes::{begin_attribute, end_attribute},
    framing::{begin_message, end_message},
    nlri,
};

const OPTIONAL: u8 = 0x80;
/// Flags, type and extended length.
const MAX_ATTRIBUTE_HEADER_LEN: usize = 4;

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EncodeError {
    /// The route cannot be told to this peer; one told before is to be withdrawn
    /// (RFC 8654 §4, RFC 4271 §9.2).
    #[error("the attributes of {prefix} take {len} octets and leave no room in a message")]
    AttributesTooLong { prefix: Nlri, len: usize },
    #[error("{prefix} and its next hop are of families that do not go together on this session")]
    NextHopFamily { prefix: Nlri },
}

/// Appends as few UPDATEs as announce all `prefixes` with these attributes, and gives their
/// number. All prefixes are of one family: IPv4 with an IPv4 next hop goes into the classic field, all
/// else into MP_REACH_NLRI. Attributes are written as they are; what an external peer must not see has been
/// taken out before. On an error nothing has been appended.
pub fn encode_announcements(
    session: &SessionParameters,
    attributes: &AttributeSet,
    next_hop: BgpNextHop,
    prefixes: &[Nlri],
    out: &mut BytesMut,
) -> Result<usize, EncodeError> {
    let Some(family) = prefixes.first().map(|nlri| nlri.prefix.family()) else { return Ok(0) };
    let go_together =
        next_hop.family() == family || family == Family::V4 && session.extended_next_hop;
    let odd = |nlri: &&Nlri| !go_together || nlri.prefix.family() != family;
    if let Some(&prefix) = prefixes.iter().find(odd) {
        return Err(EncodeError::NextHopFamily { prefix });
    }
    let ids = session.add_path_send.contains(family);
    let mut path = BytesMut::with_capacity(128);
    let classic_next_hop = match next_hop {
        BgpNextHop::V4(address) => Some(address),
        BgpNextHop::V6 { .. } => None,
    };
    attributes.write(session, &mut path, classic_next_hop);

    let mp_head = mp_head(family, next_hop);
    let overhead = mp_overhead(&mp_head);
    let room = room(session, path.len() + overhead);
    let longest = prefixes.iter().copied().max_by_key(|nlri| nlri.prefix.len());
    if let Some(prefix) = longest
        && nlri::encoded_len(prefix.prefix.len(), ids) > room
    {
        return Err(EncodeError::AttributesTooLong { prefix, len: path.len() + overhead });
    }

    let mut count = 0;
    for chunk in (Chunks { prefixes, room, ids }) {
        let start = begin_message(out, MessageType::Update);
        out.put_u16(0);
        let attributes_at = out.len();
        out.put_u16(0);
        if !mp_head.is_empty() {
            let value = begin_attribute(AttributeType::MP_REACH_NLRI, OPTIONAL, out);
            out.put_slice(&mp_head);
            chunk.iter().for_each(|&nlri| nlri::encode(nlri, ids, out));
            end_attribute(value, out);
        }
        out.put_slice(&path);
        fill_in_length(attributes_at, out);
        if mp_head.is_empty() {
            chunk.iter().for_each(|&nlri| nlri::encode(nlri, ids, out));
        }
        end_message(out, start);
        count += 1;
    }
    Ok(count)
}

/// Whether an UPDATE has room for a prefix with these attributes (RFC 8654 §4). What
/// [`encode_announcements`] takes of one prefix.
pub fn fits(
    session: &SessionParameters,
    attributes: &AttributeSet,
    next_hop: BgpNextHop,
    nlri: Nlri,
) -> bool {
    let family = nlri.prefix.family();
    let mut path = BytesMut::new();
    let classic_next_hop = match next_hop {
        BgpNextHop::V4(address) => Some(address),
        BgpNextHop::V6 { .. } => None,
    };
    attributes.write(session, &mut path, classic_next_hop);
    let len = path.len() + mp_overhead(&mp_head(family, next_hop));
    let ids = session.add_path_send.contains(family);
    nlri::encoded_len(nlri.prefix.len(), ids) <= room(session, len)
}

/// What stands in MP_REACH_NLRI before the prefixes; empty where it is not needed. RFC 7606 §5.1: it
/// is the first attribute, so that it is found whatever follows.
fn mp_head(family: Family, next_hop: BgpNextHop) -> BytesMut {
    let mut head = BytesMut::new();
    if let BgpNextHop::V6 { global, link_local } = next_hop {
        put_family(family, &mut head);
        head.put_u8(if link_local.is_some() { 32 } else { 16 });
        head.put_slice(&global.octets());
        if let Some(address) = link_local {
            head.put_slice(&address.octets());
        }
        head.put_u8(0);
    }
    head
}

fn mp_overhead(head: &[u8]) -> usize {
    if head.is_empty() { 0 } else { MAX_ATTRIBUTE_HEADER_LEN + head.len() }
}

/// Octets left for prefixes beside attributes of this length.
fn room(session: &SessionParameters, attributes_len: usize) -> usize {
    session.send_limit().saturating_sub(crate::HEADER_LEN + 4 + attributes_len)
}

/// Appends as few UPDATEs as withdraw all `prefixes`, of any family, and gives their number.
pub fn encode_withdrawals(
    session: &SessionParameters,
    prefixes: &[Nlri],
    out: &mut BytesMut,
) -> usize {
    let (v4, v6): (Vec<_>, Vec<_>) =
        prefixes.iter().partition(|nlri| nlri.prefix.family() == Family::V4);
    let ids = session.add_path_send;
    let fixed = crate::HEADER_LEN + 4;
    let mut count = 0;
    for chunk in (Chunks { prefixes: &v4, room: session.send_limit() - fixed, ids: ids.v4 }) {
        let start = begin_message(out, MessageType::Update);
        let withdrawn_at = out.len();
        out.put_u16(0);
        chunk.iter().for_each(|&nlri| nlri::encode(nlri, ids.v4, out));
        fill_in_length(withdrawn_at, out);
        out.put_u16(0);
        end_message(out, start);
        count += 1;
    }
    let mp_fixed = fixed + MAX_ATTRIBUTE_HEADER_LEN + 3;
    for chunk in (Chunks { prefixes: &v6, room: session.send_limit() - mp_fixed, ids: ids.v6 }) {
        encode_mp_unreach(Family::V6, chunk, ids.v6, out);
        count += 1;
    }
    count
}

/// Appends the UPDATE that says there is no more to come of this family (RFC 4724 §2).
pub fn encode_end_of_rib(family: Family, out: &mut BytesMut) {
    match family {
        Family::V4 => {
            let start = begin_message(out, MessageType::Update);
            out.put_u32(0);
            end_message(out, start);
        }
        Family::V6 => encode_mp_unreach(family, &[], false, out),
    }
}

fn encode_mp_unreach(family: Family, prefixes: &[Nlri], ids: bool, out: &mut BytesMut) {
    let start = begin_message(out, MessageType::Update);
    out.put_u16(0);
    let attributes_at = out.len();
    out.put_u16(0);
    let value = begin_attribute(AttributeType::MP_UNREACH_NLRI, OPTIONAL, out);
    put_family(family, out);
    prefixes.iter().for_each(|&nlri| nlri::encode(nlri, ids, out));
    end_attribute(value, out);
    fill_in_length(attributes_at, out);
    end_message(out, start);
}

fn put_family(family: Family, out: &mut BytesMut) {
    let AfiSafi { afi, safi } = family.into();
    out.put_u16(afi);
    out.put_u8(safi);
}

/// Writes what has been appended behind a two-octet length field into it.
fn fill_in_length(at: usize, out: &mut BytesMut) {
    let len = out.len() - at - 2;
    out[at..at + 2].copy_from_slice(&(len as u16).to_be_bytes());
}

/// Runs of prefixes that fit into `room` octets each. Every one fits alone.
struct Chunks<'a> {
    prefixes: &'a [Nlri],
    room: usize,
    /// Whether path identifiers are written.
    ids: bool,
}

impl<'a> Iterator for Chunks<'a> {
    type Item = &'a [Nlri];

    fn next(&mut self) -> Option<Self::Item> {
        if self.prefixes.is_empty() {
            return None;
        }
        let mut used = 0;
        let fits = |nlri: &Nlri| {
            used += nlri::encoded_len(nlri.prefix.len(), self.ids);
            used <= self.room
        };
        let count = self.prefixes.iter().copied().take_while(fits).count();
        let (chunk, rest) = self.prefixes.split_at(count);
        self.prefixes = rest;
        Some(chunk)
    }
}
