//! Compaction: the journal's content is the same before it, after it, and wherever it is interrupted.

mod random;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::atomic::AtomicBool;

use super::util::{append_all, discovered, hashed, identity, moved, open, open_on, settings};
use csv_ingestor::fs::sim::{Fault, Op, SimFs};
use csv_ingestor::fs::{Fs, real::RealFs};
use csv_ingestor::journal::compact::{Compacted, compact};
use csv_ingestor::journal::files::Files;
use csv_ingestor::journal::format::snapshot_field as field;
use csv_ingestor::journal::index::Index;
use csv_ingestor::journal::ingest::{Ingest, Kept};
use csv_ingestor::journal::lifecycle::{FileState, StateCounts};
use csv_ingestor::journal::record::{
    AbandonReason, Abandoned, Discovered, DuplicateAction, Hashed, LayoutRule, Record, Rules, SkippedDuplicate,
};
use csv_ingestor::journal::snapshot::Spare;
use csv_ingestor::journal::verify::{SpareVerdict, verify};
use csv_ingestor::journal::{self, Journal, names};
use csv_ingestor::types::{IngestId, Lsn, Sha256, UnixMillis};

fn dir() -> &'static Path {
    Path::new("/state")
}

/// Contents for the tests: some share the first 8 bytes of their SHA-256, some the first 31.
fn content(seed: u64) -> Sha256 {
    let mut bytes = [0x5a; 32];
    bytes[..8].copy_from_slice(&(seed / 3).wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes());
    match seed % 3 {
        0 => {}
        1 => bytes[8] = 1,
        _ => bytes[31] = 1,
    }
    Sha256(bytes)
}

/// Everything that can be read from an index.
#[derive(Debug, PartialEq)]
struct Told {
    settings: Option<csv_ingestor::journal::record::Settings>,
    open: Vec<Ingest>,
    groups: Vec<std::sync::Arc<csv_ingestor::journal::groups::OpenGroup>>,
    kept: Vec<Kept>,
    originals: BTreeMap<u64, (IngestId, String, UnixMillis, Option<Lsn>)>,
    rules: Rules,
    layout: LayoutRule,
    counts: (StateCounts, u64),
}

const CONTENTS: u64 = 24;

fn told(state: &Index) -> Told {
    let mut kept: Vec<Kept> = state.kept().copied().collect();
    kept.sort_by_key(|kept| kept.identity.key());
    let original = |seed| {
        let found = state.original(&content(seed).into()).unwrap()?;
        let path = found.warehouse_path.to_str().unwrap().to_owned();
        Some((seed, (found.ingest_id, path, found.discovered_at, found.finished)))
    };
    Told {
        settings: state.settings().map(|settings| (**settings).clone()),
        open: state.open().cloned().collect(),
        groups: state.groups().cloned().collect(),
        kept,
        originals: (0..CONTENTS).filter_map(original).collect(),
        rules: state.rules().clone(),
        layout: state.layout().clone(),
        counts: (FileState::ALL.map(|each| state.count(each)), state.last_seq()),
    }
}

fn read_on<F: Fs>(fs: &F, dir: &Path) -> Index {
    let mut state = Index::default();
    journal::read(fs, dir, &mut state).unwrap();
    state
}

fn compact_now<F: Fs>(fs: &F, dir: &Path, journal: &Journal<F>) -> Option<Compacted> {
    compact(fs, dir, journal.active_first_lsn(), &AtomicBool::new(false)).unwrap()
}

