//! Makes a journal in place of a lost one, from rows of other sources. Only ever on request.
//!
//! Invariants:
//! - The lock is held from beginning to end, and a directory that holds a journal is refused.
//! - The order of effects is that of a repair, with the same code: a new segment; then the snapshot with all rows,
//!   which completes the journal. If it is cut off before the snapshot has its name, there is no journal: nothing, or a
//!   lone empty segment that every start refuses and that the next rebuild replaces.
//! - No known LSN is used again.

use std::ffi::OsStr;
use std::path::Path;

use super::merge::Quality;
use super::renew::{LSN_GAP, cut_off, renew};
use super::salvage::Salvage;
use crate::fs::{self, Fs};
use crate::journal::disk::error::Error;
use crate::journal::disk::expired::Ranges;
use crate::journal::disk::names;
use crate::journal::disk::record::{Identity, Record, SameBy};
use crate::journal::disk::snapshot::{Row, Snapshot};
use crate::journal::log::files::{Files, remove_temporaries};
use crate::journal::log::lock::{lock, read_store};
use crate::types::Lsn;

/// A journal under construction.
pub struct Rebuild<F: Fs> {
    fs: F,
    dir: F::Dir,
    lock: F::File,
    lock_is_new: bool,
    /// Leftovers of an earlier rebuild that was cut off.
    files: Files,
    store: [u8; 16],
    salvage: Salvage,
    same_by: SameBy,
}

impl<F: Fs> Rebuild<F> {
    /// Locks the directory, creating it if it does not exist.
    ///
    /// # Errors
    /// Exists, if there is a journal; locked, foreign, I/O. Nothing has changed then, except that the directory may be
    /// new.
    pub fn begin(fs: &F, path: &Path) -> Result<Rebuild<F>, Error> {
        let dir = fs::open_dir_durable(fs, Path::new("/"), path, fs::PRIVATE_MODE)?;
        fs.act_for(&dir);
        let files = Files::list(fs, &dir)?;
        if let (Some(name), true) = (&files.foreign, files.is_empty()) {
            return Err(Error::Foreign { dir: path.to_path_buf(), name: name.into() });
        }
        let (lock, lock_is_new) = lock(fs, &dir)?;
        let begun = Self::begin_locked(fs, &dir, &lock);
        if lock_is_new && begun.is_err() {
            let _ = fs.unlink(&dir, OsStr::new(names::LOCK));
        }
        let (files, store, salvage) = begun?;
        Ok(Rebuild { fs: fs.clone(), dir, lock, lock_is_new, files, store, salvage, same_by: SameBy::default() })
    }

    fn begin_locked(fs: &F, dir: &F::Dir, lock: &F::File) -> Result<(Files, [u8; 16], Salvage), Error> {
        let files = Files::list(fs, dir)?;
        let mut salvage = Salvage::default();
        if !files.snapshots.is_empty() {
            return Err(Error::Exists(fs.dir_path(dir).to_path_buf()));
        }
        for lsn in &files.segments {
            let Some((number, store)) = cut_off(fs, dir, *lsn)? else {
                return Err(Error::Exists(fs.dir_path(dir).to_path_buf()));
            };
            salvage.last_lsn = salvage.last_lsn.max(*lsn);
            salvage.last_number = salvage.last_number.max(number);
            salvage.store = Some(store);
        }
        let said = read_store(fs, lock)?.and_then(|text| u128::from_str_radix(&text, 16).ok());
        let store = said.map(u128::to_be_bytes).or(salvage.store).unwrap_or_else(|| fs.random());
        Ok((files, store, salvage))
    }

    /// By what two files were the same to the lost journal; by their content, if it is not called.
    pub fn set_same_by(&mut self, same_by: SameBy) {
        self.same_by = same_by;
    }

    /// Adds a content. Of those with equal keys the one with the greatest LSN counts. Each ingest id must be above 0, below
    /// its LSN, and unique.
    pub fn push(&mut self, row: &Row) {
        self.salvage.last_lsn = self.salvage.last_lsn.max(row.lsn).max(Lsn(row.ingest_id.0));
        self.salvage.rows.push(row, Quality::Whole);
    }

    /// The number of a manifest line. If it is a line of this journal, new lines get numbers that no other can have.
    pub fn number(&mut self, journal: Option<[u8; 16]>, seq: Option<u64>) {
        if let Some(seq) = seq.filter(|_| journal == Some(self.store)) {
            self.salvage.history.skip_numbers(seq.saturating_add(LSN_GAP));
        }
    }

    /// Writes the journal, and releases the lock.
    pub fn finish(mut self) -> Result<Snapshot, Error> {
        // Gives the journal a record with the present time, with which a later start compares the clock.
        let identity = Identity { same_by: self.same_by, ..Identity::default() };
        let by_name = (identity != Identity::default()).then_some(Record::Identity(identity));
        for record in [Record::ExpiredRanges(Ranges::default())].into_iter().chain(by_name) {
            let lsn = self.salvage.last_lsn.plus(1);
            if self.salvage.history.record(lsn, self.fs.now(), record).is_ok() {
                self.salvage.last_lsn = lsn;
            }
        }
        remove_temporaries(&self.fs, &self.dir)?;
        renew(&self.fs, &self.dir, &self.files, &self.lock, self.store, &mut self.salvage).map(|(snapshot, _)| snapshot)
    }

    /// Gives up, and leaves only the directory.
    pub fn abandon(self) {
        if self.lock_is_new {
            let _ = self.fs.unlink(&self.dir, OsStr::new(names::LOCK));
        }
    }
}
