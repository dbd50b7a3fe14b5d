//! Keeps directories open, and tracks in which of them names have changed.
//!
//! Invariants:
//! - Nothing here is durable until [`Dirs::sync`] has returned.
//! - A directory below staging is opened beneath staging, without following a link, and is forgotten with each batch:
//!   an upstream may rename or replace it at any moment. One that is not there any more is "not found"; staging itself
//!   is not: perhaps it is not mounted.
//! - What was changed in such a directory becomes durable even if the directory has another name by then.

mod changed;
mod staged;

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use changed::Changed;
use hashbrown::HashSet;
use staged::Staged;

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
    durable: HashSet<OsString>,
    staged: Staged<F>,
    /// Directories that gained names, and those that lost some. The former are synced first: on a file system without a
    /// journal, a file should rather have two names than none.
    gained: Changed<F>,
    lost: Changed<F>,
}

impl<F: Fs> Dirs<F> {
    /// No directory is open yet.
    pub fn new(fs: F) -> Dirs<F> {
        let (staged, gained, lost) = (Staged::default(), Changed::default(), Changed::default());
        Dirs { fs, open: Vec::new(), durable: HashSet::new(), staged, gained, lost }
    }

    /// The directory of that path, opened if it is not open yet. It must exist.
    pub fn dir(&mut self, path: &Path) -> fs::Result<Arc<F::Dir>> {
        if let Some((_, dir)) = self.open.iter().find(|(known, _)| is_same(known, path)) {
            return Ok(dir.clone());
        }
        if let Some(staged) = self.staged.dir(&self.fs, path)? {
            return staged.ok_or_else(|| missing(path));
        }
        let dir = Arc::new(self.fs.open_dir(path)?);
        self.remember(path, dir.clone());
        Ok(dir)
    }

    /// The same; None if it was below staging, and is not any more.
    pub fn if_there(&mut self, path: &Path) -> fs::Result<Option<Arc<F::Dir>>> {
        match self.staged.dir(&self.fs, path)? {
            Some(staged) => Ok(staged),
            None => self.dir(path).map(Some),
        }
    }

    /// Declares a staging directory. It stays open; without `dir`, it is opened when it is needed.
    pub fn stage(&mut self, path: &Path, dir: Option<Arc<F::Dir>>) {
        self.staged.add(path, dir);
    }

    /// Closes the directories below staging: the next use finds out what is at their paths by then.
    pub fn forget_staged(&mut self) {
        self.staged.forget();
    }

    /// The directory to which a file goes back. Below staging it is made again, durably, if it is missing; if that
    /// cannot be done, it is the nearest directory above it.
    pub fn home(&mut self, path: &Path) -> fs::Result<(PathBuf, Arc<F::Dir>)> {
        match self.staged.home(&self.fs, path)? {
            Some(home) => Ok(home),
            None => Ok((path.to_path_buf(), self.dir(path)?)),
        }
    }

    /// The device of a directory; of the staging directory, if it is not there any more.
    pub fn device(&mut self, path: &Path) -> fs::Result<u64> {
        let dir = match self.if_there(path)? {
            Some(dir) => dir,
            None => self.staged.root_of(&self.fs, path)?.ok_or_else(|| missing(path))?,
        };
        Ok(self.fs.stat_dir(&dir)?.identity.device)
    }

    /// Keeps a directory that was opened elsewhere.
    fn remember(&mut self, path: &Path, dir: Arc<F::Dir>) {
        if self.open.len() >= OPEN_DIRS_MAX {
            // The first is staging, which every batch needs.
            let (forgotten, _) = self.open.remove(1);
            self.durable.remove(forgotten.as_os_str());
        }
        self.open.push((path.to_path_buf(), dir));
    }

    /// Closes a directory; the next use opens its path again.
    pub fn forget(&mut self, path: &Path) {
        self.open.retain(|(known, _)| known != path);
        self.durable.remove(path.as_os_str());
    }

    /// Drops the pending sync of a directory that can no longer be opened: its names are gone with it.
    pub fn forget_missing(&mut self, path: &Path) {
        if self.dir(path).is_err() {
            self.gained.paths.remove(path);
            self.lost.paths.remove(path);
        }
    }

    /// The directory of that path below `root`. It and its name are made, durably, if they are missing.
    pub fn made_dir(&mut self, root: &Path, path: &Path) -> fs::Result<Arc<F::Dir>> {
        if self.durable.contains(path.as_os_str()) {
            return self.dir(path);
        }
        let dir = Arc::new(fs::open_dir_durable(&self.fs, root, path, DIR_MODE)?);
        self.forget(path);
        self.remember(path, dir.clone());
        self.durable.insert(path.as_os_str().to_owned());
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
        self.lost.note(&self.fs, &mut self.staged, from);
        self.gained.note(&self.fs, &mut self.staged, to);
    }

    /// Marks a directory for `sync` that is about to lose a name.
    pub fn touch_lost(&mut self, dir: &Path) {
        self.lost.note(&self.fs, &mut self.staged, dir);
    }

    /// Removes a file that this program made, if it exists.
    pub fn discard(&mut self, copy: &Path) -> fs::Result<()> {
        let (dir, name) = split(copy)?;
        match self.dir(dir).and_then(|dir| self.fs.unlink(&dir, name)) {
            Err(error) if error.is_not_found() => Ok(()),
            result => result,
        }
    }

    /// Syncs every directory that was marked, once each; many directories below staging with their whole file systems.
    pub fn sync(&mut self) -> fs::Result<()> {
        let gained = std::mem::take(&mut self.gained);
        let mut lost = std::mem::take(&mut self.lost);
        lost.leave_out(&gained);
        for changed in [gained, lost] {
            for path in &changed.paths {
                let dir = self.dir(path)?;
                self.fs.sync_dir(&dir)?;
            }
            changed.sync_staged(&self.fs)?;
        }
        Ok(())
    }
}

/// True for equal bytes: to compare paths component by component takes longer, and all of them are built in the same way.
fn is_same(one: &Path, other: &Path) -> bool {
    one.as_os_str() == other.as_os_str()
}

/// The error for a directory that is not there any more.
fn missing(path: &Path) -> fs::Error {
    let source = std::io::Error::from_raw_os_error(libc::ENOENT);
    fs::Error { op: Syscall::OpenDir, path: path.to_path_buf(), source }
}

/// These parts as one path, in one allocation.
pub fn joined(parts: &[&Path]) -> PathBuf {
    let mut path = PathBuf::with_capacity(parts.iter().map(|part| part.as_os_str().len() + 1).sum());
    path.extend(parts);
    path
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
