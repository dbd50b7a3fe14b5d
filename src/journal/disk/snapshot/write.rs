//! Writing a snapshot, row by row.
//!
//! Invariants:
//! - The file gets its name once it is complete, durable, and read back from the disk; until then it has a temporary
//!   one.
//! - The header is written last, so an incomplete file has none.
//! - The amount of unsynced data is bounded, so that commits at the same time do not wait long for the disk.

use std::ffi::OsStr;

use super::block::{block_checksum, section_checksum};
use super::header::{SnapshotHeader, Span, Spare};
use super::index::Builder;
use super::reader::Snapshot;
use super::row::{Directories, ROW_BYTES_MAX, key_of};
use crate::fs::{self, Fs, Open};
use crate::journal::disk::error::Error;
use crate::journal::disk::format::{BLOCK_BYTES, ROW_BLOCK_HEADER_BYTES, ROW_BLOCK_PAGES_MAX, Section};
use crate::journal::disk::lifecycle::StateCounts;
use crate::journal::disk::names;
use crate::journal::disk::segment::Predecessor;
use crate::types::Lsn;

/// Bytes gathered for one write.
const WRITE_BYTES: usize = 1 << 20;
/// Bytes written between two syncs.
const SYNC_BYTES: u64 = 8 << 20;

const _: () = assert!(ROW_BLOCK_HEADER_BYTES + 2 + ROW_BYTES_MAX <= ROW_BLOCK_PAGES_MAX * BLOCK_BYTES);
const _: () = assert!(ROW_BYTES_MAX <= u16::MAX as usize);

/// The content of a snapshot besides its rows.
pub struct Contents {
    /// The UUID of its journal.
    pub store: [u8; 16],
    /// The number of the last segment folded in.
    pub segment_number: u64,
    /// Where that segment ended.
    pub segment: Predecessor,
    /// The previous generation that is kept.
    pub spare: Spare,
    /// Contents forgotten so far.
    pub forgotten: u64,
    /// The number of the last manifest line that a record numbers; 0 if none does.
    pub last_seq: u64,
    /// Files that are finished and have no surviving record.
    pub finished: StateCounts,
    /// The directories that the rows name.
    pub directories: Directories,
    /// The survivors' bytes, in LSN order.
    pub survivors: Vec<u8>,
}

/// A snapshot under construction.
pub struct Writer<'a, F: Fs> {
    fs: &'a F,
    dir: &'a F::Dir,
    file: F::File,
    lsn: Lsn,
    salt: u32,
    index: Builder,
    /// The block that is being filled.
    block: Vec<u8>,
    block_rows: u16,
    /// Bytes that are to be written at `offset`.
    out: Vec<u8>,
    offset: u64,
    synced: u64,
}

