//! A small journal of three segments, each of sixteen blocks, with every kind of frame and record: made with the
//! crate's own encoders, so that the mutated bytes are those that are really written.

use csv_ingestor::journal::expired::{Cutoffs, Ranges};
use csv_ingestor::journal::format::{BLOCK_BYTES, FRAME_HEADER_BYTES, FrameKind};
use csv_ingestor::journal::frame::{self, Position};
use csv_ingestor::journal::record::{
    AbandonReason, Abandoned, Claimed, ClockJumped, Copy, CsvFault, Discovered, DuplicateAction, EmptyFiles, Group,
    Hashed, HeaderFault, Identity, KeptGone, KnownMember, LayoutRule, Moved, Profile, Profiled, QuarantineCause,
    Quarantined, Record, Relocated, Rules, SameBy, Settings, Sidecar, SkippedDuplicate, Upload, Uploading, Validation,
};
use csv_ingestor::journal::segment::{Predecessor, SegmentHeader};
use csv_ingestor::types::{FileIdentity, FileTime, IngestId, Lsn, Sha256, UnixMillis};

/// Blocks in a segment.
pub const SEGMENT_BLOCKS: usize = 16;

/// A segment file: the LSN in its name, and its bytes.
#[derive(Clone)]
pub struct Segment {
    /// The LSN in its name.
    pub name: u64,
    /// The bytes of the file.
    pub bytes: Vec<u8>,
}

/// A segment that is being filled.
pub struct Builder {
    header: SegmentHeader,
    bytes: Vec<u8>,
    end: usize,
    place: Position,
}

impl Builder {
    /// The first segment of a journal.
    pub fn first(blocks: usize) -> Builder {
        Builder::new(SegmentHeader {
            salt: 0xf0cc_ed5a,
            store: *b"csv-ingestor fuz",
            number: 1,
            first_lsn: Lsn(1),
            capacity: (blocks * BLOCK_BYTES) as u64,
            created_at: UnixMillis(1_767_323_045_678),
            predecessor: None,
        })
    }

    fn new(header: SegmentHeader) -> Builder {
        let (block, chain) = header.encode();
        let mut bytes = vec![0; header.capacity as usize];
        bytes[..BLOCK_BYTES].copy_from_slice(&block);
        let place = Position { next_lsn: header.first_lsn, chain };
        Builder { header, bytes, end: BLOCK_BYTES, place }
    }

    /// Adds a frame.
    pub fn push(&mut self, kind: FrameKind, records: &[Record]) {
        let mut frame = vec![0; FRAME_HEADER_BYTES];
        records.iter().for_each(|record| record.encode(&mut frame));
        if kind == FrameKind::Seal {
            frame.extend_from_slice(&self.predecessor().successor_first_lsn().0.to_le_bytes());
        }
        let count = records.len() as u32;
        let chain =
            frame::seal_frame(&mut frame, kind, count, &self.place, UnixMillis(1_767_323_046_000), self.header.salt);
        self.bytes[self.end..self.end + frame.len()].copy_from_slice(&frame);
        self.end += frame.len();
        self.place = Position { next_lsn: self.place.next_lsn.plus(u64::from(count)), chain };
    }

    /// The LSN that the next record gets.
    pub fn next_lsn(&self) -> u64 {
        self.place.next_lsn.0
    }

    fn predecessor(&self) -> Predecessor {
        Predecessor {
            first_lsn: self.header.first_lsn,
            end: self.end as u64,
            last_lsn: Lsn(self.place.next_lsn.0 - 1),
            chain: self.place.chain,
        }
    }

    /// Seals the segment and begins the next one.
    pub fn rotate(mut self) -> (Segment, Builder) {
        let predecessor = self.predecessor();
        let next = Builder::new(SegmentHeader {
            salt: self.header.salt.rotate_left(7) ^ 1,
            number: self.header.number + 1,
            first_lsn: predecessor.successor_first_lsn(),
            predecessor: Some(predecessor),
            ..self.header.clone()
        });
        self.push(FrameKind::Seal, &[]);
        (self.finish(), next)
    }

