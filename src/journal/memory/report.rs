//! Everything that a journal says about its files, for `inspect`, `status`, `explain` and `forget`.
//!
//! Invariants: it only reads, and a writer may be running; it refuses whatever the journal's rules forbid, as every
//! other reader does. Rows of the snapshot stay on disk until they are iterated over.

use std::path::PathBuf;
use std::sync::Arc;

use super::history::{File, History};
use super::index::Index;
use crate::journal::disk::error::{Error, Rejected};
use crate::journal::disk::lifecycle::FileState;
use crate::journal::disk::record::{Quarantined, Record};
use crate::journal::disk::relocations::Relocations;
use crate::journal::disk::snapshot::{Row, RowReader, Snapshot};
use crate::journal::log::replay::Visitor;
use crate::types::{Algorithm, IngestId, Key, Lsn, Sha256, UnixMillis};

/// Everything known about one file, as far as the journal was read.
#[derive(Clone, Debug)]
pub struct FileReport {
    /// Its ingest id, which never changes.
    pub id: IngestId,
    /// The LSN of its newest record.
    pub lsn: Lsn,
    /// Its state.
    pub state: FileState,
    /// `st_dev` of the staged file.
    pub device: u64,
    /// `st_ino` of the staged file.
    pub inode: u64,
    /// Size in bytes.
    pub size: u64,
    /// Modification time, in seconds since the epoch.
    pub mtime_sec: i64,
    /// Its path in staging.
    pub source_path: PathBuf,
    /// The hash of its content and its key, if known.
    pub content: Option<(Sha256, Key)>,
    /// Its path in the warehouse, if one was chosen.
    pub warehouse_path: Option<PathBuf>,
    /// The checksum in its sidecar that matched; rows of a snapshot do not keep it.
    pub verified_by: Option<Algorithm>,
    /// Its original, and where it was moved, if it is a duplicate.
    pub duplicate: Option<Skipped>,
    /// Why and where it was moved, if it could not be ingested.
    pub quarantined: Option<Quarantined>,
    /// When it was found complete.
    pub created_at: UnixMillis,
    /// When its newest record was written.
    pub updated_at: UnixMillis,
}

/// A duplicate.
#[derive(Clone, Debug)]
pub struct Skipped {
    /// The file that had its content first.
    pub of: IngestId,
    /// Where it was moved.
    pub moved_to: Option<PathBuf>,
}

impl FileReport {
    /// The file that had its content first, if it is a duplicate.
    pub fn duplicate_of(&self) -> Option<IngestId> {
        self.duplicate.as_ref().map(|duplicate| duplicate.of)
    }

    /// Where it was moved, if it is a duplicate.
    pub fn duplicate_moved_to(&self) -> Option<&PathBuf> {
        self.duplicate.as_ref().and_then(|duplicate| duplicate.moved_to.as_ref())
    }

    /// The hash of its content, if known.
    pub fn sha256(&self) -> Option<Sha256> {
        self.content.map(|(sha256, _)| sha256)
    }

    /// Its key, if its content is known.
    pub fn key(&self) -> Option<Key> {
        self.content.map(|(_, key)| key)
    }

    fn of_file(file: &File, relocations: &Relocations) -> FileReport {
        let found = &file.found.value;
        let mut entry = FileReport {
            id: file.id,
            lsn: file.lsn,
            state: file.state,
            device: found.identity.device,
            inode: found.identity.inode,
            size: found.identity.size,
            mtime_sec: found.identity.mtime.sec,
            source_path: found.source_path.clone(),
            content: file.sha256().zip(file.key()),
            warehouse_path: file.warehouse_path().cloned(),
            verified_by: file.hashed.as_ref().and_then(|hashed| hashed.value.verified_by),
            quarantined: file.quarantined.as_ref().map(|quarantined| quarantined.value.clone()),
            duplicate: file
                .skipped
                .as_ref()
                .map(|skipped| Skipped { of: skipped.value.duplicate_of, moved_to: skipped.value.target.clone() }),
            created_at: found.discovered_at,
            updated_at: file.updated_at,
        };
        relocations.renew(file.found.lsn, &mut entry.source_path);
        if let (Some(path), Some(hashed)) = (&mut entry.warehouse_path, &file.hashed) {
            relocations.renew(hashed.lsn, path);
        }
        if let (Some(quarantined), Some(stamped)) = (&mut entry.quarantined, &file.quarantined) {
            relocations.renew(stamped.lsn, &mut quarantined.target);
        }
        let moved_to = entry.duplicate.as_mut().and_then(|duplicate| duplicate.moved_to.as_mut());
        if let (Some(path), Some(skipped)) = (moved_to, &file.skipped) {
            relocations.renew(skipped.lsn, path);
        }
        entry
    }

