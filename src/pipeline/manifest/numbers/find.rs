//! Reads the index.
//!
//! Invariants:
//! - It only reads, and takes no lock: what is torn, or not written yet, is passed over.
//! - Entries come in ascending order; one that does not ascend is passed over.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use super::{DIR, ENTRY_BYTES, Entry, dir, entries_in, first_in, header, name, offset_of};
use crate::fs::{self, Fs, Open};
use crate::journal::from_hex;
use crate::limits::{FOLLOW_STREAMS_MAX, LINE_INDEX_ENTRIES_READ};

/// The journals that have an index below these manifests, at most one more than are followed.
///
/// # Errors
/// The directory of indexes is there and cannot be listed.
pub fn journals<F: Fs>(fs: &F, root: &Path) -> fs::Result<Vec<[u8; 16]>> {
    let dir = match fs.open_dir(&root.join(DIR)) {
        Err(error) if is_without(&error) => return Ok(Vec::new()),
        opened => opened?,
    };
    let mut journals = Vec::new();
    for entry in fs.list(&dir)? {
        journals.extend(entry?.name.to_str().and_then(from_hex));
        if journals.len() > FOLLOW_STREAMS_MAX {
            break;
        }
    }
    journals.sort_unstable();
    Ok(journals)
}

/// True if there is no index that can be read: then lines are found without it.
fn is_without(error: &fs::Error) -> bool {
    error.is_not_found() || error.is_no_directory() || error.is_denied()
}

/// One journal's index.
pub struct Finder<F: Fs> {
    fs: F,
    dir: PathBuf,
    header: [u8; ENTRY_BYTES],
    /// The files, by their first lines, as last listed.
    files: Vec<u64>,
    open: Option<OpenFile<F>>,
    /// The number of the last line of the entries that were read.
    passed: u64,
}

struct OpenFile<F: Fs> {
    first: u64,
    file: F::File,
    /// The place of the next entry.
    next: u64,
    /// Entries that were read ahead, and where the next one begins among them.
    ahead: Vec<u8>,
    taken: usize,
}

impl<F: Fs> Finder<F> {
    /// Opens nothing yet.
    pub fn open(fs: &F, root: &Path, journal: &[u8; 16]) -> Finder<F> {
        let (fs, dir, header) = (fs.clone(), dir(root, journal), header(journal));
        Finder { fs, dir, header, files: Vec::new(), open: None, passed: 0 }
    }

    /// The directory of its files.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Goes to the first entry that ends behind this line.
    ///
    /// # Errors
    /// A file operation fails.
    pub fn seek(&mut self, passed: u64) -> fs::Result<()> {
        self.passed = passed;
        self.open = None;
        self.list()?;
        let after = self.files.partition_point(|first| *first <= passed.saturating_add(1));
        // Files may be empty, or damaged: the entry is in the first one before it that has any.
        for place in (0..after).rev() {
            if let Some(mut open) = self.open_file(self.files[place])? {
                let entries = self.entries(&open)?;
                if let Some(found) = self.last_before(&open, entries, passed.saturating_add(1))? {
                    open.next = found;
                    self.open = Some(open);
                    return Ok(());
                }
            }
        }
        self.open = match self.files.get(after.saturating_sub(1)).copied() {
            Some(first) => self.open_file(first)?,
            None => None,
        };
        Ok(())
    }

    /// The next entry that ends behind the lines so far; None if there is none yet.
    ///
    /// # Errors
    /// A file operation fails.
    pub fn next_entry(&mut self) -> fs::Result<Option<Entry>> {
        let mut is_over = false;
        loop {
            if let Some(open) = &mut self.open {
                while let Some(entry) = read_entry(&self.fs, open, is_over)? {
                    if let Some(entry) = entry.filter(|entry| entry.last() > self.passed) {
                        self.passed = entry.last();
                        return Ok(Some(entry));
                    }
                }
            }
            let before = self.open.as_ref().map(|open| open.first);
            let is_later = |first: &u64| before.is_none_or(|before| *first > before);
            if !self.files.iter().any(is_later) {
                self.list()?;
            }
            let Some(next) = self.files.iter().copied().find(|first| is_later(first)) else { return Ok(None) };
            // The last entries of this file may have been written since it was read to its end.
            if !is_over && self.open.is_some() {
                is_over = true;
                continue;
            }
            is_over = false;
            match self.open_file(next)? {
                Some(open) => self.open = Some(open),
                // Gone, or no file of the index. The next look lists them again.
                None => {
                    self.files.retain(|first| *first != next);
                    if !self.files.iter().any(is_later) {
                        return Ok(None);
                    }
                }
            }
        }
    }

