use std::{fmt, time::Duration};

use bytes::{BufMut, BytesMut};
use viaduct_net::{Asn, Family, RouterId};

use crate::{
    AfiSafi, Capability, Families, GracefulRestart, LongLivedFamily, MessageType, Notification,
    NotificationCode,
    framing::{begin_message, end_message},
    reader::Reader,
};

/// The only version there is.
const VERSION: u8 = 4;
/// RFC 5492 §4: the optional parameter that carries capabilities.
const CAPABILITIES: u8 = 2;
/// RFC 9072 §2: says that lengths of optional parameters have two octets.
const EXTENDED_LENGTH: u8 = 255;
/// What fits into an OPEN of 4096 octets beside everything else.
const MAX_CAPABILITIES_LEN: usize = 4000;

/// Seconds of silence after which a session is lost: zero (never) or at least three
/// (RFC 4271 §4.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HoldTime(u16);

impl HoldTime {
    /// No KEEPALIVE is sent and silence is never an error.
    pub const INFINITE: Self = Self(0);

    pub const fn from_secs(secs: u16) -> Option<Self> {
        if matches!(secs, 1 | 2) { None } else { Some(Self(secs)) }
    }

    pub const fn to_secs(self) -> u16 {
        self.0
    }

    /// `None` where silence is never an error.
    pub const fn duration(self) -> Option<Duration> {
        if self.0 == 0 { None } else { Some(Duration::from_secs(self.0 as u64)) }
    }

    /// What a session uses: the smaller of both sides' (RFC 4271 §4.2).
    pub fn negotiate(self, other: Self) -> Self {
        self.min(other)
    }
}

impl fmt::Display for HoldTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}s", self.0)
    }
}

/// RFC 4271 §4.2.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Open {
    /// The sender's AS: that of its four-octet capability, else that of the two-octet field. To
    /// announce a number above 65535 put [`Capability::FourOctetAs`] among the capabilities.
    pub asn: Asn,
    pub hold_time: HoldTime,
    pub router_id: RouterId,
    /// In the order they were sent. Repeats are kept as they came.
    pub capabilities: Vec<Capability>,
}

impl Open {
    /// The families the sender speaks. Without any multiprotocol capability that is IPv4 unicast
    /// (RFC 4760 §8 is about being allowed more).
    pub fn families(&self) -> Families {
        let mut announced = self.multiprotocol().peekable();
        if announced.peek().is_none() {
            return [Family::V4].into_iter().collect();
        }
        announced.filter_map(|afi_safi| afi_safi.family()).collect()
    }

    fn multiprotocol(&self) -> impl Iterator<Item = AfiSafi> {
        self.capabilities.iter().filter_map(|capability| match capability {
            Capability::Multiprotocol(family) => Some(*family),
            _ => None,
        })
    }

    /// Of several the last one counts (RFC 4724 §3).
    pub fn graceful_restart(&self) -> Option<&GracefulRestart> {
        self.capabilities.iter().rev().find_map(|capability| match capability {
            Capability::GracefulRestart(restart) => Some(restart),
            _ => None,
        })
    }

    /// What the sender wants to be kept of it for long. Of several the last one counts; without graceful
    /// restart it counts for nothing (RFC 9494 §4.1).
    pub fn long_lived(&self) -> Option<&[LongLivedFamily]> {
        self.graceful_restart()?;
        self.capabilities.iter().rev().find_map(|capability| match capability {
            Capability::LongLived(families) => Some(&families[..]),
            _ => None,
        })
    }

    pub fn has_four_octet_as(&self) -> bool {
        four_octet_as(&self.capabilities).is_some()
    }

    pub fn has_extended_message(&self) -> bool {
        self.capabilities.contains(&Capability::ExtendedMessage)
    }

    pub fn has_route_refresh(&self) -> bool {
        self.capabilities.contains(&Capability::RouteRefresh)
    }

    pub fn has_enhanced_route_refresh(&self) -> bool {
        self.capabilities.contains(&Capability::EnhancedRouteRefresh)
    }

    /// The families of which the sender takes and sends several paths for a prefix, in this order. Of
    /// several entries for a family the first counts.
    pub(crate) fn add_path(&self) -> (Families, Families) {
        let entries = self.capabilities.iter().filter_map(|capability| match capability {
            Capability::AddPath(families) => Some(families),
            _ => None,
        });
        let (mut seen, mut receive, mut send) = (Families::NONE, Families::NONE, Families::NONE);
        for entry in entries.flatten() {
            let Some(family) = entry.family.family().filter(|family| !seen.contains(*family))
            else {
                continue;
            };
            seen.insert(family);
            if entry.receive {
                receive.insert(family);
            }
            if entry.send {
                send.insert(family);
            }
        }
        (receive, send)
    }

