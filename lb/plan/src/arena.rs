use std::collections::BTreeMap;

use ebpf_abi::MAGLEV_CHUNK;

/// Free ranges of the flat array. Each table takes a power of two, and a chunk at least, so that
/// what one leaves fits another of its kind.
#[derive(Clone, Debug, Default)]
pub(crate) struct Arena {
    /// Offset to length; neighbours are merged.
    free: BTreeMap<u32, u32>,
}

impl Arena {
    pub(crate) fn new(capacity: u32) -> Self {
        let free = (capacity > 0).then_some((0, capacity));
        Self { free: free.into_iter().collect() }
    }

    /// The places that a table of this length takes.
    pub(crate) fn room(length: u32) -> Option<u32> {
        Some(length.checked_next_power_of_two()?.max(MAGLEV_CHUNK))
    }

    /// Takes a range that is in use already, as far as it is free: ranges of an earlier process
    /// may lie anywhere, and over each other where it was wrong.
    pub(crate) fn reserve(&mut self, offset: u32, length: u32) {
        let end = offset.saturating_add(length);
        let touched: Vec<(u32, u32)> = self
            .free
            .range(..end)
            .map(|(start, len)| (*start, start + len))
            .filter(|(_, stop)| *stop > offset)
            .collect();
        for (start, stop) in touched {
            self.free.remove(&start);
            if start < offset {
                self.free.insert(start, offset - start);
            }
            if stop > end {
                self.free.insert(end, stop - end);
            }
        }
    }

    /// The offset of a new range, in the smallest free one that has the room.
    pub(crate) fn allocate(&mut self, length: u32) -> Option<u32> {
        let length = Self::room(length)?;
        let (offset, free) = self
            .free
            .iter()
            .filter(|(_, free)| **free >= length)
            .min_by_key(|(offset, free)| (**free, **offset))
            .map(|(offset, free)| (*offset, *free))?;
        self.free.remove(&offset);
        if free > length {
            self.free.insert(offset + length, free - length);
        }
        Some(offset)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_do_not_overlap() {
        let mut arena = Arena::new(2048);
        arena.reserve(128, 64);
        arena.reserve(160, 224);
        arena.reserve(1984, 5000);
        let mut taken = vec![(128, 384), (1984, 2048)];
        while let Some(offset) = arena.allocate(120) {
            let range = (offset, offset + 128);
            assert!(taken.iter().all(|(start, end)| range.1 <= *start || range.0 >= *end));
            taken.push(range);
        }
        assert_eq!(taken.len(), 2 + 1 + 12);
        assert_eq!(arena.allocate(1), Some(1920), "smaller ones still fit, down to a chunk");
        assert_eq!(arena.allocate(1), None);
        assert_eq!(Arena::new(0).allocate(1), None);
    }
}
