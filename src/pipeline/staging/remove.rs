//! Removes a staged file, by way of a name aside.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use super::Staging;
use super::names::{Aside, aside_name};
use crate::fs::blame::twice;
use crate::fs::{self, Fs};
use crate::pipeline::dirs::split;
use crate::types::{FileIdentity, IngestId, Sha256};

/// The file that is to be removed.
#[derive(Clone, Copy, Debug)]
pub struct Expected<'a> {
    /// Its identity. Compared without the ctime, which a rename changes.
    pub identity: &'a FileIdentity,
    /// Its content, if it is known: decides on a device that renumbers renamed files. There an upstream's new file of equal
    /// size and mtime cannot be told from it otherwise. What a sidecar says is compared before: see `commit/markers.rs`.
    pub sha256: Option<&'a Sha256>,
}

/// The result of removing a file.
#[derive(Debug)]
pub enum Removed {
    /// It is gone.
    Done,
    /// No file of that identity is there, or a writer wants it.
    Other,
    /// It cannot be removed; others may.
    Refused(fs::Error),
}

impl<F: Fs> Staging<F> {
    /// Removes the file at `path` if it is still the expected one. The file is renamed aside first and checked there, so a file
    /// that an upstream renames into place at this moment is never removed. If `leased` is given and a writer has come
    /// meanwhile (it waits for the lease), the file gets its name back.
    ///
    /// Calling it again after a crash finishes the removal. The crash may have undone the renames and kept the ctime they
    /// set, so the identity is compared without the ctime. A caller that holds no lease must check the ctime first.
    pub fn remove(
        &mut self,
        id: IngestId,
        what: Aside,
        path: &Path,
        expected: Expected<'_>,
        leased: Option<&F::File>,
    ) -> fs::Result<Removed> {
        match twice(fs::Error::spares_others, || self.take_away(id, what, path, expected, leased)) {
            // A file that cannot be checked or removed must not stay hidden.
            Err(error) if error.spares_others() => {
                let (dir_path, name) = split(path)?;
                if let Ok(dir) = self.dirs.dir(dir_path) {
                    let _ = self.give_back(id, &dir, &aside_name(&self.store, id, what), &dir, name);
                }
                Ok(Removed::Refused(error))
            }
            removed => removed,
        }
    }

    fn take_away(
        &mut self,
        id: IngestId,
        what: Aside,
        path: &Path,
        expected: Expected<'_>,
        leased: Option<&F::File>,
    ) -> fs::Result<Removed> {
        let is_removed = self.resolve_aside(id, what, path, Some(expected), leased)?;
        let (dir_path, name) = split(path)?;
        let Some(dir) = self.dirs.if_there(dir_path)? else { return Ok(Removed::Other) };
        let aside = aside_name(&self.store, id, what);
        match self.fs.stat(&dir, name)? {
            // A link that a crash cut off before the unlink has left this name, too.
            Some(stat) if self.is_same(&stat.identity, expected.identity) => {}
            _ if is_removed => return Ok(Removed::Done),
            _ => return Ok(Removed::Other),
        }
        let mut renamed = self.take(&dir, name, &aside);
        if renamed.as_ref().is_err_and(fs::Error::is_taken) {
            // By a file that appeared there just now.
            self.resolve_aside(id, what, path, None, None)?;
            renamed = self.take(&dir, name, &aside);
        }
        match renamed {
            Err(error) if error.is_not_found() => return Ok(Removed::Other),
            result => result?,
        }
        let gone = self.resolve_aside(id, what, path, Some(expected), leased)?;
        Ok(if gone { Removed::Done } else { Removed::Other })
    }

    /// The name aside that `remove` uses.
    pub fn aside_path(&self, id: IngestId, what: Aside, path: &Path) -> fs::Result<PathBuf> {
        Ok(split(path)?.0.join(aside_name(&self.store, id, what)))
    }

    /// Finishes a `remove`: if the file aside is the expected one and no writer waits for its lease, removes it and returns
    /// true. Any other file gets its name back. The directory is synced in any case, see `touch`.
    pub fn resolve_aside(
        &mut self,
        id: IngestId,
        what: Aside,
        path: &Path,
        expected: Option<Expected<'_>>,
        leased: Option<&F::File>,
    ) -> fs::Result<bool> {
        let (dir_path, name) = split(path)?;
        let found = self.dirs.if_there(dir_path)?;
        self.dirs.touch(dir_path, dir_path);
        let Some(dir) = found else { return Ok(false) };
        let aside = aside_name(&self.store, id, what);
        let Some(there) = self.fs.stat(&dir, &aside)? else { return Ok(false) };
        let is_ours = match expected {
            Some(expected) => self.is_expected((&dir, &aside), &there.identity, expected)?,
            None => false,
        };
        self.was_renumbered |=
            !is_ours && expected.is_some_and(|expected| there.identity.same_but_renumbered(expected.identity));
        if is_ours && !leased.map_or(Ok(false), |file| self.fs.lease_broken(file))? {
            self.fs.unlink(&dir, &aside)?;
            return Ok(true);
        }
        self.give_back(id, &dir, &aside, &dir, name)?;
        Ok(false)
    }

    /// True if the file of that name, which is `there`, is the expected one. Where its inode number proves nothing, its
    /// content is read.
    fn is_expected(
        &self,
        (dir, name): (&F::Dir, &OsStr),
        there: &FileIdentity,
        expected: Expected<'_>,
    ) -> fs::Result<bool> {
        let is_candidate = self.is_same(there, expected.identity);
        match expected.sha256 {
            // The same number proves nothing there, either: it may be one that has become free.
            Some(sha256) if is_candidate && self.renumbers(there.device) => Ok(self.read(dir, name)? == *sha256),
            _ => Ok(is_candidate),
        }
    }
}
