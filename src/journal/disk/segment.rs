//! A segment file: its header block, its creation, and reading frames from it.
//!
//! Invariants:
//! - A file with a segment's name is complete: header and zeros were durable before it got that name. So a bad header,
//!   or a length other than the header's capacity, is damage and never the result of a crash.
//! - The last block of a segment is kept free for the seal.
//! - Reading never writes.

use std::ffi::OsStr;
use std::path::PathBuf;

use super::blank::{Blank, SEGMENT_MODE, fill};
use super::error::{Corrupt, Damage, Error};
use super::format::{
    BLOCK_BYTES, COMPATIBLE_FEATURES, FEATURE_SEQ, FORMAT_MAJOR, FORMAT_MINOR, FRAME_BYTES_MAX, FrameKind,
    INCOMPATIBLE_FEATURES, SEGMENT_MAGIC, segment_field as field,
};
use super::frame::{self, FrameFault, FrameHeader, Position, array_at, u16_at, u32_at, u64_at};
use super::record::Record;
use super::{names, salt};
use crate::fs::{self, Fs, Open};
use crate::types::{Lsn, UnixMillis};

/// The content of an unused block.
const ZERO_BLOCK: [u8; BLOCK_BYTES] = [0; BLOCK_BYTES];

/// Bytes read at once, from the requested frame on.
const WINDOW_BYTES: usize = 2 << 20;

/// A segment's header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SegmentHeader {
    /// Mixed into every frame's checksum.
    pub salt: u32,
    /// The UUID of its journal.
    pub store: [u8; 16],
    /// 1 for the journal's first segment, then one more each.
    pub number: u64,
    /// The LSN of the first record, and the file's name.
    pub first_lsn: Lsn,
    /// The file's length in bytes.
    pub capacity: u64,
    /// When it was created.
    pub created_at: UnixMillis,
    /// Where the previous segment ended.
    pub predecessor: Option<Predecessor>,
}

/// Where a segment ended, as recorded in its successor's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Predecessor {
    /// Its first LSN, which is its name.
    pub first_lsn: Lsn,
    /// The offset after its last good frame.
    pub end: u64,
    /// The last LSN in it; `first_lsn` - 1 if it holds no record.
    pub last_lsn: Lsn,
    /// The chain value after its last good frame.
    pub chain: u32,
}

/// Bytes of a [`Predecessor`] in a header.
const PREDECESSOR_BYTES: usize = field::RESERVED - field::PREDECESSOR;

impl Predecessor {
    /// The bytes that headers hold.
    pub(in crate::journal) fn encode(&self) -> [u8; PREDECESSOR_BYTES] {
        let mut bytes = [0; PREDECESSOR_BYTES];
        let mut put = |at: usize, field: &[u8]| bytes[at - field::PREDECESSOR..][..field.len()].copy_from_slice(field);
        put(field::PREDECESSOR, &self.first_lsn.0.to_le_bytes());
        put(field::PREDECESSOR_END, &self.end.to_le_bytes());
        put(field::PREDECESSOR_LAST_LSN, &self.last_lsn.0.to_le_bytes());
        put(field::PREDECESSOR_CHAIN, &self.chain.to_le_bytes());
        bytes
    }

    /// Decodes the output of `encode` from the front of `bytes`.
    pub(in crate::journal) fn decode(bytes: &[u8]) -> Predecessor {
        let at = |field: usize| field - field::PREDECESSOR;
        Predecessor {
            first_lsn: Lsn(u64_at(bytes, at(field::PREDECESSOR))),
            end: u64_at(bytes, at(field::PREDECESSOR_END)),
            last_lsn: Lsn(u64_at(bytes, at(field::PREDECESSOR_LAST_LSN))),
            chain: u32_at(bytes, at(field::PREDECESSOR_CHAIN)),
        }
    }

    /// The first LSN of the next segment: after all records, and different from this segment's own even if it holds no
    /// record.
    pub fn successor_first_lsn(&self) -> Lsn {
        self.last_lsn.max(self.first_lsn).plus(1)
    }
}

