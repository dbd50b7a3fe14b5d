//! Duplicates: removed, moved away, or kept, as their records say.
//!
//! Invariants:
//! - P2: a duplicate is removed or moved only while its original is intact.
//! - A duplicate that stays after all gets a record that says so. Before that, whatever an earlier run set aside has its
//!   name back.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::clean_up::Taken;
use super::{Committer, Work};
use crate::fs::Fs;
use crate::fs::Syscall;
use crate::fs::blame::twice;
use crate::journal::ingest::{Duplicate, Ingest, Kept};
use crate::journal::lifecycle::FileState;
use crate::journal::record::{AbandonReason, DuplicateAction, Record, SkippedDuplicate};
use crate::metrics::FailureReason;
use crate::pipeline::dirs::split;
use crate::pipeline::staging::names::Aside;
use crate::pipeline::staging::{Placed, Removed};
use crate::pipeline::warehouse::names::{choices_up_to, warehouse_name};
use crate::pipeline::{Error, Outcome, Report, subdir};
use crate::types::Sha256;

/// The system calls up to the rename: if one of them fails, the file has not moved.
const MOVES: [Syscall; 3] = [Syscall::OpenDir, Syscall::Mkdir, Syscall::Rename];

impl<F: Fs> Committer<F> {
    /// Removes or moves duplicates, and moves files to quarantine. Returns the files that are gone, each with the record
    /// that closes it. A duplicate that stays is already closed.
    pub(super) fn clear_duplicates(
        &mut self,
        duplicates: Vec<Work<F>>,
        reports: &mut Vec<Report>,
    ) -> Result<Vec<(Work<F>, Outcome, Record)>, Error> {
        let mut cleared = Vec::new();
        self.look_at_targets_again(&duplicates);
        self.prepare_reasons(&duplicates)?;
        for work in duplicates {
            let Some(ingest) = self.index.ingest(work.id).cloned() else {
                // Kept: its record closed it.
                reports.extend(self.report_kept(&work)?);
                continue;
            };
            if ingest.state == FileState::Quarantined {
                let (outcome, closing) = self.quarantine_file(&work, &ingest)?;
                cleared.push((work, outcome, closing));
                continue;
            }
            let closing = Record::DuplicateCleared(work.id);
            match self.clear(&work, ingest)? {
                Some(outcome) => cleared.push((work, outcome, closing)),
                None => reports.extend(self.report_kept(&work)?),
            }
        }
        Ok(cleared)
    }

    pub(super) fn report_kept(&mut self, work: &Work<F>) -> Result<Option<Report>, Error> {
        let Some(kept): Option<Kept> = self.index.kept_at(work.key).copied() else {
            // The file got another name, and was found again under that since this batch was planned.
            let outcome = Outcome::Abandoned(AbandonReason::Changed);
            return Ok(Some(Report { name: work.name.clone(), outcome }));
        };
        let path = self.settings.input.join(&*work.name);
        let original = self.index.original(&kept.key)?;
        self.metrics.duplicate_skipped(&path, &kept.sha256, original.as_ref(), DuplicateAction::Keep);
        Ok(Some(Report { name: work.name.clone(), outcome: Outcome::Kept(Box::new(kept)) }))
    }

    /// Handles one duplicate as its record says. None if it had to be kept after all, which is then recorded.
    pub(super) fn clear(&mut self, work: &Work<F>, ingest: Arc<Ingest>) -> Result<Option<Outcome>, Error> {
        let Some(duplicate) = ingest.duplicate.clone() else {
            return Err(Error::Transition("a duplicate has no original", work.id));
        };
        let original = self.index.original(&ingest.key(&duplicate.sha256))?;
        let outcome = match duplicate.action {
            DuplicateAction::Keep => None,
            DuplicateAction::Remove => self.remove_duplicate(work, &ingest, &duplicate.sha256)?,
            DuplicateAction::Move if self.is_last_copy(&ingest, &duplicate.sha256)? => None,
            DuplicateAction::Move => self.move_duplicate(work, &ingest)?,
        };
        let Some(outcome) = outcome else { return self.keep_after_all(work, &ingest, &duplicate).map(|()| None) };
        match &ingest.sidecar {
            Some(_) if matches!(outcome, Outcome::Cleared) => drop(self.remove_used_sidecar(work, &ingest)?),
            // An earlier run may have set it aside.
            Some(sidecar) => drop(self.resolve_aside(work.id, Aside::Sidecar, &sidecar.path, None)?),
            None => {}
        }
        if matches!(outcome, Outcome::Cleared) {
            self.metrics.duplicate_skipped(&ingest.source_path, &duplicate.sha256, original.as_ref(), duplicate.action);
        }
        Ok(Some(outcome))
    }

