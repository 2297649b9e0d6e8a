//! The attributes of an UPDATE that hides nothing: in ascending order, as we would write them, without a
//! fault. Nearly all are of that kind, and becoming a set is for them a copy of octets. Whatever is
//! otherwise is [`Attributes`](super::Attributes)' to read, with the consequences that its faults
//! have; for the rest the two agree.

use std::net::Ipv4Addr;

use super::{
    AttributeSet,
    decode::{MpReach, MpUnreach, mp_reach, mp_unreach, next_hop_v4},
    octets::Items,
    types::{EXTENDED_LENGTH, PARTIAL},
};
use crate::{AttributeType as Type, PeerKind, SegmentKind, SessionParameters};

#[derive(Debug)]
pub(crate) struct Quick {
    pub(crate) set: AttributeSet,
    pub(crate) next_hop: Option<Ipv4Addr>,
    pub(crate) mp_reach: Option<MpReach>,
    pub(crate) mp_unreach: Option<MpUnreach>,
    /// How many attributes there were.
    pub(crate) count: usize,
}

/// Longer ones are not worth a place on the stack.
const MAX_OCTETS: usize = 1024;

impl Quick {
    /// `None` where something is out of the ordinary. `has_classic_nlri`: whether NEXT_HOP is needed.
    pub(crate) fn decode(
        field: &[u8],
        session: &SessionParameters,
        has_classic_nlri: bool,
    ) -> Option<Self> {
        if !session.four_octet_as || field.len() > MAX_OCTETS {
            return None;
        }
        let mut kept = [0; MAX_OCTETS];
        let mut end = 0;
        let mut quick = Self {
            set: AttributeSet::default(),
            next_hop: None,
            mp_reach: None,
            mp_unreach: None,
            count: 0,
        };
        let mut last = 0;
        let mut read = 0;
        for item in Items::new(field) {
            read += item.whole.len();
            quick.count += 1;
            let kind = item.kind;
            if !has_expected_header(kind, item.whole, item.value.len()) {
                return None;
            }
            match kind {
                Type::MP_REACH_NLRI if quick.mp_reach.is_none() => {
                    let reach = mp_reach(item.value, session).ok()?;
                    quick.mp_reach = Some(reach).filter(|reach| reach.next_hop.is_some());
                    quick.mp_reach.as_ref()?;
                    continue;
                }
                Type::MP_UNREACH_NLRI if quick.mp_unreach.is_none() => {
                    quick.mp_unreach = Some(mp_unreach(item.value, session).ok()?);
                    continue;
                }
                _ => {}
            }
            // Which also refuses what stands twice.
            if kind.0 <= last {
                return None;
            }
            last = kind.0;
            if kind == Type::NEXT_HOP {
                quick.next_hop = Some(next_hop_v4(item.value).ok()?);
                continue;
            }
            if !is_sound(kind, item.value, session.peer_kind) {
                return None;
            }
            kept[end..end + item.whole.len()].copy_from_slice(item.whole);
            end += item.whole.len();
        }
        let announces = has_classic_nlri || quick.mp_reach.is_some();
        let kept = &kept[..end];
        if read != field.len()
            || announces && !starts_with_mandatory(kept)
            || has_classic_nlri && quick.next_hop.is_none()
        {
            return None;
        }
        if announces {
            quick.set = AttributeSet::from_octets(kept);
        }
        Some(quick)
    }
}

fn has_expected_header(kind: Type, whole: &[u8], len: usize) -> bool {
    let (Some(expected), Some(&flags)) = (kind.flags(), whole.first()) else { return false };
    let may_be_partial = matches!(
        kind,
        Type::AGGREGATOR
            | Type::COMMUNITIES
            | Type::EXTENDED_COMMUNITIES
            | Type::LARGE_COMMUNITY
            | Type::ONLY_TO_CUSTOMER
    );
    let partial = if may_be_partial { PARTIAL } else { 0 };
    let is_long = len > usize::from(u8::MAX);
    // A short value behind a long length is what we would write otherwise; the MP attributes are not
    // kept as they are.
    let is_mp = matches!(kind, Type::MP_REACH_NLRI | Type::MP_UNREACH_NLRI);
    let has_long = flags & EXTENDED_LENGTH != 0;
    flags & !(partial | EXTENDED_LENGTH) == expected && (is_mp || has_long == is_long)
}

fn starts_with_mandatory(kept: &[u8]) -> bool {
    let mut items = Items::new(kept);
    let mut is_next = |kind| items.next().is_some_and(|item| item.kind == kind);
    is_next(Type::ORIGIN) && is_next(Type::AS_PATH)
}

/// Whether the value is without fault and is kept as it is.
fn is_sound(kind: Type, value: &[u8], peer: PeerKind) -> bool {
    let internal = peer == PeerKind::Internal;
    let list = |width: usize| !value.is_empty() && value.len().is_multiple_of(width);
    match kind {
        Type::ORIGIN => matches!(value, [0..=2]),
        Type::AS_PATH => is_sound_as_path(value),
        Type::MULTI_EXIT_DISC => value.len() == 4,
        Type::LOCAL_PREF => peer != PeerKind::External && value.len() == 4,
        Type::ATOMIC_AGGREGATE => value.is_empty(),
        Type::AGGREGATOR => value.len() == 8 && value[..4] != [0; 4],
        Type::COMMUNITIES => list(4),
        Type::ORIGINATOR_ID => internal && value.len() == 4 && value != [0; 4],
        Type::CLUSTER_LIST => internal && list(4),
        Type::EXTENDED_COMMUNITIES => list(8),
        Type::LARGE_COMMUNITY => list(12),
        Type::ONLY_TO_CUSTOMER => value.len() == 4,
        _ => false,
    }
}

/// Sequences and sets, none empty, without a zero (RFC 7606 §7.2, RFC 7607 §2).
fn is_sound_as_path(mut value: &[u8]) -> bool {
    while let [kind, count, rest @ ..] = value {
        let plain = *kind == SegmentKind::Sequence as u8 || *kind == SegmentKind::Set as u8;
        let Some((asns, rest)) = rest.split_at_checked(4 * usize::from(*count)) else {
            return false;
        };
        if !plain || asns.is_empty() || asns.as_chunks::<4>().0.contains(&[0; 4]) {
            return false;
        }
        value = rest;
    }
    value.is_empty()
}

#[cfg(test)]
mod tests;
