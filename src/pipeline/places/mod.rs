//! Checks, at the start and while running, that the directories the ingestor depends on are the ones it knows.
//!
//! Invariants:
//! - A journal whose settings name a warehouse has a marker there: `WAREHOUSE/.csv-ingestor/<store>`, made before the
//!   settings are written. Without it the path is a bare mount point, or another warehouse.
//! - The manifests have the same marker. A directory beside the warehouse's marker records that it was made, and is made
//!   after it. Journals of older versions have neither, and get both.
//! - A directory counts as missing only if that is certain: no such name, not a directory, or another inode. Any other
//!   error proves nothing.

pub mod claim;
pub mod older;
pub mod probe;

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use crate::fs::{self, DIR_MODE, Fs, PRIVATE_MODE};
use crate::journal::{Journal, hex};
use crate::pipeline::Error;

/// What the operator accepts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Accepts {
    /// The manifests may list contents that the journal does not know.
    pub journal: bool,
    /// Warehouse and manifests may be different directories than before.
    pub warehouse: bool,
    /// Files may be the same by something else than before.
    pub identity: bool,
}

/// The option that names a journal's directory.
const STATE_PATH: &str = "--state-path";
/// The directory for everything that readers ignore. Several ingestors, of several users, may have their own directories
/// in it.
const PRIVATE: &str = ".csv-ingestor";
/// The suffix of the warehouse's marker that records that the manifests have one, too.
const MANIFESTS_MARKED: &str = "-manifests";

/// A journal's own directory below a warehouse or manifests.
pub fn private_dir(root: &Path, store: &[u8; 16]) -> PathBuf {
    root.join(PRIVATE).join(hex(store))
}

/// The journals' own directories below a warehouse or manifests, at most `count_max`, as far as they can be listed.
pub fn private_dirs<F: Fs>(fs: &F, root: &Path, count_max: usize) -> Vec<PathBuf> {
    let shared = root.join(PRIVATE);
    let Ok(entries) = fs.open_dir(&shared).and_then(|dir| fs.list(&dir)) else { return Vec::new() };
    let is_of_a_journal = |name: &[u8]| name.len() == 32 && name.iter().all(u8::is_ascii_hexdigit);
    let names = entries.flatten().map(|entry| entry.name).filter(|name| is_of_a_journal(name.as_encoded_bytes()));
    names.take(count_max).map(|name| shared.join(name)).collect()
}

fn manifests_marked(warehouse: &Path, store: &[u8; 16]) -> PathBuf {
    warehouse.join(PRIVATE).join(hex(store) + MANIFESTS_MARKED)
}

/// Opens a journal's own directory below `root`, making it if it is missing; its name is durable on return.
pub fn make_private_dir<F: Fs>(fs: &F, root: &Path, store: &[u8; 16]) -> fs::Result<F::Dir> {
    let shared = root.join(PRIVATE);
    fs::open_dir_durable(fs, root, &shared, DIR_MODE)?;
    fs::open_dir_durable(fs, &shared, &private_dir(root, store), PRIVATE_MODE)
}

/// True if a directory of that path exists, or if that cannot be determined.
pub fn may_be_there<F: Fs>(fs: &F, path: &Path) -> bool {
    fs.open_dir(path).map_or_else(|error| !is_missing(&error), |_| true)
}

/// True if the warehouse records that the manifests have a marker, too.
pub fn are_manifests_marked<F: Fs>(fs: &F, warehouse: &Path, store: &[u8; 16]) -> bool {
    fs.open_dir(&manifests_marked(warehouse, store)).is_ok()
}

/// Makes the marker in the manifests; then records it beside the warehouse's marker. Both are durable on return.
pub fn mark_manifests<F: Fs>(fs: &F, warehouse: &Path, manifests: &Path, store: &[u8; 16]) -> fs::Result<F::Dir> {
    let marker = make_private_dir(fs, manifests, store)?;
    fs::open_dir_durable(fs, &warehouse.join(PRIVATE), &manifests_marked(warehouse, store), PRIVATE_MODE)?;
    Ok(marker)
}

fn is_missing(error: &fs::Error) -> bool {
    error.is_not_found() || error.source.kind() == std::io::ErrorKind::NotADirectory
}

/// A directory that is watched.
struct Watched<F: Fs> {
    what: &'static str,
    /// The path to report as gone.
    told: PathBuf,
    path: PathBuf,
    dir: F::Dir,
    /// A file in it, with its (device, inode).
    file: Option<(&'static str, (u64, u64))>,
}

/// The directories that must stay the same after the start.
pub struct Places<F: Fs> {
    fs: F,
    watched: Vec<Watched<F>>,
}

impl<F: Fs> Places<F> {
    /// Watches nothing yet.
    pub fn new(fs: F) -> Places<F> {
        Places { fs, watched: Vec::new() }
    }

    /// Watches a journal's directory, and the lock file in it.
    pub fn watch_state(&mut self, path: &Path, dir: F::Dir, lock: (&'static str, (u64, u64))) {
        let (what, file) = (STATE_PATH, Some(lock));
        self.watched.push(Watched { what, told: path.to_path_buf(), path: path.to_path_buf(), dir, file });
    }

    /// Watches the marker below the directory `root` that the option `what` names.
    pub fn watch_marker(&mut self, what: &'static str, root: &Path, path: PathBuf, dir: F::Dir) {
        self.watched.push(Watched { what, told: root.to_path_buf(), path, dir, file: None });
    }

    /// Checks that each path still leads to the open directory.
    ///
    /// # Errors
    /// One does not: the open directory can still be written to, but no reader would find its files.
    pub fn look(&self) -> Result<(), Error> {
        let gone = self.watched.iter().find(|watched| self.is_gone(watched));
        gone.map_or(Ok(()), |watched| Err(Error::Replaced { what: watched.what, path: watched.told.clone() }))
    }

    /// Checks that the journal's active segment still has its name.
    ///
    /// # Errors
    /// It does not.
    pub fn must_hold(&self, journal: &Journal<F>) -> Result<(), Error> {
        let state = self.watched.iter().find(|watched| watched.what == STATE_PATH);
        let lost = state.filter(|_| !journal.is_in_place());
        lost.map_or(Ok(()), |state| Err(Error::Replaced { what: STATE_PATH, path: state.told.clone() }))
    }

    fn is_gone(&self, watched: &Watched<F>) -> bool {
        let Ok(ours) = self.fs.stat_dir(&watched.dir) else { return false };
        let dir = match self.fs.open_dir(&watched.path) {
            Err(error) => return is_missing(&error),
            Ok(dir) => dir,
        };
        if self.fs.stat_dir(&dir).is_ok_and(|stat| stat.identity.key() != ours.identity.key()) {
            return true;
        }
        let Some((name, key)) = watched.file else { return false };
        self.fs.stat(&dir, OsStr::new(name)).is_ok_and(|there| there.is_none_or(|it| it.identity.key() != key))
    }
}
