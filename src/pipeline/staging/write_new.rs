//! Writing a file of our own that nobody sees before it is whole: the reason beside a file in quarantine.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use super::Staging;
use super::names::{Aside, aside_name};
use crate::fs::{self, FILE_MODE, FileKind, Fs, Open};
use crate::pipeline::dirs::split;
use crate::types::IngestId;

impl<F: Fs> Staging<F> {
    /// Writes a file that nobody sees before it is whole, under a name that must be free; true if it stands there now, as it
    /// may already. Its content is durable; its name is when `sync` has returned.
    pub fn write_new(&mut self, id: IngestId, what: Aside, path: &Path, content: &[u8]) -> fs::Result<bool> {
        let (dir_path, name) = split(path)?;
        let dir = self.dirs.made_dir(dir_path.parent().unwrap_or(dir_path), dir_path)?;
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

    /// Does beforehand what `write_new` would do first, for one of many such files: it is synced with all others, by
    /// `sync_prepared`, which must come before `write_new`.
    pub fn prepare_new(&mut self, id: IngestId, what: Aside, path: &Path, content: &[u8]) -> fs::Result<()> {
        let (dir_path, name) = split(path)?;
        let dir = self.dirs.made_dir(dir_path.parent().unwrap_or(dir_path), dir_path)?;
        if self.fs.stat(&dir, name)?.is_none() {
            self.write_unfinished(&dir, &aside_name(&self.store, id, what), content)?;
            self.prepared.insert(path.to_path_buf());
        }
        Ok(())
    }

    /// What was prepared until now, and not written for good, has been discarded.
    pub fn forget_prepared(&mut self) {
        self.prepared.clear();
    }

    /// One `syncfs` for everything that was prepared, on each file system that it may lie on.
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

    /// The file of that name has this content, and no more.
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
