//! Messages about nexthop objects: `struct nhmsg` and NHA_* of linux/nexthop.h.

use std::net::IpAddr;

use netlink_packet_core::{
    DecodeError, DefaultNla, Emitable, Nla, NlaBuffer, NlasIterator, Parseable,
};

pub(crate) const RTM_NEWNEXTHOP: u16 = 104;
pub(crate) const RTM_DELNEXTHOP: u16 = 105;
pub(crate) const RTM_GETNEXTHOP: u16 = 106;

const NHA_ID: u16 = 1;
const NHA_GROUP: u16 = 2;
const NHA_GROUP_TYPE: u16 = 3;
const NHA_BLACKHOLE: u16 = 4;
const NHA_OIF: u16 = 5;
const NHA_GATEWAY: u16 = 6;

const HEADER_LEN: usize = 8;
const MEMBER_LEN: usize = 8;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NexthopHeader {
    /// AF_INET or AF_INET6; AF_UNSPEC for a group and in requests by id.
    pub family: u8,
    pub scope: u8,
    /// RTPROT_*: who made it.
    pub protocol: u8,
    /// RTNH_F_*.
    pub flags: u32,
}

/// An entry of a group, `struct nexthop_grp`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NexthopMember {
    pub id: u32,
    /// The weight less one; 0 where all are equal.
    pub weight: u8,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NexthopAttribute {
    Id(u32),
    Group(Vec<NexthopMember>),
    /// 0: multipath by hash; 1: resilient.
    GroupType(u16),
    Blackhole,
    Interface(u32),
    Gateway(IpAddr),
    Other(DefaultNla),
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NexthopMessage {
    pub header: NexthopHeader,
    pub attributes: Vec<NexthopAttribute>,
}

impl Nla for NexthopAttribute {
    fn value_len(&self) -> usize {
        match self {
            Self::Id(_) | Self::Interface(_) => 4,
            Self::Group(members) => members.len() * MEMBER_LEN,
            Self::GroupType(_) => 2,
            Self::Blackhole => 0,
            Self::Gateway(IpAddr::V4(_)) => 4,
            Self::Gateway(IpAddr::V6(_)) => 16,
            Self::Other(other) => other.value_len(),
        }
    }

    fn kind(&self) -> u16 {
        match self {
            Self::Id(_) => NHA_ID,
            Self::Group(_) => NHA_GROUP,
            Self::GroupType(_) => NHA_GROUP_TYPE,
            Self::Blackhole => NHA_BLACKHOLE,
            Self::Interface(_) => NHA_OIF,
            Self::Gateway(_) => NHA_GATEWAY,
            Self::Other(other) => other.kind(),
        }
    }

    fn emit_value(&self, buffer: &mut [u8]) {
        match self {
            Self::Id(value) | Self::Interface(value) => {
                buffer.copy_from_slice(&value.to_ne_bytes());
            }
            Self::Group(members) => {
                for (member, bytes) in members.iter().zip(buffer.chunks_exact_mut(MEMBER_LEN)) {
                    bytes.fill(0);
                    bytes[..4].copy_from_slice(&member.id.to_ne_bytes());
                    bytes[4] = member.weight;
                }
            }
            Self::GroupType(value) => buffer.copy_from_slice(&value.to_ne_bytes()),
            Self::Blackhole => {}
            Self::Gateway(IpAddr::V4(address)) => buffer.copy_from_slice(&address.octets()),
            Self::Gateway(IpAddr::V6(address)) => buffer.copy_from_slice(&address.octets()),
            Self::Other(other) => other.emit_value(buffer),
        }
    }
}

impl<'a> Parseable<NlaBuffer<&'a [u8]>> for NexthopAttribute {
    fn parse(buffer: &NlaBuffer<&'a [u8]>) -> Result<Self, DecodeError> {
        let value = buffer.value();
        Ok(match buffer.kind() {
            NHA_ID => Self::Id(u32::from_ne_bytes(array(value)?)),
            NHA_GROUP => Self::Group(members(value)?),
            NHA_GROUP_TYPE => Self::GroupType(u16::from_ne_bytes(array(value)?)),
            NHA_BLACKHOLE => Self::Blackhole,
            NHA_OIF => Self::Interface(u32::from_ne_bytes(array(value)?)),
            NHA_GATEWAY if value.len() == 4 => Self::Gateway(array::<4>(value)?.into()),
            NHA_GATEWAY => Self::Gateway(array::<16>(value)?.into()),
            _ => Self::Other(DefaultNla::parse(buffer)?),
        })
    }
}

fn members(value: &[u8]) -> Result<Vec<NexthopMember>, DecodeError> {
    if !value.len().is_multiple_of(MEMBER_LEN) {
        return Err(format!("a group of {} octets is not of whole members", value.len()).into());
    }
    let member = |bytes: &[u8]| {
        Ok(NexthopMember { id: u32::from_ne_bytes(array(&bytes[..4])?), weight: bytes[4] })
    };
    value.chunks_exact(MEMBER_LEN).map(member).collect()
}

fn array<const N: usize>(value: &[u8]) -> Result<[u8; N], DecodeError> {
    value.try_into().map_err(|_e| format!("{} octets instead of {N}", value.len()).into())
}

impl Emitable for NexthopMessage {
    fn buffer_len(&self) -> usize {
        HEADER_LEN + self.attributes.as_slice().buffer_len()
    }

    fn emit(&self, buffer: &mut [u8]) {
        let NexthopHeader { family, scope, protocol, flags } = self.header;
        buffer[..4].copy_from_slice(&[family, scope, protocol, 0]);
        buffer[4..HEADER_LEN].copy_from_slice(&flags.to_ne_bytes());
        self.attributes.as_slice().emit(&mut buffer[HEADER_LEN..]);
    }
}

impl Parseable<[u8]> for NexthopMessage {
    fn parse(buffer: &[u8]) -> Result<Self, DecodeError> {
        let Some((header, rest)) = buffer.split_first_chunk::<HEADER_LEN>() else {
            return Err(DecodeError::buffer_too_small(buffer.len(), HEADER_LEN));
        };
        let [family, scope, protocol, _, flags @ ..] = *header;
        let header = NexthopHeader { family, scope, protocol, flags: u32::from_ne_bytes(flags) };
        let attributes = NlasIterator::new(rest)
            .map(|nla| NexthopAttribute::parse(&nla?))
            .collect::<Result<_, _>>()?;
        Ok(Self { header, attributes })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round_trip(message: &NexthopMessage) {
        let mut bytes = vec![0xff; message.buffer_len()];
        message.emit(&mut bytes);
        assert_eq!(NexthopMessage::parse(&bytes[..]).unwrap(), *message);
    }

    #[test]
    fn what_is_emitted_is_parsed() {
        let header = NexthopHeader { family: 10, scope: 0, protocol: 86, flags: 4 };
        round_trip(&NexthopMessage {
            header,
            attributes: vec![
                NexthopAttribute::Id(0x5644_0001),
                NexthopAttribute::Gateway("fe80::1".parse().unwrap()),
                NexthopAttribute::Interface(7),
                NexthopAttribute::Other(DefaultNla::new(99, vec![1, 2, 3])),
            ],
        });
        let members = vec![NexthopMember { id: 1, weight: 0 }, NexthopMember { id: 2, weight: 3 }];
        round_trip(&NexthopMessage {
            header: NexthopHeader::default(),
            attributes: vec![
                NexthopAttribute::Group(members),
                NexthopAttribute::GroupType(0),
                NexthopAttribute::Gateway("192.0.2.1".parse().unwrap()),
                NexthopAttribute::Blackhole,
            ],
        });
    }

    #[test]
    fn what_is_cut_short_is_an_error() {
        assert!(NexthopMessage::parse(&[0; 7][..]).is_err());
        // An id of two octets, a group of nine, a gateway of five.
        for (kind, len) in [(NHA_ID, 2_u16), (NHA_GROUP, 9), (NHA_GATEWAY, 5)] {
            let mut bytes = vec![0; HEADER_LEN];
            bytes.extend((len + 4).to_ne_bytes());
            bytes.extend(kind.to_ne_bytes());
            bytes.resize(HEADER_LEN + 4 + usize::from(len).next_multiple_of(4), 0);
            assert!(NexthopMessage::parse(&bytes[..]).is_err(), "{kind}");
        }
    }
}
