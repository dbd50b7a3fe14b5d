//! The journal of two generations, record by record.

use std::collections::HashMap;

use csv_ingestor::journal::format::{BLOCK_BYTES, FRAME_HEADER_BYTES, FrameKind};
use csv_ingestor::journal::record::{
    AbandonReason, Abandoned, Copy, Discovered, DuplicateAction, Hashed, Moved, Profile, Profiled, QuarantineCause,
    Quarantined, Record, Settings, Sidecar, SkippedDuplicate,
};
use csv_ingestor::journal::segment::SegmentHeader;
use csv_ingestor::types::{IngestId, Lsn, Sha256, UnixMillis};
use sha2::Digest as _;

use super::util::{Forge, identity, settings};

/// Space for twelve frames of one block each.
const CAPACITY: u64 = 56 << 10;

/// MOVED; the published identity is noted only for some files, as in a journal that older versions began.
pub(super) fn moved(id: u64) -> Record {
    let published = (!id.is_multiple_of(3)).then(|| identity(id));
    Record::Moved(Moved { ingest_id: IngestId(id), published, seq: None })
}

/// A frame and its content.
#[derive(Clone, Debug)]
pub(super) struct Frame {
    pub(super) offset: usize,
    pub(super) payload_len: usize,
    pub(super) kind: FrameKind,
    pub(super) first_lsn: Lsn,
    pub(super) records: Vec<Record>,
}

impl Frame {
    /// The end of the bytes that its checksums cover.
    pub(super) fn covered_end(&self) -> usize {
        self.offset + FRAME_HEADER_BYTES + self.payload_len
    }

    pub(super) fn padded_end(&self) -> usize {
        self.covered_end().next_multiple_of(BLOCK_BYTES)
    }

    /// The LSN after its last record.
    pub(super) fn next_lsn(&self) -> Lsn {
        self.first_lsn.plus(self.records.len() as u64)
    }
}

/// A segment.
#[derive(Clone)]
pub(super) struct Segment {
    pub(super) lsn: Lsn,
    pub(super) bytes: Vec<u8>,
    pub(super) frames: Vec<Frame>,
}

/// A content's digest: as uniform as real ones.
pub(super) fn content(seed: u64) -> Sha256 {
    Sha256(sha2::Sha256::digest(seed.to_le_bytes()).into())
}

pub(super) fn found_at(id: u64) -> UnixMillis {
    UnixMillis(1_000_000 + id * 1_000)
}

struct Script {
    forge: Forge,
    frames: Vec<Frame>,
    done: Vec<Segment>,
    /// The newest ingest of each content.
    ids: HashMap<u64, u64>,
    /// The number of the last manifest line.
    last_seq: u64,
}

impl Script {
    fn lsn(&self) -> u64 {
        self.forge.place.next_lsn.0
    }

    fn frame(&mut self, kind: FrameKind, mut records: Vec<Record>) {
        for record in &mut records {
            // Those of older versions and of lakes have none.
            if let Record::Moved(moved) = record
                && !moved.ingest_id.0.is_multiple_of(4)
            {
                self.last_seq += 1;
                moved.seq = Some(self.last_seq);
            }
        }
        let (offset, first_lsn) = (self.forge.end, self.forge.place.next_lsn);
        let mut payload = Vec::new();
        records.iter().for_each(|record| record.encode(&mut payload));
        let payload_len = if kind == FrameKind::Seal { 8 } else { payload.len() };
        // After all of its files were discovered.
        self.forge.now = UnixMillis(found_at(self.lsn() + records.len() as u64).0 + 500);
        self.forge.push(kind, &records);
        self.frames.push(Frame { offset, payload_len, kind, first_lsn, records });
    }

    fn data(&mut self, records: Vec<Record>) {
        self.frame(FrameKind::Data, records);
    }

