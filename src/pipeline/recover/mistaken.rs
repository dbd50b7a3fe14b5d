//! Files that were moved by mistake: an upstream replaced the source between the last check and the rename, and the
//! process ended before it could check the file that arrived, and put it back.
//!
//! Such a file is in the warehouse, in no manifest, and no longer in any staging directory. But the file at that name may
//! also be another process's, because the upstream may just as well have withdrawn the source:
//!
//! | at the name | what is done |
//! |---|---|
//! | a directory; a file on another device than staging, or with a ctime from before the source was found, unless the clock was set back since | nothing: this program did not move it |
//! | a file whose content is ingested under this very name | nothing |
//! | a file whose content the disk does not give | nothing; the ingest stays HASHED, and the next start looks again |
//! | any other file, if other ingestors use the warehouse as well | nothing, and an error is logged: it may be another ingestor's |
//! | any other file | put back, and handled like any new file in staging |
//!
//! rename(2) updates the ctime on all disk file systems of Linux, although POSIX does not require it.

use std::path::Path;
use std::time::Duration;

use super::Committer;
use crate::fs::blame::twice;
use crate::fs::{self, FileKind, Fs, Lease, Open, Stat};
use crate::journal::ingest::Ingest;
use crate::metrics::FailureReason;
use crate::pipeline::dirs::split;
use crate::pipeline::{Error, hash};
use crate::types::{Sha256, UnixMillis};

/// File times may be as coarse as one second (ext3, ext4 with small inodes), and up to a timer tick behind the clock.
const TIMES_SLACK: Duration = Duration::from_secs(2);

impl<F: Fs> Committer<F> {
    /// Checks the warehouse path of a HASHED file that was found nowhere, and puts back a file that was moved there by
    /// mistake. Returns the error that prevented it: if the ingest were abandoned, that file would stay there for good,
    /// so the next start has to try again.
    pub(super) fn return_mistaken(&mut self, ingest: &Ingest) -> Result<Option<fs::Error>, Error> {
        match twice(Error::spares_others, || self.try_return_mistaken(ingest)) {
            Err(Error::Io(error)) if error.spares_others() => Ok(Some(error)),
            done => done.map(|()| None),
        }
    }

    fn try_return_mistaken(&mut self, ingest: &Ingest) -> Result<(), Error> {
        let Some(target) = ingest.target.as_ref().filter(|target| target.copy.is_none()) else { return Ok(()) };
        let path = &target.warehouse_path;
        if self.moved_by_us(ingest, path)?.is_none() {
            return Ok(());
        }
        if let Some(sha256) = self.content_at(path)? {
            let original = self.index.original(&ingest.key(&sha256))?;
            // Where names count, it may have been ingested under another one.
            if original.is_some_and(|it| *it.warehouse_path == **path) || self.is_anothers(ingest, path)? {
                return Ok(());
            }
        }
        if self.shares_warehouse(&ingest.settings.warehouse)? {
            let why = "it is at the name chosen for a file that is now gone, and no manifest of this ingestor lists it";
            self.metrics.file_failed(path, FailureReason::NotPutBack, why, None);
            return Ok(());
        }
        self.put_back_mistaken(ingest, path)
    }

    /// The file at `path`, if the rename of the ingest's source may have brought it there.
    pub(in crate::pipeline) fn moved_by_us(&mut self, ingest: &Ingest, path: &Path) -> fs::Result<Option<Stat>> {
        let Some(stat) = self.look_in_warehouse(path)? else { return Ok(None) };
        let (staging, _) = split(&ingest.source_path)?;
        let device = self.staging.dirs.device(staging)?;
        let ctime_ms = u64::try_from(stat.identity.ctime.sec).unwrap_or(0).saturating_mul(1000);
        let is_later =
            UnixMillis(ctime_ms) >= ingest.discovered_at.minus(TIMES_SLACK) || self.was_set_back_since(ingest);
        let is_file = stat.kind != FileKind::Directory;
        Ok(Some(stat).filter(|stat| is_file && stat.identity.device == device && is_later))
    }

