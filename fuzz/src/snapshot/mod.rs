//! Journals that begin with a snapshot, made by the crate's own compaction, so that the mutated bytes are those that
//! are really written; changes to them; and a second reader of snapshots.

pub mod mutate;
pub mod oracle;
pub mod parts;

use std::path::Path;
use std::sync::LazyLock;
use std::sync::atomic::AtomicBool;

use csv_ingestor::fs::sim::SimFs;
use csv_ingestor::journal::compact::compact;
use csv_ingestor::journal::format::FrameKind;
use csv_ingestor::journal::names;
use csv_ingestor::journal::record::{
    AbandonReason, Abandoned, Discovered, DuplicateAction, Hashed, Identity, Moved, Profile, Profiled, QuarantineCause,
    Quarantined, Record, SameBy, Settings, SkippedDuplicate,
};
use csv_ingestor::types::{FileIdentity, FileTime, IngestId, Lsn, Sha256, UnixMillis};

use crate::journal::{Builder, Segment};

/// The directory of the journals.
pub const DIR: &str = "/state";
/// When the first file was found.
const BEGIN_MS: u64 = 1_767_323_045_778;
/// Contents that the journals may have, at most.
const CONTENTS: u64 = 128;

/// A journal that begins with a snapshot.
pub struct Base {
    /// A machine with the segments, but without the snapshot.
    pub machine: SimFs,
    /// The LSN in the snapshot's name.
    pub lsn: u64,
    /// The snapshot.
    pub bytes: Vec<u8>,
    /// The segments after it, at least two.
    pub segments: Vec<Segment>,
}

/// The journals: with many contents, the same folded once more, with three contents, with none.
pub static BASES: LazyLock<[Base; 4]> = LazyLock::new(|| {
    let many = Script::run(100);
    let (once, twice) = (many.folded(1), many.folded(2));
    [once, twice, Script::run(3).folded(1), Script::run(0).folded(1)]
});