    /// Continues in the next segment.
    fn next(&mut self, is_sealed: bool) {
        let next = self.forge.successor();
        if is_sealed {
            self.frame(FrameKind::Seal, Vec::new());
        }
        let full = std::mem::replace(&mut self.forge, next);
        let frames = std::mem::take(&mut self.frames);
        self.done.push(Segment { lsn: full.header.first_lsn, bytes: full.bytes, frames });
    }

    /// Files that are discovered, moved and listed; each with a name of its own.
    fn ingest(&mut self, files: &[(u64, String)]) {
        let mut ids = Vec::new();
        let mut records = Vec::new();
        for (seed, name) in files {
            let id = self.lsn() + records.len() as u64;
            ids.push(id);
            // A file with a long name gets another one in the warehouse, so that its row takes two pages.
            let other = if name.len() > 2_000 { format!("{}w", &name[1..]) } else { name.clone() };
            records.extend([found(id, id, name), self.hashed(id, *seed, &other)]);
        }
        self.data(records);
        self.data(ids.iter().map(|id| moved(*id)).collect());
        self.data(ids.iter().map(|id| Record::Manifested(IngestId(*id))).collect());
    }

    fn hashed(&mut self, id: u64, seed: u64, name: &str) -> Record {
        self.ids.insert(seed, id);
        let warehouse_path = format!("/warehouse/ingest_date=2026-01-{:02}/{name}", id % 28).into();
        Record::Hashed(Hashed {
            ingest_id: IngestId(id),
            sha256: content(seed),
            warehouse_path,
            copy: None,
            verified_by: None,
        })
    }

    fn skipped(&self, id: u64, seed: u64, action: DuplicateAction) -> Record {
        let target = (action == DuplicateAction::Move).then(|| format!("/duplicates/{id}.csv").into());
        let (ingest_id, duplicate_of) = (IngestId(id), IngestId(self.ids[&seed]));
        Record::SkippedDuplicate(SkippedDuplicate { ingest_id, sha256: content(seed), duplicate_of, action, target })
    }

    /// DISCOVERED, and the records that `then` makes with its id.
    fn file(&mut self, inode: Option<u64>, then: impl FnOnce(&mut Script, u64) -> Vec<Record>) -> u64 {
        let id = self.lsn();
        let mut records = vec![found(id, inode.unwrap_or(id), &format!("{id}.csv"))];
        records.extend(then(self, id));
        self.data(records);
        id
    }
}

fn found(id: u64, inode: u64, name: &str) -> Record {
    let (identity, source_path) = (identity(inode), format!("/in/{name}").into());
    Record::Discovered(Discovered { identity, discovered_at: found_at(id), source_path, sidecar: None })
}

fn profiled(id: u64, seed: u64) -> Record {
    let header = Some(vec!["id".to_owned(), "name".to_owned()]);
    let profile = Profile { rows: Some(3), columns: Some(2), header, ..Profile::default() };
    Record::Profiled(Profiled { ingest_id: IngestId(id), sha256: content(seed), profile })
}

fn quarantined(id: u64) -> Record {
    Record::Quarantined(Quarantined {
        ingest_id: IngestId(id),
        cause: QuarantineCause::Malformed,
        line: Some(2),
        detail: "it has 3 columns, the first line 2".to_owned(),
        target: format!("/quarantine/{id}.csv").into(),
    })
}

fn changed_settings(input: &str, duplicates: DuplicateAction) -> Record {
    let Record::Settings(before) = settings() else { unreachable!() };
    let duplicates_dir = (duplicates == DuplicateAction::Move).then(|| "/duplicates".into());
    Record::Settings(Settings { input: input.into(), duplicates, duplicates_dir, ..before })
}

fn numbered(contents: std::ops::RangeInclusive<u64>) -> Vec<(u64, String)> {
    contents.map(|seed| (seed, format!("{seed:03}.csv"))).collect()
}

fn long(letter: &str) -> String {
    format!("{}.csv", letter.repeat(1_500))
}

/// Inodes of duplicates that stay in staging.
const KEPT: [u64; 3] = [9_001, 9_002, 9_003];

