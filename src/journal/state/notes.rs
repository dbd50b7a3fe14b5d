//! What the records say that are about no single file: what has expired, the wall clock's jumps, directories that were moved.
//!
//! Invariant: as the rest of the state, a function of the records in LSN order.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{FileState, Ingest, Original, State};
use crate::journal::clock::Clock;
use crate::journal::error::{Error, Refused};
use crate::journal::expired::Expired;
use crate::journal::record::{Record, Relocated, Settings};
use crate::journal::relocations::Relocations;
use crate::limits::{EVIDENCE_MAX, EVIDENCE_ROWS_MAX};
use crate::types::{Lsn, Sha256, UnixMillis};

/// Why a RELOCATED cannot come now.
pub(in crate::journal) const ON_ITS_WAY: &str = "RELOCATED while a file is on its way";

/// The sum of these records.
#[derive(Clone, Debug, Default)]
pub(super) struct Notes {
    pub(super) expired: Expired,
    clock: Clock,
    relocations: Relocations,
}

impl State {
    /// What has expired.
    pub fn expired(&self) -> &Expired {
        &self.notes.expired
    }

    /// The wall clock's jumps.
    pub fn clock(&self) -> &Clock {
        &self.notes.clock
    }

    /// The directories that were moved.
    pub fn relocations(&self) -> &Relocations {
        &self.notes.relocations
    }

    /// Some content that is in the warehouse and in a manifest, if there is any.
    ///
    /// # Errors
    /// The snapshot cannot be read, or is damaged there.
    pub fn any_listed(&self) -> Result<Option<(Sha256, Original)>, Error> {
        if let Some((sha256, original)) = self.recent.iter().find(|(_, original)| original.finished.is_some()) {
            return Ok(Some((*sha256, original.clone())));
        }
        let row = self.snapshot.as_ref().map(|snapshot| snapshot.row(0)).transpose()?.flatten();
        Ok(row.map(|row| (row.sha256, row.original(&self.notes.relocations))))
    }

    /// Some contents that are in a manifest, and in the warehouse below `root`: a few of the newest, or of all.
    ///
    /// # Errors
    /// The snapshot cannot be read, or is damaged there.
    pub fn listed_below(&self, root: &Path) -> Result<Vec<Original>, Error> {
        let is_below = |original: &Original| original.finished.is_some() && original.warehouse_path.starts_with(root);
        let mut found: Vec<Original> =
            self.recent.values().filter(|it| is_below(it)).take(EVIDENCE_MAX).cloned().collect();
        let Some(snapshot) = &self.snapshot else { return Ok(found) };
        for number in 0..EVIDENCE_ROWS_MAX {
            let Some(row) = snapshot.row(number)? else { break };
            found.extend(Some(row.original(&self.notes.relocations)).filter(|it| is_below(it)));
            if found.len() >= 2 * EVIDENCE_MAX {
                break;
            }
        }
        Ok(found)
    }

    /// True if a file has come further than DISCOVERED, so that its directories must stay where they are.
    pub fn is_half_done(&self) -> bool {
        self.open.values().any(|ingest| ingest.state != FileState::Discovered)
    }

    /// Adds a record that is about no single file.
    pub(super) fn note(&mut self, lsn: Lsn, at: UnixMillis, record: &Record) -> Result<(), Refused> {
        match record {
            Record::ClockJumped(jumped) => self.notes.clock.take(lsn, at, jumped),
            Record::ExpiredRanges(ranges) => self.notes.expired.take(lsn, ranges)?,
            Record::KeptGone(gone) => self.unkeep((gone.device, gone.inode)),
            Record::Relocated(_) if self.is_half_done() => return Err(ON_ITS_WAY.into()),
            Record::Relocated(roots) => {
                self.notes.relocations.take(lsn, at, roots)?;
                self.relocate(roots);
            }
            _ => {}
        }
        Ok(())
    }

    /// What is in memory is read by the new path from now on; rows of the snapshot, when they are looked up.
    fn relocate(&mut self, roots: &Relocated) {
        if let Some(settings) = &mut self.settings {
            renew_settings(roots, settings);
        }
        self.rules.quarantine.iter_mut().for_each(|path| roots.renew(path));
        self.open.values_mut().for_each(|ingest| renew_ingest(roots, ingest));
        for original in self.recent.values_mut() {
            if let Some(path) = roots.of(&original.warehouse_path) {
                original.warehouse_path = path.into_boxed_path();
            }
        }
    }
}

fn renew_settings(roots: &Relocated, settings: &mut Arc<Settings>) {
    let settings = Arc::make_mut(settings);
    for path in [&mut settings.input, &mut settings.warehouse, &mut settings.manifests] {
        roots.renew(path);
    }
    settings.duplicates_dir.iter_mut().for_each(|path| roots.renew(path));
}

fn renew_ingest(roots: &Relocated, ingest: &mut Ingest) {
    renew_settings(roots, &mut ingest.settings);
    let mut paths: Vec<&mut PathBuf> = vec![&mut ingest.source_path];
    paths.extend(ingest.sidecar.as_mut().map(|sidecar| &mut sidecar.path));
    paths.extend(ingest.target.as_mut().map(|target| &mut target.warehouse_path));
    paths.extend(ingest.duplicate.as_mut().and_then(|duplicate| duplicate.target.as_mut()));
    paths.extend(ingest.quarantined.as_mut().map(|quarantined| &mut quarantined.target));
    paths.into_iter().for_each(|path| roots.renew(path));
}
