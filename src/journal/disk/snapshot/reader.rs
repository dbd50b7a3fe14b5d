//! Reading a snapshot: header and index when it is opened, a row when it is requested.
//!
//! Invariant: only data whose checksum is correct is handed out.

use std::ffi::OsStr;
use std::fmt;
use std::path::PathBuf;

use super::block::{block_checksum, nth, section_checksum};
use super::header::{SnapshotHeader, Span};
use super::index::{RowIndex, Which};
use super::row::{Directories, Row, key_of};
use super::survivor::Survivor;
use crate::fs::{self, Fs, Open};
use crate::journal::disk::error::{Corrupt, Damage, Error, Rejected};
use crate::journal::disk::format::{BLOCK_BYTES, ROW_BLOCK_HEADER_BYTES, ROW_BLOCK_PAGES_MAX, Section};
use crate::journal::disk::frame::{u16_at, u32_at};
use crate::journal::disk::names;
use crate::journal::disk::record::Record;
use crate::journal::disk::segment::HeaderFault;
use crate::types::{Key, Lsn, UnixMillis};

/// Bytes of a list read at once.
const CHUNK_BYTES: usize = 256 << 10;

/// Reads a file at an offset until the buffer is full or the file ends. A closure, so that the type of a snapshot does
/// not depend on the file system's.
pub(super) type ReadAt = Box<dyn Fn(&mut [u8], u64) -> fs::Result<usize> + Send + Sync>;

/// Receives a record, its LSN, and the time at which it was written.
pub(super) type OnRecord<'a> = &'a mut dyn FnMut(Lsn, UnixMillis, Record) -> Result<(), Rejected>;

/// An open snapshot.
pub struct Snapshot {
    pub(super) path: PathBuf,
    pub(super) header: SnapshotHeader,
    pub(super) index: RowIndex,
    pub(super) directories: Directories,
    pub(super) read_at: ReadAt,
}

impl fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Snapshot").field("path", &self.path).field("header", &self.header).finish_non_exhaustive()
    }
}

/// Reads and checks the header of a snapshot, and checks that the file's length is the one in the header.
pub(super) fn read_header<F: Fs>(
    fs: &F,
    file: &F::File,
    path: &std::path::Path,
    lsn: Lsn,
) -> Result<SnapshotHeader, Error> {
    let mut block = vec![0; BLOCK_BYTES];
    let read = fs::read_full_at(fs, file, &mut block, 0)?;
    let corrupt = |damage| Error::from(Corrupt { file: path.to_path_buf(), offset: 0, lsn, damage });
    let header = SnapshotHeader::decode(&block[..read]).map_err(|fault| match fault {
        HeaderFault::Damaged(what) => corrupt(Damage::SnapshotHeader(what)),
        HeaderFault::Newer(what) => Error::Newer { file: path.to_path_buf(), what },
    })?;
    if header.lsn != lsn {
        return Err(corrupt(Damage::SnapshotHeader("its LSN is not the one in its name")));
    }
    let (expected, actual) = (header.file_bytes, fs.stat_file(file)?.identity.size);
    if actual != expected {
        return Err(corrupt(Damage::SnapshotLength { expected, actual }));
    }
    Ok(header)
}

impl Snapshot {
    /// Opens the snapshot with this LSN.
    ///
    /// # Errors
    /// Corrupt if header, length or index are not as they were written. Rows and surviving records are not checked.
    pub fn open<F: Fs>(fs: &F, dir: &F::Dir, lsn: Lsn) -> Result<Snapshot, Error> {
        Snapshot::open_as(fs, dir, &names::snapshot(lsn), lsn)
    }

    /// Opens a snapshot under any name.
    pub(super) fn open_as<F: Fs>(fs: &F, dir: &F::Dir, name: &str, lsn: Lsn) -> Result<Snapshot, Error> {
        let path = fs.dir_path(dir).join(name);
        let file = fs.open(dir, OsStr::new(name), Open::Read)?;
        let header = read_header(fs, &file, &path, lsn)?;
        let fs = fs.clone();
        let read_at: ReadAt = Box::new(move |buffer, offset| fs::read_full_at(&fs, &file, buffer, offset));
        let index = RowIndex {
            bucket_bits: header.bucket_bits,
            buckets: Vec::new(),
            fragments: Vec::new(),
            blocks: Vec::new(),
        };
        let mut snapshot = Snapshot { path, header, index, directories: Directories::default(), read_at };
        snapshot.load()?;
        Ok(snapshot)
    }

