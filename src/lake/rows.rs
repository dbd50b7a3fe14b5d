//! Many contents in little memory: 13 bytes each, 14 from 2^16 entries on, 15 from 2^24 on.
//!
//! A content is kept as the first 13 bytes of its SHA-256, its *mark*, and the entry that claims it. The first two bytes
//! select a bucket, the other eleven are in the row. The number of the entry has as many bytes in each row as the highest
//! one needs.
//!
//! Invariants:
//! - Rows are in the order of their marks, each mark once.
//! - This memory does not grow by more than the rows while others are merged into it, or while rows get wider.

use std::collections::BTreeMap;
use std::ops::Range;

use crate::types::Sha256;

/// Bytes of a mark.
pub const MARK_BYTES: usize = 13;
/// Bytes of a mark that select its bucket.
const BUCKET_BYTES: usize = 2;
/// Bytes of a mark in its row.
const REST_BYTES: usize = MARK_BYTES - BUCKET_BYTES;
/// Bytes of an entry's number in a row, at least. With one byte, all rows would be moved after a few minutes.
const ENTRY_BYTES_MIN: usize = 2;
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

/// The contents.
#[derive(Clone, Debug)]
pub struct Rows {
    /// For each bucket the number of its first row, and at the end the number of rows. Empty if there are none.
    buckets: Vec<u32>,
    /// The rows, one behind the other: the other bytes of the mark, and the entry, little-endian.
    rows: Vec<u8>,
    /// Bytes of an entry's number in each row.
    entry_bytes: usize,
}

impl Default for Rows {
    fn default() -> Rows {
        Rows { buckets: Vec::new(), rows: Vec::new(), entry_bytes: ENTRY_BYTES_MIN }
    }
}

/// Bytes that the number of this entry needs.
fn entry_bytes(entry: u32) -> usize {
    let bits = u32::BITS - entry.leading_zeros();
    (bits.div_ceil(8) as usize).max(ENTRY_BYTES_MIN)
}

impl Rows {
    /// The number of contents.
    pub fn len(&self) -> usize {
        self.rows.len() / self.row_bytes()
    }

    /// True if there are none.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Bytes of memory.
    pub fn memory_bytes(&self) -> usize {
        4 * self.buckets.capacity() + self.rows.capacity()
    }

    fn row_bytes(&self) -> usize {
        REST_BYTES + self.entry_bytes
    }

    fn row(&self, at: usize) -> &[u8] {
        &self.rows[at * self.row_bytes()..][..self.row_bytes()]
    }

    /// The bytes of the mark in a row.
    fn rest(&self, at: usize) -> &[u8] {
        &self.rows[at * self.row_bytes()..][..REST_BYTES]
    }

    fn entry(&self, at: usize) -> u32 {
        let mut entry = [0; 4];
        entry[..self.entry_bytes].copy_from_slice(&self.row(at)[REST_BYTES..]);
        u32::from_le_bytes(entry)
    }

    fn mark(&self, bucket: usize, at: usize) -> Mark {
        let [high, low] = (bucket as u16).to_be_bytes();
        let mut mark = [high; MARK_BYTES];
        mark[1] = low;
        mark[BUCKET_BYTES..].copy_from_slice(self.rest(at));
        Mark(mark)
    }

    fn set(&mut self, at: usize, mark: Mark, entry: u32) {
        let (row_bytes, entry_bytes) = (self.row_bytes(), self.entry_bytes);
        let row = &mut self.rows[at * row_bytes..][..row_bytes];
        row[..REST_BYTES].copy_from_slice(&mark.0[BUCKET_BYTES..]);
        row[REST_BYTES..].copy_from_slice(&entry.to_le_bytes()[..entry_bytes]);
    }

    fn range(&self, bucket: usize) -> Range<usize> {
        let at = |bucket: usize| self.buckets.get(bucket).map_or(0, |first| *first as usize);
        at(bucket)..at(bucket + 1)
    }

