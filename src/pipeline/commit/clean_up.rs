//! What is done in staging after the content is durable in the warehouse.
//!
//! Invariant (P2): a file is removed only if it is still the file that was hashed, and only after its content is durable
//! elsewhere.

use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;

use super::lake::is_for_lake;
use super::{Committer, Work};
use crate::fs::blame::twice;
use crate::fs::{self, Fs, Lease, Open};
use crate::journal::ingest::Ingest;
use crate::journal::record::{AbandonReason, Record};
use crate::metrics::FailureReason;
use crate::pipeline::dirs::split;
use crate::pipeline::hash::Hasher;
use crate::pipeline::staging::names::{ASIDE_PREFIX, Aside};
use crate::pipeline::staging::{Expected, Removed};
use crate::pipeline::{Error, Outcome, Refusal, Report, Settled, subdir};
use crate::types::{FileIdentity, IngestId, Sha256};

impl<F: Fs> Committer<F> {
    /// Removes what the files left in staging, handles the duplicates, and closes all of them.
    pub(in crate::pipeline) fn finish(
        &mut self,
        moved: Vec<Work<F>>,
        duplicates: Vec<Work<F>>,
        reports: &mut Vec<Report>,
    ) -> Result<(), Error> {
        self.staging.dirs.forget_staged();
        self.look_beside(moved.iter().chain(&duplicates))?;
        let mut used_sidecars = Vec::with_capacity(moved.len());
        for work in &moved {
            used_sidecars.push(self.clean_up(work)?);
        }
        let cleared = self.clear_duplicates(duplicates, reports)?;
        self.patiently(|staging| staging.dirs.sync())?;
        for (work, used_sidecar) in moved.into_iter().zip(used_sidecars) {
            self.metrics.file_ingested(self.ingest(work.id)?, self.fs.now());
            self.pending.closings.push(Record::Manifested(work.id));
            self.pending.finished.extend(work.held);
            reports.push(Report { name: work.name, outcome: Outcome::Ingested { used_sidecar } });
        }
        for (work, outcome, closing) in cleared {
            self.pending.closings.push(closing);
            reports.push(Report { name: work.name, outcome });
        }
        Ok(())
    }

    /// Removes the source of a copy, and the sidecar, if they are unchanged. Returns a sidecar that stays: it must not
    /// release another file.
    pub(super) fn clean_up(&mut self, work: &Work<F>) -> Result<Option<FileIdentity>, Error> {
        let ingest = self.ingest(work.id)?;
        let is_copied = ingest.target.as_ref().is_some_and(|target| target.copy.is_some()) || is_for_lake(ingest);
        if !is_copied && ingest.sidecar.is_none() {
            return Ok(None);
        }
        let ingest = ingest.clone();
        if let Some(target) = ingest.target.as_ref().filter(|_| is_copied) {
            if self.original_stands(&ingest, &target.sha256)? {
                let removed = self.remove_staged(work, Aside::Source, &ingest, &target.sha256)?;
                self.report_refused(&ingest.source_path, &removed);
            } else {
                // The source stays, and so does its sidecar. An earlier run may have set them aside.
                self.resolve_aside(work.id, Aside::Source, &ingest.source_path, None)?;
                if let Some(sidecar) = &ingest.sidecar {
                    self.resolve_aside(work.id, Aside::Sidecar, &sidecar.path, None)?;
                }
                return Ok(ingest.sidecar.map(|sidecar| sidecar.identity));
            }
        }
        self.remove_used_sidecar(work, &ingest)
    }

    pub(in crate::pipeline) fn report_refused(&self, path: &Path, removed: &Removed) {
        if let Removed::Refused(error) = removed {
            let error = format!("cannot be removed: {error}");
            self.metrics.file_failed(path, FailureReason::NotRemoved, &error, None);
        }
    }

