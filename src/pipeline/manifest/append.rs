//! Appends lines, under the lock.
//!
//! Invariant: no call leaves a half-written line for good: the next call completes what a failed one may have left.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use super::complete::{complete, end_of_lines, search};
use super::line::MANIFEST_NAME;
use super::lock::ManifestLock;
use super::numbers::Numbers;
use crate::fs::{self, DIR_MODE, FILE_MODE, Fs, Open};

/// Writes manifests; keeps the current hour's manifest open.
pub struct Manifests<F: Fs> {
    fs: F,
    open: Option<OpenManifest<F>>,
    lock: ManifestLock<F>,
    numbers: Numbers<F>,
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

    /// As `new`; waiting for the lock ends when `stop` is set.
    pub fn stopped_by(fs: F, stop: Arc<AtomicBool>) -> Manifests<F> {
        Manifests { lock: ManifestLock::new(fs.clone(), stop), numbers: Numbers::new(fs.clone()), fs, open: None }
    }

    /// Runs `body` under the lock.
    fn locked<T>(&mut self, root: &Path, body: impl FnOnce(&mut Self) -> fs::Result<T>) -> fs::Result<T> {
        self.lock.take(root)?;
        let result = body(self);
        // After a failure as well: waiting for room on a full disk must not happen under the lock.
        let given_up = self.lock.give_up();
        result.and_then(|done| given_up.map(|()| done))
    }

    /// Opens the manifest in `dir`, making it and the missing directories; their names are durable on return. A manifest
    /// that was removed or renamed since it was opened is opened again.
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

    /// The index of a journal's lines by their numbers.
    pub fn numbers(&mut self) -> &mut Numbers<F> {
        &mut self.numbers
    }

    /// Appends `text`, which is whole lines, durably. Returns where it begins, if it was written in one piece. A call that failed on a full disk can be repeated with the same lines
    /// and the same `progress`, which records that some of them may have been written.
    pub fn append(
        &mut self,
        root: &Path,
        dir: &Path,
        text: &[u8],
        progress: &mut AppendProgress,
    ) -> fs::Result<Option<u64>> {
        if progress.has_begun {
            // Other processes may have appended meanwhile, cut off the unfinished line, or replaced the file: proceed as
            // after a crash.
            let lines: Vec<Vec<u8>> = text.split_inclusive(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect();
            return self.ensure(root, dir, &lines).map(|_| None);
        }
        self.locked(root, |this| {
            let fs = this.fs.clone();
            let file = this.open(root, dir)?;
            let start = end_of_lines(&fs, file)?;
            progress.has_begun = true;
            fs::write_all_at(&fs, file, text, start)?;
            fs.sync_data(file)?;
            Ok(Some(start))
        })
    }

    /// For each of `lines`, whether the manifest has it as a whole line.
    pub fn holds(&mut self, root: &Path, dir: &Path, lines: &[Vec<u8>]) -> fs::Result<Vec<bool>> {
        let fs = self.fs.clone();
        let file = self.open(root, dir)?;
        Ok(search(&fs, file, lines)?.at.iter().map(Option::is_some).collect())
    }

    /// Makes sure that the manifest has each of `lines` once, durably; returns how many were missing. For recovery:
    /// `lines` are all lines of this hour that a crash may have left unfinished, in the order in which they were written.
    pub fn ensure(&mut self, root: &Path, dir: &Path, lines: &[Vec<u8>]) -> fs::Result<usize> {
        self.locked(root, |this| {
            let fs = this.fs.clone();
            complete(&fs, this.open(root, dir)?, lines)
        })
    }
}

/// The progress of an append.
#[derive(Debug, Default)]
pub struct AppendProgress {
    /// Some of it may have been written.
    has_begun: bool,
}
