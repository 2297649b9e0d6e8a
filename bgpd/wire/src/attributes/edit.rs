//! The attributes of a path as another speaker is told them: a copy of the octets with a few changes.

use std::net::Ipv4Addr;

use viaduct_net::{Asn, RouterId};

use super::{
    AttributeSet,
    octets::{Item, Items},
    types::{EXTENDED_LENGTH, OPTIONAL, TRANSITIVE},
};
use crate::{AttributeType as Type, ExtendedCommunity, SegmentKind};

/// What becomes of a number that may be there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Number {
    #[default]
    Keep,
    Remove,
    /// Only where there is none.
    Default(u32),
}

/// What is changed. The default changes nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Edit {
    /// In front of AS_PATH, once; confederation segments go (RFC 4271 §5.1.2, RFC 5065 §4.1).
    pub prepend: Option<Asn>,
    /// In front of AS_PATH as a confederation segment (RFC 5065 §4.1), where nothing else is put there.
    pub confederate: Option<Asn>,
    /// Between that and the path as it was (RFC 7705 §3.2).
    pub behind: Option<Asn>,
    /// Has what is prepended in its place, wherever it stands in the path as it was.
    pub overridden: Option<Asn>,
    pub med: Number,
    pub local_pref: Number,
    /// RFC 4456 §8: who has brought it into the AS, where nobody is named yet, and the cluster that
    /// comes in front of the list.
    pub reflected: Option<(RouterId, Ipv4Addr)>,
    /// ORIGINATOR_ID, CLUSTER_LIST and what is not transitive among the extended communities stay
    /// within the AS (RFC 4456 §8, RFC 4360 §6).
    pub leaves_as: bool,
    /// RFC 9234 §5: the AS from which on the route goes to customers only, where none is named yet.
    pub only_to_customer: Option<Asn>,
}

impl Edit {
    /// Whether the result is the original.
    pub fn keeps(&self, set: &AttributeSet) -> bool {
        let keeps_local_pref = match self.local_pref {
            Number::Keep => true,
            Number::Remove => set.facts().local_pref().is_none(),
            Number::Default(_) => set.facts().local_pref().is_some(),
        };
        let keeps_med = self.med == Number::Keep;
        keeps_local_pref
            && keeps_med
            && self.prepend.is_none()
            && self.confederate.is_none()
            && self.reflected.is_none()
            && !self.leaves_as
            && (self.only_to_customer.is_none() || set.facts().is_only_to_customer())
    }

    pub fn apply(&self, set: &AttributeSet) -> AttributeSet {
        if self.keeps(set) {
            return set.clone();
        }
        let mut octets = Vec::with_capacity(set.octets().len() + 32);
        self.write(set, &mut octets);
        AttributeSet::from_octets(&octets)
    }

    /// Appends the octets of the result.
    pub(crate) fn write(&self, set: &AttributeSet, out: &mut Vec<u8>) {
        let mut walk = Walk { edit: self, out, next: 0 };
        for item in Items::new(set.octets()) {
            walk.insert_before(item.kind);
            walk.copy(&item);
        }
        walk.insert_before(Type(u8::MAX));
    }
}

struct Walk<'a> {
    edit: &'a Edit,
    out: &'a mut Vec<u8>,
    /// The lowest type that is not dealt with.
    next: u8,
}

