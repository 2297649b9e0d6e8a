//! Connections of those who have not shown who they are: in their handshake, or without a
//! certificate.
//!
//! There are few places for them. Who comes when all are taken gets the place of the one that has
//! had it for longest, from the same address where that has its fill, and of one that has not said
//! a word before one that has: an honest client speaks first, at once, and his handshake is over in
//! milliseconds. A pod that holds connections open, behind the address of its node, does not keep
//! that node from the server.

use std::{
    collections::BTreeMap,
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio_util::sync::CancellationToken;

/// Connections of strangers.
pub(crate) const MAX_STRANGERS: usize = 512;
/// Of these, from one address.
pub(crate) const MAX_STRANGERS_PER_ADDRESS: usize = 128;

#[derive(Debug, Default)]
pub(crate) struct Strangers(Mutex<Places>);

#[derive(Debug, Default)]
struct Places {
    next: u64,
    taken: BTreeMap<(IpAddr, Age), CancellationToken>,
    by_age: BTreeMap<Age, IpAddr>,
}

/// In the order in which places are lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Age {
    has_spoken: bool,
    number: u64,
}

impl Age {
    const OLDEST: Self = Self { has_spoken: false, number: 0 };
    const YOUNGEST: Self = Self { has_spoken: true, number: u64::MAX };
}

/// One place, given back when dropped.
#[derive(Debug)]
pub(crate) struct Place {
    strangers: Arc<Strangers>,
    address: IpAddr,
    age: Age,
    ended: CancellationToken,
}

impl Place {
    /// Waits until another has got the place.
    pub(crate) async fn lost(&self) {
        self.ended.cancelled().await;
    }

    /// The stranger has sent something.
    pub(crate) fn spoke(&mut self) {
        let mut places = self.strangers.lock();
        if let Some(ended) = places.take(self.address, self.age) {
            self.age.has_spoken = true;
            places.put(self.address, self.age, ended);
        }
    }
}

impl Strangers {
    fn lock(&self) -> MutexGuard<'_, Places> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A place, and whether somebody has lost his by it.
    pub(crate) fn admit(this: &Arc<Self>, address: IpAddr) -> (Place, bool) {
        let mut places = this.lock();
        let own = places.taken.range((address, Age::OLDEST)..=(address, Age::YOUNGEST));
        let oldest = if own.clone().count() >= MAX_STRANGERS_PER_ADDRESS {
            own.map(|(key, _)| *key).next()
        } else if places.taken.len() >= MAX_STRANGERS {
            places.by_age.first_key_value().map(|(age, address)| (*address, *age))
        } else {
            None
        };
        if let Some(ended) = oldest.and_then(|(address, age)| places.take(address, age)) {
            ended.cancel();
        }
        let age = Age { has_spoken: false, number: places.next };
        places.next += 1;
        let ended = CancellationToken::new();
        places.put(address, age, ended.clone());
        (Place { strangers: this.clone(), address, age, ended }, oldest.is_some())
    }
}

impl Places {
    fn put(&mut self, address: IpAddr, age: Age, ended: CancellationToken) {
        self.taken.insert((address, age), ended);
        self.by_age.insert(age, address);
    }

    fn take(&mut self, address: IpAddr, age: Age) -> Option<CancellationToken> {
        self.by_age.remove(&age);
        self.taken.remove(&(address, age))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.strangers.lock().take(self.address, self.age);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn held(places: &[Place]) -> usize {
        places.iter().filter(|place| !place.ended.is_cancelled()).count()
    }

    #[test]
    fn who_holds_on_loses_his_place_to_those_who_come() {
        let strangers = Arc::new(Strangers::default());
        let greedy: IpAddr = "10.244.0.1".parse().unwrap();
        let other = Strangers::admit(&strangers, "fd00::1".parse().unwrap()).0;
        let all: Vec<Place> = (0..MAX_STRANGERS_PER_ADDRESS * 2)
            .map(|_| Strangers::admit(&strangers, greedy).0)
            .collect();
        assert_eq!(held(&all), MAX_STRANGERS_PER_ADDRESS);
        assert!(all[0].ended.is_cancelled() && !all[all.len() - 1].ended.is_cancelled());
        assert!(!other.ended.is_cancelled(), "it was there before, from elsewhere");
        drop((all, other));
        assert!(strangers.0.lock().unwrap().taken.is_empty());
        assert!(strangers.0.lock().unwrap().by_age.is_empty());

        let (mut spoken, _) = Strangers::admit(&strangers, greedy);
        spoken.spoke();
        let all: Vec<Place> = (0..MAX_STRANGERS_PER_ADDRESS * 2)
            .map(|_| Strangers::admit(&strangers, greedy).0)
            .collect();
        assert!(!spoken.ended.is_cancelled(), "those that are silent go first");
        drop((all, spoken));

        let count = u32::try_from(MAX_STRANGERS).unwrap() * 2;
        let all: Vec<Place> = (0..count)
            .map(|n| Strangers::admit(&strangers, IpAddr::from(n.to_be_bytes())).0)
            .collect();
        assert_eq!(held(&all), MAX_STRANGERS);
    }
}
