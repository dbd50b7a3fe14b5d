//! Writes the index, behind the lines.
//!
//! Invariants:
//! - No failure here reaches the lines: an index that cannot be written lacks entries, and is tried again later.
//! - Entries ascend, also after a crash that took the last ones: what is there is read once, before the first new one.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use super::find::Finder;
use super::{Entry, dir, header, name, offset_of};
use crate::fs::{self, DIR_MODE, FILE_MODE, Fs, Open};
use crate::limits::LINE_INDEX_ENTRIES_MAX;

/// The index of one journal's lines below one directory of manifests, for its only writer.
pub struct Numbers<F: Fs> {
    fs: F,
    open: Option<Files<F>>,
    /// The manifests whose index could not be written the last time.
    failed: Option<PathBuf>,
}

/// Its files, and where the next entry goes.
struct Files<F: Fs> {
    root: PathBuf,
    journal: [u8; 16],
    dir: F::Dir,
    file: Option<F::File>,
    entries: u64,
    /// The number of the last line.
    last: u64,
}

impl<F: Fs> Numbers<F> {
    /// Opens nothing yet.
    pub fn new(fs: F) -> Numbers<F> {
        Numbers { fs, open: None, failed: None }
    }

    /// Adds an entry whose lines are durable. Returns the first failure in a row.
    pub fn add(&mut self, root: &Path, journal: &[u8; 16], entry: &Entry) -> Option<fs::Error> {
        match self.try_add(root, journal, entry) {
            Ok(()) => {
                self.failed = None;
                None
            }
            Err(error) => {
                self.open = None;
                let is_known = self.failed.as_deref() == Some(root);
                self.failed = Some(root.to_path_buf());
                (!is_known).then_some(error)
            }
        }
    }

    fn try_add(&mut self, root: &Path, journal: &[u8; 16], entry: &Entry) -> fs::Result<()> {
        let files = match self.open.take().filter(|files| files.is_of(root, journal)) {
            Some(files) => files,
            None => Files::open(&self.fs, root, journal)?,
        };
        let files = self.open.insert(files);
        // A recovery finds lines that are in the index.
        if entry.first <= files.last {
            return Ok(());
        }
        files.add(&self.fs, entry)
    }

    /// The number of the last line that the index has; 0 if it has none, or cannot be read.
    pub fn last(&mut self, root: &Path, journal: &[u8; 16]) -> u64 {
        if !self.open.as_ref().is_some_and(|files| files.is_of(root, journal)) {
            self.open = Files::open(&self.fs, root, journal).ok();
        }
        self.open.as_ref().map_or(0, |files| files.last)
    }
}

impl<F: Fs> Files<F> {
    fn is_of(&self, root: &Path, journal: &[u8; 16]) -> bool {
        self.root == root && self.journal == *journal
    }

    fn open(fs: &F, root: &Path, journal: &[u8; 16]) -> fs::Result<Files<F>> {
        let dir = fs::open_dir_durable(fs, root, &dir(root, journal), DIR_MODE)?;
        let mut files = Files { root: root.to_path_buf(), journal: *journal, dir, file: None, entries: 0, last: 0 };
        let Some((first, entries, last)) = Finder::open(fs, root, journal).newest()? else { return Ok(files) };
        let file = fs.open(&files.dir, OsStr::new(&name(first)), Open::Write)?;
        if fs.stat_file(&file)?.identity.size > offset_of(entries) {
            // What a crash left there.
            fs.set_len(&file, offset_of(entries))?;
        }
        (files.file, files.entries, files.last) = (Some(file), entries, last);
        Ok(files)
    }

    fn add(&mut self, fs: &F, entry: &Entry) -> fs::Result<()> {
        let is_full = self.entries >= LINE_INDEX_ENTRIES_MAX;
        let file = match self.file.take().filter(|_| !is_full) {
            Some(file) => file,
            None => {
                self.entries = 0;
                self.create(fs, entry.first)?
            }
        };
        let file = self.file.insert(file);
        fs::write_all_at(fs, file, &entry.encode(), offset_of(self.entries))?;
        (self.entries, self.last) = (self.entries + 1, entry.last());
        Ok(())
    }

    /// Makes a file. One with its name has no entry that can be read.
    fn create(&mut self, fs: &F, first: u64) -> fs::Result<F::File> {
        let name = name(first);
        let file = match fs.open(&self.dir, OsStr::new(&name), Open::Create { mode: FILE_MODE }) {
            Err(error) if error.is_taken() => {
                let file = fs.open(&self.dir, OsStr::new(&name), Open::Write)?;
                fs.set_len(&file, 0)?;
                file
            }
            created => created?,
        };
        fs::write_all_at(fs, &file, &header(&self.journal), 0)?;
        Ok(file)
    }
}