    /// The file as it is now.
    pub fn finish(self) -> Segment {
        Segment { name: self.header.first_lsn.0, bytes: self.bytes }
    }
}

fn identity(inode: u64) -> FileIdentity {
    let time = FileTime { sec: 1_767_323_000, nsec: 500 };
    FileIdentity { device: 1, inode, size: 14, mtime: time, ctime: time }
}

fn found(inode: u64, sidecar: Option<Sidecar>) -> Record {
    Record::Discovered(Discovered {
        identity: identity(inode),
        discovered_at: UnixMillis(1_767_323_045_778),
        source_path: format!("/in/{inode}.csv").into(),
        sidecar,
    })
}

/// One of each kind of record, in an order that the fold accepts; the first has this LSN.
pub fn records(first_lsn: u64) -> Vec<Record> {
    let id = |index: u64| IngestId(first_lsn + index);
    let sha256 = Sha256([first_lsn as u8; 32]);
    let copy = Some(Copy { identity: identity(9), path: "/warehouse/.csv-ingestor/9.tmp".into() });
    let mut records = vec![
        Record::Settings(Settings {
            input: "/in".into(),
            warehouse: "/warehouse".into(),
            manifests: "/manifests".into(),
            duplicates: DuplicateAction::Move,
            duplicates_dir: Some("/duplicates".into()),
        }),
        found(1, None),
        found(2, Some(Sidecar { identity: identity(3), path: "/in/2.csv.ok".into() })),
        found(4, None),
        Record::Hashed(Hashed {
            ingest_id: id(1),
            sha256,
            warehouse_path: "/warehouse/1.csv".into(),
            copy,
            verified_by: None,
        }),
        Record::Moved(Moved { ingest_id: id(1), published: Some(identity(10)), seq: Some(1) }),
        Record::Manifested(id(1)),
        Record::SkippedDuplicate(SkippedDuplicate {
            ingest_id: id(2),
            sha256,
            duplicate_of: id(1),
            action: DuplicateAction::Move,
            target: Some("/duplicates/2.csv".into()),
        }),
        Record::DuplicateCleared(id(2)),
    ];
    records.extend(later_records(first_lsn, sha256));
    records.extend(group_records(first_lsn + records.len() as u64, sha256));
    records.extend(lake_records(first_lsn + records.len() as u64, sha256));
    records
}

/// A file that goes to a lake, in parts.
fn lake_records(lsn: u64, sha256: Sha256) -> Vec<Record> {
    let ingest_id = IngestId(lsn);
    vec![
        found(11, None),
        Record::Hashed(Hashed {
            ingest_id,
            sha256: Sha256(sha256.0.map(|byte| !byte)),
            warehouse_path: "s3://lake/warehouse/11.csv".into(),
            copy: None,
            verified_by: None,
        }),
        Record::Uploading(Uploading {
            ingest_id,
            upload: Upload {
                generation: 1,
                since: UnixMillis(1_767_323_045_778),
                key: "11.csv".to_owned(),
                id: "ü".to_owned(),
            },
        }),
        Record::Claimed(Claimed { ingest_id, shard: 1, entry: 258 }),
        Record::Moved(Moved { ingest_id, published: None, seq: None }),
        Record::Manifested(ingest_id),
    ]
}

/// A group, of which one member is found and abandoned.
fn group_records(lsn: u64, sha256: Sha256) -> Vec<Record> {
    let (first, second) = (IngestId(lsn + 1), IngestId(lsn + 2));
    vec![
        Record::Group(Group {
            path: "/in/close.group".into(),
            identity: identity(6),
            moving: vec![first, second],
            inodes: vec![7, 8],
            known: vec![KnownMember { name: "6.csv".into(), sha256, of: first }],
        }),
        found(7, None),
        Record::Abandoned(Abandoned { ingest_id: first, reason: AbandonReason::Group }),
        Record::GroupDone(Lsn(lsn)),
    ]
}

