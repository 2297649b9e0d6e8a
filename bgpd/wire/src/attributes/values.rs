//! Single attributes of an [`AttributeSet`], read from its octets without opening the rest.

use viaduct_net::Asn;

use super::{AttributeSet, octets::segments};
use crate::{AttributeType as Type, Community, ExtendedCommunity, LargeCommunity, SegmentKind};

impl AttributeSet {
    /// The segments of AS_PATH in their order, none of them empty.
    pub fn as_path(&self) -> impl Iterator<Item = (SegmentKind, impl Iterator<Item = Asn>)> {
        segments(self.value(Type::AS_PATH).unwrap_or_default()).map(|(kind, asns)| {
            (kind, asns.iter().map(|octets| Asn::new(u32::from_be_bytes(*octets))))
        })
    }

    /// In the order received.
    pub fn communities(&self) -> impl Iterator<Item = Community> {
        let (items, _) = self.value(Type::COMMUNITIES).unwrap_or_default().as_chunks::<4>();
        items.iter().map(|octets| Community::from_octets(*octets))
    }

    /// In the order received.
    pub fn extended_communities(&self) -> impl Iterator<Item = ExtendedCommunity> {
        let value = self.value(Type::EXTENDED_COMMUNITIES).unwrap_or_default();
        let (items, _) = value.as_chunks::<8>();
        items.iter().map(|octets| ExtendedCommunity::from_octets(*octets))
    }

    /// In the order received.
    pub fn large_communities(&self) -> impl Iterator<Item = LargeCommunity> {
        let (items, _) = self.value(Type::LARGE_COMMUNITY).unwrap_or_default().as_chunks::<12>();
        items.iter().map(|octets| LargeCommunity::from_octets(*octets))
    }
}
