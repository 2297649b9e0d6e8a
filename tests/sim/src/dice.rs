use std::time::Duration;

/// SplitMix64: the same seed throws the same numbers, everywhere and always.
#[derive(Clone, Debug)]
pub struct Dice(u64);

impl Dice {
    pub const fn new(seed: u64) -> Self {
        // Near seeds shall not throw near numbers at first.
        Self(seed.wrapping_mul(0xd134_2543_de82_ef95))
    }

    pub const fn throw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Less than `bound`, which is not zero; not quite even, which no simulation minds.
    pub const fn below(&mut self, bound: usize) -> usize {
        (self.throw() % bound as u64) as usize
    }

    pub const fn one_in(&mut self, many: usize) -> bool {
        self.below(many) == 0
    }

    pub fn pick<T: Copy>(&mut self, among: &[T]) -> T {
        among[self.below(among.len())]
    }

    /// From zero to `most`.
    pub fn duration(&mut self, most: Duration) -> Duration {
        Duration::from_nanos(self.throw() % (most.as_nanos() as u64 + 1))
    }
}