/// Every course that a file can take: `count` files, every fifth one a kept duplicate, some abandoned, the last two
/// unfinished.
fn history(first_lsn: Lsn, seeds: std::ops::Range<u64>) -> Vec<Record> {
    let mut records = vec![settings()];
    let end = seeds.end;
    for seed in seeds {
        let id = first_lsn.plus(records.len() as u64);
        records.push(discovered(1000 + seed, &format!("/in/{seed}.csv")));
        let ingest_id = IngestId(id.0);
        if seed % 5 == 4 {
            let (duplicate_of, action) = (IngestId(2), DuplicateAction::Keep);
            let sha256 = content(seed - 1);
            let skipped = SkippedDuplicate { ingest_id, sha256, duplicate_of, action, target: None };
            records.push(Record::SkippedDuplicate(skipped));
            continue;
        }
        if seed % 5 == 3 && seed % 2 == 0 {
            records.push(Record::Abandoned(Abandoned { ingest_id, reason: AbandonReason::Changed }));
            continue;
        }
        let warehouse_path = format!("/warehouse/ingest_date=2026-01-{:02}/{seed}.csv", seed % 28 + 1).into();
        let (sha256, copy) = (content(seed), None);
        records.push(Record::Hashed(Hashed { ingest_id, sha256, warehouse_path, copy, verified_by: None }));
        if seed + 2 == end {
            continue;
        }
        records.push(moved(id));
        if seed + 1 < end {
            records.push(Record::Manifested(ingest_id));
        }
    }
    records
}

/// Two contents that share a prefix are two contents, however long the prefix is: the index is only a hint, and the whole
/// SHA-256 decides. Otherwise a new file would be skipped as a duplicate of another, and be lost.
#[test]
fn contents_with_equal_prefixes_are_told_apart() {
    let dir = tempfile::tempdir().unwrap();
    let (mut journal, ..) = open(dir.path()).unwrap();
    let mut records = vec![settings()];
    // Of each three that share a prefix, one is left out.
    let brought: BTreeSet<u64> = (0..300).filter(|seed| seed / 3 % 3 != seed % 3).collect();
    for seed in &brought {
        let id = Lsn(records.len() as u64 + 1);
        records.push(discovered(1000 + seed, "/in/a"));
        let (ingest_id, warehouse_path) = (IngestId(id.0), format!("/warehouse/{seed}").into());
        let (sha256, copy) = (content(*seed), None);
        records.push(Record::Hashed(Hashed { ingest_id, sha256, warehouse_path, copy, verified_by: None }));
        records.extend([moved(id), Record::Manifested(ingest_id)]);
    }
    append_all(&mut journal, &records);
    journal.shut_down().unwrap();
    let (journal, ..) = open(dir.path()).unwrap();
    let snapshot = compact_now(&RealFs::default(), dir.path(), &journal).unwrap().snapshot;
    assert_eq!(snapshot.header().rows, brought.len() as u64);
    for seed in 0..300 {
        let found = snapshot.find(&content(seed).into()).unwrap();
        let path = found.map(|row| row.warehouse_path.to_str().unwrap().to_owned());
        assert_eq!(path, brought.contains(&seed).then(|| format!("/warehouse/{seed}")), "content {seed}");
    }
}

/// A compaction keeps one earlier generation, and nothing older.
#[test]
fn the_generation_before_stays_and_nothing_older() {
    let place = tempfile::tempdir().unwrap();
    let fs = RealFs::default();
    let mut known = Vec::new();
    for round in 0..5_u64 {
        let (mut journal, ..) = open(place.path()).unwrap();
        let records = history(journal.next_lsn(), 4 * round..4 * round + 4);
        append_all(&mut journal, &records);
        journal.shut_down().unwrap();
        let (journal, _, before) = open(place.path()).unwrap();
        let compacted = compact_now(&fs, place.path(), &journal).unwrap();
        let after = read_on(&fs, place.path());
        assert_eq!(told(&after), told(&before.state), "round {round}");
        let spare = known.last().map_or(Spare::FromTheBeginning, |lsn| Spare::Snapshot(*lsn));
        assert_eq!(compacted.snapshot.header().spare, spare);
        known.push(compacted.snapshot.header().lsn);
        let files = Files::list(&fs, &fs.open_dir(place.path()).unwrap()).unwrap();
        assert_eq!(files.snapshots, known[known.len().saturating_sub(2)..], "round {round}");
        let begin = known.iter().rev().nth(1).copied().unwrap_or(Lsn(0));
        assert!(files.segments.iter().all(|lsn| *lsn > begin), "round {round}: {files:?}");
        assert!(files.temporaries.is_empty());
        let verified = verify(&fs, place.path()).unwrap().unwrap();
        assert!(matches!(verified.spare, Some(SpareVerdict::Intact(_))), "round {round}");
        journal.shut_down().unwrap();
        // The older generation has the same content, so a lost snapshot costs nothing.
        let aside = place.path().with_extension("aside");
        let newest = place.path().join(journal::names::snapshot(known[known.len() - 1]));
        std::fs::rename(&newest, &aside).unwrap();
        assert_eq!(told(&read_on(&fs, place.path())), told(&before.state), "round {round}, the generation before");
        std::fs::rename(&aside, &newest).unwrap();
    }
}

