//! Amounts of a resource: `500m`, `1Gi`, `1e3`.

use std::cmp::Ordering;

/// A decimal amount in billionths, and the suffixes in which it is written.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Quantity {
    nanos: i128,
    format: Format,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    /// `Ki`, `Mi`, …
    BinarySi,
    /// `m`, `k`, `M`, …
    DecimalSi,
    /// `1e3`
    DecimalExponent,
}

const NANO: i128 = 1_000_000_000;
const BINARY: [(&str, u32); 6] =
    [("Ki", 10), ("Mi", 20), ("Gi", 30), ("Ti", 40), ("Pi", 50), ("Ei", 60)];
const DECIMAL: [(&str, i32); 10] = [
    ("n", -9),
    ("u", -6),
    ("m", -3),
    ("", 0),
    ("k", 3),
    ("M", 6),
    ("G", 9),
    ("T", 12),
    ("P", 15),
    ("E", 18),
];
/// Kubernetes caps amounts at 2^63−1.
const MAX_NANOS: i128 = i64::MAX as i128 * NANO;
/// More digits than an amount within the cap and down to a billionth has.
const MAX_DIGITS: usize = 40;

impl Quantity {
    /// Reads the text; `None` where it is no quantity. Amounts below a billionth are rounded up,
    /// those above the cap are capped.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
        let end =
            unsigned.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(unsigned.len());
        let (digits, suffix) = unsigned.split_at(end);
        let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
        if fraction.contains('.') || whole.len() + fraction.len() == 0 {
            return None;
        }
        let whole = whole.trim_start_matches('0');
        let fraction = fraction.trim_end_matches('0');
        if whole.len() + fraction.len() > MAX_DIGITS {
            return None;
        }
        let number: i128 = match format!("{whole}{fraction}").as_str() {
            "" => 0,
            all => all.parse().ok()?,
        };
        let scale = i32::try_from(fraction.len()).ok()?;
        let (nanos, format) = scaled(number, scale, suffix)?;
        let nanos = nanos.min(MAX_NANOS);
        let nanos = if text.starts_with('-') { -nanos } else { nanos };
        Some(Self { nanos, format })
    }

    pub(crate) fn is_zero(&self) -> bool {
        self.nanos == 0
    }

    pub(crate) fn is_negative(&self) -> bool {
        self.nanos < 0
    }

    /// Whether the amount is a whole number.
    pub(crate) fn is_whole(&self) -> bool {
        self.nanos % NANO == 0
    }

    /// Whether the amount is a whole number of thousandths, the finest in which cpu is counted.
    pub(crate) fn is_whole_millis(&self) -> bool {
        self.nanos % (NANO / 1000) == 0
    }

    /// The text in which Kubernetes writes the amount: no fraction, the largest suffix.
    pub(crate) fn canonical(&self) -> String {
        if self.nanos == 0 {
            return "0".to_owned();
        }
        let sign = if self.nanos < 0 { "-" } else { "" };
        let nanos = self.nanos.abs();
        // Binary suffixes can say no fraction, and Kubernetes leaves them for amounts below 1024.
        if self.format == Format::BinarySi && nanos % NANO == 0 && nanos >= 1024 * NANO {
            let whole = nanos / NANO;
            let found = BINARY.iter().rev().find(|(_, bits)| whole % (1 << bits) == 0);
            return match found {
                Some((suffix, bits)) => format!("{sign}{}{suffix}", whole >> bits),
                None => format!("{sign}{whole}"),
            };
        }
        let fits = |exponent: i32| {
            let unit = 10_i128.checked_pow(u32::try_from(exponent + 9).ok()?)?;
            (nanos % unit == 0).then_some(nanos / unit)
        };
        for (suffix, exponent) in DECIMAL.iter().rev() {
            if let Some(count) = fits(*exponent) {
                return match self.format {
                    Format::DecimalExponent if *exponent != 0 => {
                        format!("{sign}{count}e{exponent}")
                    }
                    _ => format!("{sign}{count}{suffix}"),
                };
            }
        }
        format!("{sign}{nanos}n")
    }
}

/// `number · 10^-scale` with the suffix applied, in billionths, rounded up.
fn scaled(number: i128, scale: i32, suffix: &str) -> Option<(i128, Format)> {
    if let Some((_, bits)) = BINARY.iter().find(|(name, _)| *name == suffix) {
        let shifted = number.checked_mul(1 << bits).unwrap_or(i128::MAX / NANO);
        return Some((times_power_of_ten(shifted, 9 - scale)?, Format::BinarySi));
    }
    if let Some((_, exponent)) = DECIMAL.iter().find(|(name, _)| *name == suffix) {
        return Some((times_power_of_ten(number, exponent + 9 - scale)?, Format::DecimalSi));
    }
    let exponent = suffix.strip_prefix(['e', 'E'])?;
    let digits = exponent.strip_prefix(['+', '-']).unwrap_or(exponent);
    if digits.is_empty() || digits.len() > 4 || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let exponent: i32 = exponent.parse().ok()?;
    Some((times_power_of_ten(number, exponent + 9 - scale)?, Format::DecimalExponent))
}

fn times_power_of_ten(number: i128, exponent: i32) -> Option<i128> {
    let power = 10_i128.checked_pow(exponent.unsigned_abs());
    if exponent >= 0 {
        let product = power.and_then(|power| number.checked_mul(power));
        return Some(product.unwrap_or(if number == 0 { 0 } else { MAX_NANOS }));
    }
    // Below a billionth: up to the next one.
    let Some(power) = power else { return Some(i128::from(number > 0)) };
    Some(number / power + i128::from(number % power != 0))
}

impl PartialEq for Quantity {
    fn eq(&self, other: &Self) -> bool {
        self.nanos == other.nanos
    }
}

impl PartialOrd for Quantity {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.nanos.cmp(&other.nanos))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_have_one_canonical_form() {
        for (text, canonical) in [
            ("0", "0"),
            ("0.0", "0"),
            ("1", "1"),
            ("1000", "1k"),
            ("1000m", "1"),
            ("0.5", "500m"),
            (".5", "500m"),
            ("1.5Gi", "1536Mi"),
            ("1024Mi", "1Gi"),
            ("1024", "1024"),
            ("0.5Ki", "512"),
            ("100Mi", "100Mi"),
            ("1e3", "1e3"),
            ("9E", "9E"),
            ("-1", "-1"),
            ("1500m", "1500m"),
            ("0.0000000001", "1n"),
            ("9999999999999999999E", "9223372036854775807"),
            ("1e9999", "9223372036854775807"),
        ] {
            let parsed = Quantity::parse(text).unwrap_or_else(|| panic!("{text}"));
            assert_eq!(parsed.canonical(), canonical, "{text}");
        }
    }

    #[test]
    fn what_is_no_quantity_is_refused() {
        for text in ["", "x", "1x", "1.2.3", "Gi", "1e", "1e99999", "+", "1 Gi", "1mi", "ä"] {
            assert!(Quantity::parse(text).is_none(), "{text}");
        }
        assert!(Quantity::parse(&"9".repeat(1000)).is_none());
    }

    #[test]
    fn amounts_are_compared_whatever_their_suffix() {
        let parse = |text| Quantity::parse(text).unwrap();
        assert_eq!(parse("1Gi"), parse("1024Mi"));
        assert!(parse("1G") < parse("1Gi"));
        assert!(parse("1m") > parse("1u"));
        assert!(parse("-1").is_negative());
        assert!(!parse("1500m").is_whole() && parse("1500m").is_whole_millis());
    }
}
