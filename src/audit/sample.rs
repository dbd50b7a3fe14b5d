//! Which files are hashed.
//!
//! Invariant: the same seed selects the same contents among the same lines, in whatever order they come.

use super::table::Entry;
use crate::types::Key;

/// How many files are hashed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Sample {
    /// Every file.
    All,
    /// None: files are not checked, only names.
    Nothing,
    /// This many contents.
    Count(u64),
    /// This percentage of the contents.
    Percent(f64),
}

/// The selected sample: contents whose number is not above the limit.
#[derive(Clone, Copy, Debug)]
pub(super) struct Choice {
    seed: u64,
    /// None selects nothing.
    limit: Option<u64>,
}

impl Choice {
    /// Selects among these lines.
    pub(super) fn new(sample: Sample, seed: u64, entries: &[Entry]) -> Choice {
        let limit = match sample {
            Sample::All => Some(u64::MAX),
            Sample::Nothing => None,
            Sample::Count(0) => Some(0),
            // The conversion saturates: from 100 on, all are selected.
            Sample::Percent(percent) => Some((percent / 100.0 * u64::MAX as f64) as u64),
            Sample::Count(count) if count >= entries.len() as u64 => Some(u64::MAX),
            Sample::Count(count) => {
                let mut numbers: Vec<u64> = entries.iter().map(|entry| number(&entry.key, seed)).collect();
                Some(*numbers.select_nth_unstable(count as usize - 1).1)
            }
        };
        Choice { seed, limit }
    }

    /// True if files are checked at all.
    pub(super) fn looks_at_files(&self) -> bool {
        self.limit.is_some()
    }

    /// True if the content is to be hashed.
    pub(super) fn takes(&self, key: &Key) -> bool {
        self.limit.is_some_and(|limit| number(key, self.seed) <= limit)
    }
}

/// A content's pseudo-random number under a seed.
fn number(key: &Key, seed: u64) -> u64 {
    let mut front = [0; 8];
    front.copy_from_slice(&key.0[..8]);
    mixed(u64::from_le_bytes(front), seed)
}

/// A pseudo-random number for another one, under a seed (splitmix64).
pub(super) fn mixed(number: u64, seed: u64) -> u64 {
    let mut z = (number ^ seed).wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