/// A journal on a simulated disk after `compactions` compactions, with records after the last one.
fn machine(compactions: u64) -> SimFs {
    let fs = SimFs::new(7);
    for round in 0..=compactions {
        let (mut journal, ..) = open_on(&fs, dir()).unwrap();
        let records = history(journal.next_lsn(), 4 * round..4 * round + 4);
        append_all(&mut journal, &records);
        journal.shut_down().unwrap();
        if round < compactions {
            let (journal, ..) = open_on(&fs, dir()).unwrap();
            compact_now(&fs, dir(), &journal).unwrap();
            journal.shut_down().unwrap();
        }
    }
    fs
}

/// A whole compaction, as `journal compact` does it, and the mark and the shutdown that are appended besides.
fn compact_once(fs: &SimFs) -> Result<(), journal::Error> {
    let mut state = Index::default();
    let (mut journal, _) = Journal::open(fs, dir(), &mut state)?;
    compact(fs, dir(), journal.active_first_lsn(), &AtomicBool::new(false))?;
    journal.mark_idle()?;
    journal.shut_down()
}

/// Checks that the state is the same as before, every byte is right, and another compaction succeeds.
fn check(fs: &SimFs, expected: &Told, what: &str) {
    let state = read_on(fs, dir());
    assert!(told(&state) == *expected, "{what}: {:#?}\n{expected:#?}", told(&state));
    let verified = verify(fs, dir()).unwrap_or_else(|error| panic!("{what}: {error}")).unwrap();
    if let Some(SpareVerdict::Damaged(damage)) = verified.spare {
        panic!("{what}: {damage}");
    }
    compact_once(fs).unwrap_or_else(|error| panic!("{what}, compacted again: {error}"));
    assert!(told(&read_on(fs, dir())) == *expected, "{what}, compacted again");
}

/// P3, P4: power is cut at each operation of a compaction, and any subset of the unsynced writes survives. First compaction
/// (nothing to remove), second, and third (with a whole generation to remove).
#[test]
fn a_power_cut_at_any_operation_of_a_compaction_changes_nothing() {
    let mut states = 0;
    for compactions in 0..3 {
        let origin = machine(compactions);
        let expected = told(&read_on(&origin, dir()));
        let whole = origin.fork();
        compact_once(&whole).unwrap();
        for operation in origin.operations() + 1..=whole.operations() {
            for happened in [false, true] {
                let cut = origin.fork();
                let fault = Fault::crash().at(operation);
                cut.inject(if happened { fault.happened() } else { fault });
                let _ = compact_once(&cut);
                cut.clear_faults();
                for seed in 0..3 {
                    let fs = cut.fork();
                    if seed == 0 {
                        fs.kill()
                    } else {
                        fs.crash(seed)
                    }
                    check(&fs, &expected, &format!("after {compactions}, operation {operation}, seed {seed}"));
                    states += 1;
                }
            }
        }
    }
    eprintln!("{states} crash states");
    assert!(states > 600, "{states}");
}

/// P5: if any operation fails, the journal's content is unchanged: no file is removed before its replacement is durable and
/// was read back.
#[test]
fn a_compaction_that_fails_changes_nothing() {
    let origin = machine(2);
    let expected = told(&read_on(&origin, dir()));
    let whole = origin.fork();
    compact_once(&whole).unwrap();
    for operation in origin.operations() + 1..=whole.operations() {
        for errno in [libc::EIO, libc::ENOSPC] {
            let fs = origin.fork();
            fs.set_torn_syncs(operation % 2 == 0);
            fs.inject(Fault::errno(errno).at(operation));
            let _ = compact_once(&fs);
            fs.clear_faults();
            let killed = fs.fork();
            killed.kill();
            check(&killed, &expected, &format!("errno {errno} at operation {operation}, killed"));
            fs.crash(operation);
            check(&fs, &expected, &format!("errno {errno} at operation {operation}, power cut"));
        }
    }
}

