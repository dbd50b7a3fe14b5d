//! `journal-format.md` and the code agree, byte for byte. The document's example was made by a program that shares no code
//! with this crate, from the text alone: so this also shows that the text suffices to write the format.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::ops::Range;
use std::path::PathBuf;

use csv_ingestor::fs::real::RealFs;
use csv_ingestor::journal::expired::{Cutoffs, Ranges};
use csv_ingestor::journal::format::{self, BLOCK_BYTES, FRAME_HEADER_BYTES, FrameKind};
use csv_ingestor::journal::frame::{self, Position};
use csv_ingestor::journal::record::{
    AbandonReason, Abandoned, ClockJumped, Copy, CsvFault, Discovered, DuplicateAction, EmptyFiles, Group, Hashed,
    HeaderFault, Identity, KeptGone, KnownMember, LayoutRule, Moved, Profile, Profiled, QuarantineCause, Quarantined,
    Record, Relocated, Rules, SameBy, Settings, Sidecar, SkippedDuplicate, Validation,
};
use csv_ingestor::journal::replay::{Ending, Visitor};
use csv_ingestor::journal::segment::SegmentHeader;
use csv_ingestor::journal::snapshot::Snapshot;
use csv_ingestor::journal::{self, Rejected, names, record};
use csv_ingestor::types::{Algorithm, FileIdentity, FileTime, IngestId, Lsn, Sha256, UnixMillis};

mod frozen;
mod lake;
pub mod snapshot;

const SPECIFICATION: &str = include_str!("../../journal-format.md");
const CAPACITY: usize = 256 << 10;
const CREATED_AT_MS: u64 = 1_767_323_045_678;

fn header() -> SegmentHeader {
    SegmentHeader {
        salt: 0x5eed_f00d,
        store: std::array::from_fn(|index| (index * 0x11) as u8),
        number: 1,
        first_lsn: Lsn(1),
        capacity: CAPACITY as u64,
        created_at: UnixMillis(CREATED_AT_MS),
        predecessor: None,
    }
}

/// The frames of the example: milliseconds after the segment was created, and records.
fn frames() -> [(u64, Vec<Record>); 3] {
    let settings = Record::Settings(Settings {
        input: "/data/in".into(),
        warehouse: "/data/wh".into(),
        manifests: "/data/mf".into(),
        duplicates: DuplicateAction::Keep,
        duplicates_dir: None,
    });
    let discovered = Record::Discovered(Discovered {
        identity: FileIdentity {
            device: 64_769,
            inode: 131_077,
            size: 14,
            mtime: FileTime { sec: 1_767_323_000, nsec: 500_000_000 },
            ctime: FileTime { sec: 1_767_323_001, nsec: 250_000_000 },
        },
        discovered_at: UnixMillis(CREATED_AT_MS + 100),
        source_path: "/data/in/a.csv".into(),
        sidecar: None,
    });
    let digest = b"b57e1a894aa62a12ddad0a68f4caa364a9f5b111631f10e146e28df2f88a7068";
    let hashed = Record::Hashed(Hashed {
        ingest_id: IngestId(2),
        sha256: Sha256::from_hex(digest).unwrap(),
        warehouse_path: "/data/wh/ingest_date=2026-01-02/a.csv".into(),
        copy: None,
        verified_by: None,
    });
    [
        (5, vec![settings]),
        (200, vec![discovered, hashed]),
        (300, vec![Record::Moved(Moved { ingest_id: IngestId(2), published: None, seq: None })]),
    ]
}

/// The example, as the code writes it.
fn segment() -> Vec<u8> {
    let header = header();
    let (block, mut chain) = header.encode();
    let mut bytes = block.to_vec();
    let mut next_lsn = header.first_lsn;
    for (after_ms, records) in frames() {
        let mut frame = vec![0; FRAME_HEADER_BYTES];
        records.iter().for_each(|record| record.encode(&mut frame));
        let (place, count) = (Position { next_lsn, chain }, records.len() as u32);
        let written_at = UnixMillis(CREATED_AT_MS + after_ms);
        chain = frame::seal_frame(&mut frame, FrameKind::Data, count, &place, written_at, header.salt);
        next_lsn = next_lsn.plus(u64::from(count));
        bytes.extend_from_slice(&frame);
    }
    bytes
}

/// Offset and bytes of each line of the specification's hex listings of a segment.
fn listing() -> Vec<(usize, Vec<u8>)> {
    lines("```hex")
}