    /// Whether the sender takes IPv6 next hops for IPv4 prefixes (RFC 8950 §4).
    pub fn has_extended_next_hop(&self) -> bool {
        let wanted = (AfiSafi::IPV4_UNICAST, AfiSafi::IPV6_UNICAST.afi);
        self.capabilities.iter().any(|capability| match capability {
            Capability::ExtendedNextHop(families) => families.contains(&wanted),
            _ => false,
        })
    }

    /// Appends the whole message. Capabilities beyond 4000 octets are left out.
    pub fn encode(&self, out: &mut BytesMut) {
        let start = begin_message(out, MessageType::Open);
        out.put_u8(VERSION);
        out.put_u16(self.asn.to_u16_or_trans());
        out.put_u16(self.hold_time.to_secs());
        out.put_u32(self.router_id.to_u32());

        let mut capabilities = BytesMut::new();
        for capability in &self.capabilities {
            let before = capabilities.len();
            capability.encode(&mut capabilities);
            if capabilities.len() > MAX_CAPABILITIES_LEN {
                capabilities.truncate(before);
                break;
            }
        }
        let len = capabilities.len();
        match len {
            0 => out.put_u8(0),
            1..=252 => {
                out.put_u8(len as u8 + 2);
                out.put_u8(CAPABILITIES);
                out.put_u8(len as u8);
            }
            // RFC 9072 §2: needed once the parameters, with their own two octets of type and
            // length, reach 255.
            _ => {
                out.put_u8(EXTENDED_LENGTH);
                out.put_u8(EXTENDED_LENGTH);
                out.put_u16(len as u16 + 3);
                out.put_u8(CAPABILITIES);
                out.put_u16(len as u16);
            }
        }
        out.put_slice(&capabilities);
        end_message(out, start);
    }

    /// Reads what follows the header. Whether AS and identifier are those we expect is the
    /// caller's to say; that they can be any at all is said here.
    pub(crate) fn decode(body: &[u8]) -> Result<Self, Notification> {
        let short = || Notification::new(NotificationCode::OpenMessageError);
        let mut reader = Reader::new(body);
        let version = reader.u8().ok_or_else(short)?;
        if version != VERSION {
            let ours = u16::from(VERSION).to_be_bytes();
            return Err(Notification::with_data(NotificationCode::UnsupportedVersionNumber, &ours));
        }
        let field_asn = Asn::new(reader.u16().ok_or_else(short)?.into());
        let hold_time = reader.u16().ok_or_else(short)?;
        let router_id = reader.u32().ok_or_else(short)?;
        let capabilities = decode_parameters(&mut reader)?;

        let hold_time = HoldTime::from_secs(hold_time)
            .ok_or_else(|| Notification::new(NotificationCode::UnacceptableHoldTime))?;
        let router_id = RouterId::from_u32(router_id)
            .ok_or_else(|| Notification::new(NotificationCode::BadBgpIdentifier))?;
        let asn = four_octet_as(&capabilities).unwrap_or(field_asn);
        // RFC 7607 §2: zero is nobody's, in either place.
        if asn.is_zero() || field_asn.is_zero() {
            return Err(Notification::new(NotificationCode::BadPeerAs));
        }
        Ok(Self { asn, hold_time, router_id, capabilities })
    }
}

fn four_octet_as(capabilities: &[Capability]) -> Option<Asn> {
    capabilities.iter().find_map(|capability| match capability {
        Capability::FourOctetAs(asn) => Some(*asn),
        _ => None,
    })
}

fn decode_parameters(reader: &mut Reader<'_>) -> Result<Vec<Capability>, Notification> {
    let malformed = || Notification::new(NotificationCode::OpenMessageError);
    let mut len = usize::from(reader.u8().ok_or_else(malformed)?);
    let mut extended = false;
    // RFC 9072 §2: the type octet decides; the first length only must not be zero.
    if len != 0 && reader.rest().first() == Some(&EXTENDED_LENGTH) {
        let _type = reader.u8();
        len = reader.u16().ok_or_else(malformed)?.into();
        extended = true;
    }
    if reader.rest().len() != len {
        return Err(malformed());
    }
    let mut capabilities = Vec::new();
    while !reader.is_empty() {
        let kind = reader.u8().ok_or_else(malformed)?;
        let len = if extended { reader.u16() } else { reader.u8().map(u16::from) };
        let value = reader.take(len.ok_or_else(malformed)?.into()).ok_or_else(malformed)?;
        if kind != CAPABILITIES {
            return Err(Notification::new(NotificationCode::UnsupportedOptionalParameter));
        }
        Capability::decode_all(value, &mut capabilities)?;
    }
    Ok(capabilities)
}
