//! A file that was moved by mistake: an upstream replaced the source between our last look and our rename, and the
//! process ended before it could look at what had arrived, and put it back.
//!
//! Such a file stands in the warehouse, is in no manifest, and no staging directory has it any more. What stands there
//! may also be somebody else's, since an upstream may have withdrawn the source just as well. So nothing is taken away
//! for being unknown:
//!
//! | what stands at the name | what is done |
//! |---|---|
//! | on another device than staging, or with a ctime from before the source was found | not moved by us: nothing |
//! | a content that is in the warehouse at this very name | nothing |
//! | a content that is, or will be, in the warehouse elsewhere; no regular file; open for writing | put back, judged anew |
//! | any other content | ingested where it stands |
//!
//! rename(2) updates the ctime on all of Linux's disk file systems, though POSIX does not ask for it.

use std::path::Path;
use std::time::Duration;

use super::Committer;
use crate::fs::{self, FileKind, Fs, Lease, Open, Stat};
use crate::journal::record::{AbandonReason, Abandoned, Discovered, Hashed, Record};
use crate::journal::state::Ingest;
use crate::pipeline::publish::split;
use crate::pipeline::{Error, hash};
use crate::types::{IngestId, Sha256, UnixMillis};

/// File times are taken from the timer's tick, which may be so much behind the clock (100 Hz, and room).
const TICK_MAX: Duration = Duration::from_millis(50);

/// What recovery makes of a file that stands where a lost one was to go.
pub(super) enum Mistaken {
    /// It has nothing to do with us.
    No,
    /// It goes back to staging.
    PutBack(AbandonReason),
    /// It is ingested where it stands.
    Adopt(Stat, Sha256),
}

impl<F: Fs> Committer<F> {
    /// Judges what stands at the warehouse path of a HASHED file that is nowhere. `adopted` are contents that others
    /// are being ingested with in this recovery.
    pub(super) fn judge_mistaken(&mut self, ingest: &Ingest, adopted: &[Sha256]) -> Result<Mistaken, Error> {
        let Some(target) = ingest.target.as_ref().filter(|target| target.copy.is_none()) else {
            return Ok(Mistaken::No);
        };
        let path = &target.warehouse_path;
        let Some(stat) = self.moved_by_us(ingest, path)? else { return Ok(Mistaken::No) };
        if stat.kind != FileKind::Regular {
            return Ok(Mistaken::PutBack(AbandonReason::Changed));
        }
        let (dir, name) = split(path)?;
        let dir = self.publisher.dir(dir)?;
        let file = match self.fs.open(&dir, name, Open::Read) {
            Err(error) if error.is_denied() => return Ok(Mistaken::PutBack(AbandonReason::Failed)),
            file => file?,
        };
        if self.fs.lease(&file)? == Lease::Writer {
            return Ok(Mistaken::PutBack(AbandonReason::OpenForWriting));
        }
        let sha256 = hash::digest_of(&self.fs, &file)?;
        let original = self.state.original(&sha256)?;
        if original.as_ref().is_some_and(|original| *original.warehouse_path == **path) {
            return Ok(Mistaken::No);
        }
        let is_claimed = |other: &Ingest| {
            other.id != ingest.id && other.target.as_ref().is_some_and(|target| target.sha256 == sha256)
        };
        let elsewhere = original.is_some() || adopted.contains(&sha256) || self.state.open().any(is_claimed);
        let same_settings = self.state.settings().is_some_and(|known| **known == *ingest.settings);
        if elsewhere || !same_settings || stat.links > 1 {
            return Ok(Mistaken::PutBack(AbandonReason::Changed));
        }
        // Nobody has synced it for us, and the rename was ours.
        self.fs.sync_data(&file)?;
        Ok(Mistaken::Adopt(stat, sha256))
    }

    /// What stands at `path`, if our rename of the ingest's source may have brought it there.
    fn moved_by_us(&mut self, ingest: &Ingest, path: &Path) -> fs::Result<Option<Stat>> {
        let Some(stat) = self.publisher.look(path)? else { return Ok(None) };
        let (staging, _) = split(&ingest.source_path)?;
        let staging = self.publisher.dir(staging)?;
        let device = self.fs.stat_dir(&staging)?.identity.device;
        let ctime_ms = u64::try_from(stat.identity.ctime.sec).unwrap_or(0).saturating_mul(1000)
            + u64::from(stat.identity.ctime.nsec / 1_000_000);
        let is_later = UnixMillis(ctime_ms) >= ingest.discovered_at.minus(TICK_MAX);
        Ok(Some(stat).filter(|stat| stat.identity.device == device && is_later))
    }

    /// The records that give a mistaken file an id of its own and end the one whose place it has; `before` records go
    /// into the journal ahead of them.
    pub(super) fn adopt_mistaken(
        &self,
        ingest: &Ingest,
        stat: &Stat,
        sha256: Sha256,
        before: usize,
    ) -> (IngestId, [Record; 3]) {
        let id = IngestId(self.journal.next_lsn().0 + before as u64 + 1);
        let abandoned = Abandoned { ingest_id: ingest.id, reason: AbandonReason::Changed };
        let discovered = Discovered {
            identity: stat.identity,
            discovered_at: ingest.discovered_at,
            source_path: ingest.source_path.clone(),
            sidecar: None,
        };
        let warehouse_path = ingest.target.as_ref().map(|target| target.warehouse_path.clone()).unwrap_or_default();
        let hashed = Hashed { ingest_id: id, sha256, warehouse_path, copy: None };
        (id, [Record::Abandoned(abandoned), Record::Discovered(discovered), Record::Hashed(hashed)])
    }

    /// Puts back what stands in the directory for duplicates at the name that was chosen for one, and is no duplicate, or
    /// is open for writing and may soon be none.
    pub(in crate::pipeline) fn return_mistaken_duplicate(
        &mut self,
        ingest: &Ingest,
        path: &Path,
    ) -> Result<bool, Error> {
        let Some(stat) = self.moved_by_us(ingest, path)? else { return Ok(false) };
        if stat.kind == FileKind::Regular {
            let (dir, name) = split(path)?;
            let dir = self.publisher.dir(dir)?;
            let file = self.fs.open(&dir, name, Open::Read)?;
            let is_open = self.fs.lease(&file)? == Lease::Writer;
            let is_ours = stat.identity.same_but_renamed(&ingest.identity);
            if !is_open && (is_ours || self.state.original(&hash::digest_of(&self.fs, &file)?)?.is_some()) {
                return Ok(false);
            }
        }
        self.patiently(|this| this.publisher.put_back(ingest.id, path, &ingest.source_path))?;
        Ok(true)
    }

    /// Takes a mistaken file back to staging; where a rename was cut in halves it has its old name there still.
    pub(super) fn put_back_mistaken(&mut self, ingest: &Ingest) -> Result<(), Error> {
        let Some(target) = &ingest.target else { return Ok(()) };
        let (new, old) = (self.publisher.look(&target.warehouse_path)?, self.publisher.look(&ingest.source_path)?);
        if let (Some(new), Some(old)) = (new, old)
            && new.identity.key() == old.identity.key()
        {
            return Ok(self.publisher.unlink_second_name(&target.warehouse_path)?);
        }
        self.put_back(ingest.id)
    }
}
