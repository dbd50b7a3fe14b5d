//! Directories whose names have changed since the last sync.
//!
//! Invariant: a directory below staging is synced as the directory that it was when its names changed, whatever has its
//! path by then: the open directory is kept, or its whole file system is synced.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::staged::Staged;
use crate::fs::{self, Fs};
use crate::limits::FEW_FILES;

/// Changed directories.
pub(super) struct Changed<F: Fs> {
    pub(super) paths: BTreeSet<PathBuf>,
    /// A few directories below staging.
    staged: BTreeMap<PathBuf, Arc<F::Dir>>,
    /// For more of them: one directory on each device.
    devices: BTreeMap<u64, Arc<F::Dir>>,
    /// The last directory that was noted: files of one directory mostly follow each other.
    last: PathBuf,
    /// A directory whose device could not be determined, most likely because it is gone.
    others: Option<Arc<F::Dir>>,
}

impl<F: Fs> Default for Changed<F> {
    fn default() -> Changed<F> {
        let (paths, staged, devices) = (BTreeSet::new(), BTreeMap::new(), BTreeMap::new());
        Changed { paths, staged, devices, last: PathBuf::new(), others: None }
    }
}

impl<F: Fs> Changed<F> {
    pub(super) fn note(&mut self, fs: &F, known: &mut Staged<F>, path: &Path) {
        if self.last.as_os_str() == path.as_os_str() {
            return;
        }
        self.last = path.to_path_buf();
        if !known.is_below(path) {
            if !self.paths.contains(path) {
                self.paths.insert(path.to_path_buf());
            }
            return;
        }
        if self.staged.contains_key(path) {
            return;
        }
        let Ok(Some(Some(dir))) = known.dir(fs, path) else {
            self.others = known.root_of(fs, path).ok().flatten().or(self.others.take());
            return;
        };
        if self.staged.len() < FEW_FILES {
            self.staged.insert(path.to_path_buf(), dir);
            return;
        }
        match fs.stat_dir(&dir) {
            Ok(stat) => drop(self.devices.entry(stat.identity.device).or_insert(dir)),
            Err(_) => self.others = Some(dir),
        }
    }

    /// Leaves out what `other` has as well.
    pub(super) fn leave_out(&mut self, other: &Changed<F>) {
        self.paths.retain(|path| !other.paths.contains(path));
        let is_same = |path: &PathBuf, dir: &Arc<F::Dir>| other.staged.get(path).is_some_and(|it| Arc::ptr_eq(it, dir));
        self.staged.retain(|path, dir| !is_same(path, dir));
    }

    /// Makes the changes below staging durable.
    pub(super) fn sync_staged(&self, fs: &F) -> fs::Result<()> {
        for dir in self.devices.values().chain(&self.others) {
            fs.sync_fs(dir)?;
        }
        // With a whole file system, most of them are durable already, which makes these syncs cheap.
        self.staged.values().try_for_each(|dir| fs.sync_dir(dir))
    }
}
