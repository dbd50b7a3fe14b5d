//! The journal's constants, shared by writer and reader. `journal-format.md` explains them; golden-byte tests check
//! that the two agree.
//!
//! Invariant: a change here changes the on-disk format, and needs a new version or feature bit.

/// Every frame and every header begins at a multiple of this, so no 4 KiB sector is written twice.
pub const BLOCK_BYTES: usize = 4096;

/// The first eight bytes of a segment.
pub const SEGMENT_MAGIC: [u8; 8] = *b"CSVI-WAL";
/// A reader refuses any other major version.
pub const FORMAT_MAJOR: u16 = 1;
/// A reader accepts any minor version.
pub const FORMAT_MINOR: u16 = 0;
/// The journal may begin with a snapshot, and hold EXPIRED records.
pub const FEATURE_SNAPSHOTS: u32 = 1;
/// There may be PROFILED, QUARANTINED, QUARANTINE_DONE and FORGOTTEN records.
pub const FEATURE_QUARANTINE: u32 = 2;
/// There may be records of kinds 15 to 20, and rows may hold the identity of the published file.
pub const FEATURE_EVIDENCE: u32 = 4;
/// There may be records of kind 21, and RULES may name comments and lines that are skipped.
pub const FEATURE_CSV: u32 = 8;
/// There may be records of kind 24, and files whose names do not match.
pub const FEATURE_LAYOUT: u32 = 16;
/// There may be records of kind 22 and files that are EMPTY in quarantine, and rows may have a key other than their
/// content's SHA-256.
pub const FEATURE_IDENTITY: u32 = 32;
/// There may be records of kinds 23 and 25.
pub const FEATURE_GROUPS: u32 = 64;
/// There may be records of kinds 26 and 27, paths that are URLs, and files that are ABANDONED because another host has
/// claimed their content.
pub const FEATURE_LAKE: u32 = 128;
/// There may be records of kind 28. A bit of its own: a program that knows lakes and not this kind would take the record for
/// damage.
pub const FEATURE_UPLOADS: u32 = 256;
/// There may be records of the kind 29, and a snapshot's header says the number of the last manifest line: older versions would
/// write lines without it.
pub const FEATURE_SEQ: u32 = 512;
/// Features that a reader must know to read the file; it refuses bits it does not know.
pub const INCOMPATIBLE_FEATURES: u32 = FEATURE_SNAPSHOTS
    | FEATURE_QUARANTINE
    | FEATURE_EVIDENCE
    | FEATURE_CSV
    | FEATURE_LAYOUT
    | FEATURE_IDENTITY
    | FEATURE_GROUPS
    | FEATURE_LAKE
    | FEATURE_UPLOADS
    | FEATURE_SEQ;
/// Features that a reader may ignore.
pub const COMPATIBLE_FEATURES: u32 = 0;

/// Byte offsets in a segment's header block.
pub mod segment_field {
    /// `SEGMENT_MAGIC`, 8 bytes.
    pub const MAGIC: usize = 0;
    /// u16.
    pub const MAJOR: usize = 8;
    /// u16.
    pub const MINOR: usize = 10;
    /// u32.
    pub const COMPATIBLE: usize = 12;
    /// u32.
    pub const INCOMPATIBLE: usize = 16;
    /// u32, random: makes frames of another segment invalid in this one.
    pub const SALT: usize = 20;
    /// 16 bytes.
    pub const STORE_UUID: usize = 24;
    /// u64, from 1.
    pub const NUMBER: usize = 40;
    /// u64: the LSN of the first record, and the file's name.
    pub const FIRST_LSN: usize = 48;
    /// u64: the file's length in bytes, which never changes.
    pub const CAPACITY: usize = 56;
    /// u64, milliseconds since the epoch.
    pub const CREATED_AT: usize = 64;
    /// u64: `FIRST_LSN` of the previous segment, 0 for none.
    pub const PREDECESSOR: usize = 72;
    /// u64: where the last good frame of the previous segment ends.
    pub const PREDECESSOR_END: usize = 80;
    /// u64: the last LSN in the previous segment, or its `FIRST_LSN` - 1 if it has no record.
    pub const PREDECESSOR_LAST_LSN: usize = 88;
    /// u32: the chain value after that frame.
    pub const PREDECESSOR_CHAIN: usize = 96;
    /// From here to the checksum: zeros.
    pub const RESERVED: usize = 100;
    /// u32: CRC32C of all bytes before it.
    pub const CHECKSUM: usize = super::BLOCK_BYTES - 4;
}

