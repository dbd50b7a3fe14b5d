//! What is done in staging once the content is durable in the warehouse.
//!
//! Invariant (P2): nothing is removed but what is still the file that was hashed, and only after its content is
//! durable elsewhere.

use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{Committer, Work};
use crate::fs::blame::twice;
use crate::fs::{self, Fs, Lease, MKDIR, OPEN_DIR, Open, RENAME};
use crate::journal::ingest::{Ingest, Kept};
use crate::journal::lifecycle::FileState;
use crate::journal::record::{AbandonReason, DuplicateAction, Record, SkippedDuplicate};
use crate::metrics::FailureReason;
use crate::pipeline::hash::Hasher;
use crate::pipeline::publish::{Placed, Removed, split};
use crate::pipeline::staging::names::ASIDE_PREFIX;
use crate::pipeline::warehouse::names::{choices_up_to, warehouse_name};
use crate::pipeline::{Error, Outcome, Report, Settled};
use crate::types::{FileIdentity, IngestId, Sha256};

/// What is done before a file has moved, and by which it moves.
const MOVES: [&str; 3] = [OPEN_DIR, MKDIR, RENAME];

impl<F: Fs> Committer<F> {
    /// Removes what the files left in staging, does what is to be done with duplicates, and closes all of them.
    pub(in crate::pipeline) fn finish(
        &mut self,
        moved: Vec<Work<F>>,
        duplicates: Vec<Work<F>>,
        reports: &mut Vec<Report>,
    ) -> Result<(), Error> {
        let mut used_sidecars = Vec::with_capacity(moved.len());
        for work in &moved {
            used_sidecars.push(self.clean_up(work)?);
        }
        let cleared = self.clear_duplicates(duplicates, reports)?;
        self.patiently(|this| this.publisher.sync())?;
        for (work, used_sidecar) in moved.into_iter().zip(used_sidecars) {
            self.metrics.file_ingested(self.ingest(work.id)?, self.fs.now());
            self.closings.push(Record::Manifested(work.id));
            self.finished.extend(work.held);
            reports.push(Report { name: work.name, outcome: Outcome::Ingested { used_sidecar } });
        }
        for (work, outcome, closing) in cleared {
            self.closings.push(closing);
            reports.push(Report { name: work.name, outcome });
        }
        Ok(())
    }

    /// Removes the source of a copy, and the sidecar, if they are still what they were. A sidecar that cannot be
    /// removed is returned: it must not release another file.
    pub(super) fn clean_up(&mut self, work: &Work<F>) -> Result<Option<FileIdentity>, Error> {
        let ingest = self.ingest(work.id)?;
        let is_copied = ingest.target.as_ref().is_some_and(|target| target.copy.is_some());
        if !is_copied && ingest.sidecar.is_none() {
            return Ok(None);
        }
        let ingest = ingest.clone();
        if let Some(target) = ingest.target.as_ref().filter(|target| target.copy.is_some()) {
            if self.original_stands(&ingest.source_path, &ingest.identity, &target.sha256)? {
                let removed = self.remove_staged(work, "source", &ingest, &target.sha256)?;
                self.report_refused(&ingest.source_path, &removed);
            } else {
                // It stays, and so does what released it. An earlier run may have taken them aside.
                self.resolve_aside(work.id, "source", &ingest.source_path, None)?;
                if let Some(sidecar) = &ingest.sidecar {
                    self.resolve_aside(work.id, "sidecar", &sidecar.path, None)?;
                }
                return Ok(ingest.sidecar.map(|sidecar| sidecar.identity));
            }
        }
        self.remove_used_sidecar(work, &ingest)
    }

    /// Removes the sidecar, if it is still what it was; returns one that cannot be removed.
    pub(super) fn remove_used_sidecar(
        &mut self,
        work: &Work<F>,
        ingest: &Ingest,
    ) -> Result<Option<FileIdentity>, Error> {
        let Some(sidecar) = &ingest.sidecar else { return Ok(None) };
        let removed = self.remove(work.id, "sidecar", &sidecar.path, &sidecar.identity, None)?;
        self.report_refused(&sidecar.path, &removed);
        Ok(matches!(removed, Removed::Refused(_)).then_some(sidecar.identity))
    }