    /// True if the wall clock was set back after the ingest's file was found: then the ctime of a later rename may be earlier
    /// than that. A recovery notes a jump before it judges any file.
    fn was_set_back_since(&self, ingest: &Ingest) -> bool {
        self.fs.now() < ingest.discovered_at || self.index.clock().is_set_back_after(ingest.id)
    }

    /// The SHA-256 of a regular file; None if it may not be read. An error of the disk proves nothing: the file may be one
    /// that a manifest lists, and must stay where it is.
    fn content_at(&mut self, path: &Path) -> Result<Option<Sha256>, Error> {
        let (dir, name) = split(path)?;
        let dir = self.staging.dirs.dir(dir)?;
        match self.fs.open(&dir, name, Open::Read) {
            Err(error) if error.is_not_to_be_read() => Ok(None),
            file => Ok(Some(hash::digest_of(&self.fs, &file?)?)),
        }
    }

    /// The same; None also if the disk does not give it.
    pub(in crate::pipeline) fn readable_content(&mut self, path: &Path) -> Result<Option<Sha256>, Error> {
        match self.content_at(path) {
            Err(Error::Io(error)) if error.spares_others() => Ok(None),
            content => content,
        }
    }

    /// True if another ingestor has used the warehouse: each has directories of its own there, whose names begin with its
    /// UUID. The lock file of manifests in the same directory belongs to no ingestor.
    fn shares_warehouse(&mut self, warehouse: &Path) -> Result<bool, Error> {
        let ours = hash::copies_dir(warehouse, &self.journal.store());
        let (all, ours) = split(&ours)?;
        let all = self.staging.dirs.dir(all)?;
        for entry in self.fs.list(&all)? {
            let name = entry?.name;
            let is_an_ingestors =
                name.as_encoded_bytes().get(..ours.len()).is_some_and(|id| id.iter().all(u8::is_ascii_hexdigit));
            if is_an_ingestors && !name.as_encoded_bytes().starts_with(ours.as_encoded_bytes()) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Moves a mistaken file back to staging. Where a rename was cut off halfway, it still has its old name there.
    fn put_back_mistaken(&mut self, ingest: &Ingest, path: &Path) -> Result<(), Error> {
        let (new, old) = (self.look_in_warehouse(path)?, self.staging.dirs.look(&ingest.source_path)?);
        if let (Some(new), Some(old)) = (new, old)
            && new.identity.key() == old.identity.key()
        {
            return Ok(self.staging.unlink_second_name(path)?);
        }
        self.withdraw(ingest.id)
    }

    /// Puts back the file at the name that was chosen for a duplicate, if it is not a duplicate, or is open for writing
    /// and may soon not be one. True if it was put back.
    pub(in crate::pipeline) fn return_mistaken_duplicate(
        &mut self,
        ingest: &Ingest,
        path: &Path,
    ) -> Result<bool, Error> {
        let stat = match self.moved_by_us(ingest, path) {
            // A place that cannot be checked has nothing to put back; the move will report the error.
            Err(error) if error.spares_others() => None,
            stat => stat?,
        };
        let Some(stat) = stat else { return Ok(false) };
        if stat.kind == FileKind::Regular {
            let (dir, name) = split(path)?;
            let dir = self.staging.dirs.dir(dir)?;
            let file = match self.fs.open(&dir, name, Open::Read) {
                Err(error) if error.is_not_to_be_read() || error.spares_others() => return Ok(false),
                file => file?,
            };
            let is_open = self.fs.lease(&file)? == Lease::Writer;
            let is_ours = stat.identity.same_but_renamed(&ingest.identity);
            let is_known = || match hash::digest_of(&self.fs, &file) {
                Ok(sha256) => self.index.original(&ingest.key(&sha256)).map(|original| original.is_some()),
                Err(_) => Ok(true),
            };
            if !is_open && (is_ours || is_known()?) {
                return Ok(false);
            }
            if !is_ours && self.shares_warehouse(&ingest.settings.warehouse)? {
                return Ok(false);
            }
        }
        self.patiently(|staging| staging.put_back(ingest.id, path, &ingest.source_path))?;
        Ok(true)
    }
}
