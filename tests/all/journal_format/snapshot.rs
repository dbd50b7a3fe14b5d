//! The code writes exactly the example of a snapshot in `journal-format.md`. It continues the example of a segment: the
//! manifest line is written, and then the journal is compacted.

use std::path::Path;

use csv_ingestor::fs::Fs;
use csv_ingestor::fs::sim::SimFs;
use csv_ingestor::journal::frame::{self, Position};
use csv_ingestor::journal::record::Record;
use csv_ingestor::journal::segment::{Predecessor, SegmentHeader};
use csv_ingestor::journal::snapshot::{Contents, Directories, Row, Snapshot, Spare, Survivor, Writer};
use csv_ingestor::types::{IngestId, Lsn, UnixMillis};

use super::{
    BLOCK_BYTES, CREATED_AT_MS, FRAME_HEADER_BYTES, FrameKind, frames, header, lines, ranges, segment, starts, table,
};

const SALT: u32 = 0x0ddb_a115;
const LSN: Lsn = Lsn(5);
const STATE: &str = "/state";

/// The snapshot's name and bytes, as the document lists them.
pub fn specified() -> (&'static str, Vec<u8>) {
    let mut bytes = vec![0; 7 * BLOCK_BYTES];
    let mut listed_to = 0;
    for (offset, line) in lines("```hex-snapshot") {
        assert!(offset >= listed_to, "line {offset:06x} repeats what is above it");
        listed_to = offset + line.len();
        bytes[offset..listed_to].copy_from_slice(&line);
    }
    ("snap-00000000000000000005.snap", bytes)
}

/// The end of the example's segment once MANIFESTED is written.
fn folded_in() -> Predecessor {
    let segment = segment();
    let end = segment.len();
    let last = &segment[end - BLOCK_BYTES..];
    let chain = u32::from_le_bytes(last[FRAME_HEADER_BYTES - 4..FRAME_HEADER_BYTES].try_into().unwrap());
    let mut frame = vec![0; FRAME_HEADER_BYTES];
    Record::Manifested(IngestId(2)).encode(&mut frame);
    let written_at = UnixMillis(CREATED_AT_MS + 400);
    let place = Position { next_lsn: LSN, chain };
    let chain = frame::seal_frame(&mut frame, FrameKind::Data, 1, &place, written_at, header().salt);
    Predecessor { first_lsn: Lsn(1), end: (end + BLOCK_BYTES) as u64, last_lsn: LSN, chain }
}

/// Name and bytes of the empty segment after the snapshot.
pub fn behind() -> (&'static str, Vec<u8>) {
    let header = SegmentHeader { number: 2, first_lsn: Lsn(6), predecessor: Some(folded_in()), ..header() };
    let mut bytes = header.encode().0.to_vec();
    bytes.resize(super::CAPACITY, 0);
    ("wal-00000000000000000006.log", bytes)
}

fn row() -> Row {
    let [_, (_, found), _] = frames();
    let [Record::Discovered(discovered), Record::Hashed(hashed)] = &found[..] else { unreachable!() };
    Row {
        key: hashed.sha256.into(),
        sha256: hashed.sha256,
        ingest_id: hashed.ingest_id,
        lsn: LSN,
        device: discovered.identity.device,
        inode: discovered.identity.inode,
        size: discovered.identity.size,
        mtime_sec: discovered.identity.mtime.sec,
        discovered_at: discovered.discovered_at,
        manifested_at: UnixMillis(CREATED_AT_MS + 400),
        source_path: discovered.source_path.clone(),
        warehouse_path: hashed.warehouse_path.clone(),
        published: None,
    }
}

/// Writes the example's snapshot, on a machine whose clock does not advance.
fn write(fs: &SimFs) -> Snapshot {
    fs.upstream().mkdir_all(STATE).unwrap();
    fs.set_tick(std::time::Duration::ZERO);
    fs.set_clock(UnixMillis(CREATED_AT_MS + 1000));
    let dir = fs.open_dir(Path::new(STATE)).unwrap();
    let mut writer = Writer::create(fs, &dir, LSN, SALT, 1).unwrap();
    let (mut directories, mut encoded, mut survivors) = (Directories::default(), Vec::new(), Vec::new());
    row().encode(&mut directories, &mut encoded);
    writer.push(&encoded).unwrap();
    let [(after_ms, settings), ..] = frames();
    Survivor::encode(Lsn(1), UnixMillis(CREATED_AT_MS + after_ms), &settings[0], &mut survivors);
    let contents = Contents {
        store: header().store,
        segment_number: 1,
        segment: folded_in(),
        spare: Spare::FromTheBeginning,
        forgotten: 0,
        finished: [0, 0, 0, 1, 0, 0, 0],
        last_seq: 0,
        directories,
        survivors,
    };
    writer.finish(&contents).unwrap()
}

/// As with the segment: if the document has a wrong or missing byte, another reader refuses real journals.
#[test]
fn the_specifications_snapshot_is_what_the_code_writes() {
    let fs = SimFs::new(1);
    let snapshot = write(&fs);
    assert_eq!(snapshot.rows().next_row().unwrap(), Some(row()));
    let (name, specified) = specified();
    let written = fs.upstream().read(Path::new(STATE).join(name)).unwrap();
    assert_eq!(written.len(), specified.len());
    let wrong: Vec<_> = (0..written.len()).filter(|at| written[*at] != specified[*at]).collect();
    assert!(wrong.is_empty(), "bytes that are not as specified, at {wrong:x?}");
}

/// As with the segment's and the frame's header.
#[test]
fn the_specifications_snapshot_table_is_the_codes_offsets() {
    use csv_ingestor::journal::format::{self, Section, segment_field, snapshot_field as field};
    let lists_end = field::SECTIONS + Section::COUNT * field::SECTION_BYTES;
    let expected = [
        segment_field::MAGIC,
        segment_field::MAJOR,
        field::LSN,
        field::FILE_BYTES,
        field::CREATED_AT,
        field::SEGMENT_NUMBER,
        field::SEGMENT,
        field::HAS_SPARE,
        field::SPARE_LSN,
        field::ROWS,
        field::BLOCKS,
        field::FORGOTTEN,
        field::MANIFESTED,
        field::SKIPPED,
        field::ABANDONED,
        field::BUCKET_BITS,
        field::BUCKET_BITS + 4,
        field::SECTIONS,
        field::QUARANTINED,
        field::LAST_SEQ,
        lists_end + 16,
        field::CHECKSUM,
    ];
    assert_eq!(field::QUARANTINED, lists_end);
    assert_eq!(starts(&ranges("## Snapshot", BLOCK_BYTES)), expected);
    let names = ["blocks", "buckets", "fragments", "directories", "surviving records"];
    let lists = table("**The lists.**", "| number | list | entries |");
    assert_eq!(lists.iter().map(|row| row[1]).collect::<Vec<_>>(), names);
    assert_eq!(format::SNAPSHOT_MAGIC, *b"CSVI-SNP");
    assert_eq!((format::ROW_BLOCK_HEADER_BYTES, format::ROW_BLOCK_PAGES_MAX, format::BUCKET_BITS_MAX), (8, 3, 30));
}
