use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

/// Upper bounds of the histogram of updates, in microseconds; what is above goes to a last bucket.
pub const UPDATE_BUCKETS: [u64; 7] = [250, 1_000, 4_000, 16_000, 64_000, 256_000, 1_000_000];

/// What the balancer has done since it started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CounterValues {
    /// Map writes done and failed.
    pub writes: u64,
    pub failed: u64,
    /// Times the maps were found other than they had been left, and were put right.
    pub mended: u64,
    /// Frontends and backends in the maps.
    pub frontends: u64,
    pub backends: u64,
    /// Times that a node was masked because it was lost.
    pub masks: u64,
    /// Nodes that are masked, backends that get no new flows for it, and services that have lost so
    /// many that theirs get them all the same.
    pub masked_nodes: u64,
    pub masked_backends: u64,
    pub masks_ignored: u64,
    /// Changes of services taken in.
    pub updates: u64,
    /// Time from a change being seen to the last map write: the latest, the sum, and how many took
    /// at most the bounds of [`UPDATE_BUCKETS`], or longer.
    pub last_update: Duration,
    pub update_sum: Duration,
    pub update_buckets: [u64; UPDATE_BUCKETS.len() + 1],
}

#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) writes: AtomicU64,
    pub(crate) failed: AtomicU64,
    pub(crate) mended: AtomicU64,
    pub(crate) frontends: AtomicU64,
    pub(crate) backends: AtomicU64,
    pub(crate) masks: AtomicU64,
    pub(crate) masked_nodes: AtomicU64,
    pub(crate) masked_backends: AtomicU64,
    pub(crate) masks_ignored: AtomicU64,
    updates: AtomicU64,
    last_update_micros: AtomicU64,
    update_sum_micros: AtomicU64,
    update_buckets: [AtomicU64; UPDATE_BUCKETS.len() + 1],
}

impl Counters {
    pub(crate) fn add(counter: &AtomicU64, number: u64) {
        counter.fetch_add(number, Ordering::Relaxed);
    }

    pub(crate) fn set(counter: &AtomicU64, number: usize) {
        counter.store(number as u64, Ordering::Relaxed);
    }

    pub(crate) fn updated(&self, took: Duration) {
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let bucket = UPDATE_BUCKETS.partition_point(|bound| *bound < micros);
        Self::add(&self.updates, 1);
        Self::add(&self.update_sum_micros, micros);
        Self::add(&self.update_buckets[bucket], 1);
        self.last_update_micros.store(micros, Ordering::Relaxed);
    }

    pub(crate) fn values(&self) -> CounterValues {
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        CounterValues {
            writes: load(&self.writes),
            failed: load(&self.failed),
            mended: load(&self.mended),
            frontends: load(&self.frontends),
            backends: load(&self.backends),
            masks: load(&self.masks),
            masked_nodes: load(&self.masked_nodes),
            masked_backends: load(&self.masked_backends),
            masks_ignored: load(&self.masks_ignored),
            updates: load(&self.updates),
            last_update: Duration::from_micros(load(&self.last_update_micros)),
            update_sum: Duration::from_micros(load(&self.update_sum_micros)),
            update_buckets: std::array::from_fn(|index| load(&self.update_buckets[index])),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_falls_into_the_bucket_that_bounds_it() {
        let counters = Counters::default();
        for micros in [0, 250, 251, 1_000_000, 1_000_001] {
            counters.updated(Duration::from_micros(micros));
        }
        let values = counters.values();
        assert_eq!(values.update_buckets, [2, 1, 0, 0, 0, 0, 1, 1]);
        assert_eq!(values.updates, 5);
        assert_eq!(values.last_update, Duration::from_micros(1_000_001));
    }
}
