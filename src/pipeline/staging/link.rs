//! Takes a staged file's name away where the file system has no rename that replaces nothing, so that link(2) and
//! unlink(2) have to do.
//!
//! Invariants:
//! - A file that an upstream puts at a staged file's name between link and unlink is not removed: the old name is first
//!   renamed with rename(2) to a name that no other process uses, and checked there.
//! - The new name is durable before the old one is removed.
//! - Nothing stays aside: if a file cannot go back, the process ends, and the next start resolves it.

use std::ffi::OsStr;
use std::io;
use std::path::Path;

use super::Staging;
use super::names::{Aside, aside_name};
use crate::fs::Syscall;
use crate::fs::blame::twice;
use crate::fs::{self, Fs};
use crate::pipeline::dirs::split;
use crate::types::IngestId;

impl<F: Fs> Staging<F> {
    /// [`Fs::rename`]. Where that is link and unlink, an upstream may replace the staged file between the two, so the old
    /// name is renamed aside and checked there.
    pub(super) fn move_name(
        &self,
        staged: Option<IngestId>,
        (from, from_name): (&F::Dir, &OsStr),
        (to, to_name): (&F::Dir, &OsStr),
    ) -> fs::Result<()> {
        let Some(id) = staged.filter(|_| self.fs.renames_by_link(to)) else {
            return self.fs.rename(from, from_name, to, to_name);
        };
        self.fs.link(from, from_name, to, to_name)?;
        // Names may reach the disk in any order: a power cut could keep the removal and lose the new name.
        let done = self.fs.sync_dir(to).and_then(|()| self.end_link(id, (from, from_name), (to, to_name)));
        if done.as_ref().is_err_and(|error| error.op != Syscall::RenameBack) {
            // After a failure the caller expects the old name and no other.
            let _ = self.fs.unlink(to, to_name);
        }
        done
    }

    /// Removes the old name of a file that has been linked to a new one. If another file has that name by now, it gets
    /// the name back.
    fn end_link(
        &self,
        id: IngestId,
        (from, from_name): (&F::Dir, &OsStr),
        (to, to_name): (&F::Dir, &OsStr),
    ) -> fs::Result<()> {
        let aside = aside_name(&self.store, id, Aside::Second);
        match self.fs.set_aside(from, from_name, &aside) {
            // Another process has removed the old name; the new one may be the last.
            Err(error) if error.is_not_found() => return Ok(()),
            // `aside` is taken, not the new name: the caller must not take this for a collision.
            Err(error) if error.is_taken() => {
                return Err(fs::Error { source: io::Error::from_raw_os_error(libc::EBUSY), ..error });
            }
            done => done?,
        }
        let look = |dir, name| twice(|_| true, || self.fs.stat(dir, name));
        let is_it = match (look(from, aside.as_os_str()), look(to, to_name)) {
            (Ok(Some(old)), Ok(Some(new))) => self.is_one((from, &aside, &old.identity), (to, to_name, &new.identity)),
            (Err(error), _) | (_, Err(error)) => Err(error),
            _ => Ok(false),
        };
        let ended = match is_it {
            Ok(true) => match self.fs.unlink(from, &aside) {
                Ok(()) => return Ok(()),
                // Another process has removed it, with its directory perhaps; the new name may be the last.
                Err(error) if error.is_not_found() => return Ok(()),
                failed => failed,
            },
            Ok(false) => Ok(()),
            // Unknown which file this is: undo the link.
            Err(error) => Err(error),
        };
        // Nothing may stay hidden: if the file cannot go back, the next start resolves it.
        let given_back = self.give_back(id, from, &aside, from, from_name);
        given_back.map_err(|error| fs::Error { op: Syscall::RenameBack, ..error })?;
        ended
    }

    /// Finishes a link that [`Staging::place`] may have left half done: removes the name aside if it belongs to the same
    /// file as `to`, else gives that file its old name back.
    pub fn resolve_link(&mut self, id: IngestId, from: &Path, to: &Path) -> fs::Result<()> {
        let ((from_path, from_name), aside) = (split(from)?, aside_name(&self.store, id, Aside::Second));
        let Some(from_dir) = self.dirs.if_there(from_path)? else { return Ok(()) };
        let Some(there) = self.fs.stat(&from_dir, &aside)? else { return Ok(()) };
        self.dirs.touch(from_path, from_path);
        let (to_dir, to_name) = split(to)?;
        let to_dir = self.dirs.dir(to_dir)?;
        let is_linked = match self.dirs.look(to)? {
            Some(stat) => self.is_one((&from_dir, &aside, &there.identity), (&to_dir, to_name, &stat.identity))?,
            None => false,
        };
        if is_linked {
            // The new name was durable before the old one was renamed aside.
            return self.fs.unlink(&from_dir, &aside);
        }
        self.give_back(id, &from_dir, &aside, &from_dir, from_name)
    }

    /// Renames a file in staging to a name aside.
    pub(super) fn take(&self, dir: &F::Dir, name: &OsStr, aside: &OsStr) -> fs::Result<()> {
        match self.fs.renames_by_link(dir) {
            true => self.fs.set_aside(dir, name, aside),
            false => self.fs.rename(dir, name, dir, aside),
        }
    }

    /// Unlinks the second name of a file whose other name is durable.
    pub fn unlink_second_name(&mut self, path: &Path) -> fs::Result<()> {
        let (dir_path, name) = split(path)?;
        let dir = self.dirs.dir(dir_path)?;
        self.dirs.touch_lost(dir_path);
        self.fs.unlink(&dir, name)
    }
}
