//! Numbers of pods that may be given as a percentage of others.

use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

#[derive(Clone, Copy, Debug)]
pub(crate) enum Rounding {
    Up,
    Down,
}

/// The number itself, or that part of `whole`; `None` where the text is no percentage.
pub(crate) fn part_of(amount: &IntOrString, whole: i64, rounding: Rounding) -> Option<i64> {
    let text = match amount {
        IntOrString::Int(number) => return Some(i64::from(*number)),
        IntOrString::String(text) => text,
    };
    let percent: i64 = text.strip_suffix('%')?.parse().ok()?;
    let hundredths = percent.saturating_mul(whole);
    Some(match rounding {
        Rounding::Up => hundredths.saturating_add(99) / 100,
        Rounding::Down => hundredths / 100,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentage_is_of_the_whole_and_a_number_is_itself() {
        let part = |text: &str, whole, rounding| {
            part_of(&IntOrString::String(text.to_owned()), whole, rounding)
        };
        assert_eq!(part("25%", 10, Rounding::Up), Some(3));
        assert_eq!(part("25%", 10, Rounding::Down), Some(2));
        assert_eq!(part("100%", 7, Rounding::Up), Some(7));
        assert_eq!(part("0%", 7, Rounding::Up), Some(0));
        assert_eq!(part_of(&IntOrString::Int(4), 10, Rounding::Up), Some(4));
        for wrong in ["", "%", "25", "x%", "99999999999999999999%"] {
            assert_eq!(part(wrong, 10, Rounding::Up), None, "{wrong}");
        }
        assert!(part("9223372036854775807%", i64::MAX, Rounding::Up).is_some());
    }
}
