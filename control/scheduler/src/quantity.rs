use std::{
    iter::Sum,
    ops::{Add, Sub},
    str::FromStr,
};

use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

const NANOS: i128 = 1_000_000_000;

/// An amount of a resource in billionths of its unit, so that nothing written in a manifest is
/// lost; what would not fit saturates.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Amount(i128);

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no quantity: expected a number and a suffix, as in 500m, 2, 64Mi or 1e3")]
pub struct QuantityError(String);

impl Amount {
    pub const ZERO: Self = Self(0);
    pub const ONE: Self = Self(NANOS);

    /// In thousandths, rounded up as Kubernetes does for processors.
    pub fn to_millis(self) -> i64 {
        saturate(self.0.div_euclid(1_000_000) + i128::from(self.0.rem_euclid(1_000_000) > 0))
    }

    /// In whole units, rounded up.
    pub fn to_units(self) -> i64 {
        saturate(self.0.div_euclid(NANOS) + i128::from(self.0.rem_euclid(NANOS) > 0))
    }

    /// How much of `whole` this is, in thousandths; 1000 of nothing.
    pub(crate) fn permille_of(self, whole: Self) -> i64 {
        if whole.0 <= 0 { 1000 } else { saturate(self.0.saturating_mul(1000) / whole.0) }
    }

    /// Zero for a quantity that cannot be read: the API server refuses those.
    pub(crate) fn of(quantity: &Quantity) -> Self {
        quantity.0.parse().unwrap_or_default()
    }
}

fn saturate(number: i128) -> i64 {
    i64::try_from(number).unwrap_or(if number < 0 { i64::MIN } else { i64::MAX })
}

impl FromStr for Amount {
    type Err = QuantityError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = || QuantityError(text.to_owned());
        let number_end =
            text.find(|c: char| !(c.is_ascii_digit() || "+-.".contains(c))).unwrap_or(text.len());
        let (number, suffix) = text.split_at(number_end);
        let (negative, digits) = match number.as_bytes().first() {
            Some(b'-') => (true, &number[1..]),
            Some(b'+') => (false, &number[1..]),
            _ => (false, number),
        };
        let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
        let all_digits = |part: &str| part.bytes().all(|b| b.is_ascii_digit());
        if whole.len() + fraction.len() == 0 || !all_digits(whole) || !all_digits(fraction) {
            return Err(wrong());
        }
        let multiplier = Multiplier::of(suffix).ok_or_else(wrong)?;
        let nanos = multiplier.nanos(whole, fraction).unwrap_or(i128::MAX);
        Ok(Self(if negative { -nanos } else { nanos }))
    }
}

/// What a suffix multiplies with.
enum Multiplier {
    Decimal(i32),
    Binary(u32),
}

impl Multiplier {
    fn of(suffix: &str) -> Option<Self> {
        let decimal = |exponent| Some(Self::Decimal(exponent));
        match suffix {
            "n" => decimal(-9),
            "u" => decimal(-6),
            "m" => decimal(-3),
            "" => decimal(0),
            "k" => decimal(3),
            "M" => decimal(6),
            "G" => decimal(9),
            "T" => decimal(12),
            "P" => decimal(15),
            "E" => decimal(18),
            "Ki" => Some(Self::Binary(10)),
            "Mi" => Some(Self::Binary(20)),
            "Gi" => Some(Self::Binary(30)),
            "Ti" => Some(Self::Binary(40)),
            "Pi" => Some(Self::Binary(50)),
            "Ei" => Some(Self::Binary(60)),
            _ => {
                let exponent = suffix.strip_prefix(['e', 'E'])?.parse().ok()?;
                (-100..=100).contains(&exponent).then_some(Self::Decimal(exponent))
            }
        }
    }

    /// Rounded up; `None` where it does not fit.
    fn nanos(&self, whole: &str, fraction: &str) -> Option<i128> {
        let digits: i128 = match format!("{whole}{fraction}").trim_start_matches('0') {
            "" => return Some(0),
            digits => digits.parse().ok()?,
        };
        let places = i32::try_from(fraction.len()).ok()?;
        match self {
            Self::Decimal(exponent) => scale(digits, 9 + exponent - places),
            Self::Binary(bits) => scale(digits.checked_mul(1 << bits)?, 9 - places),
        }
    }
}

fn scale(number: i128, exponent: i32) -> Option<i128> {
    if exponent >= 0 {
        return number.checked_mul(10_i128.checked_pow(exponent.unsigned_abs())?);
    }
    // A divisor that does not fit is greater than the number.
    let Some(divisor) = 10_i128.checked_pow(exponent.unsigned_abs()) else { return Some(1) };
    Some(number / divisor + i128::from(number % divisor > 0))
}

impl Add for Amount {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }
}

impl Sub for Amount {
    type Output = Self;

    fn sub(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }
}

impl Sum for Amount {
    fn sum<I: Iterator<Item = Self>>(amounts: I) -> Self {
        amounts.fold(Self::ZERO, Add::add)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn amount(text: &str) -> Amount {
        text.parse().unwrap()
    }

    #[test]
    fn suffixes_of_every_kind() {
        assert_eq!(amount("500m").to_millis(), 500);
        assert_eq!(amount("0.5"), amount("500m"));
        assert_eq!(amount("1.5Gi").to_units(), 3 << 29);
        assert_eq!(amount("64Mi").to_units(), 64 << 20);
        assert_eq!(amount("1e3"), amount("1k"));
        assert_eq!(amount("12E6"), amount("12M"));
        assert_eq!(amount("2E").to_units(), 2_000_000_000_000_000_000);
        assert_eq!(amount("-1").to_units(), -1);
        assert_eq!(amount(".5"), amount("0.50"));
        assert_eq!(amount("0"), Amount::ZERO);
    }

    #[test]
    fn rounds_up_and_saturates() {
        assert_eq!(amount("1n").to_millis(), 1);
        assert_eq!(amount("0.0000000001"), amount("1n"));
        assert_eq!(amount("100m").to_units(), 1);
        assert_eq!(amount("1e100").to_units(), i64::MAX);
        assert_eq!(amount("1e-100"), amount("1n"));
        assert_eq!(amount(&"9".repeat(500)).to_units(), i64::MAX);
    }

    #[test]
    fn refuses_what_is_no_quantity() {
        for wrong in ["", "m", "1x", "1 Gi", "1.2.3", "--1", "1e", "1e999", "+", ".", "1-2", "é"] {
            assert!(wrong.parse::<Amount>().is_err(), "{wrong}");
        }
    }
}
