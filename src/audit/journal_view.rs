//! The journal's knowledge for a comparison: every content that it remembers, in the order of the keys, and the
//! files on their way.
//!
//! Invariants: it only reads, without the lock; rows of a snapshot are streamed, not kept in memory.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use hashbrown::HashMap;

use crate::fs::Fs;
use crate::journal::history::History;
use crate::journal::index::Index;
use crate::journal::lifecycle::FileState;
use crate::journal::record::{LayoutRule, Record, Settings};
use crate::journal::relocations::Relocations;
use crate::journal::replay::Visitor;
use crate::journal::segment::SegmentHeader;
use crate::journal::snapshot::{Row, RowReader, Snapshot};
use crate::journal::{self, Rejected};
use crate::types::{IngestId, Key, Lsn, Sha256, UnixMillis};

/// What the journal knew when it was read.
#[derive(Default)]
pub struct Known {
    /// Refuses records that the journal's rules forbid, as every other reader does.
    rules: Index,
    snapshot: Option<Arc<Snapshot>>,
    history: History,
    /// Files that were MANIFESTED since the snapshot; in the order of the keys once the whole journal is read.
    recent: Vec<Row>,
    /// Staging directories of all settings in the journal.
    inputs: BTreeSet<PathBuf>,
    last_lsn: Lsn,
    /// Contents that the journal was told to forget, one by one, and up to which LSN; whether they have come again or
    /// not.
    forgotten: HashMap<Key, Lsn>,
}

/// A file on its way.
pub(super) struct OnItsWay {
    pub(super) state: FileState,
    pub(super) id: IngestId,
    pub(super) sha256: Sha256,
    pub(super) key: Key,
    pub(super) size: u64,
    pub(super) discovered_at: UnixMillis,
    pub(super) warehouse_path: PathBuf,
}

impl Known {
    /// Reads the journal; None if there is none.
    ///
    /// # Errors
    /// Damage, and every other error of reading.
    pub fn read<F: Fs>(fs: &F, path: &Path) -> Result<Option<Known>, journal::Error> {
        let mut known = Known::default();
        if journal::read(fs, path, &mut known)?.is_none() {
            return Ok(None);
        }
        known.forgotten = known.history.forgotten().collect();
        known.recent.sort_by_key(|row| (row.key, row.lsn));
        let moved: Vec<PathBuf> = known.inputs.iter().map(|input| known.relocations().now(Lsn(0), input)).collect();
        known.inputs.extend(moved);
        Ok(Some(known))
    }

    /// The settings of the last start.
    pub fn settings(&self) -> Option<&Settings> {
        self.rules.settings().map(|settings| &**settings)
    }

    /// The layout of the last start.
    pub(super) fn layout(&self) -> &LayoutRule {
        self.rules.layout()
    }

    /// True for a staging directory of the journal's own settings.
    pub(super) fn is_own_input(&self, dir: &Path) -> bool {
        self.inputs.contains(dir)
    }

    /// True if files from that staging directory belonged to this journal, as far as it remembers.
    pub(super) fn is_input(&self, dir: &Path) -> bool {
        // Also files from directories below it.
        let is_it = |known: &Path| known.starts_with(dir) || self.relocations().now(Lsn(0), known).starts_with(dir);
        let of_rows = || self.snapshot.as_ref().is_some_and(|it| it.directories().iter().any(is_it));
        self.inputs.contains(dir) || of_rows()
    }

    /// The last LSN that was assigned.
    pub(super) fn last_lsn(&self) -> Lsn {
        self.last_lsn
    }

    /// True if the content of a file with this id, found complete at this instant, was forgotten since: because it was
    /// requested, or because it expired. A file that came after the record of that is not affected.
    pub(super) fn has_forgotten(&self, key: &Key, id: IngestId, ingested_at: UnixMillis) -> bool {
        let was_asked_for = self.forgotten.get(key).is_some_and(|forgotten| id.0 < forgotten.0);
        was_asked_for || self.history.expired().excuses(Lsn(id.0), ingested_at)
    }

    /// The directories that were moved.
    pub fn relocations(&self) -> &Relocations {
        self.history.relocations()
    }