    fn report_refused(&self, path: &Path, removed: &Removed) {
        if let Removed::Refused(error) = removed {
            let error = format!("cannot be removed: {error}");
            self.metrics.file_failed(path, FailureReason::NotRemoved, &error, None);
        }
    }

    /// [`Publisher::remove`]. A full disk can be in the way of that too: the name aside is a longer one, for which the
    /// directory may need a block, and some file systems write anew what they remove from.
    ///
    /// [`Publisher::remove`]: crate::pipeline::publish::Publisher::remove
    pub(in crate::pipeline) fn remove(
        &mut self,
        id: IngestId,
        what: &str,
        path: &Path,
        identity: &FileIdentity,
        leased: Option<&F::File>,
    ) -> Result<Removed, Error> {
        self.patiently(|this| this.publisher.remove(id, what, path, identity, leased))
    }

    pub(in crate::pipeline) fn resolve_aside(
        &mut self,
        id: IngestId,
        what: &str,
        path: &Path,
        identity: Option<&FileIdentity>,
    ) -> Result<bool, Error> {
        let mut resolved = self.patiently(|this| this.publisher.resolve_aside(id, what, path, identity, None));
        if resolved.as_ref().is_err_and(|error| matches!(error, Error::Io(error) if error.spares_others())) {
            // What cannot be removed gets its name back.
            resolved = self.patiently(|this| this.publisher.resolve_aside(id, what, path, None, None));
        }
        match resolved {
            // It stays there, hidden. No other file has this id, so it is in nobody's way.
            Err(Error::Io(error)) if error.spares_others() => {
                let error = format!("cannot be looked at where it was taken aside: {error}");
                self.metrics.file_failed(path, FailureReason::NotPutBack, &error, None);
                Ok(false)
            }
            resolved => resolved,
        }
    }

    /// Removes a staged file whose content is durable elsewhere, if it is still what it was.
    pub(super) fn remove_staged(
        &mut self,
        work: &Work<F>,
        what: &str,
        ingest: &Ingest,
        sha256: &Sha256,
    ) -> Result<Removed, Error> {
        match twice(Error::spares_others, || self.try_remove_staged(work, what, ingest, sha256)) {
            Err(Error::Io(error)) if error.spares_others() => {
                // What an earlier run took aside must not stay hidden.
                self.resolve_aside(work.id, what, &ingest.source_path, None)?;
                Ok(Removed::Refused(error))
            }
            removed => removed,
        }
    }

