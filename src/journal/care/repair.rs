//! Repair: makes a new journal from the intact parts of a damaged one. Only ever on request.
//!
//! Invariants:
//! - Everything is copied, durably, before anything is changed.
//! - The order of effects, each durable before the next: the copy; a new segment; the snapshot with everything that was
//!   saved, which completes the journal; the removals. If it is cut off before the snapshot has its name, the journal
//!   is as damaged as before, and a second repair finds everything that the first one found.
//! - No LSN that may ever have been used is used again.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use super::renew::{is_cut_off, renew};
use super::salvage::Salvage;
use super::verify::verify;
use crate::fs::Syscall;
use crate::journal::disk::error::Error;
use crate::journal::disk::names;
use crate::journal::disk::snapshot::Snapshot;
use crate::journal::log::files::{Files, remove_temporaries};
use crate::journal::log::lock::{lock, read_store};

use crate::fs::{self, Fs, Open};
use crate::journal::log::beside::foreign_or_missing;

/// Bytes copied at once.
const COPY_BYTES: usize = 1 << 20;

/// The result of a repair.
pub struct Repaired {
    /// The intact parts that it found.
    pub salvage: Salvage,
    /// The new snapshot.
    pub snapshot: Snapshot,
    /// Contents of a damaged snapshot that were not found anywhere.
    pub lost_contents: u64,
    /// Files copied.
    pub copied: usize,
}

/// Returns what a repair would find. Changes nothing.
pub fn preview<F: Fs>(fs: &F, path: &Path) -> Result<Salvage, Error> {
    let dir = fs.open_dir(path)?;
    Salvage::read(fs, &dir, &Files::list(fs, &dir)?)
}

/// Copies the journal in `path` to the new directory `copy`, and makes a new journal from its intact parts. None if it
/// has no damage that makes a start fail, now or later; nothing was done then.
///
/// # Errors
/// Nothing is changed if the journal is locked, lost, or written by a newer version, or if the copy cannot be made.
pub fn repair<F: Fs>(fs: &F, path: &Path, copy: &Path) -> Result<Option<Repaired>, Error> {
    let dir = fs.open_dir(path)?;
    let files = Files::list(fs, &dir)?;
    if files.is_empty() {
        return foreign_or_missing(fs, &dir, &files).map(|()| None);
    }
    let (lock, lock_is_new) = lock(fs, &dir)?;
    let begun = begin(fs, path, &dir, copy, lock_is_new);
    if lock_is_new && !matches!(begun, Ok(Some(_))) {
        let _ = fs.unlink(&dir, OsStr::new(names::LOCK));
    }
    let Some((files, copied, mut salvage)) = begun? else { return Ok(None) };
    remove_temporaries(fs, &dir)?;
    let store = match (salvage.store, read_store(fs, &lock)?) {
        (Some(store), _) => store,
        (None, Some(text)) => u128::from_str_radix(&text, 16).map_or_else(|_| fs.random(), u128::to_be_bytes),
        (None, None) => fs.random(),
    };
    let (snapshot, lost_contents) = renew(fs, &dir, &files, &lock, store, &mut salvage)?;
    Ok(Some(Repaired { salvage, snapshot, lost_contents, copied }))
}

/// Under the lock: if the journal is damaged, copies everything and reads the intact parts.
fn begin<F: Fs>(
    fs: &F,
    path: &Path,
    dir: &F::Dir,
    copy: &Path,
    lock_is_new: bool,
) -> Result<Option<(Files, usize, Salvage)>, Error> {
    match verify(fs, path) {
        // Nothing is left to save, and a journal without any content would not be a repair.
        Err(lost @ Error::Corrupt(_)) if is_cut_off(fs, dir, &Files::list(fs, dir)?)? => return Err(lost),
        Err(Error::Corrupt(_)) => {}
        verified => return verified.map(|_| None),
    }
    let files = Files::list(fs, dir)?;
    let copied = copy_all(fs, dir, &files, copy, !lock_is_new)?;
    let salvage = Salvage::read(fs, dir, &files)?;
    Ok(Some((files, copied, salvage)))
}

/// Copies every file of the journal into a new directory, durably.
fn copy_all<F: Fs>(fs: &F, dir: &F::Dir, files: &Files, copy: &Path, with_lock: bool) -> Result<usize, Error> {
    let (Some(parent), Some(name)) = (copy.parent(), copy.file_name()) else {
        return Err(fs::Error {
            op: Syscall::Mkdir,
            path: copy.into(),
            source: std::io::ErrorKind::InvalidInput.into(),
        }
        .into());
    };
    let parent = fs.open_dir(parent)?;
    fs.create_dir(&parent, name, fs::PRIVATE_MODE)?;
    let to = fs.open_dir(copy)?;
    let mut names: Vec<OsString> = Vec::new();
    if with_lock {
        names.push(names::LOCK.into());
    }
    names.extend(files.segments.iter().map(|lsn| names::segment(*lsn).into()));
    names.extend(files.snapshots.iter().map(|lsn| names::snapshot(*lsn).into()));
    for name in &names {
        copy_file(fs, dir, &to, name)?;
    }
    fs.sync_dir(&to)?;
    fs.sync_dir(&parent)?;
    Ok(names.len())
}

fn copy_file<F: Fs>(fs: &F, from: &F::Dir, to: &F::Dir, name: &OsStr) -> Result<(), Error> {
    let source = fs.open(from, name, Open::Read)?;
    let target = fs.open(to, name, Open::Create { mode: 0o600 })?;
    let bytes = fs.stat_file(&source)?.identity.size;
    let mut buffer = vec![0; COPY_BYTES.min(bytes as usize)];
    let mut offset = 0;
    while offset < bytes {
        let read = fs::read_full_at(fs, &source, &mut buffer, offset)?;
        if read == 0 {
            break;
        }
        fs::write_all_at(fs, &target, &buffer[..read], offset)?;
        offset += read as u64;
    }
    fs.sync_all(&target)?;
    Ok(())
}

/// The default directory for the copy: beside the journal.
pub fn default_copy(path: &Path, now: crate::types::UnixMillis) -> PathBuf {
    let stamp: String = now.rfc3339()[..19].chars().filter(|c| !"-:".contains(*c)).collect();
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".damaged-{stamp}Z"));
    PathBuf::from(name)
}