impl SegmentHeader {
    /// The header block, and its checksum, which is the chain value of the first frame.
    pub fn encode(&self) -> ([u8; BLOCK_BYTES], u32) {
        let mut block = [0; BLOCK_BYTES];
        let mut put = |at: usize, bytes: &[u8]| block[at..at + bytes.len()].copy_from_slice(bytes);
        put(field::MAGIC, &SEGMENT_MAGIC);
        put(field::MAJOR, &FORMAT_MAJOR.to_le_bytes());
        put(field::MINOR, &FORMAT_MINOR.to_le_bytes());
        put(field::COMPATIBLE, &COMPATIBLE_FEATURES.to_le_bytes());
        put(field::INCOMPATIBLE, &INCOMPATIBLE_FEATURES.to_le_bytes());
        put(field::SALT, &self.salt.to_le_bytes());
        put(field::STORE_UUID, &self.store);
        put(field::NUMBER, &self.number.to_le_bytes());
        put(field::FIRST_LSN, &self.first_lsn.0.to_le_bytes());
        put(field::CAPACITY, &self.capacity.to_le_bytes());
        put(field::CREATED_AT, &self.created_at.0.to_le_bytes());
        if let Some(predecessor) = &self.predecessor {
            put(field::PREDECESSOR, &predecessor.encode());
        }
        let checksum = crc32c::crc32c(&block[..field::CHECKSUM]);
        block[field::CHECKSUM..].copy_from_slice(&checksum.to_le_bytes());
        (block, checksum)
    }

    /// Reads a header block; also returns its checksum.
    pub fn decode(block: &[u8]) -> Result<(SegmentHeader, u32), HeaderFault> {
        let checksum = check_front(block, &SEGMENT_MAGIC, "no segment begins here")?;
        if u64_at(block, field::FIRST_LSN) == 0 {
            return Err(HeaderFault::Damaged("its first LSN is 0"));
        }
        let predecessor = Predecessor::decode(&block[field::PREDECESSOR..]);
        let header = SegmentHeader {
            salt: u32_at(block, field::SALT),
            store: array_at(block, field::STORE_UUID),
            number: u64_at(block, field::NUMBER),
            first_lsn: Lsn(u64_at(block, field::FIRST_LSN)),
            capacity: u64_at(block, field::CAPACITY),
            created_at: UnixMillis(u64_at(block, field::CREATED_AT)),
            predecessor: (predecessor.first_lsn != Lsn(0)).then_some(predecessor),
        };
        Ok((header, checksum))
    }
}

/// True for a segment that a repair made. It names an impossible predecessor: one record in no bytes.
pub(in crate::journal) fn is_made_by_repair(header: &SegmentHeader) -> bool {
    header.predecessor.is_some_and(|end| end.first_lsn == end.last_lsn && end.end == BLOCK_BYTES as u64)
}

/// Why a block is not a header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HeaderFault {
    /// It is not as it was written.
    Damaged(&'static str),
    /// A newer version of this program wrote it.
    Newer(String),
}

/// Checks the fields with which segments and snapshots begin in every version: magic, checksum, version, features.
/// Returns the checksum.
pub(in crate::journal) fn check_front(
    block: &[u8],
    magic: &[u8; 8],
    nothing: &'static str,
) -> Result<u32, HeaderFault> {
    if block.len() < BLOCK_BYTES || block[..field::MAJOR] != *magic {
        return Err(HeaderFault::Damaged(nothing));
    }
    let checksum = u32_at(block, field::CHECKSUM);
    if crc32c::crc32c(&block[..field::CHECKSUM]) != checksum {
        return Err(HeaderFault::Damaged("checksum is wrong"));
    }
    let (major, features) = (u16_at(block, field::MAJOR), u32_at(block, field::INCOMPATIBLE));
    if major != FORMAT_MAJOR {
        return Err(HeaderFault::Newer(format!("journal format version {major} is not known")));
    }
    if features & !INCOMPATIBLE_FEATURES != 0 {
        return Err(HeaderFault::Newer(format!("journal features {features:#x} are not known")));
    }
    Ok(checksum)
}