/// The same for all listings that begin with this line.
fn lines(fence: &str) -> Vec<(usize, Vec<u8>)> {
    let mut lines = Vec::new();
    let mut inside = false;
    for line in SPECIFICATION.lines() {
        if line.starts_with("```") {
            inside = line == fence;
        } else if inside {
            let (hex, meaning) = line.split_once('|').expect(line);
            assert!(!meaning.trim().is_empty(), "{line}");
            let (offset, bytes) = hex.trim().split_once("  ").expect(line);
            let bytes = bytes.split_whitespace().map(|byte| u8::from_str_radix(byte, 16).expect(line)).collect();
            lines.push((usize::from_str_radix(offset, 16).expect(line), bytes));
        }
    }
    lines
}

/// A reader in another language is written from the specification: if that has a wrong or missing byte, the reader refuses
/// real journals.
#[test]
fn the_specifications_example_is_what_the_code_writes() {
    let written = segment();
    let mut specified = vec![0; written.len()];
    let mut listed_to = 0;
    for (offset, bytes) in listing() {
        assert!(offset >= listed_to, "line {offset:06x} repeats what is above it");
        listed_to = offset + bytes.len();
        assert_eq!(bytes, written[offset..listed_to], "line {offset:06x}");
        specified[offset..listed_to].copy_from_slice(&bytes);
    }
    let unlisted = specified.iter().zip(&written).position(|(specified, written)| specified != written);
    assert_eq!(unlisted, None, "a byte that is not listed has to be zero");
}

/// The example is a valid journal: it is read back from a real file.
#[test]
fn the_specifications_example_is_a_journal() {
    struct Records(Vec<(Lsn, UnixMillis, Record)>);
    impl Visitor for Records {
        fn snapshot(&mut self, _: &std::sync::Arc<Snapshot>) -> Result<(), journal::Error> {
            unreachable!("the example has none")
        }

        fn record(&mut self, lsn: Lsn, written_at: UnixMillis, record: Record) -> Result<(), Rejected> {
            self.0.push((lsn, written_at, record));
            Ok(())
        }
    }

    let mut bytes = vec![0; CAPACITY];
    for (offset, line) in listing() {
        bytes[offset..offset + line.len()].copy_from_slice(&line);
    }
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("wal-00000000000000000001.log"), bytes).unwrap();
    let mut records = Records(Vec::new());
    let replayed = journal::read(&RealFs::default(), dir.path(), &mut records).unwrap().unwrap();

    assert_eq!(replayed.ending, Ending::Killed);
    assert_eq!(replayed.last.unwrap().0, header());
    let written = frames().into_iter().flat_map(|(after_ms, records)| {
        records.into_iter().map(move |record| (UnixMillis(CREATED_AT_MS + after_ms), record))
    });
    let expected: Vec<_> = (1..).map(Lsn).zip(written).map(|(lsn, (at, record))| (lsn, at, record)).collect();
    assert_eq!(records.0, expected);
}

/// The rows of one of the specification's tables: each cell of each line that begins with `|` under a heading.
fn table(heading: &str, columns: &str) -> Vec<Vec<&'static str>> {
    let section = SPECIFICATION.split_once(heading).expect(heading).1;
    let table = section.split_once(columns).expect(columns).1;
    let rows = table.lines().skip(2).take_while(|line| line.starts_with('|'));
    rows.map(|row| row.trim_matches('|').split('|').map(str::trim).collect()).collect()
}

/// The bytes of each field in the table under a heading: without gaps, up to `length`.
fn ranges(heading: &str, length: usize) -> Vec<Range<usize>> {
    let rows = table(heading, "| offset | size | meaning |");
    let ranges: Vec<_> = rows
        .iter()
        .map(|row| {
            let number = |cell: &str| cell.trim().parse::<usize>().unwrap();
            let (offset, size): (usize, usize) = (number(row[0]), row[1].split('×').map(number).product());
            offset..offset + size
        })
        .collect();
    let gapless = ranges.windows(2).all(|pair| pair[0].end == pair[1].start);
    assert!(gapless && ranges[0].start == 0 && ranges[ranges.len() - 1].end == length, "{heading}");
    ranges
}

fn starts(ranges: &[Range<usize>]) -> Vec<usize> {
    ranges.iter().map(|range| range.start).collect()
}

