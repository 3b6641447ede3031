// SPDX-License-Identifier: MIT

//! The middle of several figures, and how far they lie apart.

/// The middle; of an even number the mean of the two in the middle. `None` of nothing.
pub(crate) fn median(figures: &[f64]) -> Option<f64> {
    let mut sorted = figures.to_vec();
    sorted.sort_by(f64::total_cmp);
    let half = sorted.len() / 2;
    match sorted.len() {
        0 => None,
        len if len % 2 == 1 => sorted.get(half).copied(),
        _ => Some((sorted.get(half - 1)? + sorted.get(half)?) / 2.0),
    }
}

/// The distance of the largest from the smallest, as a part of the middle.
pub(crate) fn spread(figures: &[f64]) -> Option<f64> {
    let least = figures.iter().copied().reduce(f64::min)?;
    let most = figures.iter().copied().reduce(f64::max)?;
    Some((most - least) / median(figures)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_middle_of_odd_and_even_numbers() {
        assert_eq!(median(&[]), None);
        assert_eq!(median(&[3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), Some(2.5));
        assert_eq!(spread(&[2.0, 1.0, 3.0]), Some(1.0));
    }
}