/// A disk may accept every write and return other bytes: that is why a snapshot is read back before it gets its name. A
/// byte of each block is damaged between the write and the read; the compaction must fail and remove nothing.
#[test]
fn a_snapshot_that_comes_back_wrong_never_gets_its_name() {
    let origin = machine(1);
    let expected = told(&read_on(&origin, dir()));
    let whole = origin.fork();
    compact_once(&whole).unwrap();
    let dropped = whole.log().into_iter().rfind(|logged| logged.op == Op::DropCache).unwrap();
    assert!(dropped.path.to_str().unwrap().ends_with(".tmp"), "{}", dropped.path.display());
    let newest =
        whole.upstream().list(dir()).unwrap().into_iter().filter(|name| name.to_str().unwrap().ends_with(".snap"));
    let bytes = whole.upstream().read(dir().join(newest.max().unwrap())).unwrap().len() as u64;
    // Header, rows and lists; the last bytes of a page are padding.
    for offset in (0..bytes / 4096).map(|page| page * 4096 + 2) {
        let fs = origin.fork();
        let (at, path) = (dropped.number, dropped.path.clone());
        fs.set_hook(Box::new(move |call, files| {
            if call.number == at {
                let byte = files.read(&path).unwrap()[offset as usize];
                files.write_at(&path, offset, &[!byte]).unwrap();
            }
        }));
        match compact_once(&fs) {
            Err(journal::Error::NotAsWritten(damage)) => assert_eq!(damage.file, dropped.path),
            other => panic!("byte {offset}: {other:?}"),
        }
        fs.clear_hook();
        fs.kill();
        check(&fs, &expected, &format!("byte {offset}"));
    }
}

/// The snapshot has its name, but the removals fail. The next call finds nothing to fold and must finish the removals, or
/// the caller would begin a compaction again and again for segments that are already in a snapshot.
#[test]
fn a_compaction_whose_removals_fail_is_finished_by_the_next() {
    let fs = machine(2);
    let mut state = Index::default();
    let (mut journal, _) = Journal::open(&fs, dir(), &mut state).unwrap();
    let until = journal.active_first_lsn();
    assert!(journal.sealed_bytes() > 0);
    fs.inject(Fault::errno(libc::EIO).only(&[Op::Unlink]).nth(1));
    assert!(compact(&fs, dir(), until, &AtomicBool::new(false)).is_err());
    fs.clear_faults();
    let again = compact(&fs, dir(), until, &AtomicBool::new(false)).unwrap().expect("the snapshot that is there");
    assert!(again.removed > 0);
    journal.folded_in(again.snapshot.header().lsn);
    assert_eq!(journal.sealed_bytes(), 0);
    let expected = told(&state);
    state.adopt(again.snapshot);
    assert!(told(&state) == expected);
    journal.shut_down().unwrap();
    check(&fs, &expected, "after the second call");
}

