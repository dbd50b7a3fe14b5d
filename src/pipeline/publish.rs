//! Putting files where they belong: into the warehouse, back, aside and away.
//!
//! Invariants:
//! - No name that exists is ever replaced.
//! - A name is moved first and judged afterwards: what was at a name a moment ago says nothing, since upstreams may
//!   rename over it at any time. What turns out to be something else goes back.
//! - Nothing here is durable until `sync` has returned.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::naming::{aside_name, returned_name};
use crate::fs::{self, FileKind, Fs};
use crate::types::{FileIdentity, IngestId};

/// Open directories that are remembered: today's and yesterday's partition, staging, copies, duplicates, and room.
const OPEN_DIRS_MAX: usize = 16;

/// What came of moving a file to its place.
#[derive(Debug)]
pub enum Placed {
    /// It is there (and it is the right one).
    Done,
    /// The name is taken by something else.
    Taken,
    /// The source is gone.
    Vanished,
    /// The source is another file, or was written to; it is back where it was.
    Changed,
    /// A rename cannot do it: another mount, or the inode has further names.
    NeedsCopy,
    /// This file cannot be moved; others may.
    Refused(fs::Error),
}

/// Moves files by directories that it keeps open.
pub struct Publisher<F: Fs> {
    fs: F,
    dirs: Vec<(PathBuf, Arc<F::Dir>)>,
    touched: BTreeSet<PathBuf>,
}

impl<F: Fs> Publisher<F> {
    /// Has touched nothing yet.
    pub fn new(fs: F) -> Publisher<F> {
        Publisher { fs, dirs: Vec::new(), touched: BTreeSet::new() }
    }

    /// The open directory of that path, which must exist.
    pub fn dir(&mut self, path: &Path) -> fs::Result<Arc<F::Dir>> {
        if let Some((_, dir)) = self.dirs.iter().find(|(known, _)| known == path) {
            return Ok(dir.clone());
        }
        let dir = Arc::new(self.fs.open_dir(path)?);
        self.remember(path, dir.clone());
        Ok(dir)
    }

    /// Keeps a directory that was opened elsewhere.
    pub fn remember(&mut self, path: &Path, dir: Arc<F::Dir>) {
        if self.dirs.len() >= OPEN_DIRS_MAX {
            self.dirs.remove(0);
        }
        self.dirs.push((path.to_path_buf(), dir));
    }

    fn forget(&mut self, path: &Path) {
        self.dirs.retain(|(known, _)| known != path);
    }

    /// The open directory of that path below `root`; it and its name are made, durably, if they are missing.
    pub fn made_dir(&mut self, root: &Path, path: &Path) -> fs::Result<Arc<F::Dir>> {
        if let Some((_, dir)) = self.dirs.iter().find(|(known, _)| known == path) {
            return Ok(dir.clone());
        }
        let dir = Arc::new(fs::open_dir_durable(&self.fs, root, path, 0o755)?);
        self.remember(path, dir.clone());
        Ok(dir)
    }

    /// What stands at `path`; None if nothing does, or if its directory is missing.
    pub fn look(&mut self, path: &Path) -> fs::Result<Option<fs::Stat>> {
        let (dir, name) = split(path)?;
        match self.dir(dir) {
            Err(error) if error.is_not_found() => Ok(None),
            dir => self.fs.stat(&*dir?, name),
        }
    }

    /// Renames `from` to `to` if `to` is free, then checks that the file now at `to` is `identity`; anything else
    /// goes back.
    pub fn place(
        &mut self,
        id: IngestId,
        from: &Path,
        root: &Path,
        to: &Path,
        identity: &FileIdentity,
    ) -> fs::Result<Placed> {
        let ((from_dir, from_name), (to_dir, to_name)) = (split(from)?, split(to)?);
        let source = self.dir(from_dir)?;
        let mut target = self.made_dir(root, to_dir)?;
        // Even if the rename finds nothing: see `remove`.
        self.touched.insert(from_dir.to_path_buf());
        self.touched.insert(to_dir.to_path_buf());
        let mut renamed = self.fs.rename(&source, from_name, &target, to_name);
        if let Err(error) = &renamed
            && error.is_not_found()
        {
            if self.fs.stat(&source, from_name)?.is_none() {
                return Ok(Placed::Vanished);
            }
            // Then it is the partition that somebody removed under us.
            self.forget(to_dir);
            target = self.made_dir(root, to_dir)?;
            renamed = self.fs.rename(&source, from_name, &target, to_name);
        }
        match renamed {
            Ok(()) => {}
            Err(error) if error.is_taken() => return Ok(Placed::Taken),
            Err(error) if error.is_not_found() => return Ok(Placed::Vanished),
            Err(error) if error.is_cross_device() => return Ok(Placed::NeedsCopy),
            Err(error) if is_of_this_file(&error) => return Ok(Placed::Refused(error)),
            Err(error) => return Err(error),
        }
        let arrived = self.fs.stat(&target, to_name)?;
        let is_ours = |stat: &fs::Stat| stat.kind == FileKind::Regular && stat.identity.same_but_renamed(identity);
        match arrived {
            Some(stat) if is_ours(&stat) && stat.links <= 1 => Ok(Placed::Done),
            Some(stat) => {
                self.put_back(id, to, from)?;
                Ok(if is_ours(&stat) { Placed::NeedsCopy } else { Placed::Changed })
            }
            None => Ok(Placed::Vanished),
        }
    }

