//! A file is told by its content where its numbers do not.

use std::path::Path;

use super::{Placed, Staging};
use crate::fs::{self, FileKind, Fs, Open};
use crate::pipeline::dirs::split;
use crate::pipeline::hash::digest_of;
use crate::types::Sha256;

impl<F: Fs> Staging<F> {
    /// True if a file of that size and content stands at `path`.
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

    /// What has another inode number behind its rename is what was hashed if it has its content.
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
        Ok(Placed::Done)
    }
}
