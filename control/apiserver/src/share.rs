//! Limits of what may be held at once, by all together and by each: whoever takes much is stopped
//! by his own limit before he stops others.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

#[derive(Debug)]
pub(crate) struct Share<K> {
    together: usize,
    each: usize,
    held: Mutex<Holdings<K>>,
}

#[derive(Debug)]
struct Holdings<K> {
    total: usize,
    by_key: BTreeMap<K, usize>,
}

/// What is held, given back when dropped.
#[derive(Debug)]
pub(crate) struct Held<K: Ord> {
    share: Arc<Share<K>>,
    key: K,
    amount: usize,
}

/// Whose limit it is that stands in the way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Exhausted {
    #[error("{each} for each client")]
    Own { each: usize },
    #[error("{together} for all clients together")]
    Together { together: usize },
}

impl<K: Ord + Clone> Share<K> {
    pub(crate) fn new(together: usize, each: usize) -> Arc<Self> {
        let held = Mutex::new(Holdings { total: 0, by_key: BTreeMap::new() });
        Arc::new(Self { together, each, held })
    }

    pub(crate) fn take(self: &Arc<Self>, key: &K, amount: usize) -> Result<Held<K>, Exhausted> {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let own = held.by_key.get(key).copied().unwrap_or(0).saturating_add(amount);
        if own > self.each {
            return Err(Exhausted::Own { each: self.each });
        }
        let total = held.total.saturating_add(amount);
        if total > self.together {
            return Err(Exhausted::Together { together: self.together });
        }
        held.total = total;
        held.by_key.insert(key.clone(), own);
        Ok(Held { share: self.clone(), key: key.clone(), amount })
    }
}

impl<K: Ord> Drop for Held<K> {
    fn drop(&mut self) {
        let mut held = self.share.held.lock().unwrap_or_else(PoisonError::into_inner);
        held.total = held.total.saturating_sub(self.amount);
        if let Some(own) = held.by_key.get_mut(&self.key) {
            *own = own.saturating_sub(self.amount);
            if *own == 0 {
                held.by_key.remove(&self.key);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_greedy_are_stopped_before_the_others() {
        let share = Share::new(10, 4);
        let mut greedy: Vec<_> = std::iter::from_fn(|| share.take(&"a", 1).ok()).collect();
        assert_eq!(greedy.len(), 4);
        assert_eq!(share.take(&"a", 1).unwrap_err(), Exhausted::Own { each: 4 });
        let other = share.take(&"b", 4).unwrap();
        let last = share.take(&"c", 2).unwrap();
        assert_eq!(share.take(&"d", 1).unwrap_err(), Exhausted::Together { together: 10 });
        greedy.pop();
        assert!(share.take(&"d", 1).is_ok());
        assert_eq!(share.take(&"d", usize::MAX).unwrap_err(), Exhausted::Own { each: 4 });
        drop((greedy, other, last));
        let held = share.held.lock().unwrap();
        assert!(held.total == 0 && held.by_key.is_empty());
    }
}