/// A compaction that finishes the removals of an interrupted one uses the snapshot's note of its spare generation. The
/// fuzzer made a snapshot whose spare was not older than itself, with a right checksum: then the newest generation was
/// removed.
#[test]
fn a_spare_that_is_not_older_than_its_snapshot_is_corrupt_and_removes_nothing() {
    let origin = machine(2);
    let until = Journal::open(&origin, dir(), &mut Index::default()).unwrap().0.active_first_lsn();
    let lsn = compact(&origin, dir(), until, &AtomicBool::new(false)).unwrap().unwrap().snapshot.header().lsn;
    let path = dir().join(names::snapshot(lsn));
    for spare in [lsn.0, lsn.0 + 1, u64::MAX] {
        let fs = origin.fork();
        let mut bytes = fs.upstream().read(&path).unwrap();
        bytes[field::SPARE_LSN..][..8].copy_from_slice(&spare.to_le_bytes());
        let checksum = crc32c::crc32c(&bytes[..field::CHECKSUM]);
        bytes[field::CHECKSUM..][..4].copy_from_slice(&checksum.to_le_bytes());
        fs.upstream().write(&path, &bytes).unwrap();
        let before = fs.upstream().list(dir()).unwrap();
        let refused = compact(&fs, dir(), until, &AtomicBool::new(false));
        assert_eq!(fs.upstream().list(dir()).unwrap(), before, "spare {spare}");
        assert!(matches!(refused, Err(journal::Error::Corrupt(_))), "spare {spare}: {refused:?}");
        let read = journal::read(&fs, dir(), &mut Index::default());
        assert!(matches!(read, Err(journal::Error::Corrupt(_))), "spare {spare}: {read:?}");
    }
}

/// If it is told to stop, nothing has changed, and no temporary file is left.
#[test]
fn a_compaction_that_is_stopped_leaves_nothing_behind() {
    let fs = machine(1);
    let (journal, ..) = open_on(&fs, dir()).unwrap();
    let before = fs.upstream().list(dir()).unwrap();
    let stopped = compact(&fs, dir(), journal.active_first_lsn(), &AtomicBool::new(true)).unwrap();
    assert!(stopped.is_none());
    assert_eq!(fs.upstream().list(dir()).unwrap(), before);
}

/// A compaction reads only files that no longer change, so it does not wait for a concurrent writer, nor the writer for it.
/// Real files, real threads.
#[test]
fn appending_goes_on_beside_a_compaction() {
    let place = tempfile::tempdir().unwrap();
    let fs = RealFs::default();
    let (mut journal, ..) = open(place.path()).unwrap();
    let mut reference = Index::default();
    let mut write = |journal: &mut Journal<RealFs>, state: &mut Index, record: Record| {
        let lsn = journal.next_lsn();
        append_all(journal, std::slice::from_ref(&record));
        state.apply_at(lsn, journal.written_at(), &record).unwrap();
        reference.apply_at(lsn, journal.written_at(), &record).unwrap();
    };
    let mut state = Index::default();
    write(&mut journal, &mut state, settings());
    let mut compactions = 0;
    std::thread::scope(|scope| {
        let mut running: Option<std::thread::ScopedJoinHandle<'_, Option<Compacted>>> = None;
        for number in 0..600_u64 {
            let id = journal.next_lsn();
            write(&mut journal, &mut state, discovered(number, &format!("/in/{}", "x".repeat(2_000))));
            write(&mut journal, &mut state, hashed(id, &format!("/warehouse/{number}")));
            write(&mut journal, &mut state, moved(id));
            write(&mut journal, &mut state, Record::Manifested(IngestId(id.0)));
            if let Some(compacted) = running.take_if(|thread| thread.is_finished()) {
                let compacted = compacted.join().unwrap();
                // As the committer does.
                if let Some(compacted) = compacted {
                    journal.folded_in(compacted.snapshot.header().lsn);
                    state.adopt(compacted.snapshot);
                    compactions += 1;
                }
            }
            if running.is_none() && journal.sealed_bytes() > 0 {
                let (fs, path, until) = (&fs, place.path(), journal.active_first_lsn());
                running = Some(scope.spawn(move || compact(fs, path, until, &AtomicBool::new(false)).unwrap()));
            }
        }
    });
    assert!(compactions >= 1, "{compactions}");
    for digest in (0..2_500).map(super::util::digest) {
        let expected = reference.original(&digest.into()).unwrap();
        assert_eq!(state.original(&digest.into()).unwrap(), expected);
    }
    assert!(state.recent() < 600, "{}", state.recent());
    drop(journal);
    let again = read_on(&fs, place.path());
    assert_eq!(again.remembered(), 600);
    for digest in (0..2_500).map(super::util::digest) {
        assert_eq!(again.original(&digest.into()).unwrap(), reference.original(&digest.into()).unwrap());
    }
}

