//! Jitter and discriminators need numbers that others do not foresee from ours; none is a secret.

use std::time::Duration;

/// SplitMix64: the same seed gives the same numbers, so a run can be repeated.
#[derive(Clone, Debug)]
pub(crate) struct Rng(u64);

impl Rng {
    pub(crate) const fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) const fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Between 75 % and 100 % of `interval`; with a multiplier of one to 90 % only, so that the next
    /// packet comes before its time has run out (RFC 5880 §6.8.7).
    pub(crate) fn jitter(&mut self, interval: Duration, multiplier: u8) -> Duration {
        let span = if multiplier == 1 { 150 } else { 250 };
        let permille = 750 + (self.next() % (span + 1)) as u32;
        interval * permille / 1000
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jitter_takes_up_to_a_quarter_and_with_multiplier_one_at_least_a_tenth() {
        let mut rng = Rng::new(7);
        let full = Duration::from_millis(1000);
        for (multiplier, most) in [(1, 900), (2, 1000), (3, 1000), (255, 1000)] {
            let drawn: Vec<_> = (0..2000).map(|_| rng.jitter(full, multiplier)).collect();
            let (least, most) = (Duration::from_millis(750), Duration::from_millis(most));
            assert!(drawn.iter().all(|one| (least..=most).contains(one)), "{multiplier}");
            // All of the range is used.
            assert!(drawn.iter().any(|one| *one < least + Duration::from_millis(5)));
            assert!(drawn.iter().any(|one| *one > most - Duration::from_millis(5)));
        }
    }
}
