//! Giving a file back to where it came from.
//!
//! Invariants:
//! - Nothing is replaced: where the old name is taken, the file gets one beside it that the next scan finds.
//! - Names are never used up.

use std::ffi::OsStr;
use std::path::Path;

use super::Staging;
use super::names::returned_name;
use crate::fs::{self, Fs};
use crate::pipeline::dirs::split;
use crate::types::IngestId;

/// How many numbered names are tried for a file that goes back where its own name is taken; then come random ones.
const RETURNED_NAMES_MAX: u32 = 16;
/// How many random ones. Who has taken the numbered names cannot have guessed one of these.
const RANDOM_NAMES_MAX: u32 = 16;

impl<F: Fs> Staging<F> {
    /// Undoes a `place`: the file at `to` goes back to `from`, or, if that name is taken again, beside it under a
    /// name that the next scan finds.
    pub fn put_back(&mut self, id: IngestId, to: &Path, from: &Path) -> fs::Result<()> {
        let ((from_dir, from_name), (to_dir, to_name)) = (split(from)?, split(to)?);
        let (source, target) = (self.dirs.dir(from_dir)?, self.dirs.dir(to_dir)?);
        // Each directory gains a name that the other loses. Where a rename comes in halves (ext2), no order of two syncs is
        // right for files on both ways: those that went there are made durable before, and this one by itself.
        self.dirs.sync()?;
        self.dirs.touch(to_dir, from_dir);
        self.give_back(id, &target, to_name, &source, from_name)?;
        self.dirs.sync()
    }

    pub(super) fn give_back(
        &self,
        id: IngestId,
        at: &F::Dir,
        at_name: &OsStr,
        dir: &F::Dir,
        name: &OsStr,
    ) -> fs::Result<()> {
        let numbered = (1..RETURNED_NAMES_MAX).map(|n| returned_name(name, id, &n.to_string()));
        // Other names are in the way, whatever they stand for: none of them may keep a file from going back.
        let random = (0..RANDOM_NAMES_MAX).map(|_| returned_name(name, id, &crate::journal::hex(&self.fs.random())));
        let mut taken = None;
        for name in std::iter::once(name.to_owned()).chain(numbered).chain(random) {
            match self.fs.rename(at, at_name, dir, &name) {
                Err(error) if error.is_taken() => taken = Some(error),
                Err(error) if error.is_not_found() => return Ok(()),
                // Perhaps it is only this name. Where a link does the work, it may have come half-way: once is enough then.
                Err(error) if error.spares_others() && !self.is_one_file(at, at_name, dir, &name) => {
                    taken = Some(error)
                }
                result => return result,
            }
        }
        taken.map_or(Ok(()), Err)
    }

    /// Both names stand for one file.
    fn is_one_file(&self, one: &F::Dir, one_name: &OsStr, other: &F::Dir, other_name: &OsStr) -> bool {
        let both = [self.fs.stat(one, one_name), self.fs.stat(other, other_name)];
        matches!(both, [Ok(Some(one)), Ok(Some(other))] if one.identity.key() == other.identity.key())
    }
}
