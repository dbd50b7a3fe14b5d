//! Many contents in little memory: 15 bytes each.
//!
//! A content is kept as the first 13 bytes of its SHA-256, its *mark*, and the entry that claims it. The first two bytes
//! select a bucket, the other eleven are in the row.
//!
//! Invariants:
//! - Rows are in the order of their marks, each mark once.
//! - This memory does not grow by more than the rows while others are merged into it.

use std::collections::BTreeMap;
use std::ops::Range;

use crate::types::Sha256;

/// Bytes of a mark.
pub const MARK_BYTES: usize = 13;
/// Bytes of a mark that select its bucket.
const BUCKET_BYTES: usize = 2;
/// Bytes of a mark in its row.
const REST_BYTES: usize = MARK_BYTES - BUCKET_BYTES;
/// How far from the place where it should be a row is looked for first, in rows: two lines of the processor's cache.
const NEAR_ROWS: usize = 8;
/// Buckets.
pub const BUCKETS: usize = 1 << (8 * BUCKET_BYTES);

/// By what a shard tells contents apart. That two of 10^9 contents have one mark has a probability of 10^-13. To make two
/// such files takes some 2^52 trials; the second of them is refused then, and not taken for a duplicate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mark(pub [u8; MARK_BYTES]);

impl Mark {
    /// The mark of a content.
    pub fn of(content: &Sha256) -> Mark {
        Mark(std::array::from_fn(|at| content.0[at]))
    }

    /// Its bucket.
    pub fn bucket(self) -> usize {
        usize::from(u16::from_be_bytes([self.0[0], self.0[1]]))
    }
}

/// The other bytes of a mark, and the entry: little-endian in the last four.
type Row = [u8; REST_BYTES + 4];

/// The contents.
#[derive(Clone, Debug, Default)]
pub struct Rows {
    /// For each bucket the number of its first row, and at the end the number of rows. Empty if there are none.
    buckets: Vec<u32>,
    rows: Vec<Row>,
}

fn row_of(mark: Mark, entry: u32) -> Row {
    let mut row = [0; size_of::<Row>()];
    row[..REST_BYTES].copy_from_slice(&mark.0[BUCKET_BYTES..]);
    row[REST_BYTES..].copy_from_slice(&entry.to_le_bytes());
    row
}

fn mark_of(bucket: usize, row: &Row) -> Mark {
    let [high, low] = (bucket as u16).to_be_bytes();
    let mut mark = [high; MARK_BYTES];
    mark[1] = low;
    mark[BUCKET_BYTES..].copy_from_slice(&row[..REST_BYTES]);
    Mark(mark)
}

fn entry_of(row: &Row) -> u32 {
    let [.., a, b, c, d] = *row;
    u32::from_le_bytes([a, b, c, d])
}

impl Rows {
    /// The number of contents.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// True if there are none.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Bytes of memory.
    pub fn memory_bytes(&self) -> usize {
        4 * self.buckets.capacity() + size_of::<Row>() * self.rows.capacity()
    }

    fn range(&self, bucket: usize) -> Range<usize> {
        let at = |bucket: usize| self.buckets.get(bucket).map_or(0, |first| *first as usize);
        at(bucket)..at(bucket + 1)
    }

    /// The place of the mark's row, or the one that it would get.
    fn find(&self, mark: Mark) -> Result<usize, usize> {
        let range = self.range(mark.bucket());
        let (rows, rest) = (&self.rows[range.clone()], &mark.0[BUCKET_BYTES..]);
        // Marks are as good as random: a row lies near the place that its first bytes say, and so in memory that one look
        // brings along.
        let said = usize::from(u16::from_be_bytes([rest[0], rest[1]]));
        let window = near(rows.len(), (rows.len() * said) >> 16, &|at| rows[at][..REST_BYTES] < *rest);
        let found = rows[window.clone()].binary_search_by(|row| row[..REST_BYTES].cmp(rest));
        let first = range.start + window.start;
        found.map(|at| first + at).map_err(|at| first + at)
    }

    /// The entry that claims the content with this mark.
    pub fn get(&self, mark: Mark) -> Option<u32> {
        self.find(mark).ok().map(|at| entry_of(&self.rows[at]))
    }

    /// The contents in some buckets, of 2^16, in order.
    pub fn iter(&self, buckets: Range<usize>) -> impl Iterator<Item = (Mark, u32)> {
        let of = |bucket| self.rows[self.range(bucket)].iter().map(move |row| (mark_of(bucket, row), entry_of(row)));
        let buckets = if self.is_empty() { 0..0 } else { buckets };
        buckets.flat_map(of)
    }

