//! Gives a file back to the name it came from.
//!
//! Invariants:
//! - Nothing is replaced: if the old name is taken, the file gets a name beside it that the next scan finds.
//! - There is always another name to try: numbered names first, then random ones.
//! - A file whose directory is gone goes back to a directory of that path, which is made again; if that cannot be done,
//!   to the nearest directory above it.

use std::ffi::OsStr;
use std::path::Path;

use super::Staging;
use super::names::returned_name;
use crate::fs::{self, Fs};
use crate::pipeline::dirs::split;
use crate::types::IngestId;

/// How many numbered names are tried when a file's own name is taken; random names follow.
const RETURNED_NAMES_MAX: u32 = 16;
/// How many random names are tried. A process that took the numbered names cannot have guessed these.
const RANDOM_NAMES_MAX: u32 = 16;

impl<F: Fs> Staging<F> {
    /// Undoes a `place`: renames the file at `to` back to `from`, or, if that name is taken by now, to a name beside it
    /// that the next scan finds.
    pub fn put_back(&mut self, id: IngestId, to: &Path, from: &Path) -> fs::Result<()> {
        let ((from_dir, from_name), (to_dir, to_name)) = (split(from)?, split(to)?);
        let ((from_dir, source), target) = (self.dirs.home(from_dir)?, self.dirs.dir(to_dir)?);
        // Without a journal (ext2), the two halves of a rename, the new name in one directory and the removal of the old
        // name in the other, reach the disk separately. Syncing the target directory first is safe, but with renames in
        // both directions each directory is the target of one of them. So the renames into `to_dir` are made durable
        // first, and this one afterwards by itself.
        self.dirs.sync()?;
        self.dirs.touch(to_dir, &from_dir);
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
        // Existing names, whatever files they belong to, must not keep a file from going back.
        let random = (0..RANDOM_NAMES_MAX).map(|_| returned_name(name, id, &crate::journal::hex(&self.fs.random())));
        let mut taken = None;
        for name in std::iter::once(name.to_owned()).chain(numbered).chain(random) {
            match self.fs.rename(at, at_name, dir, &name) {
                Err(error) if error.is_taken() => taken = Some(error),
                Err(error) if error.is_not_found() => return Ok(()),
                // Perhaps only this name is at fault: try the next. But where rename is link and unlink, the link may
                // exist already; do not add another.
                Err(error) if error.spares_others() && !self.is_one_file(at, at_name, dir, &name) => {
                    taken = Some(error)
                }
                result => return result,
            }
        }
        taken.map_or(Ok(()), Err)
    }

    /// True if both names belong to one file.
    fn is_one_file(&self, one: &F::Dir, one_name: &OsStr, other: &F::Dir, other_name: &OsStr) -> bool {
        let both = [self.fs.stat(one, one_name), self.fs.stat(other, other_name)];
        matches!(both, [Ok(Some(one)), Ok(Some(other))] if one.identity.key() == other.identity.key())
    }
}