/// Creates a segment file, durable under its name. Returns it open for writing, and the first chain value. A blank must have
/// the header's capacity.
///
/// The zeros are written, not merely allocated: overwriting them later changes no metadata, so a commit costs one
/// device flush instead of two on ext4 and xfs.
pub fn create<F: Fs>(
    fs: &F,
    dir: &F::Dir,
    header: &SegmentHeader,
    blank: Option<Blank<F>>,
) -> fs::Result<(F::File, u32)> {
    let temporary = blank.as_ref().map_or_else(|| names::segment_temporary(header.first_lsn), |_| names::blank());
    let temporary = OsStr::new(&temporary);
    let name = names::segment(header.first_lsn);
    let name = OsStr::new(&name);
    let made = match blank {
        Some(blank) => begin(fs, blank.file, header),
        None => make(fs, dir, temporary, header),
    };
    let made = made
        .and_then(|made| fs.rename(dir, temporary, dir, name).map(|()| made))
        // Otherwise the leftover stays until the next start; on a full disk its space is needed now.
        .inspect_err(|_| drop(fs.unlink(dir, temporary)))?;
    // This name may never become durable, so nothing must depend on it, not even the next start, which would see it.
    fs.sync_dir(dir).inspect_err(|_| drop(fs.unlink(dir, name)))?;
    Ok(made)
}

fn make<F: Fs>(fs: &F, dir: &F::Dir, name: &OsStr, header: &SegmentHeader) -> fs::Result<(F::File, u32)> {
    let file = fs.open(dir, name, Open::Create { mode: SEGMENT_MODE })?;
    fill(fs, &file, BLOCK_BYTES as u64, header.capacity)?;
    begin(fs, file, header)
}

/// Writes the header of a file that has its zeros, and makes it durable as a whole.
fn begin<F: Fs>(fs: &F, file: F::File, header: &SegmentHeader) -> fs::Result<(F::File, u32)> {
    let (block, checksum) = header.encode();
    fs::write_all_at(fs, &file, &block, 0)?;
    fs.sync_all(&file)?;
    Ok((file, checksum))
}

/// Reads the frames of one segment.
pub struct SegmentReader<F: Fs> {
    fs: F,
    file: F::File,
    path: PathBuf,
    header: SegmentHeader,
    header_checksum: u32,
    window: Vec<u8>,
    window_start: u64,
}

/// The result of reading at an offset.
pub enum FrameRead<'a> {
    /// A frame that is valid by its own bytes (rules 1 to 4), with its payload.
    Frame(FrameHeader, &'a [u8]),
    /// No valid frame.
    Fault(FrameFault),
}

impl<F: Fs> SegmentReader<F> {
    /// Opens the segment with this first LSN, and checks its header and length.
    pub fn open(fs: &F, dir: &F::Dir, first_lsn: Lsn) -> Result<SegmentReader<F>, Error> {
        let name = names::segment(first_lsn);
        let path = fs.dir_path(dir).join(&name);
        let file = fs.open(dir, OsStr::new(&name), Open::Read)?;
        let mut block = vec![0; BLOCK_BYTES];
        let read = fs::read_full_at(fs, &file, &mut block, 0)?;
        let corrupt = |damage| Corrupt { file: path.clone(), offset: 0, lsn: first_lsn, damage };
        let (header, header_checksum) = match SegmentHeader::decode(&block[..read]) {
            Ok(decoded) => decoded,
            Err(HeaderFault::Damaged(what)) => return Err(corrupt(Damage::SegmentHeader(what)).into()),
            Err(HeaderFault::Newer(what)) => return Err(Error::Newer { file: path, what }),
        };
        if header.first_lsn != first_lsn {
            return Err(corrupt(Damage::SegmentHeader("its first LSN is not the one in its name")).into());
        }
        let actual = fs.stat_file(&file)?.identity.size;
        if actual != header.capacity {
            return Err(corrupt(Damage::SegmentLength { expected: header.capacity, actual }).into());
        }
        Ok(SegmentReader { fs: fs.clone(), file, path, header, header_checksum, window: Vec::new(), window_start: 0 })
    }