    /// The file with the last entry, how many entries it has, and the number of the last line; None if there is no entry.
    ///
    /// # Errors
    /// A file operation fails.
    pub(super) fn newest(&mut self) -> fs::Result<Option<(u64, u64, u64)>> {
        self.list()?;
        for first in self.files.clone().into_iter().rev() {
            let Some(open) = self.open_file(first)? else { continue };
            let entries = self.entries(&open)?;
            if let Some(place) = self.last_before(&open, entries, u64::MAX)?
                && let Some(entry) = self.entry_at(&open, place)?
            {
                return Ok(Some((first, place + 1, entry.last())));
            }
        }
        Ok(None)
    }

    /// The number of the last line in the index, and when the first line behind `passed` was written, in seconds.
    ///
    /// # Errors
    /// A file operation fails.
    pub fn behind(&mut self, passed: u64) -> fs::Result<Option<(u64, u32)>> {
        let Some((_, _, last)) = self.newest()?.filter(|(.., last)| *last > passed) else { return Ok(None) };
        self.seek(passed)?;
        Ok(self.next_entry()?.map(|entry| (last, entry.written_at)))
    }

    fn list(&mut self) -> fs::Result<()> {
        self.files.clear();
        let dir = match self.fs.open_dir(&self.dir) {
            Err(error) if is_without(&error) => return Ok(()),
            opened => opened?,
        };
        for entry in self.fs.list(&dir)? {
            self.files.extend(entry?.name.to_str().and_then(first_in));
        }
        self.files.sort_unstable();
        Ok(())
    }

    /// None if it is gone, or is no file of this index.
    fn open_file(&self, first: u64) -> fs::Result<Option<OpenFile<F>>> {
        let opened =
            self.fs.open_dir(&self.dir).and_then(|dir| self.fs.open(&dir, OsStr::new(&name(first)), Open::Read));
        let file = match opened {
            Err(error) if is_without(&error) => return Ok(None),
            opened => opened?,
        };
        let mut begin = [0; ENTRY_BYTES];
        let read = fs::read_full_at(&self.fs, &file, &mut begin, 0)?;
        let is_it = read == ENTRY_BYTES && begin == self.header;
        Ok(is_it.then_some(OpenFile { first, file, next: 0, ahead: Vec::new(), taken: 0 }))
    }

    fn entries(&self, open: &OpenFile<F>) -> fs::Result<u64> {
        Ok(entries_in(self.fs.stat_file(&open.file)?.identity.size))
    }

    fn entry_at(&self, open: &OpenFile<F>, place: u64) -> fs::Result<Option<Entry>> {
        let mut bytes = [0; ENTRY_BYTES];
        fs::read_full_at(&self.fs, &open.file, &mut bytes, offset_of(place))?;
        Ok(Entry::decode(&bytes))
    }

    /// The place of the last good entry that begins at this line or before.
    fn last_before(&self, open: &OpenFile<F>, entries: u64, line: u64) -> fs::Result<Option<u64>> {
        let (mut begin, mut end, mut found) = (0, entries, None);
        while begin < end {
            let middle = begin + (end - begin) / 2;
            let mut place = middle;
            let good = loop {
                match self.entry_at(open, place)? {
                    None if place > begin => place -= 1,
                    entry => break entry,
                }
            };
            match good {
                Some(entry) if entry.first > line => end = place,
                good => {
                    found = good.map(|_| place).or(found);
                    begin = middle + 1;
                }
            }
        }
        Ok(found)
    }
}

/// The next entry of the file: `Some(None)` for a damaged one, `None` at the file's end. A damaged entry that is the last one
/// may be on its way to the file, and counts as the end unless `is_over`.
fn read_entry<F: Fs>(fs: &F, open: &mut OpenFile<F>, is_over: bool) -> fs::Result<Option<Option<Entry>>> {
    if open.taken == open.ahead.len() {
        let most = entries_in(u64::MAX).saturating_sub(open.next).min(LINE_INDEX_ENTRIES_READ);
        open.ahead.resize(most as usize * ENTRY_BYTES, 0);
        let read = fs::read_full_at(fs, &open.file, &mut open.ahead, offset_of(open.next))?;
        open.ahead.truncate(read / ENTRY_BYTES * ENTRY_BYTES);
        open.taken = 0;
    }
    let Some(bytes) = open.ahead.get(open.taken..open.taken + ENTRY_BYTES) else { return Ok(None) };
    let entry = Entry::decode(bytes);
    // What is good behind a damaged one shows that it will not change any more.
    let is_behind = |bytes: &[u8]| Entry::decode(bytes).is_some();
    if entry.is_none() && !is_over && !open.ahead[open.taken..].chunks_exact(ENTRY_BYTES).any(is_behind) {
        open.ahead.clear();
        open.taken = 0;
        return Ok(None);
    }
    (open.taken, open.next) = (open.taken + ENTRY_BYTES, open.next + 1);
    Ok(Some(entry))
}
