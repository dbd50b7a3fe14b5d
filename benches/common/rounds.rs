//! Rounds in which contenders take turns, and the median of the results.

/// The order of the contenders in a round: alternately forwards and backwards, so that changes over time favour none of
/// them.
pub fn turns(round: usize, contenders: usize) -> Vec<usize> {
    let forth = 0..contenders;
    if round.is_multiple_of(2) { forth.collect() } else { forth.rev().collect() }
}

/// The median of an odd number of values.
pub fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted[sorted.len() / 2]
}

/// For each round, the first contender's number divided by the second's.
pub fn ratios(ours: &[f64], other: &[f64]) -> Vec<f64> {
    ours.iter().zip(other).map(|(ours, other)| ours / other).collect()
}

/// The median of these ratios.
pub fn ratio(ours: &[f64], other: &[f64]) -> f64 {
    median(&ratios(ours, other))
}
