//! Reads CSV in which nothing is unusual, 64 bytes at once.
//!
//! Invariants:
//! - It finds no fault: a block in which there may be one is left to [`super::text`], which reads byte by byte.
//! - A block that it takes has the records, the line ends and the last state that `text` would find.
//! - It takes only text of whole characters without NUL bytes, after the header.
//!
//! For each block it makes masks: numbers in which each bit says whether a byte of the block is, say, a delimiter; the
//! lowest bit is for the first byte. One addition then finds, for all records of the block, the next separator: it carries
//! from a field's first byte through its other bytes up to the separator.

use memchr::memchr3;

/// Bytes in a block: one for each bit of a mask.
pub(super) const BLOCK_BYTES: usize = 64;
/// Up to this number of columns all records of a block are followed at once, column by column; from there on, one by
/// one. A block has few records of many columns.
const COLUMNS_AT_ONCE_MAX: u64 = 8;

type Block = [u8; BLOCK_BYTES];

/// The position of the next byte in a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum At {
    /// Before its first field, or between two records.
    Begin,
    /// Before the first byte of a further field.
    Field,
    /// In a field without quotes.
    Bare,
    /// Between quotes.
    Quoted,
    /// After a quote inside quotes: the field's end, or half of a doubled quote.
    Quote,
    /// After a CR, which ends the record or is alone.
    Cr,
    /// In a line that is skipped, or a comment.
    Aside,
    /// After a CR in such a line.
    AsideCr,
}

/// Between two bytes of a text.
#[derive(Clone, Copy, Debug)]
pub(super) struct Position {
    pub(super) at: At,
    /// Delimiters in the current record so far.
    pub(super) delimiters: u64,
    /// The line of the next byte.
    pub(super) line: u64,
    /// The line on which the current record begins; None between two records.
    pub(super) begins_at: Option<u64>,
}

/// The bytes that have a meaning.
#[derive(Clone, Copy)]
pub(super) struct Syntax {
    pub(super) delimiter: u8,
    pub(super) quote: Option<u8>,
    /// Begins a line that is a comment.
    pub(super) comment: Option<u8>,
}

/// Where a block has what.
#[derive(Clone, Copy)]
struct Masks {
    delimiters: u64,
    /// Line ends that end a record.
    ends: u64,
    /// All line ends.
    lines: u64,
    quotes: u64,
    returns: u64,
    /// Bytes that are in quotes, from the opening quote on up to the closing one, which is not.
    quoted: u64,
}

/// The bit of a byte, before the order of the bits is the order of the bytes.
const BITS: Block = {
    let (mut bits, mut at) = ([0; BLOCK_BYTES], 0);
    while at < BLOCK_BYTES {
        bits[at] = 1 << (at / 8);
        at += 1;
    }
    bits
};

/// The masks of two bytes.
// In this form the compiler makes vector code of it, and not with iterators: that is three times as fast.
#[allow(clippy::needless_range_loop)]
fn masks(block: &Block, wanted: [u8; 2]) -> [u64; 2] {
    let mut masks = wanted.map(|byte| {
        let mut hits = [0; 16];
        for part in 0..4 {
            for lane in 0..16 {
                let at = 16 * part + lane;
                hits[lane] |= if block[at] == byte { BITS[at] } else { 0 };
            }
        }
        hits.as_chunks().0.iter().fold(0, |mask, hits| mask | u64::from_le_bytes(*hits))
    });
    // Byte i has the bits of bytes i, i + 8, i + 16...: transposes the 8 × 8 bits.
    for (shift, part) in [(7, 0x00aa_00aa_00aa_00aa), (14, 0xcccc_0000_cccc), (28, 0xf0f0_f0f0)] {
        for mask in &mut masks {
            let moved = (*mask ^ (*mask >> shift)) & part;
            *mask ^= moved ^ (moved << shift);
        }
    }
    masks
}

/// A mask without its bits up to and including the highest one of `last`.
fn after(mask: u64, last: u64) -> u64 {
    let through = u64::BITS - last.leading_zeros();
    mask.checked_shr(through).unwrap_or(0)
}

/// The bits of a mask each say whether the number of bits up to it is odd.
fn parities(mut mask: u64) -> u64 {
    for shift in [1, 2, 4, 8, 16, 32] {
        mask ^= mask << shift;
    }
    mask
}

impl Syntax {
    /// True if its bytes cannot be confused with each other.
    fn is_plain(self) -> bool {
        let all = [Some(self.delimiter), self.quote, Some(b'\n'), Some(b'\r')];
        (1..all.len()).all(|at| !all[..at].contains(&all[at]))
    }

    /// The distance to the next byte that is neither a delimiter, a line end nor a part of a field.
    fn unusual(self, text: &[u8]) -> usize {
        let [quote, comment] = [self.quote, self.comment].map(|byte| byte.unwrap_or(b'\r'));
        memchr3(b'\r', quote, comment, text).unwrap_or(text.len())
    }

    /// Takes whole blocks of the text in which each record has this number of columns, and moves the position behind
    /// them. Returns the number of bytes that it took, and the number of records that end there.
    pub(super) fn take(self, columns: u64, position: &mut Position, text: &[u8]) -> (usize, u64) {
        let (mut taken, mut records) = (0, 0);
        if matches!(position.at, At::Aside | At::AsideCr) || !self.is_plain() {
            return (0, 0);
        }
        while let Some(block) = text[taken..].first_chunk() {
            if matches!(position.at, At::Begin | At::Field | At::Bare) {
                let bare = self.unusual(&text[taken..]);
                if bare >= BLOCK_BYTES {
                    let (bytes, ends) = self.take_bare(columns, position, &text[taken..taken + bare]);
                    (taken, records) = (taken + bytes, records + ends);
                    if bytes + BLOCK_BYTES <= bare {
                        break;
                    }
                    continue;
                }
            }
            let Some(found) = self.any(block, position) else { break };
            let Some(delimiters) = follow(found.delimiters, found.ends, position.delimiters, columns) else { break };
            position.pass(&found);
            position.delimiters = delimiters;
            records += u64::from(found.ends.count_ones());
            taken += BLOCK_BYTES;
        }
        (taken, records)
    }

