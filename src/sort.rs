//! Sorting with little code.
//!
//! Invariants:
//! - Each sort is stable, and gives what the standard library's would.
//! - All types share one instance of the standard library's sort: each further one is six kilobytes of the program. So long
//!   lists of small items, and those that are sorted all the time, use their own; all others are sorted here, in 8 more bytes
//!   for each item, or 12 while it works.

use std::cmp::Ordering;

/// Sorts items of one type.
pub fn sort<T: Ord>(items: &mut [T]) {
    by(items, &mut T::cmp);
}

/// Sorts items by a key, which is made for each comparison.
pub fn by_key<T, K: Ord>(items: &mut [T], mut key: impl FnMut(&T) -> K) {
    by(items, &mut |one, other| key(one).cmp(&key(other)));
}

/// Sorts items in an order.
pub fn by<T>(items: &mut [T], compare: &mut dyn FnMut(&T, &T) -> Ordering) {
    let mut order = order(items.len(), &mut |one, other| compare(&items[one], &items[other]));
    // Each cycle of places once: the item that was at its beginning is swapped on until it is where it belongs.
    for begin in 0..items.len() {
        let mut place = begin;
        while order[place] != begin {
            let from = order[place];
            items.swap(place, from);
            order[place] = place;
            place = from;
        }
        order[place] = place;
    }
}

/// Sorts numbers of things that are elsewhere; equal ones ascend.
pub fn numbers(numbers: &mut [u32], compare: &mut dyn FnMut(u32, u32) -> Ordering) {
    numbers.sort_unstable_by(|one, other| compare(*one, *other).then(one.cmp(other)));
}

/// The places of items, in the order in which these are to be.
fn order(count: usize, compare: &mut dyn FnMut(usize, usize) -> Ordering) -> Vec<usize> {
    let mut order: Vec<usize> = (0..count).collect();
    order.sort_by(|one, other| compare(*one, *other));
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The same numbers for each seed.
    fn some(seed: u64, count: usize, below: u64) -> Vec<(u64, usize)> {
        let mut state = seed;
        let mut next = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) % below
        };
        (0..count).map(|place| (next(), place)).collect()
    }

    #[test]
    fn it_sorts_as_the_standard_library_does() {
        for seed in 0..200 {
            let count = seed as usize % 70;
            let given = some(seed, count, 1 + seed % 17);
            let (mut mine, mut expected) = (given.clone(), given.clone());
            by_key(&mut mine, |(value, _)| *value);
            expected.sort_by_key(|(value, _)| *value);
            assert_eq!(mine, expected, "equal ones keep their order");
            let mut words: Vec<String> = given.iter().map(|(value, _)| value.to_string()).collect();
            let mut sorted = words.clone();
            sort(&mut words);
            sorted.sort();
            assert_eq!(words, sorted);
        }
    }

    #[test]
    fn numbers_are_sorted_by_what_they_stand_for_and_ascend_where_that_is_equal() {
        let values = some(7, 100, 9);
        let mut mine: Vec<u32> = (0..100).rev().collect();
        numbers(&mut mine, &mut |one, other| values[one as usize].0.cmp(&values[other as usize].0));
        let mut expected: Vec<u32> = (0..100).collect();
        expected.sort_by_key(|number| values[*number as usize].0);
        assert_eq!(mine, expected);
    }
}
