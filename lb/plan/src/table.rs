use std::sync::Arc;

/// A Maglev table as it is remembered: not what stands at each of its places, of which there are
/// millions in all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table {
    pub length: u32,
    /// [`fingerprint`] of its places.
    pub fingerprint: u64,
    /// The ids that it names, each once, sorted.
    pub ids: Arc<[u32]>,
}

impl Table {
    pub fn of(places: &[u32]) -> Self {
        let mut ids = distinct(places);
        ids.sort_unstable();
        Self { length: places.len() as u32, fingerprint: fingerprint(places), ids: ids.into() }
    }
}

/// Tells tables apart that were not made to be mistaken. Only this process reads it.
pub(crate) fn fingerprint(places: &[u32]) -> u64 {
    // Odd multipliers make each step a bijection; the high bits, where the product mixes best, are
    // brought down by the rotation.
    places.iter().fold(places.len() as u64, |hash, id| {
        (hash ^ u64::from(*id)).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29)
    })
}

/// The ids, in the order in which they come first.
fn distinct(places: &[u32]) -> Vec<u32> {
    // A set of its own: each of millions of places is looked up once when maps are adopted.
    let mut slots: Vec<Option<u32>> = vec![None; 64];
    let mut ids = Vec::new();
    for id in places {
        if !insert(&mut slots, *id) {
            continue;
        }
        ids.push(*id);
        if ids.len() * 2 > slots.len() {
            slots = vec![None; slots.len() * 2];
            for id in &ids {
                insert(&mut slots, *id);
            }
        }
    }
    ids
}

/// Whether the id is new. There must be an empty slot.
fn insert(slots: &mut [Option<u32>], id: u32) -> bool {
    let mask = slots.len() - 1;
    let mut index = id.wrapping_mul(0x9e37_79b9) as usize & mask;
    loop {
        match slots[index] {
            Some(held) if held == id => return false,
            Some(_) => index = (index + 1) & mask,
            None => {
                slots[index] = Some(id);
                return true;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::{collection, prelude::*};

    use super::*;

    #[test]
    fn another_order_is_another_table() {
        let (one, other) = (Table::of(&[7, 7, 9, 3]), Table::of(&[7, 9, 7, 3]));
        assert_eq!((&*one.ids, one.length), (&[3, 7, 9][..], 4));
        assert_eq!(one.ids, other.ids);
        assert_ne!(one.fingerprint, other.fingerprint);
        assert_ne!(Table::of(&[0]), Table::of(&[0, 0]));
    }

    proptest! {
        #[test]
        fn every_id_is_named_once(places in collection::vec(0..400_u32, 0..900)) {
            let ids: BTreeSet<u32> = places.iter().copied().collect();
            let table = Table::of(&places);
            prop_assert_eq!(&*table.ids, &ids.into_iter().collect::<Vec<u32>>()[..]);
        }

        #[test]
        fn a_changed_place_shows(
            places in collection::vec(0..400_u32, 1..900),
            at in any::<prop::sample::Index>(),
        ) {
            let mut changed = places.clone();
            changed[at.index(places.len())] += 1;
            prop_assert_ne!(fingerprint(&places), fingerprint(&changed));
        }
    }
}
