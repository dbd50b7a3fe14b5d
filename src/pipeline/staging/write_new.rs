//! Writes a new file that is never visible before it is complete: the reason beside a file in quarantine.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use super::Staging;
use super::names::{Aside, aside_name};
use crate::fs::{self, FILE_MODE, FileKind, Fs, Open};
use crate::pipeline::dirs::split;
use crate::types::IngestId;

impl<F: Fs> Staging<F> {
    /// Writes a file under a name that must be free; no process sees the name before the file is complete. Its directory
    /// is made below `root` if it is missing. True if `path` now has this content, which it may have had before. The content is durable on return; the name is when `sync` has
    /// returned.
    pub fn write_new(
        &mut self,
        id: IngestId,
        what: Aside,
        root: &Path,
        path: &Path,
        content: &[u8],
    ) -> fs::Result<bool> {
        let (dir_path, name) = split(path)?;
        let dir = self.dirs.made_dir(root, dir_path)?;
        self.dirs.touch(dir_path, dir_path);
        let is_prepared = self.prepared.remove(path);
        let unfinished = aside_name(&self.store, id, what);
        if self.fs.stat(&dir, name)?.is_some() {
            if is_prepared {
                self.fs.unlink(&dir, &unfinished)?;
            }
            return self.is_written(&dir, name, content);
        }
        if !is_prepared {
            let file = self.write_unfinished(&dir, &unfinished, content)?;
            self.fs.sync_all(&file)?;
        }
        match self.fs.rename(&dir, &unfinished, &dir, name) {
            Err(error) if error.is_taken() => self.fs.unlink(&dir, &unfinished).map(|()| false),
            renamed => renamed.map(|()| true),
        }
    }

    /// Does the first part of `write_new` in advance, for one of many files: writes the content without a sync.
    /// `sync_prepared` then syncs all of them at once, and must be called before `write_new`.
    pub fn prepare_new(
        &mut self,
        id: IngestId,
        what: Aside,
        root: &Path,
        path: &Path,
        content: &[u8],
    ) -> fs::Result<()> {
        let (dir_path, name) = split(path)?;
        let dir = self.dirs.made_dir(root, dir_path)?;
        if self.fs.stat(&dir, name)?.is_none() {
            self.write_unfinished(&dir, &aside_name(&self.store, id, what), content)?;
            self.prepared.insert(path.to_path_buf());
        }
        Ok(())
    }

    /// Forgets all prepared files that `write_new` has not finished: they have been discarded.
    pub fn forget_prepared(&mut self) {
        self.prepared.clear();
    }

    /// Makes all prepared content durable: one `syncfs` per directory.
    pub fn sync_prepared(&mut self) -> fs::Result<()> {
        let dirs: BTreeSet<PathBuf> = self.prepared.iter().filter_map(|path| Some(path.parent()?.to_owned())).collect();
        for dir in dirs {
            let dir = self.dirs.dir(&dir)?;
            self.fs.sync_fs(&dir)?;
        }
        Ok(())
    }

    fn write_unfinished(&self, dir: &F::Dir, name: &OsStr, content: &[u8]) -> fs::Result<F::File> {
        match self.fs.unlink(dir, name) {
            Err(error) if error.is_not_found() => {}
            removed => removed?,
        }
        let file = self.fs.open(dir, name, Open::Create { mode: FILE_MODE })?;
        fs::write_all_at(&self.fs, &file, content, 0)?;
        Ok(file)
    }

    /// True if the file of that name has exactly this content.
    fn is_written(&self, dir: &F::Dir, name: &OsStr, content: &[u8]) -> fs::Result<bool> {
        if self.fs.stat(dir, name)?.is_none_or(|stat| stat.kind != FileKind::Regular) {
            return Ok(false);
        }
        let file = match self.fs.open(dir, name, Open::Read) {
            Err(error) if error.is_not_to_be_read() => return Ok(false),
            file => file?,
        };
        let mut found = vec![0; content.len() + 1];
        let read = fs::read_full_at(&self.fs, &file, &mut found, 0)?;
        Ok(&found[..read] == content)
    }
}
