//! The lock file: names the process that writes, and the journal's UUID.
//!
//! Invariant: it never names a journal that does not exist yet.

use std::ffi::OsStr;

use crate::fs::{self, Fs, Open};
use crate::journal::disk::error::{Corrupt, Damage, Error};
use crate::journal::disk::ids::hex;
use crate::journal::disk::names;
use crate::journal::disk::segment::SegmentHeader;
use crate::types::Lsn;

/// Takes the journal's lock. Also returns whether its file is new.
pub(in crate::journal) fn lock<F: Fs>(fs: &F, dir: &F::Dir) -> Result<(F::File, bool), Error> {
    let name = OsStr::new(names::LOCK);
    let (file, is_new) = match fs.open(dir, name, Open::Create { mode: 0o600 }) {
        Err(error) if error.is_taken() => (fs.open(dir, name, Open::Write)?, false),
        created => (created?, true),
    };
    if fs.try_lock_file(&file)? {
        return Ok((file, is_new));
    }
    let mut text = [0; 64];
    let read = fs::read_full_at(fs, &file, &mut text, 0)?;
    // Prefer the kernel's answer: the pid in the file may be that of an earlier holder.
    let held = fs.lock_holder(&fs.stat_file(&file)?.identity);
    let pid = held
        .or_else(|| std::str::from_utf8(&text[..read]).ok().and_then(|text| text.lines().next()?.trim().parse().ok()));
    Err(Error::Locked { path: fs.dir_path(dir).join(names::LOCK), pid })
}

/// The journal's UUID from the lock file, if a journal was ever completed here.
pub(in crate::journal) fn read_store<F: Fs>(fs: &F, lock: &F::File) -> Result<Option<String>, Error> {
    let mut text = [0; 64];
    let read = fs::read_full_at(fs, lock, &mut text, 0)?;
    let store = std::str::from_utf8(&text[..read]).ok().and_then(|text| text.lines().nth(1));
    Ok(store.filter(|store| store.len() == 32).map(str::to_owned))
}

/// Writes pid and UUID into the lock file: the pid for the message of a process that is refused; the UUID to
/// distinguish a directory whose segments are all lost from one that never had any.
pub(in crate::journal) fn write_lock<F: Fs>(
    fs: &F,
    dir: &F::Dir,
    lock: &F::File,
    header: &SegmentHeader,
) -> Result<(), Error> {
    let first_time = read_store(fs, lock)?.is_none();
    let text = format!("{:>10}\n{}\n", std::process::id(), hex(&header.store));
    fs::write_all_at(fs, lock, text.as_bytes(), 0)?;
    if first_time {
        fs.sync_all(lock)?;
        fs.sync_dir(dir)?;
    }
    Ok(())
}

/// In a directory without segments: refuses if the lock file names a journal.
pub(in crate::journal) fn refuse_missing<F: Fs>(fs: &F, dir: &F::Dir, lock: &F::File) -> Result<(), Error> {
    let Some(store) = read_store(fs, lock)? else { return Ok(()) };
    let file = fs.dir_path(dir).join(names::LOCK);
    Err(Corrupt { file, offset: 0, lsn: Lsn(1), damage: Damage::JournalMissing(store) }.into())
}
