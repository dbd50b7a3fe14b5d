//! Helpers of the journal's tests: sample records, a journal in a directory of its own, and segments made by hand.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use csv_ingestor::fs::Fs;
use csv_ingestor::fs::real::RealFs;
use csv_ingestor::journal::format::{BLOCK_BYTES, FRAME_HEADER_BYTES, FrameKind};
use csv_ingestor::journal::frame::{self, FrameHeader, Position};
use csv_ingestor::journal::index::Index;
use csv_ingestor::journal::record::{Discovered, DuplicateAction, Hashed, Moved, Record, Settings};
use csv_ingestor::journal::replay::{Replayed, Visitor};
use csv_ingestor::journal::segment::{Predecessor, SegmentHeader};
use csv_ingestor::journal::snapshot::Snapshot;
use csv_ingestor::journal::{self, Corrupt, Error, Journal, Rejected, names};
use csv_ingestor::types::{FileIdentity, FileTime, IngestId, Lsn, Sha256, UnixMillis};

/// A frame, and its segment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Located {
    pub(crate) segment: Lsn,
    pub(crate) offset: u64,
    pub(crate) header: FrameHeader,
}

/// Collects a journal's segments, frames and records, and folds them.
#[derive(Default)]
pub(crate) struct Collected {
    pub(crate) segments: Vec<SegmentHeader>,
    pub(crate) frames: Vec<Located>,
    pub(crate) records: Vec<(Lsn, Record)>,
    pub(crate) snapshot: Option<Arc<Snapshot>>,
    pub(crate) state: Index,
}

impl Visitor for Collected {
    fn restart(&mut self) {
        *self = Collected::default();
    }

    fn segment(&mut self, header: &SegmentHeader) {
        self.segments.push(header.clone());
    }

    fn frame(&mut self, offset: u64, header: &FrameHeader) {
        let segment = self.segments.last().expect("a frame is in a segment").first_lsn;
        self.frames.push(Located { segment, offset, header: *header });
    }

    fn snapshot(&mut self, snapshot: &Arc<Snapshot>) -> Result<(), Error> {
        self.state = Index::from_snapshot(snapshot)?;
        self.snapshot = Some(snapshot.clone());
        Ok(())
    }

    fn record(&mut self, lsn: Lsn, written_at: UnixMillis, record: Record) -> Result<(), Rejected> {
        self.state.apply_at(lsn, written_at, &record)?;
        self.records.push((lsn, record));
        Ok(())
    }
}

pub(crate) fn open_on<F: Fs>(fs: &F, dir: &Path) -> Result<(Journal<F>, Replayed, Collected), Error> {
    let mut collected = Collected::default();
    let (journal, replayed) = Journal::open(fs, dir, &mut collected)?;
    Ok((journal, replayed, collected))
}

/// Opens a journal that this process may have closed a moment ago. A child of another test may still hold the lock's
/// descriptor, between its fork and its exec.
pub(crate) fn open(dir: &Path) -> Result<(Journal<RealFs>, Replayed, Collected), Error> {
    for _ in 0..100 {
        match open_on(&RealFs::default(), dir) {
            Err(Error::Locked { .. }) => std::thread::sleep(std::time::Duration::from_millis(10)),
            opened => return opened,
        }
    }
    open_on(&RealFs::default(), dir)
}

/// Reads an existing journal.
pub(crate) fn read(dir: &Path) -> Result<(Replayed, Collected), Error> {
    let mut collected = Collected::default();
    let replayed = journal::read(&RealFs::default(), dir, &mut collected)?;
    Ok((replayed.expect("there is a journal"), collected))
}

/// Every file in the directory with its bytes.
pub(crate) fn contents(dir: &Path) -> BTreeMap<OsString, Vec<u8>> {
    let entries = std::fs::read_dir(dir).expect("directory").map(|entry| entry.expect("entry"));
    entries.map(|entry| (entry.file_name(), std::fs::read(entry.path()).expect("file"))).collect()
}

/// Makes the directory hold these files and no others.
pub(crate) fn restore(dir: &Path, files: &BTreeMap<OsString, Vec<u8>>) {
    for entry in std::fs::read_dir(dir).expect("directory") {
        std::fs::remove_file(entry.expect("entry").path()).expect("remove");
    }
    for (name, bytes) in files {
        std::fs::write(dir.join(name), bytes).expect("write");
    }
}

/// Checks that reading and opening are both refused, for the same reason, and leave every byte unchanged.
pub(crate) fn refused(dir: &Path) -> Error {
    let before = contents(dir);
    let mut collected = Collected::default();
    let read = journal::read(&RealFs::default(), dir, &mut collected).expect_err("reading is refused");
    assert!(contents(dir) == before, "reading modified the directory ({read})");
    let opened = open(dir).err().expect("opening is refused");
    assert!(contents(dir) == before, "a refused start modified the directory ({opened})");
    assert_eq!(read.to_string(), opened.to_string());
    opened
}

/// The damage because of which both are refused.
pub(crate) fn corrupt(dir: &Path) -> Corrupt {
    match refused(dir) {
        Error::Corrupt(corrupt) => *corrupt,
        other => panic!("{other}"),
    }
}

pub(crate) fn segment_path(dir: &Path, first_lsn: Lsn) -> PathBuf {
    dir.join(names::segment(first_lsn))
}