    /// [`Staging::remove`]. A full disk can prevent a removal as well: the name aside is longer, so the directory may
    /// need another block, and copy-on-write file systems need room for every change.
    ///
    /// [`Staging::remove`]: crate::pipeline::staging::Staging::remove
    pub(in crate::pipeline) fn remove(
        &mut self,
        id: IngestId,
        what: Aside,
        path: &Path,
        expected: Expected<'_>,
        leased: Option<&F::File>,
    ) -> Result<Removed, Error> {
        self.patiently(|staging| staging.remove(id, what, path, expected, leased))
    }

    pub(in crate::pipeline) fn resolve_aside(
        &mut self,
        id: IngestId,
        what: Aside,
        path: &Path,
        expected: Option<Expected<'_>>,
    ) -> Result<bool, Error> {
        let mut resolved = self.patiently(|staging| staging.resolve_aside(id, what, path, expected, None));
        if resolved.as_ref().is_err_and(|error| matches!(error, Error::Io(error) if error.spares_others())) {
            // A file that cannot be removed gets its name back.
            resolved = self.patiently(|staging| staging.resolve_aside(id, what, path, None, None));
        }
        match resolved {
            // It stays there, hidden. No other file has this ingest id, so the name is in no other file's way.
            Err(Error::Io(error)) if error.spares_others() => {
                let error = format!("cannot be checked where it was set aside: {error}");
                self.metrics.file_failed(path, FailureReason::NotPutBack, &error, None);
                Ok(false)
            }
            resolved => resolved,
        }
    }

    /// Removes a staged file whose content is durable elsewhere, if it is unchanged.
    pub(super) fn remove_staged(
        &mut self,
        work: &Work<F>,
        what: Aside,
        ingest: &Ingest,
        sha256: &Sha256,
    ) -> Result<Removed, Error> {
        match twice(Error::spares_others, || self.try_remove_staged(work, what, ingest, sha256)) {
            Err(Error::Io(error)) if error.spares_others() => {
                // A file that an earlier run set aside must not stay hidden.
                self.resolve_aside(work.id, what, &ingest.source_path, None)?;
                Ok(Removed::Refused(error))
            }
            removed => removed,
        }
    }

    fn try_remove_staged(
        &mut self,
        work: &Work<F>,
        what: Aside,
        ingest: &Ingest,
        sha256: &Sha256,
    ) -> Result<Removed, Error> {
        let (path, identity) = (&ingest.source_path, &ingest.identity);
        if work.held.is_none() && self.end_removal(work, what, ingest, sha256)? {
            return Ok(Removed::Done);
        }
        let Some(there) = self.staging.dirs.look(path)?.map(|stat| stat.identity) else {
            // An earlier run has removed it, or another process has.
            let (dir, _) = split(path)?;
            self.staging.dirs.touch(dir, dir);
            return Ok(Removed::Done);
        };
        if there != *identity {
            return self.remove_by_content(work, what, ingest, there, sha256);
        }
        let taken = self.take_again(work, path, identity)?;
        if matches!(taken, Taken::Busy(_)) {
            return Ok(Removed::Other);
        }
        let lease = work.lease().or(taken.lease());
        let removed = self.remove(work.id, what, path, Expected { identity, sha256: Some(sha256) }, lease)?;
        let Removed::Other = removed else { return Ok(removed) };
        if !self.is_renumbered(path, identity, sha256)? {
            return Ok(removed);
        }
        let Some(there) = self.staging.dirs.look(path)? else { return Ok(removed) };
        self.remove(work.id, what, path, Expected { identity: &there.identity, sha256: Some(sha256) }, lease)
    }

    /// Recovery: finishes a removal that an earlier run began, whatever file has the name by now. True if nothing is left
    /// to remove.
    fn end_removal(&mut self, work: &Work<F>, what: Aside, ingest: &Ingest, sha256: &Sha256) -> Result<bool, Error> {
        let (path, identity) = (&ingest.source_path, &ingest.identity);
        let aside = self.staging.aside_path(work.id, what, path)?;
        let taken = self.take_again(work, &aside, identity)?;
        let expected = Expected { identity, sha256: Some(sha256) };
        let is_free = !matches!(taken, Taken::Busy(_)) || self.is_renumbered(&aside, identity, sha256)?;
        let is_removed = self.resolve_aside(work.id, what, path, is_free.then_some(expected))?;
        // A link that a crash cut off before the unlink has left this name, too.
        let is_there = |stat: fs::Stat| stat.identity.same_but_renamed(identity);
        Ok(is_removed && !self.staging.dirs.look(path)?.is_some_and(is_there))
    }

