use std::time::Duration;

/// A time as control packets carry it: whole microseconds in 32 bits (RFC 5880 §4.1), so at most an
/// hour and eleven minutes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Interval(u32);

impl Interval {
    pub const ZERO: Self = Self(0);
    /// What is used while a session is not Up (RFC 5880 §6.8.3).
    pub const SLOW: Self = Self::from_millis(1000);

    pub const fn from_micros(micros: u32) -> Self {
        Self(micros)
    }

    pub const fn from_millis(millis: u16) -> Self {
        Self(millis as u32 * 1000)
    }

    pub const fn micros(self) -> u32 {
        self.0
    }

    pub const fn duration(self) -> Duration {
        Duration::from_micros(self.0 as u64)
    }
}
