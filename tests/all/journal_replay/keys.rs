//! IDENTITY records: which files are the same, before and after a change, in the index, in snapshots and after a repair.

use std::ffi::OsStr;
use std::path::Path;
use std::sync::atomic::AtomicBool;

use csv_ingestor::fs::sim::SimFs;
use csv_ingestor::journal::Journal;
use csv_ingestor::journal::compact::compact;
use csv_ingestor::journal::format::FrameKind;
use csv_ingestor::journal::index::Index;
use csv_ingestor::journal::names;
use csv_ingestor::journal::record::{
    DuplicateAction, EmptyFiles, Hashed, Identity, Record, Relocated, SameBy, SkippedDuplicate,
};
use csv_ingestor::journal::repair::repair;
use csv_ingestor::types::{IngestId, Key, Lsn, Sha256, UnixMillis};

use super::generations::{STATE, machine, put, read};
use super::util::{Forge, append_all, digest, discovered, moved, settings};

const SAME: Sha256 = Sha256([7; 32]);

fn identity(same_by: SameBy) -> Record {
    Record::Identity(Identity { same_by, empty: EmptyFiles::Ingest })
}

fn hashed(id: u64, sha256: Sha256, path: &str) -> Record {
    let ingest_id = IngestId(id);
    Record::Hashed(Hashed { ingest_id, sha256, warehouse_path: path.into(), copy: None, verified_by: None })
}

/// A file from its DISCOVERED, which gets this LSN, to its MANIFESTED.
fn ingested(id: u64, source: &str) -> Vec<Record> {
    let target = format!("/warehouse/{id}.csv");
    vec![discovered(id, source), hashed(id, SAME, &target), moved(Lsn(id)), Record::Manifested(IngestId(id))]
}

fn by_name(name: &str) -> Key {
    Key::by(SameBy::NameAndContent, OsStr::new(name), &SAME)
}

fn known(state: &Index, key: &Key) -> Option<u64> {
    state.original(key).unwrap().map(|original| original.ingest_id.0)
}

fn applied(records: &[Record]) -> Index {
    let mut state = Index::default();
    for (lsn, record) in (1..).zip(records) {
        state.apply(Lsn(lsn), record).unwrap();
    }
    state
}

/// Why: a rule that changed for open files would list them twice, or skip them.
#[test]
fn a_file_keeps_the_rule_under_which_it_was_found() {
    let mut records = vec![settings(), discovered(2, "/in/a.csv"), identity(SameBy::NameAndContent)];
    records.push(discovered(4, "/in/b.csv"));
    records.push(identity(SameBy::Content));
    records.extend([hashed(2, SAME, "/warehouse/a.csv"), moved(Lsn(2)), Record::Manifested(IngestId(2))]);
    records.extend([hashed(4, SAME, "/warehouse/b.csv"), moved(Lsn(4)), Record::Manifested(IngestId(4))]);
    let mut state = applied(&records);
    assert_eq!((known(&state, &SAME.into()), known(&state, &by_name("b.csv"))), (Some(2), Some(4)));
    assert_eq!(known(&state, &by_name("a.csv")), None);
    assert_eq!(state.identity().unwrap().same_by, SameBy::Content);
    // P1, by each rule: what is known cannot be ingested again.
    let next = records.len() as u64 + 1;
    state.apply(Lsn(next), &discovered(9, "/in/c.csv")).unwrap();
    assert!(state.apply(Lsn(next + 1), &hashed(next, SAME, "/warehouse/c.csv")).is_err());
}

