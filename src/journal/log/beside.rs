//! Reading a journal beside its writer, which may change it meanwhile.
//!
//! Invariant: while somebody writes, what looks damaged is read again before it is called so.

use std::ffi::OsStr;
use std::path::Path;

use super::files::Files;
use super::lock;
use super::replay::{self, Replayed, Visitor};
use crate::fs::{Fs, Open};
use crate::journal::disk::error::Error;
use crate::journal::disk::names;

/// How often a journal that looks damaged is read before it is called so, while somebody may be writing it: the list
/// of segments and each frame may be half old and half new.
pub(in crate::journal) const READS_MAX: usize = 3;

/// Opens the directory for reading only, beside a running writer too. None if there is no journal in it, or no
/// directory.
pub fn read<F: Fs>(fs: &F, path: &Path, visitor: &mut dyn Visitor) -> Result<Option<Replayed>, Error> {
    let mut is_first = true;
    steadily(fs, path, || {
        if !std::mem::take(&mut is_first) {
            visitor.restart();
        }
        read_once(fs, path, visitor)
    })
}

/// Reads again what a writer beside us may have changed under our eyes.
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

/// True if there is a journal (or the sign of a lost one) in the directory: a mistyped path must not make one.
pub fn exists<F: Fs>(fs: &F, path: &Path) -> Result<bool, Error> {
    let dir = match fs.open_dir(path) {
        Err(error) if error.is_not_found() => return Ok(false),
        dir => dir?,
    };
    Ok(!Files::list(fs, &dir)?.is_empty() || fs.stat(&dir, OsStr::new(names::LOCK))?.is_some())
}

/// True if a process holds the journal's lock, as far as the kernel tells.
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

/// Where there is no journal: refuses a directory that holds other things, and one whose journal is lost.
pub(in crate::journal) fn foreign_or_missing<F: Fs>(fs: &F, dir: &F::Dir, files: &Files) -> Result<(), Error> {
    if let Some(name) = &files.foreign {
        return Err(Error::Foreign { dir: fs.dir_path(dir).to_path_buf(), name: name.into() });
    }
    match fs.open(dir, OsStr::new(names::LOCK), Open::Read) {
        Err(error) if error.is_not_found() => Ok(()),
        lock => lock::refuse_missing(fs, dir, &lock?),
    }
}