/// Those about files that cannot be ingested, and about no single file.
fn later_records(first_lsn: u64, sha256: Sha256) -> Vec<Record> {
    let id = |index: u64| IngestId(first_lsn + index);
    vec![
        Record::Abandoned(Abandoned { ingest_id: id(3), reason: AbandonReason::Vanished }),
        Record::Expired(UnixMillis(1_767_323_045_779)),
        found(5, None),
        Record::Profiled(Profiled {
            ingest_id: id(11),
            sha256,
            profile: Profile {
                rows: Some(2),
                columns: Some(3),
                header: Some(vec!["id".to_owned(), "näme".to_owned(), String::new()]),
                fault: Some(CsvFault { line: 2, reason: "torn".to_owned() }),
                ..Profile::default()
            },
        }),
        Record::Profiled(Profiled {
            ingest_id: id(11),
            sha256,
            profile: Profile {
                header_faults: vec![HeaderFault { column: 2, first: None }, HeaderFault { column: 3, first: Some(1) }],
                ..Profile::default()
            },
        }),
        Record::Quarantined(Quarantined {
            ingest_id: id(11),
            cause: QuarantineCause::Malformed,
            line: Some(2),
            detail: "torn".to_owned(),
            target: "/quarantine/5.csv".into(),
        }),
        Record::QuarantineDone(id(11)),
        Record::Forgotten(sha256.into()),
        Record::Rules(Rules {
            quarantine: Some("/quarantine".into()),
            validation: Some(Validation { comment: Some(b'#'), skip_rows: 258, refuse: true, ..Validation::default() }),
            require_checksum: false,
        }),
        Record::Rules(Rules {
            quarantine: None,
            validation: Some(Validation { delimiter: b'\t', quote: None, ..Validation::default() }),
            require_checksum: true,
        }),
        Record::ClockJumped(ClockJumped { from: Lsn(first_lsn + 18), shift_ms: -86_400_001 }),
        Record::ExpiredRanges(Ranges {
            listed: steps(&[(first_lsn + 18, 1_767_323_045_779), (first_lsn + 19, 1_767_236_645_778)]),
            found: steps(&[(first_lsn + 10, 1_767_323_045_779)]),
            old_lsn: Lsn(first_lsn + 10),
        }),
        Record::KeptGone(KeptGone { device: 1, inode: 4 }),
        Record::Identity(Identity { same_by: SameBy::NameAndContent, empty: EmptyFiles::Quarantine }),
        Record::Relocated(Relocated { old: "/warehouse".into(), new: "/elsewhere".into() }),
        Record::Layout(LayoutRule {
            template: "source={source}/{ingest_date}".to_owned(),
            name_pattern: Some("(?<source>ä)".to_owned()),
        }),
        Record::Lake([7; 16]),
    ]
}

fn steps(steps: &[(u64, u64)]) -> Cutoffs {
    let steps = steps.iter().map(|(end, before)| (Lsn(*end), UnixMillis(*before)));
    Cutoffs::new(steps.collect()).expect("they ascend")
}

/// The journal; its last segment ends with a frame of kind `last`.
pub fn segments(last: FrameKind) -> Vec<Segment> {
    let mut builder = Builder::first(SEGMENT_BLOCKS);
    let some = records(1);
    builder.push(FrameKind::Data, &some[..4]);
    builder.push(FrameKind::Data, &some[4..5]);
    builder.push(FrameKind::Idle, &[]);
    builder.push(FrameKind::Data, &some[5..]);
    let (first, mut builder) = builder.rotate();
    // Two and a half blocks.
    let long = format!("/in/{}", "x".repeat(3_000));
    let settings = |path: &str| {
        Record::Settings(Settings {
            input: path.into(),
            warehouse: path.into(),
            manifests: path.into(),
            duplicates: DuplicateAction::Keep,
            duplicates_dir: None,
        })
    };
    builder.push(FrameKind::Data, &[settings(&long)]);
    builder.push(FrameKind::Shutdown, &[]);
    let (second, mut builder) = builder.rotate();
    builder.push(FrameKind::Data, &[settings("/in")]);
    builder.push(FrameKind::Data, &records(builder.place.next_lsn.0)[1..4]);
    if last != FrameKind::Data {
        builder.push(last, &[]);
    }
    vec![first, second, builder.finish()]
}
