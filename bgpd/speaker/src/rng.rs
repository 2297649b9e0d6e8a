//! Jitter needs numbers that peers do not share; nothing here is a secret.

/// SplitMix64: the same seed gives the same numbers, so a run can be repeated.
#[derive(Clone, Debug)]
pub(crate) struct Rng(u64);

impl Rng {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Less than `bound`; for tests, which do not mind that it is not quite even.
    #[cfg(test)]
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    /// Between 75 % and 100 % of `duration` (RFC 4271 §10).
    pub(crate) fn jitter(&mut self, duration: std::time::Duration) -> std::time::Duration {
        let share = 768 + (self.next() % 257) as u32;
        duration * share / 1024
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn jitter_stays_within_a_quarter_and_repeats_with_the_seed() {
        let (mut a, mut b) = (Rng::new(7), Rng::new(7));
        for _ in 0..1000 {
            let full = Duration::from_secs(100);
            let jittered = a.jitter(full);
            assert!(jittered >= Duration::from_secs(75) && jittered <= full, "{jittered:?}");
            assert_eq!(jittered, b.jitter(full));
        }
    }
}