    fn try_remove_staged(
        &mut self,
        work: &Work<F>,
        what: &str,
        ingest: &Ingest,
        sha256: &Sha256,
    ) -> Result<Removed, Error> {
        let (path, identity) = (&ingest.source_path, &ingest.identity);
        if work.held.is_none() {
            // What an earlier run took aside is dealt with, whatever stands at the name by now.
            let aside = self.publisher.aside_path(work.id, what, path)?;
            let taken = self.take_again(work, &aside, identity)?;
            let is_free = !matches!(taken, Taken::Busy(_)) || self.is_renumbered(&aside, identity, sha256)?;
            let is_removed = self.resolve_aside(work.id, what, path, is_free.then_some(identity))?;
            // A rename made of a link that was cut off has left this name, too.
            let is_there = |stat: fs::Stat| stat.identity.same_but_renamed(identity);
            if is_removed && !self.publisher.look(path)?.is_some_and(is_there) {
                return Ok(Removed::Done);
            }
        }
        let Some(there) = self.publisher.look(path)?.map(|stat| stat.identity) else {
            // An earlier run has come so far, or somebody else has done it.
            let (dir, _) = split(path)?;
            self.publisher.touch(dir, dir);
            return Ok(Removed::Done);
        };
        if there == *identity {
            let taken = self.take_again(work, path, identity)?;
            if matches!(taken, Taken::Busy(_)) {
                return Ok(Removed::Other);
            }
            let lease = work.lease().or(taken.lease());
            let removed = self.remove(work.id, what, path, identity, lease)?;
            let Removed::Other = removed else { return Ok(removed) };
            if !self.is_renumbered(path, identity, sha256)? {
                return Ok(removed);
            }
            let Some(there) = self.publisher.look(path)? else { return Ok(removed) };
            return self.remove(work.id, what, path, &there.identity, lease);
        }
        // Recovery holds no file open. A crash that undid the renames of an unfinished removal leaves their ctime: then
        // the content decides. Without a crash another ctime means another state of the file, which is not ours.
        let identity = there;
        let may_be_it = identity.same_but_renamed(&ingest.identity) || identity.same_but_renumbered(&ingest.identity);
        if work.held.is_some() || !may_be_it {
            return Ok(Removed::Other);
        }
        let (_, name) = split(path)?;
        let settled = Settled {
            name: Arc::from(name),
            identity,
            links: 1,
            sidecar: None,
            orphaned: false,
            sidecar_name: None,
            complete_at: ingest.discovered_at,
            ticket: 0,
            failures: 0,
            failing: None,
        };
        match Hasher::new(self.shared.clone()).verify(&settled) {
            Ok((file, leased, found)) if found == *sha256 => {
                self.remove(work.id, what, path, &identity, leased.then_some(&file))
            }
            _ => Ok(Removed::Other),
        }
    }

    /// The file at `path` has the content, and all that a renamed file keeps but its inode number: then this device gives
    /// renamed files new ones.
    fn is_renumbered(&mut self, path: &Path, identity: &FileIdentity, sha256: &Sha256) -> Result<bool, Error> {
        let Some(there) = self.publisher.look(path)?.map(|stat| stat.identity) else { return Ok(false) };
        let is_doubtful = self.publisher.take_renumbered() || !there.same_but_renamed(identity);
        let is_it = is_doubtful && there.same_but_renumbered(identity) && self.holds(path, identity.size, sha256)?;
        if is_it {
            self.publisher.note_renumbering(there.device);
        }
        Ok(is_it)
    }

    /// Recovery holds nothing: leases ended with the process that held them, and a writer may have come since. What he
    /// writes to a file that is removed or moved away would be lost. The open file also keeps its inode number from being
    /// given to another while we compare identities.
    pub(super) fn take_again(
        &mut self,
        work: &Work<F>,
        path: &Path,
        identity: &FileIdentity,
    ) -> Result<Taken<F>, Error> {
        let is_aside = path.file_name().is_some_and(|name| name.as_bytes().starts_with(ASIDE_PREFIX));
        if work.held.is_some() {
            return Ok(Taken::Already);
        }
        let (dir, name) = split(path)?;
        let opened = self.publisher.dir(dir).and_then(|dir| self.fs.open(&dir, name, Open::Read));
        let file = match opened {
            Err(error) if error.is_not_to_be_read() => return Ok(Taken::Already),
            file => file?,
        };
        // Aside it has been renamed, which changes the ctime. At its own name another ctime means another file, or another
        // state of it: an inode number can be used again between a look and an open.
        let there = self.fs.stat_file(&file)?.identity;
        if there != *identity && !(is_aside && there.same_but_renamed(identity)) {
            return Ok(Taken::Busy(AbandonReason::Changed));
        }
        Ok(match self.fs.lease(&file)? {
            Lease::Writer => Taken::Busy(AbandonReason::OpenForWriting),
            lease => Taken::Now { file, leased: lease == Lease::Held },
        })
    }

