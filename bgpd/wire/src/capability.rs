use bytes::{BufMut, Bytes, BytesMut};
use viaduct_net::{Asn, Family};

use crate::{Notification, NotificationCode, reader::Reader};

/// Address family and subsequent address family as numbered by IANA (RFC 4760 §3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AfiSafi {
    pub afi: u16,
    pub safi: u8,
}

impl AfiSafi {
    pub const IPV4_UNICAST: Self = Self { afi: 1, safi: 1 };
    pub const IPV6_UNICAST: Self = Self { afi: 2, safi: 1 };

    /// The family we know this as; `None` for one we do not speak.
    pub const fn family(self) -> Option<Family> {
        match self {
            Self::IPV4_UNICAST => Some(Family::V4),
            Self::IPV6_UNICAST => Some(Family::V6),
            _ => None,
        }
    }
}

impl From<Family> for AfiSafi {
    fn from(family: Family) -> Self {
        match family {
            Family::V4 => Self::IPV4_UNICAST,
            Family::V6 => Self::IPV6_UNICAST,
        }
    }
}

/// RFC 4724 §3, with the notification bit of RFC 8538 §2.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GracefulRestart {
    /// R: the sender has restarted and waits for End-of-RIB.
    pub restart_state: bool,
    /// N: routes are also kept over a NOTIFICATION and an expired hold timer.
    pub notification: bool,
    /// How long the sender may be away, at most 4095 (twelve bits).
    pub restart_time_secs: u16,
    pub families: Vec<GracefulRestartFamily>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GracefulRestartFamily {
    pub family: AfiSafi,
    /// F: the sender has kept its forwarding state for this family over its restart.
    pub forwarding: bool,
}

impl GracefulRestart {
    pub const MAX_RESTART_TIME_SECS: u16 = 0x0fff;

    /// What is said of a family; `None` where its routes are not kept.
    pub fn family(&self, family: Family) -> Option<GracefulRestartFamily> {
        let wanted = AfiSafi::from(family);
        self.families.iter().copied().find(|entry| entry.family == wanted)
    }
}

/// What an ADD-PATH capability says of a family (RFC 7911 §4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AddPathFamily {
    pub family: AfiSafi,
    /// The sender can receive several paths for a prefix.
    pub receive: bool,
    /// The sender would send them.
    pub send: bool,
}

/// What a long-lived graceful restart capability says of a family (RFC 9494 §3.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LongLivedFamily {
    pub family: AfiSafi,
    /// F: the sender has kept its forwarding state for this family.
    pub forwarding: bool,
    /// How long the sender's routes are to be kept after the restart time, at most 2^24 - 1.
    pub stale_time_secs: u32,
}

impl LongLivedFamily {
    pub const MAX_STALE_TIME_SECS: u32 = 0x00ff_ffff;
}

/// RFC 5492; unknown ones survive a round trip.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Capability {
    /// RFC 4760 §8.
    Multiprotocol(AfiSafi),
    /// RFC 2918 §2.
    RouteRefresh,
    /// RFC 8654 §3.
    ExtendedMessage,
    GracefulRestart(GracefulRestart),
    /// RFC 9234 §4.1: the sender's [`Role`](crate::Role), or a number that is none.
    Role(u8),
    /// RFC 6793 §3: the sender's real AS number.
    FourOctetAs(Asn),
    /// RFC 7313 §3.1.
    EnhancedRouteRefresh,
    /// RFC 9494 §3.1.
    LongLived(Vec<LongLivedFamily>),
    /// RFC 7911 §4.
    AddPath(Vec<AddPathFamily>),
    /// RFC 8950 §4: families whose prefixes may have next hops of another one, by its AFI.
    ExtendedNextHop(Vec<(AfiSafi, u16)>),
    Unknown {
        code: u8,
        value: Bytes,
    },
}

impl Capability {
    const MULTIPROTOCOL: u8 = 1;
    const ROUTE_REFRESH: u8 = 2;
    const EXTENDED_NEXT_HOP: u8 = 5;
    const EXTENDED_MESSAGE: u8 = 6;
    const ROLE: u8 = 9;
    const GRACEFUL_RESTART: u8 = 64;
    const FOUR_OCTET_AS: u8 = 65;
    const ADD_PATH: u8 = 69;
    const LONG_LIVED: u8 = 71;
    const ENHANCED_ROUTE_REFRESH: u8 = 70;

