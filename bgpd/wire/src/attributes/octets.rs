//! The octets of attributes, walked without opening them.

use super::types::EXTENDED_LENGTH;
use crate::{AttributeType, SegmentKind};

/// One attribute.
#[derive(Clone, Copy, Debug)]
pub struct Item<'a> {
    pub kind: AttributeType,
    /// With flags, type and length.
    pub whole: &'a [u8],
    pub value: &'a [u8],
}

/// The attributes in their order; ends where something runs over the end.
#[derive(Clone, Debug)]
pub struct Items<'a>(&'a [u8]);

impl<'a> Items<'a> {
    pub const fn new(octets: &'a [u8]) -> Self {
        Self(octets)
    }

    /// What is not read yet, or cannot be.
    pub const fn rest(&self) -> &'a [u8] {
        self.0
    }
}

impl<'a> Iterator for Items<'a> {
    type Item = Item<'a>;

    fn next(&mut self) -> Option<Item<'a>> {
        let (header, len) = match *self.0 {
            [flags, _, high, low, ..] if flags & EXTENDED_LENGTH != 0 => {
                (4, usize::from(u16::from_be_bytes([high, low])))
            }
            [flags, _, len, ..] if flags & EXTENDED_LENGTH == 0 => (3, usize::from(len)),
            _ => return None,
        };
        let (whole, rest) = self.0.split_at_checked(header + len)?;
        self.0 = rest;
        Some(Item { kind: AttributeType(whole[1]), whole, value: &whole[header..] })
    }
}

/// The segments of an AS_PATH with numbers of four octets, none of them empty.
pub(super) fn segments(value: &[u8]) -> impl Iterator<Item = (SegmentKind, &[[u8; 4]])> {
    let mut rest = value;
    std::iter::from_fn(move || {
        let [kind, count, ..] = *rest else { return None };
        let end = 2 + 4 * usize::from(count);
        let (asns, []) = rest.get(2..end)?.as_chunks::<4>() else { return None };
        rest = &rest[end..];
        let kind = SegmentKind::from_octet(kind).filter(|_| !asns.is_empty())?;
        Some((kind, asns))
    })
}