    /// Undoes a `place`: the file at `to` goes back to `from`, or, if that name is taken again, beside it under a
    /// name that the next scan finds.
    pub fn put_back(&mut self, id: IngestId, to: &Path, from: &Path) -> fs::Result<()> {
        let ((from_dir, from_name), (to_dir, to_name)) = (split(from)?, split(to)?);
        let (source, target) = (self.dir(from_dir)?, self.dir(to_dir)?);
        self.touched.insert(from_dir.to_path_buf());
        self.touched.insert(to_dir.to_path_buf());
        match self.fs.rename(&target, to_name, &source, from_name) {
            Err(error) if error.is_taken() => self.fs.rename(&target, to_name, &source, &returned_name(from_name, id)),
            Err(error) if error.is_not_found() => Ok(()),
            result => result,
        }
    }

    /// Removes the file at `path` if it is still `identity`; true if it did. The file is taken aside first and judged
    /// there, so that one which an upstream renames into place at this very moment is never the one removed; and if
    /// `leased` is given, a writer that came meanwhile (and now waits for the lease) keeps it.
    ///
    /// Repeating it after a crash finishes what was begun. The crash may have given the file its name back but left
    /// the ctime of the renames: `identity` is compared without the ctime, so callers who hold no lease look first.
    pub fn remove(
        &mut self,
        id: IngestId,
        what: &str,
        path: &Path,
        identity: &FileIdentity,
        leased: Option<&F::File>,
    ) -> fs::Result<bool> {
        let (dir_path, name) = split(path)?;
        let dir = self.dir(dir_path)?;
        let aside = aside_name(id, what);
        // Even if there is nothing to remove: a killed process may have removed it without syncing, and a power cut
        // would bring it back after we have called it gone.
        self.touched.insert(dir_path.to_path_buf());
        if self.fs.stat(&dir, &aside)?.is_none() {
            match self.fs.stat(&dir, name)? {
                Some(stat) if stat.identity.same_but_renamed(identity) => {}
                _ => return Ok(false),
            }
            match self.fs.rename(&dir, name, &dir, &aside) {
                Err(error) if error.is_not_found() => return Ok(false),
                result => result?,
            }
        }
        let taken = self.fs.stat(&dir, &aside)?;
        let wanted_by_a_writer = leased.map_or(Ok(false), |file| self.fs.lease_broken(file))?;
        if !wanted_by_a_writer && taken.is_some_and(|stat| stat.identity.same_but_renamed(identity)) {
            self.fs.unlink(&dir, &aside)?;
            return Ok(true);
        }
        self.return_aside(id, &dir, &aside, name)?;
        Ok(false)
    }

    /// Gives a file that was taken aside its name back.
    fn return_aside(&mut self, id: IngestId, dir: &F::Dir, aside: &OsString, name: &OsStr) -> fs::Result<()> {
        match self.fs.rename(dir, aside, dir, name) {
            Err(error) if error.is_taken() => self.fs.rename(dir, aside, dir, &returned_name(name, id)),
            Err(error) if error.is_not_found() => Ok(()),
            result => result,
        }
    }

    /// Unlinks a name that is a second one of a file which has a durable name elsewhere.
    pub fn unlink_second_name(&mut self, path: &Path) -> fs::Result<()> {
        let (dir_path, name) = split(path)?;
        let dir = self.dir(dir_path)?;
        self.touched.insert(dir_path.to_path_buf());
        self.fs.unlink(&dir, name)
    }

    /// Removes an unfinished copy that will not be published.
    pub fn discard(&mut self, copy: &Path) -> fs::Result<()> {
        let (dir, name) = split(copy)?;
        match self.dir(dir).and_then(|dir| self.fs.unlink(&dir, name)) {
            Err(error) if error.is_not_found() => Ok(()),
            result => result,
        }
    }

    /// Says that the entries of a directory have to be synced before anything is built on them.
    pub fn touch(&mut self, dir: &Path) {
        self.touched.insert(dir.to_path_buf());
    }

    /// Makes every directory that was touched durable, once each.
    pub fn sync(&mut self) -> fs::Result<()> {
        for path in std::mem::take(&mut self.touched) {
            let dir = self.dir(&path)?;
            self.fs.sync_dir(&dir)?;
        }
        Ok(())
    }
}

/// Directory and name of a path.
pub fn split(path: &Path) -> fs::Result<(&Path, &OsStr)> {
    match (path.parent(), path.file_name()) {
        (Some(dir), Some(name)) => Ok((dir, name)),
        _ => Err(fs::Error { op: "open", path: path.to_path_buf(), source: std::io::ErrorKind::InvalidInput.into() }),
    }
}

/// Errors that say something about one file (immutable, sticky, busy), not about the disk.
fn is_of_this_file(error: &fs::Error) -> bool {
    let errnos = [libc::EACCES, libc::EPERM, libc::EBUSY, libc::ENAMETOOLONG, libc::EISDIR, libc::ENOTDIR];
    error.source.raw_os_error().is_some_and(|errno| errnos.contains(&errno))
}
