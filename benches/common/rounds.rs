//! Rounds in which contenders take turns, and the number in the middle of what comes out.

/// The order in which so many contenders take their turn in a round: back and forth, so that what changes with time
/// favours nobody.
pub fn turns(round: usize, contenders: usize) -> Vec<usize> {
    let forth = 0..contenders;
    if round.is_multiple_of(2) { forth.collect() } else { forth.rev().collect() }
}

/// Of an odd number of values the one in the middle.
pub fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted[sorted.len() / 2]
}

/// Of each round the first contender's number by the second's.
pub fn ratios(ours: &[f64], other: &[f64]) -> Vec<f64> {
    ours.iter().zip(other).map(|(ours, other)| ours / other).collect()
}

/// Of these ratios the one in the middle.
pub fn ratio(ours: &[f64], other: &[f64]) -> f64 {
    median(&ratios(ours, other))
}
