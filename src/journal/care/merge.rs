//! Merges the rows of a snapshot and newer rows into a new snapshot.
//!
//! Invariants: one row is written for each key, the newest; expired contents are not written.

use std::sync::atomic::{AtomicBool, Ordering};

use hashbrown::{HashMap, HashSet};

use crate::fs::Fs;
use crate::journal::disk::error::Error;
use crate::journal::disk::expired::Expired;
use crate::journal::disk::snapshot::{Directories, Row, RowReader, Snapshot, Writer, key_of, stamps};
use crate::journal::memory::history::History;
use crate::types::{Key, Lsn};

/// Rows between two checks of the stop flag.
const ROWS_A_LOOK: u64 = 1024;

/// Rows since the snapshot, already encoded: a file takes little more memory here than on disk.
#[derive(Default)]
pub(in crate::journal) struct NewRows {
    /// The directories of the snapshot that the rows are merged with, followed by new ones.
    pub(in crate::journal) directories: Directories,
    bytes: Vec<u8>,
    order: Vec<RowPlace>,
}

/// How much of a row is known. Of several rows of the same file, the best counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::journal) enum Quality {
    /// The directories that it names are lost.
    WithoutDirectories,
    /// The file's DISCOVERED is lost.
    WithoutDiscovered,
    /// The file's MOVED is lost, and with it the identity of the published file.
    WithoutMoved,
    Whole,
}

/// The position of an encoded row.
#[derive(Clone, Copy)]
struct RowPlace {
    /// First eight bytes of the key: decide nearly every comparison.
    front: u64,
    /// The LSN of its MANIFESTED.
    lsn: Lsn,
    begin: usize,
    length: u16,
    quality: Quality,
}

impl NewRows {
    pub(in crate::journal) fn push(&mut self, row: &Row, quality: Quality) {
        let begin = self.bytes.len();
        row.encode(&mut self.directories, &mut self.bytes);
        let mut front = [0; 8];
        front.copy_from_slice(&row.key.0[..8]);
        let length = (self.bytes.len() - begin) as u16;
        self.order.push(RowPlace { front: u64::from_be_bytes(front), lsn: row.lsn, begin, length, quality });
    }

    /// Sorts the rows by key, equal ones by age, the oldest first; each file's row once.
    pub(in crate::journal) fn sorted(&mut self) -> SortedRows {
        let (bytes, mut order) = (std::mem::take(&mut self.bytes), std::mem::take(&mut self.order));
        let key = |place: &RowPlace| &bytes[place.begin..place.begin + 32];
        order.sort_unstable_by(|one, other| {
            let by_front = one.front.cmp(&other.front);
            let by_age = (one.lsn, one.quality).cmp(&(other.lsn, other.quality));
            by_front.then_with(|| key(one).cmp(key(other))).then(by_age)
        });
        drop_misnamed(&mut order, &key);
        // A repair finds the same row in damaged snapshots and in the segments from which they were made.
        order.dedup_by(|better, kept| {
            let is_same = better.lsn == kept.lsn && key(better) == key(kept);
            if is_same {
                *kept = *better;
            }
            is_same
        });
        SortedRows { bytes, order, next: 0 }
    }
}

/// Where names count, a row whose DISCOVERED is lost may have a wrong key: it goes if the file's right row is there. Each
/// file's MANIFESTED has an LSN of its own.
fn drop_misnamed<'a>(order: &mut Vec<RowPlace>, key: &dyn Fn(&RowPlace) -> &'a [u8]) {
    let is_doubtful = |place: &RowPlace| place.quality == Quality::WithoutDiscovered;
    if !order.iter().any(is_doubtful) {
        return;
    }
    let others = order.iter().filter(|place| !is_doubtful(place));
    let right: HashMap<Lsn, &[u8]> = others.map(|place| (place.lsn, key(place))).collect();
    order.retain(|place| !is_doubtful(place) || right.get(&place.lsn).is_none_or(|right| *right == key(place)));
}

/// New rows, sorted.
pub(in crate::journal) struct SortedRows {
    bytes: Vec<u8>,
    order: Vec<RowPlace>,
    next: usize,
}

