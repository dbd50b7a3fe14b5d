//! Identifies a file by its content where its identity is not enough.

use std::ffi::OsStr;
use std::path::Path;

use super::{Placed, Staging};
use crate::fs::{self, FileKind, Fs, Open};
use crate::pipeline::dirs::split;
use crate::pipeline::hash::digest_of;
use crate::types::{FileIdentity, Sha256};

impl<F: Fs> Staging<F> {
    /// True if a regular file of this size and content is at `path`. A file that cannot be read counts as another one.
    pub fn holds(&mut self, path: &Path, size: u64, sha256: &Sha256) -> fs::Result<bool> {
        let (dir, name) = split(path)?;
        let is_candidate = |stat: fs::Stat| stat.kind == FileKind::Regular && stat.identity.size == size;
        if !self.dirs.look(path)?.is_some_and(is_candidate) {
            return Ok(false);
        }
        let dir = self.dirs.dir(dir)?;
        match self.fs.open(&dir, name, Open::Read) {
            Err(error) if error.is_not_to_be_read() || error.spares_others() => Ok(false),
            file => Ok(digest_of(&self.fs, &file?).is_ok_and(|found| found == *sha256)),
        }
    }

    /// Decides [`Placed::Renumbered`]: if the file at `path` has the content that was hashed, it is the same file under a
    /// new inode number, otherwise another one.
    pub fn recognize(&mut self, placed: Placed, path: &Path, size: u64, sha256: &Sha256) -> fs::Result<Placed> {
        if !matches!(placed, Placed::Renumbered) {
            return Ok(placed);
        }
        if !self.holds(path, size, sha256)? {
            return Ok(Placed::Changed);
        }
        if let Some(stat) = self.dirs.look(path)? {
            self.note_renumbering(stat.identity.device);
        }
        Ok(Placed::Done(None))
    }

    /// True if both names belong to one file: one inode, or, on a device that renumbers renamed files, one content.
    pub(super) fn is_one(
        &self,
        (dir, name, identity): (&F::Dir, &OsStr, &FileIdentity),
        (other_dir, other_name, other): (&F::Dir, &OsStr, &FileIdentity),
    ) -> fs::Result<bool> {
        if identity.same_but_renamed(other) || !self.is_same(identity, other) {
            return Ok(identity.same_but_renamed(other));
        }
        Ok(self.read(dir, name)? == self.read(other_dir, other_name)?)
    }

    /// True if the file at `path` has this content; false also for one that may not be read. Unlike in [`Staging::holds`], a
    /// failure to read it is an error.
    pub fn is_content_of(&mut self, path: &Path, sha256: &Sha256) -> fs::Result<bool> {
        let (dir, name) = split(path)?;
        let dir = self.dirs.dir(dir)?;
        match self.read(&dir, name) {
            Err(error) if error.is_not_to_be_read() => Ok(false),
            read => Ok(read? == *sha256),
        }
    }

    /// The SHA-256 of a file's content. Unlike in [`Staging::holds`], a failure to read it is an error: it may be momentary.
    pub(super) fn read(&self, dir: &F::Dir, name: &OsStr) -> fs::Result<Sha256> {
        digest_of(&self.fs, &self.fs.open(dir, name, Open::Read)?)
    }
}
