//! A checkpoint: what all entries of a shard below a number add up to, so that a host need not read them.
//!
//! Invariants:
//! - A checkpoint is a pure function of the log: two hosts write the same bytes, or one of them has read another log.
//! - There is exactly one encoding: what is decoded encodes to the same bytes, or is refused. Decoding never panics.
//! - A large one consists of several pieces, each an object of its own, so that neither its writer nor its reader has more
//!   than a few of them in memory beside the contents.

use std::collections::BTreeMap;

use super::bytes::Fields;
use super::claims::{Contents, Kept, Odd};
use super::format::{CHECKPOINT_MAGIC, LakeId, VERSION};
use super::log::Log;
use super::rows::{BUCKETS, MARK_BYTES, Mark};
use crate::limits::{LAKE_CHECKPOINT_ROWS, LAKE_CONTENTS_MAX};

/// Bytes of a piece's header.
const HEADER_BYTES: usize = 128;
/// Bytes of a row: the mark and the entry.
const ROW_BYTES: usize = MARK_BYTES + 4;
/// Bytes of a further row: the mark, the generation, and flags.
const ODD_BYTES: usize = MARK_BYTES + 4 + 4;
const FLAG_FORGOTTEN: u32 = 1;

/// The sum of the entries of a shard below a number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// How far the log was read.
    pub log: Log,
    /// What it adds up to.
    pub contents: Contents,
}

/// One piece of a checkpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Piece {
    /// What all pieces of a checkpoint say.
    pub whole: Whole,
    /// Its number, from 0.
    pub number: usize,
    rows: Vec<(Mark, u32)>,
    odd: Vec<(Mark, Odd)>,
}

/// What all pieces of a checkpoint say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Whole {
    /// How far the log was read.
    pub log: Log,
    /// The highest floor of an entry.
    pub floor: u64,
    /// Every content that an entry below this number claimed last is forgotten.
    pub forgotten_below: u64,
    /// The number of contents in all pieces.
    pub contents: usize,
}

impl Whole {
    /// The number of pieces.
    pub fn pieces(&self) -> usize {
        pieces(self.contents)
    }
}

/// The number of pieces for so many contents: a power of two.
pub fn pieces(contents: usize) -> usize {
    contents.div_ceil(LAKE_CHECKPOINT_ROWS).next_power_of_two().min(BUCKETS)
}

/// The bytes of all pieces of a checkpoint of so many contents, about.
pub fn bytes(contents: usize) -> u64 {
    (contents as u64).saturating_mul(ROW_BYTES as u64)
}

/// The bytes of a piece of the checkpoint of this log at its place.
pub fn encode(log: &Log, contents: &Contents, piece: usize) -> Vec<u8> {
    let pieces = pieces(contents.len());
    let (mut rows, mut odd) = (Vec::new(), Vec::new());
    for (mark, entry) in contents.marks(piece, pieces) {
        rows.extend_from_slice(&mark.0);
        rows.extend_from_slice(&entry.to_le_bytes());
    }
    for (mark, Odd { generation, is_forgotten }) in contents.odd(piece, pieces) {
        odd.extend_from_slice(&mark.0);
        odd.extend_from_slice(&generation.to_le_bytes());
        odd.extend_from_slice(&u32::from(*is_forgotten).to_le_bytes());
    }
    let mut out = Vec::with_capacity(HEADER_BYTES + rows.len() + odd.len());
    out.extend_from_slice(&CHECKPOINT_MAGIC);
    out.extend_from_slice(&VERSION.to_le_bytes());
    out.extend_from_slice(&log.shard().to_le_bytes());
    out.extend_from_slice(&log.lake().0);
    out.extend_from_slice(&log.next().to_le_bytes());
    out.extend_from_slice(&log.chain().0);
    out.extend_from_slice(&contents.floor().to_le_bytes());
    out.extend_from_slice(&contents.forgotten_below().to_le_bytes());
    out.extend_from_slice(&(contents.len() as u64).to_le_bytes());
    for count in [piece, rows.len() / ROW_BYTES, odd.len() / ODD_BYTES] {
        out.extend_from_slice(&(count as u32).to_le_bytes());
    }
    for section in [&rows, &odd] {
        out.extend_from_slice(&crc32c::crc32c(section).to_le_bytes());
    }
    out.resize(HEADER_BYTES - 4, 0);
    out.extend_from_slice(&crc32c::crc32c(&out).to_le_bytes());
    out.extend_from_slice(&rows);
    out.extend_from_slice(&odd);
    out
}

