//! What all entries of a shard add up to: which contents are claimed, and which generation a further claim would have.
//!
//! Invariants:
//! - This is a pure function of the entries: two hosts that have read the same log hold the same.
//! - *Unclaimed only*: an entry that claims a content once more is refused, whoever wrote it.
//! - A content's generation is the number of times that it was forgotten.
//! - Contents are told apart by their [`Mark`]; 13 to 15 bytes of memory each, and more for those that were forgotten by
//!   name or claimed again, and for the last [`LAKE_CONTENTS_LATER_MAX`].

use std::collections::BTreeMap;

use super::entry::{Body, Claim, Entry, Forget};
use super::rows::{BUCKETS, MARK_BYTES, Mark, Rows};
use crate::limits::LAKE_CONTENTS_LATER_MAX;
use crate::types::Sha256;

/// One content that was ever claimed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Content {
    /// The entry that claimed it last.
    pub entry: u64,
    /// How often it was forgotten before that.
    pub generation: u32,
    /// It was forgotten since.
    pub is_forgotten: bool,
}

/// What is to be said of a content besides its entry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Odd {
    /// See [`Content::generation`].
    pub generation: u32,
    /// It was forgotten by name since.
    pub is_forgotten: bool,
}

/// Contents as they are read from a checkpoint: few as those that come later, many as rows.
#[derive(Debug, Default)]
pub struct Kept {
    rows: Rows,
    later: BTreeMap<Mark, u32>,
}

impl Kept {
    /// Prepares for so many contents, which entries below this number claim.
    pub fn new(contents: usize, below: u64) -> Kept {
        let mut kept = Kept::default();
        if contents >= LAKE_CONTENTS_LATER_MAX {
            let entry_max = u32::try_from(below.saturating_sub(1)).unwrap_or(u32::MAX);
            kept.rows.reserve(contents, entry_max);
        }
        kept
    }

    /// Adds a content behind all others.
    pub fn push(&mut self, mark: Mark, entry: u32) {
        if self.rows.is_reserved() {
            self.rows.push(mark, entry);
        } else {
            self.later.insert(mark, entry);
        }
    }

    /// The number of contents.
    pub fn len(&self) -> usize {
        self.rows.len() + self.later.len()
    }

    /// True if there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// All contents of a shard.
#[derive(Clone, Debug, Default)]
pub struct Contents {
    rows: Rows,
    /// Those that were claimed last; they count more than the rows.
    later: BTreeMap<Mark, u32>,
    odd: BTreeMap<Mark, Odd>,
    /// Every content that an entry below this number claimed last is forgotten.
    forgotten_below: u64,
    floor: u64,
    len: usize,
}

/// Two hold the same if they say the same of each content, however they keep it.
impl PartialEq for Contents {
    fn eq(&self, other: &Contents) -> bool {
        let all = |contents: &Contents| contents.marks(0, 1).collect::<Vec<_>>();
        (self.floor, self.forgotten_below, &self.odd) == (other.floor, other.forgotten_below, &other.odd)
            && self.len == other.len
            && all(self) == all(other)
    }
}

impl Eq for Contents {}

impl Contents {
    /// What a checkpoint holds: contents with their entries, in order.
    pub fn restored(kept: Kept, odd: BTreeMap<Mark, Odd>, forgotten_below: u64, floor: u64) -> Contents {
        let Kept { mut rows, later } = kept;
        rows.seal();
        let len = rows.len() + later.len();
        Contents { rows, later, odd, forgotten_below, floor, len }
    }

    fn entry_of(&self, mark: Mark) -> Option<u32> {
        self.later.get(&mark).copied().or_else(|| self.rows.get(mark))
    }

    /// The content, if it was ever claimed.
    pub fn get(&self, content: &Sha256) -> Option<Content> {
        let mark = Mark::of(content);
        let entry = u64::from(self.entry_of(mark)?);
        let Odd { generation, is_forgotten } = self.odd.get(&mark).copied().unwrap_or_default();
        Some(Content { entry, generation, is_forgotten: is_forgotten || entry < self.forgotten_below })
    }