    /// The place of the mark's row, or the one that it would get.
    fn find(&self, mark: Mark) -> Result<usize, usize> {
        let (range, rest) = (self.range(mark.bucket()), &mark.0[BUCKET_BYTES..]);
        // Marks are as good as random: a row lies near the place that its first bytes say, and so in memory that one look
        // brings along.
        let said = usize::from(u16::from_be_bytes([rest[0], rest[1]]));
        let is_before = |at: usize| self.rest(range.start + at) < rest;
        let Range { start: mut low, end: mut high } = near(range.len(), (range.len() * said) >> 16, &is_before);
        while low < high {
            let middle = low + (high - low) / 2;
            if is_before(middle) {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        let at = range.start + low;
        if at < range.end && self.rest(at) == rest { Ok(at) } else { Err(at) }
    }

    /// The entry that claims the content with this mark.
    pub fn get(&self, mark: Mark) -> Option<u32> {
        self.find(mark).ok().map(|at| self.entry(at))
    }

    /// The contents in some buckets, of 2^16, in order.
    pub fn iter(&self, buckets: Range<usize>) -> impl Iterator<Item = (Mark, u32)> {
        let of = move |bucket| self.range(bucket).map(move |at| (self.mark(bucket, at), self.entry(at)));
        let buckets = if self.is_empty() { 0..0 } else { buckets };
        buckets.flat_map(of)
    }

    /// Prepares for so many contents, claimed by entries with numbers up to this one.
    pub fn reserve(&mut self, rows: usize, entry_max: u32) {
        self.widen(entry_bytes(entry_max));
        self.rows.reserve_exact(rows * self.row_bytes());
        self.buckets.resize(BUCKETS + 1, 0);
    }

    /// True if it was prepared.
    pub fn is_reserved(&self) -> bool {
        !self.buckets.is_empty()
    }

    /// Gives each row at least so many bytes for its entry.
    fn widen(&mut self, entry_bytes: usize) {
        if entry_bytes <= self.entry_bytes {
            return;
        }
        let (from, to, count) = (self.row_bytes(), REST_BYTES + entry_bytes, self.len());
        self.rows.reserve_exact(count * (to - from));
        self.rows.resize(count * to, 0);
        // From the end, so that no row is written over before it has moved.
        for at in (0..count).rev() {
            self.rows.copy_within(at * from..(at + 1) * from, at * to);
            self.rows[at * to + from..(at + 1) * to].fill(0);
        }
        self.entry_bytes = entry_bytes;
    }

    /// Adds a content behind all others. [`Rows::seal`] has to follow.
    pub fn push(&mut self, mark: Mark, entry: u32) {
        if !self.is_reserved() {
            self.reserve(0, entry);
        }
        self.widen(entry_bytes(entry));
        self.buckets[mark.bucket() + 1] += 1;
        self.rows.extend_from_slice(&mark.0[BUCKET_BYTES..]);
        self.rows.extend_from_slice(&entry.to_le_bytes()[..self.entry_bytes]);
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
        self.widen(others.values().copied().max().map_or(ENTRY_BYTES_MIN, entry_bytes));
        let places: Vec<Result<usize, usize>> = others.keys().map(|mark| self.find(*mark)).collect();
        let (row_bytes, mut from, mut added) = (self.row_bytes(), self.len(), vec![0_u32; BUCKETS]);
        let mut to = from + places.iter().filter(|place| place.is_err()).count();
        self.rows.reserve_exact((to - from) * row_bytes);
        self.rows.resize(to * row_bytes, 0);
        // From the end, so that no row is written over before it has moved.
        for ((mark, entry), place) in others.iter().zip(&places).rev() {
            let (Ok(at) | Err(at)) = *place;
            let behind = at + usize::from(place.is_ok())..from;
            to -= behind.len();
            self.rows.copy_within(behind.start * row_bytes..behind.end * row_bytes, to * row_bytes);
            (from, to) = (at, to - 1);
            self.set(to, *mark, *entry);
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

    /// An entry whose number needs another byte moves all rows, wherever it comes in; all numbers stay what they are.
    #[test]
    fn rows_get_wider_with_the_numbers_of_entries() {
        let numbers = [0, 1, 0xff, 0x100, 0xffff, 0x1_0000, 0xff_ffff, 0x100_0000, u32::MAX];
        for most in 1..=numbers.len() {
            let (mut merged, mut all) = (Rows::default(), BTreeMap::new());
            for (round, number) in numbers[..most].iter().enumerate() {
                let more: BTreeMap<Mark, u32> = (0..300)
                    .map(|at| (mark(at * 7 + round as u64 % 3), number - at as u32 % number.saturating_add(1).min(9)))
                    .collect();
                all.extend(&more);
                merged.merge(&more);
                assert!(merged.iter(0..BUCKETS).eq(all.iter().map(|(mark, entry)| (*mark, *entry))), "{number}");
            }
            let (mut pushed, highest) = (Rows::default(), all.values().copied().max().unwrap());
            all.iter().for_each(|(mark, entry)| pushed.push(*mark, *entry));
            pushed.seal();
            let mut reserved = Rows::default();
            reserved.reserve(all.len(), highest);
            let room = reserved.rows.capacity();
            all.iter().for_each(|(mark, entry)| reserved.push(*mark, *entry));
            reserved.seal();
            assert_eq!((&pushed.rows, pushed.entry_bytes), (&merged.rows, merged.entry_bytes), "{highest}");
            assert_eq!((&reserved.rows, reserved.rows.capacity()), (&merged.rows, room), "{highest}");
            assert!(all.iter().all(|(mark, entry)| pushed.get(*mark) == Some(*entry)));
        }
    }

    #[test]
    fn no_rows_are_no_contents() {
        let mut rows = Rows::default();
        assert_eq!((rows.get(mark(1)), rows.iter(0..BUCKETS).count()), (None, 0));
        rows.merge(&BTreeMap::new());
        assert!(rows.is_empty());
    }
}