impl<'a, F: Fs> Writer<'a, F> {
    /// Begins the snapshot with this LSN, for about `rows_max` rows.
    pub fn create(fs: &'a F, dir: &'a F::Dir, lsn: Lsn, salt: u32, rows_max: u64) -> Result<Writer<'a, F>, Error> {
        let name = names::snapshot_temporary(lsn);
        // A leftover of an earlier attempt in this process: it is never read.
        if fs.stat(dir, OsStr::new(&name))?.is_some() {
            fs.unlink(dir, OsStr::new(&name))?;
        }
        let file = fs.open(dir, OsStr::new(&name), Open::Create { mode: 0o600 })?;
        let block = vec![0; ROW_BLOCK_HEADER_BYTES];
        let (offset, index) = (BLOCK_BYTES as u64, Builder::new(rows_max));
        Ok(Writer { fs, dir, file, lsn, salt, index, block, block_rows: 0, out: Vec::new(), offset, synced: 0 })
    }

    /// Adds a row. Rows must come in ascending order of their SHA-256, each once.
    pub fn push(&mut self, row: &[u8]) -> Result<(), Error> {
        let Some(key) = key_of(row) else { return Ok(()) };
        assert!(!crate::limits::IS_CHECKED || row.len() <= ROW_BYTES_MAX);
        if self.block_rows > 0 && self.block.len() + 2 + row.len() > BLOCK_BYTES {
            self.end_block()?;
        }
        if self.block_rows == 0 {
            self.index.block(self.index.rows() as u32, self.page());
        }
        self.index.row(&key);
        self.block.extend_from_slice(&(row.len() as u16).to_le_bytes());
        self.block.extend_from_slice(row);
        self.block_rows += 1;
        Ok(())
    }

    /// The number of rows added so far.
    pub fn rows(&self) -> u64 {
        self.index.rows() as u64
    }

    /// The page at which the next block begins.
    fn page(&self) -> u32 {
        ((self.offset + self.out.len() as u64) / BLOCK_BYTES as u64) as u32
    }

    fn end_block(&mut self) -> Result<(), Error> {
        if self.block_rows == 0 {
            return Ok(());
        }
        let page = self.page();
        self.block.resize(self.block.len().next_multiple_of(BLOCK_BYTES), 0);
        let pages = (self.block.len() / BLOCK_BYTES) as u16;
        self.block[4..6].copy_from_slice(&self.block_rows.to_le_bytes());
        self.block[6..8].copy_from_slice(&pages.to_le_bytes());
        let checksum = block_checksum(self.salt, page, &self.block);
        self.block[..4].copy_from_slice(&checksum.to_le_bytes());
        self.out.extend_from_slice(&self.block);
        self.block.clear();
        self.block.resize(ROW_BLOCK_HEADER_BYTES, 0);
        self.block_rows = 0;
        if self.out.len() >= WRITE_BYTES { self.write_out() } else { Ok(()) }
    }

    fn write_out(&mut self) -> Result<(), Error> {
        fs::write_all_at(self.fs, &self.file, &self.out, self.offset)?;
        self.offset += self.out.len() as u64;
        self.out.clear();
        if self.offset - self.synced >= SYNC_BYTES {
            self.fs.sync_data(&self.file)?;
            self.synced = self.offset;
        }
        Ok(())
    }

    /// Appends a list, which begins and ends at a page boundary.
    fn section(&mut self, section: Section, parts: impl Iterator<Item = [u8; 4]>) -> Result<Span, Error> {
        let offset = self.offset + self.out.len() as u64;
        let (mut length, mut checksum) = (0, section_checksum(self.salt, section));
        let mut parts = parts.peekable();
        while parts.peek().is_some() {
            let begun = self.out.len();
            let room = WRITE_BYTES.saturating_sub(begun).max(4) / 4;
            self.out.extend(parts.by_ref().take(room).flatten());
            checksum = crc32c::crc32c_append(checksum, &self.out[begun..]);
            length += (self.out.len() - begun) as u64;
            if self.out.len() >= WRITE_BYTES {
                self.write_out()?;
            }
        }
        self.pad();
        Ok(Span { offset, length, checksum })
    }

    fn bytes(&mut self, section: Section, bytes: &[u8]) -> Result<Span, Error> {
        let offset = self.offset + self.out.len() as u64;
        let checksum = crc32c::crc32c_append(section_checksum(self.salt, section), bytes);
        for part in bytes.chunks(WRITE_BYTES) {
            self.out.extend_from_slice(part);
            if self.out.len() >= WRITE_BYTES {
                self.write_out()?;
            }
        }
        self.pad();
        Ok(Span { offset, length: bytes.len() as u64, checksum })
    }

    fn pad(&mut self) {
        let end = self.offset + self.out.len() as u64;
        let padding = end.next_multiple_of(BLOCK_BYTES as u64) - end;
        self.out.resize(self.out.len() + padding as usize, 0);
    }

    /// Writes the lists and the header, makes the file durable, and reads all of it back from the disk.
    fn complete(&mut self, contents: &Contents) -> Result<(), Error> {
        self.end_block()?;
        let index = std::mem::replace(&mut self.index, Builder::new(0)).finish();
        let blocks = index.blocks.iter().flat_map(|(first, page)| [first.to_le_bytes(), page.to_le_bytes()]);
        let sections = [
            self.section(Section::Blocks, blocks)?,
            self.section(Section::Buckets, index.buckets.iter().map(|number| number.to_le_bytes()))?,
            self.section(Section::Fragments, index.fragments.iter().map(|number| number.to_le_bytes()))?,
            self.bytes(Section::Directories, &contents.directories.encode())?,
            self.bytes(Section::Survivors, &contents.survivors)?,
        ];
        self.write_out()?;
        let header = SnapshotHeader {
            salt: self.salt,
            store: contents.store,
            lsn: self.lsn,
            file_bytes: self.offset,
            created_at: self.fs.now(),
            segment_number: contents.segment_number,
            segment: contents.segment,
            spare: contents.spare,
            rows: index.fragments.len() as u64,
            blocks: index.blocks.len() as u64,
            forgotten: contents.forgotten,
            last_seq: contents.last_seq,
            finished: contents.finished,
            bucket_bits: index.bucket_bits,
            sections,
        };
        drop(index);
        fs::write_all_at(self.fs, &self.file, &header.encode(), 0)?;
        self.fs.sync_all(&self.file)?;
        // The page cache holds what was just written; the read-back must come from the disk.
        self.fs.drop_cache(&self.file)?;
        Ok(())
    }

    /// Finishes the file, gives it its name and makes the name durable. It is read back *before* it gets its name, so a
    /// start never finds a snapshot that has not been checked.
    pub fn finish(mut self, contents: &Contents) -> Result<Snapshot, Error> {
        let temporary = names::snapshot_temporary(self.lsn);
        let name = names::snapshot(self.lsn);
        let named = self.complete(contents).and_then(|()| {
            self.read_back(&temporary)?;
            self.fs.rename(self.dir, OsStr::new(&temporary), self.dir, OsStr::new(&name))?;
            Ok(())
        });
        if let Err(error) = named {
            self.abandon();
            return Err(error);
        }
        // As with a segment: this name may never become durable, so nothing must depend on it.
        self.fs.sync_dir(self.dir).inspect_err(|_| drop(self.fs.unlink(self.dir, OsStr::new(&name))))?;
        Snapshot::open(self.fs, self.dir, self.lsn)
    }

    fn read_back(&self, temporary: &str) -> Result<(), Error> {
        let read = Snapshot::open_as(self.fs, self.dir, temporary, self.lsn).and_then(|snapshot| snapshot.verify());
        read.map_err(|error| match error {
            Error::Corrupt(damage) => Error::NotAsWritten(damage),
            error => error,
        })
    }

    /// Removes the unfinished file; on a full disk its space is needed now. If that fails, the next start removes it.
    pub fn abandon(self) {
        let _ = self.fs.unlink(self.dir, OsStr::new(&names::snapshot_temporary(self.lsn)));
    }
}
