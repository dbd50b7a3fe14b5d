//! Rows of a snapshot and rows that came since, merged into a new snapshot.
//!
//! Invariants: of each content one row is written, the newest; what has expired is not written.

use std::sync::atomic::{AtomicBool, Ordering};

use hashbrown::{HashMap, HashSet};

use crate::fs::Fs;
use crate::journal::disk::error::Error;
use crate::journal::disk::expired::Expired;
use crate::journal::disk::snapshot::{Directories, Row, RowReader, Snapshot, Writer, sha256_of, stamps};
use crate::journal::memory::history::History;
use crate::types::{Lsn, Sha256};

/// Rows between two looks at whether to stop.
const ROWS_A_LOOK: u64 = 1024;

/// Rows that came since the snapshot, encoded already: a file takes little more memory here than on the disk.
#[derive(Default)]
pub(in crate::journal) struct NewRows {
    /// Of the snapshot that the rows are merged with, and more.
    pub(in crate::journal) directories: Directories,
    bytes: Vec<u8>,
    order: Vec<RowPlace>,
}

/// How much of a row is known. Of the same file's rows, the best counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::journal) enum Quality {
    /// Which directories it names is lost.
    WithoutDirectories,
    /// The file's DISCOVERED is lost.
    WithoutDiscovered,
    /// The file's MOVED is lost, and with it what stood in the warehouse then.
    WithoutMoved,
    Whole,
}

/// Where an encoded row lies.
#[derive(Clone, Copy)]
struct RowPlace {
    /// Front of the SHA-256: decides nearly every comparison.
    front: u64,
    /// Of its MANIFESTED.
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
        front.copy_from_slice(&row.sha256.0[..8]);
        let length = (self.bytes.len() - begin) as u16;
        self.order.push(RowPlace { front: u64::from_be_bytes(front), lsn: row.lsn, begin, length, quality });
    }

    /// In the order of their SHA-256, of equal ones the older first, and each file's once.
    pub(in crate::journal) fn sorted(&mut self) -> SortedRows {
        let (bytes, mut order) = (std::mem::take(&mut self.bytes), std::mem::take(&mut self.order));
        let sha256 = |place: &RowPlace| &bytes[place.begin..place.begin + 32];
        order.sort_unstable_by(|one, other| {
            let by_front = one.front.cmp(&other.front);
            let by_age = (one.lsn, one.quality).cmp(&(other.lsn, other.quality));
            by_front.then_with(|| sha256(one).cmp(sha256(other))).then(by_age)
        });
        // A repair meets a row in damaged snapshots and in the segments that they were made of.
        order.dedup_by(|better, kept| {
            let is_same = better.lsn == kept.lsn && sha256(better) == sha256(kept);
            if is_same {
                *kept = *better;
            }
            is_same
        });
        SortedRows { bytes, order, next: 0 }
    }
}

/// New rows in order.
pub(in crate::journal) struct SortedRows {
    bytes: Vec<u8>,
    order: Vec<RowPlace>,
    next: usize,
}

impl SortedRows {
    pub(in crate::journal) fn len(&self) -> usize {
        self.order.len()
    }

    /// The row that comes so many places after the next.
    fn peek(&self, places: usize) -> Option<&[u8]> {
        let place = self.order.get(self.next + places)?;
        Some(&self.bytes[place.begin..place.begin + usize::from(place.length)])
    }
}

/// What has expired.
pub(in crate::journal) struct Expiry {
    expired: Expired,
    /// What was listed before that LSN was to be forgotten.
    forgotten: HashMap<Sha256, Lsn>,
    referred_to: HashSet<Sha256>,
}

impl Expiry {
    /// As the history's records say.
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
            || !self.forgotten.is_empty() && sha256_of(row).is_some_and(|sha256| self.was_to_go(&sha256, stamps.lsn))
    }

    fn was_to_go(&self, sha256: &Sha256, lsn: Lsn) -> bool {
        self.forgotten.get(sha256).is_some_and(|forgotten| lsn < *forgotten)
    }

    /// True for a row that a compaction leaves out.
    pub(in crate::journal) fn forgets(&self, row: &Row) -> bool {
        let is_old = self.expired.covers(row.lsn, row.manifested_at, row.discovered_at);
        (is_old || self.was_to_go(&row.sha256, row.lsn)) && !self.referred_to.contains(&row.sha256)
    }

    fn has_expired(&self, row: &[u8]) -> bool {
        self.is_old(row) && !sha256_of(row).is_some_and(|sha256| self.referred_to.contains(&sha256))
    }
}

/// What came of it.
pub(in crate::journal) enum Merged {
    /// All was written.
    Done {
        /// Rows that were left out because they have expired.
        forgotten: u64,
        /// Rows that a newer one of the same content replaced although they had not expired: no writer makes that.
        replaced: u64,
    },
    /// It was told to stop.
    Stopped,
}

/// Writes the rows of `old` and the `new` ones.
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
        let (old_sha256, new_sha256) = (old_row.and_then(sha256_of), new_row.and_then(sha256_of));
        let (row, next, is_old) = match (old_row, new_row) {
            (None, None) => break,
            // Of equal contents the older first.
            (Some(row), Some(_)) if old_sha256 <= new_sha256 => (row, new_sha256, true),
            (Some(row), None) => (row, None, true),
            (_, Some(row)) => (row, new.peek(1).and_then(sha256_of), false),
        };
        // A content that was forgotten and came again has two rows: the older goes.
        let is_replaced = next.is_some() && next == sha256_of(row);
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