    /// The same for text without quotes, CR and comments.
    fn take_bare(self, columns: u64, position: &mut Position, text: &[u8]) -> (usize, u64) {
        let (mut taken, mut records, mut delimiters) = (0, 0, position.delimiters);
        for block in text.as_chunks().0 {
            let [separators, ends] = masks(block, [self.delimiter, b'\n']);
            match follow(separators, ends, delimiters, columns) {
                Some(now) => delimiters = now,
                None => break,
            }
            records += u64::from(ends.count_ones());
            taken += BLOCK_BYTES;
        }
        let Some(last) = text[..taken].last() else { return (0, 0) };
        let begun_at = position.begins_at.filter(|_| records == 0).unwrap_or(position.line + records);
        position.delimiters = delimiters;
        position.line += records;
        position.begins_at = (*last != b'\n').then_some(begun_at);
        position.at = match *last {
            b'\n' => At::Begin,
            last if last == self.delimiter => At::Field,
            _ => At::Bare,
        };
        (taken, records)
    }

    /// Any block; None if there is something wrong with its quotes or line ends, or if it has a comment.
    fn any(self, block: &Block, position: &Position) -> Option<Masks> {
        let at = |it| u64::from(position.at == it);
        let [delimiters, lines] = masks(block, [self.delimiter, b'\n']);
        let [returns, quotes] = masks(block, [b'\r', self.quote.unwrap_or(b'\r')]);
        let quotes = if self.quote.is_some() { quotes } else { 0 };
        let quoted = parities(quotes) ^ at(At::Quoted).wrapping_neg();
        let [delimiters, ends, returns] = [delimiters, lines, returns].map(|mask| mask & !quoted);
        let (opening, closing) = (quotes & quoted, quotes & !quoted);
        let begins = ends << 1 | at(At::Begin);
        let behind_closing = closing << 1 | at(At::Quote);
        let comments = self.comment.map_or(0, |comment| masks(block, [comment; 2])[0]);
        let wrong = [
            // A quote within a field.
            opening & !(begins | delimiters << 1 | at(At::Field) | behind_closing),
            behind_closing & !(quotes | delimiters | ends | returns),
            (returns << 1 | at(At::Cr)) & !ends,
            // An empty line.
            begins & returns,
            begins & comments,
        ];
        let found = Masks { delimiters, ends, lines, quotes, returns, quoted };
        (wrong.iter().fold(0, |all, one| all | one) == 0).then_some(found)
    }
}

/// The number of delimiters in the last record of a block, if a record begins with this many before the block. None if a
/// record does not have this number of columns, or if there is an empty line that is no record.
#[inline]
fn follow(delimiters: u64, ends: u64, before: u64, columns: u64) -> Option<u64> {
    match columns {
        _ if before >= columns => None,
        0..=COLUMNS_AT_ONCE_MAX => follow_all(delimiters, ends, before, columns),
        _ => follow_each(delimiters, ends, before, columns),
    }
}

#[inline(always)]
fn follow_all(delimiters: u64, ends: u64, before: u64, columns: u64) -> Option<u64> {
    let separators = delimiters | ends;
    let (mut begins, mut wrong, mut last, mut now) = (ends << 1, 0, 0, 0);
    for column in 0..columns {
        wrong |= last & ends;
        begins |= u64::from(column == before);
        let (sum, is_open) = begins.overflowing_add(!separators);
        last = sum & separators;
        now = if is_open {
            column
        } else if last >> 63 == 1 {
            column + 1
        } else {
            now
        };
        begins = last << 1;
    }
    (wrong | (last ^ ends) == 0).then_some(if now == columns { 0 } else { now })
}

fn follow_each(mut delimiters: u64, mut ends: u64, mut before: u64, columns: u64) -> Option<u64> {
    while ends != 0 {
        let end = ends & ends.wrapping_neg();
        let record = delimiters & (end - 1);
        if before + u64::from(record.count_ones()) + 1 != columns {
            return None;
        }
        (before, ends, delimiters) = (0, ends ^ end, delimiters ^ record);
    }
    Some(before + u64::from(delimiters.count_ones()))
}

impl Position {
    /// Moves behind a block.
    fn pass(&mut self, found: &Masks) {
        let Masks { delimiters, ends, lines, quotes, returns, quoted } = *found;
        let begun_at = self.begins_at.unwrap_or(self.line);
        self.line += u64::from(lines.count_ones());
        let begun_at = if ends == 0 { begun_at } else { self.line - u64::from(after(lines, ends).count_ones()) };
        let is_last = |mask: u64| mask >> (BLOCK_BYTES - 1) == 1;
        self.begins_at = (!is_last(ends)).then_some(begun_at);
        self.at = match () {
            () if is_last(ends) => At::Begin,
            () if is_last(delimiters) => At::Field,
            () if is_last(quoted) => At::Quoted,
            () if is_last(quotes) => At::Quote,
            () if is_last(returns) => At::Cr,
            () => At::Bare,
        };
    }
}
