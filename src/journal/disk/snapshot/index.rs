//! Finds the rows that may hold a SHA-256, in four and a half bytes of memory per row.
//!
//! Rows are sorted by SHA-256, whose bits are uniform. The first `bucket_bits` select a bucket of about eight rows; the
//! next 32 are the row's *fragment*. So a look-up reads two places in memory, and of 2^29 look-ups of unknown contents
//! one has to read a row: 8 rows against 32 bits.
//!
//! Why not a column of 8-byte prefixes with an interpolation search: it needs twice the memory and twice the time to
//! read at a start, and a look-up touches two to three places in it.
//!
//! Invariant: the result is a hint; only the row's whole SHA-256 decides.

use std::ops::Range;

use crate::journal::disk::format::{BUCKET_BITS_MAX, FRAGMENT_BITS};
use crate::types::Key;

/// The greatest average number of rows in a bucket.
const BUCKET_ROWS: u64 = 8;

/// Bits of a bucket's number, for this many rows.
pub(super) fn bucket_bits(rows: u64) -> u32 {
    (rows / BUCKET_ROWS).checked_ilog2().map_or(0, |bits| (bits + 1).min(BUCKET_BITS_MAX))
}

fn place(key: &Key, bucket_bits: u32) -> (usize, u32) {
    let mut front = [0; 8];
    front.copy_from_slice(&key.0[..8]);
    let prefix = u64::from_be_bytes(front);
    let bucket = if bucket_bits == 0 { 0 } else { prefix >> (64 - bucket_bits) };
    let fragment = (prefix << bucket_bits) >> (64 - FRAGMENT_BITS);
    (bucket as usize, fragment as u32)
}

/// The index in memory.
#[derive(Debug)]
pub(super) struct RowIndex {
    pub(super) bucket_bits: u32,
    /// For each bucket the number of its first row; at the end the number of rows.
    pub(super) buckets: Vec<u32>,
    pub(super) fragments: Vec<u32>,
    /// For each block of rows: the number of its first row, and its offset in pages.
    pub(super) blocks: Vec<(u32, u32)>,
}

impl RowIndex {
    /// The rows with the same bucket and fragment as `key`.
    pub(super) fn candidates(&self, key: &Key) -> Range<u32> {
        let (bucket, fragment) = place(key, self.bucket_bits);
        let (first, end) = (self.buckets[bucket], self.buckets[bucket + 1]);
        let fragments = &self.fragments[first as usize..end as usize];
        let from = fragments.partition_point(|known| *known < fragment);
        let count = fragments[from..].iter().take_while(|known| **known == fragment).count();
        let from = first + from as u32;
        from..from + count as u32
    }

    /// The block that holds a row, and that block's first row.
    pub(super) fn block_of(&self, row: u32) -> Option<(usize, u32)> {
        let index = self.blocks.partition_point(|(first, _)| *first <= row).checked_sub(1)?;
        Some((index, self.blocks[index].0))
    }

    /// Why the lists cannot belong to `rows` rows in blocks that end before page `pages_end`; None if they can.
    pub(super) fn fault(&self, rows: u32, pages_end: u64) -> Option<(Which, &'static str)> {
        let ascending = |list: &[u32]| list.windows(2).all(|pair| pair[0] <= pair[1]);
        if self.buckets.first() != Some(&0) || self.buckets.last() != Some(&rows) || !ascending(&self.buckets) {
            return Some((Which::Buckets, "buckets do not follow each other"));
        }
        let mut expected = (0, 1);
        for (index, (first, page)) in self.blocks.iter().enumerate() {
            let follows =
                if index == 0 { (*first, *page) == expected } else { *first > expected.0 && *page > expected.1 };
            if !follows || *first >= rows || u64::from(*page) >= pages_end {
                return Some((Which::Blocks, "blocks do not follow each other"));
            }
            expected = (*first, *page);
        }
        (self.blocks.is_empty() != (rows == 0)).then_some((Which::Blocks, "blocks and rows do not agree"))
    }

    /// Bytes of memory.
    pub(super) fn memory_bytes(&self) -> usize {
        4 * (self.buckets.capacity() + self.fragments.capacity()) + 8 * self.blocks.capacity()
    }
}

/// The list that is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Which {
    Buckets,
    Blocks,
}

/// Builds an index row by row, in ascending order.
pub(super) struct Builder {
    index: RowIndex,
}

impl Builder {
    /// Prepares for about `rows_max` rows; with more, buckets become larger.
    pub(super) fn new(rows_max: u64) -> Builder {
        let bucket_bits = bucket_bits(rows_max);
        let buckets = vec![0; (1 << bucket_bits) + 1];
        let fragments = Vec::with_capacity(usize::try_from(rows_max).unwrap_or(0));
        Builder { index: RowIndex { bucket_bits, buckets, fragments, blocks: Vec::new() } }
    }

    pub(super) fn row(&mut self, key: &Key) {
        let (bucket, fragment) = place(key, self.index.bucket_bits);
        self.index.buckets[bucket + 1] += 1;
        self.index.fragments.push(fragment);
    }

    pub(super) fn block(&mut self, first_row: u32, page: u32) {
        self.index.blocks.push((first_row, page));
    }

    pub(super) fn rows(&self) -> usize {
        self.index.fragments.len()
    }

    pub(super) fn finish(mut self) -> RowIndex {
        let mut sum = 0;
        for count in &mut self.index.buckets {
            sum += *count;
            *count = sum;
        }
        self.index
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(prefix: u64) -> Key {
        let mut bytes = [0x5a; 32];
        bytes[..8].copy_from_slice(&prefix.to_be_bytes());
        Key(bytes)
    }

    #[test]
    fn every_row_is_a_candidate_for_itself() {
        for rows in [0_u64, 1, 8, 9, 1000, 5000] {
            let prefixes: Vec<u64> = (0..rows).map(|row| row * (u64::MAX / rows.max(1)) + row % 3).collect();
            let mut builder = Builder::new(rows);
            prefixes.iter().for_each(|prefix| builder.row(&digest(*prefix)));
            let index = builder.finish();
            for (row, prefix) in (0..).zip(&prefixes) {
                assert!(index.candidates(&digest(*prefix)).contains(&row), "{rows} rows, {row}");
            }
            assert!(index.candidates(&digest(0x0123_4567_89ab_cdef)).is_empty(), "{rows} rows");
        }
    }

    #[test]
    fn equal_fragments_are_all_candidates() {
        let mut builder = Builder::new(4);
        for prefix in [1, 5 << 32, 5 << 32 | 1, 6 << 32] {
            builder.row(&digest(prefix));
        }
        assert_eq!(builder.finish().candidates(&digest(5 << 32 | 9)), 1..3);
    }
}
