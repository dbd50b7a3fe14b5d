//! Reads the intact parts of a damaged snapshot: every block of rows whose checksum is correct, whatever else is wrong.
//!
//! Invariant: only blocks and lists whose checksum is correct are used.

use std::ffi::OsStr;

use super::block::{block_checksum, nth};
use super::header::{SnapshotHeader, Span, Spare};
use super::index::RowIndex;
use super::reader::{OnRecord, ReadAt, Snapshot, read_header};
use super::row::{Directories, Row};
use crate::fs::{self, Fs, Open};
use crate::journal::disk::error::Error;
use crate::journal::disk::format::{BLOCK_BYTES, ROW_BLOCK_PAGES_MAX, Section};
use crate::journal::disk::frame::{u16_at, u32_at};
use crate::journal::disk::lifecycle::StateCounts;
use crate::journal::disk::segment::Predecessor;
use crate::journal::disk::{names, salt};
use crate::types::{Lsn, UnixMillis};

/// A snapshot that may be damaged anywhere.
pub(in crate::journal) struct Damaged {
    snapshot: Snapshot,
    /// Only a valid header says where the lists are and how many rows there should be.
    header_is_right: bool,
    knows_directories: bool,
}

impl Damaged {
    /// Opens the file with the name of the snapshot of `lsn`.
    ///
    /// # Errors
    /// Newer, if a newer version wrote it; I/O. Damage is not an error.
    pub(in crate::journal) fn open<F: Fs>(fs: &F, dir: &F::Dir, lsn: Lsn) -> Result<Damaged, Error> {
        let name = names::snapshot(lsn);
        let path = fs.dir_path(dir).join(&name);
        let file = fs.open(dir, OsStr::new(&name), Open::Read)?;
        let file_bytes = fs.stat_file(&file)?.identity.size;
        let header = match read_header(fs, &file, &path, lsn) {
            Err(Error::Corrupt(_)) => None,
            header => Some(header?),
        };
        let fs = fs.clone();
        let read_at: ReadAt = Box::new(move |buffer, offset| fs::read_full_at(&fs, &file, buffer, offset));
        let header_is_right = header.is_some();
        let header = match header {
            Some(header) => header,
            None => match find_salt(&read_at, file_bytes)? {
                Some(salt) => made_up(lsn, file_bytes, salt),
                // No block can be checked without the salt.
                None => made_up(lsn, 0, 0),
            },
        };
        let index = RowIndex {
            bucket_bits: header.bucket_bits,
            buckets: Vec::new(),
            fragments: Vec::new(),
            blocks: Vec::new(),
        };
        let mut snapshot = Snapshot { path, header, index, directories: Directories::default(), read_at };
        let knows_directories = header_is_right && snapshot.load_directories().is_ok();
        Ok(Damaged { snapshot, header_is_right, knows_directories })
    }

    /// The header, if it is valid.
    pub(in crate::journal) fn header(&self) -> Option<&SnapshotHeader> {
        self.header_is_right.then_some(&self.snapshot.header)
    }

    /// True if the directories that its rows name can be read.
    pub(in crate::journal) fn knows_directories(&self) -> bool {
        self.knows_directories
    }

    /// Passes the surviving records to `on_record`. Returns false if their list is damaged; the caller must then
    /// discard what it received.
    pub(in crate::journal) fn survivors(&self, on_record: OnRecord<'_>) -> Result<bool, Error> {
        if !self.header_is_right {
            return Ok(false);
        }
        match self.snapshot.survivors(on_record) {
            Err(Error::Corrupt(_)) => Ok(false),
            told => told.map(|()| true),
        }
    }

    /// Passes every row of every valid block to `on_row`; returns the number of rows. If the list of directories is
    /// lost, the rows name an impossible directory instead.
    pub(in crate::journal) fn rows(&self, on_row: &mut dyn FnMut(Row)) -> Result<u64, Error> {
        let stand_in = Directories::lost();
        let directories = if self.knows_directories { &self.snapshot.directories } else { &stand_in };
        let (mut page, mut count) = (1, 0);
        let mut buffer = vec![0; ROW_BLOCK_PAGES_MAX * BLOCK_BYTES];
        while u64::from(page) * (BLOCK_BYTES as u64) < self.snapshot.header.rows_extent().end {
            let read = (self.snapshot.read_at)(&mut buffer, u64::from(page) * BLOCK_BYTES as u64)?;
            let Some(block) = block_at(&buffer[..read], page, self.snapshot.header.salt) else {
                page += 1;
                continue;
            };
            for number in 0..u32::from(u16_at(block, 4)) {
                if let Some(row) = nth(block, number).and_then(|row| Row::decode(row, directories)) {
                    on_row(row);
                    count += 1;
                }
            }
            page += (block.len() / BLOCK_BYTES) as u32;
        }
        Ok(count)
    }
}

impl Directories {
    /// Stands in for the directories if their list is lost.
    fn lost() -> Directories {
        const NUMBERS: u64 = 1 << 16;
        Directories::repeated(b"(lost)", NUMBERS)
    }
}

/// The valid block of rows at the front of `bytes`, if there is one.
fn block_at(bytes: &[u8], page: u32, salt: u32) -> Option<&[u8]> {
    let pages = usize::from(u16_at(bytes, 6));
    let block = bytes.get(..pages * BLOCK_BYTES).filter(|block| !block.is_empty())?;
    (u32_at(block, 0) == block_checksum(salt, page, block)).then_some(block)
}

/// The salt that makes most blocks valid.
fn find_salt(read_at: &ReadAt, file_bytes: u64) -> Result<Option<u32>, Error> {
    let mut votes = salt::Votes::default();
    let mut buffer = vec![0; ROW_BLOCK_PAGES_MAX * BLOCK_BYTES];
    for page in (1..).take((file_bytes / BLOCK_BYTES as u64) as usize).take(salt::VOTERS_MAX) {
        let read = read_at(&mut buffer, u64::from(page) * BLOCK_BYTES as u64)?;
        let pages = usize::from(u16_at(&buffer[..read], 6));
        if let Some(block) = buffer[..read].get(..pages * BLOCK_BYTES).filter(|block| block.len() > 4) {
            let mut covered = u32::to_le_bytes(page).to_vec();
            covered.extend_from_slice(&block[4..]);
            votes.cast(salt::from_checksum(u32_at(block, 0), &covered));
        }
    }
    Ok(votes.winner())
}

/// Stands in for a header that is damaged: the whole file may be rows.
fn made_up(lsn: Lsn, file_bytes: u64, salt: u32) -> SnapshotHeader {
    SnapshotHeader {
        salt,
        store: [0; 16],
        lsn,
        file_bytes,
        created_at: UnixMillis(0),
        segment_number: 0,
        segment: Predecessor { first_lsn: lsn, end: 0, last_lsn: lsn, chain: 0 },
        spare: Spare::None,
        rows: 0,
        blocks: 0,
        forgotten: 0,
        last_seq: 0,
        finished: StateCounts::default(),
        bucket_bits: 0,
        sections: [Span { offset: file_bytes, length: 0, checksum: 0 }; Section::COUNT],
    }
}
