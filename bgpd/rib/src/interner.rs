//! One allocation for all equal values. What nobody else holds any more is swept out when the set has
//! doubled, so it is never more than twice the live values and a few.

use std::{collections::HashSet, hash::BuildHasher, hash::Hash, sync::Arc};

use bgp_wire::AttributeSet;
use hashbrown::{DefaultHashBuilder, HashTable};

const MIN_SWEEP: usize = 1024;

#[derive(Debug)]
pub(crate) struct Interner<T: ?Sized> {
    values: HashSet<Arc<T>>,
    sweep_at: usize,
}

impl<T: ?Sized> Default for Interner<T> {
    fn default() -> Self {
        Self { values: HashSet::new(), sweep_at: MIN_SWEEP }
    }
}

impl<T: ?Sized + Eq + Hash> Interner<T> {
    /// The one allocation of the value; `make` is called where there is none yet.
    pub(crate) fn intern(&mut self, value: &T, make: impl FnOnce(&T) -> Arc<T>) -> Arc<T> {
        if let Some(known) = self.values.get(value) {
            return known.clone();
        }
        if self.values.len() >= self.sweep_at {
            self.values.retain(|value| Arc::strong_count(value) > 1);
            self.sweep_at = MIN_SWEEP.max(self.values.len() * 2);
        }
        let value = make(value);
        self.values.insert(value.clone());
        value
    }
}

/// The same for attributes, which are allocations of that kind already.
#[derive(Debug)]
pub struct AttributeInterner {
    values: HashTable<AttributeSet>,
    hasher: DefaultHashBuilder,
    sweep_at: usize,
}

impl Default for AttributeInterner {
    fn default() -> Self {
        Self {
            values: HashTable::new(),
            hasher: DefaultHashBuilder::default(),
            sweep_at: MIN_SWEEP,
        }
    }
}

impl AttributeInterner {
    /// The one allocation of the value: this one where it is the first.
    pub fn intern(&mut self, value: &AttributeSet) -> AttributeSet {
        let hash = self.hasher.hash_one(value);
        if let Some(known) = self.values.find(hash, |known| known == value) {
            return known.clone();
        }
        if self.values.len() >= self.sweep_at {
            self.values.retain(|value| value.holders() > 1);
            self.sweep_at = MIN_SWEEP.max(self.values.len() * 2);
        }
        self.values.insert_unique(hash, value.clone(), |value| self.hasher.hash_one(value));
        value.clone()
    }

    pub(crate) fn len(&self) -> usize {
        self.values.len()
    }
}

#[cfg(test)]
mod tests {
    use bgp_wire::PathAttributes;

    use super::*;

    #[test]
    fn equal_values_are_one_and_dead_ones_go() {
        let mut interner = Interner::<str>::default();
        let kept = interner.intern("kept", |new| Arc::from(new));
        assert!(Arc::ptr_eq(&kept, &interner.intern("kept", |new| Arc::from(new))));
        for i in 0..10 * MIN_SWEEP {
            interner.intern(&i.to_string(), |new| Arc::from(new));
            assert!(interner.values.len() <= MIN_SWEEP);
        }
        assert!(Arc::ptr_eq(&kept, &interner.intern("kept", |new| Arc::from(new))));
    }

    #[test]
    fn equal_attributes_are_one_and_dead_ones_go() {
        let set = |med| {
            AttributeSet::from(PathAttributes { med: Some(med), ..PathAttributes::default() })
        };
        let mut interner = AttributeInterner::default();
        let kept = interner.intern(&set(0));
        assert!(kept.ptr_eq(&interner.intern(&set(0))));
        for i in 0..10 * MIN_SWEEP {
            interner.intern(&set(i as u32));
            assert!(interner.len() <= MIN_SWEEP);
        }
        assert!(kept.ptr_eq(&interner.intern(&set(0))));
    }
}
