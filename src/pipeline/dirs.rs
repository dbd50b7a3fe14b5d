//! Directories that are kept open, and the names in them that have changed.
//!
//! Invariant: nothing here is durable until [`Dirs::sync`] has returned.

use std::collections::{BTreeSet, HashSet};
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::fs::Syscall;
use crate::fs::{self, DIR_MODE, Fs};

/// Open directories that are remembered: today's and yesterday's partition, staging, copies, duplicates, and room.
const OPEN_DIRS_MAX: usize = 16;

/// Open directories, by path.
pub struct Dirs<F: Fs> {
    fs: F,
    open: Vec<(PathBuf, Arc<F::Dir>)>,
    /// Directories whose own names are durable.
    durable: HashSet<PathBuf>,
    /// Directories that gained names, and those that lost some. The former are synced first: on a file system that
    /// keeps no journal, a file should rather have two names than none.
    gained: BTreeSet<PathBuf>,
    lost: BTreeSet<PathBuf>,
}

impl<F: Fs> Dirs<F> {
    /// None is open yet.
    pub fn new(fs: F) -> Dirs<F> {
        let (open, durable, gained, lost) = (Vec::new(), HashSet::new(), BTreeSet::new(), BTreeSet::new());
        Dirs { fs, open, durable, gained, lost }
    }

    /// The open directory of that path, which must exist.
    pub fn dir(&mut self, path: &Path) -> fs::Result<Arc<F::Dir>> {
        if let Some((_, dir)) = self.open.iter().find(|(known, _)| known == path) {
            return Ok(dir.clone());
        }
        let dir = Arc::new(self.fs.open_dir(path)?);
        self.remember(path, dir.clone());
        Ok(dir)
    }

    /// Keeps a directory that was opened elsewhere.
    pub fn remember(&mut self, path: &Path, dir: Arc<F::Dir>) {
        if self.open.len() >= OPEN_DIRS_MAX {
            let (forgotten, _) = self.open.remove(0);
            self.durable.remove(&forgotten);
        }
        self.open.push((path.to_path_buf(), dir));
    }

    /// Closes a directory: what has its path is opened anew.
    pub fn forget(&mut self, path: &Path) {
        self.open.retain(|(known, _)| known != path);
        self.durable.remove(path);
    }

    /// Names in a directory that cannot be opened any more need not be made durable: whoever took it away has taken them, too.
    pub fn forget_missing(&mut self, path: &Path) {
        if self.dir(path).is_err() {
            self.gained.remove(path);
            self.lost.remove(path);
        }
    }

    /// The open directory of that path below `root`; it and its name are made, durably, if they are missing.
    pub fn made_dir(&mut self, root: &Path, path: &Path) -> fs::Result<Arc<F::Dir>> {
        if self.durable.contains(path) {
            return self.dir(path);
        }
        let dir = Arc::new(fs::open_dir_durable(&self.fs, root, path, DIR_MODE)?);
        self.forget(path);
        self.remember(path, dir.clone());
        self.durable.insert(path.to_path_buf());
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

    /// The same, from the file system itself and not from what it has kept in a cache.
    pub fn look_afresh(&mut self, path: &Path) -> fs::Result<Option<fs::Stat>> {
        let (dir, name) = split(path)?;
        match self.dir(dir) {
            Err(error) if error.is_not_found() => Ok(None),
            dir => self.fs.stat_fresh(&*dir?, name),
        }
    }

    /// Says that names in `to` are about to come from `from`: both are synced, even if the move finds nothing. A killed
    /// process may have moved it without syncing, and a power cut would undo that after we have called it done.
    pub fn touch(&mut self, from: &Path, to: &Path) {
        self.lost.insert(from.to_path_buf());
        self.gained.insert(to.to_path_buf());
    }
    /// Says that a name in this directory goes.
    pub fn touch_lost(&mut self, dir: &Path) {
        self.lost.insert(dir.to_path_buf());
    }

    /// Removes a file of our own, if it is there.
    pub fn discard(&mut self, copy: &Path) -> fs::Result<()> {
        let (dir, name) = split(copy)?;
        match self.dir(dir).and_then(|dir| self.fs.unlink(&dir, name)) {
            Err(error) if error.is_not_found() => Ok(()),
            result => result,
        }
    }
    /// Makes every directory that was touched durable, once each.
    pub fn sync(&mut self) -> fs::Result<()> {
        let gained = std::mem::take(&mut self.gained);
        let mut lost = std::mem::take(&mut self.lost);
        lost.retain(|path| !gained.contains(path));
        for path in gained.iter().chain(&lost) {
            let dir = self.dir(path)?;
            self.fs.sync_dir(&dir)?;
        }
        Ok(())
    }
}

/// Directory and name of a path.
pub fn split(path: &Path) -> fs::Result<(&Path, &OsStr)> {
    match (path.parent(), path.file_name()) {
        (Some(dir), Some(name)) => Ok((dir, name)),
        _ => Err(fs::Error {
            op: Syscall::Open,
            path: path.to_path_buf(),
            source: std::io::ErrorKind::InvalidInput.into(),
        }),
    }
}
