//! Compaction: folds the newest snapshot and the full segments behind it into a new snapshot, and removes what that
//! replaces.
//!
//! Invariants:
//! - It reads immutable files only, so it runs beside the writer and shares nothing with it.
//! - The order of effects, each durable before the next: the new snapshot under a temporary name, read back from the
//!   disk; its real name; the removals, oldest first. Cut off anywhere, the journal says the same as before.
//! - The generation before stays: that is the snapshot that was the newest so far, and every segment behind it.
//! - A snapshot is a function of the files it is made of: what is to be forgotten is itself a record.

use std::ffi::OsStr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::error::{Corrupt, Damage, Error, Refused};
use super::files::Files;
use super::ledger::Ledger;
use super::names;
use super::record::Record;
use super::replay::{Replayed, Visitor, replay};
use super::snapshot::{Contents, Directories, Row, RowReader, Snapshot, Spare, Writer, discovered_at, sha256_of};
use crate::fs::Fs;
use crate::journal::random_u32;
use crate::types::{Lsn, Sha256, UnixMillis};

/// Rows between two looks at whether to stop.
const ROWS_A_LOOK: u64 = 1024;

/// What a compaction did.
#[derive(Debug)]
pub struct Compacted {
    /// The new snapshot.
    pub snapshot: Arc<Snapshot>,
    /// Contents that were forgotten this time.
    pub forgotten: u64,
    /// Bytes of the segments that were folded in.
    pub segment_bytes: u64,
    /// Files removed.
    pub removed: usize,
}

/// Folds everything before the segment whose first LSN is `until` into a new snapshot. None if there is nothing to fold,
/// or `stop` was set meanwhile; then nothing has changed.
///
/// # Errors
/// On any error but damage the journal is as it was, and the call may be repeated.
pub fn compact<F: Fs>(fs: &F, path: &Path, until: Lsn, stop: &AtomicBool) -> Result<Option<Compacted>, Error> {
    let dir = fs.open_dir(path)?;
    let files = Files::list(fs, &dir)?;
    let mut fold = Fold::default();
    let replayed = replay(fs, &dir, &files, Some(until), &mut fold)?;
    let Some((last, segment)) = &replayed.last else { return Ok(None) };
    let spare = match &replayed.snapshot {
        Some(snapshot) => Spare::Snapshot(snapshot.header().lsn),
        None => Spare::FromTheBeginning,
    };
    let lsn = Lsn(until.0 - 1);
    let rows = fold.rows.sorted();
    let (manifested, (skipped, abandoned)) = (rows.len() as u64, fold.ledger.finished());
    let [manifested, skipped, abandoned] = match &replayed.snapshot {
        Some(snapshot) => {
            let header = snapshot.header();
            [header.manifested + manifested, header.skipped + skipped, header.abandoned + abandoned]
        }
        None => [manifested, skipped, abandoned],
    };
    let rows_max = replayed.snapshot.as_ref().map_or(0, |snapshot| snapshot.header().rows) + rows.len() as u64;
    let mut merge = Merge {
        until: fold.ledger.expired_before(),
        referred_to: fold.ledger.referred_to(),
        forgotten: 0,
        writer: Writer::create(fs, &dir, lsn, random_u32(fs), rows_max)?,
    };
    let merged = merge.run(&replayed, rows, stop);
    let Merge { forgotten, writer, .. } = merge;
    if !matches!(merged, Ok(true)) {
        writer.abandon();
        return merged.map(|_| None);
    }
    let contents = Contents {
        store: last.store,
        segment_number: last.number,
        segment: *segment,
        spare,
        forgotten: replayed.snapshot.as_ref().map_or(0, |snapshot| snapshot.header().forgotten) + forgotten,
        finished: [manifested, skipped, abandoned],
        directories: std::mem::take(&mut fold.rows.directories),
        survivors: fold.ledger.survivors(),
    };
    drop(fold);
    let snapshot = Arc::new(writer.finish(&contents)?);
    let removed = remove_before(fs, &dir, &files, spare)?;
    Ok(Some(Compacted { snapshot, forgotten, segment_bytes: replayed.file_bytes, removed }))
}

/// Removes every file that is older than the spare generation, oldest first. Should it be cut off, what is left is
/// ignored by readers, and removed the next time.
fn remove_before<F: Fs>(fs: &F, dir: &F::Dir, files: &Files, spare: Spare) -> Result<usize, Error> {
    let Some(begin) = spare.begins_after() else { return Ok(0) };
    let segments = files.segments.iter().filter(|lsn| **lsn <= begin).map(|lsn| (*lsn, names::segment(*lsn)));
    let snapshots = files.snapshots.iter().filter(|lsn| **lsn < begin).map(|lsn| (*lsn, names::snapshot(*lsn)));
    let mut old: Vec<(Lsn, String)> = segments.chain(snapshots).collect();
    old.sort_unstable();
    for (_, name) in &old {
        fs.unlink(dir, OsStr::new(name))?;
    }
    if !old.is_empty() {
        fs.sync_dir(dir)?;
    }
    Ok(old.len())
}

/// Folds records into a ledger, and finished files into rows.
#[derive(Default)]
struct Fold {
    ledger: Ledger,
    rows: NewRows,
}