/// Before the spare generation: two segments. Returns the files that stay unfinished.
fn beginning(script: &mut Script) -> [u64; 4] {
    script.data(vec![settings()]);
    script.ingest(&numbered(1..=12));
    script.next(true);
    script.ingest(&[numbered(13..=20), vec![(21, long("y")), (22, long("z"))]].concat());
    let mut records = Vec::new();
    for (inode, seed) in KEPT.into_iter().zip([1, 2]) {
        let id = script.lsn() + records.len() as u64;
        let skipped = script.skipped(id, seed, DuplicateAction::Keep);
        records.extend([found(id, inode, &format!("kept-{seed}.csv")), skipped]);
    }
    script.data(records);
    // A duplicate that was moved away, and a file that was abandoned.
    let id = script.lsn();
    let gone = Record::Abandoned(Abandoned { ingest_id: IngestId(id + 3), reason: AbandonReason::Vanished });
    let skipped = script.skipped(id, 5, DuplicateAction::Move);
    let cleared = Record::DuplicateCleared(IngestId(id));
    script.data(vec![found(id, id, "moved.csv"), skipped, cleared, found(id + 3, id + 3, "gone.csv"), gone]);
    let first = script.lsn();
    let mut with_sidecar = found(first, first, "sidecar.csv");
    if let Record::Discovered(found) = &mut with_sidecar {
        found.sidecar = Some(Sidecar { identity: identity(first + 500), path: "/in/sidecar.csv.ok".into() });
    }
    let mut copied = script.hashed(first + 1, 50, "copied.csv");
    if let Record::Hashed(hashed) = &mut copied {
        hashed.copy = Some(Copy { identity: identity(first + 501), path: "/warehouse/.tmp/copy".into() });
    }
    let half = script.hashed(first + 3, 51, "half.csv");
    let skipped = script.skipped(first + 6, 3, DuplicateAction::Remove);
    script.data(vec![
        with_sidecar,
        found(first + 1, first + 1, "copied.csv"),
        copied,
        found(first + 3, first + 3, "half.csv"),
        half,
        moved(first + 3),
        found(first + 6, first + 6, "duplicate.csv"),
        skipped,
    ]);
    script.next(true);
    [first, first + 1, first + 3, first + 6]
}

/// The spare generation's segments. Returns the files that stay unfinished.
fn spare(script: &mut Script, half_done: [u64; 4]) -> [u64; 4] {
    let [sidecar, _, half, duplicate] = half_done;
    script.data(vec![changed_settings("/in2", DuplicateAction::Move)]);
    let hashed = script.hashed(sidecar, 52, "sidecar.csv");
    script.data(vec![hashed, Record::Manifested(IngestId(half))]);
    script.data(vec![moved(sidecar)]);
    script.file(Some(KEPT[0]), |script, id| vec![script.hashed(id, 53, "was-kept.csv"), moved(id)]);
    let id = script.lsn() - 3;
    script.data(vec![Record::Manifested(IngestId(id)), Record::Manifested(IngestId(sidecar))]);
    script.frame(FrameKind::Idle, Vec::new());
    script.next(true);
    // Contents 1 to 8 are old now. 2 and 3 have duplicates that refer to them; 4 is ingested again.
    let before = found_at(script.ids[&9]);
    script.data(vec![Record::Expired(before)]);
    script.ingest(&[(4, "again.csv".to_owned())]);
    // Two young contents, of which one is ingested again. And files that are quarantined.
    script.data(vec![Record::Forgotten(content(17).into()), Record::Forgotten(content(18).into())]);
    script.ingest(&[(18, "wanted-again.csv".to_owned())]);
    script.file(None, |_, id| vec![quarantined(id), Record::QuarantineDone(IngestId(id))]);
    let end = script.forge.end;
    script.next(false);
    // The remains of a torn write.
    script.done.last_mut().unwrap().bytes[end + 30..end + 5_000].fill(0x55);
    // A start that wrote nothing.
    script.next(true);
    script.ingest(&[(60, format!("{}.csv", "x".repeat(2_100)))]);
    script.ingest(&numbered(61..=64));
    script.file(Some(KEPT[2]), |script, id| vec![script.skipped(id, 61, DuplicateAction::Keep)]);
    let first = script.lsn();
    let hashed = [script.hashed(first + 1, 70, "p2.csv"), script.hashed(first + 3, 71, "p3.csv")];
    let [second, third] = hashed;
    let skipped = script.skipped(first + 6, 62, DuplicateAction::Move);
    script.data(vec![
        found(first, first, "p1.csv"),
        found(first + 1, first + 1, "p2.csv"),
        second,
        found(first + 3, first + 3, "p3.csv"),
        third,
        moved(first + 3),
        found(first + 6, first + 6, "p4.csv"),
        skipped,
        Record::DuplicateCleared(IngestId(duplicate)),
    ]);
    script.frame(FrameKind::Shutdown, Vec::new());
    script.next(true);
    [first, first + 1, first + 3, first + 6]
}