/// A content's digest. Of each sixteen contents, the last two have the same first eight bytes.
pub fn sha256(content: u64) -> Sha256 {
    let word = |n: u64| {
        let mixed = (n + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        (mixed ^ mixed >> 29).wrapping_mul(0xbf58_476d_1ce4_e5b9).to_be_bytes()
    };
    let front = if content % 16 == 15 { content - 1 } else { content };
    let words = [word(front), word(content + 1000), word(content + 2000), word(content + 3000)];
    Sha256(words.concat().try_into().unwrap_or_default())
}

/// The digests of all contents that any of the journals knows or knew, and of some that none knows.
pub fn known_contents() -> impl Iterator<Item = Sha256> {
    (0..CONTENTS).map(sha256)
}

/// Writes a journal, record by record.
struct Script {
    builder: Builder,
    pending: Vec<Record>,
    segments: Vec<Segment>,
}

fn identity(number: u64) -> FileIdentity {
    let time = FileTime { sec: 1_767_323_000 - (number * 100_000_000) as i64, nsec: 500 };
    FileIdentity { device: 1, inode: number, size: number << (number % 40), mtime: time, ctime: time }
}

impl Script {
    /// The events, with this many files in the first segment; the two segments after it have a few more.
    fn run(files: u64) -> Vec<Segment> {
        let mut script = Script { builder: Builder::first(48), pending: Vec::new(), segments: Vec::new() };
        script.settings("/in");
        for content in 0..files {
            script.ingested(content);
        }
        if files > 0 {
            script.unfinished();
        }
        script.expire(30);
        script.rotate();
        if files > 0 {
            // A content that has expired comes again; a kept duplicate is another file now.
            script.ingested(5);
            script.found(201);
            script.ingested(120);
            script.expire(40);
        }
        script.settings("/in");
        script.rotate();
        script.found(121);
        script.commit(FrameKind::Data);
        script.commit(FrameKind::Idle);
        script.segments.push(script.builder.finish());
        script.segments
    }

    fn add(&mut self, record: Record) -> u64 {
        let lsn = self.builder.next_lsn() + self.pending.len() as u64;
        self.pending.push(record);
        lsn
    }

    fn commit(&mut self, kind: FrameKind) {
        self.builder.push(kind, &self.pending);
        self.pending.clear();
    }

    fn rotate(&mut self) {
        self.commit(FrameKind::Data);
        let (segment, next) = std::mem::replace(&mut self.builder, Builder::first(1)).rotate();
        self.segments.push(segment);
        self.builder = next;
    }

    fn settings(&mut self, input: &str) {
        self.add(Record::Settings(Settings {
            input: input.into(),
            warehouse: "/warehouse".into(),
            manifests: "/manifests".into(),
            duplicates: DuplicateAction::Keep,
            duplicates_dir: None,
        }));
    }

    fn expire(&mut self, after_ms: u64) {
        self.add(Record::Expired(UnixMillis(BEGIN_MS + after_ms)));
    }

    /// A file is found; its inode and time come from the number.
    fn found(&mut self, number: u64) -> IngestId {
        let identity = identity(number);
        let source_path = match number {
            50 => format!("/in/{}", "s".repeat(4_000)),
            _ if number % 10 == 3 => format!("{number}.csv"),
            _ => format!("/in/{}/{number}.csv", number % 4),
        };
        IngestId(self.add(Record::Discovered(Discovered {
            identity,
            discovered_at: UnixMillis(BEGIN_MS + number),
            source_path: source_path.into(),
            sidecar: None,
        })))
    }

    fn hashed(&mut self, number: u64, content: u64) -> IngestId {
        let ingest_id = self.found(number);
        let warehouse_path = match number {
            50 => format!("/warehouse/{}", "w".repeat(4_000)),
            _ if number % 7 == 2 => format!("/warehouse/day={}/{number}-1.csv", number % 3),
            _ => format!("/warehouse/day={}/{number}.csv", number % 3),
        };
        self.add(Record::Hashed(Hashed {
            ingest_id,
            sha256: sha256(content),
            warehouse_path: warehouse_path.into(),
            copy: None,
            verified_by: None,
        }));
        ingest_id
    }

    fn ingested(&mut self, content: u64) {
        let id = self.hashed(content, content);
        let published = (!content.is_multiple_of(3)).then(|| identity(content));
        self.add(Record::Moved(Moved { ingest_id: id, published, seq: None }));
        self.add(Record::Manifested(id));
    }

    fn duplicate(&mut self, number: u64, content: u64, action: DuplicateAction) -> IngestId {
        let ingest_id = self.found(number);
        self.add(Record::SkippedDuplicate(SkippedDuplicate {
            ingest_id,
            sha256: sha256(content),
            duplicate_of: IngestId(2),
            action,
            target: (action == DuplicateAction::Move).then(|| format!("/duplicates/{number}.csv").into()),
        }));
        ingest_id
    }

    /// A file in every state, with changes of the settings between them.
    fn unfinished(&mut self) {
        self.found(200);
        self.duplicate(201, 0, DuplicateAction::Keep);
        self.duplicate(202, 1, DuplicateAction::Keep);
        self.settings("/elsewhere");
        self.duplicate(203, 2, DuplicateAction::Move);
        let cleared = self.duplicate(204, 2, DuplicateAction::Remove);
        self.add(Record::DuplicateCleared(cleared));
        let ingest_id = self.hashed(205, 110);
        self.add(Record::Abandoned(Abandoned { ingest_id, reason: AbandonReason::Changed }));
        self.hashed(206, 111);
        // From here on, names count: the row has another key than its content's hash.
        self.add(Record::Identity(Identity { same_by: SameBy::NameAndContent, ..Identity::default() }));
        self.ingested(113);
        let moved = self.hashed(207, 112);
        self.add(Record::Moved(Moved { ingest_id: moved, published: None, seq: None }));
        self.add(Record::Forgotten(sha256(3).into()));
        for (number, is_done) in [(208, false), (209, true)] {
            let ingest_id = self.found(number);
            let profile = Profile { rows: Some(number), ..Profile::default() };
            self.add(Record::Profiled(Profiled { ingest_id, sha256: sha256(number), profile }));
            self.add(Record::Quarantined(Quarantined {
                ingest_id,
                cause: QuarantineCause::Unreadable,
                line: None,
                detail: "permission denied".to_owned(),
                target: format!("/quarantine/{number}.csv").into(),
            }));
            if is_done {
                self.add(Record::QuarantineDone(ingest_id));
            }
        }
    }
}

/// Segments that can be folded.
trait Fold {
    fn folded(&self, count: usize) -> Base;
}

impl Fold for Vec<Segment> {
    /// The journal in which this many segments are folded, one after the other.
    fn folded(&self, count: usize) -> Base {
        let machine = SimFs::new(1);
        machine.upstream().mkdir_all(DIR).unwrap();
        let with_all = machine.fork();
        for segment in self {
            with_all.upstream().write(path(&names::segment(Lsn(segment.name))), &segment.bytes).unwrap();
        }
        for until in &self[1..=count] {
            let compacted = compact(&with_all, Path::new(DIR), Lsn(until.name), &AtomicBool::new(false)).unwrap();
            assert!(compacted.is_some());
        }
        let lsn = self[count].name - 1;
        let bytes = with_all.upstream().read(path(&names::snapshot(Lsn(lsn)))).unwrap();
        let segments = self[count..].to_vec();
        for segment in &segments {
            machine.upstream().write(path(&names::segment(Lsn(segment.name))), &segment.bytes).unwrap();
        }
        Base { machine, lsn, bytes, segments }
    }
}

/// A file of a journal.
pub fn path(name: &str) -> String {
    format!("{DIR}/{name}")
}