impl Visitor for Fold {
    fn snapshot(&mut self, snapshot: &Arc<Snapshot>) -> Result<(), Error> {
        // Its rows are merged as they are, so the directories keep their numbers.
        self.rows.directories = snapshot.directories().clone();
        snapshot.survivors(&mut |lsn, at, record| self.record(lsn, at, record))
    }

    fn record(&mut self, lsn: Lsn, written_at: UnixMillis, record: Record) -> Result<(), Refused> {
        let is_manifested = matches!(record, Record::Manifested(_));
        if let Some(file) = self.ledger.record(lsn, written_at, record)?
            && is_manifested
        {
            self.rows.push(&file.into_row().ok_or("MANIFESTED without HASHED")?);
        }
        Ok(())
    }
}

/// Rows that came since the snapshot, encoded already: a file takes little more memory here than on the disk.
#[derive(Default)]
struct NewRows {
    directories: Directories,
    bytes: Vec<u8>,
    /// Front of the SHA-256, and where the row begins and ends.
    order: Vec<(u64, usize, u16)>,
}

impl NewRows {
    fn push(&mut self, row: &Row) {
        let begin = self.bytes.len();
        row.encode(&mut self.directories, &mut self.bytes);
        let mut front = [0; 8];
        front.copy_from_slice(&row.sha256.0[..8]);
        self.order.push((u64::from_be_bytes(front), begin, (self.bytes.len() - begin) as u16));
    }

    fn sorted(&mut self) -> Sorted {
        let (bytes, mut order) = (std::mem::take(&mut self.bytes), std::mem::take(&mut self.order));
        let sha256 = |(_, begin, _): &(u64, usize, u16)| &bytes[*begin..*begin + 32];
        let by_content = |one: &_, other: &_| sha256(one).cmp(sha256(other));
        // Of equal contents the older first: it was manifested first.
        order.sort_unstable_by(|one, other| {
            one.0.cmp(&other.0).then_with(|| by_content(one, other)).then(one.1.cmp(&other.1))
        });
        Sorted { bytes, order, next: 0 }
    }
}

/// New rows in the order of their SHA-256.
struct Sorted {
    bytes: Vec<u8>,
    order: Vec<(u64, usize, u16)>,
    next: usize,
}

impl Sorted {
    fn len(&self) -> usize {
        self.order.len()
    }

    /// The row that comes so many places after the next.
    fn peek(&self, places: usize) -> Option<&[u8]> {
        let (_, begin, length) = self.order.get(self.next + places)?;
        Some(&self.bytes[*begin..*begin + usize::from(*length)])
    }
}

/// Merges two sorted sequences of rows into a snapshot.
struct Merge<'a, F: Fs> {
    until: UnixMillis,
    referred_to: hashbrown::HashSet<Sha256>,
    forgotten: u64,
    writer: Writer<'a, F>,
}

impl<F: Fs> Merge<'_, F> {
    /// False if it was stopped.
    fn run(&mut self, replayed: &Replayed, mut new: Sorted, stop: &AtomicBool) -> Result<bool, Error> {
        let mut old = replayed.snapshot.as_ref().map(|snapshot| snapshot.rows());
        advance(&mut old)?;
        for count in 0_u64.. {
            if count.is_multiple_of(ROWS_A_LOOK) && stop.load(Ordering::Relaxed) {
                return Ok(false);
            }
            let (old_row, new_row) = (old.as_ref().and_then(RowReader::row), new.peek(0));
            let (old_sha256, new_sha256) = (old_row.and_then(sha256_of), new_row.and_then(sha256_of));
            let (row, next, is_old) = match (old_row, new_row) {
                (None, None) => break,
                // Of equal contents the older first.
                (Some(row), _) if new_sha256.is_none() || old_sha256 <= new_sha256 => (row, new_sha256, true),
                (_, Some(row)) => (row, new.peek(1).and_then(sha256_of), false),
                (Some(row), None) => (row, None, true),
            };
            // A content that was forgotten and came again has two rows: the older goes.
            let is_replaced = next.is_some() && next == sha256_of(row);
            if is_replaced && !self.has_expired(row) {
                return Err(moved_twice(replayed));
            }
            if is_replaced || self.has_expired(row) && !self.is_referred_to(row) {
                self.forgotten += 1;
            } else {
                self.writer.push(row)?;
            }
            if is_old { advance(&mut old)? } else { new.next += 1 }
        }
        Ok(true)
    }

    fn has_expired(&self, row: &[u8]) -> bool {
        self.until > UnixMillis(0) && discovered_at(row).is_some_and(|found| found < self.until)
    }

    fn is_referred_to(&self, row: &[u8]) -> bool {
        sha256_of(row).is_some_and(|sha256| self.referred_to.contains(&sha256))
    }
}

fn advance(rows: &mut Option<RowReader<'_>>) -> Result<(), Error> {
    rows.as_mut().map_or(Ok(false), RowReader::advance).map(drop)
}

/// Two MOVED records of one content, which no writer makes.
fn moved_twice(replayed: &Replayed) -> Error {
    let last = replayed.last.as_ref();
    let (file, lsn) = match (&replayed.snapshot, last) {
        (Some(snapshot), _) => (snapshot.path().to_path_buf(), snapshot.header().lsn),
        (None, Some((header, _))) => (names::segment(header.first_lsn).into(), header.first_lsn),
        (None, None) => (names::LOCK.into(), Lsn(1)),
    };
    Corrupt { file, offset: 0, lsn, damage: Damage::Transition("a content is MOVED twice") }.into()
}