pub(crate) fn settings() -> Record {
    Record::Settings(Settings {
        input: "/in".into(),
        warehouse: "/warehouse".into(),
        manifests: "/manifests".into(),
        duplicates: DuplicateAction::Keep,
        duplicates_dir: None,
    })
}

pub(crate) fn identity(seed: u64) -> FileIdentity {
    let time = FileTime { sec: 1_700_000_000 + seed as i64, nsec: seed as u32 };
    FileIdentity { device: 1, inode: seed, size: seed * 10, mtime: time, ctime: time }
}

pub(crate) fn digest(seed: u64) -> Sha256 {
    let mut bytes = [0x5a; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    Sha256(bytes)
}

pub(crate) fn discovered(seed: u64, path: &str) -> Record {
    Record::Discovered(Discovered {
        identity: identity(seed),
        discovered_at: UnixMillis(seed),
        source_path: path.into(),
        sidecar: None,
    })
}

pub(crate) fn hashed(id: Lsn, path: &str) -> Record {
    let ingest_id = IngestId(id.0);
    Record::Hashed(Hashed {
        ingest_id,
        sha256: digest(id.0),
        warehouse_path: path.into(),
        copy: None,
        verified_by: None,
    })
}

pub(crate) fn moved(id: Lsn) -> Record {
    Record::Moved(Moved { ingest_id: IngestId(id.0), published: None, seq: None })
}

/// DISCOVERED and HASHED of `count` files, whose ids are predicted from the LSN that the journal will assign next.
pub(crate) fn batch(next_lsn: Lsn, count: u64, path: &str) -> Vec<Record> {
    let ids = (0..count).map(|index| next_lsn.plus(2 * index));
    ids.flat_map(|id| [discovered(id.0, path), hashed(id, path)]).collect()
}

/// Appends all the records, in as many frames as needed.
pub(crate) fn append_all<F: Fs>(journal: &mut Journal<F>, mut records: &[Record]) -> u64 {
    let mut frames = 0;
    while !records.is_empty() {
        let count = journal.append(records).expect("append");
        assert!(count > 0, "append makes progress");
        records = &records[count..];
        frames += 1;
    }
    frames
}

/// A segment made by hand, for cases that no run of the program writes.
pub(crate) struct Forge {
    pub(crate) header: SegmentHeader,
    pub(crate) bytes: Vec<u8>,
    pub(crate) end: usize,
    pub(crate) place: Position,
    /// The time at which its frames are written.
    pub(crate) now: UnixMillis,
}

impl Forge {
    pub(crate) fn new(capacity: u64) -> Forge {
        Forge::with(SegmentHeader {
            salt: 0x0123_4567,
            store: [7; 16],
            number: 1,
            first_lsn: Lsn(1),
            capacity,
            created_at: UnixMillis(1_000),
            predecessor: None,
        })
    }

    pub(crate) fn with(header: SegmentHeader) -> Forge {
        let (block, chain) = header.encode();
        let mut bytes = vec![0; header.capacity as usize];
        bytes[..BLOCK_BYTES].copy_from_slice(&block);
        let place = Position { next_lsn: header.first_lsn, chain };
        Forge { header, bytes, end: BLOCK_BYTES, place, now: UnixMillis(2_000) }
    }

    /// The successor that a start or a rotation would create.
    pub(crate) fn successor(&self) -> Forge {
        let predecessor = self.predecessor();
        Forge::with(SegmentHeader {
            salt: self.header.salt + 1,
            number: self.header.number + 1,
            first_lsn: predecessor.successor_first_lsn(),
            predecessor: Some(predecessor),
            ..self.header.clone()
        })
    }

    pub(crate) fn predecessor(&self) -> Predecessor {
        Predecessor {
            first_lsn: self.header.first_lsn,
            end: self.end as u64,
            last_lsn: Lsn(self.place.next_lsn.0 - 1),
            chain: self.place.chain,
        }
    }

    /// A frame's bytes, and the chain value after it.
    pub(crate) fn frame(&self, kind: FrameKind, records: &[Record], place: &Position) -> (Vec<u8>, u32) {
        let mut frame = vec![0; FRAME_HEADER_BYTES];
        records.iter().for_each(|record| record.encode(&mut frame));
        if kind == FrameKind::Seal {
            frame.extend_from_slice(&self.predecessor().successor_first_lsn().0.to_le_bytes());
        }
        let count = records.len() as u32;
        let chain = frame::seal_frame(&mut frame, kind, count, place, self.now, self.header.salt);
        (frame, chain)
    }

    /// Appends a frame.
    pub(crate) fn push(&mut self, kind: FrameKind, records: &[Record]) {
        let (frame, chain) = self.frame(kind, records, &self.place);
        self.bytes[self.end..self.end + frame.len()].copy_from_slice(&frame);
        self.end += frame.len();
        self.place = Position { next_lsn: self.place.next_lsn.plus(records.len() as u64), chain };
    }

    /// Writes these bytes at this offset.
    pub(crate) fn put(&mut self, at: usize, bytes: &[u8]) {
        self.bytes[at..at + bytes.len()].copy_from_slice(bytes);
    }

    /// Writes the segment, and a lock file as a journal has one.
    pub(crate) fn write(&self, dir: &Path) -> PathBuf {
        let path = segment_path(dir, self.header.first_lsn);
        std::fs::write(&path, &self.bytes).expect("write");
        let lock = format!("{:>10}\n{}\n", 1, journal::hex(&self.header.store));
        std::fs::write(dir.join(names::LOCK), lock).expect("write");
        path
    }
}