    /// The marks and entries of the contents in one of several pieces, a power of two up to 2^16, of all marks; in order.
    pub fn marks(&self, piece: usize, pieces: usize) -> impl Iterator<Item = (Mark, u32)> {
        let (from, to) = (bounds(piece, pieces), bounds(piece + 1, pieces));
        let first = |bucket: usize| {
            let mut mark = [0; MARK_BYTES];
            mark[..2].copy_from_slice(&(bucket as u16).to_be_bytes());
            Mark(mark)
        };
        let (mut rows, begin) = (self.rows.iter(from..to).peekable(), first(from));
        let later: Box<dyn Iterator<Item = (&Mark, &u32)>> = match u16::try_from(to) {
            Ok(_) => Box::new(self.later.range(begin..first(to))),
            Err(_) => Box::new(self.later.range(begin..)),
        };
        let mut later = later.map(|(mark, entry)| (*mark, *entry)).peekable();
        std::iter::from_fn(move || match (rows.peek(), later.peek()) {
            (Some((row, _)), Some((mark, _))) if row == mark => {
                rows.next();
                later.next()
            }
            (Some((row, _)), Some((mark, _))) if row < mark => rows.next(),
            (_, Some(_)) => later.next(),
            (_, None) => rows.next(),
        })
    }

    /// What else is to be said of contents in a piece; in order.
    pub fn odd(&self, piece: usize, pieces: usize) -> impl Iterator<Item = (&Mark, &Odd)> {
        let buckets = bounds(piece, pieces)..bounds(piece + 1, pieces);
        self.odd.iter().filter(move |(mark, _)| buckets.contains(&mark.bucket()))
    }

    /// The number of contents that were ever claimed.
    pub fn len(&self) -> usize {
        self.len
    }

    /// True if nothing was ever claimed.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The highest floor of an entry.
    pub fn floor(&self) -> u64 {
        self.floor
    }

    /// Every content that an entry below this number claimed last is forgotten.
    pub fn forgotten_below(&self) -> u64 {
        self.forgotten_below
    }

    /// The generation that a claim of this content must have; None if it is claimed.
    pub fn next_generation(&self, content: &Sha256) -> Option<u32> {
        match self.get(content) {
            None => Some(0),
            Some(known) if known.is_forgotten => known.generation.checked_add(1),
            Some(_) => None,
        }
    }

    /// Checks that the entry contradicts none before it.
    pub fn check(&self, entry: &Entry) -> Result<(), &'static str> {
        if entry.header.floor < self.floor {
            return Err("the entry's floor is below that of an earlier one");
        }
        match &entry.body {
            Body::Claims(body) => {
                let is_next = |claim: &Claim| self.next_generation(&claim.sha256) == Some(claim.generation);
                body.claims.iter().all(is_next).then_some(()).ok_or("the entry claims a content that is claimed")
            }
            Body::Forget(body) => {
                let may = |content: &Sha256| {
                    self.get(content).is_some_and(|known| !known.is_forgotten && known.entry < entry.header.floor)
                };
                body.contents.iter().all(may).then_some(()).ok_or("the entry forgets a content that is not finished")
            }
            Body::Upgrade(_) => Ok(()),
        }
    }

    /// Adds an entry that has passed [`Contents::check`].
    pub fn add(&mut self, entry: &Entry) {
        self.floor = entry.header.floor;
        // The number is below 2^32: the entry was checked.
        let number = entry.header.number as u32;
        for claim in entry.claims() {
            let mark = Mark::of(&claim.sha256);
            // What has never been claimed has the generation 0, and nothing else: the entry was checked.
            let is_new = self.later.insert(mark, number).is_none() && claim.generation == 0;
            self.len += usize::from(is_new);
            if claim.generation > 0 {
                self.odd.insert(mark, Odd { generation: claim.generation, is_forgotten: false });
            }
        }
        if let Body::Forget(body) = &entry.body {
            self.forget(body);
        }
        if self.later.len() >= LAKE_CONTENTS_LATER_MAX {
            self.rows.merge(&std::mem::take(&mut self.later));
        }
    }

    fn forget(&mut self, body: &Forget) {
        for content in &body.contents {
            self.odd.entry(Mark::of(content)).or_default().is_forgotten = true;
        }
        self.forgotten_below = self.forgotten_below.max(body.below);
    }

    /// Bytes of memory of the rows.
    pub fn memory_bytes(&self) -> usize {
        self.rows.memory_bytes()
    }
}

/// Where a piece begins, in buckets.
fn bounds(piece: usize, pieces: usize) -> usize {
    piece * (BUCKETS / pieces.clamp(1, BUCKETS))
}

#[cfg(test)]
mod tests;