/// Without a check, offsets and sizes in the tables would drift from the code unnoticed.
#[test]
fn the_specifications_header_tables_are_the_codes_offsets() {
    use format::{frame_field, segment_field};
    let segment = [
        segment_field::MAGIC,
        segment_field::MAJOR,
        segment_field::MINOR,
        segment_field::COMPATIBLE,
        segment_field::INCOMPATIBLE,
        segment_field::SALT,
        segment_field::STORE_UUID,
        segment_field::NUMBER,
        segment_field::FIRST_LSN,
        segment_field::CAPACITY,
        segment_field::CREATED_AT,
        segment_field::PREDECESSOR,
        segment_field::PREDECESSOR_END,
        segment_field::PREDECESSOR_LAST_LSN,
        segment_field::PREDECESSOR_CHAIN,
        segment_field::RESERVED,
        segment_field::CHECKSUM,
    ];
    assert_eq!(starts(&ranges("## Segment", BLOCK_BYTES)), segment);
    let frame = [
        frame_field::MAGIC,
        frame_field::VERSION,
        frame_field::KIND,
        frame_field::RESERVED,
        frame_field::PAYLOAD_LEN,
        frame_field::RECORD_COUNT,
        frame_field::FIRST_LSN,
        frame_field::WRITTEN_AT,
        frame_field::CHAIN,
        frame_field::PAYLOAD_CHECKSUM,
        frame_field::RESERVED_TAIL,
        frame_field::CHECKSUM,
    ];
    assert_eq!(starts(&ranges("## Frame", FRAME_HEADER_BYTES)), frame);
}

/// The same for the numbers, names and limits in the specification's prose.
#[test]
fn the_specifications_constants_are_the_codes() {
    assert_eq!((format::FORMAT_MAJOR, format::FORMAT_MINOR), (1, 0));
    assert_eq!((format::COMPATIBLE_FEATURES, format::INCOMPATIBLE_FEATURES), (0, 1023));
    assert_eq!((BLOCK_BYTES, format::FRAME_BYTES_MAX), (4096, 1_048_576));
    assert_eq!(format::FRAME_BYTES_MAX - FRAME_HEADER_BYTES, 1_048_512);
    assert_eq!(format::PATH_BYTES_MAX, 4096);
    assert_eq!((format::TEXT_BYTES_MAX, format::HEADER_BYTES_MAX, format::HEADER_FAULTS_MAX), (1024, 16_384, 32));
    assert_eq!(format::SEGMENT_BYTES.map(|bytes| bytes >> 10), [256, 1 << 10, 4 << 10, 16 << 10]);
    let kinds = [FrameKind::Data, FrameKind::Idle, FrameKind::Seal, FrameKind::Shutdown];
    assert_eq!(kinds.map(|kind| kind as u8), [1, 2, 3, 4]);
    assert_eq!(names::LOCK, "LOCK");
    assert_eq!(names::segment(Lsn(7)), "wal-00000000000000000007.log");
    assert_eq!(names::segment_temporary(Lsn(7)), "wal-00000000000000000007.tmp");
    assert_eq!(journal::hex(&header().store), "00112233445566778899aabbccddeeff");
    assert_eq!(crc32c::crc32c(b"123456789"), 0xe306_9283);
    assert_eq!(record::RECORD_BYTES_MAX, 65_539);
}

/// The fields that the cases share.
const IDENTITY: FileIdentity = FileIdentity {
    device: 1,
    inode: 2,
    size: 3,
    mtime: FileTime { sec: -4, nsec: 5 },
    ctime: FileTime { sec: 6, nsec: 7 },
};
const IDENTITY_HEX: &str =
    "0100000000000000 0200000000000000 0300000000000000 fcffffffffffffff 05000000 0600000000000000 07000000";
const ID: IngestId = IngestId(9);
const SHA256: Sha256 = Sha256([0xab; 32]);
const PATH_HEX: &str = "0200 2f70";
const NUMBERED_HEX: &str = "1d 00 1100 0900000000000000 0201000000000000 00";

fn path() -> PathBuf {
    "/p".into()
}

/// Each case is a record, and its bytes, written by hand from the specification's tables.
fn assert_encoded(cases: Vec<(Record, String)>) {
    for (record, hex) in cases {
        let digits: Vec<u8> = hex.bytes().filter(u8::is_ascii_hexdigit).collect();
        let pairs = digits.chunks(2).map(|pair| std::str::from_utf8(pair).unwrap());
        let expected: Vec<u8> = pairs.map(|pair| u8::from_str_radix(pair, 16).unwrap()).collect();
        let mut encoded = Vec::new();
        record.encode(&mut encoded);
        assert_eq!(encoded, expected, "{record:?}");
        assert_eq!(Record::decode(&expected), Some((record, expected.len())));
    }
}