impl SortedRows {
    pub(in crate::journal) fn len(&self) -> usize {
        self.order.len()
    }

    /// The row `places` after the next one.
    fn peek(&self, places: usize) -> Option<&[u8]> {
        let place = self.order.get(self.next + places)?;
        Some(&self.bytes[place.begin..place.begin + usize::from(place.length)])
    }
}

/// Decides which rows have expired.
pub(in crate::journal) struct Expiry {
    expired: Expired,
    /// Rows with a key that were listed before this LSN are forgotten.
    forgotten: HashMap<Key, Lsn>,
    referred_to: HashSet<Key>,
}

impl Expiry {
    /// Makes it from the history's records.
    pub(in crate::journal) fn of(history: &History) -> Expiry {
        Expiry {
            expired: history.expired().clone(),
            forgotten: history.forgotten().collect(),
            referred_to: history.referred_to(),
        }
    }

    fn is_old(&self, row: &[u8]) -> bool {
        let Some(stamps) = stamps(row) else { return false };
        self.expired.covers(stamps.lsn, stamps.listed_at, stamps.found_at)
            || !self.forgotten.is_empty() && key_of(row).is_some_and(|key| self.was_to_go(&key, stamps.lsn))
    }

    fn was_to_go(&self, key: &Key, lsn: Lsn) -> bool {
        self.forgotten.get(key).is_some_and(|forgotten| lsn < *forgotten)
    }

    /// True if a compaction would drop the row.
    pub(in crate::journal) fn forgets(&self, row: &Row) -> bool {
        let is_old = self.expired.covers(row.lsn, row.manifested_at, row.discovered_at);
        (is_old || self.was_to_go(&row.key, row.lsn)) && !self.referred_to.contains(&row.key)
    }

    fn has_expired(&self, row: &[u8]) -> bool {
        self.is_old(row) && !key_of(row).is_some_and(|key| self.referred_to.contains(&key))
    }
}

/// The result of a merge.
pub(in crate::journal) enum Merged {
    /// All rows were written.
    Done {
        /// Rows that were dropped because they have expired.
        forgotten: u64,
        /// Rows that a newer row with the same key replaced although they had not expired: no writer produces that.
        replaced: u64,
    },
    /// `stop` was set.
    Stopped,
}

/// Writes the rows of `old` and of `new`, in order.
pub(in crate::journal) fn merge<F: Fs>(
    writer: &mut Writer<'_, F>,
    old: Option<&Snapshot>,
    mut new: SortedRows,
    expiry: &Expiry,
    stop: &AtomicBool,
) -> Result<Merged, Error> {
    let (mut forgotten, mut replaced) = (0, 0);
    let mut old = old.map(Snapshot::rows);
    advance(&mut old)?;
    for count in 0_u64.. {
        if count.is_multiple_of(ROWS_A_LOOK) && stop.load(Ordering::Relaxed) {
            return Ok(Merged::Stopped);
        }
        let (old_row, new_row) = (old.as_ref().and_then(RowReader::row), new.peek(0));
        let (old_key, new_key) = (old_row.and_then(key_of), new_row.and_then(key_of));
        let (row, next, is_old) = match (old_row, new_row) {
            (None, None) => break,
            // Of equal keys the older row first.
            (Some(row), Some(_)) if old_key <= new_key => (row, new_key, true),
            (Some(row), None) => (row, None, true),
            (_, Some(row)) => (row, new.peek(1).and_then(key_of), false),
        };
        // A content that was forgotten and ingested again has two rows: the older is dropped.
        let is_replaced = next.is_some() && next == key_of(row);
        if is_replaced && !expiry.is_old(row) {
            replaced += 1;
        } else if is_replaced || expiry.has_expired(row) {
            forgotten += 1;
        } else {
            writer.push(row)?;
        }
        if is_old { advance(&mut old)? } else { new.next += 1 }
    }
    Ok(Merged::Done { forgotten, replaced })
}

fn advance(rows: &mut Option<RowReader<'_>>) -> Result<(), Error> {
    rows.as_mut().map_or(Ok(false), RowReader::advance).map(drop)
}