/// The segments after the newest snapshot.
fn newest(script: &mut Script, half_done: [u64; 4], last: FrameKind) {
    let [first, _, third, fourth] = half_done;
    script.data(vec![changed_settings("/in", DuplicateAction::Keep)]);
    let hashed = script.hashed(first, 72, "p1.csv");
    script.data(vec![Record::Manifested(IngestId(third)), hashed]);
    script.ingest(&numbered(80..=81));
    script.frame(FrameKind::Idle, Vec::new());
    script.next(true);
    // Rows of the newest snapshot are old now. One of their contents is ingested again.
    let before = found_at(script.ids[&16]);
    script.data(vec![Record::Expired(before)]);
    script.ingest(&[(10, "back.csv".to_owned())]);
    // Young rows of the newest snapshot; one of them has a duplicate that stays in staging.
    script.data(vec![Record::Forgotten(content(60).into()), Record::Forgotten(content(61).into())]);
    script.ingest(&[(60, "again-60.csv".to_owned())]);
    script.data(vec![Record::DuplicateCleared(IngestId(fourth))]);
    script.file(None, |_, id| {
        vec![Record::Abandoned(Abandoned { ingest_id: IngestId(id), reason: AbandonReason::Changed })]
    });
    script.file(Some(KEPT[2]), |script, id| vec![script.skipped(id, 80, DuplicateAction::Keep)]);
    script.next(true);
    script.ingest(&numbered(82..=82));
    script.file(None, |script, id| vec![profiled(id, 92), script.hashed(id, 92, "q4.csv")]);
    script.file(None, |_, id| vec![quarantined(id)]);
    script.file(None, |_, _| Vec::new());
    script.file(None, |script, id| vec![script.hashed(id, 91, "q3.csv"), moved(id)]);
    script.file(None, |script, id| vec![script.skipped(id, 63, DuplicateAction::Remove)]);
    script.file(None, |script, id| vec![script.hashed(id, 90, "q2.csv")]);
    match last {
        FrameKind::Data => {}
        kind => script.frame(kind, Vec::new()),
    }
    script.next(false);
}

/// All segments, and all contents that a record names, with some more.
pub(super) fn script(seed: u8, last: FrameKind) -> (Vec<Segment>, Vec<Sha256>) {
    let forge = Forge::with(SegmentHeader {
        salt: 0x0123_4567 * u32::from(seed),
        store: [seed; 16],
        number: 1,
        first_lsn: Lsn(1),
        capacity: CAPACITY,
        created_at: UnixMillis(1_000),
        predecessor: None,
    });
    let mut script = Script { forge, frames: Vec::new(), done: Vec::new(), ids: HashMap::new(), last_seq: 0 };
    let half_done = beginning(&mut script);
    let half_done = spare(&mut script, half_done);
    newest(&mut script, half_done, last);
    (script.done, (0..100).map(content).collect())
}