/// The first four bytes of a frame.
pub const FRAME_MAGIC: [u8; 4] = *b"CSVF";
/// Bytes of a frame's header; the payload follows it.
pub const FRAME_HEADER_BYTES: usize = 64;
/// The largest frame: header, payload and padding.
pub const FRAME_BYTES_MAX: usize = 1 << 20;

/// Byte offsets in a frame's header.
pub mod frame_field {
    /// `FRAME_MAGIC`, 4 bytes.
    pub const MAGIC: usize = 0;
    /// u8: `FORMAT_MAJOR`.
    pub const VERSION: usize = 4;
    /// u8: a `FrameKind`.
    pub const KIND: usize = 5;
    /// u16: zero.
    pub const RESERVED: usize = 6;
    /// u32: bytes.
    pub const PAYLOAD_LEN: usize = 8;
    /// u32.
    pub const RECORD_COUNT: usize = 12;
    /// u64: the LSN of the first record; of a frame without records, the LSN that the next record will get.
    pub const FIRST_LSN: usize = 16;
    /// u64, milliseconds since the epoch: when the frame was written.
    pub const WRITTEN_AT: usize = 24;
    /// u32: the header checksum of the previous frame; in a segment's first frame, the segment header's.
    pub const CHAIN: usize = 32;
    /// u32: CRC32C of the payload.
    pub const PAYLOAD_CHECKSUM: usize = 36;
    /// 20 bytes: zero.
    pub const RESERVED_TAIL: usize = 40;
    /// u32: CRC32C of the segment's salt (4 bytes) and all header bytes before this field.
    pub const CHECKSUM: usize = 60;
}

/// The kinds of frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
#[repr(u8)]
pub enum FrameKind {
    /// Records: one group commit.
    Data = 1,
    /// No records; written when there is no work, so that the frame before it is no longer the last.
    Idle = 2,
    /// The segment is full; the payload is the u64 `FIRST_LSN` of its successor, which exists already.
    Seal = 3,
    /// The ingestor stopped cleanly: no frame may follow.
    Shutdown = 4,
}

impl FrameKind {
    /// The kind with this byte.
    pub fn from_byte(byte: u8) -> Option<FrameKind> {
        [FrameKind::Data, FrameKind::Idle, FrameKind::Seal, FrameKind::Shutdown]
            .into_iter()
            .find(|kind| *kind as u8 == byte)
    }
}

/// Bytes before each record's payload: kind u8, zero u8, payload length u16.
pub const RECORD_HEADER_BYTES: usize = 4;
/// The longest path in a record: Linux's `PATH_MAX`.
pub const PATH_BYTES_MAX: usize = 4096;
/// The longest text in a record.
pub const TEXT_BYTES_MAX: usize = 1024;
/// The longest CSV header in a record: the bytes of all names, plus two for each.
pub const HEADER_BYTES_MAX: usize = 16 << 10;
/// The most faults of a header in a record.
pub const HEADER_FAULTS_MAX: usize = 32;

/// The most steps in each of the two lists of an EXPIRED_RANGES record.
pub const EXPIRED_STEPS_MAX: usize = 1024;

/// Sizes of segments: the first after a start is the smallest, so that starting is cheap and a short run uses little
/// space; each rotation takes the next size. The largest is a compromise: compaction cannot fold in the current
/// segment, and creating a segment delays the commit that fills the previous one.
pub const SEGMENT_BYTES: [u64; 4] = [256 << 10, 1 << 20, 4 << 20, 16 << 20];

