//! A snapshot's header block.
//!
//! Invariants: as in a segment, magic, versions, features and checksum have the same offsets in every version; the
//! file's length and the extents of its lists agree with each other.

use std::ops::Range;

use crate::journal::disk::format::{
    BLOCK_BYTES, BUCKET_BITS_MAX, COMPATIBLE_FEATURES, FORMAT_MAJOR, FORMAT_MINOR, INCOMPATIBLE_FEATURES,
    SNAPSHOT_MAGIC, Section, segment_field as common, snapshot_field as field,
};
use crate::journal::disk::frame::{array_at, u32_at, u64_at};
use crate::journal::disk::lifecycle::{FileState, StateCounts};
use crate::journal::disk::segment::{self, HeaderFault, Predecessor};
use crate::types::{Lsn, UnixMillis};

/// Offset, length and checksum of a list.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) offset: u64,
    pub(super) length: u64,
    pub(super) checksum: u32,
}

/// The previous generation, which a compaction keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spare {
    /// None: a repair or a rebuild made this snapshot.
    None,
    /// The journal's first segment and all segments after it.
    FromTheBeginning,
    /// The snapshot with this LSN and the segments after it.
    Snapshot(Lsn),
}

impl Spare {
    /// The LSN after which this generation begins: older snapshots, and segments up to this LSN, are not part of it.
    pub fn begins_after(self) -> Option<Lsn> {
        match self {
            Spare::None => None,
            Spare::FromTheBeginning => Some(Lsn(0)),
            Spare::Snapshot(lsn) => Some(lsn),
        }
    }
}

/// Where the header holds the numbers of finished files.
const FINISHED_FIELDS: [(FileState, usize); 4] = [
    (FileState::Manifested, field::MANIFESTED),
    (FileState::SkippedDuplicate, field::SKIPPED),
    (FileState::Abandoned, field::ABANDONED),
    (FileState::Quarantined, field::QUARANTINED),
];

/// A snapshot's header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SnapshotHeader {
    /// Mixed into every checksum of the file.
    pub salt: u32,
    /// The UUID of its journal.
    pub store: [u8; 16],
    /// Every record up to it is folded in; the file's name.
    pub lsn: Lsn,
    /// The file's length.
    pub file_bytes: u64,
    /// When it was made.
    pub created_at: UnixMillis,
    /// The number of the last segment that is folded in.
    pub segment_number: u64,
    /// Where that segment ended: the next segment's header says the same.
    pub segment: Predecessor,
    /// The previous generation that is kept.
    pub spare: Spare,
    /// Rows, one for each content.
    pub rows: u64,
    /// Blocks that hold the rows.
    pub blocks: u64,
    /// Contents forgotten so far, in this compaction and all before.
    pub forgotten: u64,
    /// Files that are finished and have no record here. MANIFESTED files are counted whether their content is
    /// remembered or not.
    pub finished: StateCounts,
    /// The number of the last manifest line that a record numbers; 0 if none does.
    pub last_seq: u64,
    pub(super) bucket_bits: u32,
    pub(super) sections: [Span; Section::COUNT],
}

impl SnapshotHeader {
    /// The extent of the rows, in bytes.
    pub(super) fn rows_extent(&self) -> Range<u64> {
        BLOCK_BYTES as u64..self.sections[0].offset
    }

    /// The header block.
    pub(super) fn encode(&self) -> [u8; BLOCK_BYTES] {
        let mut block = [0; BLOCK_BYTES];
        let mut put = |at: usize, bytes: &[u8]| block[at..at + bytes.len()].copy_from_slice(bytes);
        put(common::MAGIC, &SNAPSHOT_MAGIC);
        put(common::MAJOR, &FORMAT_MAJOR.to_le_bytes());
        put(common::MINOR, &FORMAT_MINOR.to_le_bytes());
        put(common::COMPATIBLE, &COMPATIBLE_FEATURES.to_le_bytes());
        put(common::INCOMPATIBLE, &INCOMPATIBLE_FEATURES.to_le_bytes());
        put(common::SALT, &self.salt.to_le_bytes());
        put(common::STORE_UUID, &self.store);
        let (has_spare, spare_lsn) = match self.spare {
            Spare::None => (0, 0),
            Spare::FromTheBeginning => (1, 0),
            Spare::Snapshot(lsn) => (1, lsn.0),
        };
        let numbers = [
            (field::LSN, self.lsn.0),
            (field::FILE_BYTES, self.file_bytes),
            (field::CREATED_AT, self.created_at.0),
            (field::SEGMENT_NUMBER, self.segment_number),
            (field::SPARE_LSN, spare_lsn),
            (field::ROWS, self.rows),
            (field::BLOCKS, self.blocks),
            (field::FORGOTTEN, self.forgotten),
            (field::LAST_SEQ, self.last_seq),
        ];
        let counts = FINISHED_FIELDS.map(|(state, at)| (at, self.finished[state as usize]));
        numbers.into_iter().chain(counts).for_each(|(at, number)| put(at, &number.to_le_bytes()));
        put(field::SEGMENT, &self.segment.encode());
        put(field::HAS_SPARE, &u32::to_le_bytes(has_spare));
        put(field::BUCKET_BITS, &self.bucket_bits.to_le_bytes());
        for (index, section) in self.sections.iter().enumerate() {
            let at = field::SECTIONS + index * field::SECTION_BYTES;
            put(at, &section.offset.to_le_bytes());
            put(at + 8, &section.length.to_le_bytes());
            put(at + 16, &section.checksum.to_le_bytes());
        }
        let checksum = crc32c::crc32c(&block[..field::CHECKSUM]);
        block[field::CHECKSUM..].copy_from_slice(&checksum.to_le_bytes());
        block
    }

