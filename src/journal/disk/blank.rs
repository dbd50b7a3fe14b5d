//! The zeros of the next segment, written before that is needed: a rotation delays the commit that fills a segment, and to
//! write 16 MiB takes longer than everything else in it.
//!
//! Invariants:
//! - A blank has a temporary name, which no reader opens and the next start removes.
//! - Its zeros are durable before it is offered, so a segment made of it is complete when it gets its name.

use std::ffi::OsStr;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use super::names;
use crate::fs::{self, Fs, Open};

/// Bytes zeroed in one write.
const ZERO_CHUNK_BYTES: usize = 1 << 20;
/// Only the owner reads and writes a segment.
pub(super) const SEGMENT_MODE: u32 = 0o600;

/// A file of zeros that will become a segment.
#[derive(Debug)]
pub struct Blank<F: Fs> {
    pub(super) file: F::File,
    pub(super) capacity: u64,
}

impl<F: Fs> Blank<F> {
    /// Its size.
    pub fn capacity(&self) -> u64 {
        self.capacity
    }
}

/// Makes a blank of so many bytes for the journal in `path`, durably. None if it was stopped. The journal's lock must be
/// held meanwhile, and there must be no other blank.
///
/// # Errors
/// What was made is removed. Nothing else has changed.
pub fn make<F: Fs>(fs: &F, path: &Path, capacity: u64, stop: &AtomicBool) -> fs::Result<Option<Blank<F>>> {
    let dir = fs.open_dir(path)?;
    let name = names::blank();
    let name = OsStr::new(&name);
    let file = fs.open(&dir, name, Open::Create { mode: SEGMENT_MODE })?;
    let written = write(fs, &file, capacity, stop);
    if !matches!(written, Ok(true)) {
        // Otherwise it would stay until the next start; on a full disk its space is needed now.
        let _ = fs.unlink(&dir, name);
    }
    Ok(written?.then_some(Blank { file, capacity }))
}

/// False if it was stopped.
fn write<F: Fs>(fs: &F, file: &F::File, capacity: u64, stop: &AtomicBool) -> fs::Result<bool> {
    let mut offset = 0;
    while offset < capacity {
        if stop.load(Ordering::Relaxed) {
            return Ok(false);
        }
        let end = (offset + ZERO_CHUNK_BYTES as u64).min(capacity);
        fill(fs, file, offset, end)?;
        offset = end;
    }
    fs.sync_all(file)?;
    Ok(true)
}

/// Writes zeros from one offset to another.
pub(super) fn fill<F: Fs>(fs: &F, file: &F::File, begin: u64, end: u64) -> fs::Result<()> {
    let zeros = vec![0; ZERO_CHUNK_BYTES.min((end - begin) as usize)];
    let mut offset = begin;
    while offset < end {
        let length = (end - offset).min(zeros.len() as u64);
        fs::write_all_at(fs, file, &zeros[..length as usize], offset)?;
        offset += length;
    }
    Ok(())
}