    /// Prepares for so many contents.
    pub fn reserve(&mut self, rows: usize) {
        self.rows.reserve_exact(rows);
        self.buckets.resize(BUCKETS + 1, 0);
    }

    /// True if it was prepared.
    pub fn is_reserved(&self) -> bool {
        !self.buckets.is_empty()
    }

    /// Adds a content behind all others. [`Rows::seal`] has to follow.
    pub fn push(&mut self, mark: Mark, entry: u32) {
        if !self.is_reserved() {
            self.reserve(0);
        }
        self.buckets[mark.bucket() + 1] += 1;
        self.rows.push(row_of(mark, entry));
    }

    /// Ends a series of [`Rows::push`] into rows that were empty.
    pub fn seal(&mut self) {
        let mut sum = 0;
        for count in &mut self.buckets {
            sum += *count;
            *count = sum;
        }
    }

    /// Adds contents, or replaces their entries.
    pub fn merge(&mut self, others: &BTreeMap<Mark, u32>) {
        self.buckets.resize(BUCKETS + 1, 0);
        let places: Vec<Result<usize, usize>> = others.keys().map(|mark| self.find(*mark)).collect();
        let (mut from, mut added) = (self.rows.len(), vec![0_u32; BUCKETS]);
        let mut to = from + places.iter().filter(|place| place.is_err()).count();
        self.rows.reserve_exact(to - from);
        self.rows.resize(to, [0; size_of::<Row>()]);
        // From the end, so that no row is written over before it has moved.
        for ((mark, entry), place) in others.iter().zip(&places).rev() {
            let (Ok(at) | Err(at)) = *place;
            let behind = at + usize::from(place.is_ok())..from;
            to -= behind.len();
            self.rows.copy_within(behind, to);
            (from, to) = (at, to - 1);
            self.rows[to] = row_of(*mark, *entry);
            added[mark.bucket()] += u32::from(place.is_err());
        }
        let mut sum = 0;
        for (first, added) in self.buckets[1..].iter_mut().zip(added) {
            sum += added;
            *first += sum;
        }
    }
}

/// A range of `len` places that holds the first one of which `is_before` does not hold, or its end: as small as looks
/// around `guess` find it.
fn near(len: usize, guess: usize, is_before: &dyn Fn(usize) -> bool) -> Range<usize> {
    if guess >= len {
        return 0..len;
    }
    let mut step = NEAR_ROWS;
    if is_before(guess) {
        let mut first = guess + 1;
        loop {
            let next = first + step;
            if next >= len {
                return first..len;
            }
            if !is_before(next) {
                return first..next + 1;
            }
            (first, step) = (next + 1, step * 2);
        }
    }
    let mut end = guess + 1;
    loop {
        let Some(next) = end.checked_sub(step + 1) else { return 0..end };
        if is_before(next) {
            return next + 1..end;
        }
        (end, step) = (next + 1, step * 2);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mark(number: u64) -> Mark {
        let mixed = number.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ number << 7;
        let mut mark = [0x5a; MARK_BYTES];
        mark[..8].copy_from_slice(&mixed.to_be_bytes());
        Mark(mark)
    }

    #[test]
    fn merged_rows_are_those_of_a_map() {
        let (mut rows, mut all) = (Rows::default(), BTreeMap::new());
        for round in 0..20_u64 {
            // Some are new, and some replace others; the first and the last mark are among them.
            let mut more: BTreeMap<Mark, u32> =
                (0..500).map(|at| (mark(at * (round + 1)), (round * 1000 + at) as u32)).collect();
            if round % 3 == 0 {
                more.insert(Mark([0; MARK_BYTES]), round as u32);
                more.insert(Mark([0xff; MARK_BYTES]), round as u32);
            }
            all.extend(&more);
            rows.merge(&more);
            assert!(rows.iter(0..BUCKETS).eq(all.iter().map(|(mark, entry)| (*mark, *entry))), "round {round}");
            assert!(all.iter().all(|(mark, entry)| rows.get(*mark) == Some(*entry)));
            assert_eq!(rows.get(mark(1_000_003)), None);
        }
        let mut pushed = Rows::default();
        all.iter().for_each(|(mark, entry)| pushed.push(*mark, *entry));
        pushed.seal();
        assert_eq!((pushed.buckets, pushed.rows), (rows.buckets, rows.rows));
    }

    #[test]
    fn no_rows_are_no_contents() {
        let mut rows = Rows::default();
        assert_eq!((rows.get(mark(1)), rows.iter(0..BUCKETS).count()), (None, 0));
        rows.merge(&BTreeMap::new());
        assert!(rows.is_empty());
    }
}
