use std::{collections::HashSet, hash::Hash, sync::Arc};

/// One allocation for all equal values. What nobody else holds any more is swept out when the set
/// has doubled, so it is never more than twice the live values and a few.
#[derive(Debug)]
pub(crate) struct Interner<T: ?Sized> {
    values: HashSet<Arc<T>>,
    sweep_at: usize,
}

const MIN_SWEEP: usize = 1024;

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

    pub(crate) fn len(&self) -> usize {
        self.values.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_values_are_one_and_dead_ones_go() {
        let mut interner = Interner::<str>::default();
        let kept = interner.intern("kept", |new| Arc::from(new));
        assert!(Arc::ptr_eq(&kept, &interner.intern("kept", |new| Arc::from(new))));
        for i in 0..10 * MIN_SWEEP {
            interner.intern(&i.to_string(), |new| Arc::from(new));
            assert!(interner.len() <= MIN_SWEEP);
        }
        assert!(Arc::ptr_eq(&kept, &interner.intern("kept", |new| Arc::from(new))));
    }
}
