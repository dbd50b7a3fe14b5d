//! Checks that a published original is still intact in the warehouse, before its duplicate or source is removed from
//! staging.
//!
//! Invariants:
//! - P2: bytes in staging count as the last good copy until the opposite is shown. It is shown by the identity that was
//!   recorded after the publishing rename (a change of content changes the ctime, which no process can set), or by the
//!   content.
//! - A check by content stays valid as long as the identity does not change.

use super::Committer;
use super::lake::was_listed_by_another;
use crate::fs::blame::twice;
use crate::fs::{self, FileKind, Fs, Open};
use crate::journal::ingest::{Ingest, Original};
use crate::limits::VERIFIED_ORIGINALS_MAX;
use crate::pipeline::Error;
use crate::pipeline::dirs::split;
use crate::pipeline::hash::digest_of;
use crate::store::location::Location;
use crate::types::{FileIdentity, Key, Sha256};

/// The state of the file at an original's name.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// It has the content.
    Intact,
    /// It does not have the content, or that is unknown; the reason why.
    Damaged(String),
}

impl<F: Fs> Committer<F> {
    /// True if the staged file, which has this content, may be removed from staging. If not, an event says why.
    pub(in crate::pipeline) fn original_stands(&mut self, ingest: &Ingest, sha256: &Sha256) -> Result<bool, Error> {
        let (path, staged, key) = (&ingest.source_path, &ingest.identity, ingest.key(sha256));
        let Some(original) = self.index.original(&key)? else { return Ok(was_listed_by_another(ingest)) };
        if original.warehouse_path.to_str().is_some_and(Location::is_meant) {
            // Its line is in the lake, and so is its object: no request is made for it.
            return Ok(true);
        }
        match twice(fs::Error::spares_others, || self.examine(&original, staged, (&key, sha256))) {
            Ok(Standing::Intact) => Ok(true),
            Ok(Standing::Damaged(why)) => {
                self.metrics.original_damaged(path, &original.warehouse_path, &why);
                Ok(false)
            }
            // The check itself fails: that is no reason to stop, and no permission to remove anything.
            Err(error) if error.spares_others() => {
                self.metrics.original_damaged(path, &original.warehouse_path, &error.to_string());
                Ok(false)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// True if the file is still in staging and its original is no longer intact: an operator who repairs the warehouse
    /// looks for the bytes where they were sent. An event reports it.
    pub(super) fn is_last_copy(&mut self, ingest: &Ingest, sha256: &Sha256) -> Result<bool, Error> {
        let path = &ingest.source_path;
        let is_there = match self.staging.dirs.look(path) {
            // The move will report the error.
            Err(error) if error.spares_others() => return Ok(false),
            stat => stat?.is_some(),
        };
        Ok(is_there && !self.original_stands(ingest, sha256)?)
    }

    fn examine(
        &mut self,
        original: &Original,
        staged: &FileIdentity,
        (key, sha256): (&Key, &Sha256),
    ) -> fs::Result<Standing> {
        let damaged = |why: &str| Ok(Standing::Damaged(why.to_owned()));
        let path = &original.warehouse_path;
        let (dir, name) = split(path)?;
        // Opened by its path, not taken from the cache: the directory may have been moved away since.
        let dir = match self.fs.open_dir(dir) {
            Err(error) if error.is_not_found() => return damaged("it is missing"),
            dir => dir?,
        };
        let Some(stat) = self.fs.stat_fresh(&dir, name)? else { return damaged("it is missing") };
        if stat.kind != FileKind::Regular {
            return damaged("it is not a regular file");
        }
        if stat.identity.key() == staged.key() {
            return damaged("it is the very same file");
        }
        if original.published == Some(stat.identity) || self.verified.get(key) == Some(&stat.identity) {
            return Ok(Standing::Intact);
        }
        if stat.identity.size != staged.size {
            return damaged(&format!("it has {} bytes instead of {}", stat.identity.size, staged.size));
        }
        let file = self.fs.open(&dir, name, Open::Read)?;
        let before = self.fs.stat_file(&file)?;
        let found = digest_of(&self.fs, &file)?;
        let after = self.fs.stat_file(&file)?;
        if before.identity != after.identity || before.identity.key() != stat.identity.key() {
            return damaged("it changes while it is read");
        }
        if found != *sha256 {
            return damaged(&format!("its SHA-256 is {found} instead of {sha256}"));
        }
        if self.verified.len() >= VERIFIED_ORIGINALS_MAX {
            self.verified.clear();
        }
        self.verified.insert(*key, after.identity);
        Ok(Standing::Intact)
    }
}