    /// The first LSN in the header of the segment file named after `name`; None if its header is damaged or newer.
    pub(in crate::journal) fn first_lsn(fs: &F, dir: &F::Dir, name: Lsn) -> Result<Option<Lsn>, Error> {
        let file = fs.open(dir, OsStr::new(&names::segment(name)), Open::Read)?;
        let mut block = vec![0; BLOCK_BYTES];
        let read = fs::read_full_at(fs, &file, &mut block, 0)?;
        Ok(SegmentHeader::decode(&block[..read]).ok().map(|(header, _)| header.first_lsn))
    }

    /// Opens a segment whose header or length is damaged: with its actual length, and with the salt that makes most of
    /// its frames valid. None if no salt can be found.
    pub(in crate::journal) fn open_damaged(
        fs: &F,
        dir: &F::Dir,
        first_lsn: Lsn,
    ) -> Result<Option<SegmentReader<F>>, Error> {
        let name = names::segment(first_lsn);
        let file = fs.open(dir, OsStr::new(&name), Open::Read)?;
        let header = SegmentHeader {
            salt: 0,
            store: [0; 16],
            number: 0,
            first_lsn,
            capacity: fs.stat_file(&file)?.identity.size,
            created_at: UnixMillis(0),
            predecessor: None,
        };
        let (fs, path) = (fs.clone(), fs.dir_path(dir).join(&name));
        let mut reader =
            SegmentReader { fs, file, path, header, header_checksum: 0, window: Vec::new(), window_start: 0 };
        // Only the length or the name is wrong: then the header says the salt.
        if let Ok((known, _)) = SegmentHeader::decode(reader.bytes(0, BLOCK_BYTES)?) {
            (reader.header.salt, reader.header.store) = (known.salt, known.store);
            return Ok(Some(reader));
        }
        let mut votes = salt::Votes::default();
        let mut front = None;
        let mut offset = BLOCK_BYTES as u64;
        for _ in 0..salt::VOTERS_MAX {
            if reader.bytes(offset, BLOCK_BYTES)?.is_empty() {
                break;
            }
            if let Some(salt) = reader.salt_of(offset)? {
                votes.cast(salt);
                front = front.or((offset == BLOCK_BYTES as u64).then_some(salt));
            }
            offset += BLOCK_BYTES as u64;
        }
        // The first frame must have the LSN that is in the file's name, so it is evidence enough on its own.
        Ok(votes.winner().or(front).map(|salt| {
            reader.header.salt = salt;
            reader
        }))
    }

    /// The salt that makes the frame at `offset` valid, if everything else about the frame is valid: a frame that is
    /// visibly damaged gets no vote.
    fn salt_of(&mut self, offset: u64) -> Result<Option<u32>, Error> {
        let first_lsn = self.header.first_lsn;
        let Some((checksum, covered)) = frame::checksummed(self.bytes(offset, BLOCK_BYTES)?) else { return Ok(None) };
        let salt = salt::from_checksum(checksum, covered);
        let Ok(header) = frame::decode_header(self.bytes(offset, BLOCK_BYTES)?, salt) else { return Ok(None) };
        let Ok((_, payload)) = frame::decode(self.bytes(offset, header.frame_bytes())?, salt) else { return Ok(None) };
        let is_in_place = header.first_lsn == first_lsn || offset > BLOCK_BYTES as u64 && header.first_lsn > first_lsn;
        let (mut rest, mut records) = (payload, 0);
        while header.kind == FrameKind::Data && !rest.is_empty() {
            let Some((_, length)) = Record::decode(rest) else { return Ok(None) };
            rest = &rest[length..];
            records += 1;
        }
        Ok((is_in_place && records == header.record_count).then_some(salt))
    }

