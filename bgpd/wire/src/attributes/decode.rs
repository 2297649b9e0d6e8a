use std::net::{Ipv4Addr, Ipv6Addr};

use viaduct_net::{Asn, Family, RouterId};

use super::{
    Aggregator, AttributeError, AttributeFault as Fault, AttributeType as Type,
    Consequence::{self, AttributeDiscard, SessionReset, TreatAsWithdraw},
    Origin, PathAttributes, UnknownAttribute,
    types::{EXTENDED_LENGTH, OPTIONAL, PARTIAL, TRANSITIVE},
};
use crate::{
    AfiSafi, AsPath, AsPathError, BgpNextHop, Community, ExtendedCommunity, LargeCommunity, Nlri,
    Notification, PeerKind, SessionParameters, nlri, reader::Reader,
};

/// What MP_REACH_NLRI says (RFC 4760 §3), for a family that was agreed on.
#[derive(Debug)]
pub(crate) struct MpReach {
    /// `None` for an address that can be no next hop.
    pub(crate) next_hop: Option<BgpNextHop>,
    pub(crate) prefixes: Vec<Nlri>,
}

/// What MP_UNREACH_NLRI says (RFC 4760 §4), for a family that was agreed on.
#[derive(Debug)]
pub(crate) struct MpUnreach {
    pub(crate) family: Family,
    pub(crate) prefixes: Vec<Nlri>,
}

/// The attributes of one UPDATE, read as far as they can be.
#[derive(Debug, Default)]
pub(crate) struct Attributes {
    pub(crate) path: PathAttributes,
    pub(crate) next_hop: Option<Ipv4Addr>,
    pub(crate) mp_reach: Option<MpReach>,
    pub(crate) mp_unreach: Option<MpUnreach>,
    pub(crate) malformed: Vec<AttributeError>,
    /// How many attributes there were, the malformed ones too.
    pub(crate) count: usize,
    as4_path: Option<AsPath>,
    as4_aggregator: Option<Aggregator>,
    seen: Seen,
}

/// The types that have stood in an UPDATE, a bit for each.
#[derive(Debug, Default)]
struct Seen([u64; 4]);

impl Seen {
    const fn contains(&self, kind: Type) -> bool {
        self.0[kind.0 as usize / 64] & 1 << (kind.0 % 64) != 0
    }

    const fn insert(&mut self, kind: Type) {
        self.0[kind.0 as usize / 64] |= 1 << (kind.0 % 64);
    }
}

/// A fault with its consequence, while the type is known from where we are.
pub(super) type Read<T> = Result<T, (Fault, Consequence)>;

impl Attributes {
    /// Reads the attributes of an UPDATE, `field` being what the total length counts.
    pub(crate) fn decode(field: &[u8], session: &SessionParameters) -> Result<Self, Notification> {
        let mut all = Self::default();
        let mut reader = Reader::new(field);
        while !reader.is_empty() {
            let whole = reader.rest();
            let Some((flags, kind, value)) = split_attribute(&mut reader) else {
                // RFC 7606 §4: the field's own length still says where the NLRI begins. The first
                // attribute is MP_REACH_NLRI if there is one (§5.1), so its prefixes are known.
                let kind = Type(whole.get(1).copied().unwrap_or_default());
                all.fault(kind, Fault::Overrun, TreatAsWithdraw);
                break;
            };
            all.count += 1;
            let whole = &whole[..whole.len() - reader.rest().len()];
            if let Err((fault, consequence)) = all.read(kind, flags, value, session) {
                let error = AttributeError { kind, fault, consequence };
                if consequence == SessionReset {
                    return Err(error.notification(whole));
                }
                all.malformed.push(error);
            }
        }
        all.merge_as4();
        all.path.unknown.sort_unstable_by_key(|unknown| unknown.kind);
        Ok(all)
    }

    pub(crate) fn fault(&mut self, kind: Type, fault: Fault, consequence: Consequence) {
        self.malformed.push(AttributeError { kind, fault, consequence });
    }

