use std::collections::{BTreeMap, BTreeSet};

/// What the places of the array are given out in.
pub(crate) const UNIT: u32 = ebpf_abi::MAGLEV_CHUNK;

/// Free ranges of the flat array, each of whole units.
#[derive(Clone, Debug, Default)]
pub(crate) struct Arena {
    /// Offset to length; neighbours are merged.
    free: BTreeMap<u32, u32>,
    /// The same by length and offset.
    by_length: BTreeSet<(u32, u32)>,
}

impl Arena {
    /// What is left of the last unit cannot be used.
    pub(crate) fn new(capacity: u32) -> Self {
        let mut arena = Self::default();
        arena.add(0, capacity - capacity % UNIT);
        arena
    }

    fn add(&mut self, offset: u32, length: u32) {
        if length > 0 {
            self.free.insert(offset, length);
            self.by_length.insert((length, offset));
        }
    }

    fn remove(&mut self, offset: u32) -> Option<u32> {
        let length = self.free.remove(&offset)?;
        self.by_length.remove(&(length, offset));
        Some(length)
    }

    /// Takes a range that is in use already, as far as it is free: ranges of an earlier process
    /// may lie anywhere, and over each other where it was wrong. Whether all of it was free.
    pub(crate) fn reserve(&mut self, offset: u32, length: u32) -> bool {
        let end = offset.saturating_add(length).div_ceil(UNIT).saturating_mul(UNIT);
        let offset = offset - offset % UNIT;
        let touched: Vec<(u32, u32)> = self
            .free
            .range(..end)
            .rev()
            .map(|(start, len)| (*start, start + len))
            .take_while(|(_, stop)| *stop > offset)
            .collect();
        let mut taken = 0;
        for (start, stop) in touched {
            self.remove(start);
            self.add(start, offset.saturating_sub(start));
            self.add(end, stop.saturating_sub(end));
            taken += stop.min(end) - start.max(offset);
        }
        taken == end - offset
    }

    /// The offset of a new range, in the smallest free one that has the room.
    pub(crate) fn allocate(&mut self, length: u32) -> Option<u32> {
        let length = length.checked_next_multiple_of(UNIT)?;
        let (free, offset) = *self.by_length.range((length, 0)..).next()?;
        self.remove(offset);
        self.add(offset + length, free - length);
        Some(offset)
    }

    /// Gives back a range that was allocated, or reserved as a whole.
    pub(crate) fn release(&mut self, offset: u32, length: u32) {
        let mut start = offset;
        let mut length = length.next_multiple_of(UNIT);
        let before = self.free.range(..start).next_back().map(|(other, len)| (*other, *len));
        if let Some((other, len)) = before.filter(|(other, len)| other + len == start) {
            self.remove(other);
            start = other;
            length += len;
        }
        if let Some(len) = self.remove(start + length) {
            length += len;
        }
        self.add(start, length);
    }
}

#[cfg(test)]
mod tests {
    use proptest::{collection, prelude::*};

    use super::*;

    #[test]
    fn ranges_do_not_overlap() {
        let mut arena = Arena::new(1030);
        assert!(arena.reserve(128, 50));
        assert!(!arena.reserve(140, 200));
        assert!(!arena.reserve(1000, 5000));
        let mut taken = vec![(128, 384), (960, 1030)];
        while let Some(offset) = arena.allocate(60) {
            let range = (offset, offset + 64);
            assert_eq!(offset % UNIT, 0);
            assert!(taken.iter().all(|(start, end)| range.1 <= *start || range.0 >= *end));
            taken.push(range);
        }
        assert_eq!(taken.len(), 2 + 2 + 9);
        assert_eq!(Arena::new(0).allocate(1), None);
        assert_eq!(Arena::new(63).allocate(1), None);
    }

    proptest! {
        /// A table is found room for wherever there is some, and all is one again at the end.
        #[test]
        fn what_is_given_back_is_merged(
            steps in collection::vec((1..300_u32, any::<prop::sample::Index>(), any::<bool>()), 1..60),
        ) {
            const CAPACITY: u32 = 64 * 32;
            let mut arena = Arena::new(CAPACITY);
            let mut taken: Vec<(u32, u32)> = Vec::new();
            for (length, which, release) in steps {
                if release && !taken.is_empty() {
                    let (offset, length) = taken.swap_remove(which.index(taken.len()));
                    arena.release(offset, length);
                    continue;
                }
                let units = length.next_multiple_of(UNIT);
                let is_free = |start: &u32| {
                    let overlaps = |(offset, length): &(u32, u32)| {
                        *offset < start + units && *start < offset + length.next_multiple_of(UNIT)
                    };
                    start + units <= CAPACITY && !taken.iter().any(overlaps)
                };
                let exists = (0..CAPACITY).step_by(UNIT as usize).any(|start| is_free(&start));
                let found = arena.allocate(length);
                prop_assert_eq!(found.is_some(), exists);
                if let Some(offset) = found {
                    prop_assert!(is_free(&offset));
                    taken.push((offset, length));
                }
            }
            for (offset, length) in taken {
                arena.release(offset, length);
            }
            prop_assert_eq!(arena.allocate(CAPACITY), Some(0));
        }
    }
}