/// Reads a piece: all of `bytes`. None if it is not one that [`encode`] writes.
pub fn decode(bytes: &[u8]) -> Option<Piece> {
    let (header, rest) = bytes.split_at_checked(HEADER_BYTES)?;
    let (covered, checksum) = header.split_last_chunk::<4>()?;
    let mut fields = Fields(covered);
    let is_known = fields.array() == Some(CHECKPOINT_MAGIC) && fields.u16() == Some(VERSION);
    if !is_known || u32::from_le_bytes(*checksum) != crc32c::crc32c(covered) {
        return None;
    }
    let (shard, lake) = (fields.u16()?, LakeId(fields.array()?));
    let (next, chain, floor, forgotten_below) = (fields.u64()?, fields.digest()?, fields.u64()?, fields.u64()?);
    let contents = usize::try_from(fields.u64()?).ok().filter(|contents| *contents <= LAKE_CONTENTS_MAX)?;
    let whole = Whole { log: Log::at(lake, shard, next, chain), floor, forgotten_below, contents };
    let [number, rows, odd] = [fields.u32()? as usize, fields.u32()? as usize, fields.u32()? as usize];
    let checksums = [fields.u32()?, fields.u32()?];
    if number >= whole.pieces() || fields.0.iter().any(|byte| *byte != 0) || floor > next || forgotten_below > floor {
        return None;
    }
    let mut rest = Fields(rest);
    let sections = [rest.take(rows.checked_mul(ROW_BYTES)?)?, rest.take(odd.checked_mul(ODD_BYTES)?)?];
    let are_whole = sections.iter().zip(checksums).all(|(section, checksum)| crc32c::crc32c(section) == checksum);
    if !are_whole || !rest.0.is_empty() {
        return None;
    }
    let (rows, odd) = (decode_rows(sections[0], next)?, decode_odd(sections[1])?);
    let is_mine = |mark: &Mark| mark.bucket() / (BUCKETS / whole.pieces()) == number;
    let are_mine = rows.iter().all(|(mark, _)| is_mine(mark)) && odd.iter().all(|(mark, _)| is_mine(mark));
    let are_known = odd.iter().all(|(mark, _)| rows.binary_search_by_key(mark, |(mark, _)| *mark).is_ok());
    (are_mine && are_known).then_some(Piece { whole, number, rows, odd })
}

fn mark(fields: &mut Fields<'_>) -> Option<Mark> {
    fields.array().map(Mark)
}

fn decode_rows(bytes: &[u8], next: u64) -> Option<Vec<(Mark, u32)>> {
    let mut rows: Vec<(Mark, u32)> = Vec::with_capacity(bytes.len() / ROW_BYTES);
    for row in bytes.chunks_exact(ROW_BYTES) {
        let mut fields = Fields(row);
        let (mark, entry) = (mark(&mut fields)?, fields.u32()?);
        if rows.last().is_some_and(|(before, _)| *before >= mark) || u64::from(entry) >= next {
            return None;
        }
        rows.push((mark, entry));
    }
    Some(rows)
}

fn decode_odd(bytes: &[u8]) -> Option<Vec<(Mark, Odd)>> {
    let mut all: Vec<(Mark, Odd)> = Vec::with_capacity(bytes.len() / ODD_BYTES);
    for row in bytes.chunks_exact(ODD_BYTES) {
        let mut fields = Fields(row);
        let (mark, generation, flags) = (mark(&mut fields)?, fields.u32()?, fields.u32()?);
        let odd = Odd { generation, is_forgotten: flags == FLAG_FORGOTTEN };
        let is_next = all.last().is_none_or(|(before, _)| *before < mark);
        if !is_next || flags > FLAG_FORGOTTEN || odd == Odd::default() {
            return None;
        }
        all.push((mark, odd));
    }
    Some(all)
}

/// Joins pieces, in their order.
#[derive(Debug)]
pub struct Joined {
    whole: Whole,
    pieces: usize,
    kept: Kept,
    odd: BTreeMap<Mark, Odd>,
}

impl Joined {
    /// Begins with what the first piece says.
    pub fn new(whole: Whole) -> Joined {
        let kept = Kept::new(whole.contents, whole.log.next());
        Joined { whole, pieces: 0, kept, odd: BTreeMap::new() }
    }

    /// Adds the next piece. None if it is another one.
    pub fn add(&mut self, piece: Piece) -> Option<()> {
        let fits = self.kept.len() + piece.rows.len() <= self.whole.contents;
        if piece.whole != self.whole || piece.number != self.pieces || !fits {
            return None;
        }
        self.pieces += 1;
        piece.rows.into_iter().for_each(|(mark, entry)| self.kept.push(mark, entry));
        self.odd.extend(piece.odd);
        Some(())
    }

    /// The checkpoint, if all pieces were added.
    pub fn finish(self) -> Option<Checkpoint> {
        let Whole { log, floor, forgotten_below, contents } = self.whole;
        if self.pieces != pieces(contents) || self.kept.len() != contents {
            return None;
        }
        Some(Checkpoint { log, contents: Contents::restored(self.kept, self.odd, forgotten_below, floor) })
    }
}

#[cfg(test)]
mod tests;
