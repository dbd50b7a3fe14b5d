//! Keeps directories open, and tracks in which of them names have changed.
//!
//! Invariant: nothing here is durable until [`Dirs::sync`] has returned.

use std::collections::{BTreeSet, HashSet};
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::fs::Syscall;
use crate::fs::{self, DIR_MODE, Fs};

/// Directories that are kept open: staging, the partitions in use, copies, duplicates, and some more. A layout may have
/// any number of partitions: a batch goes from one to the next.
const OPEN_DIRS_MAX: usize = 16;

/// Open directories, by path.
pub struct Dirs<F: Fs> {
    fs: F,
    open: Vec<(PathBuf, Arc<F::Dir>)>,
    /// Directories whose own names are durable.
    durable: HashSet<PathBuf>,
    /// Directories that gained names, and those that lost some. The former are synced first: on a file system without a
    /// journal, a file should rather have two names than none.
    gained: BTreeSet<PathBuf>,
    lost: BTreeSet<PathBuf>,
}

impl<F: Fs> Dirs<F> {
    /// No directory is open yet.
    pub fn new(fs: F) -> Dirs<F> {
        let (open, durable, gained, lost) = (Vec::new(), HashSet::new(), BTreeSet::new(), BTreeSet::new());
        Dirs { fs, open, durable, gained, lost }
    }

    /// The directory of that path, opened if it is not open yet. It must exist.
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
            // The first is staging, which every batch needs.
            let (forgotten, _) = self.open.remove(1);
            self.durable.remove(&forgotten);
        }
        self.open.push((path.to_path_buf(), dir));
    }

    /// Closes a directory; the next use opens its path again.
    pub fn forget(&mut self, path: &Path) {
        self.open.retain(|(known, _)| known != path);
        self.durable.remove(path);
    }

    /// Drops the pending sync of a directory that can no longer be opened: its names are gone with it.
    pub fn forget_missing(&mut self, path: &Path) {
        if self.dir(path).is_err() {
            self.gained.remove(path);
            self.lost.remove(path);
        }
    }

    /// The directory of that path below `root`. It and its name are made, durably, if they are missing.
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

    /// The file at `path`; None if the name, or its directory, does not exist.
    pub fn look(&mut self, path: &Path) -> fs::Result<Option<fs::Stat>> {
        let (dir, name) = split(path)?;
        match self.dir(dir) {
            Err(error) if error.is_not_found() => Ok(None),
            dir => self.fs.stat(&*dir?, name),
        }
    }

    /// The same, from the file system itself instead of its attribute cache.
    pub fn look_afresh(&mut self, path: &Path) -> fs::Result<Option<fs::Stat>> {
        let (dir, name) = split(path)?;
        match self.dir(dir) {
            Err(error) if error.is_not_found() => Ok(None),
            dir => self.fs.stat_fresh(&*dir?, name),
        }
    }

    /// Marks both directories for `sync`: names in `to` are about to come from `from`. They are synced even if the move
    /// finds nothing: a killed process may have moved the file without syncing, and a power cut would undo that after it
    /// was recorded as done.
    pub fn touch(&mut self, from: &Path, to: &Path) {
        self.lost.insert(from.to_path_buf());
        self.gained.insert(to.to_path_buf());
    }
    /// Marks a directory for `sync` that is about to lose a name.
    pub fn touch_lost(&mut self, dir: &Path) {
        self.lost.insert(dir.to_path_buf());
    }

    /// Removes a file that this program made, if it exists.
    pub fn discard(&mut self, copy: &Path) -> fs::Result<()> {
        let (dir, name) = split(copy)?;
        match self.dir(dir).and_then(|dir| self.fs.unlink(&dir, name)) {
            Err(error) if error.is_not_found() => Ok(()),
            result => result,
        }
    }
    /// Syncs every directory that was marked, once each.
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

/// Splits a path into directory and name.
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