    /// Reads the lists that stay in memory.
    fn load(&mut self) -> Result<(), Error> {
        let mut blocks = Vec::with_capacity(self.header.blocks as usize);
        self.read_section(Section::Blocks, |bytes| {
            blocks.extend(bytes.chunks_exact(8).map(|pair| (u32_at(pair, 0), u32_at(pair, 4))));
        })?;
        self.index.blocks = blocks;
        self.index.buckets = self.read_numbers(Section::Buckets)?;
        self.index.fragments = self.read_numbers(Section::Fragments)?;
        let rows_end = self.header.rows_extent().end;
        if let Some((which, what)) = self.index.fault(self.header.rows as u32, rows_end / BLOCK_BYTES as u64) {
            let section = match which {
                Which::Blocks => Section::Blocks,
                Which::Buckets => Section::Buckets,
            };
            return Err(self.section_fault(section, what));
        }
        self.load_directories()
    }

    pub(super) fn load_directories(&mut self) -> Result<(), Error> {
        let mut directories = Vec::new();
        self.read_section(Section::Directories, |bytes| directories.extend_from_slice(bytes))?;
        let directories = Directories::decode(&directories);
        self.directories = directories.ok_or_else(|| self.section_fault(Section::Directories, "it cannot be read"))?;
        Ok(())
    }

    fn read_numbers(&self, section: Section) -> Result<Vec<u32>, Error> {
        let mut numbers = Vec::with_capacity((self.extent(section).length / 4) as usize);
        self.read_section(section, |bytes| numbers.extend(bytes.chunks_exact(4).map(|number| u32_at(number, 0))))?;
        Ok(numbers)
    }

    fn extent(&self, section: Section) -> &Span {
        &self.header.sections[section as usize]
    }

    /// Passes a list's bytes to `part` in pieces (the length of each but the last is a multiple of 8), then checks the
    /// checksum of all of them.
    fn read_section(&self, section: Section, mut part: impl FnMut(&[u8])) -> Result<(), Error> {
        let extent = *self.extent(section);
        let mut checksum = section_checksum(self.header.salt, section);
        let mut buffer = vec![0; CHUNK_BYTES.min(extent.length as usize)];
        let mut done = 0;
        while done < extent.length {
            let wanted = (extent.length - done).min(CHUNK_BYTES as u64) as usize;
            let read = (self.read_at)(&mut buffer[..wanted], extent.offset + done)?;
            if read < wanted {
                return Err(self.section_fault(section, "it is cut off"));
            }
            checksum = crc32c::crc32c_append(checksum, &buffer[..wanted]);
            part(&buffer[..wanted]);
            done += wanted as u64;
        }
        if checksum == extent.checksum { Ok(()) } else { Err(self.section_fault(section, "checksum is wrong")) }
    }

    pub(super) fn section_fault(&self, section: Section, what: &'static str) -> Error {
        self.corrupt(self.extent(section).offset, Damage::Section(section.text(), what))
    }

    fn corrupt(&self, offset: u64, damage: Damage) -> Error {
        Corrupt { file: self.path.clone(), offset, lsn: self.header.lsn, damage }.into()
    }

    /// The header.
    pub fn header(&self) -> &SnapshotHeader {
        &self.header
    }

    /// The file.
    pub fn path(&self) -> &std::path::Path {
        &self.path
    }

    /// The directories that its rows name.
    pub fn directories(&self) -> &Directories {
        &self.directories
    }

    /// Bytes of memory that the index takes.
    pub fn memory_bytes(&self) -> usize {
        self.index.memory_bytes()
    }

    /// The row of this content. An unknown content nearly always costs no I/O.
    ///
    /// # Errors
    /// Corrupt if the block that must be read is not as it was written.
    pub fn find(&self, key: &Key) -> Result<Option<Row>, Error> {
        let mut buffer = Vec::new();
        for number in self.index.candidates(key) {
            let Some((block, first)) = self.index.block_of(number) else { continue };
            self.read_block(block, &mut buffer)?;
            let row = nth(&buffer, number - first).ok_or_else(|| self.block_fault(block, "a row is missing"))?;
            if key_of(row) == Some(*key) {
                return self.decode(block, row).map(Some);
            }
        }
        Ok(None)
    }