    /// Recovery holds no file open. A crash that undid the renames of an unfinished removal may keep the ctime they set:
    /// then the content decides. Without a crash, another ctime means another state of the file, which must not be
    /// removed.
    fn remove_by_content(
        &mut self,
        work: &Work<F>,
        what: Aside,
        ingest: &Ingest,
        there: FileIdentity,
        sha256: &Sha256,
    ) -> Result<Removed, Error> {
        let may_be_it = there.same_but_renamed(&ingest.identity) || there.same_but_renumbered(&ingest.identity);
        if work.held.is_some() || !may_be_it {
            return Ok(Removed::Other);
        }
        let settled = Settled {
            name: Arc::from(subdir::name_in(&self.settings.input, &ingest.source_path)),
            identity: there,
            links: 1,
            sidecar: None,
            orphaned: false,
            sidecar_name: None,
            complete_at: ingest.discovered_at,
            ticket: 0,
            failures: 0,
            failing: None,
            group: None,
            partition: None,
        };
        match Hasher::new(self.shared.clone()).verify(&settled) {
            Ok((file, leased, found)) if found == *sha256 => {
                let expected = Expected { identity: &there, sha256: Some(sha256) };
                self.remove(work.id, what, &ingest.source_path, expected, leased.then_some(&file))
            }
            // It may be momentary: the caller tries it again.
            Err(Refusal::Failed(error)) => Err(error.into()),
            _ => Ok(Removed::Other),
        }
    }

    /// True if the file at `path` has the content, and differs from `identity` only in what a rename may change, the
    /// inode number included: then this device renumbers renamed files.
    fn is_renumbered(&mut self, path: &Path, identity: &FileIdentity, sha256: &Sha256) -> Result<bool, Error> {
        let Some(there) = self.staging.dirs.look(path)?.map(|stat| stat.identity) else { return Ok(false) };
        let is_doubtful = self.staging.take_renumbered() || !there.same_but_renamed(identity);
        let is_it = is_doubtful && there.same_but_renumbered(identity) && self.staging.is_content_of(path, sha256)?;
        if is_it {
            self.staging.note_renumbering(there.device);
        }
        Ok(is_it)
    }

    /// Opens and leases a file again before it is removed or moved away. Recovery holds no files: leases ended with the
    /// process that held them, and a writer may have opened the file since. Whatever it writes to a removed or moved file
    /// would be lost. The open file also keeps its inode number from being reused while identities are compared.
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
        let opened = self.staging.dirs.dir(dir).and_then(|dir| self.fs.open(&dir, name, Open::Read));
        let file = match opened {
            Err(error) if error.is_not_to_be_read() => return Ok(Taken::Already),
            file => file?,
        };
        // A file aside has been renamed, which changes the ctime. At its own name, another ctime means another file or
        // another state of it: an inode number can be reused between a stat and an open.
        let there = self.fs.stat_file(&file)?.identity;
        if there != *identity && !(is_aside && there.same_but_renamed(identity)) {
            return Ok(Taken::Busy(AbandonReason::Changed));
        }
        Ok(match self.fs.lease(&file)? {
            Lease::Writer => Taken::Busy(AbandonReason::OpenForWriting),
            lease => Taken::Now { file, leased: lease == Lease::Held },
        })
    }
}

/// Whether a staged file that is about to be removed or moved away is held.
pub(super) enum Taken<F: Fs> {
    /// Held since it was hashed, or not to be opened.
    Already,
    /// A writer has it open, or it is another file.
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
