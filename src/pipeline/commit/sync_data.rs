//! Makes the bytes of a batch's files durable, before anything is recorded of them.
//!
//! Invariant (P5): a failure ends the process, and what the kernel then believes to be written is not read again.

use super::Committer;
use crate::fs::{FileKind, Fs, Open};
use crate::limits::TREE_DEPTH_MAX;
use crate::pipeline::{Error, HashedFile};

impl<F: Fs> Committer<F> {
    /// One call for all files of staging's file system. Its failure ends the process: it does not show which file it
    /// concerns. Files of other file systems, which `--cross-mounts` takes, are synced one by one.
    pub(super) fn sync_data<'a>(&self, hashed: impl Iterator<Item = &'a HashedFile<F>>) -> Result<(), Error> {
        let mut unsynced = hashed.filter(|file| !file.durable).peekable();
        if unsynced.peek().is_none() {
            return Ok(());
        }
        let device = self.fs.stat_dir(&self.shared.staging)?.identity.device;
        for file in unsynced.filter(|file| file.settled.identity.device != device) {
            self.fs.sync_data(&file.file).inspect_err(|_| drop(self.fs.drop_cache(&file.file)))?;
        }
        Ok(self.fs.sync_fs(&self.shared.staging).inspect_err(|_| self.forget_staged_pages())?)
    }

    /// After a failed syncfs the kernel marks the unwritten pages clean, those of the batch and those of files that wait
    /// for a later one. The next start must not read them, so the page cache is dropped. Errors are ignored: the process
    /// is about to end.
    pub(super) fn forget_staged_pages(&self) {
        self.forget_pages_of(&self.shared.staging, 0);
    }

    fn forget_pages_of(&self, dir: &F::Dir, depth: u16) {
        let Ok(entries) = self.fs.list(dir) else { return };
        for entry in entries.flatten() {
            let kind = entry.kind.or_else(|| self.fs.stat(dir, &entry.name).ok()?.map(|stat| stat.kind));
            match kind {
                Some(FileKind::Regular) | None => {
                    if let Ok(file) = self.fs.open(dir, &entry.name, Open::Read) {
                        let _ = self.fs.drop_cache(&file);
                    }
                }
                Some(FileKind::Directory) if depth < TREE_DEPTH_MAX => {
                    if let Ok(below) = self.fs.open_subdir(dir, &entry.name) {
                        self.forget_pages_of(&below, depth + 1);
                    }
                }
                Some(_) => {}
            }
        }
    }
}
