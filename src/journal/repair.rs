//! Repair: makes a journal of what can be saved of a damaged one. Only ever on request.
//!
//! Invariants:
//! - Everything is copied, durably, before anything is changed.
//! - The order of effects, each durable before the next: the copy; a new segment; the snapshot with all that was saved, which
//!   makes a journal of it; the removals. Cut off before the snapshot has its name, the journal is as damaged as before, and
//!   a second repair finds all that the first one found.
//! - No LSN that may ever have been given out is given out again.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use super::error::Error;
use super::files::Files;
use super::format::{BLOCK_BYTES, SEGMENT_BYTES};
use super::lock::{lock, read_store, write_lock};
use super::merge::{Expiry, Merged, merge};
use super::names;
use super::rebuild::is_cut_off;
use super::salvage::Salvage;
use super::segment::{self, Predecessor, SegmentHeader};
use super::snapshot::{Contents, Snapshot, Spare, Writer};
use super::state::FileState;
use super::verify::verify;
use super::writer::remove_temporaries;
use super::{foreign_or_missing, random_u32};
use crate::fs::{self, Fs, Open};
use crate::types::Lsn;

/// LSNs that are left out behind the last that is known: more than could have been given out in a segment that is lost.
const LSN_GAP: u64 = 1 << 24;
/// Bytes copied at once.
const COPY_BYTES: usize = 1 << 20;

/// What a repair did.
pub struct Repaired {
    /// What it found.
    pub salvage: Salvage,
    /// What it made of it.
    pub snapshot: Snapshot,
    /// Contents that a damaged snapshot held and that were found nowhere else.
    pub lost_contents: u64,
    /// Files copied.
    pub copied: usize,
}

/// What a repair would find. Changes nothing.
pub fn survey<F: Fs>(fs: &F, path: &Path) -> Result<Salvage, Error> {
    let dir = fs.open_dir(path)?;
    Salvage::read(fs, &dir, &Files::list(fs, &dir)?)
}

/// Copies the journal in `path` to the new directory `copy`, and makes a journal of what can be saved. None if nothing is
/// wrong with it that a start would mind; then nothing was done.
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

/// Begins a new generation with what was saved, in place of `files`; also returns how many contents are lost.
pub(super) fn renew<F: Fs>(
    fs: &F,
    dir: &F::Dir,
    files: &Files,
    lock: &F::File,
    store: [u8; 16],
    salvage: &mut Salvage,
) -> Result<(Snapshot, u64), Error> {
    let lsn = salvage.last_lsn.plus(LSN_GAP);
    let end = Predecessor { first_lsn: lsn, end: BLOCK_BYTES as u64, last_lsn: lsn, chain: 0 };
    let header = SegmentHeader {
        salt: random_u32(fs),
        store,
        number: salvage.last_number + 2,
        first_lsn: lsn.plus(1),
        capacity: SEGMENT_BYTES[0],
        created_at: fs.now(),
        predecessor: Some(end),
    };
    segment::create(fs, dir, &header)?;
    let written = write(fs, dir, salvage, &header, end)?;
    remove_old(fs, dir, files, lsn)?;
    write_lock(fs, dir, lock, &header)?;
    Ok(written)
}

/// Under the lock: copies everything, if anything is wrong, and finds out what can be saved.
fn begin<F: Fs>(
    fs: &F,
    path: &Path,
    dir: &F::Dir,
    copy: &Path,
    lock_is_new: bool,
) -> Result<Option<(Files, usize, Salvage)>, Error> {
    match verify(fs, path) {
        // Nothing is left to be saved; a journal that remembers nothing is no repair.
        Err(lost @ Error::Corrupt(_)) if is_cut_off(fs, dir, &Files::list(fs, dir)?)? => return Err(lost),
        Err(Error::Corrupt(_)) => {}
        verified => return verified.map(|_| None),
    }
    let files = Files::list(fs, dir)?;
    let copied = copy_all(fs, dir, &files, copy, !lock_is_new)?;
    let salvage = Salvage::read(fs, dir, &files)?;
    Ok(Some((files, copied, salvage)))
}

/// True for the segment that a repair makes, which names a predecessor that cannot be: one record in no bytes.
pub(super) fn is_made_by_repair(header: &SegmentHeader) -> bool {
    header.predecessor.is_some_and(|end| end.first_lsn == end.last_lsn && end.end == BLOCK_BYTES as u64)
}

/// Writes the snapshot; also returns how many contents are lost.
fn write<F: Fs>(
    fs: &F,
    dir: &F::Dir,
    salvage: &mut Salvage,
    segment: &SegmentHeader,
    end: Predecessor,
) -> Result<(Snapshot, u64), Error> {
    let new = salvage.rows.sorted();
    let base = salvage.base.as_deref();
    let rows_max = base.map_or(0, |base| base.header().rows) + new.len() as u64;
    let mut writer = Writer::create(fs, dir, end.last_lsn, random_u32(fs), rows_max)?;
    let merged = merge(&mut writer, base, new, &Expiry::of(&salvage.ledger), &AtomicBool::new(false));
    let forgotten = match merged {
        // Everything since `base` was merged anew, what a newer snapshot had forgotten too.
        Ok(Merged::Done { forgotten, .. }) => {
            base.map_or(salvage.forgotten, |base| base.header().forgotten) + forgotten
        }
        Ok(Merged::Stopped) => salvage.forgotten,
        Err(error) => {
            writer.abandon();
            return Err(error);
        }
    };
    // Every content was MANIFESTED once, whatever headers were lost.
    let mut finished = salvage.finished;
    let manifested = &mut finished[FileState::Manifested as usize];
    *manifested = (*manifested).max(writer.rows() + forgotten);
    let contents = Contents {
        store: segment.store,
        segment_number: segment.number - 1,
        segment: end,
        spare: Spare::None,
        forgotten,
        finished,
        directories: std::mem::take(&mut salvage.rows.directories),
        survivors: salvage.ledger.survivors(),
    };
    let snapshot = writer.finish(&contents)?;
    let forgotten_since = forgotten.saturating_sub(salvage.forgotten);
    let lost = salvage.rows_expected.saturating_sub(snapshot.header().rows + forgotten_since);
    Ok((snapshot, lost))
}

/// Copies every file of the journal into a new directory, durably.
fn copy_all<F: Fs>(fs: &F, dir: &F::Dir, files: &Files, copy: &Path, with_lock: bool) -> Result<usize, Error> {
    let (Some(parent), Some(name)) = (copy.parent(), copy.file_name()) else {
        return Err(
            fs::Error { op: "mkdir", path: copy.into(), source: std::io::ErrorKind::InvalidInput.into() }.into()
        );
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

/// Removes what the new snapshot replaces: all of it is in the copy.
fn remove_old<F: Fs>(fs: &F, dir: &F::Dir, files: &Files, lsn: Lsn) -> Result<(), Error> {
    let segments = files.segments.iter().filter(|old| **old <= lsn).map(|old| names::segment(*old));
    let snapshots = files.snapshots.iter().filter(|old| **old < lsn).map(|old| names::snapshot(*old));
    for name in segments.chain(snapshots) {
        fs.unlink(dir, OsStr::new(&name))?;
    }
    fs.sync_dir(dir)?;
    Ok(())
}

/// Where the copy goes if nothing else is said: beside the journal.
pub fn default_copy(path: &Path, now: crate::types::UnixMillis) -> PathBuf {
    let stamp: String = now.rfc3339()[..19].chars().filter(|c| !"-:".contains(*c)).collect();
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".damaged-{stamp}Z"));
    PathBuf::from(name)
}