    /// True if the block at `offset` is all zeros.
    pub(in crate::journal) fn is_zero(&mut self, offset: u64) -> Result<bool, Error> {
        Ok(self.bytes(offset, BLOCK_BYTES)?.iter().all(|byte| *byte == 0))
    }

    /// The segment's header.
    pub fn header(&self) -> &SegmentHeader {
        &self.header
    }

    /// True if records in it may number manifest lines: whatever wrote it knew how to.
    pub(in crate::journal) fn may_number_lines(&self) -> fs::Result<bool> {
        let mut features = [0; 4];
        fs::read_full_at(&self.fs, &self.file, &mut features, field::INCOMPATIBLE as u64)?;
        Ok(u32::from_le_bytes(features) & FEATURE_SEQ != 0)
    }

    /// The segment's path.
    pub fn path(&self) -> &std::path::Path {
        &self.path
    }

    /// The position that the first frame must continue.
    pub fn start(&self) -> Position {
        Position { next_lsn: self.header.first_lsn, chain: self.header_checksum }
    }

    /// Up to `length` bytes at `offset`: fewer only at the end of the segment.
    fn bytes(&mut self, offset: u64, length: usize) -> Result<&[u8], Error> {
        let end = (offset + length as u64).min(self.header.capacity);
        let covered = offset >= self.window_start && end <= self.window_start + self.window.len() as u64;
        if !covered {
            let left = self.header.capacity.saturating_sub(offset);
            let wanted = (length.max(WINDOW_BYTES) as u64).min(left) as usize;
            // `vec!` gets zeroed pages for free; `resize` writes every byte, which is slow in unoptimised builds (the
            // tests).
            if self.window.is_empty() {
                self.window = vec![0; wanted];
            }
            self.window.resize(wanted, 0);
            let read = fs::read_full_at(&self.fs, &self.file, &mut self.window, offset)?;
            self.window.truncate(read);
            self.window_start = offset;
        }
        let from = (offset - self.window_start) as usize;
        let to = (end.saturating_sub(self.window_start) as usize).min(self.window.len());
        Ok(self.window.get(from..to).unwrap_or(&[]))
    }

    /// Reads the frame at `offset`.
    pub fn frame(&mut self, offset: u64) -> Result<FrameRead<'_>, Error> {
        let salt = self.header.salt;
        let header = match frame::decode_header(self.bytes(offset, BLOCK_BYTES)?, salt) {
            Ok(header) => header,
            Err(FrameFault::Version(version)) => {
                let what = format!("frame format version {version} at offset {offset} is not known");
                return Err(Error::Newer { file: self.path.clone(), what });
            }
            Err(fault) => return Ok(FrameRead::Fault(fault)),
        };
        Ok(match frame::decode(self.bytes(offset, header.frame_bytes())?, salt) {
            Ok((header, payload)) => FrameRead::Frame(header, payload),
            Err(fault) => FrameRead::Fault(fault),
        })
    }

    /// Reads everything from `offset` to the end of the segment. Returns where the last non-zero byte ends (None if all
    /// are zero), and whether there is a valid frame whose LSN is not before `place`.
    pub fn examine_rest(&mut self, offset: u64, place: &Position) -> Result<(Option<u64>, bool), Error> {
        let mut last_nonzero = None;
        let mut valid_frame = false;
        let mut at = offset;
        while at < self.header.capacity {
            let block = self.bytes(at, BLOCK_BYTES)?;
            if block.is_empty() {
                break;
            }
            if block != &ZERO_BLOCK[..block.len()]
                && let Some(position) = block.iter().rposition(|byte| *byte != 0)
            {
                last_nonzero = Some(at + position as u64 + 1);
                if let FrameRead::Frame(header, _) = self.frame(at)? {
                    valid_frame |= header.first_lsn >= place.next_lsn;
                }
            }
            at += BLOCK_BYTES as u64;
        }
        Ok((last_nonzero, valid_frame))
    }
}

/// The furthest offset that one write of a frame at `offset` can reach.
pub fn frame_reach(offset: u64) -> u64 {
    offset + FRAME_BYTES_MAX as u64
}
