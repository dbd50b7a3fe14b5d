//! Reads one manifest from any of its lines on, also while it grows.
//!
//! Invariant: a line without its newline is not a line yet.

use std::path::{Path, PathBuf};

use crate::fs::{self, Fs};
use crate::limits::FOLLOW_READ_BYTES;
use crate::pipeline::manifest::read;
use crate::types::FileIdentity;

/// An open manifest.
pub(super) struct Manifest<F: Fs> {
    fs: F,
    path: PathBuf,
    file: F::File,
    /// Offset in the file of the first byte of `bytes`.
    base: u64,
    bytes: Vec<u8>,
    /// Where the next line begins in `bytes`.
    begin: usize,
}

impl<F: Fs> Manifest<F> {
    /// Opens it.
    ///
    /// # Errors
    /// It is not a regular file, is not there, or cannot be read.
    pub(super) fn open(fs: &F, path: &Path) -> Result<Manifest<F>, read::Error> {
        let file = read::open(fs, path)?;
        Ok(Manifest { fs: fs.clone(), path: path.to_path_buf(), file, base: 0, bytes: Vec::new(), begin: 0 })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Bytes.
    ///
    /// # Errors
    /// The system does not say.
    pub(super) fn size(&self) -> fs::Result<u64> {
        Ok(self.identity()?.size)
    }

    /// Which file it is, and when it changed.
    ///
    /// # Errors
    /// The system does not say.
    pub(super) fn identity(&self) -> fs::Result<FileIdentity> {
        Ok(self.fs.stat_file(&self.file)?.identity)
    }

    /// Where the next line begins.
    pub(super) fn offset(&self) -> u64 {
        self.base + self.begin as u64
    }

    /// Goes to the line that begins at `offset`.
    pub(super) fn seek(&mut self, offset: u64) {
        match offset.checked_sub(self.base).and_then(|at| usize::try_from(at).ok()) {
            Some(at) if at <= self.bytes.len() => self.begin = at,
            _ => {
                self.bytes.clear();
                (self.base, self.begin) = (offset, 0);
            }
        }
    }

    /// The next line, without its newline; None if there is none yet.
    ///
    /// # Errors
    /// It cannot be read.
    pub(super) fn next_line(&mut self) -> fs::Result<Option<&[u8]>> {
        let (mut searched, mut is_fresh) = (self.begin, false);
        loop {
            if let Some(length) = memchr::memchr(b'\n', &self.bytes[searched..]) {
                let (begin, end) = (self.begin, searched + length);
                self.begin = end + 1;
                return Ok(Some(&self.bytes[begin..end]));
            }
            if self.begin > 0 {
                self.bytes.drain(..self.begin);
                self.base += self.begin as u64;
                self.begin = 0;
            }
            // What was read of a line before may have changed: a start of the ingestor mends what a power cut has left.
            if !std::mem::replace(&mut is_fresh, true) {
                self.bytes.clear();
            }
            searched = self.bytes.len();
            self.bytes.resize(searched + FOLLOW_READ_BYTES, 0);
            let read = self.fs.read_at(&self.file, &mut self.bytes[searched..], self.base + searched as u64);
            self.bytes.truncate(searched + read.as_ref().map_or(0, |read| *read));
            if read? == 0 {
                return Ok(None);
            }
        }
    }
}