    /// Notes the absence of attributes that every announcement needs (RFC 7606 §3 d);
    /// NEXT_HOP only where there is NLRI outside MP_REACH_NLRI.
    pub(crate) fn require_mandatory(&mut self, has_classic_nlri: bool) {
        let mandatory: &[Type] = if has_classic_nlri {
            &[Type::ORIGIN, Type::AS_PATH, Type::NEXT_HOP]
        } else {
            &[Type::ORIGIN, Type::AS_PATH]
        };
        for &kind in mandatory {
            if !self.seen.contains(kind) {
                self.fault(kind, Fault::Missing, TreatAsWithdraw);
            }
        }
    }

    /// Whether MP_REACH_NLRI announces anything; of a family that was not agreed on it may.
    pub(crate) fn has_mp_reach_nlri(&self) -> bool {
        match &self.mp_reach {
            Some(reach) => !reach.prefixes.is_empty(),
            None => self.seen.contains(Type::MP_REACH_NLRI),
        }
    }

    fn read(
        &mut self,
        kind: Type,
        flags: u8,
        value: &[u8],
        session: &SessionParameters,
    ) -> Read<()> {
        if self.seen.contains(kind) {
            // RFC 7606 §3 g: of two MP attributes neither can be trusted, of others the first is
            // taken.
            let severe = matches!(kind, Type::MP_REACH_NLRI | Type::MP_UNREACH_NLRI);
            let consequence = if severe { SessionReset } else { AttributeDiscard };
            return Err((Fault::Duplicate, consequence));
        }
        self.seen.insert(kind);
        let Some(expected) = kind.flags() else {
            return self.read_unknown(kind, flags, value);
        };
        let partial = flags & PARTIAL != 0;
        let read = self.read_known(kind, partial, value, session);
        // RFC 7606 §3 c. The value is read all the same: the prefixes inside the MP attributes
        // are those to withdraw, and a worse fault rules (§3 h).
        if flags & (OPTIONAL | TRANSITIVE) != expected
            && !matches!(read, Err((_, TreatAsWithdraw | SessionReset)))
        {
            return Err((Fault::Flags(flags), TreatAsWithdraw));
        }
        read
    }

    fn read_unknown(&mut self, kind: Type, flags: u8, value: &[u8]) -> Read<()> {
        if flags & OPTIONAL == 0 {
            return Err((Fault::Unrecognized, SessionReset));
        }
        // RFC 4271 §9: an unrecognized non-transitive attribute is quietly ignored.
        if flags & TRANSITIVE != 0 {
            self.path.unknown.push(UnknownAttribute { kind, value: value.into() });
        }
        Ok(())
    }

    /// RFC 7606 §7, in its order.
    fn read_known(
        &mut self,
        kind: Type,
        partial: bool,
        value: &[u8],
        session: &SessionParameters,
    ) -> Read<()> {
        let internal_only = || match session.peer_kind {
            PeerKind::Internal => Ok(()),
            PeerKind::Confederation | PeerKind::External => {
                Err((Fault::FromExternalPeer, AttributeDiscard))
            }
        };
        let path = &mut self.path;
        match kind {
            Type::ORIGIN => path.origin = origin(value)?,
            Type::AS_PATH => path.as_path = as_path(value, session)?,
            Type::NEXT_HOP => self.next_hop = Some(next_hop_v4(value)?),
            Type::MULTI_EXIT_DISC => path.med = Some(u32::from_be_bytes(exact(value)?)),
            Type::LOCAL_PREF => {
                // RFC 5065 §4: it passes through the whole confederation.
                if session.peer_kind == PeerKind::External {
                    internal_only()?;
                }
                path.local_pref = Some(u32::from_be_bytes(exact(value)?));
            }
            Type::ATOMIC_AGGREGATE => {
                if !value.is_empty() {
                    return Err((Fault::Length(value.len()), AttributeDiscard));
                }
                path.atomic_aggregate = true;
            }
            Type::AGGREGATOR => {
                path.aggregator = Some(aggregator(value, session.four_octet_as)?);
                path.partial.aggregator = partial;
            }
            Type::COMMUNITIES => {
                path.communities = list(value, Community::from_octets)?;
                path.partial.communities = partial;
            }
            Type::ORIGINATOR_ID => {
                internal_only()?;
                path.originator_id = RouterId::from_u32(u32::from_be_bytes(exact(value)?));
            }
            Type::CLUSTER_LIST => {
                internal_only()?;
                path.cluster_list = list::<4, _>(value, Ipv4Addr::from)?;
            }
            Type::MP_REACH_NLRI => {
                let reach = self.mp_reach.insert(mp_reach(value, session)?);
                if reach.next_hop.is_none() {
                    return Err((Fault::NextHop, TreatAsWithdraw));
                }
            }
            Type::MP_UNREACH_NLRI => self.mp_unreach = Some(mp_unreach(value, session)?),
            Type::EXTENDED_COMMUNITIES => {
                path.extended_communities = list(value, ExtendedCommunity::from_octets)?;
                path.partial.extended_communities = partial;
            }
            Type::LARGE_COMMUNITY => {
                path.large_communities = list(value, LargeCommunity::from_octets)?;
                path.partial.large_communities = partial;
            }
            Type::ONLY_TO_CUSTOMER => {
                path.only_to_customer = Some(Asn::new(u32::from_be_bytes(exact(value)?)));
                path.partial.only_to_customer = partial;
            }
            // RFC 6793 §4.1: a peer that speaks four octets must send neither.
            Type::AS4_PATH | Type::AS4_AGGREGATOR if session.four_octet_as => {
                return Err((Fault::FromFourOctetPeer, AttributeDiscard));
            }
            Type::AS4_PATH => self.as4_path = Some(as4_path(value)?),
            Type::AS4_AGGREGATOR => self.as4_aggregator = Some(aggregator(value, true)?),
            _ => {}
        }
        Ok(())
    }

