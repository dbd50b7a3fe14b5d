//! The open directories of staging.
//!
//! Invariant: a directory below a staging directory is reached from there step by step, and through no link.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::fs::{self, DIR_MODE, Fs};
use crate::limits::STAGED_DIRS_OPEN_MAX;

/// A directory below staging; None if it is not there any more.
type Below<F> = Option<Arc<<F as Fs>::Dir>>;

/// Staging directories, and some of the directories below them.
pub(super) struct Staged<F: Fs> {
    /// One, and during a recovery those of earlier settings.
    roots: Vec<(PathBuf, Option<Arc<F::Dir>>)>,
    open: Vec<(PathBuf, Arc<F::Dir>)>,
}

impl<F: Fs> Default for Staged<F> {
    fn default() -> Staged<F> {
        Staged { roots: Vec::new(), open: Vec::new() }
    }
}

impl<F: Fs> Staged<F> {
    pub(super) fn add(&mut self, path: &Path, dir: Option<Arc<F::Dir>>) {
        if self.roots.iter().all(|(known, _)| known != path) {
            self.roots.push((path.to_path_buf(), dir));
        }
    }

    pub(super) fn forget(&mut self) {
        self.open.clear();
    }

    /// True for a path strictly below a staging directory.
    pub(super) fn is_below(&self, path: &Path) -> bool {
        self.roots.iter().any(|(root, _)| path != root && path.starts_with(root))
    }

    /// The staging directory above a path.
    pub(super) fn root_of(&mut self, fs: &F, path: &Path) -> fs::Result<Option<Arc<F::Dir>>> {
        let Some((root, open)) = self.roots.iter_mut().find(|(root, _)| path.starts_with(root)) else {
            return Ok(None);
        };
        if open.is_none() {
            *open = Some(Arc::new(fs.open_dir(root)?));
        }
        Ok(open.clone())
    }

    /// The directory at a path in staging; None if the path is not there, Some(None) if there is no directory.
    pub(super) fn dir(&mut self, fs: &F, path: &Path) -> fs::Result<Option<Below<F>>> {
        if let Some((_, dir)) = self.open.iter().rev().find(|(known, _)| known.as_os_str() == path.as_os_str()) {
            return Ok(Some(Some(dir.clone())));
        }
        // Mostly staging itself.
        if let Some((_, Some(root))) = self.roots.iter().find(|(root, _)| root.as_os_str() == path.as_os_str()) {
            return Ok(Some(Some(root.clone())));
        }
        let Some(root) = self.root_of(fs, path)? else { return Ok(None) };
        if !self.is_below(path) {
            return Ok(Some(Some(root)));
        }
        let below = path.strip_prefix(fs.dir_path(&root)).unwrap_or(path);
        match fs.open_beneath(&root, below, true) {
            Err(error) if error.is_no_directory() => Ok(Some(None)),
            dir => {
                let dir = Arc::new(dir?);
                if self.open.len() >= STAGED_DIRS_OPEN_MAX {
                    self.open.remove(0);
                }
                self.open.push((path.to_path_buf(), dir.clone()));
                Ok(Some(Some(dir)))
            }
        }
    }

    /// The directory of a path in staging, made again if it is missing, or the nearest one above it. None for a path
    /// that is not in staging.
    pub(super) fn home(&mut self, fs: &F, path: &Path) -> fs::Result<Option<(PathBuf, Arc<F::Dir>)>> {
        if !self.is_below(path) {
            return Ok(None);
        }
        // It may have been replaced since it was opened.
        self.forget();
        for path in path.ancestors() {
            let Some(root) = self.root_of(fs, path)? else { return Ok(None) };
            if !self.is_below(path) {
                return Ok(Some((path.to_path_buf(), root)));
            }
            match make_beneath(fs, &root, path.strip_prefix(fs.dir_path(&root)).unwrap_or(path)) {
                Ok(dir) => return Ok(Some((path.to_path_buf(), Arc::new(dir)))),
                // Another kind of file has the name, or nothing may be made there.
                Err(error) if error.spares_others() => {}
                Err(error) => return Err(error),
            }
        }
        Ok(None)
    }
}

/// Opens a directory below `root`; missing ones on the way are made, and their names are durable on return.
fn make_beneath<F: Fs>(fs: &F, root: &F::Dir, path: &Path) -> fs::Result<F::Dir> {
    match fs.open_beneath(root, path, true) {
        Err(error) if error.is_not_found() => {}
        opened => return opened,
    }
    let mut names = path.iter();
    let mut here = step(fs, root, names.next().unwrap_or_default())?;
    for name in names {
        here = step(fs, &here, name)?;
    }
    Ok(here)
}

fn step<F: Fs>(fs: &F, dir: &F::Dir, name: &std::ffi::OsStr) -> fs::Result<F::Dir> {
    match fs.open_subdir(dir, name) {
        Err(error) if error.is_not_found() => {
            match fs.create_dir(dir, name, DIR_MODE) {
                Err(error) if !error.is_taken() => return Err(error),
                _ => {}
            }
            fs.sync_dir(dir)?;
            fs.open_subdir(dir, name)
        }
        opened => opened,
    }
}