    pub const fn code(&self) -> u8 {
        match self {
            Self::Multiprotocol(_) => Self::MULTIPROTOCOL,
            Self::RouteRefresh => Self::ROUTE_REFRESH,
            Self::ExtendedMessage => Self::EXTENDED_MESSAGE,
            Self::Role(_) => Self::ROLE,
            Self::GracefulRestart(_) => Self::GRACEFUL_RESTART,
            Self::FourOctetAs(_) => Self::FOUR_OCTET_AS,
            Self::EnhancedRouteRefresh => Self::ENHANCED_ROUTE_REFRESH,
            Self::LongLived(_) => Self::LONG_LIVED,
            Self::AddPath(_) => Self::ADD_PATH,
            Self::ExtendedNextHop(_) => Self::EXTENDED_NEXT_HOP,
            Self::Unknown { code, .. } => *code,
        }
    }

    /// Appends code, length and value. A value is at most 255 octets: more families or unknown
    /// octets than that are cut off.
    pub(crate) fn encode(&self, out: &mut BytesMut) {
        out.put_u8(self.code());
        let length_at = out.len();
        out.put_u8(0);
        match self {
            Self::Multiprotocol(AfiSafi { afi, safi }) => {
                out.put_u16(*afi);
                out.put_u8(0);
                out.put_u8(*safi);
            }
            Self::RouteRefresh | Self::ExtendedMessage | Self::EnhancedRouteRefresh => {}
            Self::Role(role) => out.put_u8(*role),
            Self::GracefulRestart(restart) => encode_graceful_restart(restart, out),
            Self::FourOctetAs(asn) => out.put_u32(asn.to_u32()),
            Self::LongLived(families) => {
                for entry in families.iter().take(MAX_VALUE_LEN / 7) {
                    out.put_u16(entry.family.afi);
                    out.put_u8(entry.family.safi);
                    out.put_u8(if entry.forwarding { FORWARDING } else { 0 });
                    let time = entry.stale_time_secs.min(LongLivedFamily::MAX_STALE_TIME_SECS);
                    out.put_uint(time.into(), 3);
                }
            }
            Self::AddPath(families) => encode_add_path(families, out),
            Self::ExtendedNextHop(families) => {
                for (family, next_hop) in families.iter().take(MAX_VALUE_LEN / 6) {
                    out.put_u16(family.afi);
                    out.put_u16(family.safi.into());
                    out.put_u16(*next_hop);
                }
            }
            Self::Unknown { value, .. } => out.put_slice(&value[..value.len().min(MAX_VALUE_LEN)]),
        }
        out[length_at] = (out.len() - length_at - 1) as u8;
    }

    /// Reads a list of capabilities to its end. A known one of wrong length, or one that runs over
    /// the end, is an OPEN error without a subcode of its own.
    pub(crate) fn decode_all(octets: &[u8], into: &mut Vec<Self>) -> Result<(), Notification> {
        let mut reader = Reader::new(octets);
        while !reader.is_empty() {
            let whole = reader.rest();
            let capability = Self::decode(&mut reader).ok_or_else(|| {
                Notification::with_data(NotificationCode::OpenMessageError, whole)
            })?;
            into.push(capability);
        }
        Ok(())
    }

    fn decode(reader: &mut Reader<'_>) -> Option<Self> {
        let code = reader.u8()?;
        let len = reader.u8()?;
        let value = reader.take(len.into())?;
        let mut inside = Reader::new(value);
        let capability = match code {
            Self::MULTIPROTOCOL => {
                let afi = inside.u16()?;
                let _reserved = inside.u8()?;
                Self::Multiprotocol(AfiSafi { afi, safi: inside.u8()? })
            }
            Self::ROUTE_REFRESH => Self::RouteRefresh,
            Self::EXTENDED_MESSAGE => Self::ExtendedMessage,
            Self::ROLE => Self::Role(inside.u8()?),
            Self::GRACEFUL_RESTART => Self::GracefulRestart(decode_graceful_restart(&mut inside)?),
            Self::FOUR_OCTET_AS => Self::FourOctetAs(Asn::new(inside.u32()?)),
            Self::ENHANCED_ROUTE_REFRESH => Self::EnhancedRouteRefresh,
            Self::LONG_LIVED => Self::LongLived(decode_long_lived(&mut inside)?),
            Self::ADD_PATH => match decode_add_path(&mut inside)? {
                Some(families) => Self::AddPath(families),
                None => return Some(Self::Unknown { code, value: Bytes::copy_from_slice(value) }),
            },
            Self::EXTENDED_NEXT_HOP => {
                Self::ExtendedNextHop(decode_extended_next_hop(&mut inside)?)
            }
            _ => return Some(Self::Unknown { code, value: Bytes::copy_from_slice(value) }),
        };
        inside.is_empty().then_some(capability)
    }
}