fn manifested(journal: &mut Journal<SimFs>, seed: u64, found_at: u64) -> IngestId {
    let id = journal.next_lsn();
    let found = Discovered {
        identity: identity(5_000 + seed),
        discovered_at: UnixMillis(found_at),
        source_path: format!("/in/{seed}").into(),
        sidecar: None,
    };
    let (ingest_id, warehouse_path) = (IngestId(id.0), format!("/warehouse/{seed}").into());
    let hashed =
        Record::Hashed(Hashed { ingest_id, sha256: content(seed), warehouse_path, copy: None, verified_by: None });
    append_all(journal, &[Record::Discovered(found), hashed, moved(id), Record::Manifested(ingest_id)]);
    ingest_id
}

/// `--remember`: a content that is old enough is forgotten, and may be ingested again; but not the original of a duplicate
/// that is still in staging, since that would become a new file.
#[test]
fn contents_expire_but_not_under_a_kept_duplicate() {
    let fs = SimFs::new(1);
    let (mut journal, ..) = open_on(&fs, dir()).unwrap();
    append_all(&mut journal, &[settings()]);
    for seed in 0..6 {
        manifested(&mut journal, seed, 100 * seed);
    }
    let id = journal.next_lsn();
    let kept = SkippedDuplicate {
        ingest_id: IngestId(id.0),
        sha256: content(1),
        duplicate_of: IngestId(6),
        action: DuplicateAction::Keep,
        target: None,
    };
    append_all(&mut journal, &[discovered(77, "/in/kept"), Record::SkippedDuplicate(kept)]);
    append_all(&mut journal, &[Record::Expired(UnixMillis(300))]);
    let known =
        |state: &Index| (0..6).filter(|seed| state.original(&content(*seed).into()).unwrap().is_some()).collect();
    let as_told: Vec<u64> = known(&read_on(&fs, dir()));
    assert_eq!(as_told, [1, 3, 4, 5], "before any compaction");
    journal.seal().unwrap();
    let compacted = compact_now(&fs, dir(), &journal).unwrap();
    assert_eq!((compacted.forgotten, compacted.snapshot.header().rows), (2, 4));
    assert_eq!(known(&read_on(&fs, dir())), as_told);

    // The forgotten content is ingested again; after the next compaction its first ingest is gone for good.
    let again = manifested(&mut journal, 0, 1_000);
    // The duplicate is gone, so its original expires.
    append_all(&mut journal, &[discovered(77, "/in/other")]);
    let state = read_on(&fs, dir());
    assert_eq!(known(&state), [0, 3, 4, 5]);
    assert_eq!(state.original(&content(0).into()).unwrap().unwrap().ingest_id, again);
    journal.seal().unwrap();
    let compacted = compact_now(&fs, dir(), &journal).unwrap();
    assert_eq!((compacted.forgotten, compacted.snapshot.header().forgotten), (1, 3));
    assert_eq!(known(&read_on(&fs, dir())), [0, 3, 4, 5]);
    // Both generations agree.
    fs.upstream().remove(dir().join(journal::names::snapshot(compacted.snapshot.header().lsn))).unwrap();
    assert_eq!(known(&read_on(&fs, dir())), [0, 3, 4, 5]);
}

/// A content that expired and was ingested again within the same compaction has two rows; the later one counts.
#[test]
fn a_content_that_came_again_before_the_compaction_has_one_row() {
    let fs = SimFs::new(1);
    let (mut journal, ..) = open_on(&fs, dir()).unwrap();
    append_all(&mut journal, &[settings()]);
    manifested(&mut journal, 1, 100);
    append_all(&mut journal, &[Record::Expired(UnixMillis(200))]);
    let again = manifested(&mut journal, 1, 300);
    journal.seal().unwrap();
    let compacted = compact_now(&fs, dir(), &journal).unwrap();
    assert_eq!((compacted.forgotten, compacted.snapshot.header().rows), (1, 1));
    assert_eq!(read_on(&fs, dir()).original(&content(1).into()).unwrap().unwrap().ingest_id, again);
}
