//! Medians, percentiles, and how sure one may be of a difference.

/// The value below which `share` of all lie; the list is sorted in place.
pub(crate) fn percentile(values: &mut [f64], share: f64) -> f64 {
    assert!(!values.is_empty(), "a percentile of nothing");
    values.sort_by(f64::total_cmp);
    let index = (values.len() as f64 * share).ceil() as usize;
    values[index.clamp(1, values.len()) - 1]
}

pub(crate) fn median(values: &[f64]) -> f64 {
    percentile(&mut values.to_vec(), 0.5)
}

/// The median with the bounds between which it lies with 95 % confidence, by the order statistics
/// of the binomial distribution: no assumption is made of how the values are spread.
pub(crate) fn median_within(values: &[f64]) -> (f64, f64, f64) {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let count = sorted.len() as f64;
    let margin = 0.98 * count.sqrt();
    let low = ((count / 2.0 - margin).floor().max(0.0)) as usize;
    let high = ((count / 2.0 + margin).ceil() as usize).min(sorted.len() - 1);
    (median(&sorted), sorted[low], sorted[high])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_values_of_the_list() {
        let mut values: Vec<f64> = (1..=100).rev().map(f64::from).collect();
        assert_eq!(percentile(&mut values, 0.5), 50.0);
        assert_eq!(percentile(&mut values, 0.99), 99.0);
        assert_eq!(percentile(&mut values, 1.0), 100.0);
        assert_eq!(percentile(&mut [7.0], 0.01), 7.0);
    }

    #[test]
    fn the_bounds_enclose_the_median() {
        let values: Vec<f64> = (0..101).map(f64::from).collect();
        assert_eq!(median_within(&values), (50.0, 40.0, 61.0));
        assert_eq!(median_within(&[3.0]), (3.0, 3.0, 3.0));
    }
}