#[test]
fn the_records_of_a_files_way_are_encoded_as_specified() {
    let sha_hex = "ab".repeat(32);
    let found = Discovered {
        identity: IDENTITY,
        discovered_at: UnixMillis(8),
        source_path: path(),
        sidecar: Some(Sidecar { identity: IDENTITY, path: path() }),
    };
    let copy = Some(Copy { identity: IDENTITY, path: path() });
    let settings = Settings {
        input: path(),
        warehouse: path(),
        manifests: path(),
        duplicates: DuplicateAction::Move,
        duplicates_dir: Some(path()),
    };
    assert_encoded(vec![
        (Record::Settings(settings), format!("01 00 1200 {PATH_HEX} {PATH_HEX} {PATH_HEX} 03 01 {PATH_HEX}")),
        (
            Record::Discovered(found),
            format!("02 00 7100 {IDENTITY_HEX} 0800000000000000 {PATH_HEX} 01 {IDENTITY_HEX} {PATH_HEX}"),
        ),
        (
            Record::Hashed(Hashed {
                ingest_id: ID,
                sha256: SHA256,
                warehouse_path: path(),
                copy: None,
                verified_by: Some(Algorithm::Sha384),
            }),
            format!("10 00 2e00 0900000000000000 {sha_hex} {PATH_HEX} 00 04"),
        ),
        (
            Record::Hashed(Hashed { ingest_id: ID, sha256: SHA256, warehouse_path: path(), copy, verified_by: None }),
            format!("03 00 6100 0900000000000000 {sha_hex} {PATH_HEX} 01 {IDENTITY_HEX} {PATH_HEX}"),
        ),
        (Record::Moved(Moved { ingest_id: ID, published: None, seq: None }), "04 00 0800 0900000000000000".to_owned()),
        (
            Record::Moved(Moved { ingest_id: ID, published: Some(IDENTITY), seq: None }),
            format!("0f 00 3800 0900000000000000 {IDENTITY_HEX}"),
        ),
        (Record::Moved(Moved { ingest_id: ID, published: None, seq: Some(258) }), NUMBERED_HEX.to_owned()),
        (
            Record::Moved(Moved { ingest_id: ID, published: Some(IDENTITY), seq: Some(1) }),
            format!("1d 00 4100 0900000000000000 0100000000000000 01 {IDENTITY_HEX}"),
        ),
        (Record::Manifested(ID), "05 00 0800 0900000000000000".to_owned()),
    ]);
}

#[test]
fn the_records_that_end_a_files_way_are_encoded_as_specified() {
    let sha_hex = "ab".repeat(32);
    let skipped = SkippedDuplicate {
        ingest_id: ID,
        sha256: SHA256,
        duplicate_of: IngestId(10),
        action: DuplicateAction::Remove,
        target: Some(path()),
    };
    let profile = Profile {
        rows: Some(2),
        columns: Some(3),
        header: Some(vec!["a".to_owned(), String::new()]),
        header_faults: Vec::new(),
        fault: Some(CsvFault { line: 4, reason: "x".to_owned() }),
    };
    let header_faults = vec![HeaderFault { column: 2, first: None }, HeaderFault { column: 3, first: Some(1) }];
    let profile_of_names = Profile { columns: Some(3), header_faults, ..Profile::default() };
    let quarantined = Quarantined {
        ingest_id: ID,
        cause: QuarantineCause::Malformed,
        line: Some(4),
        detail: "x".to_owned(),
        target: path(),
    };
    assert_encoded(vec![
        (
            Record::SkippedDuplicate(skipped),
            format!("06 00 3600 0900000000000000 {sha_hex} 0a00000000000000 02 01 {PATH_HEX}"),
        ),
        (Record::DuplicateCleared(ID), "07 00 0800 0900000000000000".to_owned()),
        (
            Record::Profiled(Profiled { ingest_id: ID, sha256: SHA256, profile }),
            format!(
                "0a 00 4e00 0900000000000000 {sha_hex} 01 0200000000000000 01 0300000000000000 01 0200 0100 61 0000 01 \
                 0400000000000000 0100 78"
            ),
        ),
        (
            Record::Profiled(Profiled { ingest_id: ID, sha256: SHA256, profile: profile_of_names }),
            format!("15 00 3d00 0900000000000000 {sha_hex} 00 01 0300000000000000 00 00 02 0200 0000 0300 0100"),
        ),
        (
            Record::Quarantined(quarantined),
            format!("0b 00 1900 0900000000000000 03 01 0400000000000000 0100 78 {PATH_HEX}"),
        ),
        (Record::QuarantineDone(ID), "0c 00 0800 0900000000000000".to_owned()),
        (
            Record::Abandoned(Abandoned { ingest_id: ID, reason: AbandonReason::NeedsCopy }),
            "08 00 0900 0900000000000000 06".to_owned(),
        ),
        (
            Record::Abandoned(Abandoned { ingest_id: ID, reason: AbandonReason::Group }),
            "08 00 0900 0900000000000000 07".to_owned(),
        ),
    ]);
}

