//! The directories of staging: which of them are entered, and in which order.
//!
//! Invariants:
//! - A directory is opened beneath staging when its turn comes: what its path leads to then is listed, through no link.
//! - The ingestor's own directories are never entered, by whatever path or mount.
//! - The ear knows a directory before it is listed, so that nothing is missed in between.
//! - Only staging itself and one other directory at a time are open, and one more for a reported directory.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::names::Ignored;
use super::unread::Unread;
use crate::fs::{self, DirEntry, Fs, Syscall};
use crate::journal::format::PATH_BYTES_MAX;
use crate::limits::{DIRS_PENDING_MAX, NEWS_DIRS_MAX};
use crate::pipeline::names::NAME_BYTES_MAX;

/// How far directories are entered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TreeRules {
    /// How many levels below staging.
    pub max_depth: u16,
    /// Also where another mount begins.
    pub cross_mounts: bool,
}

/// Is told of directories before they are listed: it watches them.
pub trait Ear<F: Fs> {
    /// A scan of everything begins.
    fn begin_scan(&mut self);
    /// This directory is about to be listed; the path is relative to staging.
    fn enter(&mut self, path: &Arc<Path>, dir: &F::Dir);
    /// The scan is complete. If it is `whole`, directories that it has not entered are gone.
    fn end_scan(&mut self, whole: bool);
}

/// Why a directory is not open.
pub(super) enum Closed {
    /// There is none at its path.
    Gone,
    /// It is never entered.
    Never(Ignored),
    /// It cannot be read.
    Unread(fs::Error),
}

/// An entry and where it is; or the directory that cannot be listed, and why.
type Next<F> = Result<Option<(Spot<F>, DirEntry)>, (Arc<Path>, Closed)>;

/// An open directory, and its path relative to staging.
pub(super) struct Spot<F: Fs> {
    pub(super) path: Arc<Path>,
    pub(super) dir: Arc<F::Dir>,
}

/// Directories that wait to be listed, and the one that is.
struct Walk<F: Fs> {
    pending: Vec<Arc<Path>>,
    current: Option<(Spot<F>, F::Listing)>,
}

impl<F: Fs> Walk<F> {
    fn is_done(&self) -> bool {
        self.pending.is_empty() && self.current.is_none()
    }
}

/// The directories of staging.
pub(super) struct Tree<F: Fs> {
    fs: F,
    staging: Arc<F::Dir>,
    rules: Option<TreeRules>,
    pub(super) ear: Option<Box<dyn Ear<F>>>,
    /// The ingestor's own directories, and (device, inode) of those that exist.
    own_paths: Vec<PathBuf>,
    own: Vec<(u64, u64)>,
    /// Bytes of a relative path, at most.
    bytes_max: usize,
    is_scanning: bool,
    scan: Walk<F>,
    news: Walk<F>,
    unread: Unread,
}

impl<F: Fs> Tree<F> {
    pub(super) fn new(fs: F, staging: Arc<F::Dir>, rules: Option<TreeRules>) -> Tree<F> {
        let walk = || Walk { pending: Vec::new(), current: None };
        let mut tree = Tree {
            fs,
            staging,
            rules,
            ear: None,
            own_paths: Vec::new(),
            own: Vec::new(),
            bytes_max: 0,
            is_scanning: false,
            scan: walk(),
            news: walk(),
            unread: Unread::default(),
        };
        tree.own(Vec::new());
        tree
    }

    /// Declares the ingestor's own directories. Files keep their paths below some of them.
    pub(super) fn own(&mut self, paths: Vec<PathBuf>) {
        let bytes = |path: &Path| path.as_os_str().len();
        let longest = paths.iter().map(|path| bytes(path)).chain([bytes(self.path())]).max().unwrap_or(0);
        // Two names: a suffix may be added to a name, and a directory's name to a path.
        self.bytes_max = PATH_BYTES_MAX.saturating_sub(longest + 1 + 2 * NAME_BYTES_MAX);
        self.own_paths = paths;
    }

    /// The staging directory's path.
    pub(super) fn path(&self) -> &Path {
        self.fs.dir_path(&self.staging)
    }

    /// True if staging itself cannot be read.
    pub(super) fn is_failing(&self) -> bool {
        self.fs.stat(&self.staging, OsStr::new(".")).is_err()
    }

    pub(super) fn is_scanning(&self) -> bool {
        self.is_scanning
    }

    pub(super) fn has_news(&self) -> bool {
        !self.news.is_done()
    }

    pub(super) fn begin_scan(&mut self) -> fs::Result<()> {
        let listing = self.fs.list(&self.staging)?;
        let spot = Spot { path: Arc::from(Path::new("")), dir: self.staging.clone() };
        self.scan = Walk { pending: Vec::new(), current: Some((spot, listing)) };
        self.is_scanning = true;
        self.unread.begin_scan();
        if self.rules.is_some() {
            self.ear.iter_mut().for_each(|ear| ear.begin_scan());
            let fs = &self.fs;
            let key = |dir: &F::Dir| fs.stat_dir(dir).ok().map(|stat| stat.identity.key());
            let own = self.own_paths.iter().filter_map(|path| key(&fs.open_dir(path).ok()?));
            self.own = own.chain(key(&self.staging)).collect();
        }
        Ok(())
    }

