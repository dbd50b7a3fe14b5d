//! Writes a new generation from saved records, or from rows of other sources: the last step of repair and rebuild.
//!
//! Invariants:
//! - The order of effects, each durable before the next: a new segment; the snapshot, which completes the journal; the
//!   removal of the files that it replaces.
//! - No LSN that may ever have been used is used again, and no number of a manifest line.

use std::ffi::OsStr;
use std::sync::atomic::AtomicBool;

use super::merge::{Expiry, Merged, merge};
use super::salvage::Salvage;
use crate::fs::Fs;
use crate::journal::disk::error::Error;
use crate::journal::disk::format::{BLOCK_BYTES, SEGMENT_BYTES};
use crate::journal::disk::ids::random_u32;
use crate::journal::disk::lifecycle::FileState;
use crate::journal::disk::names;
use crate::journal::disk::segment::{self, Predecessor, SegmentHeader, SegmentReader, is_made_by_repair};
use crate::journal::disk::snapshot::{Contents, Snapshot, Spare, Writer};
use crate::journal::log::files::Files;
use crate::journal::log::lock::write_lock;
use crate::types::Lsn;

/// LSNs, and numbers of manifest lines, that are skipped after the last known one: more than a lost segment can have used.
pub(super) const LSN_GAP: u64 = 1 << 24;

/// Writes a new generation with the saved content, in place of `files`. Also returns how many contents are lost.
pub(in crate::journal) fn renew<F: Fs>(
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
    segment::create(fs, dir, &header, None)?;
    let written = write(fs, dir, salvage, &header, end)?;
    remove_old(fs, dir, files, lsn)?;
    write_lock(fs, dir, lock, &header)?;
    Ok(written)
}

/// Writes the snapshot. Also returns how many contents are lost.
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
    let merged = merge(&mut writer, base, new, &Expiry::of(&salvage.history), &AtomicBool::new(false));
    let forgotten = match merged {
        // Everything since `base` was merged again, including contents that a newer snapshot had forgotten.
        Ok(Merged::Done { forgotten, .. }) => {
            base.map_or(salvage.sums.forgotten, |base| base.header().forgotten) + forgotten
        }
        Ok(Merged::Stopped) => salvage.sums.forgotten,
        Err(error) => {
            writer.abandon();
            return Err(error);
        }
    };
    // Every content was MANIFESTED once, even if the header that counted it is lost.
    let mut finished = salvage.sums.finished;
    let manifested = &mut finished[FileState::Manifested as usize];
    *manifested = (*manifested).max(writer.rows() + forgotten);
    let contents = Contents {
        store: segment.store,
        segment_number: segment.number - 1,
        segment: end,
        spare: Spare::None,
        forgotten,
        finished,
        last_seq: last_seq(salvage),
        directories: std::mem::take(&mut salvage.rows.directories),
        survivors: salvage.history.survivors(),
    };
    let snapshot = writer.finish(&contents)?;
    let forgotten_since = forgotten.saturating_sub(salvage.sums.forgotten);
    let lost = salvage.sums.rows_expected.saturating_sub(snapshot.header().rows + forgotten_since);
    Ok((snapshot, lost))
}

/// The number of the last manifest line, or a greater one if records that may have numbered lines are lost.
fn last_seq(salvage: &Salvage) -> u64 {
    let last_seq = salvage.history.last_seq();
    let was_numbered = salvage.may_be_numbered || last_seq > 0 || salvage.records == 0;
    let may_lack = was_numbered && !salvage.lost.is_empty();
    if may_lack { last_seq + LSN_GAP } else { last_seq }
}

/// Removes the files that the new snapshot replaces. A repair has copied them before.
fn remove_old<F: Fs>(fs: &F, dir: &F::Dir, files: &Files, lsn: Lsn) -> Result<(), Error> {
    let segments = files.segments.iter().filter(|old| **old <= lsn).map(|old| names::segment(*old));
    let snapshots = files.snapshots.iter().filter(|old| **old < lsn).map(|old| names::snapshot(*old));
    for name in segments.chain(snapshots) {
        fs.unlink(dir, OsStr::new(&name))?;
    }
    fs.sync_dir(dir)?;
    Ok(())
}

/// True if the directory holds only the leftovers of a rebuild that was cut off.
pub(in crate::journal) fn is_cut_off<F: Fs>(fs: &F, dir: &F::Dir, files: &Files) -> Result<bool, Error> {
    if !files.snapshots.is_empty() {
        return Ok(false);
    }
    for lsn in &files.segments {
        if cut_off(fs, dir, *lsn)?.is_none() {
            return Ok(false);
        }
    }
    Ok(true)
}

/// The number and the journal's UUID of a segment that a rebuild made before it was cut off; None if it is something
/// else.
pub(in crate::journal) fn cut_off<F: Fs>(fs: &F, dir: &F::Dir, lsn: Lsn) -> Result<Option<(u64, [u8; 16])>, Error> {
    let mut reader = match SegmentReader::open(fs, dir, lsn) {
        Err(Error::Corrupt(_)) => return Ok(None),
        reader => reader?,
    };
    let header = reader.header().clone();
    if !is_made_by_repair(&header) {
        return Ok(None);
    }
    let (nonzero_end, _) = reader.examine_rest(BLOCK_BYTES as u64, &reader.start())?;
    Ok(nonzero_end.is_none().then_some((header.number, header.store)))
}
