//! Compaction: folds the newest snapshot and the full segments after it into a new snapshot, and removes files that are
//! no longer needed.
//!
//! Invariants:
//! - It reads only immutable files, so it can run while the writer does, and shares nothing with it.
//! - The order of effects, each durable before the next: the new snapshot under a temporary name, read back from the
//!   disk; its final name; the removals, oldest first. If it is cut off at any point, the journal has the same content
//!   as before.
//! - The previous generation stays: the snapshot that was the newest so far, and every segment after it.
//! - A snapshot is a function of the files from which it is made: forgetting is itself a record.

use std::ffi::OsStr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use super::merge::{Expiry, Merged, NewRows, Quality, merge};
use crate::fs::Fs;
use crate::journal::disk::error::{Corrupt, Damage, Error, Rejected};
use crate::journal::disk::ids::random_u32;
use crate::journal::disk::lifecycle::{FileState, StateCounts};
use crate::journal::disk::names;
use crate::journal::disk::record::Record;
use crate::journal::disk::snapshot::{Contents, Snapshot, Spare, Writer};
use crate::journal::log::files::Files;
use crate::journal::log::replay::{Replayed, Visitor, replay};
use crate::journal::memory::history::History;
use crate::types::{Lsn, UnixMillis};

/// The result of a compaction.
#[derive(Debug)]
pub struct Compacted {
    /// The new snapshot.
    pub snapshot: Arc<Snapshot>,
    /// Contents forgotten by this compaction.
    pub forgotten: u64,
    /// Files removed.
    pub removed: usize,
}

/// Folds everything before the segment whose first LSN is `until` into a new snapshot. None if there is nothing to
/// fold, or if `stop` was set meanwhile; nothing has changed then.
///
/// # Errors
/// On any error but damage the content of the journal is unchanged, and the call may be repeated: if the snapshot has
/// its name already, only the removals are left.
pub fn compact<F: Fs>(fs: &F, path: &Path, until: Lsn, stop: &AtomicBool) -> Result<Option<Compacted>, Error> {
    let dir = fs.open_dir(path)?;
    let files = Files::list(fs, &dir)?;
    let mut fold = Fold::default();
    let replayed = replay(fs, &dir, &files, Some(until), &mut fold)?;
    let Some((last, segment)) = &replayed.last else {
        // An earlier call gave the snapshot its name and then failed; only the removals are left.
        let Some(snapshot) = replayed.snapshot else { return Ok(None) };
        let removed = remove_before(fs, &dir, &files, snapshot.header().spare)?;
        return Ok(Some(Compacted { snapshot, forgotten: 0, removed }));
    };
    let spare = match &replayed.snapshot {
        Some(snapshot) => Spare::Snapshot(snapshot.header().lsn),
        None => Spare::FromTheBeginning,
    };
    let lsn = Lsn(until.0 - 1);
    let rows = fold.rows.sorted();
    let mut finished = fold.history.finished();
    finished[FileState::Manifested as usize] = rows.len() as u64;
    let before = replayed.snapshot.as_ref().map_or(StateCounts::default(), |snapshot| snapshot.header().finished);
    finished.iter_mut().zip(before).for_each(|(count, before)| *count += before);
    let rows_max = replayed.snapshot.as_ref().map_or(0, |snapshot| snapshot.header().rows) + rows.len() as u64;
    let mut writer = Writer::create(fs, &dir, lsn, random_u32(fs), rows_max)?;
    let forgotten = match merge(&mut writer, replayed.snapshot.as_deref(), rows, &Expiry::of(&fold.history), stop) {
        Ok(Merged::Done { forgotten, replaced: 0 }) => forgotten,
        other => {
            writer.abandon();
            return match other? {
                Merged::Stopped => Ok(None),
                Merged::Done { .. } => Err(moved_twice(&replayed)),
            };
        }
    };
    let contents = Contents {
        store: last.store,
        segment_number: last.number,
        segment: *segment,
        spare,
        forgotten: replayed.snapshot.as_ref().map_or(0, |snapshot| snapshot.header().forgotten) + forgotten,
        finished,
        last_seq: fold.history.last_seq(),
        directories: std::mem::take(&mut fold.rows.directories),
        survivors: fold.history.survivors(),
    };
    drop(fold);
    let snapshot = Arc::new(writer.finish(&contents)?);
    let removed = remove_before(fs, &dir, &files, spare)?;
    Ok(Some(Compacted { snapshot, forgotten, removed }))
}

/// Removes every file that is older than the spare generation, oldest first. If it is cut off, readers ignore the rest,
/// and the next compaction removes it.
fn remove_before<F: Fs>(fs: &F, dir: &F::Dir, files: &Files, spare: Spare) -> Result<usize, Error> {
    let Some(begin) = spare.begins_after() else { return Ok(0) };
    if !files.snapshots.contains(&begin) {
        // The spare snapshot is missing, or there was none: the older files may be the only other copy.
        return Ok(0);
    }
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

/// Folds records into a history, and finished files into rows.
#[derive(Default)]
struct Fold {
    history: History,
    rows: NewRows,
}

impl Visitor for Fold {
    fn snapshot(&mut self, snapshot: &Arc<Snapshot>) -> Result<(), Error> {
        // Its rows are copied unchanged, so the directories must keep their numbers.
        self.rows.directories = snapshot.directories().clone();
        snapshot.survivors(&mut |lsn, at, record| {
            self.history.survivor(lsn, at, record)?;
            Ok(())
        })?;
        self.history.skip_numbers(snapshot.header().last_seq);
        Ok(())
    }

    fn record(&mut self, lsn: Lsn, written_at: UnixMillis, record: Record) -> Result<(), Rejected> {
        let is_manifested = matches!(record, Record::Manifested(_));
        if let Some(file) = self.history.record(lsn, written_at, record)?
            && is_manifested
        {
            self.rows.push(&file.into_row().ok_or("MANIFESTED without HASHED")?, Quality::Whole);
        }
        Ok(())
    }
}

/// The error for two MOVED records of one content, which no writer produces.
fn moved_twice(replayed: &Replayed) -> Error {
    let last = replayed.last.as_ref();
    let (file, lsn) = match (&replayed.snapshot, last) {
        (Some(snapshot), _) => (snapshot.path().to_path_buf(), snapshot.header().lsn),
        (None, Some((header, _))) => (names::segment(header.first_lsn).into(), header.first_lsn),
        (None, None) => (names::LOCK.into(), Lsn(1)),
    };
    Corrupt { file, offset: 0, lsn, damage: Damage::Transition("a content is MOVED twice") }.into()
}
