//! Reads every byte of a journal, including those that a start does not read.
//!
//! Invariants: it never writes; the parts that a start reads are checked with the same code, to the same result.

use std::path::Path;

use crate::fs::Fs;
use crate::journal::disk::error::{Corrupt, Error};
use crate::journal::disk::snapshot::{Snapshot, Spare};
use crate::journal::log::beside::{READS_MAX, is_being_written, open_existing, steadily};
use crate::journal::log::files::Files;
use crate::journal::log::replay::{Replayed, replay};
use crate::journal::memory::index::Index;
use crate::types::Lsn;

/// The result for a journal whose newest generation is intact.
#[derive(Debug)]
pub struct Verified {
    /// The newest generation, as a start reads it.
    pub replayed: Replayed,
    /// The previous generation; None if there is none.
    pub spare: Option<SpareVerdict>,
}

/// The result for the spare generation.
#[derive(Debug)]
pub enum SpareVerdict {
    /// A repair could rely on it.
    Intact(Replayed),
    /// A start does not need it; a repair might.
    Damaged(Box<Corrupt>),
}

/// Reads everything; a writer may be running. None if there is no journal.
///
/// # Errors
/// Corrupt or newer, if a start would refuse the journal or fail because of it later.
pub fn verify<F: Fs>(fs: &F, path: &Path) -> Result<Option<Verified>, Error> {
    let mut verified = steadily(fs, path, || verify_once(fs, path))?;
    for _ in 1..READS_MAX {
        let is_damaged = |verified: &Verified| matches!(verified.spare, Some(SpareVerdict::Damaged(_)));
        // A compaction in another process may have removed that generation since its snapshot was read.
        if !verified.as_ref().is_some_and(is_damaged) || !is_being_written(fs, path) {
            break;
        }
        verified = steadily(fs, path, || verify_once(fs, path))?;
    }
    Ok(verified)
}

fn verify_once<F: Fs>(fs: &F, path: &Path) -> Result<Option<Verified>, Error> {
    let Some((dir, files)) = open_existing(fs, path)? else { return Ok(None) };
    let replayed = replay(fs, &dir, &files, None, &mut Index::default())?;
    let Some(snapshot) = replayed.snapshot.clone() else { return Ok(Some(Verified { replayed, spare: None })) };
    snapshot.verify()?;
    let spare = match snapshot.header().spare {
        Spare::None => None,
        spare => match verify_spare(fs, &dir, &files, spare, &snapshot) {
            Ok(spare) => Some(SpareVerdict::Intact(spare)),
            Err(Error::Corrupt(damage)) => Some(SpareVerdict::Damaged(damage)),
            Err(error) => return Err(error),
        },
    };
    Ok(Some(Verified { replayed, spare }))
}

fn verify_spare<F: Fs>(
    fs: &F,
    dir: &F::Dir,
    files: &Files,
    spare: Spare,
    newest: &Snapshot,
) -> Result<Replayed, Error> {
    let begin = spare.begins_after().unwrap_or(Lsn(0));
    let until = newest.header().lsn.plus(1);
    let mut files = files.clone();
    files.snapshots = if begin > Lsn(0) { vec![begin] } else { Vec::new() };
    files.segments.retain(|lsn| *lsn > begin);
    let replayed = match replay(fs, dir, &files, Some(until), &mut Index::default()) {
        // The newest snapshot names it, so it must exist.
        Err(Error::Io(error)) if error.is_not_found() && begin > Lsn(0) => {
            return Err(newest.spare_is_missing(begin));
        }
        replayed => replayed?,
    };
    if replayed.last.as_ref().map(|(_, end)| end) != Some(&newest.header().segment) {
        return Err(newest.spare_is_missing(begin));
    }
    if let Some(snapshot) = &replayed.snapshot {
        snapshot.verify()?;
    }
    Ok(replayed)
}