    /// True if the journal remembers this content.
    pub(super) fn knows(&self, key: &Key) -> Result<bool, journal::Error> {
        Ok(self.rules.original(key)?.is_some())
    }

    /// The files whose place in the warehouse is chosen, and that are not finished.
    pub(super) fn on_their_way(&self) -> impl Iterator<Item = OnItsWay> {
        let open = self.history.files().filter(|file| matches!(file.state, FileState::Hashed | FileState::Moved));
        open.filter_map(|file| {
            let (sha256, key) = (file.sha256()?, file.key()?);
            let hashed = file.hashed.as_ref()?;
            let warehouse_path = self.relocations().now(hashed.lsn, &hashed.value.warehouse_path);
            let found = &file.found.value;
            let (size, discovered_at) = (found.identity.size, found.discovered_at);
            Some(OnItsWay { state: file.state, id: file.id, sha256, key, size, discovered_at, warehouse_path })
        })
    }

    /// Every MANIFESTED file whose content is remembered, with its paths after these relocations.
    pub(super) fn rows<'a>(&'a self, relocations: &'a Relocations) -> Rows<'a> {
        let older = self.snapshot.as_ref().map(|snapshot| snapshot.rows());
        Rows { older, next_older: None, recent: &self.recent, is_begun: false, relocations }
    }
}

/// The rows of the snapshot and those that came since, in the order of their keys.
pub(super) struct Rows<'a> {
    older: Option<RowReader<'a>>,
    next_older: Option<Row>,
    recent: &'a [Row],
    is_begun: bool,
    relocations: &'a Relocations,
}

impl Rows<'_> {
    /// The next row.
    pub(super) fn next_row(&mut self) -> Result<Option<Row>, journal::Error> {
        let mut row = self.next_as_written()?;
        row.iter_mut().for_each(|row| row.renew(self.relocations));
        Ok(row)
    }

    fn next_as_written(&mut self) -> Result<Option<Row>, journal::Error> {
        if !std::mem::replace(&mut self.is_begun, true) {
            self.advance()?;
        }
        loop {
            // If a content was forgotten and came again, the newest row counts.
            let recent = self
                .recent
                .first()
                .filter(|recent| self.next_older.as_ref().is_none_or(|older| recent.key <= older.key));
            let Some(recent) = recent else {
                let older = self.next_older.take();
                self.advance()?;
                return Ok(older);
            };
            if self.next_older.as_ref().is_some_and(|older| older.key == recent.key) {
                self.advance()?;
            }
            self.recent = &self.recent[1..];
            if self.recent.first().is_none_or(|next| next.key != recent.key) {
                return Ok(Some(recent.clone()));
            }
        }
    }

    fn advance(&mut self) -> Result<(), journal::Error> {
        self.next_older = match &mut self.older {
            Some(older) => older.next_row()?,
            None => None,
        };
        Ok(())
    }
}

impl Visitor for Known {
    fn restart(&mut self) {
        *self = Known::default();
    }

    fn snapshot(&mut self, snapshot: &Arc<Snapshot>) -> Result<(), journal::Error> {
        self.rules = Index::from_snapshot(snapshot)?;
        self.snapshot = Some(snapshot.clone());
        self.last_lsn = snapshot.header().lsn;
        let (history, inputs) = (&mut self.history, &mut self.inputs);
        snapshot.survivors(&mut |lsn, at, record| {
            if let Record::Settings(settings) = &record {
                inputs.insert(settings.input.clone());
            }
            history.survivor(lsn, at, record)?;
            Ok(())
        })?;
        history.skip_numbers(snapshot.header().last_seq);
        Ok(())
    }

    fn segment(&mut self, _header: &SegmentHeader) {}

    fn record(&mut self, lsn: Lsn, at: UnixMillis, record: Record) -> Result<(), Rejected> {
        self.rules.apply_at(lsn, at, &record)?;
        if let Record::Settings(settings) = &record {
            self.inputs.insert(settings.input.clone());
        }
        self.last_lsn = self.last_lsn.max(lsn);
        let is_manifested = matches!(record, Record::Manifested(_));
        if let Some(file) = self.history.record(lsn, at, record)?
            && is_manifested
        {
            self.recent.extend(file.into_row());
        }
        Ok(())
    }
}