/// Why: the name is the path below staging, and staging may move; the settings that a snapshot keeps have the old path.
#[test]
fn a_name_survives_a_move_of_staging() {
    let mut records = vec![settings(), identity(SameBy::NameAndContent)];
    records.extend(ingested(3, "/in/sub/a.csv"));
    records.push(Record::Relocated(Relocated { old: "/in".into(), new: "/moved".into() }));
    records.extend(ingested(8, "/moved/sub/b.csv"));
    records.push(discovered(12, "/moved/sub/a.csv"));
    let fs = machine(&[]);
    let dir = Path::new(STATE);
    let mut state = Index::default();
    let (mut journal, _) = Journal::open(&fs, dir, &mut state).unwrap();
    append_all(&mut journal, &records);
    let of = |state: &Index| [known(state, &by_name("sub/a.csv")), known(state, &by_name("sub/b.csv"))];
    let whole = applied(&records);
    assert_eq!(of(&whole), [Some(3), Some(8)]);
    assert!(whole.open().all(|ingest| ingest.key(&SAME) == by_name("sub/a.csv")));
    journal.seal().unwrap();
    compact(&fs, dir, journal.active_first_lsn(), &AtomicBool::new(false)).unwrap().unwrap();
    let folded = read(&fs).unwrap().1;
    assert_eq!(of(&folded), [Some(3), Some(8)]);
    assert!(folded.open().all(|ingest| ingest.key(&SAME) == by_name("sub/a.csv")));
    assert_eq!(folded.identity(), whole.identity());
}

/// Why: a duplicate holds its original; if it held another key, the original would expire, and be ingested again.
#[test]
fn a_duplicate_refers_to_the_key_of_its_rule() {
    let mut records = vec![settings(), identity(SameBy::NameAndContent)];
    records.extend(ingested(3, "/in/a.csv"));
    records.extend(ingested(7, "/in/b.csv"));
    let (sha256, action) = (SAME, DuplicateAction::Keep);
    let skipped = SkippedDuplicate { ingest_id: IngestId(11), sha256, duplicate_of: IngestId(3), action, target: None };
    records.extend([discovered(11, "/in/a.csv"), Record::SkippedDuplicate(skipped)]);
    records.push(Record::Expired(UnixMillis(100)));
    let mut state = applied(&records);
    assert_eq!((known(&state, &by_name("a.csv")), known(&state, &by_name("b.csv"))), (Some(3), None));
    let next = Lsn(records.len() as u64 + 1);
    state.apply(next, &Record::Forgotten(by_name("a.csv"))).unwrap();
    assert_eq!((known(&state, &by_name("a.csv")), state.kept().count()), (None, 0));
}

/// Decided: where the record with a file's name is lost, its name in the warehouse stands in, and no file is known twice.
#[test]
fn a_repair_without_the_name_takes_the_one_in_the_warehouse() {
    let fs: SimFs = machine(&[]);
    let mut first = Forge::new(64 << 10);
    first.push(FrameKind::Data, &[settings(), identity(SameBy::NameAndContent)]);
    first.push(FrameKind::Data, &[discovered(3, "/in/a.csv")]);
    first.push(FrameKind::Data, &[hashed(3, SAME, "/warehouse/a-07070707.csv"), moved(Lsn(3))]);
    first.push(FrameKind::Data, &[Record::Manifested(IngestId(3))]);
    first.push(FrameKind::Data, &ingested(7, "/in/b.csv"));
    let mut last = first.successor();
    first.push(FrameKind::Seal, &[]);
    last.push(FrameKind::Data, &[discovered(11, "/in/c.csv")]);
    put(&fs, &names::segment(first.header.first_lsn), &first.bytes);
    put(&fs, &names::segment(last.header.first_lsn), &last.bytes);
    // In the header of the second frame.
    let path = Path::new(STATE).join(names::segment(Lsn(1)));
    fs.upstream().write_at(&path, 2 * 4096 + 20, &[0xff]).unwrap();
    repair(&fs, Path::new(STATE), Path::new("/copy")).unwrap().unwrap();
    let state = read(&fs).unwrap().1;
    let of = ["a.csv", "a-07070707.csv", "b.csv"].map(|name| known(&state, &by_name(name)));
    assert_eq!(of, [None, Some(3), Some(7)]);
    assert_eq!(state.identity().unwrap().same_by, SameBy::NameAndContent);
    assert_eq!(known(&state, &digest(3).into()), None);
}
