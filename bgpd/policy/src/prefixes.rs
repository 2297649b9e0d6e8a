//! Lists of prefixes, with ranges of lengths.

use std::{collections::HashMap, sync::Arc};

use viaduct_net::{Family, Prefix};

/// Prefixes inside `prefix` whose length lies within the bounds, both included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PrefixMatch {
    pub prefix: Prefix,
    pub min_len: u8,
    pub max_len: u8,
}

impl PrefixMatch {
    /// `prefix` itself and nothing else.
    pub fn exact(prefix: Prefix) -> Self {
        Self { prefix, min_len: prefix.len(), max_len: prefix.len() }
    }

    /// `prefix` and everything inside it.
    pub fn or_longer(prefix: Prefix) -> Self {
        Self { prefix, min_len: prefix.len(), max_len: prefix.family().bits() }
    }

    pub fn matches(&self, prefix: Prefix) -> bool {
        (self.min_len..=self.max_len).contains(&prefix.len()) && self.prefix.covers(prefix)
    }
}

/// Any of a list: in a list of thousands, such as are made from routing registries, a prefix is
/// looked up once for each length that is in it.
#[derive(Clone, Debug, Default)]
pub struct PrefixSet {
    matches: Arc<[PrefixMatch]>,
    /// Where the list is long: its entries by their prefix, and the lengths of those.
    index: Option<Arc<Index>>,
}

/// A list so short is read through.
const SHORT: usize = 8;

#[derive(Debug, Default)]
struct Index {
    bounds: HashMap<Prefix, Vec<(u8, u8)>>,
    /// A bit for each length, of IPv4 and of IPv6 (whose 128 bits and the empty prefix make 129).
    lens_v4: u64,
    lens_v6: [u128; 2],
}

impl PrefixSet {
    pub fn new(matches: impl IntoIterator<Item = PrefixMatch>) -> Self {
        let matches: Arc<[_]> = matches.into_iter().collect();
        let index = (matches.len() > SHORT).then(|| Arc::new(Index::new(&matches)));
        Self { matches, index }
    }

    /// As they were given.
    pub fn entries(&self) -> &[PrefixMatch] {
        &self.matches
    }

    pub fn is_empty(&self) -> bool {
        self.matches.is_empty()
    }

    pub fn contains(&self, prefix: Prefix) -> bool {
        match &self.index {
            Some(index) => index.contains(prefix),
            None => self.matches.iter().any(|entry| entry.matches(prefix)),
        }
    }
}

impl FromIterator<PrefixMatch> for PrefixSet {
    fn from_iter<I: IntoIterator<Item = PrefixMatch>>(matches: I) -> Self {
        Self::new(matches)
    }
}

impl From<Vec<PrefixMatch>> for PrefixSet {
    fn from(matches: Vec<PrefixMatch>) -> Self {
        Self::new(matches)
    }
}

/// The index follows from the list.
impl PartialEq for PrefixSet {
    fn eq(&self, other: &Self) -> bool {
        self.matches == other.matches
    }
}

impl Eq for PrefixSet {}

impl Index {
    fn new(matches: &[PrefixMatch]) -> Self {
        let mut index = Self::default();
        for entry in matches {
            let len = entry.prefix.len();
            match entry.prefix.family() {
                Family::V4 => index.lens_v4 |= 1 << len,
                Family::V6 => index.lens_v6[usize::from(len / 128)] |= 1 << (len % 128),
            }
            index.bounds.entry(entry.prefix).or_default().push((entry.min_len, entry.max_len));
        }
        // One base with many ranges is as quick as one with few.
        for ranges in index.bounds.values_mut() {
            ranges.sort_unstable();
            ranges.dedup_by(|(from, to), (_, before)| {
                let joins = *from <= before.saturating_add(1);
                if joins {
                    *before = (*before).max(*to);
                }
                joins
            });
        }
        index
    }

    fn has_len(&self, family: Family, len: u8) -> bool {
        match family {
            Family::V4 => self.lens_v4 >> len & 1 != 0,
            Family::V6 => self.lens_v6[usize::from(len / 128)] >> (len % 128) & 1 != 0,
        }
    }

    fn contains(&self, prefix: Prefix) -> bool {
        let (family, wanted) = (prefix.family(), prefix.len());
        let bases = (0..=wanted).filter(|len| self.has_len(family, *len));
        bases.map(|len| prefix.truncate(len)).any(|base| {
            let ranges = self.bounds.get(&base).map(Vec::as_slice).unwrap_or_default();
            ranges.iter().any(|(from, to)| (*from..=*to).contains(&wanted))
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;

    fn prefix() -> impl Strategy<Value = Prefix> {
        // Few addresses, so that one often lies within another.
        prop_oneof![
            (0..4_u32, 0..=32_u8).prop_map(|(bits, len)| (bits << 22, len)).prop_map(
                |(bits, len)| { Prefix::new(std::net::Ipv4Addr::from(bits).into(), len).unwrap() }
            ),
            (0..4_u128, prop_oneof![0..=8_u8, 124..=128_u8]).prop_map(|(bits, len)| {
                Prefix::new(std::net::Ipv6Addr::from(bits << 120 | bits).into(), len).unwrap()
            }),
        ]
    }

    fn entry() -> impl Strategy<Value = PrefixMatch> {
        (prefix(), any::<(u8, u8)>()).prop_map(|(prefix, (a, b))| {
            let bits = prefix.family().bits();
            let (a, b) = (a % (bits + 1), b % (bits + 1));
            PrefixMatch { prefix, min_len: a.min(b).max(prefix.len()), max_len: a.max(b) }
        })
    }

    proptest! {
        #[test]
        fn a_long_list_says_what_its_entries_say(
            entries in vec(entry(), 0..60), asked in vec(prefix(), 1..40)
        ) {
            let set = PrefixSet::new(entries.iter().copied());
            for prefix in asked.into_iter().chain(entries.iter().map(|entry| entry.prefix)) {
                let expected = entries.iter().any(|entry| entry.matches(prefix));
                prop_assert_eq!(set.contains(prefix), expected, "{}", prefix);
            }
        }
    }
}