/// The first eight bytes of a snapshot.
pub const SNAPSHOT_MAGIC: [u8; 8] = *b"CSVI-SNP";
/// The longest block of rows, in units of [`BLOCK_BYTES`]: one row with two paths of the greatest length fits.
pub const ROW_BLOCK_PAGES_MAX: usize = 3;
/// Bytes before the rows in a block: checksum u32, number of rows u16, length in pages u16.
pub const ROW_BLOCK_HEADER_BYTES: usize = 8;
/// Bits of a row's SHA-256 that the index keeps in addition to the bucket's number.
pub const FRAGMENT_BITS: u32 = 32;
/// The most bits of a bucket's number: with 4 billion rows, four rows per bucket.
pub const BUCKET_BITS_MAX: u32 = 30;

/// Byte offsets in a snapshot's header block. Up to `STORE_UUID` they are those of a segment's header.
pub mod snapshot_field {
    /// u64: every LSN up to it is folded in; the file's name.
    pub const LSN: usize = 40;
    /// u64: the file's length in bytes.
    pub const FILE_BYTES: usize = 48;
    /// u64, milliseconds since the epoch.
    pub const CREATED_AT: usize = 56;
    /// u64: the number of the last segment folded in.
    pub const SEGMENT_NUMBER: usize = 64;
    /// The same four fields as at `segment_field::PREDECESSOR`: where that segment ended.
    pub const SEGMENT: usize = 72;
    /// u32: 1 if the previous generation was kept whole, 0 if there is none.
    pub const HAS_SPARE: usize = 100;
    /// u64: the LSN of the previous snapshot, 0 if that generation begins with the journal's first segment.
    pub const SPARE_LSN: usize = 104;
    /// u64: rows.
    pub const ROWS: usize = 112;
    /// u64: blocks of rows.
    pub const BLOCKS: usize = 120;
    /// u64: contents forgotten so far.
    pub const FORGOTTEN: usize = 128;
    /// u64: files that are MANIFESTED, forgotten ones too.
    pub const MANIFESTED: usize = 136;
    /// u64: files that are finished as SKIPPED_DUPLICATE and have no surviving record.
    pub const SKIPPED: usize = 144;
    /// u64: files that are ABANDONED.
    pub const ABANDONED: usize = 152;
    /// u32: bits of a bucket's number.
    pub const BUCKET_BITS: usize = 160;
    /// The sections, `SECTION_BYTES` each.
    pub const SECTIONS: usize = 168;
    /// Offset u64, length in bytes u64, CRC32C u32, zero u32.
    pub const SECTION_BYTES: usize = 24;
    /// u64: files that are QUARANTINED and were moved away.
    pub const QUARANTINED: usize = 288;
    /// u64: the number of the last manifest line that a record numbers; 0 if none does.
    pub const LAST_SEQ: usize = 296;
    /// u32: CRC32C of all bytes before it.
    pub const CHECKSUM: usize = super::BLOCK_BYTES - 4;
}

/// The lists after a snapshot's rows, in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub enum Section {
    /// For each block of rows: its first row's number u32, its offset in the file in pages u32.
    Blocks = 0,
    /// For each bucket: the number of its first row, u32; at the end the number of rows.
    Buckets = 1,
    /// For each row: the `FRAGMENT_BITS` of its SHA-256 after those of the bucket, u32.
    Fragments = 2,
    /// The directories that rows name: length u16, bytes.
    Directories = 3,
    /// The records that still matter: LSN u64, milliseconds u64, the record.
    Survivors = 4,
}

impl Section {
    /// The number of sections.
    pub const COUNT: usize = 5;
    /// All of them, in their order.
    pub const ALL: [Section; Section::COUNT] =
        [Section::Blocks, Section::Buckets, Section::Fragments, Section::Directories, Section::Survivors];

    /// For messages.
    pub fn text(self) -> &'static str {
        match self {
            Section::Blocks => "list of blocks",
            Section::Buckets => "list of buckets",
            Section::Fragments => "list of fragments",
            Section::Directories => "list of directories",
            Section::Survivors => "list of surviving records",
        }
    }
}