    /// RFC 6793 §4.2.3.
    fn merge_as4(&mut self) {
        let as4_path = self.as4_path.take();
        let as4_aggregator = self.as4_aggregator.take();
        match (self.path.aggregator, as4_aggregator) {
            // Somebody who does not know of AS4_AGGREGATOR has aggregated after it was written:
            // AS4_PATH is as old as that.
            (Some(aggregator), Some(_)) if aggregator.asn != Asn::TRANS => return,
            (Some(_), Some(as4)) => self.path.aggregator = Some(as4),
            _ => {}
        }
        if let Some(as4_path) = as4_path {
            self.path.as_path = std::mem::take(&mut self.path.as_path).merged_with_as4(as4_path);
        }
    }
}

/// Flags, type and value of the next attribute; `None` where it runs over the end.
fn split_attribute<'a>(reader: &mut Reader<'a>) -> Option<(u8, Type, &'a [u8])> {
    let flags = reader.u8()?;
    let kind = Type(reader.u8()?);
    let len = if flags & EXTENDED_LENGTH != 0 { reader.u16()? } else { reader.u8()?.into() };
    Some((flags, kind, reader.take(len.into())?))
}

fn exact<const N: usize>(value: &[u8]) -> Read<[u8; N]> {
    value.try_into().or(Err((Fault::Length(value.len()), TreatAsWithdraw)))
}

/// Entries of `N` octets each, at least one.
fn list<const N: usize, T>(value: &[u8], entry: impl Fn([u8; N]) -> T) -> Read<Vec<T>> {
    let (entries, rest) = value.as_chunks::<N>();
    if entries.is_empty() || !rest.is_empty() {
        return Err((Fault::Length(value.len()), TreatAsWithdraw));
    }
    Ok(entries.iter().copied().map(entry).collect())
}

fn origin(value: &[u8]) -> Read<Origin> {
    match exact(value)? {
        [0] => Ok(Origin::Igp),
        [1] => Ok(Origin::Egp),
        [2] => Ok(Origin::Incomplete),
        [other] => Err((Fault::Value(other), TreatAsWithdraw)),
    }
}

fn as_path(value: &[u8], session: &SessionParameters) -> Read<AsPath> {
    let withdraw = |error: AsPathError| (Fault::from(error), TreatAsWithdraw);
    let path = AsPath::decode(value, session.four_octet_as).map_err(withdraw)?;
    // RFC 5065 §5: we are in no confederation with an external peer.
    if session.peer_kind == PeerKind::External && path.has_confederation() {
        return Err(withdraw(AsPathError::Confederation));
    }
    Ok(path)
}

/// RFC 6793 §6: a malformed one is discarded; confederation segments inside it are dropped.
fn as4_path(value: &[u8]) -> Read<AsPath> {
    let discard = |error: AsPathError| (Fault::from(error), AttributeDiscard);
    AsPath::decode(value, true).map(AsPath::without_confederation).map_err(discard)
}

