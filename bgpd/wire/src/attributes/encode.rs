use bytes::{BufMut, BytesMut};

use super::{
    Aggregator, AttributeSet, AttributeType as Type, PathAttributes,
    octets::Items,
    types::{EXTENDED_LENGTH, OPTIONAL, PARTIAL, TRANSITIVE},
};
use crate::SessionParameters;

/// Writes flags and type with an extended length to be filled in by [`end_attribute`]; gives where
/// the value starts.
pub(crate) fn begin_attribute(kind: Type, flags: u8, out: &mut BytesMut) -> usize {
    out.put_u8(flags);
    out.put_u8(kind.0);
    out.put_u16(0);
    out.len()
}

/// Fills in the length, in one octet where that is enough.
pub(crate) fn end_attribute(start: usize, out: &mut BytesMut) {
    let len = out.len() - start;
    if let Ok(short) = u8::try_from(len) {
        out.copy_within(start.., start - 1);
        out.truncate(out.len() - 1);
        out[start - 2] = short;
    } else {
        out[start - 4] |= EXTENDED_LENGTH;
        out[start - 2..start].copy_from_slice(&(len as u16).to_be_bytes());
    }
}

fn attribute(kind: Type, partial: bool, out: &mut BytesMut, value: impl FnOnce(&mut BytesMut)) {
    let flags = kind.flags().unwrap_or(OPTIONAL | TRANSITIVE);
    let start = begin_attribute(kind, if partial { flags | PARTIAL } else { flags }, out);
    value(out);
    end_attribute(start, out);
}

impl AttributeSet {
    /// Appends the attributes as [`PathAttributes::encode`] does.
    pub(crate) fn write(
        &self,
        session: &SessionParameters,
        out: &mut BytesMut,
        next_hop: Option<std::net::Ipv4Addr>,
    ) {
        if !session.four_octet_as {
            return self.open().encode(session, out, next_hop);
        }
        let Some(address) = next_hop else { return out.put_slice(self.octets()) };
        let before = Items::new(self.octets()).take_while(|item| item.kind < Type::NEXT_HOP);
        let (before, after) = self.octets().split_at(before.map(|item| item.whole.len()).sum());
        out.put_slice(before);
        attribute(Type::NEXT_HOP, false, out, |out| out.put_slice(&address.octets()));
        out.put_slice(after);
    }
}

impl PathAttributes {
    /// Appends the attributes in ascending order of type (RFC 4271 §5), without next hop and MP
    /// attributes. `next_hop` writes NEXT_HOP at its place.
    pub(crate) fn encode(
        &self,
        session: &SessionParameters,
        out: &mut BytesMut,
        next_hop: Option<std::net::Ipv4Addr>,
    ) {
        let four_octet = session.four_octet_as;
        attribute(Type::ORIGIN, false, out, |out| out.put_u8(self.origin as u8));
        attribute(Type::AS_PATH, false, out, |out| self.as_path.encode(four_octet, out));
        if let Some(address) = next_hop {
            attribute(Type::NEXT_HOP, false, out, |out| out.put_slice(&address.octets()));
        }
        if let Some(med) = self.med {
            attribute(Type::MULTI_EXIT_DISC, false, out, |out| out.put_u32(med));
        }
        if let Some(local_pref) = self.local_pref {
            attribute(Type::LOCAL_PREF, false, out, |out| out.put_u32(local_pref));
        }
        if self.atomic_aggregate {
            attribute(Type::ATOMIC_AGGREGATE, false, out, |_| {});
        }
        if let Some(Aggregator { asn, address }) = self.aggregator {
            attribute(Type::AGGREGATOR, self.partial.aggregator, out, |out| {
                if four_octet {
                    out.put_u32(asn.to_u32());
                } else {
                    out.put_u16(asn.to_u16_or_trans());
                }
                out.put_slice(&address.octets());
            });
        }
        self.encode_communities(out);
        if !four_octet {
            self.encode_as4(out);
        }
        self.encode_later(out);
    }

    fn encode_communities(&self, out: &mut BytesMut) {
        if !self.communities.is_empty() {
            attribute(Type::COMMUNITIES, self.partial.communities, out, |out| {
                self.communities.iter().for_each(|community| out.put_u32(community.0));
            });
        }
        if let Some(originator) = self.originator_id {
            attribute(Type::ORIGINATOR_ID, false, out, |out| out.put_u32(originator.to_u32()));
        }
        if !self.cluster_list.is_empty() {
            attribute(Type::CLUSTER_LIST, false, out, |out| {
                self.cluster_list.iter().for_each(|cluster| out.put_slice(&cluster.octets()));
            });
        }
        if !self.extended_communities.is_empty() {
            let partial = self.partial.extended_communities;
            attribute(Type::EXTENDED_COMMUNITIES, partial, out, |out| {
                self.extended_communities.iter().for_each(|community| out.put_u64(community.0));
            });
        }
    }

    /// What a peer without four-octet AS numbers carries for those behind it (RFC 6793 §4.2.2).
    fn encode_as4(&self, out: &mut BytesMut) {
        if self.as_path.needs_four_octets() {
            attribute(Type::AS4_PATH, false, out, |out| {
                self.as_path.clone().without_confederation().encode(true, out);
            });
        }
        if let Some(Aggregator { asn, address }) = self.aggregator
            && asn.to_u32() > u32::from(u16::MAX)
        {
            attribute(Type::AS4_AGGREGATOR, false, out, |out| {
                out.put_u32(asn.to_u32());
                out.put_slice(&address.octets());
            });
        }
    }

    fn encode_later(&self, out: &mut BytesMut) {
        let below = |kind| self.unknown.partition_point(|one| one.kind < kind);
        let (before, rest) = self.unknown.split_at(below(Type::LARGE_COMMUNITY));
        let (between, after) = rest.split_at(below(Type::ONLY_TO_CUSTOMER) - before.len());
        let unknown = |some: &[super::UnknownAttribute], out: &mut BytesMut| {
            for one in some {
                attribute(one.kind, true, out, |out| out.put_slice(&one.value));
            }
        };
        unknown(before, out);
        if !self.large_communities.is_empty() {
            attribute(Type::LARGE_COMMUNITY, self.partial.large_communities, out, |out| {
                for community in &self.large_communities {
                    out.put_u32(community.global_administrator);
                    out.put_u32(community.local_data_1);
                    out.put_u32(community.local_data_2);
                }
            });
        }
        unknown(between, out);
        if let Some(asn) = self.only_to_customer {
            attribute(Type::ONLY_TO_CUSTOMER, self.partial.only_to_customer, out, |out| {
                out.put_u32(asn.to_u32());
            });
        }
        unknown(after, out);
    }
}
