//! The structure that the index is compared with: one sorted column of the first 8 bytes of every SHA-256, searched by
//! interpolation.

use crate::data;

/// Steps of interpolation, each of which leaves about the square root of the distance; then the search continues step
/// by step.
const STEPS: usize = 3;

/// The column.
pub struct Column(Vec<u64>);

impl Column {
    /// The column of the files from 0 to `rows`.
    pub fn new(rows: u64) -> Column {
        let mut prefixes: Vec<u64> = (0..rows).map(data::prefix).collect();
        prefixes.sort_unstable();
        Column(prefixes)
    }

    /// Whether there is a content with this prefix.
    pub fn has(&self, prefix: u64) -> bool {
        let Column(prefixes) = self;
        let last = prefixes.len() as i64 - 1;
        let rows_for = |distance: i128| ((distance * prefixes.len() as i128) >> 64) as i64;
        let mut at = rows_for(i128::from(prefix)).min(last);
        for _ in 0..STEPS {
            at = (at + rows_for(i128::from(prefix) - i128::from(prefixes[at as usize]))).clamp(0, last);
        }
        let mut at = at as usize;
        while at > 0 && prefixes[at] > prefix {
            at -= 1;
        }
        while at < last as usize && prefixes[at] < prefix {
            at += 1;
        }
        prefixes[at] == prefix
    }

    /// Its bytes in memory; a start has to read as many.
    pub fn bytes(&self) -> u64 {
        8 * self.0.len() as u64
    }
}