    /// Reads a header block.
    pub(super) fn decode(block: &[u8]) -> Result<SnapshotHeader, HeaderFault> {
        segment::check_front(block, &SNAPSHOT_MAGIC, "no snapshot begins here")?;
        let u64_at = |at| u64_at(block, at);
        let spare = match (u32_at(block, field::HAS_SPARE), u64_at(field::SPARE_LSN)) {
            (0, 0) => Spare::None,
            (1, 0) => Spare::FromTheBeginning,
            (1, lsn) => Spare::Snapshot(Lsn(lsn)),
            _ => return Err(HeaderFault::Damaged("its fields about the previous generation contradict each other")),
        };
        let mut finished = StateCounts::default();
        FINISHED_FIELDS.iter().for_each(|(state, at)| finished[*state as usize] = u64_at(*at));
        let section = |index: usize| {
            let at = field::SECTIONS + index * field::SECTION_BYTES;
            Span { offset: u64_at(at), length: u64_at(at + 8), checksum: u32_at(block, at + 16) }
        };
        let header = SnapshotHeader {
            salt: u32_at(block, common::SALT),
            store: array_at(block, common::STORE_UUID),
            lsn: Lsn(u64_at(field::LSN)),
            file_bytes: u64_at(field::FILE_BYTES),
            created_at: UnixMillis(u64_at(field::CREATED_AT)),
            segment_number: u64_at(field::SEGMENT_NUMBER),
            segment: Predecessor::decode(&block[field::SEGMENT..]),
            spare,
            rows: u64_at(field::ROWS),
            blocks: u64_at(field::BLOCKS),
            forgotten: u64_at(field::FORGOTTEN),
            finished,
            last_seq: u64_at(field::LAST_SEQ),
            bucket_bits: u32_at(block, field::BUCKET_BITS),
            sections: std::array::from_fn(section),
        };
        header.check()?;
        Ok(header)
    }

    /// Checks that the lists follow each other, have the lengths that the counts require, and end where the file ends.
    fn check(&self) -> Result<(), HeaderFault> {
        let refuse = |what| Err(HeaderFault::Damaged(what));
        if self.segment.last_lsn.max(self.segment.first_lsn) != self.lsn || self.lsn == Lsn(0) {
            return refuse("its LSN is not where its last segment ends");
        }
        // Files older than the spare generation are removed: this snapshot must never be one of them.
        if self.spare.begins_after().is_some_and(|spare| spare >= self.lsn) {
            return refuse("the generation before it is not older than itself");
        }
        if self.rows > u64::from(u32::MAX) || self.blocks > self.rows || self.bucket_bits > BUCKET_BITS_MAX {
            return refuse("its counts are impossible");
        }
        let files = self.finished.into_iter().try_fold(0, u64::checked_add);
        let manifested = self.finished[FileState::Manifested as usize];
        if files.is_none_or(|files| files > self.lsn.0) || self.forgotten > manifested {
            return refuse("it counts more files than there can be");
        }
        let mut end = self.sections[0].offset;
        for section in &self.sections {
            if section.offset != end || section.length > self.file_bytes {
                return refuse("its lists do not follow each other");
            }
            end = end.saturating_add(section.length).saturating_add(BLOCK_BYTES as u64 - 1) / BLOCK_BYTES as u64
                * BLOCK_BYTES as u64;
        }
        let [blocks, buckets, fragments, ..] = &self.sections;
        let lengths_fit = blocks.length == 8 * self.blocks
            && buckets.length == 4 * ((1 << self.bucket_bits) + 1)
            && fragments.length == 4 * self.rows;
        if !lengths_fit || end != self.file_bytes || !blocks.offset.is_multiple_of(BLOCK_BYTES as u64) {
            return refuse("its lists are not as long as its numbers say");
        }
        let rows_pages = blocks.offset / (BLOCK_BYTES as u64);
        if rows_pages <= self.blocks || (self.blocks == 0 && rows_pages != 1) {
            return refuse("its rows have no room");
        }
        Ok(())
    }
}