    fn of_row(mut row: Row, relocations: &Relocations) -> FileReport {
        row.renew(relocations);
        FileReport {
            id: row.ingest_id,
            lsn: row.lsn,
            state: FileState::Manifested,
            device: row.device,
            inode: row.inode,
            size: row.size,
            mtime_sec: row.mtime_sec,
            source_path: row.source_path,
            content: Some((row.sha256, row.key)),
            warehouse_path: Some(row.warehouse_path),
            verified_by: None,
            quarantined: None,
            duplicate: None,
            created_at: row.discovered_at,
            updated_at: row.manifested_at,
        }
    }
}

/// The content of a journal.
#[derive(Default)]
pub struct JournalReport {
    /// The sum of its records.
    pub index: Index,
    snapshot: Option<Arc<Snapshot>>,
    history: History,
    /// Files that finished after the snapshot.
    finished: Vec<File>,
}

/// Where a file was found.
#[derive(Clone, Copy)]
pub enum FoundFile<'a> {
    /// In memory.
    File(&'a File),
    /// In the snapshot, at the row with this number.
    Row(u32),
}

impl JournalReport {
    /// The snapshot that the journal begins with.
    pub fn newest_snapshot(&self) -> Option<&Snapshot> {
        self.snapshot.as_deref()
    }

    /// Passes every file to `show` once, in no particular order. Returns the damage that prevented reading all of them,
    /// if any.
    pub fn files<'a>(&'a self, show: &mut dyn FnMut(FileReport, FoundFile<'a>)) -> Result<Option<Error>, Error> {
        let relocations = self.history.relocations();
        for file in self.finished.iter().chain(self.history.files()) {
            show(FileReport::of_file(file, relocations), FoundFile::File(file));
        }
        let mut rows = self.snapshot.as_ref().map(|snapshot| snapshot.rows());
        for number in 0.. {
            match rows.as_mut().map_or(Ok(None), RowReader::next_row) {
                Ok(Some(row)) => show(FileReport::of_row(row, relocations), FoundFile::Row(number)),
                Ok(None) => break,
                Err(corrupt @ Error::Corrupt(_)) => return Ok(Some(corrupt)),
                Err(error) => return Err(error),
            }
        }
        Ok(None)
    }

    /// Reads one file again. None if its row is gone.
    pub fn entry(&self, found: &FoundFile<'_>) -> Result<Option<FileReport>, Error> {
        let relocations = self.history.relocations();
        match found {
            FoundFile::File(file) => Ok(Some(FileReport::of_file(file, relocations))),
            FoundFile::Row(number) => {
                let row = self.snapshot.as_ref().map(|snapshot| snapshot.row(*number)).transpose()?;
                Ok(row.flatten().map(|row| FileReport::of_row(row, relocations)))
            }
        }
    }
}

impl Visitor for JournalReport {
    fn restart(&mut self) {
        *self = JournalReport::default();
    }

    fn snapshot(&mut self, snapshot: &Arc<Snapshot>) -> Result<(), Error> {
        self.index = Index::from_snapshot(snapshot)?;
        self.snapshot = Some(snapshot.clone());
        let (history, finished) = (&mut self.history, &mut self.finished);
        snapshot.survivors(&mut |lsn, at, record| {
            finished.extend(history.survivor(lsn, at, record)?.map(|file| *file));
            Ok(())
        })?;
        history.skip_numbers(snapshot.header().last_seq);
        Ok(())
    }

    fn record(&mut self, lsn: Lsn, at: UnixMillis, record: Record) -> Result<(), Rejected> {
        self.index.apply_at(lsn, at, &record)?;
        self.finished.extend(self.history.record(lsn, at, record)?.map(|file| *file));
        Ok(())
    }
}
