//! Latencies, counted in buckets that are as fine as they are small: a quantile is right to about
//! one part in 64, in memory that does not grow.

use std::time::Duration;

/// Buckets between one power of two and the next.
const FINE: u64 = 64;
const FINE_BITS: u32 = FINE.trailing_zeros();
/// Up to 2^36 µs, some 19 hours.
const BUCKETS: usize = (36 - FINE_BITS as usize) * FINE as usize;

pub(crate) struct Histogram {
    buckets: Vec<u64>,
    count: u64,
    max: Duration,
}

impl Histogram {
    pub(crate) fn new() -> Self {
        Self { buckets: vec![0; BUCKETS], count: 0, max: Duration::ZERO }
    }

    pub(crate) fn add(&mut self, took: Duration) {
        let index = index(took.as_micros() as u64).min(BUCKETS - 1);
        self.buckets[index] += 1;
        self.count += 1;
        self.max = self.max.max(took);
    }

    pub(crate) fn max(&self) -> Duration {
        self.max
    }

    /// What `percent` of all were not slower than; zero where there is none.
    pub(crate) fn percentile(&self, percent: u64) -> Duration {
        let rank = (self.count * percent).div_ceil(100).max(1);
        let mut seen = 0;
        for (index, count) in self.buckets.iter().enumerate() {
            seen += count;
            if seen >= rank {
                return Duration::from_micros(upper(index)).min(self.max);
            }
        }
        self.max
    }
}

/// Below `FINE` a bucket for each value, then `FINE` for each power of two.
fn index(micros: u64) -> usize {
    if micros < FINE {
        return micros as usize;
    }
    let shift = micros.ilog2() - FINE_BITS;
    (u64::from(shift) * FINE + (micros >> shift)) as usize
}

/// The greatest value of a bucket.
fn upper(index: usize) -> u64 {
    let index = index as u64;
    if index < FINE {
        return index;
    }
    let shift = index / FINE - 1;
    ((index - shift * FINE + 1) << shift) - 1
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn percentiles_of_a_hundred() {
        let mut histogram = Histogram::new();
        assert_eq!(histogram.percentile(50), Duration::ZERO);
        (1..=100).for_each(|micros| histogram.add(Duration::from_micros(micros)));
        assert_eq!(histogram.percentile(50), Duration::from_micros(50));
        assert_eq!(histogram.percentile(99), Duration::from_micros(99));
        assert_eq!(histogram.max(), Duration::from_micros(100));
    }

    proptest! {
        #[test]
        fn a_bucket_holds_its_values(micros in 0..1u64 << 35) {
            let bucket = index(micros);
            prop_assert!(bucket < BUCKETS);
            prop_assert!(micros <= upper(bucket));
            prop_assert!(upper(bucket) - micros <= micros / FINE);
            prop_assert!(bucket == 0 || upper(bucket - 1) < micros);
        }

        #[test]
        fn no_latency_is_too_long(micros: u64) {
            Histogram::new().add(Duration::from_micros(micros));
        }
    }
}