    /// None if it stays: its original may have been removed or damaged since, and then these bytes are the last copy.
    fn remove_duplicate(&mut self, work: &Work<F>, ingest: &Ingest, sha256: &Sha256) -> Result<Option<Outcome>, Error> {
        if !self.original_stands(ingest, sha256)? {
            self.resolve_aside(work.id, Aside::Duplicate, &ingest.source_path, None)?;
            return Ok(None);
        }
        Ok(match self.remove_staged(work, Aside::Duplicate, ingest, sha256)? {
            Removed::Done => Some(Outcome::Cleared),
            Removed::Other => Some(Outcome::Abandoned(AbandonReason::Changed)),
            refused @ Removed::Refused(_) => {
                self.report_refused(&ingest.source_path, &refused);
                None
            }
        })
    }

    /// Records that a duplicate stays. An earlier run may have set its sidecar aside. The record closes the ingest, so no
    /// later run looks for names aside: the names that were given back must be durable before it.
    fn keep_after_all(&mut self, work: &Work<F>, ingest: &Ingest, duplicate: &Duplicate) -> Result<(), Error> {
        if let Some(sidecar) = &ingest.sidecar {
            self.resolve_aside(work.id, Aside::Sidecar, &sidecar.path, None)?;
        }
        self.patiently(|staging| staging.dirs.sync())?;
        let record = SkippedDuplicate {
            ingest_id: work.id,
            sha256: duplicate.sha256,
            duplicate_of: duplicate.of,
            action: DuplicateAction::Keep,
            target: None,
        };
        self.write(vec![Record::SkippedDuplicate(record)])
    }

    /// Moves a duplicate to its place. A refused one stays for good, so a refusal, which may be temporary, is tried
    /// twice.
    fn place_duplicate(&mut self, ingest: &Ingest, path: &Path) -> Result<Placed, Error> {
        match self.try_place_duplicate(ingest, path)? {
            Placed::Refused(_) => self.try_place_duplicate(ingest, path),
            placed => Ok(placed),
        }
    }

    /// One attempt. Makes the directory, and those above it, again if another process has removed them.
    fn try_place_duplicate(&mut self, ingest: &Ingest, path: &Path) -> Result<Placed, Error> {
        let above = subdir::above(ingest, path);
        let (source, identity) = (&ingest.source_path, &ingest.identity);
        let placed = match self.patiently(|staging| staging.place(Some(ingest.id), source, above, path, identity)) {
            Ok(Placed::Refused(error)) if error.op == Syscall::OpenDir && error.is_not_found() => {
                self.patiently(|staging| staging.place(Some(ingest.id), source, Path::new("/"), path, identity))
            }
            placed => placed,
        };
        match placed {
            // The place refuses it: the file stays, and the others continue. An error after the rename does not count:
            // the file has moved.
            Err(Error::Io(error)) if MOVES.contains(&error.op) && error.is_of_the_place() => Ok(Placed::Refused(error)),
            placed => placed,
        }
    }

    fn duplicate_stays(&mut self, ingest: &Ingest, path: &Path, why: &str) -> Option<Outcome> {
        if let Some(dir) = path.parent() {
            self.staging.dirs.forget_missing(dir);
        }
        let error = format!("the duplicate stays: it cannot be moved to {}: {why}", path.display());
        self.metrics.file_failed(&ingest.source_path, FailureReason::NotRemoved, &error, None);
        None
    }

