//! Medians, spreads and percentiles: pure functions over numbers.

use std::collections::BTreeMap;

/// The middle of some rounds, and what they lie between.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Spread {
    pub median: f64,
    pub lowest: f64,
    pub highest: f64,
}

/// `None` where there are no values.
pub fn spread(values: impl IntoIterator<Item = f64>) -> Option<Spread> {
    let mut values: Vec<_> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    let (lowest, highest) = (*values.first()?, *values.last()?);
    let middle = values.len() / 2;
    let median = if values.len() % 2 == 1 {
        values[middle]
    } else {
        f64::midpoint(values[middle - 1], values[middle])
    };
    Some(Spread { median, lowest, highest })
}

/// The percentiles that are told, in the unit of the times; `times` is sorted on the way.
pub fn percentiles(times: &mut [u32]) -> BTreeMap<String, f64> {
    times.sort_unstable();
    let at = |share: f64| f64::from(times[((times.len() - 1) as f64 * share) as usize]);
    [("p50", 0.5), ("p99", 0.99), ("p99.9", 0.999), ("p99.99", 0.9999), ("max", 1.0)]
        .map(|(name, share)| (name.to_owned(), at(share)))
        .into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_median_lies_between_the_two_middle_rounds_of_an_even_number() {
        let four = spread([4.0, 1.0, 2.0, 8.0]).unwrap();
        assert_eq!(four, Spread { median: 3.0, lowest: 1.0, highest: 8.0 });
        assert_eq!(spread([5.0, 1.0, 3.0]).unwrap().median, 3.0);
        assert_eq!(spread([]), None);
    }

    #[test]
    fn percentiles_are_times_that_were_measured() {
        let mut times: Vec<u32> = (1..=10_000).rev().collect();
        let found = percentiles(&mut times);
        assert_eq!(found["p50"], 5000.0);
        assert_eq!(found["p99.9"], 9990.0);
        assert_eq!(found["max"], 10_000.0);
    }
}
