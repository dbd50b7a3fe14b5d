//! Reads the files themselves.

use std::ffi::{OsStr, OsString};
use std::path::Path;

use crate::Error;
use crate::fs::{FileKind, Fs};
use crate::pipeline::dirs::split;
use crate::types::FileIdentity;

/// Size of a file; None if it does not exist.
pub(super) fn stat<F: Fs>(fs: &F, path: &Path) -> Result<Option<u64>, Error> {
    Ok(identity(fs, path)?.map(|(identity, _)| identity.size))
}

pub(super) fn identity<F: Fs>(fs: &F, path: &Path) -> Result<Option<(FileIdentity, FileKind)>, Error> {
    let Ok((dir, name)) = split(path) else { return Ok(None) };
    match fs.open_dir(dir) {
        Err(error) if error.is_not_to_be_read() => Ok(None),
        dir => Ok(fs.stat(&dir?, name)?.map(|stat| (stat.identity, stat.kind))),
    }
}

pub(super) fn read<F: Fs>(fs: &F, path: &Path, bytes_max: usize) -> Option<Vec<u8>> {
    let (dir, name) = split(path).ok()?;
    let file = fs.open(&fs.open_dir(dir).ok()?, name, crate::fs::Open::Read).ok()?;
    let mut bytes = vec![0; bytes_max];
    let read = crate::fs::read_full_at(fs, &file, &mut bytes, 0).ok()?;
    bytes.truncate(read);
    Some(bytes)
}

/// The names in the directory of `path` that `is_meant`, sorted.
pub(super) fn names_beside<F: Fs>(
    fs: &F,
    path: &Path,
    is_meant: &dyn Fn(&OsStr) -> bool,
) -> Result<Vec<OsString>, Error> {
    let (dir, _) = split(path)?;
    let names = fs.list(&fs.open_dir(dir)?)?.map(|entry| Ok(entry?.name)).collect::<Result<Vec<_>, Error>>()?;
    let mut meant: Vec<OsString> = names.into_iter().filter(|name| is_meant(name)).collect();
    meant.sort_unstable();
    Ok(meant)
}
