//! Attributes that a policy has changed: a copy of the octets with other values in some places.

use viaduct_net::Asn;

use super::{
    AttributeSet,
    edit::end,
    octets::{Items, segments},
    types::{EXTENDED_LENGTH, OPTIONAL, TRANSITIVE},
};
use crate::{AttributeType as Type, Community, ExtendedCommunity, LargeCommunity, SegmentKind};

/// New values of some attributes; `None` leaves one as it is. The default changes nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rewrite {
    /// In front of AS_PATH, so many times; confederation segments still come before (RFC 5065 §4.1).
    pub prepend: Option<(Asn, u8)>,
    /// `Some(None)` takes it out.
    pub med: Option<Option<u32>>,
    pub local_pref: Option<u32>,
    /// An empty list takes the attribute out.
    pub communities: Option<Vec<Community>>,
    pub extended_communities: Option<Vec<ExtendedCommunity>>,
    pub large_communities: Option<Vec<LargeCommunity>>,
}

/// One attribute with its new value; empty is without.
type Change = (Type, Vec<u8>);

impl Rewrite {
    /// The set with the new values, the same allocation where nothing differs. A value longer than an
    /// attribute can be (65,535 octets) is not taken: then the old one stays.
    pub fn apply(&self, set: &AttributeSet) -> AttributeSet {
        let mut changes = self.changes(set);
        changes.retain(|(kind, value)| {
            value.len() <= usize::from(u16::MAX) && set.value(*kind).unwrap_or_default() != value
        });
        if changes.is_empty() {
            return set.clone();
        }
        let more: usize = changes.iter().map(|(_, value)| value.len() + 4).sum();
        let mut out = Vec::with_capacity(set.octets().len() + more);
        let mut changes = changes.into_iter().peekable();
        for item in Items::new(set.octets()) {
            while let Some((kind, value)) = changes.next_if(|(kind, _)| *kind < item.kind) {
                write(kind, None, &value, &mut out);
            }
            match changes.next_if(|(kind, _)| *kind == item.kind) {
                // The flags of the original: whether it is partial is not ours to forget.
                Some((kind, value)) => write(kind, Some(item.whole[0]), &value, &mut out),
                None => out.extend_from_slice(item.whole),
            }
        }
        changes.for_each(|(kind, value)| write(kind, None, &value, &mut out));
        AttributeSet::from_octets(&out)
    }

    /// In ascending order of type.
    fn changes(&self, set: &AttributeSet) -> Vec<Change> {
        let mut changes = Vec::new();
        if let Some((asn, count)) = self.prepend.filter(|(_, count)| *count > 0) {
            changes.push((Type::AS_PATH, prepended(asn, count, set)));
        }
        let number = |number: Option<u32>| number.map(u32::to_be_bytes).map(Vec::from);
        if let Some(med) = self.med {
            changes.push((Type::MULTI_EXIT_DISC, number(med).unwrap_or_default()));
        }
        if let Some(pref) = self.local_pref {
            changes.push((Type::LOCAL_PREF, pref.to_be_bytes().into()));
        }
        if let Some(list) = &self.communities {
            let value = list.iter().flat_map(|one| one.to_octets()).collect();
            changes.push((Type::COMMUNITIES, value));
        }
        if let Some(list) = &self.extended_communities {
            let value = list.iter().flat_map(|one| one.to_octets()).collect();
            changes.push((Type::EXTENDED_COMMUNITIES, value));
        }
        if let Some(list) = &self.large_communities {
            let value = list.iter().flat_map(|one| one.to_octets()).collect();
            changes.push((Type::LARGE_COMMUNITY, value));
        }
        changes
    }
}

/// AS_PATH with the number in front `count` times, in the leading sequence where that has room
/// (RFC 4271 §5.1.2 b).
fn prepended(asn: Asn, count: u8, set: &AttributeSet) -> Vec<u8> {
    let old = set.value(Type::AS_PATH).unwrap_or_default();
    let front = [asn.to_u32().to_be_bytes()].repeat(usize::from(count));
    let confederation = segments(old).take_while(|(kind, _)| kind.is_confederation());
    let (before, old) = old.split_at(confederation.map(|(_, asns)| 2 + 4 * asns.len()).sum());
    let first = segments(old).next().filter(|(kind, asns)| {
        *kind == SegmentKind::Sequence && asns.len() + front.len() <= usize::from(u8::MAX)
    });
    let joined = first.map_or(0, |(_, asns)| asns.len());
    let rest = if first.is_some() { old.get(2..).unwrap_or_default() } else { old };
    let mut value = before.to_vec();
    value.extend_from_slice(&[SegmentKind::Sequence as u8, (front.len() + joined) as u8]);
    value.extend_from_slice(front.as_flattened());
    value.extend_from_slice(rest);
    value
}

fn write(kind: Type, flags: Option<u8>, value: &[u8], out: &mut Vec<u8>) {
    if value.is_empty() {
        return;
    }
    let flags = flags.or(kind.flags()).unwrap_or(OPTIONAL | TRANSITIVE) & !EXTENDED_LENGTH;
    out.extend_from_slice(&[flags, kind.0, 0, 0]);
    let start = out.len();
    out.extend_from_slice(value);
    end(out, start);
}