impl Walk<'_> {
    /// Writes what the original lacks and stands before `kind`.
    fn insert_before(&mut self, kind: Type) {
        let from = std::mem::replace(&mut self.next, kind.0.saturating_add(1));
        let here = |wanted: Type| (from..kind.0).contains(&wanted.0);
        let number = |number: Number| match number {
            Number::Default(value) => Some(value),
            Number::Keep | Number::Remove => None,
        };
        let edit = self.edit;
        if let Some(asn) = edit.prepend.filter(|_| here(Type::AS_PATH)) {
            self.as_path(asn, &[]);
        } else if let Some(asn) = edit.confederate.filter(|_| here(Type::AS_PATH)) {
            self.confederated(asn, &[]);
        }
        if let Some(med) = number(edit.med).filter(|_| here(Type::MULTI_EXIT_DISC)) {
            self.put(Type::MULTI_EXIT_DISC, &[&med.to_be_bytes()]);
        }
        if let Some(pref) = number(edit.local_pref).filter(|_| here(Type::LOCAL_PREF)) {
            self.put(Type::LOCAL_PREF, &[&pref.to_be_bytes()]);
        }
        if let Some((originator, _)) = edit.reflected.filter(|_| here(Type::ORIGINATOR_ID)) {
            self.put(Type::ORIGINATOR_ID, &[&originator.to_u32().to_be_bytes()]);
        }
        if let Some((_, cluster)) = edit.reflected.filter(|_| here(Type::CLUSTER_LIST)) {
            self.put(Type::CLUSTER_LIST, &[&cluster.octets()]);
        }
        if let Some(asn) = edit.only_to_customer.filter(|_| here(Type::ONLY_TO_CUSTOMER)) {
            self.put(Type::ONLY_TO_CUSTOMER, &[&asn.to_u32().to_be_bytes()]);
        }
    }

    fn copy(&mut self, item: &Item<'_>) {
        let edit = self.edit;
        match item.kind {
            Type::AS_PATH if edit.prepend.is_some() => {
                if let Some(asn) = edit.prepend {
                    self.as_path(asn, item.value);
                }
            }
            Type::AS_PATH if edit.confederate.is_some() => {
                if let Some(asn) = edit.confederate {
                    self.confederated(asn, item.value);
                }
            }
            Type::MULTI_EXIT_DISC if edit.med == Number::Remove => {}
            Type::LOCAL_PREF if edit.local_pref == Number::Remove => {}
            Type::ORIGINATOR_ID | Type::CLUSTER_LIST if edit.leaves_as => {}
            Type::CLUSTER_LIST if edit.reflected.is_some() => {
                if let Some((_, cluster)) = edit.reflected {
                    self.put(Type::CLUSTER_LIST, &[&cluster.octets(), item.value]);
                }
            }
            Type::EXTENDED_COMMUNITIES if edit.leaves_as => self.transitive_only(item),
            _ => self.out.extend_from_slice(item.whole),
        }
    }

    fn as_path(&mut self, asn: Asn, value: &[u8]) {
        let start = self.begin(Type::AS_PATH);
        let mut rest = super::octets::segments(value).filter(|(kind, _)| !kind.is_confederation());
        let own = asn.to_u32().to_be_bytes();
        let overridden = self.edit.overridden.map(|asn| asn.to_u32().to_be_bytes());
        let mut segment = |kind: SegmentKind, first: &[[u8; 4]], asns: &[[u8; 4]]| {
            self.out.push(kind as u8);
            self.out.push((first.len() + asns.len()) as u8);
            self.out.extend_from_slice(first.as_flattened());
            match overridden {
                None => self.out.extend_from_slice(asns.as_flattened()),
                Some(theirs) => asns.iter().for_each(|asn| {
                    self.out.extend_from_slice(if *asn == theirs { &own } else { asn });
                }),
            }
        };
        let front = [asn, self.edit.behind.unwrap_or(asn)].map(|asn| asn.to_u32().to_be_bytes());
        let front = &front[..1 + usize::from(self.edit.behind.is_some())];
        match rest.next() {
            Some((SegmentKind::Sequence, asns))
                if asns.len() + front.len() <= usize::from(u8::MAX) =>
            {
                segment(SegmentKind::Sequence, front, asns);
            }
            other => {
                segment(SegmentKind::Sequence, front, &[]);
                other.into_iter().for_each(|(kind, asns)| segment(kind, &[], asns));
            }
        }
        rest.for_each(|(kind, asns)| segment(kind, &[], asns));
        self.end(start);
    }

    /// RFC 5065 §4.1 b: a leading AS_CONFED_SEQUENCE grows while it has room, else there is a new one.
    fn confederated(&mut self, asn: Asn, value: &[u8]) {
        let start = self.begin(Type::AS_PATH);
        let sequence = SegmentKind::ConfedSequence as u8;
        let (count, rest) = match value {
            [kind, count, rest @ ..] if *kind == sequence && *count < u8::MAX => (*count, rest),
            _ => (0, value),
        };
        self.out.extend_from_slice(&[sequence, count + 1]);
        self.out.extend_from_slice(&asn.to_u32().to_be_bytes());
        self.out.extend_from_slice(rest);
        self.end(start);
    }

    fn transitive_only(&mut self, item: &Item<'_>) {
        let (communities, _) = item.value.as_chunks::<8>();
        let passes = |octets: &&[u8; 8]| {
            !ExtendedCommunity(u64::from_be_bytes(**octets)).is_non_transitive()
        };
        let count = communities.iter().filter(passes).count();
        if count == communities.len() {
            return self.out.extend_from_slice(item.whole);
        }
        if count == 0 {
            return;
        }
        let start = self.out.len() + 4;
        // The flags of the original: whether it is partial is not ours to forget.
        self.out.extend_from_slice(&[item.whole[0] & !EXTENDED_LENGTH, item.kind.0, 0, 0]);
        for octets in communities.iter().filter(passes) {
            self.out.extend_from_slice(octets);
        }
        self.end(start);
    }

    fn put(&mut self, kind: Type, values: &[&[u8]]) {
        let start = self.begin(kind);
        values.iter().for_each(|value| self.out.extend_from_slice(value));
        self.end(start);
    }

    fn begin(&mut self, kind: Type) -> usize {
        let flags = kind.flags().unwrap_or(OPTIONAL | TRANSITIVE);
        self.out.extend_from_slice(&[flags, kind.0, 0, 0]);
        self.out.len()
    }

    fn end(&mut self, start: usize) {
        end(self.out, start);
    }
}

/// Fills in the length of the attribute whose value starts there behind a length of two octets, in one
/// octet where that is enough.
pub(super) fn end(out: &mut Vec<u8>, start: usize) {
    let len = out.len() - start;
    if let Ok(short) = u8::try_from(len) {
        out.copy_within(start.., start - 1);
        out.pop();
        out[start - 2] = short;
    } else {
        out[start - 4] |= EXTENDED_LENGTH;
        out[start - 2..start].copy_from_slice(&(len as u16).to_be_bytes());
    }
}