#[test]
fn the_records_of_no_single_file_are_encoded_as_specified() {
    let sha_hex = "ab".repeat(32);
    assert_encoded(vec![
        (Record::Expired(UnixMillis(8)), "09 00 0800 0800000000000000".to_owned()),
        (Record::Forgotten(SHA256.into()), format!("0d 00 2000 {sha_hex}")),
        (
            Record::Rules(Rules {
                quarantine: Some(path()),
                validation: Some(Validation { delimiter: b';', refuse: true, ..Validation::default() }),
                require_checksum: false,
            }),
            format!("0e 00 0800 01 {PATH_HEX} 01 3b 01"),
        ),
        (
            Record::Rules(Rules {
                quarantine: None,
                validation: Some(Validation { delimiter: b'\t', quote: None, ..Validation::default() }),
                require_checksum: true,
            }),
            "0e 00 0600 00 01 09 02 00 01".to_owned(),
        ),
        (
            Record::Rules(Rules {
                quarantine: None,
                validation: Some(Validation { quote: Some(b'\''), refuse: true, ..Validation::default() }),
                require_checksum: false,
            }),
            "0e 00 0500 00 01 2c 03 27".to_owned(),
        ),
        (
            Record::Rules(Rules {
                quarantine: None,
                validation: Some(Validation { comment: Some(b'#'), skip_rows: 258, ..Validation::default() }),
                require_checksum: false,
            }),
            "0e 00 0700 00 01 2c 0c 23 0201".to_owned(),
        ),
        (
            Record::ClockJumped(ClockJumped { from: Lsn(9), shift_ms: -2 }),
            "11 00 1000 0900000000000000 feffffffffffffff".to_owned(),
        ),
        (
            Record::ExpiredRanges(Ranges {
                listed: Cutoffs::new(vec![(Lsn(9), UnixMillis(8)), (Lsn(10), UnixMillis(0))]).unwrap(),
                found: Cutoffs::default(),
                old_lsn: Lsn(7),
            }),
            "12 00 2c00 0200 0900000000000000 0800000000000000 0a00000000000000 0000000000000000 0000 0700000000000000"
                .to_owned(),
        ),
        (Record::KeptGone(KeptGone { device: 1, inode: 2 }), "13 00 1000 0100000000000000 0200000000000000".to_owned()),
        (Record::Relocated(Relocated { old: path(), new: "b".into() }), format!("14 00 0700 {PATH_HEX} 0100 62")),
        (
            Record::Identity(Identity { same_by: SameBy::NameAndContent, empty: EmptyFiles::Quarantine }),
            "16 00 0200 02 03".to_owned(),
        ),
    ]);
}

#[test]
fn the_records_of_groups_are_encoded_as_specified() {
    let sha_hex = "ab".repeat(32);
    let group = |moving: &[u64], known: &[u64]| Group {
        path: path(),
        identity: IDENTITY,
        moving: moving.iter().copied().map(IngestId).collect(),
        inodes: vec![5; moving.len()],
        known: known.iter().map(|of| KnownMember { name: path(), sha256: SHA256, of: IngestId(*of) }).collect(),
    };
    assert_encoded(vec![
        (
            Record::Group(group(&[9, 11], &[])),
            format!(
                "17 00 5800 {PATH_HEX} {IDENTITY_HEX} 0200 0900000000000000 0500000000000000 0b00000000000000 \
                 0500000000000000 0000"
            ),
        ),
        (
            Record::Group(group(&[], &[7])),
            format!("17 00 6400 {PATH_HEX} {IDENTITY_HEX} 0000 0100 {PATH_HEX} {sha_hex} 0700000000000000"),
        ),
        (Record::GroupDone(Lsn(8)), "19 00 0800 0800000000000000".to_owned()),
    ]);
    // Ids that do not ascend.
    let mut bytes = Vec::new();
    Record::Group(group(&[11, 9], &[])).encode(&mut bytes);
    assert!(Record::decode(&bytes).is_none());
}

#[test]
fn a_layout_is_encoded_as_specified() {
    let layout = |name_pattern| Record::Layout(LayoutRule { template: "a".to_owned(), name_pattern });
    assert_encoded(vec![
        (layout(Some("bc".to_owned())), "18 00 0800 0100 61 01 0200 6263".to_owned()),
        (layout(None), "18 00 0400 0100 61 00".to_owned()),
    ]);
}