    /// True if a scan was running.
    pub(super) fn abandon_scan(&mut self) -> bool {
        self.scan = Walk { pending: Vec::new(), current: None };
        std::mem::take(&mut self.is_scanning)
    }

    pub(super) fn end_scan(&mut self) {
        self.is_scanning = false;
        let whole = self.has_read_all();
        self.unread.end_scan();
        self.ear.iter_mut().for_each(|ear| ear.end_scan(whole));
    }

    /// True if the scan could read every directory so far.
    pub(super) fn has_read_all(&self) -> bool {
        self.unread.is_empty()
    }

    /// True if the scan may not have seen this file.
    pub(super) fn is_unread(&self, name: &OsStr) -> bool {
        self.unread.covers(name)
    }

    /// True for a directory that could not be read.
    pub(super) fn was_unread(&self, path: &Path) -> bool {
        self.unread.has(path)
    }

    pub(super) fn note_unread(&mut self, path: Arc<Path>, error: &fs::Error) {
        self.unread.note(path, error);
    }

    /// Why a directory at this path is not entered.
    pub(super) fn too_far(&self, path: &Path) -> Option<Ignored> {
        let rules = self.rules?;
        if path.iter().count() > usize::from(rules.max_depth) {
            return Some(Ignored::TooDeep);
        }
        (path.as_os_str().as_bytes().len() > self.bytes_max).then_some(Ignored::PathTooLong)
    }

    /// A directory that was found is listed in its turn.
    pub(super) fn add(&mut self, path: PathBuf, is_news: bool) {
        let (walk, max) = if is_news { (&mut self.news, NEWS_DIRS_MAX) } else { (&mut self.scan, DIRS_PENDING_MAX) };
        if walk.pending.len() < max {
            walk.pending.push(path.into());
            return;
        }
        let source = std::io::Error::other(format!("more than {max} directories wait to be listed"));
        let error = fs::Error { op: Syscall::OpenDir, path: self.path().join(&path), source };
        self.unread.note(path.into(), &error);
    }

    /// A directory that was reported is listed soon; false if too many wait.
    pub(super) fn add_news(&mut self, path: &Path) -> bool {
        let has_room = self.news.pending.len() < NEWS_DIRS_MAX;
        if has_room && self.news.pending.last().is_none_or(|last| **last != *path) {
            self.news.pending.push(path.into());
        }
        has_room
    }

    /// The next entry of the reported directories, or of the scan; None at its end. An error is about the directory at
    /// this path, and the others go on.
    pub(super) fn next(&mut self, is_news: bool) -> Next<F> {
        loop {
            let walk = if is_news { &mut self.news } else { &mut self.scan };
            if let Some((spot, listing)) = &mut walk.current {
                let (path, dir) = (spot.path.clone(), spot.dir.clone());
                match listing.next() {
                    Some(Ok(entry)) => return Ok(Some((Spot { path, dir }, entry))),
                    ended => {
                        walk.current = None;
                        if let Some(Err(error)) = ended {
                            return Err((path, Closed::Unread(error)));
                        }
                    }
                }
            }
            let Some(path) = walk.pending.pop() else { return Ok(None) };
            let entered = self.enter(path.clone()).map_err(|closed| (path, closed))?;
            let walk = if is_news { &mut self.news } else { &mut self.scan };
            walk.current = Some(entered);
        }
    }

    fn enter(&mut self, path: Arc<Path>) -> Result<(Spot<F>, F::Listing), Closed> {
        let spot = self.spot(&path)?;
        self.ear.iter_mut().for_each(|ear| ear.enter(&path, &spot.dir));
        let listing = self.fs.list(&spot.dir).map_err(Closed::Unread)?;
        Ok((spot, listing))
    }

    /// Opens the directory of that path, if it may be entered.
    pub(super) fn spot(&self, path: &Path) -> Result<Spot<F>, Closed> {
        if path.as_os_str().is_empty() {
            return Ok(Spot { path: path.into(), dir: self.staging.clone() });
        }
        if let Some((spot, _)) = self.scan.current.as_ref().filter(|(spot, _)| *spot.path == *path) {
            return Ok(Spot { path: spot.path.clone(), dir: spot.dir.clone() });
        }
        let mut opened = self.fs.open_beneath(&self.staging, path, false);
        if opened.as_ref().is_err_and(fs::Error::is_cross_device) {
            if !self.rules.is_some_and(|rules| rules.cross_mounts) {
                return Err(Closed::Never(Ignored::OtherMount));
            }
            let whole = self.path().join(path);
            if self.own_paths.iter().any(|own| self.fs.is_mounted_from(&whole, own)) {
                return Err(Closed::Never(Ignored::Own));
            }
            opened = self.fs.open_beneath(&self.staging, path, true);
        }
        let dir = match opened {
            Err(error) if error.is_no_directory() => return Err(Closed::Gone),
            dir => dir.map_err(Closed::Unread)?,
        };
        let key = self.fs.stat_dir(&dir).map_err(Closed::Unread)?.identity.key();
        if self.own.contains(&key) {
            return Err(Closed::Never(Ignored::Own));
        }
        Ok(Spot { path: path.into(), dir: Arc::new(dir) })
    }
}