/// Octets of a value.
const MAX_VALUE_LEN: usize = 255;
const RECEIVE: u8 = 1;
const SEND: u8 = 2;

fn encode_add_path(families: &[AddPathFamily], out: &mut BytesMut) {
    for entry in families.iter().take(MAX_VALUE_LEN / 4) {
        out.put_u16(entry.family.afi);
        out.put_u8(entry.family.safi);
        let receive = if entry.receive { RECEIVE } else { 0 };
        let send = if entry.send { SEND } else { 0 };
        out.put_u8(receive | send);
    }
}

/// `Some(None)` where it says something that RFC 7911 §4 does not know: then it is to be taken for a
/// capability that is not understood.
fn decode_add_path(reader: &mut Reader<'_>) -> Option<Option<Vec<AddPathFamily>>> {
    let mut families = Vec::new();
    let mut understood = true;
    while !reader.is_empty() {
        let family = AfiSafi { afi: reader.u16()?, safi: reader.u8()? };
        let way = reader.u8()?;
        understood &= (RECEIVE..=RECEIVE | SEND).contains(&way);
        let (receive, send) = (way & RECEIVE != 0, way & SEND != 0);
        families.push(AddPathFamily { family, receive, send });
    }
    Some(understood.then_some(families))
}

fn decode_long_lived(reader: &mut Reader<'_>) -> Option<Vec<LongLivedFamily>> {
    let mut families = Vec::new();
    while !reader.is_empty() {
        let family = AfiSafi { afi: reader.u16()?, safi: reader.u8()? };
        let forwarding = reader.u8()? & FORWARDING != 0;
        let stale_time_secs = u32::from(reader.u8()?) << 16 | u32::from(reader.u16()?);
        families.push(LongLivedFamily { family, forwarding, stale_time_secs });
    }
    Some(families)
}

fn decode_extended_next_hop(reader: &mut Reader<'_>) -> Option<Vec<(AfiSafi, u16)>> {
    let mut families = Vec::new();
    while !reader.is_empty() {
        let (afi, safi, next_hop) = (reader.u16()?, reader.u16()?, reader.u16()?);
        // Two octets for what has one everywhere else; what does not fit is no family we know.
        if let Ok(safi) = u8::try_from(safi) {
            families.push((AfiSafi { afi, safi }, next_hop));
        }
    }
    Some(families)
}

const RESTART_STATE: u16 = 0x8000;
const NOTIFICATION: u16 = 0x4000;
const FORWARDING: u8 = 0x80;
/// As many families as fit into the 255 octets of a value.
const MAX_RESTART_FAMILIES: usize = (MAX_VALUE_LEN - 2) / 4;

fn encode_graceful_restart(restart: &GracefulRestart, out: &mut BytesMut) {
    let mut head = restart.restart_time_secs.min(GracefulRestart::MAX_RESTART_TIME_SECS);
    if restart.restart_state {
        head |= RESTART_STATE;
    }
    if restart.notification {
        head |= NOTIFICATION;
    }
    out.put_u16(head);
    for entry in restart.families.iter().take(MAX_RESTART_FAMILIES) {
        out.put_u16(entry.family.afi);
        out.put_u8(entry.family.safi);
        out.put_u8(if entry.forwarding { FORWARDING } else { 0 });
    }
}

fn decode_graceful_restart(reader: &mut Reader<'_>) -> Option<GracefulRestart> {
    let head = reader.u16()?;
    let mut families = Vec::new();
    while !reader.is_empty() {
        let family = AfiSafi { afi: reader.u16()?, safi: reader.u8()? };
        let forwarding = reader.u8()? & FORWARDING != 0;
        families.push(GracefulRestartFamily { family, forwarding });
    }
    Some(GracefulRestart {
        restart_state: head & RESTART_STATE != 0,
        notification: head & NOTIFICATION != 0,
        restart_time_secs: head & GracefulRestart::MAX_RESTART_TIME_SECS,
        families,
    })
}
