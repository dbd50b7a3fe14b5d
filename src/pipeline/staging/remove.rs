//! Removes a staged file, by way of a name aside.

use std::path::{Path, PathBuf};

use super::Staging;
use super::names::{Aside, aside_name};
use crate::fs::blame::twice;
use crate::fs::{self, Fs};
use crate::pipeline::dirs::split;
use crate::types::{FileIdentity, IngestId};

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
    /// Removes the file at `path` if it is still `identity`. The file is renamed aside first and checked there, so a file
    /// that an upstream renames into place at this moment is never removed. If `leased` is given and a writer has come
    /// meanwhile (it waits for the lease), the file gets its name back.
    ///
    /// Calling it again after a crash finishes the removal. The crash may have undone the renames and kept the ctime they
    /// set, so `identity` is compared without the ctime. A caller that holds no lease must check the ctime first.
    pub fn remove(
        &mut self,
        id: IngestId,
        what: Aside,
        path: &Path,
        identity: &FileIdentity,
        leased: Option<&F::File>,
    ) -> fs::Result<Removed> {
        match twice(fs::Error::spares_others, || self.take_away(id, what, path, identity, leased)) {
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
        identity: &FileIdentity,
        leased: Option<&F::File>,
    ) -> fs::Result<Removed> {
        let is_removed = self.resolve_aside(id, what, path, Some(identity), leased)?;
        let (dir_path, name) = split(path)?;
        let Some(dir) = self.dirs.if_there(dir_path)? else { return Ok(Removed::Other) };
        let aside = aside_name(&self.store, id, what);
        match self.fs.stat(&dir, name)? {
            // A link that a crash cut off before the unlink has left this name, too.
            Some(stat) if self.is_same(&stat.identity, identity) => {}
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
        let gone = self.resolve_aside(id, what, path, Some(identity), leased)?;
        Ok(if gone { Removed::Done } else { Removed::Other })
    }

    /// The name aside that `remove` uses.
    pub fn aside_path(&self, id: IngestId, what: Aside, path: &Path) -> fs::Result<PathBuf> {
        Ok(split(path)?.0.join(aside_name(&self.store, id, what)))
    }

    /// Finishes a `remove`: if the file aside is `identity` and no writer waits for its lease, removes it and returns
    /// true. Any other file gets its name back. The directory is synced in any case, see `touch`.
    pub fn resolve_aside(
        &mut self,
        id: IngestId,
        what: Aside,
        path: &Path,
        identity: Option<&FileIdentity>,
        leased: Option<&F::File>,
    ) -> fs::Result<bool> {
        let (dir_path, name) = split(path)?;
        let found = self.dirs.if_there(dir_path)?;
        self.dirs.touch(dir_path, dir_path);
        let Some(dir) = found else { return Ok(false) };
        let aside = aside_name(&self.store, id, what);
        let Some(there) = self.fs.stat(&dir, &aside)? else { return Ok(false) };
        let is_ours = identity.is_some_and(|identity| self.is_same(&there.identity, identity));
        self.was_renumbered |=
            !is_ours && identity.is_some_and(|identity| there.identity.same_but_renumbered(identity));
        if is_ours && !leased.map_or(Ok(false), |file| self.fs.lease_broken(file))? {
            self.fs.unlink(&dir, &aside)?;
            return Ok(true);
        }
        self.give_back(id, &dir, &aside, &dir, name)?;
        Ok(false)
    }
}