    pub(super) fn move_duplicate(&mut self, work: &Work<F>, ingest: &Ingest) -> Result<Option<Outcome>, Error> {
        let sha256 = ingest.duplicate.as_ref().map(|duplicate| duplicate.sha256).unwrap_or(Sha256([0; 32]));
        let of = ingest.duplicate.as_ref().map_or(work.id, |duplicate| duplicate.of);
        let mut target = ingest.duplicate.as_ref().and_then(|duplicate| duplicate.target.clone());
        if let (None, Some(path)) = (&work.held, &target) {
            let source = &ingest.source_path;
            let resolve = || self.patiently(|staging| staging.resolve_link(work.id, source, path));
            match twice(Error::spares_others, resolve) {
                Err(error) if error.spares_others() => {
                    return Ok(self.duplicate_stays(ingest, path, &error.to_string()));
                }
                resolved => resolved?,
            }
            if self.return_mistaken_duplicate(ingest, path)? {
                // An earlier run has moved a file that an upstream had put in the duplicate's place.
                return Ok(Some(Outcome::Abandoned(AbandonReason::Changed)));
            }
        }
        let taken = self.take_again(work, &ingest.source_path, &ingest.identity)?;
        if let Taken::Busy(reason) = taken {
            return Ok(Some(Outcome::Abandoned(reason)));
        }
        loop {
            let Some(path) = target else { return Ok(None) };
            let (dir, name) = split(&path)?;
            let placed = self.place_duplicate(ingest, &path)?;
            let placed = self.staging.recognize(placed, &path, ingest.identity.size, &sha256)?;
            match placed {
                Placed::Vanished => return Ok(Some(Outcome::Cleared)),
                // Further names do no harm here: this is not a file of the warehouse.
                Placed::Done(_) | Placed::Linked => {
                    let lease = work.lease().or(taken.lease());
                    if !lease.map_or(Ok(false), |file| self.fs.lease_broken(file))? {
                        return Ok(Some(Outcome::Cleared));
                    }
                    self.return_there(work, &path, &ingest.source_path)?;
                    return Ok(Some(Outcome::Abandoned(AbandonReason::OpenForWriting)));
                }
                Placed::Changed | Placed::Renumbered => {
                    self.return_there(work, &path, &ingest.source_path)?;
                    return Ok(Some(Outcome::Abandoned(AbandonReason::Changed)));
                }
                Placed::NeedsCopy => return Ok(self.duplicate_stays(ingest, &path, "it is on another file system")),
                Placed::Refused(error) => return Ok(self.duplicate_stays(ingest, &path, &error.to_string())),
                Placed::Unseen(error) => {
                    self.return_there(work, &path, &ingest.source_path)?;
                    return Ok(self.duplicate_stays(ingest, &path, &error.to_string()));
                }
                Placed::Taken => {
                    let taken = choices_up_to(work.file_name(), &sha256, work.id, name);
                    target = self.free_name(dir, work, &sha256, taken)?;
                    if target.is_some() {
                        let (duplicate_of, action, target) = (of, DuplicateAction::Move, target.clone());
                        let again = SkippedDuplicate { ingest_id: work.id, sha256, duplicate_of, action, target };
                        self.write(vec![Record::SkippedDuplicate(again)])?;
                    }
                }
            }
        }
    }

    /// The first free name from choice `taken` on; None if the directory cannot be checked.
    fn free_name(
        &mut self,
        dir: &Path,
        work: &Work<F>,
        sha256: &Sha256,
        taken: usize,
    ) -> Result<Option<PathBuf>, Error> {
        for taken in taken.. {
            let path = dir.join(warehouse_name(work.file_name(), sha256, work.id, taken));
            match self.staging.dirs.look(&path) {
                Ok(None) => return Ok(Some(path)),
                Ok(Some(_)) => {}
                Err(error) if error.spares_others() => return Ok(None),
                Err(error) => return Err(error.into()),
            }
        }
        Ok(None)
    }
}