fn aggregator(value: &[u8], four_octet: bool) -> Read<Aggregator> {
    let mut reader = Reader::new(value);
    let asn = if four_octet { reader.u32() } else { reader.u16().map(u32::from) };
    match (asn, reader.array::<4>(), reader.is_empty()) {
        // RFC 7607 §2.
        (Some(0), Some(_), true) => Err((Fault::AsZero, AttributeDiscard)),
        (Some(asn), Some(address), true) => {
            Ok(Aggregator { asn: Asn::new(asn), address: address.into() })
        }
        _ => Err((Fault::Length(value.len()), AttributeDiscard)),
    }
}

/// RFC 4271 §6.3: one that can be no host's address is ignored with its routes.
pub(super) fn next_hop_v4(value: &[u8]) -> Read<Ipv4Addr> {
    let address = Ipv4Addr::from(exact::<4>(value)?);
    let impossible = address.is_unspecified()
        || address.is_multicast()
        || address.is_broadcast()
        || address.is_loopback();
    if impossible { Err((Fault::NextHop, TreatAsWithdraw)) } else { Ok(address) }
}

fn mp_family(reader: &mut Reader<'_>, len: usize) -> Read<AfiSafi> {
    let short = (Fault::Length(len), SessionReset);
    let afi = reader.u16().ok_or(short)?;
    let safi = reader.u8().ok_or(short)?;
    Ok(AfiSafi { afi, safi })
}

/// A family that was not agreed on is passed over: nothing of it can be in our tables.
fn agreed(family: AfiSafi, session: &SessionParameters) -> Read<Family> {
    let family = family.family().filter(|family| session.families.contains(*family));
    family.ok_or((Fault::Family, AttributeDiscard))
}

pub(super) fn mp_reach(value: &[u8], session: &SessionParameters) -> Read<MpReach> {
    let short = (Fault::Length(value.len()), SessionReset);
    let mut reader = Reader::new(value);
    let family = agreed(mp_family(&mut reader, value.len())?, session)?;
    let next_hop_len = reader.u8().ok_or(short)?;
    let octets = reader.take(next_hop_len.into()).ok_or(short)?;
    let _reserved = reader.u8().ok_or(short)?;
    let next_hop = mp_next_hop(family, octets, session)?;
    let ids = session.add_path_receive.contains(family);
    let prefixes = nlri::decode(reader.rest(), family, ids)
        .map_err(|error| (Fault::from(error), SessionReset))?;
    Ok(MpReach { next_hop, prefixes })
}

/// `None` for an address that can be no next hop; a length that is none of the family's leaves
/// everything behind it in doubt (RFC 7606 §7.11).
fn mp_next_hop(
    family: Family,
    octets: &[u8],
    session: &SessionParameters,
) -> Read<Option<BgpNextHop>> {
    let wrong = (Fault::NextHopLength(octets.len() as u8), SessionReset);
    match family {
        // RFC 8950 §4: the length tells which family the next hop of an IPv4 prefix is of.
        Family::V4 if octets.len() == 4 || !session.extended_next_hop => {
            let octets: [u8; 4] = octets.try_into().or(Err(wrong))?;
            Ok(next_hop_v4(&octets).ok().map(BgpNextHop::V4))
        }
        Family::V4 | Family::V6 => {
            let (addresses, rest) = octets.as_chunks::<16>();
            let (first, second) = match (addresses, rest) {
                ([first], []) => (Ipv6Addr::from(*first), None),
                ([first, second], []) => (Ipv6Addr::from(*first), Some(Ipv6Addr::from(*second))),
                _ => return Err(wrong),
            };
            Ok(BgpNextHop::from_v6(first, second))
        }
    }
}

pub(super) fn mp_unreach(value: &[u8], session: &SessionParameters) -> Read<MpUnreach> {
    let mut reader = Reader::new(value);
    let family = agreed(mp_family(&mut reader, value.len())?, session)?;
    let ids = session.add_path_receive.contains(family);
    let prefixes = nlri::decode(reader.rest(), family, ids)
        .map_err(|error| (Fault::from(error), SessionReset))?;
    Ok(MpUnreach { family, prefixes })
}