    /// The row with this number, from 0, in the order of the SHA-256.
    pub fn row(&self, number: u32) -> Result<Option<Row>, Error> {
        if u64::from(number) >= self.header.rows {
            return Ok(None);
        }
        let Some((block, first)) = self.index.block_of(number) else { return Ok(None) };
        let mut buffer = Vec::new();
        self.read_block(block, &mut buffer)?;
        let row = nth(&buffer, number - first).ok_or_else(|| self.block_fault(block, "a row is missing"))?;
        self.decode(block, row).map(Some)
    }

    /// Passes the records that still matter to `on_record`, in LSN order: those of files that were not finished, those
    /// of duplicates that stay in staging, and the settings under which these files were found.
    pub fn survivors(&self, on_record: OnRecord<'_>) -> Result<(), Error> {
        let mut bytes = Vec::new();
        self.read_section(Section::Survivors, |part| bytes.extend_from_slice(part))?;
        let cannot_be = || self.section_fault(Section::Survivors, "a record cannot be read");
        let (mut rest, mut last) = (bytes.as_slice(), Lsn(0));
        while !rest.is_empty() {
            let survivor = Survivor::decode(rest).ok_or_else(cannot_be)?;
            if survivor.lsn <= last || survivor.lsn > self.header.lsn {
                return Err(self.section_fault(Section::Survivors, "its LSNs do not ascend"));
            }
            last = survivor.lsn;
            rest = &rest[survivor.length..];
            on_record(survivor.lsn, survivor.written_at, survivor.record).map_err(|refused| match refused {
                Rejected::Contradiction(why) => {
                    self.corrupt(self.extent(Section::Survivors).offset, Damage::Transition(why))
                }
                Rejected::Unknown(error) => *error,
            })?;
        }
        Ok(())
    }

    /// The error that the previous generation, which begins with the snapshot (or segment) of this LSN, is incomplete.
    pub(in crate::journal) fn spare_is_missing(&self, begin: Lsn) -> Error {
        self.corrupt(0, Damage::SpareMissing(begin))
    }

    pub(super) fn decode(&self, block: usize, row: &[u8]) -> Result<Row, Error> {
        Row::decode(row, &self.directories).ok_or_else(|| self.block_fault(block, "a row cannot be read"))
    }

    pub(super) fn block_fault(&self, block: usize, what: &'static str) -> Error {
        let page = self.index.blocks.get(block).map_or(0, |(_, page)| *page);
        self.corrupt(u64::from(page) * BLOCK_BYTES as u64, Damage::RowBlock(what))
    }

    /// Offset and length of a block, in pages.
    pub(super) fn block_extent(&self, block: usize) -> (u32, usize) {
        let page = self.index.blocks[block].1;
        let rows_end = (self.header.rows_extent().end / BLOCK_BYTES as u64) as u32;
        let end = self.index.blocks.get(block + 1).map_or(rows_end, |(_, page)| *page);
        (page, (end - page) as usize)
    }

    /// Rows in a block, according to the index.
    fn block_rows(&self, block: usize) -> u32 {
        let end = self.index.blocks.get(block + 1).map_or(self.header.rows as u32, |(first, _)| *first);
        end - self.index.blocks[block].0
    }

    fn read_block(&self, block: usize, buffer: &mut Vec<u8>) -> Result<(), Error> {
        let (page, pages) = self.block_extent(block);
        if pages > ROW_BLOCK_PAGES_MAX {
            return Err(self.block_fault(block, "it is too long"));
        }
        buffer.resize(pages * BLOCK_BYTES, 0);
        let read = (self.read_at)(buffer, u64::from(page) * BLOCK_BYTES as u64)?;
        self.check_block(block, &buffer[..read])
    }

    /// Checks that the block is as it was written, and that it is the one in the index.
    pub(super) fn check_block(&self, block: usize, bytes: &[u8]) -> Result<(), Error> {
        let (page, pages) = self.block_extent(block);
        if bytes.len() != pages * BLOCK_BYTES || bytes.len() < ROW_BLOCK_HEADER_BYTES {
            return Err(self.block_fault(block, "it is cut off"));
        }
        if u32_at(bytes, 0) != block_checksum(self.header.salt, page, bytes) {
            return Err(self.block_fault(block, "checksum is wrong"));
        }
        if usize::from(u16_at(bytes, 6)) != pages || u32::from(u16_at(bytes, 4)) != self.block_rows(block) {
            return Err(self.block_fault(block, "it is not the one in the list of blocks"));
        }
        Ok(())
    }
}
