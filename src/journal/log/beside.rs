//! Reading a journal while its writer may be changing it.
//!
//! Invariant: while a writer is running, a journal that looks damaged is read again before damage is reported.

use std::ffi::OsStr;
use std::path::Path;

use super::files::Files;
use super::lock;
use super::replay::{self, Replayed, Visitor};
use crate::fs::{Fs, Open};
use crate::journal::disk::error::Error;
use crate::journal::disk::names;

/// How often a journal is read before damage is reported while a writer may be running: the list of segments, and each
/// frame, may be half old and half new.
pub(in crate::journal) const READS_MAX: usize = 3;

/// Reads the journal without changing it; its writer may be running. None if there is no journal in the directory, or
/// no directory.
pub fn read<F: Fs>(fs: &F, path: &Path, visitor: &mut dyn Visitor) -> Result<Option<Replayed>, Error> {
    let mut is_first = true;
    steadily(fs, path, || {
        if !std::mem::take(&mut is_first) {
            visitor.restart();
        }
        read_once(fs, path, visitor)
    })
}

/// Reads again if a running writer may have changed files during the read.
pub(in crate::journal) fn steadily<F: Fs, T>(
    fs: &F,
    path: &Path,
    mut read: impl FnMut() -> Result<T, Error>,
) -> Result<T, Error> {
    for _ in 1..READS_MAX {
        match read() {
            Err(Error::Corrupt(_)) if is_being_written(fs, path) => {}
            Err(Error::Io(error)) if error.is_not_found() => {}
            read => return read,
        }
    }
    read()
}

/// True if there is a journal (or the lock file of a lost one) in the directory: a mistyped path must not create a
/// journal.
pub fn exists<F: Fs>(fs: &F, path: &Path) -> Result<bool, Error> {
    let dir = match fs.open_dir(path) {
        Err(error) if error.is_not_found() => return Ok(false),
        dir => dir?,
    };
    Ok(!Files::list(fs, &dir)?.is_empty() || fs.stat(&dir, OsStr::new(names::LOCK))?.is_some())
}

/// True if the kernel reports a process that holds the journal's lock.
pub(in crate::journal) fn is_being_written<F: Fs>(fs: &F, path: &Path) -> bool {
    let lock = fs.open_dir(path).and_then(|dir| fs.stat(&dir, OsStr::new(names::LOCK)));
    lock.is_ok_and(|lock| lock.is_some_and(|stat| fs.lock_holder(&stat.identity).is_some()))
}

fn read_once<F: Fs>(fs: &F, path: &Path, visitor: &mut dyn Visitor) -> Result<Option<Replayed>, Error> {
    let Some((dir, files)) = open_existing(fs, path)? else { return Ok(None) };
    replay::replay(fs, &dir, &files, None, visitor).map(Some)
}

/// The directory and its files, if there is a journal in it.
pub(in crate::journal) fn open_existing<F: Fs>(fs: &F, path: &Path) -> Result<Option<(F::Dir, Files)>, Error> {
    let dir = match fs.open_dir(path) {
        Err(error) if error.is_not_found() => return Ok(None),
        dir => dir?,
    };
    let files = Files::list(fs, &dir)?;
    if files.is_empty() {
        return foreign_or_missing(fs, &dir, &files).map(|()| None);
    }
    Ok(Some((dir, files)))
}

/// For a directory without a journal: refuses it if it holds foreign files or its journal is lost.
pub(in crate::journal) fn foreign_or_missing<F: Fs>(fs: &F, dir: &F::Dir, files: &Files) -> Result<(), Error> {
    if let Some(name) = &files.foreign {
        return Err(Error::Foreign { dir: fs.dir_path(dir).to_path_buf(), name: name.into() });
    }
    match fs.open(dir, OsStr::new(names::LOCK), Open::Read) {
        Err(error) if error.is_not_found() => Ok(()),
        lock => lock::refuse_missing(fs, dir, &lock?),
    }
}
