//! Sets of communities: single ones, and all that begin alike.

use std::{fmt, str::FromStr, sync::Arc};

use bgp_wire::{Community, CommunityParseError, ExtendedCommunity, LargeCommunity};

/// A kind of community: a number, and how it is written.
pub trait Ranged: Copy + Ord + fmt::Display + FromStr<Err = CommunityParseError> {
    /// Numbers behind the administrator, each of which may be a star; the stars come last.
    fn last_local(text: &str, stars: usize) -> Option<Self>;
}

/// All from the first to the last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct CommunityRange<T> {
    first: T,
    last: T,
}

impl<T: Ranged> CommunityRange<T> {
    /// The first and the last of them.
    pub const fn bounds(&self) -> (T, T) {
        (self.first, self.last)
    }

    pub fn contains(&self, community: T) -> bool {
        self.first <= community && community <= self.last
    }
}

impl<T> From<T> for CommunityRange<T>
where
    T: Copy,
{
    fn from(one: T) -> Self {
        Self { first: one, last: one }
    }
}

impl<T: Ranged> FromStr for CommunityRange<T> {
    type Err = CommunityParseError;

    /// Reads what the kind of community reads, and stars for the last of its numbers: `65000:*`,
    /// `65000:1:*`, `65000:*:*`, `rt:65000:*`.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut rest = text;
        let mut stars = 0;
        while let Some(shorter) = rest.strip_suffix(":*") {
            (rest, stars) = (shorter, stars + 1);
        }
        if stars == 0 {
            return text.parse().map(|one: T| one.into());
        }
        let zeros = ":0".repeat(stars.min(3));
        // The error is to name what was written, and that is no community as it stands.
        let whole = || text.parse::<T>();
        let Ok(first) = format!("{rest}{zeros}").parse::<T>() else {
            return whole().map(T::into);
        };
        match T::last_local(rest, stars) {
            Some(last) => Ok(Self { first, last }),
            None => whole().map(T::into),
        }
    }
}

fn filled<T: FromStr>(rest: &str, number: impl fmt::Display, stars: usize) -> Option<T> {
    format!("{rest}{}", format!(":{number}").repeat(stars)).parse().ok()
}

impl Ranged for Community {
    fn last_local(rest: &str, stars: usize) -> Option<Self> {
        filled(rest, u16::MAX, stars).filter(|_| stars == 1)
    }
}

impl Ranged for LargeCommunity {
    fn last_local(rest: &str, stars: usize) -> Option<Self> {
        filled(rest, u32::MAX, stars).filter(|_| stars <= 2)
    }
}

impl Ranged for ExtendedCommunity {
    /// Behind an AS number of two octets there are four, behind all others two.
    fn last_local(rest: &str, stars: usize) -> Option<Self> {
        let last = filled(rest, u32::MAX, stars).or_else(|| filled(rest, u16::MAX, stars));
        last.filter(|_| stars == 1)
    }
}

/// Any of these.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ranges<T> {
    /// As they were given.
    given: Arc<[CommunityRange<T>]>,
    /// In ascending order, none touching another.
    sorted: Arc<[CommunityRange<T>]>,
}

impl<T> Default for Ranges<T> {
    fn default() -> Self {
        Self { given: Arc::new([]), sorted: Arc::new([]) }
    }
}

impl<T: Ranged> Ranges<T> {
    pub fn new(ranges: impl IntoIterator<Item = CommunityRange<T>>) -> Self {
        let given: Arc<[_]> = ranges.into_iter().collect();
        let mut sorted = given.to_vec();
        sorted.sort_unstable();
        sorted.dedup_by(|next, before| {
            let overlaps = next.first <= before.last;
            if overlaps {
                before.last = before.last.max(next.last);
            }
            overlaps
        });
        Self { given, sorted: sorted.into() }
    }

    pub fn is_empty(&self) -> bool {
        self.given.is_empty()
    }

    /// As they were given.
    pub fn entries(&self) -> &[CommunityRange<T>] {
        &self.given
    }

    pub fn contains(&self, community: T) -> bool {
        let after = self.sorted.partition_point(|range| range.first <= community);
        after.checked_sub(1).is_some_and(|at| self.sorted[at].contains(community))
    }

    /// Whether any of these is in the set.
    pub fn meets(&self, mut communities: impl Iterator<Item = T>) -> bool {
        communities.any(|community| self.contains(community))
    }
}

impl<T: Ranged> FromIterator<CommunityRange<T>> for Ranges<T> {
    fn from_iter<I: IntoIterator<Item = CommunityRange<T>>>(ranges: I) -> Self {
        Self::new(ranges)
    }
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;

    #[test]
    fn stars_stand_for_the_last_numbers() {
        let standard = |text: &str| text.parse::<CommunityRange<Community>>().unwrap();
        assert!(standard("65000:*").contains(Community::new(65000, 0)));
        assert!(standard("65000:*").contains(Community::new(65000, 65535)));
        assert!(!standard("65000:*").contains(Community::new(65001, 0)));
        assert!(standard("no-export").contains(Community::NO_EXPORT));
        let large = |text: &str| text.parse::<CommunityRange<LargeCommunity>>().unwrap();
        assert!(large("1:2:*").contains(LargeCommunity::new(1, 2, u32::MAX)));
        assert!(!large("1:2:*").contains(LargeCommunity::new(1, 3, 0)));
        assert!(large("1:*:*").contains(LargeCommunity::new(1, 3, 0)));
        assert!(!large("1:*:*").contains(LargeCommunity::new(2, 0, 0)));
        let extended = |text: &str| text.parse::<CommunityRange<ExtendedCommunity>>().unwrap();
        for (pattern, community, expected) in [
            ("rt:65000:*", "rt:65000:4294967295", true),
            ("rt:65000:*", "soo:65000:1", false),
            ("rt:192.0.2.1:*", "rt:192.0.2.1:65535", true),
            ("rt:4200000000:*", "rt:4200000000:65535", true),
            ("rt:4200000000:*", "rt:4200000001:0", false),
        ] {
            let found = extended(pattern).contains(community.parse().unwrap());
            assert_eq!(found, expected, "{pattern} {community}");
        }
    }

    #[test]
    fn stars_elsewhere_are_refused() {
        for text in ["*", "*:*", "*:1", "65000:1:*", "65000:*:*", "65536:*", ":*", "no-export:*"] {
            let error = text.parse::<CommunityRange<Community>>().unwrap_err();
            assert!(error.to_string().starts_with(&format!("`{text}`")), "{error}");
        }
        for text in ["1:*", "1:*:2", "*:*:*", "1:2:3:*", "1:*:*:*", ":*:*"] {
            assert!(text.parse::<CommunityRange<LargeCommunity>>().is_err(), "{text}");
        }
        for text in ["rt:*", "rt:*:*", "0x0002fde8000000*", "xx:1:*"] {
            assert!(text.parse::<CommunityRange<ExtendedCommunity>>().is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn a_set_says_what_its_entries_say(
            ranges in vec((0..40_u32, 0..10_u32), 0..12), asked in vec(0..60_u32, 1..40)
        ) {
            let ranges = ranges.into_iter().map(|(first, more)| {
                CommunityRange { first: Community(first), last: Community(first + more) }
            });
            let ranges: Vec<_> = ranges.collect();
            let set = Ranges::new(ranges.iter().copied());
            for community in asked.into_iter().map(Community) {
                let expected = ranges.iter().any(|range| range.contains(community));
                prop_assert_eq!(set.contains(community), expected, "{}", community);
            }
        }
    }
}