    /// Removes or moves duplicates away, and what goes to quarantine; returns those that are gone, each with the record that
    /// closes it. A duplicate that stays is closed already.
    pub(super) fn clear_duplicates(
        &mut self,
        duplicates: Vec<Work<F>>,
        reports: &mut Vec<Report>,
    ) -> Result<Vec<(Work<F>, Outcome, Record)>, Error> {
        let mut cleared = Vec::new();
        self.look_at_targets_again(&duplicates);
        self.prepare_reasons(&duplicates)?;
        for work in duplicates {
            let Some(ingest) = self.state.ingest(work.id).cloned() else {
                // Kept: its record closed it.
                reports.extend(self.report_kept(&work)?);
                continue;
            };
            if ingest.state == FileState::Quarantined {
                let (outcome, closing) = self.confine(&work, &ingest)?;
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
        let Some(kept): Option<Kept> = self.state.kept_at(work.key).copied() else { return Ok(None) };
        let path = self.settings.input.join(&*work.name);
        let original = self.state.original(&kept.sha256)?;
        self.metrics.duplicate_skipped(&path, &kept.sha256, original.as_ref(), DuplicateAction::Keep);
        Ok(Some(Report { name: work.name.clone(), outcome: Outcome::Kept(kept) }))
    }

    /// Does with one duplicate what its record says. None if it had to be kept after all, which is then recorded.
    pub(super) fn clear(&mut self, work: &Work<F>, ingest: Ingest) -> Result<Option<Outcome>, Error> {
        let Some(duplicate) = ingest.duplicate.clone() else {
            return Err(Error::Transition("a duplicate has no original", work.id));
        };
        let original = self.state.original(&duplicate.sha256)?;
        let outcome = match duplicate.action {
            DuplicateAction::Keep => None,
            DuplicateAction::Remove => {
                // It may have been removed since, or damaged: then these bytes are the last.
                match self.original_stands(&ingest.source_path, &ingest.identity, &duplicate.sha256)? {
                    true => match self.remove_staged(work, "duplicate", &ingest, &duplicate.sha256)? {
                        Removed::Done => Some(Outcome::Cleared),
                        Removed::Other => Some(Outcome::Abandoned(AbandonReason::Changed)),
                        refused @ Removed::Refused(_) => {
                            self.report_refused(&ingest.source_path, &refused);
                            None
                        }
                    },
                    false => {
                        self.resolve_aside(work.id, "duplicate", &ingest.source_path, None)?;
                        None
                    }
                }
            }
            DuplicateAction::Move if self.is_last_copy(&ingest, &duplicate.sha256)? => None,
            DuplicateAction::Move => self.move_duplicate(work, &ingest)?,
        };
        let Some(outcome) = outcome else {
            // An earlier run may have taken its sidecar aside. The record below closes the ingest, so no later run looks for
            // what is aside: the names that were given back are durable before it.
            if let Some(sidecar) = &ingest.sidecar {
                self.resolve_aside(work.id, "sidecar", &sidecar.path, None)?;
            }
            self.patiently(|this| this.publisher.sync())?;
            let record = SkippedDuplicate {
                ingest_id: work.id,
                sha256: duplicate.sha256,
                duplicate_of: duplicate.of,
                action: DuplicateAction::Keep,
                target: None,
            };
            self.write(&[Record::SkippedDuplicate(record)])?;
            return Ok(None);
        };
        match &ingest.sidecar {
            Some(sidecar) if matches!(outcome, Outcome::Cleared) => {
                let removed = self.remove(work.id, "sidecar", &sidecar.path, &sidecar.identity, None)?;
                self.report_refused(&sidecar.path, &removed);
            }
            // An earlier run may have taken it aside.
            Some(sidecar) => drop(self.resolve_aside(work.id, "sidecar", &sidecar.path, None)?),
            None => {}
        }
        if matches!(outcome, Outcome::Cleared) {
            self.metrics.duplicate_skipped(&ingest.source_path, &duplicate.sha256, original.as_ref(), duplicate.action);
        }
        Ok(Some(outcome))
    }

    /// Moves a duplicate to its place. Refused, it stays for good, so what may be a moment's is tried twice.
    fn place_duplicate(&mut self, ingest: &Ingest, path: &Path) -> Result<Placed, Error> {
        match self.try_place_duplicate(ingest, path)? {
            Placed::Refused(_) => self.try_place_duplicate(ingest, path),
            placed => Ok(placed),
        }
    }

    /// The directory is made again if somebody has removed it, and what is above it too.
    fn try_place_duplicate(&mut self, ingest: &Ingest, path: &Path) -> Result<Placed, Error> {
        let (dir, _) = split(path)?;
        let above = dir.parent().unwrap_or(dir);
        let (source, identity) = (&ingest.source_path, &ingest.identity);
        let placed = match self.patiently(|this| this.publisher.place(Some(ingest.id), source, above, path, identity)) {
            Ok(Placed::Refused(error)) if error.op == OPEN_DIR && error.is_not_found() => {
                self.patiently(|this| this.publisher.place(Some(ingest.id), source, Path::new("/"), path, identity))
            }
            placed => placed,
        };
        match placed {
            // The place does not take it: the file stays, and the others go on. Behind the rename, it is there.
            Err(Error::Io(error)) if MOVES.contains(&error.op) && error.is_of_the_place() => Ok(Placed::Refused(error)),
            placed => placed,
        }
    }

    fn duplicate_stays(&mut self, ingest: &Ingest, path: &Path, why: &str) -> Option<Outcome> {
        if let Some(dir) = path.parent() {
            self.publisher.forget_missing(dir);
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
            let resolve = || self.patiently(|this| this.publisher.resolve_link(work.id, source, path));
            match twice(Error::spares_others, resolve) {
                Err(error) if error.spares_others() => {
                    return Ok(self.duplicate_stays(ingest, path, &error.to_string()));
                }
                resolved => resolved?,
            }
            if self.return_mistaken_duplicate(ingest, path)? {
                // An earlier run has moved what an upstream had put in the duplicate's place.
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
            let placed = self.recognize(placed, &path, ingest.identity.size, &sha256)?;
            match placed {
                Placed::Vanished => return Ok(Some(Outcome::Cleared)),
                // Further names do no harm here: nobody takes it for the warehouse's.
                Placed::Done | Placed::Linked => {
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
                Placed::NeedsCopy => return Ok(self.duplicate_stays(ingest, &path, "it lies on another file system")),
                Placed::Refused(error) => return Ok(self.duplicate_stays(ingest, &path, &error.to_string())),
                Placed::Unseen(error) => {
                    self.return_there(work, &path, &ingest.source_path)?;
                    return Ok(self.duplicate_stays(ingest, &path, &error.to_string()));
                }
                Placed::Taken => {
                    let taken = choices_up_to(&work.name, &sha256, work.id, name);
                    target = self.free_name(dir, work, &sha256, taken)?;
                    if target.is_some() {
                        let (duplicate_of, action, target) = (of, DuplicateAction::Move, target.clone());
                        let again = SkippedDuplicate { ingest_id: work.id, sha256, duplicate_of, action, target };
                        self.write(&[Record::SkippedDuplicate(again)])?;
                    }
                }
            }
        }
    }

    /// The first name from the choice `taken` on that is free; None if it cannot be told.
    fn free_name(
        &mut self,
        dir: &Path,
        work: &Work<F>,
        sha256: &Sha256,
        taken: usize,
    ) -> Result<Option<PathBuf>, Error> {
        for taken in taken.. {
            let path = dir.join(warehouse_name(&work.name, sha256, work.id, taken));
            match self.publisher.look(&path) {
                Ok(None) => return Ok(Some(path)),
                Ok(Some(_)) => {}
                Err(error) if error.spares_others() => return Ok(None),
                Err(error) => return Err(error.into()),
            }
        }
        Ok(None)
    }
}

/// A staged file that is about to be removed or moved away.
pub(super) enum Taken<F: Fs> {
    /// It is held since it was hashed, or cannot be held.
    Already,
    /// A writer has it, or it is another file.
    Busy(AbandonReason),
    Now {
        file: F::File,
        leased: bool,
    },
}

impl<F: Fs> Taken<F> {
    pub(super) fn lease(&self) -> Option<&F::File> {
        match self {
            Taken::Now { file, leased: true } => Some(file),
            _ => None,
        }
    }
}
