//! Appending lines, under the lock.
//!
//! Invariant: no line is half written by us and then left: what a failed call may have left, the next one completes.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use super::complete::{complete, end_of_lines, search};
use super::line::MANIFEST_NAME;
use super::lock::ManifestLock;
use crate::fs::{self, DIR_MODE, FILE_MODE, Fs, Open};

/// Writes manifests; keeps the current hour's open.
pub struct Manifests<F: Fs> {
    fs: F,
    open: Option<OpenManifest<F>>,
    lock: ManifestLock<F>,
}

struct OpenManifest<F: Fs> {
    path: PathBuf,
    dir: F::Dir,
    file: F::File,
}

impl<F: Fs> Manifests<F> {
    /// Opens nothing yet.
    pub fn new(fs: F) -> Manifests<F> {
        Manifests::stopped_by(fs, Arc::default())
    }

    /// As `new`; to wait for the lock ends when the flag is set.
    pub fn stopped_by(fs: F, stop: Arc<AtomicBool>) -> Manifests<F> {
        Manifests { lock: ManifestLock::new(fs.clone(), stop), fs, open: None }
    }

    /// Does that under the lock.
    fn locked<T>(&mut self, root: &Path, body: impl FnOnce(&mut Self) -> fs::Result<T>) -> fs::Result<T> {
        self.lock.take(root)?;
        let result = body(self);
        // Also if it failed: a full disk is waited for without it.
        let given_up = self.lock.give_up();
        result.and_then(|done| given_up.map(|()| done))
    }

    /// Opens the manifest in `dir`, making it and what is missing of `dir`; their names are durable afterwards. One
    /// that was removed or renamed since it was opened is opened anew.
    fn open(&mut self, root: &Path, dir: &Path) -> fs::Result<&F::File> {
        let name = OsStr::new(MANIFEST_NAME);
        let is_current = match &self.open {
            Some(open) if open.path == dir => {
                let ours = self.fs.stat_file(&open.file)?.identity.key();
                self.fs.stat(&open.dir, name)?.is_some_and(|there| there.identity.key() == ours)
            }
            _ => false,
        };
        let open = match self.open.take().filter(|_| is_current) {
            Some(open) => open,
            None => {
                let handle = fs::open_dir_durable(&self.fs, root, dir, DIR_MODE)?;
                let file = match self.fs.open(&handle, name, Open::Create { mode: FILE_MODE }) {
                    Err(error) if error.is_taken() => self.fs.open(&handle, name, Open::Write)?,
                    created => created?,
                };
                self.fs.sync_dir(&handle)?;
                OpenManifest { path: dir.to_path_buf(), dir: handle, file }
            }
        };
        Ok(&self.open.insert(open).file)
    }

    /// Appends whole lines, durably. A call that failed on a full disk can be repeated with the same lines and the same
    /// `progress`, which says that some of them may be there.
    pub fn append(
        &mut self,
        root: &Path,
        dir: &Path,
        lines: &[Vec<u8>],
        progress: &mut AppendProgress,
    ) -> fs::Result<()> {
        if progress.has_begun {
            // Meanwhile others may have appended, cut off what we had begun, or put another file there: as after a crash.
            return self.ensure(root, dir, lines).map(drop);
        }
        self.locked(root, |this| {
            let fs = this.fs.clone();
            let file = this.open(root, dir)?;
            let start = end_of_lines(&fs, file)?;
            progress.has_begun = true;
            fs::write_all_at(&fs, file, &lines.concat(), start)?;
            fs.sync_data(file)
        })
    }

    /// Which of `lines` stand in the manifest as whole lines.
    pub fn holds(&mut self, root: &Path, dir: &Path, lines: &[Vec<u8>]) -> fs::Result<Vec<bool>> {
        let fs = self.fs.clone();
        let file = self.open(root, dir)?;
        Ok(search(&fs, file, lines)?.at.iter().map(Option::is_some).collect())
    }

    /// Sees to it that every one of `lines` stands in the manifest, once, durably; returns how many were missing.
    /// For recovery: `lines` are all that a crash may have left unfinished in this hour, in the order in which they
    /// were written.
    pub fn ensure(&mut self, root: &Path, dir: &Path, lines: &[Vec<u8>]) -> fs::Result<usize> {
        self.locked(root, |this| {
            let fs = this.fs.clone();
            complete(&fs, this.open(root, dir)?, lines)
        })
    }
}

/// What is known of an append.
#[derive(Debug, Default)]
pub struct AppendProgress {
    /// Some of it may have been written.
    has_begun: bool,
}
